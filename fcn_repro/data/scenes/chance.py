"""Random integers that are the same on every machine and with every version of NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_T = TypeVar("_T")
_AHEAD = 64


class Chance:
    """Integers drawn from a stream that is determined by its key, two numbers below 2**64.

    Only the raw words of NumPy's Philox are used: their order is guaranteed for ever, while what a Generator
    makes of them may change between versions of NumPy (NEP 19).
    """

    def __init__(self, key: tuple[int, int]) -> None:
        self._words = np.random.Philox(key=np.array(key, np.uint64))
        self._ahead: list[int] = []

    def below(self, count: int) -> int:
        """A number from 0 to count - 1; count is at most 2**32."""
        if not self._ahead:
            self._ahead = self._words.random_raw(_AHEAD).tolist()
        return (self._ahead.pop() >> 32) * count >> 32

    def between(self, low: int, high: int) -> int:
        """A number from low to high, both included."""
        return low + self.below(high - low + 1)

    def pick(self, choices: Sequence[_T]) -> _T:
        """One of the choices."""
        return choices[self.below(len(choices))]

    def happens(self, percent: int) -> bool:
        """True with this probability."""
        return self.below(100) < percent

    def bytes(self, *shape: int) -> npt.NDArray[np.uint8]:
        """An array of numbers from 0 to 255."""
        count = math.prod(shape)
        words = self._words.random_raw((count + 7) // 8).astype("<u8")
        return words.view(np.uint8)[:count].reshape(shape)
