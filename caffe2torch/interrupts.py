"""Ctrl-C: never taken for another error, and never in the middle of what belongs together.

torch's exporters call Python from C++: a KeyboardInterrupt there comes out as another error, or crashes the
process. A command that has nothing to save ends without raising one.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def noticed(end: Callable[[], None] | None = None) -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C calls `end`, or else raises KeyboardInterrupt; what is yielded says whether it came.

    With `end`, the process is about to end: from here on, Ctrl-C no longer changes its exit code.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        if end is None:
            raise KeyboardInterrupt
        end()

    if not _is_ours():
        yield lambda: came
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before if end is None else signal.SIG_IGN)


@contextmanager
def put_off() -> Iterator[None]:
    """Inside, Ctrl-C waits."""
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _is_ours() -> bool:
    """Whether Ctrl-C does what Python makes of it: nohup ignores it, and other programs have handlers."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
