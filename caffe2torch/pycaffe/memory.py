"""Values that torch computes with and NumPy arrays look at.

Caffe's blobs have one address as long as they do not grow, and scripts rely on it: they keep an array and
see the next forward's values in it. Here a layer's result simply takes the place of the last one, which costs
nothing, unless an array of it is still held somewhere: then it is copied to where that array looks. So are
small results, for which a copy costs nothing either, so that small layers can keep arrays (plain_layers.py).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from caffe2torch.blob import Array, shape_problem
from caffe2torch.errors import NetError
from caffe2torch.pycaffe.own_mode import in_own_mode

Shape = tuple[int, ...]
SMALL = 1 << 12
"""Values that are copied rather than replaced."""
_CPU = torch.device("cpu")


class Changes:
    """Counts how often any memory has moved: while it stands still, arrays of all are good."""

    count = 0


@in_own_mode
def _zeros(shape: Shape, device: torch.device | None = None) -> Tensor:
    """Zeros of a shape that Caffe allows and this machine has room for. Raises NetError for any other."""
    if problem := shape_problem(shape):
        raise NetError(f"a blob: {problem}")
    try:
        if math.prod(shape) <= SMALL or device not in (None, _CPU):
            return torch.zeros(shape, device=device)
        return torch.from_numpy(np.zeros(shape, np.float32))  # takes memory where something is written
    except (MemoryError, RuntimeError):
        raise NetError(f"a blob: its shape {tuple(shape)} takes more memory than there is") from None


class Memory:
    """The data or the diff of a blob, perhaps of several: float32, on the device that wrote it last."""

    __slots__ = (
        "__weakref__",
        "_seen",
        "_sharing",
        "_whole",
        "before_look",
        "is_zero",
        "looks",
        "stays",
        "tensor",
    )

    def __init__(self, shape: Shape = (0,)) -> None:
        """Zeros. Raises NetError where there is no room for them, as `reshape` does."""
        self.tensor = _zeros(shape)
        self.looks = 0
        """How often an array of these values was asked for."""
        self.before_look: Callable[[], None] | None = None
        """Called first where an array is asked for; no more after `reshape` to another shape."""
        self.stays = False
        """What is put here is copied, as the values are a part of something whole."""
        self.is_zero = True
        """All zeros, and no array is held that could change it: what is added may take its place."""
        self._seen: weakref.ref[Array] | None = None
        self._sharing: weakref.WeakSet[Memory] | None = None
        self._whole: Tensor | None = None
        """The values in 1-D, where they once were more than now."""

    @property
    def is_seen(self) -> bool:
        """Whether an array of these values, or a part of one, is still held."""
        return self._seen is not None and self._seen() is not None

    def share(self, other: Memory) -> None:
        """Takes note that `take` is to give this the values of another, as a Flatten's top has its bottom's.

        While an array of either is held, both stay where they are, so that it shows what is put into either.
        """
        if other._sharing is None:
            other._sharing = weakref.WeakSet((other,))
        other._sharing.add(self)
        self._sharing = other._sharing

    @property
    def _is_shown(self) -> bool:
        """Whether an array of these values is held, by this or by another memory that shares them."""
        return self.is_seen or (self._sharing is not None and any(own.is_seen for own in self._sharing))

    def array(self) -> Array:
        """A writable view. What is written to it counts until a layer writes here."""
        self.looks += 1
        if self.before_look is not None:
            self.before_look()
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
            if self.stays or values.numel() <= SMALL or self._is_shown:
                tensor.copy_(values)
                return
        self.take(values)

    def take(self, values: Tensor) -> None:
        """Takes the values themselves, whose memory is another blob's, too; a copy where an array is held."""
        if values.data_ptr() != self.tensor.data_ptr() or values.shape != self.tensor.shape:
            if self.is_seen and (values.shape, values.device) == (self.tensor.shape, self.tensor.device):
                self.copy(values)
                return
            self.move(values if values.is_contiguous() else values.contiguous())
        self.is_zero = False

    @property
    def moves(self) -> bool:
        """Whether what is put here next may take this memory's place, and leave it as it is."""
        return not (self.stays or self._is_shown or self.tensor.numel() <= SMALL)

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
            self._whole = _zeros(shape, self.tensor.device).view(-1)
            self.is_zero = True
        self.tensor = self._whole[:count].view(shape)
        self._seen = self.before_look = None
        Changes.count += 1

    def to(self, device: torch.device) -> Tensor:
        """The values on a device."""
        if self.tensor.device != device:
            self.move(self.tensor.to(device))
        return self.tensor


class View(Memory):
    """Another memory's values in a shape of its own: what is written to either is in both.

    `base` is called for the other memory, which may be replaced.
    """

    __slots__ = ("_base", "_last", "_shape", "_shown")

    def __init__(self, base: Callable[[], Memory], shape: Shape) -> None:
        self._base, self._shape = base, shape
        self._last = self._shown = base().tensor[:0]

    @property
    def tensor(self) -> Tensor:  # type: ignore[override]
        """The values in this shape: the same tensor as long as the other memory's is."""
        if (base := self._base().tensor) is not self._last:
            self._last, self._shown = base, base.view(self._shape)
        return self._shown

    @property
    def is_zero(self) -> bool:
        """As the other memory."""
        return self._base().is_zero

    @is_zero.setter
    def is_zero(self, value: bool) -> None:
        self._base().is_zero = value

    @property
    def is_seen(self) -> bool:
        """As the other memory."""
        return self._base().is_seen

    @property
    def looks(self) -> int:  # type: ignore[override]
        """As the other memory."""
        return self._base().looks

    @property
    def stays(self) -> bool:  # type: ignore[override]
        """As the other memory."""
        return self._base().stays

    @property
    def moves(self) -> bool:
        """As the other memory."""
        return self._base().moves

    def array(self) -> Array:
        """A writable view."""
        return self._base().array().reshape(self._shape)

    def move(self, tensor: Tensor) -> None:
        """Gives both other values."""
        self._base().move(tensor.reshape(self._base().tensor.shape))

    def put(self, values: Tensor) -> None:
        """Gives both these values, or a copy."""
        self._base().put(values.reshape(self._base().tensor.shape))

    def take(self, values: Tensor) -> None:
        """Gives both the values themselves."""
        self._base().take(values.reshape(self._base().tensor.shape))

    def copy(self, values: Tensor) -> None:
        """Copies values into both."""
        self._base().copy(values)

    def add(self, values: Tensor) -> None:
        """Adds to both."""
        self._base().add(values.reshape(self._base().tensor.shape))

    def zero(self) -> None:
        """Makes both 0."""
        self._base().zero()

    def reshape(self, shape: Shape) -> None:
        """Refuses any shape but its own with NetError: which of the two would keep the values?"""
        if shape != self._shape:
            raise NetError(f"a shared blob of {self._shape} cannot become {shape}; reshape its owner")

    def to(self, device: torch.device) -> Tensor:
        """The values on a device."""
        self._base().to(device)
        return self.tensor
