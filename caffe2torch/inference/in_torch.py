"""Inference in torch, on the device that a model is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.net import Kernel
from caffe2torch.inference.folding import folded
from caffe2torch.inference.optimized import Optimized
from caffe2torch.inference.passes import Passes
from caffe2torch.inference.values import emptied, values_of

if TYPE_CHECKING:
    from torch import Tensor

    from caffe2torch.writing.model import Model
    from caffe2torch.zoo.fcn import Architecture


class InTorch(Optimized):
    """See `optimize`."""

    def __init__(
        self, model: Model, architecture: Architecture | None, precision: str, device: torch.device
    ) -> None:
        super().__init__(model, architecture)
        plan = folded(model.plan)
        steps = {step.key: step for step in plan.steps}
        self.passes = Passes(
            emptied(plan),
            lambda empty: values_of(steps[empty.key], plan, device),
            torch.float32 if precision == "fp32" else torch.bfloat16,
            device,
        )

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """The kernels by the keys of their layers."""
        return self.passes.kernels

    def prepare(self, size: tuple[int, int]) -> None:
        """Makes a size (height, width) ready. Raises NetError for one that the net does not take."""
        self.passes.prepare(dict.fromkeys(self.inputs, size))

    def run(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From images by name to outputs by name."""
        return self.passes.outputs(images)
