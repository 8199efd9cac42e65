"""WindowData (window_data_layer.cpp): windows of images, as R-CNN draws them.

The list holds blocks, one for each image:

    # INDEX
    PATH
    CHANNELS
    HEIGHT
    WIDTH
    COUNT
    LABEL OVERLAP X1 Y1 X2 Y2      (COUNT lines; the corners belong to the window)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import NetError, ReadError
from caffe2torch.feeding.hdf5_data import words_of
from caffe2torch.feeding.resize import resize
from caffe2torch.feeding.source import Batch, Shape, Source, feeds
from caffe2torch.feeding.transform import mean_image
from caffe2torch.net import Layer
from caffe2torch.untrusted.pixels import read_bgr


@dataclass(frozen=True)
class Window:
    """A window of an image: columns x, rows y, both ends included."""

    path: str
    label: int
    overlap: float
    corners: tuple[int, int, int, int]
    """x1, y1, x2, y2."""


@dataclass(frozen=True)
class Place:
    """Where the pixels of a window go: `box` of the image, resized to `size`, at `corner` of the crop."""

    box: tuple[int, int, int, int]
    """x1, y1, x2, y2, within the image, both ends included."""
    size: tuple[int, int]
    """Height, width."""
    corner: tuple[int, int]
    """Top, left."""


@feeds("WindowData")
class WindowData(Source):
    """Crops (N, C, crop_size, crop_size) and labels (N,), drawn at random: background ones first.

    A share `fg_fraction` of a batch has an overlap of `fg_threshold` or more; the others have one below
    `bg_threshold`, and label 0.
    """

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        super().__init__(layer, phase, seed)
        p, transform = layer.fields.window_data_param, layer.fields.transform_param
        self._size, self._crop = int(p.batch_size), int(transform.crop_size)
        # transform_param's scale does nothing here, as in Caffe.
        self._scale, self._mirror = np.float32(p.scale), bool(transform.mirror)
        self._pad, self._is_square = int(p.context_pad), p.crop_mode == "square"
        if not math.isfinite(p.fg_fraction):
            raise self._error(f"has an fg_fraction of {p.fg_fraction}")
        self._foreground_count = int(np.float32(self._size) * np.float32(p.fg_fraction))
        if self._size < 1 or self._crop <= 2 * self._pad:
            raise self._error("needs a batch_size, and a crop_size above twice its context_pad")
        windows, self._channels = read_windows(str(p.source), str(p.root_folder))
        self._foreground = [window for window in windows if window.overlap >= p.fg_threshold]
        self._background = [window for window in windows if window.overlap < p.bg_threshold]
        if any(window.label <= 0 for window in self._foreground):
            raise ReadError(f"{p.source}: has a window of the foreground whose label is not above 0")
        self._mean = self._mean_of(transform.mean_file, transform.mean_value)
        self._generator = np.random.default_rng(seed)

    def shapes(self) -> tuple[Shape, ...]:
        """As the last image of the list says."""
        return ((self._size, self._channels, self._crop, self._crop), (self._size,))[: len(self.layer.tops)]

    def next(self) -> Batch:
        """Windows drawn anew."""
        crops = np.zeros((self._size, self._channels, self._crop, self._crop), np.float32)
        labels = np.zeros(self._size, np.float32)
        background = self._size - self._foreground_count
        for i in range(self._size):
            kind = self._background if i < background else self._foreground
            if not kind:
                raise self._error(f"has no windows of the {'back' if i < background else 'fore'}ground")
            window = kind[self._generator.integers(len(kind))]
            self._put(window, self._mirror and self._generator.integers(2) == 1, crops[i])
            labels[i] = 0 if i < background else window.label
        return (crops, labels)[: len(self.layer.tops)]

    def _put(self, window: Window, mirrored: bool, out: Array) -> None:
        """Writes a window's pixels, mean subtracted and scaled, into `out` (C, crop_size, crop_size)."""
        image = read_bgr(window.path, True)
        x_1, y_1, x_2, y_2 = window.corners
        if not (0 <= x_1 <= x_2 < image.shape[2] and 0 <= y_1 <= y_2 < image.shape[1]):
            raise ReadError(f"{window.path}: is {image.shape[2]}x{image.shape[1]}, a window {window.corners}")
        place = self._place(window.corners, (image.shape[1], image.shape[2]), mirrored)
        x_1, y_1, x_2, y_2 = place.box
        pixels = resize(image[:, y_1 : y_2 + 1, x_1 : x_2 + 1], *place.size)[:, :, :: -1 if mirrored else 1]
        rows, columns = (slice(at, at + n) for at, n in zip(place.corner, place.size, strict=True))
        mean = self._mean if self._mean.shape[1] == 1 else self._mean[:, rows, columns]
        out[:, rows, columns] = (pixels - mean) * self._scale

    def _place(self, corners: tuple[int, int, int, int], image: tuple[int, int], mirrored: bool) -> Place:
        """Where a window's pixels go: all over the crop, or with the pixels around them."""
        if not self._pad and not self._is_square:
            return Place(corners, (self._crop, self._crop), (0, 0))
        low, high = np.array(corners[:2]), np.array(corners[2:])  # (x, y)
        half = (high - low + 1) / 2
        centre = low + half
        half = np.full(2, half.max()) if self._is_square else half
        half = half * (self._crop / (self._crop - 2 * self._pad))
        low, high = _rounded(centre - half), _rounded(centre + half)
        zoom = self._crop / (high - low + 1)
        before, after = np.maximum(0, -low), np.maximum(0, high - np.array(image[::-1]) + 1)
        low, high = low + before, high - after
        size = _rounded((high - low + 1) * zoom)
        left, top = _rounded(before * zoom)
        left = int(_rounded(after * zoom)[0]) if mirrored else int(left)
        width, height = np.minimum(size, self._crop - np.array([left, top]))
        (x_1, y_1), (x_2, y_2) = low.tolist(), high.tolist()
        return Place((x_1, y_1, x_2, y_2), (int(height), int(width)), (int(top), left))

    def _mean_of(self, path: str, values: tuple[float, ...]) -> Array:
        """What is subtracted: (C, 1, 1), or the centre of a mean image, (C, crop_size, crop_size)."""
        if path and values:
            raise self._error("has a mean_file and a mean_value; keep one of them")
        if not path:
            if len(values) not in (0, 1, self._channels):
                raise self._error(f"has {len(values)} mean_values for {self._channels} channels")
            return np.array(values or (0,), np.float32).reshape(-1, 1, 1)
        image = mean_image(path)
        off = (image.shape[2] - self._crop) // 2
        if image.shape[0] != self._channels or image.shape[1] != image.shape[2] or off < 0:
            raise self._error(f"has a mean_file {image.shape}; it must be square, and not below crop_size")
        return image[:, off : off + self._crop, off : off + self._crop]

    def _error(self, problem: str) -> NetError:
        return NetError(f"layer {self.layer.name!r} (WindowData): {problem}")


