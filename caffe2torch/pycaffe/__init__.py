"""Caffe's Python interface on torch, for scripts written for Caffe.

>>> import caffe2torch.pycaffe as caffe
>>> net = caffe.Net("deploy.prototxt", "voc-fcn8s.caffemodel", caffe.TEST)
>>> net.blobs["data"].data[...] = image
>>> label = net.forward()["score"][0].argmax(0)

    definition ─→ splits ─→ building ─→ net_layers, blob, memory    what runs
    net, solvers, python_layer                                      what scripts see
    standing_in                                                     `import caffe` itself, where asked for
    tool/                                                           c2t-caffe
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffe2torch.pycaffe.classifier import Classifier
    from caffe2torch.pycaffe.detector import Detector
    from caffe2torch.pycaffe.logs import init_log
    from caffe2torch.pycaffe.mode import set_device, set_mode_cpu, set_mode_gpu, set_random_seed
    from caffe2torch.pycaffe.net import Net
    from caffe2torch.pycaffe.net_spec import NetSpec, layers, params, to_proto
    from caffe2torch.pycaffe.python_layer import Layer
    from caffe2torch.pycaffe.several_gpus import (
        has_nccl,
        set_multiprocess,
        set_solver_count,
        set_solver_rank,
        solver_count,
        solver_rank,
    )
    from caffe2torch.pycaffe.small import Timer, layer_type_list, log
    from caffe2torch.pycaffe.solvers import (
        AdaDeltaSolver,
        AdaGradSolver,
        AdamSolver,
        NesterovSolver,
        RMSPropSolver,
        SGDSolver,
        get_solver,
    )
    from caffe2torch.pycaffe.standing_in import install

TRAIN, TEST = 0, 1
__version__ = "1.0.0"
"""Caffe's, for scripts that ask."""

_NAMES = {
    "classifier": "Classifier",
    "detector": "Detector",
    "logs": "init_log",
    "mode": "set_device set_mode_cpu set_mode_gpu set_random_seed",
    "net": "Net",
    "net_spec": "NetSpec layers params to_proto",
    "python_layer": "Layer",
    "several_gpus": "has_nccl set_multiprocess set_solver_count set_solver_rank solver_count solver_rank",
    "small": "Timer layer_type_list log",
    "solvers": "AdaDeltaSolver AdaGradSolver AdamSolver NesterovSolver RMSPropSolver SGDSolver get_solver",
    "standing_in": "install",
}
"""The public names by module. Each loads when it is first used, since most need torch."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
_FOLDERS = ("classifier", "coord_map", "detector", "draw", "io", "net_spec", "proto")
"""Modules that scripts reach as `caffe.io`."""

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "get_solver",
    "has_nccl",
    "init_log",
    "install",
    "layer_type_list",
    "layers",
    "log",
    "params",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    elif name in _FOLDERS:
        if name == "proto":
            importlib.import_module(f"{__name__}.proto.caffe_pb2")
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_FOLDERS})
