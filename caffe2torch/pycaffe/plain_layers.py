"""Layers that are computed in another way than by their converters, for speed: small ones, and some pools.

A call of torch's takes longer than all that a small layer does. PlainLayers write their tops in place, as
Caffe does, through arrays that they keep while the memory of their blobs stands still; a layer that is not
small, or not on the CPU, is its TorchLayer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from caffe2torch.blob import Array
from caffe2torch.layers.caffe.pooling import Pooling
from caffe2torch.layers.nonfinite import all_finite
from caffe2torch.net import Layer
from caffe2torch.pycaffe.blob import Blob
from caffe2torch.pycaffe.memory import SMALL, Changes, Memory
from caffe2torch.pycaffe.net_layers import TorchLayer

SMALL_PRODUCT = 1 << 15
"""Multiplications of an InnerProduct, up to which one thread of NumPy's is faster."""
MAX_CLASSES = 32
"""Of a SoftmaxWithLoss of one item, up to which Python's floats are faster."""
BLOCK = 16
"""Channels that oneDNN takes together."""
MAX_TILE = 9
"""Values in a window of pooling, up to which strided views are faster."""
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

    def steady(self, forward: bool, record: bool) -> Callable[[], object]:
        """Without a look at whether the memory has moved."""
        if self._seen_changes != Changes.count or not self._is_small:
            return super().steady(forward, record)
        return self._compute if forward else self._back

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
        # A product with one row is faster than the multiplications that it is.
        left, right = (self.dy[:, None], self.x[None]) if self.is_row else (self.dy.T, self.x)
        self.multiply_by_diff = partial(left.dot, right)
        self.part = np.empty_like(self.dw)
        self.is_biased = len(self.blobs) > 1
        left, right = (self.w, self.x) if self.is_row else (self.x, self.w.T)
        self.multiply = partial(left.dot, right, self.y)  # the method takes half the time of np.dot
        self.multiply_back = partial(self.dy.dot, self.w, self.dx)
        if self.is_biased:
            self.b, self.db = (_array(m) for m in (self.blobs[1].data_memory, self.blobs[1].diff_memory))

    def _compute(self) -> None:
        self.multiply()
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
            self.multiply_back()

    def _add_weight_diff(self) -> None:
        memory = self.blobs[0].diff_memory
        if memory.is_zero:
            self.multiply_by_diff(self.dw)
            memory.is_zero = False
        else:
            np.add(self.dw, self.multiply_by_diff(self.part), self.dw)


class PlainReLU(PlainLayer):
    """max(x, 0)."""

    def forward(self, record: bool = True) -> None:
        """In place in its bottom's memory, too, where no gradient will ask for it: that saves new memory."""
        x = self.bottoms[0].data_memory.tensor
        is_large = self.is_in_place and x.numel() > SMALL and x.is_cpu
        if is_large and not (record and self.needs.backward):
            slope = self.layer.fields.relu_param.negative_slope
            torch.nn.functional.leaky_relu_(x, slope).add_(0.0)  # -0 becomes 0
        else:
            super().forward(record)

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


class TiledPooling(TorchLayer):
    """MAX over windows that tile the image, such as 2 x 2 with stride 2: a maximum of strided views.

    torch's own max_pool2d takes ten times as long on a CPU. In a tie the first value of a window is the one
    that gets the gradient.
    """

    def __init__(self, layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob], phase: str) -> None:
        super().__init__(layer, bottoms, tops, phase)
        own = self.converter
        is_max = isinstance(own, Pooling) and own.p.pool == "MAX" and not own.p.global_pooling
        self.kernel = own.kernel if is_max and len(tops) == 1 else (0, 0)  # type: ignore[attr-defined]
        fits = is_max and own.kernel == own.stride and not any(own.pad)  # type: ignore[attr-defined]
        self._is_tiled = bool(fits) and 1 < math.prod(self.kernel) <= MAX_TILE
        self._hits: list[torch.Tensor] = []
        """Of each place in a window, where it has the maximum."""

    def forward(self, record: bool = True) -> None:
        """By strided views, or where the windows do not tile the image as any TorchLayer."""
        x = self.bottoms[0].data_memory.tensor
        self._hits = []
        if not (
            self._is_tiled
            and x.is_cpu
            and not any(n % k for n, k in zip(x.shape[2:], self.kernel, strict=True))
        ):
            super().forward(record)
            return
        parts = self._parts(x)
        y = torch.maximum(parts[0], parts[1])
        for part in parts[2:]:
            torch.maximum(y, part, out=y)
        if not all_finite(y):
            super().forward(record)
            return
        if record and self.needs.backward:
            self._hits = _first(parts, y)
        self.tops[0].data_memory.put(y)

    def _parts(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The values at each place of all windows."""
        high, wide = self.kernel
        return [x[:, :, i::high, j::wide] for i in range(high) for j in range(wide)]

    def backward(self) -> None:
        """To the first maximum of each window."""
        if not self._hits:
            super().backward()
        elif self.needs.bottoms[0]:
            dy = self.tops[0].fit_diff().tensor
            dx = torch.empty(self.bottoms[0].sizes)
            for part, hit in zip(self._parts(dx), self._hits, strict=True):
                torch.mul(dy, hit, out=part)
            self.bottoms[0].diff_memory.put(dx)


def _first(parts: Sequence[torch.Tensor], most: torch.Tensor) -> list[torch.Tensor]:
    """Of each part, where it is the first to have the maximum."""
    hits = [parts[0] == most]
    left = ~hits[0]
    for part in parts[1:]:
        hits.append((part == most).logical_and_(left))
        left.logical_xor_(hits[-1])
    return hits


class OddConvolution(TorchLayer):
    """A Convolution; of channels that fill no whole blocks of oneDNN's, forward by a matrix product.

    oneDNN fills up 20 and 50 channels to 32 and 64: LeNet's second layer takes a third of the time without.
    """

    def _computed(
        self, bottoms: Sequence[torch.Tensor], blobs: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        outputs, channels = blobs[0].shape[:2]
        is_odd = channels >= BLOCK and bool(channels % BLOCK or outputs % BLOCK) and bottoms[0].is_cpu
        if not (is_odd and torch._C._get_mkldnn_enabled()):
            return super()._computed(bottoms, blobs)
        torch._C._set_mkldnn_enabled(False)  # the public context manager warns of other hardware
        try:
            return super()._computed(bottoms, blobs)
        finally:
            torch._C._set_mkldnn_enabled(True)


PLAIN: dict[str, type[TorchLayer]] = {
    "Convolution": OddConvolution,
    "InnerProduct": PlainInnerProduct,
    "Pooling": TiledPooling,
    "ReLU": PlainReLU,
    "Sigmoid": PlainSigmoid,
    "SoftmaxWithLoss": PlainSoftmaxWithLoss,
    "TanH": PlainTanH,
}


def torch_layer(layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob], phase: str) -> TorchLayer:
    """The fastest class for a layer."""
    return PLAIN.get(layer.type, TorchLayer)(layer, bottoms, tops, phase)
