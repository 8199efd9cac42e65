"""Small layers, computed by NumPy in the blobs' own memory.

A call of torch's takes longer than all that a small layer does. These classes write their tops in place, as
Caffe does, through arrays that they keep while the memory of their blobs stands still; a layer that is not
small, or not on the CPU, is its TorchLayer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from caffe2torch.blob import Array
from caffe2torch.net import Layer
from caffe2torch.pycaffe.blob import Blob
from caffe2torch.pycaffe.memory import SMALL, Changes, Memory
from caffe2torch.pycaffe.net_layers import TorchLayer

SMALL_PRODUCT = 1 << 15
"""Multiplications of an InnerProduct, up to which one thread of NumPy's is faster."""
MAX_CLASSES = 32
"""Of a SoftmaxWithLoss of one item, up to which Python's floats are faster."""
_FLT_MIN = 1.1754943508222875e-38
_LOW = math.log(_FLT_MIN)


class PlainLayer(TorchLayer):
    """A layer that `_compute` and `_back` compute while it is small, which `_bind` says."""

    def __init__(self, layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob], phase: str) -> None:
        super().__init__(layer, bottoms, tops, phase)
        self._seen_changes = -1
        self._tensors: list[torch.Tensor] = []
        self._is_small = False

    def forward(self, record: bool = True) -> None:
        """In place, or as any TorchLayer."""
        if Changes.count != self._seen_changes:
            self._look()
        if self._is_small:
            self._compute()
        else:
            super().forward(record)

    def backward(self) -> None:
        """In place, or as any TorchLayer."""
        if Changes.count != self._seen_changes:
            self._look()
        if self._is_small:
            self._back()
        else:
            super().backward()

    def _look(self) -> None:
        """Makes the arrays anew if any memory of its own has moved."""
        blobs = (*self.bottoms, *self.tops, *self.blobs)
        tensors = [memory.tensor for blob in blobs for memory in (blob.data_memory, blob.diff_memory)]
        moved = len(tensors) != len(self._tensors) or any(
            a is not b for a, b in zip(tensors, self._tensors, strict=True)
        )
        if moved:
            self._is_small = all(tensor.is_cpu for tensor in tensors) and self._fits()
            if self._is_small:
                self.reshape()
                for blob in blobs:
                    blob.fit_diff()
                self._bind()
            self._tensors = [m.tensor for blob in blobs for m in (blob.data_memory, blob.diff_memory)]
        self._seen_changes = Changes.count

    def _fits(self) -> bool:
        """Whether the layer is small and of the form that is written out."""
        return all(blob.count <= SMALL for blob in (*self.bottoms, *self.tops))

    def _bind(self) -> None:
        """Makes the arrays that the layer computes with."""
        self.x, self.y = (_array(blob.data_memory) for blob in (self.bottoms[0], self.tops[0]))
        self.dx, self.dy = (_array(blob.diff_memory) for blob in (self.bottoms[0], self.tops[0]))

    def _compute(self) -> None:
        raise NotImplementedError

    def _back(self) -> None:
        raise NotImplementedError


def _array(memory: Memory) -> Array:
    """An array that no script holds: where the memory moves, nothing need be copied to it."""
    memory.is_zero = False
    return memory.tensor.numpy()


class PlainInnerProduct(PlainLayer):
    """x W' + b of small matrices."""

    def _fits(self) -> bool:
        p = self.converter.p  # type: ignore[attr-defined]
        return super()._fits() and not p.transpose and self.bottoms[0].count * p.num_output <= SMALL_PRODUCT

    def _bind(self) -> None:
        super()._bind()
        rows = math.prod(self.tops[0].sizes[:-1])
        self.is_row = rows == 1
        # One item is a vector, with which all is faster than with a matrix of one row.
        shape = (-1,) if self.is_row else (rows, -1)
        self.x, self.dx, self.y, self.dy = (a.reshape(shape) for a in (self.x, self.dx, self.y, self.dy))
        self.w = _array(self.blobs[0].data_memory)
        self.dw = _array(self.blobs[0].diff_memory)
        self.dyt = self.dy[:, None] if self.is_row else self.dy.T
        self.part = np.empty_like(self.dw)
        self.is_biased = len(self.blobs) > 1
        self.down = (self.w, self.x, self.y) if self.is_row else (self.x, self.w.T, self.y)
        if self.is_biased:
            self.b, self.db = (_array(m) for m in (self.blobs[1].data_memory, self.blobs[1].diff_memory))

    def _compute(self) -> None:
        np.dot(*self.down)
        if self.is_biased:
            np.add(self.y, self.b, self.y)

    def _back(self) -> None:
        asked = self.needs.parameters
        if asked[0]:
            self._add_weight_diff()
        if self.is_biased and asked[1]:
            np.add(self.db, self.dy if self.is_row else self.dy.sum(0), self.db)
            self.blobs[1].diff_memory.is_zero = False
        if self.needs.bottoms[0]:
            np.dot(self.dy, self.w, self.dx)

    def _add_weight_diff(self) -> None:
        memory = self.blobs[0].diff_memory
        into = self.dw if memory.is_zero else self.part
        if self.is_row:
            np.multiply(self.dyt, self.x, into)
        else:
            np.dot(self.dyt, self.x, into)
        if memory.is_zero:
            memory.is_zero = False
        else:
            np.add(self.dw, into, self.dw)


