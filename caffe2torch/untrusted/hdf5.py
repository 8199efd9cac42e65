"""The blobs of an HDF5 file: Caffe's `.caffemodel.h5` and `.solverstate.h5`, Keras' `.h5`, rows of HDF5Data.

Where they lie is asked in another process (hdf5_places.py); values of weights are then views of the
memory-mapped file, and rows are read here once they were read there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.blob import ABSENT, Array, Blob
from caffe2torch.errors import ReadError
from caffe2torch.untrusted.apart import ask
from caffe2torch.untrusted.mapped import Buffer, mapped

_PLACES = "caffe2torch.untrusted.hdf5_places"
_Place = tuple[str, Sequence[int], str, int | None]
"""As hdf5_places.Place: the name, the shape, the dtype, the byte at which the values begin."""
_State = tuple[int, int, int, int]
"""What tells that a file is still the same: device, inode, size, time of the last change in nanoseconds."""


def layer_blobs(path: str, buffer: Buffer) -> dict[str, list[Blob]]:
    """The blobs of each layer of the `.caffemodel.h5` at `path`, which is memory-mapped as `buffer`.

    A blob that another layer stores for both is ABSENT, or missing at the end. Raises ReadError for anything
    but whole float32 and float64 arrays under data/<layer>/<i>.
    """
    layers = _asked("layers", path)
    return {name: [_blob(place, buffer) if place else ABSENT for place in own] for name, own in layers}


def is_keras(path: str) -> bool:
    """Whether Keras wrote the weights of a model into this file."""
    return bool(_asked("is_keras", path))


def keras_weights(path: str, buffer: Buffer) -> dict[str, Blob]:
    """The arrays that Keras stored, by their paths, which begin with the layer's name.

    Raises ReadError for anything but whole float32 and float64 arrays, as `layer_blobs` does, and for
    kernels that Theano wrote: it rotates them by 180 degrees, which their shape does not show.
    """
    return {name: _blob(place, buffer) for name, place in _asked("keras", path)}


def solver_state(path: str, buffer: Buffer) -> tuple[int, str, tuple[Blob, ...], int]:
    """iter, learned_net, history and current_step of the `.solverstate.h5` at `path`, mapped as `buffer`.

    Raises ReadError when one of them is missing or of the wrong type.
    """
    iteration, learned_net, history, step = _asked("solver_state", path)
    net = _values(learned_net, buffer).item().decode(errors="replace")
    blobs = tuple(_blob(place, buffer) for place in history)
    return _values(iteration, buffer).item(), net, blobs, _values(step, buffer).item()


def rows(path: str, names: Sequence[str]) -> list[Array]:
    """The datasets `names` at the top of the file at `path`, as float32: what an HDF5Data layer reads.

    Raises MissingData without the file, ReadError where one is missing, is not numeric or has no axes, or
    where they have different numbers of rows.
    """
    from caffe2torch.untrusted import hdf5_places  # h5py loads slowly, and few files need it

    mapped(path, {})
    _check_rows(path, _state(path), tuple(names))
    return hdf5_places.rows(path, names)


def _asked(function: str, path: str) -> Any:
    """What a function of hdf5_places answers for a file."""
    return _answer(function, path, _state(path))


def _state(path: str) -> _State:
    status = Path(path).stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)  # a file may be read again and again
def _answer(function: str, path: str, state: _State) -> Any:
    _, _, size, _ = state
    return ask(f"{_PLACES}:{function}", path, library="HDF5", size=size)


@cache  # a layer goes round and round through all of its files
def _check_rows(path: str, state: _State, names: tuple[str, ...]) -> None:
    """Raises ReadError for rows on which the HDF5 library ends its process, or which keep it busy."""
    _, _, size, _ = state
    ask(f"{_PLACES}:read_rows", path, names, library="HDF5", size=size)


def _blob(place: _Place, buffer: Buffer) -> Blob:
    _, shape, dtype, offset = place
    values = None if offset is None else partial(np.asarray, _values(place, buffer))
    return Blob(tuple(shape), np.dtype(dtype), values)


def _values(place: _Place, buffer: Buffer) -> Array:
    """The values at a place, 1-D, as a view of `buffer`."""
    name, shape, dtype, offset = place
    count, start = math.prod(shape), offset or 0
    if count == 0:
        return np.empty(0, dtype)
    if (left := len(buffer) - start) < (size := count * np.dtype(dtype).itemsize):
        raise ReadError(f"{name}: takes {size} bytes at {start}, {left} are left")
    values: Array = np.ndarray((count,), dtype, buffer, start)
    return values
