"""`caffe.Classifier`: a net that classifies images, of any size, as caffe.io loads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.pycaffe import io
from caffe2torch.pycaffe.net import Net

_TEST = 1


class ImageNet(Net):
    """A net of phase TEST with a Transformer for its first input, from images (H, W, C)."""

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        mean: Array | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        """The settings are those of the Transformer's methods; None leaves one out."""
        super().__init__(model_file, pretrained_file, _TEST)
        name = self.inputs[0]
        self.transformer = io.Transformer({name: self.blobs[name].data.shape})
        self.transformer.set_transpose(name, (2, 0, 1))
        if mean is not None:
            self.transformer.set_mean(name, mean)
        if input_scale is not None:
            self.transformer.set_input_scale(name, input_scale)
        if raw_scale is not None:
            self.transformer.set_raw_scale(name, raw_scale)
        if channel_swap is not None:
            self.transformer.set_channel_swap(name, channel_swap)

    def run(self, images: Sequence[Array] | Array) -> Array:
        """The first output for each image, whose size is the input's already."""
        name = self.inputs[0]
        given = np.asarray([self.transformer.preprocess(name, image) for image in images], np.float32)
        return np.asarray(self.forward_all(**{name: given})[self.outputs[0]])


class Classifier(ImageNet):
    """Images are resized to `image_dims` (height, width), by default the input's, then cropped."""

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        image_dims: Sequence[int] | None = None,
        *settings: Any,
        **named: Any,
    ) -> None:
        """The rest, in this order: mean, input_scale, raw_scale, channel_swap."""
        super().__init__(model_file, pretrained_file, *settings, **named)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].data.shape[2:])
        self.image_dims = tuple(self.crop_dims) if image_dims is None else tuple(image_dims)

    def predict(self, inputs: Sequence[Array], oversample: bool = True) -> Array:
        """The classes' scores (N, classes) of images (H, W, C) as `caffe.io.load_image` gives them.

        `oversample` takes the mean over ten crops of each, four corners, the centre, and all mirrored;
        without it there is the centre alone.
        """
        images = np.asarray([io.resize_image(image, self.image_dims) for image in inputs])
        if oversample:
            scores = self.run(io.oversample(images, self.crop_dims))
            return np.asarray(scores.reshape(len(images), 10, -1).mean(1))
        top, left = ((np.array(self.image_dims) - self.crop_dims) / 2).astype(int)
        height, width = self.crop_dims
        return self.run(images[:, top : top + height, left : left + width])
