"""What SIGINT and SIGHUP do to a training: stop it with a snapshot, only snapshot, or nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from caffe2torch.pycaffe.solvers import NONE, SNAPSHOT, STOP

EFFECTS = (STOP, SNAPSHOT, NONE)


@contextmanager
def acting_on_signals(sigint: str, sighup: str) -> Iterator[Callable[[], str]]:
    """Inside, signals are noted; what is yielded says what the last of each asked for, once."""
    came: list[str] = []
    effects = {signal.SIGINT: sigint}
    if hasattr(signal, "SIGHUP"):  # not on Windows
        effects[signal.SIGHUP] = sighup

    def note(number: int, frame: FrameType | None) -> None:
        if effects[signal.Signals(number)] not in came:
            came.append(effects[signal.Signals(number)])

    def asked() -> str:
        return came.pop(0) if came else NONE

    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread gets signals
        return
    before = {number: signal.signal(number, note) for number in effects}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