class PlainReLU(PlainLayer):
    """max(x, 0)."""

    def _fits(self) -> bool:
        return super()._fits() and not self.layer.fields.relu_param.negative_slope

    def _bind(self) -> None:
        super()._bind()
        self.above, self.zeros = np.empty(self.y.shape, bool), np.zeros_like(self.y)

    def _compute(self) -> None:
        np.greater(self.x, self.zeros, self.above)  # now: a layer in place may overwrite the top
        np.maximum(self.x, self.zeros, out=self.y)

    def _back(self) -> None:
        np.multiply(self.dy, self.above, self.dx)


class _PlainCurve(PlainLayer):
    """What is told from its value, of which a copy is kept: a layer in place may overwrite the top."""

    def _bind(self) -> None:
        super()._bind()
        self.value = np.empty_like(self.y)


class PlainSigmoid(_PlainCurve):
    """1 / (1 + exp(-x)), by tanh as Caffe computes it."""

    def _compute(self) -> None:
        value = self.value
        np.multiply(self.x, 0.5, value)
        np.tanh(value, value)
        np.multiply(value, 0.5, value)
        np.add(value, 0.5, value)
        np.copyto(self.y, value)

    def _back(self) -> None:
        np.multiply(self.dy, self.value * (1 - self.value), self.dx)


class PlainTanH(_PlainCurve):
    """tanh(x)."""

    def _compute(self) -> None:
        np.tanh(self.x, self.value)
        np.copyto(self.y, self.value)

    def _back(self) -> None:
        np.multiply(self.dy, 1 - self.value * self.value, self.dx)


class PlainSoftmaxWithLoss(PlainLayer):
    """The loss of one item with a few classes, for which every normalization divides by 1."""

    def _fits(self) -> bool:
        scores, labels = (blob.sizes for blob in self.bottoms)
        is_one = len(scores) == 2 and scores[0] == 1 and math.prod(labels) == 1
        ignores = self.layer.fields.loss_param.has("ignore_label")
        return is_one and scores[1] <= MAX_CLASSES and len(self.tops) == 1 and not ignores

    def _bind(self) -> None:
        super()._bind()
        self.row, self.drow = self.x[0], self.dx[0]
        self.label = _array(self.bottoms[1].data_memory).reshape(-1)
        self.probabilities: list[float] = []

    def _compute(self) -> None:
        scores, place = self.row.tolist(), int(self.label[0])
        if not 0 <= place < len(scores):
            raise self.converter.refuse(f"label {place} is none of its {len(scores)} classes")
        most = max(scores)
        powers = [math.exp(score - most) for score in scores]
        total = sum(powers)
        self.probabilities = [power / total for power in powers]
        self.y[()] = min(math.log(total) - (scores[place] - most), -_LOW)

    def _back(self) -> None:
        if self.needs.bottoms[1]:
            self._check()
        if not self.needs.bottoms[0]:
            return
        weight = float(self.dy)
        row = [weight * probability for probability in self.probabilities]
        row[int(self.label[0])] -= weight
        self.drow[:] = row


PLAIN: dict[str, type[PlainLayer]] = {
    "InnerProduct": PlainInnerProduct,
    "ReLU": PlainReLU,
    "Sigmoid": PlainSigmoid,
    "SoftmaxWithLoss": PlainSoftmaxWithLoss,
    "TanH": PlainTanH,
}


def torch_layer(layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob], phase: str) -> TorchLayer:
    """The fastest class for a layer."""
    return PLAIN.get(layer.type, TorchLayer)(layer, bottoms, tops, phase)
