"""The names in caffe2torch.__all__: each resolves, is documented, and is listed without loading torch."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import caffe2torch as c2t

CONSTANTS = {"CAFFENET", "COLOR_DEPTH", "COLOR_HHA", "DEFINED", "SIFT_FLOW", "VGG16"}
"""Their docstrings are for readers of the source; Python keeps none."""


@pytest.mark.parametrize("name", c2t.__all__)
def test_it_resolves_and_is_documented(name: str) -> None:
    value = getattr(c2t, name)
    assert name in dir(c2t)
    if name not in CONSTANTS:
        assert value.__name__ == name
        assert inspect.getdoc(value)
        assert value.__doc__ or inspect.isfunction(value), "the docstring is inherited"


def test_no_name_of_ours_is_left_out() -> None:
    """Whatever the package binds besides modules is in __all__."""
    bound = {name for name, value in vars(c2t).items() if not inspect.ismodule(value)}
    own = {name for name in bound if not name.startswith("_")}
    assert own - set(c2t.__all__) == {"annotations", "TYPE_CHECKING"}
    assert len(c2t.__all__) == len(set(c2t.__all__))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="module 'caffe2torch' has no attribute 'nonsense'"):
        c2t.nonsense  # noqa: B018


def test_dir_lists_them_without_torch() -> None:
    code = (
        "import sys, caffe2torch as c2t\n"
        "assert set(c2t.__all__) <= set(dir(c2t))\n"
        "c2t.Net, c2t.read, c2t.verify, c2t.Architecture, c2t.bilinear_kernel\n"
        "sys.exit('torch was loaded' if 'torch._C' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
