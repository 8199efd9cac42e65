"""Forward passes of a plan in torch, for images of any size: each size elided once, kernels packed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.background import Background
from caffe2torch.eliding.net import ElidedNet, Kernel
from caffe2torch.eliding.recent import Recent
from caffe2torch.eliding.schedule import Eliding, Schedule, Sizes, fused
from caffe2torch.inference.bounds import TooLarge, check, checked
from caffe2torch.inference.packed import Packed, kernel_for
from caffe2torch.inference.values import Blobs
from caffe2torch.plan import Plan, Step

if TYPE_CHECKING:
    from torch import Tensor

SIZES = 16
"""How many are kept: of the full FCN-8s, each takes about 4 MB."""

_Key = tuple[tuple[tuple[str, tuple[int, int]], ...], bool]


ALONE = 10**9
"""The multiplications for an image from which on images of a batch run one by one, on a CPU."""
_EACH = ("Input", "Dropout")
"""Layers beside those that split of which each image's top depends on no other image."""


class Passes:
    """A plan's net with the values that `blobs` gives for each step, for inference alone."""

    def __init__(
        self, plan: Plan, blobs: Callable[[Step], Blobs], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.device = device
        with torch.no_grad():
            self.kernels: dict[str, Kernel] = {
                step.key: kernel_for(step, blobs(step), dtype) for step in plan.steps
            }
        self.grows = {
            key: kernel.growth for key, kernel in self.kernels.items() if isinstance(kernel, Packed)
        }
        self.eliding = Eliding(plan)
        self.background = Background(self.eliding, self.kernels, torch.empty(0, device=device))
        self.nets: Recent[_Key, ElidedNet] = Recent(SIZES)
        every = all(part.traits.splits or part.step.layer.type in _EACH for part in self.eliding.parts)
        self.independent = every and device.type == "cpu"

    def prepare(self, sizes: Sizes, fuses: bool = True) -> ElidedNet:
        """The net at a size of its images, with or without fused ReLUs. Raises NetError for a wrong size."""
        return self.nets.of((tuple(sizes.items()), fuses), lambda: self._made(sizes, fuses))

    def outputs(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From images by name to the plan's outputs by name, float32."""
        sizes = sizes_of(images)
        net = self.prepare(sizes)
        try:
            found = [self._run(net, some) for some in self._apart(net, images)]
        except TooLarge:  # for fused ReLUs, which could hide NaN
            net = self.prepare(sizes, fuses=False)
            found = [self._run(net, some) for some in self._apart(net, images)]
        outputs = net.schedule.outputs.items()
        return {
            name: (found[0][n] if len(found) == 1 else torch.cat([each[n] for each in found])).float()
            for name, n in outputs
        }

    def _apart(self, net: ElidedNet, images: Mapping[str, Tensor]) -> list[Mapping[str, Tensor]]:
        """The images to run at once: large ones one by one, which takes less memory, and no more time."""
        counts = {len(image) for image in images.values()}
        if len(counts) > 1 or net.schedule.multiplications < ALONE or not self.independent:
            return [images]
        return [{x: image[i : i + 1] for x, image in images.items()} for i in range(max(*counts, 1))]

    def blobs(self, images: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """From images by name to any blobs of the plan by name, whole and as their last layers leave them."""
        schedule, last = self.eliding.whole(sizes_of(images)), self.eliding.last
        numbers = {name: last[name] for name in names}
        values = self._run(ElidedNet(schedule, self.kernels, keep=numbers.values()), images)
        return {name: values[number].float() for name, number in numbers.items()}

    def _run(self, net: ElidedNet, images: Mapping[str, Tensor]) -> dict[int, Tensor]:
        with self._exact():
            return net(
                {
                    blob: image.to(self.device, torch.float32, memory_format=torch.channels_last)
                    for blob, image in images.items()
                }
            )

    def _made(self, sizes: Sizes, fuses: bool) -> ElidedNet:
        found = self.eliding.at(sizes)
        found = self._fused(found) if fuses else found
        with self._exact():
            return ElidedNet(found, self.kernels, self.background.frames(found), check=check)

    def _fused(self, found: Schedule) -> Schedule:
        """The schedule with ReLUs in the convolutions before them, where no NaN can be hidden."""
        schedule = fused(found)
        keys = {part.step.key for part in schedule.parts if part.relu} & self.grows.keys()
        checks = checked(self.eliding.plan, self.grows, keys)
        if checks is None:
            return found
        parts = (replace(part, checks=part.step.key in checks) for part in schedule.parts)
        return replace(schedule, parts=tuple(parts))

    def _exact(self) -> ExitStack:
        """Without gradients, and in each kernel's own precision, whatever rounding torch was asked for."""
        with ExitStack() as contexts:
            contexts.enter_context(torch.inference_mode())
            contexts.enter_context(torch.autocast(self.device.type, enabled=False))
            return contexts.pop_all()


def sizes_of(images: Mapping[str, Tensor]) -> Sizes:
    """The height and width of each image."""
    return {blob: (image.shape[2], image.shape[3]) for blob, image in images.items()}
