"""Inference in torch, on the device that a model is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.background import frames
from caffe2torch.eliding.kernels import blobs_of
from caffe2torch.eliding.net import ElidedNet, Kernel
from caffe2torch.eliding.recent import Recent
from caffe2torch.eliding.schedule import Eliding, Sizes, fused
from caffe2torch.inference.optimized import Optimized, sizes_of
from caffe2torch.inference.packed import kernel_for

if TYPE_CHECKING:
    from torch import Tensor, nn

SIZES = 16
"""How many are kept: of the full FCN-8s, each takes about 4 MB."""

_Key = tuple[tuple[str, tuple[int, int]], ...]


class InTorch(Optimized):
    """See `optimize`."""

    def __init__(self, model: nn.Module, precision: str) -> None:
        super().__init__(model)
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        state = {key: value.detach().float() for key, value in model.state_dict().items()}
        self.dtype = dtype
        with torch.no_grad():
            self.kernels: dict[str, Kernel] = {
                step.key: kernel_for(step, blobs_of(step, state), dtype) for step in self.plan.steps
            }
        self.device = next((value.device for value in state.values()), torch.device("cpu"))
        self.eliding = Eliding(self.plan)
        self.nets: Recent[_Key, ElidedNet] = Recent(SIZES)

    def prepare(self, size: tuple[int, int]) -> None:
        """Makes a size (height, width) ready. Raises NetError for one that the net does not take."""
        self._net(dict.fromkeys(self.inputs, size))

    def run(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From images by name to outputs by name."""
        net = self._net(sizes_of(images))
        ready = {
            blob: image.to(self.device, torch.float32, memory_format=torch.channels_last)
            for blob, image in images.items()
        }
        # Whoever calls may have asked torch to round; each kernel has its own precision.
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            values = net(ready)
        return {name: values[number].float() for name, number in net.schedule.outputs.items()}

    def _net(self, sizes: Sizes) -> ElidedNet:
        return self.nets.of(tuple(sizes.items()), lambda: self._made(sizes))

    def _made(self, sizes: Sizes) -> ElidedNet:
        found, like = fused(self.eliding.at(sizes)), torch.empty(0, device=self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return ElidedNet(found, self.kernels, frames(self.eliding, found, self.kernels, like))
