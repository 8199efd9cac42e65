"""Caffe's Python interface on torch: `import caffe2torch.pycaffe as caffe`."""

from __future__ import annotations

from caffe2torch.pycaffe.mode import set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from caffe2torch.pycaffe.net import Net
from caffe2torch.pycaffe.python_layer import Layer
from caffe2torch.pycaffe.solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

TRAIN, TEST = 0, 1

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Layer",
    "NesterovSolver",
    "Net",
    "RMSPropSolver",
    "SGDSolver",
    "get_solver",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
]
