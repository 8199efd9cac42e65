"""Timer, layer_type_list and log."""

from __future__ import annotations

import time

import torch

from caffe2torch.feeding.source import sources
from caffe2torch.layers.registry import converters
from caffe2torch.pycaffe import logs, mode


class Timer:
    """Measures the time between `start` and `stop`, also of a GPU."""

    def __init__(self) -> None:
        self._from = self._to = 0.0

    def start(self) -> None:
        """Begins anew."""
        self._from = self._now()

    def stop(self) -> None:
        """Ends."""
        self._to = self._now()

    @property
    def ms(self) -> float:
        """Milliseconds between the two."""
        return 1000 * (self._to - self._from)

    def _now(self) -> float:
        if mode.device().type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def layer_type_list() -> list[str]:
    """The types of layers that nets can have here, those of Caffe's forks too, sorted."""
    return sorted({*converters(), *sources(), "Python"})


def log(message: str) -> None:
    """Writes a line into the log."""
    logs.log("_caffe.cpp:60", message)
