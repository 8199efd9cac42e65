"""torch, imported at its first use.

Reading, checking and converting a model do not need torch, which keeps `fcn-convert --help`, `--inspect` and
the conversion itself fast and small. Modules that compute use `from caffe2torch._torch import torch`.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["torch"]

if TYPE_CHECKING:
    import torch
else:

    def _lazy(name: str) -> ModuleType:
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.find_spec(name)
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    torch = _lazy("torch")
