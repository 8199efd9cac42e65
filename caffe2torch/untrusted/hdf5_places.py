"""Where the blobs of an HDF5 file lie, and its rows, as the HDF5 library tells; hdf5.py asks it apart.

    <top>                                          rows for an HDF5Data layer
    data/<layer>/<i>                               the i-th blob of a layer; its name may contain slashes
    history/<i>, iter, current_step, learned_net   a solver's state
    [model_weights/]<layer>/.../<array>            what Keras stores

Weights are stored contiguously (net.cpp, ToHDF5; sgd_solver.cpp), so that a place in the file says all; rows
may be in chunks, and compressed. HDF5 can do much more, and reach outside the file: links, external storage,
virtual datasets, filters, Python objects. All of that is refused; of weights the HDF5 library is only asked
where they are.
This module imports h5py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import h5py
import numpy as np

from caffe2torch.blob import Array, shape_problem
from caffe2torch.errors import ReadError
from caffe2torch.untrusted.wire import DOUBLE, FLOAT

MAX_MEMBERS = 1 << 14
"""Groups and datasets visited in one file; a hard link can make a group its own descendant."""
MAX_NAME = 1024
"""Characters in a layer's name."""
MAX_BLOBS = 256
"""Blobs of one layer; Caffe's own layers have at most five."""
MAX_RATIO, MAX_UNSTORED = 4, 3 << 26
"""How many times what is stored rows may be as float32, as bytes are, and what need not be stored at all."""
MAX_CHUNKS = 1 << 15
"""Chunks of one dataset; the HDF5 library takes 4 kB for each."""
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}


class Place(NamedTuple):
    """A dataset that lies in the file in one piece."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int | None
    """The byte at which its values begin; None when only its shape is stored."""


def layers(path: str) -> list[tuple[str, list[Place | None]]]:
    """The blobs of each layer of a `.caffemodel.h5`; None for one that another layer stores for both.

    Raises ReadError for anything but whole float32 and float64 arrays under data/<layer>/<i>.
    """
    with _opened(path) as file:
        data = _members(file, "data")["data"]
        return [(layer, _owned(group, arrays)) for layer, group, arrays in _walk(data)]


def is_keras(path: str) -> bool:
    """Whether Keras wrote the weights of a model into this file."""
    with _opened(path) as file:
        return "layer_names" in file.attrs or "model_weights" in file or "block1_conv1" in file


def keras(path: str) -> list[tuple[str, Place]]:
    """The arrays that Keras stored, by their paths. Raises ReadError as `hdf5.keras_weights` does."""
    with _opened(path) as file:
        top = _members(file)["model_weights"] if "model_weights" in file else file
        if _text(top, "backend") == "theano":
            raise ReadError("Keras wrote it with Theano, which rotates kernels; give TensorFlow's file")
        return [
            (f"{place}/{name}".lstrip("/"), _blob(array))
            for place, _, arrays in _walk(top)
            for name, array in arrays.items()
        ]


def solver_state(path: str) -> tuple[Place, Place, list[Place], Place]:
    """iter, learned_net, history and current_step of a `.solverstate.h5`.

    Raises ReadError when one of them is missing or of the wrong type.
    """
    with _opened(path) as file:
        state = _members(file, "iter", "learned_net", "current_step", "history")
        learned_net = _single(state["learned_net"], "S")
        history = _blobs(state["history"], _members(state["history"]))
        iteration, step = (_single(state[name], "iu") for name in ("iter", "current_step"))
        return iteration, learned_net, history, step


def rows(path: str, names: Sequence[str]) -> list[Array]:
    """As `hdf5.rows`, but for a missing file."""
    with _opened(path) as file:
        arrays = [_array(file, name) for name in names]
    if len({len(array) for array in arrays}) > 1:
        counts = ", ".join(f"{name} {len(array)}" for name, array in zip(names, arrays, strict=True))
        raise ReadError(f"its datasets have different numbers of rows: {counts}")
    return arrays


def read_rows(path: str, names: Sequence[str]) -> None:
    """Reads what `rows` reads, and keeps none of it."""
    with _opened(path) as file:
        for name in names:
            _array(file, name)


def _array(file: h5py.File, name: str) -> Array:
    """A dataset whole, decompressed, as float32."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ReadError(f"has no dataset {name!r}; it needs one for each top, of that name")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iufb" or not dataset.shape:
        raise ReadError(f"{name!r} is no dataset of numbers with at least one axis")
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count() or filters - _FILTERS:
        raise ReadError(
            f"{name!r} is stored elsewhere, or by a filter that is no part of HDF5; store it plainly"
        )
    if problem := shape_problem(dataset.shape) or _chunk_problem(dataset):
        raise ReadError(f"{name!r}: {problem}")
    return np.asarray(dataset.astype(np.float32)[...])


