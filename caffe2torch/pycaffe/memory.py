"""Values that torch computes with and NumPy arrays look at.

Caffe's blobs have one address as long as they do not grow, and scripts rely on it: they keep an array and
see the next forward's values in it. Here a layer's result simply takes the place of the last one, which costs
nothing, unless an array of it is still held somewhere: then it is copied to where that array looks. So are
small results, for which a copy costs nothing either, so that small layers can keep arrays (plain_layers.py).
"""

from __future__ import annotations

import math
import weakref

import torch
from torch import Tensor

from caffe2torch.blob import Array

Shape = tuple[int, ...]
SMALL = 1 << 12
"""Values that are copied rather than replaced."""


class Changes:
    """Counts how often any memory has moved: while it stands still, arrays of all are good."""

    count = 0


class Memory:
    """The data or the diff of a blob, perhaps of several: float32, on the device that wrote it last."""

    __slots__ = ("_seen", "_whole", "is_zero", "stays", "tensor")

    def __init__(self, shape: Shape = (0,)) -> None:
        """Zeros."""
        self.tensor = torch.zeros(shape)
        self.stays = False
        """What is put here is copied, as the values are a part of something whole."""
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
                self.move(self.tensor.cpu())  # and goes back when a layer reads it
            array = self.tensor.numpy()
            self._seen = weakref.ref(array)
        self.is_zero = False
        return array

    def move(self, tensor: Tensor) -> None:
        """Gives the blob other values, where they are; arrays that are held no longer show it."""
        self._seen = None
        self.tensor = tensor
        self._whole = None
        Changes.count += 1

    def put(self, values: Tensor) -> None:
        """Takes the values, or where the memory stays where it is a copy of them."""
        tensor = self.tensor
        self.is_zero = False
        if values.shape == tensor.shape and values.device == tensor.device:
            if values.data_ptr() == tensor.data_ptr():
                return
            if self.stays or values.numel() <= SMALL or self.is_seen:
                tensor.copy_(values)
                return
        self.take(values)

    def take(self, values: Tensor) -> None:
        """Takes the values themselves, whose memory is another blob's, too."""
        if values.data_ptr() != self.tensor.data_ptr() or values.shape != self.tensor.shape:
            self._seen = None
            self.move(values if values.is_contiguous() else values.contiguous())
        self.is_zero = False

    @property
    def moves(self) -> bool:
        """Whether what is put here next may take this memory's place, and leave it as it is."""
        return not (self.stays or self.is_seen or self.tensor.numel() <= SMALL)

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
        Changes.count += 1

    def to(self, device: torch.device) -> Tensor:
        """The values on a device."""
        if self.tensor.device != device:
            self.move(self.tensor.to(device))
        return self.tensor
