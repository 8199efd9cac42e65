"""`import caffe`, answered by this package: only where it was asked for, never in place of a real Caffe."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME, _OWN = "caffe", "caffe2torch.pycaffe"
_SAME = {"caffe.pycaffe": _OWN, "caffe._caffe": _OWN}
"""Modules of Caffe's whose names are all found in the package itself."""


class _Finder(MetaPathFinder, Loader):
    """Finds `caffe` and its submodules here."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module of this package of the same name."""
        if fullname != _NAME and not fullname.startswith(f"{_NAME}."):
            return None
        if importlib.util.find_spec(_own(fullname)) is None:
            return None
        return ModuleSpec(fullname, self, is_package=fullname == _NAME)

    def create_module(self, spec: ModuleSpec) -> None:
        """None: `exec_module` puts the real one in its place."""

    def exec_module(self, module: ModuleType) -> None:
        """Lets the name stand for the module here, so that both are one."""
        sys.modules[module.__name__] = importlib.import_module(_own(module.__name__))


def _own(name: str) -> str:
    return _SAME.get(name, _OWN + name.removeprefix(_NAME))


def install() -> None:
    """From now on, `import caffe` in this process gives this package.

    Raises RuntimeError if another `caffe` is imported already.
    """
    present = sys.modules.get(_NAME)
    if present is not None and present.__name__ != _OWN:
        where = getattr(present, "__file__", "somewhere")
        raise RuntimeError(f"another caffe is imported already, from {where}; install() before that")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
