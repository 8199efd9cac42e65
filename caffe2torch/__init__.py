"""Caffe files in, PyTorch and other formats out, with the same numbers.

Each folder is a stage, in the order in which data passes:

    untrusted/  bytes ────────────────→ messages and arrays    from files that nobody vouches for
    upgrades/   old messages ─────────→ current messages       as Caffe does it
    net/        message ──────────────→ Net                    frozen layers and their blobs
    layers/                                                    one class per layer type, used by `plan`
    plan/       Net ──────────────────→ Plan                   every layer and shape checked, without torch
    zoo/        Plan ─────────────────→ Architecture           the nets of the FCN papers, as data
    weights/    Net, other VGG-16s ───→ Net                    net surgery, vgg16_from
    modules/    Plan ──── build ──────→ CaffeNet, FCN8s, ...   and `verify` against what Caffe computed
    eliding/    Plan, size ───────────→ ElidedNet              without what no image can change
    formats/    file ──── read ───────→ Net
                file ──── load ───────→ CaffeNet, FCN8s, ...
                model ─── export ─────→ file                   safetensors, onnx, py, caffemodel, ...
    inference/  model ── optimize ────→ Optimized              what eliding/ leaves of it, by fast kernels
    comparing/  models ── diff ───────→ Difference
    segmenting/ photo ─── segment ────→ labels                 and `overlay`: what a person sees of them
    solving/    model ─── Solver ─────→ a trained model        Caffe's solvers as torch optimizers
    tracing/    module ── from_torch ─→ Net                    PyTorch to Caffe
    pycaffe/    prototxt ─ Net, SGDSolver → arrays             `import caffe`, and c2t-caffe
    cli/                                                       fcn-convert

>>> import caffe2torch as c2t
>>> fcn = c2t.load("voc-fcn8s.caffemodel")
>>> score = fcn(data=image)  # image (N, 3, H, W), BGR, 0 to 255 minus the mean; score (N, 21, H, W)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from caffe2torch.version import __version__ as __version__

if TYPE_CHECKING:
    from caffe2torch.blob import Blob
    from caffe2torch.comparing.nets import diff
    from caffe2torch.errors import (
        Caffe2TorchError,
        MissingData,
        NetError,
        ReadError,
        SyntaxRefused,
        UnsupportedLayer,
        UnsupportedModule,
        VerificationFailed,
        WeightsError,
        WriteError,
    )
    from caffe2torch.formats import export
    from caffe2torch.formats.safetensors import read_safetensors
    from caffe2torch.hub import HubNet
    from caffe2torch.inference import optimize
    from caffe2torch.inference.optimized import Optimized
    from caffe2torch.modules.caffe_net import CaffeNet, build
    from caffe2torch.modules.fcn import FCN8s, FCN16s, FCN32s
    from caffe2torch.modules.fcn_base import FCN
    from caffe2torch.modules.fcn_general import (
        FCN8sAtOnce,
        FCN32sLateFusion,
        FCNAlexNet,
        GeneralFCN,
        fcn_of,
    )
    from caffe2torch.modules.report import Report, verify
    from caffe2torch.net import Layer, Net
    from caffe2torch.net.classes import read_classes
    from caffe2torch.net.labelling import Labelling
    from caffe2torch.net.preprocessing import Preprocessing
    from caffe2torch.net.reading import read
    from caffe2torch.opening.loading import from_safetensors, load
    from caffe2torch.plan.table import table_of
    from caffe2torch.segmenting.overlay import overlay
    from caffe2torch.segmenting.segmenter import Segmentation, Segmenter, segment
    from caffe2torch.solving.solver import Solver
    from caffe2torch.solving.training_nets import solver_prototxt, training_net
    from caffe2torch.tracing import from_torch
    from caffe2torch.untrusted.photos import Photo, read_photo
    from caffe2torch.weights.surgery import bilinear_kernel, convolutionalize, transplant
    from caffe2torch.weights.vgg16 import vgg16_from
    from caffe2torch.zoo import DEFINED, define
    from caffe2torch.zoo.fcn import (
        CAFFENET,
        COLOR_DEPTH,
        COLOR_HHA,
        SIFT_FLOW,
        VGG16,
        Architecture,
        Head,
        Stream,
    )

_NAMES = {
    "blob": "Blob",
    "comparing.nets": "diff",
    "errors": "Caffe2TorchError MissingData NetError ReadError SyntaxRefused UnsupportedLayer "
    "UnsupportedModule VerificationFailed WeightsError WriteError",
    "formats": "export",
    "inference": "optimize",
    "inference.optimized": "Optimized",
    "opening.loading": "from_safetensors load",
    "net.classes": "read_classes",
    "net.labelling": "Labelling",
    "net.preprocessing": "Preprocessing",
    "net.reading": "read",
    "formats.safetensors": "read_safetensors",
    "hub": "HubNet",
    "modules.caffe_net": "CaffeNet build",
    "modules.fcn": "FCN16s FCN32s FCN8s",
    "modules.fcn_base": "FCN",
    "modules.fcn_general": "FCN32sLateFusion FCN8sAtOnce FCNAlexNet GeneralFCN fcn_of",
    "modules.report": "Report verify",
    "net": "Layer Net",
    "plan.table": "table_of",
    "segmenting.overlay": "overlay",
    "segmenting.segmenter": "Segmentation Segmenter segment",
    "solving.solver": "Solver",
    "solving.training_nets": "solver_prototxt training_net",
    "tracing": "from_torch",
    "untrusted.photos": "Photo read_photo",
    "weights.surgery": "bilinear_kernel convolutionalize transplant",
    "weights.vgg16": "vgg16_from",
    "zoo": "DEFINED define",
    "zoo.fcn": "Architecture CAFFENET COLOR_DEPTH COLOR_HHA Head SIFT_FLOW Stream VGG16",
}
"""The public names by module. Each loads when it is first used, since most need torch."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "CAFFENET",
    "COLOR_DEPTH",
    "COLOR_HHA",
    "DEFINED",
    "FCN",
    "SIFT_FLOW",
    "VGG16",
    "Architecture",
    "Blob",
    "Caffe2TorchError",
    "CaffeNet",
    "FCN8s",
    "FCN8sAtOnce",
    "FCN16s",
    "FCN32s",
    "FCN32sLateFusion",
    "FCNAlexNet",
    "GeneralFCN",
    "Head",
    "HubNet",
    "Labelling",
    "Layer",
    "MissingData",
    "Net",
    "NetError",
    "Optimized",
    "Photo",
    "Preprocessing",
    "ReadError",
    "Report",
    "Segmentation",
    "Segmenter",
    "Solver",
    "Stream",
    "SyntaxRefused",
    "UnsupportedLayer",
    "UnsupportedModule",
    "VerificationFailed",
    "WeightsError",
    "WriteError",
    "bilinear_kernel",
    "build",
    "convolutionalize",
    "define",
    "diff",
    "export",
    "fcn_of",
    "from_safetensors",
    "from_torch",
    "load",
    "optimize",
    "overlay",
    "read",
    "read_classes",
    "read_photo",
    "read_safetensors",
    "segment",
    "solver_prototxt",
    "table_of",
    "training_net",
    "transplant",
    "verify",
    "vgg16_from",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
