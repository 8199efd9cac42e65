"""One blob of a layer, whose values stay in a file, an array or a tensor until they are read."""

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
DType = np.dtype[Any]
FLOAT32: DType = np.dtype("<f4")
FLOAT64: DType = np.dtype("<f8")


@dataclass(frozen=True, eq=False)
class Blob:
    """One blob of a layer: its shape, its dtype (float32 or float64) and where its values come from.

    `shape` is as stored; the legacy `num, channels, height, width` give four axes. `values` returns the
    values, 1-D and read-only: a view of the memory-mapped file wherever they are contiguous. It is None for a
    blob that has a shape but no data.
    """

    shape: tuple[int, ...]
    dtype: DType
    values: Callable[[], Array] | None

    @property
    def count(self) -> int:
        """The number of values in the shape, present or not."""
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
        """A blob of an array in memory."""
        return Blob(array.shape, array.dtype, lambda: array.reshape(-1))


ABSENT = Blob((0,), FLOAT32, None)
"""Stands where an HDF5 file has no blob: its layer shares it, and Caffe stores it once (net.cpp, ToHDF5)."""


def dense(shape: tuple[int, ...], diagonal: Callable[[], Array], dtype: DType = FLOAT32) -> Blob:
    """The (C, C, h, w) blob whose channel diagonal is what `diagonal` returns: (C, 1, h, w) values in 1-D.

    `shape` may be either of the two. The dense values are rebuilt at every read.
    """
    channels, _, *kernel = shape

    def values() -> Array:
        whole = np.zeros((channels, channels, *kernel), dtype)
        each = np.arange(channels)
        whole[each, each] = diagonal().reshape(channels, *kernel)
        return whole.reshape(-1)

    return Blob((channels, channels, *kernel), dtype, values)


def diagonal_of(array: Array) -> Array:
    """The channel diagonal (C, 1, h, w) of a kernel (C, C, h, w), from which `dense` rebuilds it."""
    channels = np.arange(array.shape[0])
    return array[channels, channels][:, None]


def is_diagonal(array: Array) -> bool:
    """Whether a kernel (C, C, h, w) is zero off its channel diagonal."""
    return bool(np.count_nonzero(array) == np.count_nonzero(diagonal_of(array)))


def blob_of(
    tensor: Tensor, shape: tuple[int, ...] | None = None, *, diagonal: bool = False, exact: bool = False
) -> Blob:
    """A blob that reads a floating-point tensor each time it is read, and so follows its changes.

    It holds float32, or with `exact` float64 for a float64 tensor; a CPU tensor of that dtype is viewed, not
    copied. `shape` defaults to the tensor's. With `diagonal` the tensor is the channel diagonal (C, 1, h, w)
    of a kernel, and the blob is dense, (C, C, h, w).
    """
    wide, dtype = torch.float32, FLOAT32
    if exact and tensor.dtype == torch.float64:
        wide, dtype = torch.float64, FLOAT64

    def values() -> Array:
        array: Array = tensor.detach().cpu().to(wide).numpy().reshape(-1)
        return array

    shape = tuple(tensor.shape) if shape is None else shape
    return dense(shape, values, dtype) if diagonal else Blob(shape, dtype, values)


MAX_AXES = 32  # kMaxBlobAxes (blob.hpp)
MAX_EMPTY = 1 << 59
MAX_COUNT = (1 << 31) - 1  # Caffe counts the values of a blob in an int (blob.cpp, Reshape)


def shape_problem(shape: tuple[int, ...]) -> str:
    """Why a blob cannot have this shape; empty if it can."""
    if len(shape) > MAX_AXES:
        return f"its shape has {len(shape)} axes, Caffe allows {MAX_AXES}"
    if min(shape, default=0) < 0:
        return f"its shape {shape} has a negative size"
    # NumPy has no array of no values whose other axes are beyond what can be addressed.
    if 0 in shape and math.prod(size for size in shape if size) > MAX_EMPTY:
        return f"its shape {shape} has a 0, and other axes that no array has"
    if math.prod(shape) > MAX_COUNT:
        return f"its shape {shape} asks for {math.prod(shape)} values, Caffe allows {MAX_COUNT}"
    return ""
