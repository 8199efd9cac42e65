"""A model made fast for inference: the same numbers, computed with less work.

    model ─ optimize ─→ Optimized ─ image ─→ scores or labels

Each size of image has its own ElidedNet (eliding/); all share the kernels, whose weights are packed once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.errors import NetError
from caffe2torch.inference.optimized import Optimized

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "bf16")
BACKENDS = ("torch", "onnxruntime", "openvino")


def optimize(
    model: nn.Module,
    size: tuple[int, int] | None = None,
    backend: str = "torch",
    precision: str = "fp32",
) -> Optimized:
    """A function from images to what `model` returns for them in eval mode, of any size, without gradients.

    It has the model's values as they are now, in a layout of its own, on the device that the model is on.
    `size` (height, width) is made ready at once; another takes some of a forward pass at its first use.

    `precision` "fp32" gives the model's numbers but for rounding (a relative error below 2e-6); "bf16" rounds
    what convolutions multiply to 8 bits, and scores are added up in float32. `backend` is "torch";
    "onnxruntime" and "openvino" run the same graph on a CPU, exported anew for each size.

    Raises NetError for a model, size or precision that cannot be, MissingData for a backend's package.
    """
    if precision not in PRECISIONS:
        raise NetError(f"precision {precision!r}: it is {' or '.join(PRECISIONS)}")
    if backend not in BACKENDS:
        raise NetError(f"backend {backend!r}: it is {', '.join(BACKENDS)}")
    found: Optimized
    if backend == "torch":
        from caffe2torch.inference.in_torch import InTorch

        found = InTorch(model, precision)
    else:
        from caffe2torch.inference.engines import InEngine

        found = InEngine(model, backend, precision)
    if size is not None:
        found.prepare(size)
    return found
