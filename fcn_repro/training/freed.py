"""Memory that was freed, given back to the system before something large takes new memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable


def give_back() -> None:
    """Has the C library give back what is free in its heap: glibc keeps what features of a step took.

    Nothing where the C library cannot.
    """
    if _trim is not None:
        _trim(0)


def _found() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    return trim


_trim = _found()
