"""`transform_param` (data_transformer.cpp): images (C, H, W) -> what a net is given.

An output is (pixel - mean) * scale, where a mean image is that of the pixel's place in the uncropped image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.blob import MAX_COUNT, Array
from caffe2torch.errors import NetError
from caffe2torch.net import Layer
from caffe2torch.untrusted.binary import read_binaryproto

if TYPE_CHECKING:
    from numpy.random import Generator


class Transform:
    """Crops, mirrors, subtracts and scales the images of one layer.

    In phase TEST the crop is the centre one; in TRAIN its place is drawn for each image. Half of the images are
    mirrored if `mirror` is set, in TEST, too, as in Caffe. Raises MissingData or ReadError for a mean_file
    that cannot be read, NetError for settings that contradict each other.
    """

    def __init__(self, layer: Layer, phase: str, generator: Generator) -> None:
        p = layer.fields.transform_param
        self._layer, self._generator = layer, generator
        self._crop, self._mirror, self._scale = int(p.crop_size), bool(p.mirror), np.float32(p.scale)
        self._random_crop = phase == "TRAIN"
        self._values = np.array(p.mean_value, np.float32)
        if p.mean_file and p.mean_value:
            raise self._error("has a mean_file and a mean_value; keep one of them")
        self._image = _mean_image(p.mean_file) if p.mean_file else None

    def shape(self, image: Sequence[int]) -> tuple[int, int, int]:
        """The shape (C, h, w) of what an image of shape (C, H, W) becomes. Raises NetError if it cannot."""
        channels, height, width = image
        if self._image is not None and self._image.shape != (channels, height, width):
            raise self._error(f"has images {(channels, height, width)} and a mean_file {self._image.shape}")
        if self._values.size > 1 and self._values.size != channels:
            raise self._error(
                f"has {self._values.size} mean_values for images of {channels} channels; give one, or one each"
            )
        if self._crop and min(height, width) < self._crop:
            raise self._error(f"has crop_size {self._crop} and an image of {height}x{width}")
        return channels, self._crop or height, self._crop or width

    def batch(self, images: Sequence[Array]) -> Array:
        """The batch (N, C, h, w), float32, of images of any numeric type.

        Raises NetError for images that end up in different sizes.
        """
        shape = self.shape(images[0].shape)
        count = len(images) * int(np.prod(shape, dtype=np.int64))
        if count > MAX_COUNT:
            raise self._error(f"has a batch of {count} values, Caffe allows {MAX_COUNT}")
        out = np.empty((len(images), *shape), np.float32)
        for row, image in zip(out, images, strict=True):
            self._one(image, row)
        if self._values.size:
            out -= self._values.reshape(-1, 1, 1)
        if self._scale != 1:
            out *= self._scale
        return out

    def _one(self, image: Array, out: Array) -> None:
        """Crops and mirrors one image into `out` (C, h, w), and subtracts the mean image."""
        if (shape := self.shape(image.shape)) != out.shape:
            raise self._error(
                f"has images of {out.shape} and of {shape} in one batch; set crop_size, or batch 1"
            )
        mirrored = self._mirror and self._generator.integers(2) == 1
        top, left = self._corner(image.shape[1] - shape[1], image.shape[2] - shape[2])
        window = (slice(None), slice(top, top + shape[1]), slice(left, left + shape[2]))
        step = -1 if mirrored else 1
        if self._image is None:
            out[...] = image[window][:, :, ::step]
        else:
            np.subtract(image[window], self._image[window], out=out[:, :, ::step], dtype=np.float32)

    def _corner(self, below: int, right: int) -> tuple[int, int]:
        """Top and left of the crop, with so many rows and columns to spare; drawn with both ends included."""
        if self._crop and self._random_crop:
            top, left = self._generator.integers((below + 1, right + 1))
            return int(top), int(left)
        return below // 2, right // 2

    def _error(self, problem: str) -> NetError:
        return NetError(f"layer {self._layer.name!r} ({self._layer.type}): {problem}")


def _mean_image(path: str) -> Array:
    """The mean image (C, H, W) of a binaryproto, float32."""
    mean = read_binaryproto(path)
    return np.asarray(mean.reshape(mean.shape[-3:] if mean.ndim >= 3 else (1, *mean.shape)), np.float32)
