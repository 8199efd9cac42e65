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

from caffe2torch.comparing.report import verify
from caffe2torch.formats import export
from caffe2torch.formats.reading import read
from caffe2torch.modules.build import build
from caffe2torch.plan.table import table_of
from caffe2torch.tracing import from_torch
from caffe2torch.training_nets import solver_prototxt, training_net
from caffe2torch.zoo import define

if TYPE_CHECKING:
    from caffe2torch.comparing.nets import diff
    from caffe2torch.modules.fcn import from_safetensors, load
    from caffe2torch.solving.solver import Solver
    from caffe2torch.weights.surgery import convolutionalize, transplant
    from caffe2torch.weights.vgg16 import vgg16_from

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
    "Solver": "solving.solver",
    "convolutionalize": "weights.surgery",
    "diff": "comparing.nets",
    "from_safetensors": "modules.fcn",
    "load": "modules.fcn",
    "transplant": "weights.surgery",
    "vgg16_from": "weights.vgg16",
}
"""Names whose modules load at their first use: most need torch, converting does not (_torch.py)."""


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
