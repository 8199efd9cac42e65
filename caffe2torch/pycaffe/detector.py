"""`caffe.Detector`: a net that scores windows of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.pycaffe import io
from caffe2torch.pycaffe.classifier import ImageNet


class Detector(ImageNet):
    """Crops windows out of images, warps them to the net's input, and scores them.

    With `context_pad` the input shows so many pixels around each window, and the mean beyond the image.
    """

    def __init__(
        self,
        model_file: str,
        pretrained_file: str,
        mean: Array | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
        """A score for each window of each image file.

        Takes pairs of a file and windows (ymin, xmin, ymax, xmax); returns, for each window, a dict of
        `window`, `prediction` and `filename`.
        """
        found: list[tuple[str, Any]] = []
        crops = []
        for filename, windows in images_windows:
            image = io.load_image(filename)
            for window in windows:
                crops.append(self.crop(image, window))
                found.append((filename, window))
        scores = self.run(crops) if crops else ()
        return [
            {"window": window, "prediction": score, "filename": filename}
            for (filename, window), score in zip(found, scores, strict=True)
        ]

    def detect_selective_search(self, image_fnames: Iterable[str]) -> list[dict[str, Any]]:
        """Not to be had: pycaffe runs a MATLAB program here."""
        raise NotImplementedError(
            "selective search is a MATLAB program, which is not part of this package; "
            "give windows of your own to detect_windows"
        )

    def crop(self, im: Array, window: Sequence[float]) -> Array:
        """A window (ymin, xmin, ymax, xmax) of an image (H, W, C), with its context if there is to be any.

        Raises AssertionError for a window that lies outside the image.
        """
        y_0, x_0, y_1, x_1 = (int(edge) for edge in window)
        if not self.context_pad:
            return im[y_0:y_1, x_0:x_1]
        return self._with_context(im, np.asarray(window, float))

    def _with_context(self, im: Array, window: Array) -> Array:
        """The window and its context, warped to the input's size; what is beyond the image is the mean."""
        size = self.blobs[self.inputs[0]].width
        scale = size / (size - 2.0 * self.context_pad)
        half = (window[2:] - window[:2] + 1) / 2  # (height, width)
        centre = window[:2] + half
        box = np.round(np.concatenate([centre - scale * half, centre + scale * half]))
        zoom = size / (box[2:] - box[:2] + 1)
        before = [_rounded(edge) for edge in np.maximum(0, -box[:2]) * zoom]
        box = np.clip(box, 0, [*im.shape[:2], *im.shape[:2]])
        if (box[2:] <= box[:2]).any():
            raise AssertionError(f"window {window.tolist()} is outside the image of {im.shape[:2]}")
        extent = box[2:] - box[:2] + 1
        inside = [min(_rounded(edge), size - pad) for edge, pad in zip(extent * zoom, before, strict=True)]
        y_0, x_0, y_1, x_1 = box.astype(int)
        whole = np.ones(self.crop_dims, np.float32) * self.crop_mean
        (top, left), (height, width) = before, inside
        whole[top : top + height, left : left + width] = io.resize_image(im[y_0:y_1, x_0:x_1], inside)
        return whole

    def configure_crop(self, context_pad: int | None) -> None:
        """Sets `context_pad`, `crop_dims` (H, W, C) and `crop_mean`, the mean as an image."""
        name = self.inputs[0]
        self.context_pad = context_pad or 0
        channels, height, width = self.blobs[name].data.shape[1:]
        self.crop_dims = (height, width, channels)
        mean = self.transformer.mean.get(name)
        if not self.context_pad or mean is None:
            self.crop_mean: Array = np.zeros(self.crop_dims, np.float32)
            return
        mean = np.array(mean, np.float32)
        if name in self.transformer.channel_swap:
            mean = mean[np.argsort(self.transformer.channel_swap[name])]
        self.crop_mean = mean.transpose(1, 2, 0) / self.transformer.raw_scale.get(name, 1)


def _rounded(value: float) -> int:
    """To the next integer, halves up, as Python 2 rounded."""
    return math.floor(value + 0.5)
