"""Data (data_layer.cpp): Datums of an LMDB or a LevelDB, in the order of their keys, for ever."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import NetError, ReadError
from caffe2torch.feeding.source import Batch, Shape, Source, feeds
from caffe2torch.feeding.transform import Transform
from caffe2torch.net import Layer
from caffe2torch.untrusted.databases import open_database
from caffe2torch.untrusted.datums import read_datum


@feeds("Data")
class Data(Source):
    """Images (N, C, H, W) and, for a second top, labels (N,); `rand_skip` does nothing, as in Caffe."""

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        super().__init__(layer, phase, seed)
        p, transform = layer.fields.data_param, layer.fields.transform_param
        self._size, self._source = int(p.batch_size), str(p.source)
        if self._size < 1:
            raise NetError(f"layer {layer.name!r} (Data): batch_size must be given, and at least 1")
        if transform.force_color and transform.force_gray:
            raise NetError(f"layer {layer.name!r} (Data): has force_color and force_gray; keep one of them")
        is_forced = p.force_encoded_color or transform.force_color
        self._color = True if is_forced else False if transform.force_gray else None
        self._database = open_database(self._source, p.backend)
        self._transform = Transform(layer, phase, np.random.default_rng(seed))
        self._shape = self._transform.shape(next(self._images())[0].shape)
        self._records = self._images()

    def shapes(self) -> tuple[Shape, ...]:
        """As the first record says."""
        return ((self._size, *self._shape), (self._size,))[: len(self.layer.tops)]

    def next(self) -> Batch:
        """The next records; after the last comes the first, in the middle of a batch, too."""
        images, labels = zip(*(next(self._records) for _ in range(self._size)), strict=True)
        batch: tuple[Array, Array] = (self._transform.batch(images), np.array(labels, np.float32))
        return batch[: len(self.layer.tops)]

    def _images(self) -> Iterator[tuple[Array, int]]:
        """Every image and label, round and round."""
        while True:
            number = -1
            for number, record in enumerate(self._database.values()):
                yield read_datum(record, f"{self._source}: record {number}", self._color)
            if number < 0:
                raise ReadError(f"{self._source}: has no records")
