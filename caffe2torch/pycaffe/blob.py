"""Blob: what scripts and Python layers see of a blob, and `BlobVec`, what they see of several."""

from __future__ import annotations

from caffe2torch.blob import Array, shape_problem
from caffe2torch.errors import NetError
from caffe2torch.pycaffe.memory import Memory, Shape, View

LEGACY_AXES = 4


class Blob:
    """Data and diff of one shape.

    `data` and `diff` are writable float32 arrays that share the blob's memory: what is written to them is
    what the net computes with. An array stays valid, and goes on to show the blob's values as long as the
    blob keeps its shape.
    """

    __slots__ = ("__weakref__", "data_memory", "diff_memory")

    def __init__(self, shape: Shape = (0,)) -> None:
        self.data_memory = Memory(shape)
        self.diff_memory = Memory()

    @property
    def data(self) -> Array:
        """The values, in the blob's shape."""
        return self.data_memory.array()

    @property
    def diff(self) -> Array:
        """The gradient, in the blob's shape; of a parameter after a step, what was subtracted from it."""
        self.fit_diff()
        return self.diff_memory.array()

    @property
    def sizes(self) -> Shape:
        """The shape as a tuple."""
        return tuple(self.data_memory.tensor.shape)

    @property
    def shape(self) -> list[int]:
        """The shape as a list, which is never equal to a tuple: as in pycaffe, whose shapes are vectors."""
        return list(self.data_memory.tensor.shape)

    @property
    def count(self) -> int:
        """The number of values."""
        return self.data_memory.tensor.numel()

    @property
    def num(self) -> int:
        """The first of up to four axes."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """The second of up to four axes."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """The third of up to four axes."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """The fourth of up to four axes."""
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        shape = self.data_memory.tensor.shape
        if len(shape) > LEGACY_AXES:
            raise NetError(f"a blob of {len(shape)} axes has no num, channels, height and width; use shape")
        return int(shape[axis]) if axis < len(shape) else 1

    def reshape(self, *shape: int) -> None:
        """Gives the blob a shape, one int for each axis; values stay as far as they fit its memory.

        Raises TypeError for anything but ints, as pycaffe does, and NetError for a shape Caffe aborts on.
        """
        if not all(isinstance(size, int) for size in shape):
            kinds = ", ".join(type(size).__name__ for size in shape)
            raise TypeError(f"Blob.reshape takes one int for each axis, not ({kinds})")
        if problem := shape_problem(shape):
            raise NetError(f"Blob.reshape: {problem}")
        self.set_shape(shape)

    def set_shape(self, shape: Shape) -> None:
        """`reshape` without the checks; the diff follows when it is next looked at."""
        self.data_memory.reshape(shape)

    def fit_diff(self) -> Memory:
        """The diff in the blob's shape."""
        diff = self.diff_memory
        shape = self.data_memory.tensor.shape
        if diff.tensor.shape != shape:
            diff.reshape(tuple(shape))
        return diff

    def __repr__(self) -> str:
        return f"<caffe Blob {' '.join(map(str, self.sizes))} ({self.count})>"

    def __reduce__(self) -> str:
        raise RuntimeError("a Blob cannot be copied or pickled; take blob.data.copy()")


class SharedBlob(Blob):
    """The values and the diff of another blob in a shape of its own: `share_mode: PERMISSIVE`."""

    def __init__(self, owner: Blob, shape: Shape) -> None:
        self.data_memory = View(lambda: owner.data_memory, shape)
        self.diff_memory = View(owner.fit_diff, shape)


class BlobVec(list[Blob]):
    """The blobs of a layer; `add_blob` is how a Python layer gets its parameters."""

    def add_blob(self, *shape: int) -> None:
        """Appends a blob of zeros, one int for each axis."""
        blob = Blob(())
        blob.reshape(*shape)
        self.append(blob)
