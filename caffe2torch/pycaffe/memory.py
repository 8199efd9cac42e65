"""Values that torch computes with and NumPy arrays look at.

Caffe's blobs have one address as long as they do not grow, and scripts rely on it: they keep an array and
see the next forward's values in it. Here a layer's result simply takes the place of the last one, which costs
nothing, unless an array of it is still held somewhere: then it is copied to where that array looks.
"""

from __future__ import annotations

import math
import weakref

import torch
from torch import Tensor

from caffe2torch.blob import Array

Shape = tuple[int, ...]


class Memory:
    """The data or the diff of a blob, perhaps of several: float32, on the device that wrote it last."""

    __slots__ = ("_seen", "_whole", "is_zero", "tensor")

    def __init__(self, shape: Shape = (0,)) -> None:
        """Zeros."""
        self.tensor = torch.zeros(shape)
        self.is_zero = True
        """All zeros, and no array is held that could change it: what is added may take its place."""
        self._seen: weakref.ref[Array] | None = None
        self._whole: Tensor | None = None
        """The values in 1-D, where they once were more than now."""

    @property
    def is_seen(self) -> bool:
        """Whether an array of these values, or a part of one, is still held."""
        return self._seen is not None and self._seen() is not None

    def array(self) -> Array:
        """A writable view. What is written to it counts until a layer writes here."""
        array = None if self._seen is None else self._seen()
        if array is None or self.tensor.is_cuda:
            if self.tensor.is_cuda:
                self.tensor = self.tensor.cpu()  # and goes back when a layer reads it
                self._whole = None
            array = self.tensor.numpy()
            self._seen = weakref.ref(array)
        self.is_zero = False
        return array

    def put(self, values: Tensor) -> None:
        """Takes the values, or where they are seen a copy of them."""
        tensor = self.tensor
        self.is_zero = False
        if self._seen is not None:
            if self._seen() is None or values.is_cuda:
                self._seen = None
            elif values.shape == tensor.shape:
                if values.data_ptr() != tensor.data_ptr():
                    tensor.copy_(values)
                return
            else:
                self._seen = None
        self.tensor = values if values.is_contiguous() else values.contiguous()
        self._whole = None

    def copy(self, values: Tensor) -> None:
        """Copies values of the same count into the memory there is."""
        self.tensor.copy_(values.reshape(self.tensor.shape))
        self.is_zero = False

    def add(self, values: Tensor) -> None:
        """Adds to the values there are."""
        if self.is_zero:
            self.put(values)
        else:
            self.tensor.add_(values)

    def zero(self) -> None:
        """Makes all values 0."""
        if not self.is_zero:
            self.tensor.zero_()
            self.is_zero = not self.is_seen

    def reshape(self, shape: Shape) -> None:
        """Gives the values a shape: those there are, as far as they reach, else zeros (blob.cpp, Reshape)."""
        if tuple(self.tensor.shape) == shape:
            return
        count = math.prod(shape)
        if self._whole is None:
            self._whole = self.tensor.view(-1)
        if count > self._whole.numel():
            self._whole = self.tensor.new_zeros(count)
            self.is_zero = True
        self.tensor = self._whole[:count].view(shape)
        self._seen = None

    def to(self, device: torch.device) -> Tensor:
        """The values on a device."""
        if self.tensor.device != device:
            self.tensor = self.tensor.to(device)
            self._whole = None
        return self.tensor
