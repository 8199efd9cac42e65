"""What `optimize` returns, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch
from caffe2torch.errors import NetError
from caffe2torch.inference.values import emptied

if TYPE_CHECKING:
    from torch import Tensor

    from caffe2torch.net.labelling import Labelling
    from caffe2torch.net.preprocessing import Preprocessing
    from caffe2torch.writing.model import Model
    from caffe2torch.zoo.fcn import Architecture

Scores = Any
"""A tensor, or several by name: what the model returns."""


class Optimized:
    """A model for inference alone: call it as the model, from as many threads as you like.

    `inputs`, `outputs`, `preprocessing` and `labellings` are the model's. Raises NetError for inputs that are
    not the net's, and for a size that it does not take.
    """

    def __init__(self, model: Model, architecture: Architecture | None) -> None:
        """`architecture` is that of an FCN, which returns a single score by itself."""
        known = model.deployed_knowledge
        self.plan, self.architecture = emptied(model.plan), architecture
        self.inputs, self.outputs = tuple(self.plan.inputs), tuple(self.plan.outputs)
        self.preprocessing: Mapping[str, Preprocessing] = known.preprocessing
        self.labellings: Mapping[str, Labelling] = known.labellings
        self._single = architecture is not None and len(self.outputs) == 1
        self._name = self.plan.net.name or "the net"

    def prepare(self, size: tuple[int, int]) -> None:
        """Makes a size (height, width) ready. Raises NetError for one that the net does not take."""
        raise NotImplementedError

    def __call__(self, *images: Tensor, **inputs: Tensor) -> Scores:
        """From images (N, C, H, W), in order or by name, to the model's outputs."""
        found = self.run(self._named(images, inputs))
        return found[self.outputs[0]] if self._single else found

    def labels(self, *images: Tensor, **inputs: Tensor) -> Scores:
        """The class of each pixel, uint8 (N, H, W); of several heads by name. Ties go to the lower class."""
        found = {name: best(score) for name, score in self.run(self._named(images, inputs)).items()}
        return found[self.outputs[0]] if len(self.outputs) == 1 else found

    def run(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From images by name to outputs by name."""
        raise NotImplementedError

    def _named(self, images: tuple[Tensor, ...], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from caffe2torch.modules.inputs import by_name, check_image

        named = by_name(self._name, self.inputs, images, inputs)
        for blob, image in named.items():
            channels = (self.plan.inputs[blob] or (None, None))[1]
            check_image(self._name, blob, image, channels or image.shape[1])
        return named


def best(score: Tensor) -> Tensor:
    """The class of the highest score (N, classes, H, W), uint8 (N, H, W); NetError if it is not finite."""
    # max finds the first of equal values, as argmax does, in a quarter of the time.
    highest, label = score.max(1)
    if not torch.isfinite(highest).all():
        raise NetError("the scores are not finite; are the weights, and the mean of the images?")
    return label.to(torch.uint8)
