"""The progress of long work, on one line of a terminal."""

from __future__ import annotations

import sys
import time


class ProgressLine:
    """Shows the progress of long work on a terminal, in `unit`s of `size` each.

    `rest` says what else is done, before and after what is counted.
    """

    def __init__(self, unit: str, size: float = 1, rest: str = "") -> None:
        self.unit, self.size, self.rest = unit, size, rest
        self.start = self.shown = time.perf_counter()
        self.is_shown = False
        self._show(rest)

    def __call__(self, done: int, expected: int) -> None:
        """Shows `done` of `expected`, once the work has taken a second."""
        now = time.perf_counter()
        if done >= expected:
            self._show(self.rest)
        elif now - self.shown >= 1:
            self.shown, rate = now, done / (now - self.start)
            left = f"{rate / self.size:.0f} {self.unit}/s, {(expected - done) / rate:.0f} s left"
            self._show(f"{done / self.size:.0f} of {expected / self.size:.0f} {self.unit}, {left}")

    def _show(self, text: str) -> None:
        if sys.stderr.isatty() and (text or self.is_shown):
            print(f"\r{text:70}", end="" if text else "\r", file=sys.stderr, flush=True)
            self.is_shown = bool(text)

    def wipe(self) -> None:
        """Clears the line for what is printed next."""
        self._show("")
