"""One blob of a layer, whose values lie in a file, an array or a tensor until someone reads them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from caffe2torch._torch import torch
from caffe2torch.errors import NetError

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Blob:
    """One blob of a layer: its shape, its dtype (float32 or float64) and where its values come from.

    `shape` is the stored one; the legacy `num, channels, height, width` give four axes. `values` returns the
    values, 1-D and read-only: a view of the memory-mapped file wherever they lie in one piece. It is None for
    a blob that has a shape and no data.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    values: Callable[[], Array] | None

    @property
    def count(self) -> int:
        """The number of values that the shape asks for."""
        return math.prod(self.shape)

    @property
    def has_data(self) -> bool:
        """Whether the file holds this blob's values, not only its shape."""
        return self.values is not None

    def read(self) -> Array:
        """The values in `shape`."""
        if self.values is None:
            raise NetError(f"a blob of shape {self.shape} has no data")
        return self.values().reshape(self.shape)

    @staticmethod
    def of(array: Array) -> Blob:
        """The blob of an array in memory."""
        return Blob(array.shape, array.dtype, lambda: array.reshape(-1))


def dense(shape: tuple[int, ...], diagonal: Callable[[], Array]) -> Blob:
    """The (C, C, h, w) blob whose channel diagonal is what `diagonal` returns: (C, 1, h, w) values in 1-D."""
    channels, _, *kernel = shape

    def values() -> Array:
        compact = diagonal()
        whole = np.zeros((channels, channels, *kernel), compact.dtype)
        each = np.arange(channels)
        whole[each, each] = compact.reshape(channels, *kernel)
        return whole.reshape(-1)

    return Blob((channels, channels, *kernel), np.dtype("<f4"), values)


def blob_of(tensor: Tensor) -> Blob:
    """The blob of a dense floating-point tensor: a view of its values where NumPy has their type."""
    wide = torch.promote_types(tensor.dtype, torch.float32)
    array = tensor.detach().cpu().to(wide).numpy()
    return Blob(array.shape, array.dtype, lambda: array.reshape(-1))


MAX_AXES = 32  # kMaxBlobAxes (blob.hpp)


MAX_COUNT = (1 << 31) - 1  # Caffe counts the values of a blob in an int (blob.cpp, Reshape)


def shape_problem(shape: tuple[int, ...]) -> str:
    """Why no blob can have this shape; empty when one can."""
    if len(shape) > MAX_AXES:
        return f"its shape has {len(shape)} axes, Caffe allows {MAX_AXES}"
    if min(shape, default=0) < 0:
        return f"its shape {shape} has a negative size"
    if math.prod(shape) > MAX_COUNT:
        return f"its shape {shape} asks for {math.prod(shape)} values, Caffe allows {MAX_COUNT}"
    return ""