def _chunk_problem(dataset: h5py.Dataset) -> str:
    """Why a dataset would take far more memory than its file does; empty when it would not."""
    size, stored = dataset.size * FLOAT.itemsize, dataset.id.get_storage_size()
    if size > MAX_UNSTORED + MAX_RATIO * stored:
        return (
            f"its shape {dataset.shape} asks for {size} bytes as float32, and {stored} are stored; split it, "
            "or store it uncompressed"
        )
    sides = zip(dataset.shape, dataset.chunks or dataset.shape, strict=True)
    if (count := math.prod(-(-side // max(chunk, 1)) for side, chunk in sides)) > MAX_CHUNKS:
        return f"is in {count} chunks; {MAX_CHUNKS} are allowed: store it in larger ones"
    return ""


def _text(group: h5py.Group, attribute: str) -> str:
    """A text attribute of a group; empty if it is missing."""
    if attribute not in group.attrs or group.attrs.get_id(attribute).shape != ():
        return ""
    value = group.attrs[attribute]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _walk(top: h5py.Group) -> Iterator[tuple[str, h5py.Group, dict[str, h5py.Dataset]]]:
    """Every group from `top` down: its path from there, the group, and the arrays in it by name."""
    seen, left = 0, [("", top)]
    while left:
        path, group = left.pop()
        seen += len(group) if isinstance(group, h5py.Group) else 0
        if seen > MAX_MEMBERS or len(path) > MAX_NAME:
            raise ReadError(f"{group.name[:MAX_NAME]}: its groups never end, or are over {MAX_MEMBERS}")
        members = _members(group)
        arrays = {name: member for name, member in members.items() if isinstance(member, h5py.Dataset)}
        yield path, group, arrays
        left += [(f"{path}/{name}".lstrip("/"), members[name]) for name in members.keys() - arrays.keys()]


@contextmanager
def _opened(path: str) -> Iterator[h5py.File]:
    """The file; any error of the HDF5 library becomes a ReadError."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ReadError(f"the HDF5 library cannot read it: {error}") from None


def _members(group: h5py.Group, *needed: str) -> dict[str, h5py.Group | h5py.Dataset]:
    """A group's own members, by name; `needed` must be among them."""
    if not isinstance(group, h5py.Group):
        raise ReadError(f"{group.name}: not a group of the form that Caffe writes")
    if missing := [name for name in needed if name not in group]:
        raise ReadError(f"{group.name}: has no {missing[0]!r}; is it another kind of HDF5 file?")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ReadError(f"{group.name}: {name!r} is a link to somewhere else, which Caffe does not write")
        name.encode()  # h5py accepts names that are not UTF-8; here they raise a ValueError
    return {name: group[name] for name in group}


def _owned(group: h5py.Group, arrays: Mapping[str, h5py.Dataset]) -> list[Place | None]:
    """The datasets of a layer, in the order of their numbers, of which Caffe leaves out shared ones."""
    numbers = {str(i): i for i in range(MAX_BLOBS)}
    if odd := sorted(arrays.keys() - numbers.keys()):
        raise ReadError(f"{group.name}: {odd[0]!r} is not the number of a blob")
    blobs: list[Place | None] = [None] * (1 + max((numbers[name] for name in arrays), default=-1))
    for name, array in arrays.items():
        blobs[numbers[name]] = _blob(array)
    return blobs


def _blobs(group: h5py.Group, arrays: Mapping[str, h5py.Dataset]) -> list[Place]:
    """The datasets "0", "1", ... of a group, in that order."""
    names = [str(i) for i in range(len(arrays))]
    if missing := [name for name in names if name not in arrays]:
        raise ReadError(f"{group.name}: holds {', '.join(sorted(arrays))} and no blob {missing[0]}")
    return [_blob(arrays[name]) for name in names]


def _blob(dataset: h5py.Dataset) -> Place:
    place = _place(dataset, "f")
    if np.dtype(place.dtype) not in (FLOAT, DOUBLE):
        raise ReadError(f"{place.name}: holds {dataset.dtype}, a blob is little-endian float32 or float64")
    return place


def _single(dataset: h5py.Dataset, kinds: str) -> Place:
    place = _place(dataset, kinds)
    if place.offset is None or math.prod(place.shape) != 1:
        raise ReadError(f"{place.name}: holds {place.shape} values where one is expected")
    return place


def _place(dataset: h5py.Dataset, kinds: str) -> Place:
    """Where the values of a dataset lie, whose dtype is one of `kinds`."""
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in kinds:
        raise ReadError(f"{dataset.name}: not a dataset of the type that Caffe writes")
    plan = dataset.id.get_create_plist()
    if plan.get_layout() != h5py.h5d.CONTIGUOUS or plan.get_external_count() or dataset.shape is None:
        raise ReadError(
            f"{dataset.name}: not stored contiguously, as Caffe does; rewrite it without chunks or filters"
        )
    if problem := shape_problem(dataset.shape):
        raise ReadError(f"{dataset.name}: {problem}")
    offset = 0 if math.prod(dataset.shape) == 0 else dataset.id.get_offset()
    return Place(dataset.name, dataset.shape, dataset.dtype.str, offset)
