"""PyTorch's modules and functions as Caffe layers: one file per family, registered on import.

One function converts a module and its functional forms. Its parameters are named like the parameters of
PyTorch's function, and so like the module's attributes: `stride` is `F.conv2d(…, stride=2)` or
`nn.Conv2d(…).stride`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

from torch.fx.node import Target

from caffe2torch.tracing.drawing import Top

Saying = Callable[..., Top | Sequence[Top]]
"""Takes a Call and the call's arguments, with Tops for tensors; returns its Top or Tops."""

_S = TypeVar("_S", bound=Saying)
_SAYINGS: dict[Target, Saying] = {}


def says(*targets: Target) -> Callable[[_S], _S]:
    """Registers the decorated function for module classes, functions, and tensor methods by name."""

    def register(saying: _S) -> _S:
        _SAYINGS.update(dict.fromkeys(targets, saying))
        return saying

    return register


@cache
def sayings() -> dict[Target, Saying]:
    """Every registered function by what it converts; importing the modules of this package registers them."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _SAYINGS
