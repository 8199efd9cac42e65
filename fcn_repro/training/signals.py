"""Ctrl-C and SIGTERM as a wish to stop, which long work grants when it can."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TOGETHER_S = 1.0
"""Signals within this time count as one: a batch system signals torchrun and its processes, and torchrun
signals its processes again."""


class Wish:
    """Whether somebody asked to stop, by which signal, and when (time.monotonic, s)."""

    signal: str = ""
    since: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.signal)


@contextmanager
def wish_to_stop() -> Iterator[Wish]:
    """Inside, the first SIGINT or SIGTERM is a wish; a second one ends the program as it always does."""
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish  # only the main thread gets signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def noted(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not wish:
            wish.signal, wish.since = signal.Signals(number).name, now
        elif now - wish.since > TOGETHER_S:
            restore()
            signal.raise_signal(number)

    try:
        for number in before:
            signal.signal(number, noted)
        yield wish
    finally:
        restore()
