"""Caffe files in, PyTorch and other formats out, with the same numbers.

    prototxt ─┐
              ├─ read ─ upgrade ─→ Net ─ plan ─→ Plan ─ build ─→ CaffeNet     any net
    caffemodel┘                                      └─ load ──→ FCN8s, …     a net of the FCN zoo
                                                         model ─ verify ─→ Report
                                                         model ─ export ─→ safetensors, …
               solver.prototxt, .solverstate ─ Solver ─→ model ─ snapshot ─→ .caffemodel, .solverstate
    a torch module ─ from_torch ─→ Net ─ export ─→ prototxt, caffemodel
    torchvision's, Keras' VGG-16 ─ vgg16_from ─→ Net     two models ─ diff ─→ Difference

>>> import caffe2torch as c2t
>>> fcn = c2t.load("voc-fcn8s.caffemodel")
>>> score = fcn(data=image)  # image (N, 3, H, W), BGR, 0 to 255 minus the mean; score (N, 21, H, W)
"""

from __future__ import annotations

import importlib
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
    from caffe2torch.comparison import diff
    from caffe2torch.fcn import from_safetensors, load
    from caffe2torch.solver import Solver
    from caffe2torch.surgery import convolutionalize, transplant
    from caffe2torch.vgg16 import vgg16_from

__version__ = "0.1.0"
__all__ = [
    "Solver",
    "build",
    "convolutionalize",
    "define",
    "diff",
    "export",
    "from_safetensors",
    "from_torch",
    "load",
    "read",
    "solver_prototxt",
    "table_of",
    "training_net",
    "transplant",
    "verify",
    "vgg16_from",
]

_LATE = {
    "Solver": "solver",
    "convolutionalize": "surgery",
    "diff": "comparison",
    "from_safetensors": "fcn",
    "load": "fcn",
    "transplant": "surgery",
    "vgg16_from": "vgg16",
}
"""Names whose modules load at their first use: most need torch, converting does not (_torch.py)."""


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
