"""Ctrl-C and SIGTERM as a wish that long work grants when it can."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Wish:
    """Whether somebody asked for an end, and by which signal."""

    signal: str = ""

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

    def noted(number: int, frame: FrameType | None) -> None:
        wish.signal = signal.Signals(number).name
        for known, handler in before.items():
            signal.signal(known, handler)

    try:
        for number in before:
            signal.signal(number, noted)
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
