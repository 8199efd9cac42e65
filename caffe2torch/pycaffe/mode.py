"""Where nets compute: the CPU, or after `set_mode_gpu` a GPU, for all nets of the process as in Caffe."""

from __future__ import annotations

import torch

from caffe2torch.errors import NetError
from caffe2torch.pycaffe.logs import WARNING, log

CPU = torch.device("cpu")


class _Chosen:
    device = CPU
    index = 0


def device() -> torch.device:
    """What computes now; `CPU` itself for the CPU."""
    return _Chosen.device


def set_mode_cpu() -> None:
    """Computes on the CPU, as at the start."""
    _Chosen.device = CPU


def set_mode_gpu() -> None:
    """Computes on the GPU of `set_device`; where there is none on the CPU, with a warning in the log."""
    if not torch.cuda.is_available():
        log("common.cpp:152", "torch finds no GPU here: computing on the CPU", WARNING)
        return
    _Chosen.device = torch.device("cuda", _Chosen.index)


def set_device(index: int) -> None:
    """Chooses a GPU by its number. Raises NetError where there are some, but not this one."""
    if torch.cuda.is_available() and not 0 <= index < torch.cuda.device_count():
        raise NetError(f"GPU {index} is not there; torch finds {torch.cuda.device_count()}")
    _Chosen.index = index
    if _Chosen.device is not CPU:
        set_mode_gpu()


def set_random_seed(seed: int) -> None:
    """Makes fillers and dropout repeatable: torch's own numbers, not Caffe's."""
    torch.manual_seed(seed)
