"""A plain torch module -> Net: what was built and trained in PyTorch, as Caffe layers.

    module ─ torch.fx ─→ graph ─ calls ─→ layers ─ tidying ─→ Net ─ build ─→ compared with the module

Layers take the modules' names (`features.0`); a module that Caffe has no layer for is refused by name.
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
    At these shapes the net gives the module's numbers; at others Caffe's pooling may round differently.
    Outputs returned as a dictionary keep their names. Blobs are views of the module's parameters.

    Caffe's pooling rounds up. Pooling that rounds down is refused if that changes the size; `floor_pooling`
    writes it as `round_mode: FLOOR`, which Caffe has had since 2018.

    Before the net is returned, it is built and compared with the module on random inputs. Raises
    UnsupportedModule for what Caffe has no layer for, VerificationFailed if the two differ, and NetError if
    torch.fx cannot trace the module or the module does not run on these shapes.
    """
    from caffe2torch.tracing.walk import net_of_module

    return net_of_module(module, {name: tuple(shape) for name, shape in inputs.items()}, floor_pooling)
