"""A plain torch module -> Net: what was built and trained in PyTorch, in Caffe's layers.

    module ─ torch.fx ─→ graph ─ torch_layers ─→ layers ─ tidy ─→ Net ─ build ─→ compared with the module

Layers are named as the modules are (`features.0`); what Caffe has no layer for is refused by that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from caffe2torch.net import Net

if TYPE_CHECKING:
    from torch import nn


def from_torch(module: nn.Module, inputs: Mapping[str, Sequence[int]], *, floor_pooling: bool = False) -> Net:
    """The net of a module that torch.fx can trace, in eval mode, for inputs of these shapes.

    `inputs` names the blobs of forward's arguments, in order, with their shapes: {"data": (1, 3, 224, 320)}.
    The net's numbers are the module's at these shapes; at others Caffe's rounding may differ (pooling).
    Outputs returned as a dictionary keep their names. Blobs are views of the module's parameters.

    Caffe's pools round up. One that rounds down is refused where that gives another size, or with
    `floor_pooling` written as `round_mode: FLOOR`, which Caffe knows since 2018.

    The net is built, and run on random inputs beside the module, before it is returned. Raises
    UnsupportedModule for what Caffe has no layer for, VerificationFailed where the two give other numbers,
    and NetError where torch.fx cannot trace the module or the module cannot run on these shapes.
    """
    from caffe2torch.tracing.walk import net_of_module

    return net_of_module(module, {name: tuple(shape) for name, shape in inputs.items()}, floor_pooling)
