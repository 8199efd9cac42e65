"""MemoryData (memory_data_layer.cpp): batches from arrays that a script gives."""

from __future__ import annotations

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import NetError
from caffe2torch.feeding.source import Batch, Shape, Source, feeds
from caffe2torch.net import Layer


@feeds("MemoryData")
class MemoryData(Source):
    """Goes round the arrays of `set`, which it reads in place: what is written there later is seen."""

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        super().__init__(layer, phase, seed)
        p = layer.fields.memory_data_param
        self._item = (p.channels, p.height, p.width)
        self._batch = int(p.batch_size)
        if min(self._batch, *self._item) < 1:
            raise NetError(
                f"layer {layer.name!r} (MemoryData): batch_size, channels, height and width must be given"
            )
        self._data: Array | None = None
        self._labels: Array | None = None
        self._position = 0

    def set(self, data: Array, labels: Array) -> None:
        """The arrays to go round: data (N, C, H, W) and labels (N,) or (N, 1, 1, 1), both float32.

        Raises RuntimeError, as pycaffe does, for arrays that Caffe does not take.
        """
        for name, array, axes in (("data", data, (4,)), ("labels", labels, (1, 4))):
            if array.dtype != np.float32 or not array.flags.c_contiguous or array.ndim not in axes:
                raise RuntimeError(
                    f"{name} array must be float32, C contiguous and of 4 axes; labels may have 1"
                )
        if data.shape[1:] != self._item:
            raise RuntimeError(
                f"data array has items {data.shape[1:]}, layer {self.layer.name!r} {self._item}"
            )
        if labels.size != len(data):
            raise RuntimeError(f"{len(data)} items need as many labels, found {labels.shape}")
        if not len(data) or len(data) % self._batch:
            raise RuntimeError(f"{len(data)} items; give a multiple of the batch size, {self._batch}")
        self._data, self._labels, self._position = data, labels.reshape(-1), 0

    def shapes(self) -> tuple[Shape, ...]:
        """Data (N, C, H, W), label (N,)."""
        return ((self._batch, *self._item), (self._batch,))[: len(self.layer.tops)]

    def next(self) -> Batch:
        """Views of the arrays; labels as (N, 1, 1, 1), as Caffe shapes them from the first batch on."""
        if self._data is None or self._labels is None:
            raise NetError(
                f"layer {self.layer.name!r} (MemoryData): has no data; call set_input_arrays first"
            )
        here = slice(self._position, self._position + self._batch)
        self._position = (self._position + self._batch) % len(self._data)
        batch = (self._data[here], self._labels[here].reshape(-1, 1, 1, 1))
        return batch[: len(self.layer.tops)]
