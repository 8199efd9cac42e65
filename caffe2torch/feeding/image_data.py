"""ImageData (image_data_layer.cpp): image files and labels that a list names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import NetError, ReadError
from caffe2torch.feeding.hdf5_data import file_list
from caffe2torch.feeding.resize import resize
from caffe2torch.feeding.source import Batch, Shape, Source, feeds
from caffe2torch.feeding.transform import Transform
from caffe2torch.net import Layer
from caffe2torch.untrusted.pixels import read_bgr

Line = tuple[str, int]
"""An image's path and its label."""
_INTEGER = re.compile(r"\s*([+-]?\d{1,9})")


@feeds("ImageData")
class ImageData(Source):
    """Images (N, C, H, W), BGR or grey, and labels (N,); after the last line comes the first.

    `shuffle` draws the order of the lines, at the start and after each round; `rand_skip` draws how many of
    the first ones are left out at the start. Images are resized to new_height and new_width before the rest.
    """

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        super().__init__(layer, phase, seed)
        p = layer.fields.image_data_param
        self._size, self._new = int(p.batch_size), (int(p.new_height), int(p.new_width))
        if self._size < 1 or (self._new[0] == 0) != (self._new[1] == 0):
            problem = "give new_height and new_width, or neither" if self._size else "batch_size is 0"
            raise NetError(f"layer {layer.name!r} (ImageData): {problem}")
        self._root, self._color, self._shuffle = str(p.root_folder), bool(p.is_color), bool(p.shuffle)
        self._lines = read_lines(str(p.source))
        self._generator = np.random.default_rng(seed)
        if self._shuffle:
            self._generator.shuffle(self._lines)
        skipped = int(self._generator.integers(p.rand_skip)) if p.rand_skip else 0
        if skipped >= len(self._lines):
            raise NetError(f"layer {layer.name!r} (ImageData): skips {skipped} of {len(self._lines)} images")
        self._transform = Transform(layer, phase, self._generator)
        self._shape = self._transform.shape(self._image(self._lines[skipped][0]).shape)
        self._next_lines = self._walk(skipped)

    def shapes(self) -> tuple[Shape, ...]:
        """As the first image says."""
        return ((self._size, *self._shape), (self._size,))[: len(self.layer.tops)]

    def next(self) -> Batch:
        """The next lines' images."""
        lines = [next(self._next_lines) for _ in range(self._size)]
        images = self._transform.batch([self._image(name) for name, _ in lines])
        return (images, np.array([label for _, label in lines], np.float32))[: len(self.layer.tops)]

    def _walk(self, start: int) -> Iterator[Line]:
        while True:
            yield from self._lines[start:]
            start = 0
            if self._shuffle:
                self._generator.shuffle(self._lines)

    def _image(self, name: str) -> Array:
        image = read_bgr(self._root + name, self._color)
        return resize(image, *self._new) if self._new[0] else image


def read_lines(path: str) -> list[Line]:
    """The lines `name label` of a list; a name may have spaces, and a label that is no number is 0.

    A line of one word is both, as for Caffe. Raises MissingData without the list, ReadError for one that is
    empty or has a blank line before its end.
    """
    lines = []
    for number, line in enumerate(file_list(path).rstrip("\r\n").split("\n"), 1):
        name, space, label = line.rpartition(" ")
        if not line.strip():
            raise ReadError(f"{path}:{number}: is blank; lines are `FILE LABEL`")
        whole = _INTEGER.match(label)
        lines.append((name if space else line.rstrip("\r"), int(whole[1]) if whole else 0))
    return lines
