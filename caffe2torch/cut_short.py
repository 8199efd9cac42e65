"""SIGBUS: a memory-mapped file that another program makes shorter while it is read.

Reading what is no longer there ends a process at once. A handler in Python runs too
late: the read is tried again before it, for ever. One in C, which ctypes makes of a function, runs at once.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CUT_SHORT = "a file became shorter while it was read; is another program writing it?"


@contextmanager
def handled(end: Callable[[], None]) -> Iterator[None]:
    """Inside, a read from such a file calls `end`, which must end the process."""
    number = getattr(signal, "SIGBUS", None)  # not on Windows
    if number is None:
        yield
        return
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    set_handler = ctypes.CDLL(None).signal
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    handler = kind(lambda _: end())
    before = set_handler(number, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        set_handler(number, before)
