"""How far a long task is, on one line of the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how many are done, and of how many."""

EVERY_S = 0.2


def eta(task: str, *, rank: int = 0) -> Progress:
    """A line on stderr with what is done and the time left; only in a terminal, and of rank 0."""
    begin, shown = time.monotonic(), 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < EVERY_S and done < total:
            return
        shown = now
        left = (now - begin) / done * (total - done) if done else 0.0
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{task}: {done} of {total}, {clock(left)} left\x1b[K{end}")
        sys.stderr.flush()

    return show if sys.stderr.isatty() and rank == 0 else lambda done, total: None


def clock(seconds: float) -> str:
    """Seconds as minutes:seconds, or hours:minutes:seconds."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