def _rounded(values: Array) -> Array:
    """To the next integer, halves away from zero, as C rounds."""
    return np.asarray(np.trunc(values + np.copysign(0.5, values)), np.int64)


def read_windows(path: str, root: str) -> tuple[list[Window], int]:
    """The windows of a list, whose images lie below `root`, and the channels of its last image.

    Raises MissingData without the list, ReadError where it does not have the form above.
    """
    words = iter(words_of(path))
    windows: list[Window] = []
    channels, image = 0, ""
    for mark in words:
        if mark != "#":
            raise ReadError(f"{path}: has {mark!r} where an image begins with `#`")
        try:
            next(words)
            image = root + next(words)
            channels, _, _, count = (int(next(words)) for _ in range(4))
            windows += [_window(image, words) for _ in range(count)]
        except (StopIteration, RuntimeError, ValueError):
            raise ReadError(
                f"{path}: its block of {image!r} is incomplete, or has no number where one is"
            ) from None
    if not windows:
        raise ReadError(f"{path}: has no windows")
    return windows, channels


def _window(image: str, words: Iterator[str]) -> Window:
    label, overlap = int(next(words)), float(next(words))
    x_1, y_1, x_2, y_2 = (int(next(words)) for _ in range(4))
    return Window(image, label, overlap, (x_1, y_1, x_2, y_2))
