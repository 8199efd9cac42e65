"""A model made fast for inference: the same numbers, computed with less work.

    model or file ─ optimize ─→ Optimized ─ image ─→ scores or labels

Each size of image has its own ElidedNet (eliding/); all share the kernels, whose weights are packed once.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from caffe2torch.errors import NetError
from caffe2torch.inference.optimized import Optimized
from caffe2torch.untrusted.mapped import AnyPath

if TYPE_CHECKING:
    import torch
    from torch import nn

    from caffe2torch.writing.model import Model
    from caffe2torch.zoo.fcn import Architecture

PRECISIONS = ("fp32", "bf16")
BACKENDS = ("torch", "onnxruntime", "openvino")


def optimize(
    model: nn.Module | AnyPath,
    size: tuple[int, int] | None = None,
    backend: str = "torch",
    precision: str = "fp32",
) -> Optimized:
    """A function from images to what `model` returns for them in eval mode, of any size, without gradients.

    What it returns are inference tensors, which autograd refuses: clone them to change them outside of
    `torch.inference_mode()`. It has the model's values as they are now, in a layout of its own, on the device
    that the model is on. From a model's file it makes what it makes from `load(file)`, on the CPU, without
    ever having all of the file's values in memory beside its own. `size` (height, width) is made ready at
    once; another takes some of a forward pass at its first use.

    `precision` "fp32" gives the model's numbers but for rounding (a relative error below 2e-6); "bf16" rounds
    what convolutions multiply to 8 bits, and scores are added up in float32. `backend` is "torch";
    "onnxruntime" and "openvino" run the same graph on a CPU, exported anew for each size.

    Raises NetError for a model, size or precision that cannot be, MissingData for a backend's package, and
    for a file what `load` raises.
    """
    if precision not in PRECISIONS:
        raise NetError(f"precision {precision!r}: it is {' or '.join(PRECISIONS)}")
    if backend not in BACKENDS:
        raise NetError(f"backend {backend!r}: it is {', '.join(BACKENDS)}")
    known, architecture, device = _looked_at(model)
    found: Optimized
    if backend == "torch":
        from caffe2torch.inference.in_torch import InTorch

        found = InTorch(known, architecture, precision, device)
    else:
        from caffe2torch.inference.engines import InEngine

        found = InEngine(known, architecture, backend, precision)
    if size is not None:
        found.prepare(size)
    return found


def _looked_at(model: nn.Module | AnyPath) -> tuple[Model, Architecture | None, torch.device]:
    """A module or file as a Model, its architecture if it is a paper's FCN, and where its values go."""
    from caffe2torch._torch import torch

    if isinstance(model, torch.nn.Module):
        from caffe2torch.modules.fcn_base import FCN
        from caffe2torch.writing.model import model_of

        own = next(itertools.chain(model.parameters(), model.buffers()), torch.empty(0))
        return model_of(model), model.architecture if isinstance(model, FCN) else None, own.device
    from caffe2torch.opening import open_model
    from caffe2torch.opening.loading import load

    opened = open_model(model)
    if opened.architecture is not None and None in opened.plan.inputs.values():
        return _looked_at(load(model))  # the architecture knows the channels of its inputs
    return opened, opened.architecture, torch.device("cpu")
