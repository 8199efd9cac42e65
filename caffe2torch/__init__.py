"""Caffe files in, PyTorch and other formats out, with the same numbers.

    prototxt ─┐
              ├─ read ─ upgrade ─→ Net ─ plan ─→ Plan ─ build ─→ CaffeNet     any net
    caffemodel┘                                      └─ load ──→ FCN8s, …     a net of the FCN zoo
                                                         model ─ verify ─→ Report
                                                         model ─ export ─→ safetensors, …
    a torch module ─ from_torch ─→ Net ─ export ─→ prototxt, caffemodel

>>> import caffe2torch as c2t
>>> fcn = c2t.load("voc-fcn8s.caffemodel")
>>> score = fcn(data=image)  # image (N, 3, H, W), BGR, 0 to 255 minus the mean; score (N, 21, H, W)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.build import build
from caffe2torch.define import define
from caffe2torch.export import export
from caffe2torch.from_torch import from_torch
from caffe2torch.read import read
from caffe2torch.table import table_of
from caffe2torch.training import solver_prototxt, training_net
from caffe2torch.verify import verify

if TYPE_CHECKING:
    from caffe2torch.fcn import from_safetensors, load

__version__ = "0.1.0"
__all__ = [
    "build",
    "define",
    "export",
    "from_safetensors",
    "from_torch",
    "load",
    "read",
    "solver_prototxt",
    "table_of",
    "training_net",
    "verify",
]


def __getattr__(name: str) -> object:
    # These need torch at import; the conversion itself does not (see _torch.py).
    if name in ("from_safetensors", "load"):
        from caffe2torch import fcn

        return getattr(fcn, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
