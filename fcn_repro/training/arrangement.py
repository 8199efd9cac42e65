"""A net, arranged so that a CPU or GPU trains it fast; what it computes changes by rounding alone.

    frame.py       the frame of 100 pixels without its repetitions
    products.py    fc6 and fc7 as matrix products
    upsampling.py  upsampling and cropping at once

The other kernels have their channels last in memory, and so do the features then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from fcn_repro.training.frame import narrowed
from fcn_repro.training.products import is_multiplied, multiplied
from fcn_repro.training.upsampling import upsampled_by_products


@contextmanager
def arranged(model: nn.Module, *, compiled: bool = False) -> Iterator[None]:
    """Inside, a model on its device is trained faster. Its kernels keep their layout afterwards.

    One that torch.compile gets has its products left to that.
    """
    with ExitStack() as arrangements:
        for arrangement in (narrowed,) if compiled else (narrowed, multiplied, upsampled_by_products):
            arrangements.enter_context(arrangement(model))
        channels_last(model)
        yield


def channels_last(model: nn.Module) -> None:
    """Lays kernels out for fast convolutions on CPUs and GPUs; those of products stay as Caffe has them."""
    for layer in model.modules():
        for parameter in layer.parameters(recurse=False):
            if parameter.ndim == 4 and not is_multiplied(layer):
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
