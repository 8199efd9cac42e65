"""Caffe's HDF5 files, and all that HDF5 allows and Caffe does not write."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2torch.errors import ReadError
from caffe2torch.net.reading import read
from caffe2torch.untrusted import hdf5_places
from caffe2torch.untrusted.binary import read_caffemodel, read_solverstate
from tests.places import GOLDEN

LEGACY = GOLDEN / "legacy"
Write = Callable[[h5py.Group], object]


def hdf5_with(path: Path, write: Write) -> Path:
    """A file with a blob at data/conv/0, and what `write` adds to data/conv."""
    with h5py.File(path, "w") as file:
        group = file.create_group("data/conv")
        group["0"] = np.arange(6, dtype=np.float32).reshape(2, 3)
        write(group)
    return path


def test_values_are_read_only_views_of_the_mapped_file(tmp_path: Path) -> None:
    values = read_caffemodel(hdf5_with(tmp_path / "x.h5", lambda group: None)).blobs[0].read()
    np.testing.assert_array_equal(values, [[0, 1, 2], [3, 4, 5]])
    assert not values.flags.writeable
    assert not values.flags.owndata


def test_names_with_slashes_are_nested_groups(tmp_path: Path) -> None:
    def write(group: h5py.Group) -> None:
        group.file["data/inception/3x3/1x1/0"] = np.full(3, 2, np.float64)
        group.file["data/inception/3x3/0"] = np.full(3, 3, np.float32)

    stored = read_caffemodel(hdf5_with(tmp_path / "x.h5", write))
    found = {
        layer.name: [stored.blobs[blob.index].read().tolist() for blob in layer.blobs]
        for layer in stored.message.layer
        if layer.blobs
    }
    assert found == {
        "conv": [[[0, 1, 2], [3, 4, 5]]],
        "inception/3x3/1x1": [[2, 2, 2]],
        "inception/3x3": [[3, 3, 3]],
    }


def test_a_file_alone_holds_no_net(tmp_path: Path) -> None:
    path = hdf5_with(tmp_path / "x.h5", lambda group: None)
    with pytest.raises(ReadError, match="an HDF5 file holds blobs but no net; give the net's --prototxt"):
        read(weights=path)


def test_a_shape_without_values_has_no_data(tmp_path: Path) -> None:
    def write(group: h5py.Group) -> None:
        h5py.h5d.create(group.id, b"1", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((5, 7)))

    blob = read_caffemodel(hdf5_with(tmp_path / "x.h5", write)).blobs[1]
    assert (blob.shape, blob.has_data) == ((5, 7), False)


def test_rows_of_plain_bytes_may_be_as_many_as_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hdf5_places, "MAX_UNSTORED", 0)
    pixels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = pixels
    np.testing.assert_array_equal(hdf5_places.rows(str(tmp_path / "x.h5"), ["data"])[0], pixels)


def external(group: h5py.Group) -> None:
    group.create_dataset("1", (3,), np.float32, external=[("/etc/passwd", 0, 12)])


def virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "0", (3,))
    group.create_virtual_dataset("1", layout)


def huge(group: h5py.Group) -> None:
    h5py.h5d.create(group.id, b"1", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((1 << 40,)))


def adds(value: object) -> Write:
    return lambda group: group.__setitem__("1", value)


def adds_as(name: str) -> Write:
    """Adds an array under a name."""
    return lambda group: group.__setitem__(name, np.zeros(3, "f"))


ELSEWHERE = "/data/conv: '1' is a link to somewhere else"
PIECES = "/data/conv/1: not stored contiguously"


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (adds(h5py.SoftLink("/data/conv/0")), ELSEWHERE),
        (adds(h5py.ExternalLink("other.h5", "/0")), ELSEWHERE),
        (
            lambda group: group.create_group(b"caf\xe9"),
            "the HDF5 library cannot read it: 'utf-8' codec can't",
        ),
        (external, PIECES),
        (virtual, PIECES),
        (lambda group: group.create_dataset("1", data=np.zeros(9, "f"), chunks=(3,)), PIECES),
        (lambda group: group.create_dataset("1", data=np.zeros(9, "f"), compression=9), PIECES),
        (adds(h5py.Empty("f")), PIECES),
        (adds("text"), "/data/conv/1: not a dataset of the type that Caffe writes"),
        (adds(np.zeros(3, np.int32)), "/data/conv/1: not a dataset of the type that Caffe writes"),
        (adds(np.zeros(3, ">f4")), "/data/conv/1: holds >f4, a blob is little-endian float32 or float64"),
        (adds(np.zeros(3, np.float16)), "/data/conv/1: holds float16, a blob is"),
        (adds(np.dtype(np.float32)), "/data/conv/1: not a group"),
        (huge, "/data/conv/1: its shape (1099511627776,) asks for 1099511627776 values, Caffe allows"),
        (lambda group: group.__setitem__("again", group), "its groups never end"),
        (adds_as("bias"), "/data/conv: 'bias' is not the number of a blob"),
        (adds_as("01"), "/data/conv: '01' is not the number of a blob"),
        (adds_as("999999999"), "/data/conv: '999999999' is not the number of a blob"),
        (lambda group: group.file.move("data", "weights"), "/: has no 'data'; is it another kind of HDF5"),
    ],
)
def test_all_else_is_refused(tmp_path: Path, write: Write, problem: str) -> None:
    path = hdf5_with(tmp_path / "x.caffemodel.h5", write)
    with pytest.raises(ReadError) as refusal:
        read_caffemodel(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert problem in str(refusal.value)


@pytest.mark.parametrize("size", [8, 100, 500, 2000, 20000])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes((LEGACY / "v0.caffemodel.h5").read_bytes()[:size])
    with pytest.raises(ReadError, match="the HDF5 library cannot read it"):
        read_caffemodel(path)


def test_values_beyond_the_end_of_the_file_are_refused(tmp_path: Path) -> None:
    path = hdf5_with(tmp_path / "x.h5", lambda group: None)
    with h5py.File(path) as file:
        address = struct.pack("<Q", file["data/conv/0"].id.get_offset())
    data = path.read_bytes()
    assert data.count(address) == 1
    path.write_bytes(data.replace(address, struct.pack("<Q", len(data) - 20)))
    # Recent HDF5 libraries see it first.
    with pytest.raises(ReadError, match=r"likely file corruption|takes 24 bytes at .*, 20 are left"):
        read_caffemodel(path)


def state_with(path: Path, **changed: object) -> Path:
    fields: dict[str, object] = {
        "iter": np.array([70], np.int32),
        "current_step": np.array([2], np.int32),
        "learned_net": np.bytes_(b"snap.caffemodel.h5"),
        "history/0": np.arange(6, dtype=np.float32).reshape(2, 3),
        "history/1": np.arange(5, dtype=np.float64),
    }
    with h5py.File(path, "w") as file:
        for name, value in (fields | changed).items():
            if value is not None:
                file[name] = value
    return path


def test_a_solverstate(tmp_path: Path) -> None:
    state = read_solverstate(state_with(tmp_path / "snap.solverstate.h5"))
    assert (state.iter, state.learned_net, state.current_step) == (70, "snap.caffemodel.h5", 2)
    first, second = (blob.read() for blob in state.history)
    np.testing.assert_array_equal(first, np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(second, np.arange(5, dtype=np.float64))
    assert (first.dtype, second.dtype) == (np.float32, np.float64)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"iter": None}, "/: has no 'iter'"),
        ({"iter": np.array([1, 2], np.int32)}, "/iter: holds (2,) values where one is expected"),
        ({"iter": np.array([1.0])}, "/iter: not a dataset of the type that Caffe writes"),
        ({"learned_net": "a string of variable length"}, "/learned_net: not a dataset of the type"),
        ({"history/0": None}, "/history: holds 1 and no blob 0"),
    ],
)
def test_a_solverstate_that_cannot_be(tmp_path: Path, changed: dict[str, object], problem: str) -> None:
    path = state_with(tmp_path / "x.h5", **changed)
    with pytest.raises(ReadError) as refusal:
        read_solverstate(path)
    assert str(refusal.value).startswith(f"{path}: {problem}")
