"""torch, imported at its first use.

Reading, checking and converting a model do not need torch, which keeps `fcn-convert --help`, `--inspect` and
the conversion itself fast and small. Modules that compute use `from caffe2torch._torch import torch`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["is_exporting", "torch"]


class _Unloaded(ModuleType):
    """Stands for torch until something of it is asked for; then every module that holds this gets torch.

    importlib's LazyLoader does not bear a module that deletes its own attributes while it loads (torch 2.15).
    """

    def __getattr__(self, name: str) -> Any:
        loaded = importlib.import_module("torch")
        for module in [*sys.modules.values()]:
            if getattr(module, "__dict__", {}).get("torch") is self:
                module.__dict__["torch"] = loaded
        return getattr(loaded, name)


if TYPE_CHECKING:
    import torch
else:
    torch = sys.modules.get("torch") or _Unloaded("torch")


def is_exporting() -> bool:
    """Whether torch makes a graph for export; before torch 2.7, which tells, also where it compiles one."""
    asked: bool = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()
    return asked
