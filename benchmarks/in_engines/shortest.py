"""How long something takes at least."""

import time


def shortest(function, times):
    """The least seconds of so many calls; infinite if there are none."""
    return min((_seconds(function) for _ in range(times)), default=float("inf"))


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
