"""Files and settings that are refused, each in one line, and outputs that are written."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import Caffe2TorchError, MissingData, NetError, ReadError, WriteError
from caffe2torch.feeding import transform
from caffe2torch.feeding.source import sink_of
from tests.feeding.layers import datum, layer, source, write_leveldb, write_lmdb
from tests.places import ROOT
from tests.plain_protobuf import message

IMAGE = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)


def data(path, more="", transform="", backend="LMDB"):
    return f"""type: 'Data' transform_param {{ {transform} }}
      data_param {{ source: '{path}' backend: {backend} batch_size: 2 {more} }}"""


def refused(folder, text, error, match):
    with pytest.raises(error, match=match) as caught:
        source(folder, text).next()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("transform", "match"),
    [
        ("crop_size: 5", "crop_size 5 and an image of 4x5"),
        ("mean_value: [1, 2, 3]", "3 mean_values and images of 2 channels"),
        ("mean_value: 1 mean_file: 'x'", "mean_file and a mean_value"),
        ("force_color: true force_gray: true", "force_color and force_gray"),
        ("mean_file: 'none.binaryproto'", "none.binaryproto: no such file"),
    ],
)
def test_transforms(tmp_path, transform, match):
    path = write_lmdb(tmp_path / "db", [datum(IMAGE)])
    refused(tmp_path, data(path, transform=transform), Caffe2TorchError, match)


def test_sizes_that_change_in_a_batch(tmp_path):
    path = write_lmdb(tmp_path / "db", [datum(IMAGE), datum(IMAGE[:, :3])])
    refused(tmp_path, data(path), NetError, r"images of \(2, 4, 5\) and of \(2, 3, 5\) in one batch")


def test_a_batch_of_more_values_than_caffe_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(transform, "MAX_COUNT", 79)
    path = write_lmdb(tmp_path / "db", [datum(IMAGE)])
    refused(tmp_path, data(path), NetError, "has a batch of 80 values, Caffe allows 79")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "DummyData' dummy_data_param { shape { dim: 2 } shape { dim: 3 } shape { dim: 4 } }",
            "3 shapes for 2 tops; give one, or one per top",
        ),
        (
            "DummyData' dummy_data_param { shape { } data_filler { } data_filler { } data_filler { } }",
            "3 data_filler for 2 tops",
        ),
        ("MemoryData' memory_data_param { batch_size: 2 channels: 3 height: 4 }", "width must be given"),
        ("CustomData'", "nothing here reads its data; give the net an Input"),
    ],
)
def test_layers_without_files(tmp_path, text, match):
    refused(tmp_path, f"type: '{text}", Caffe2TorchError, match)


@pytest.mark.parametrize(
    ("data", "labels", "match"),
    [
        (np.zeros((2, 3, 4, 5)), np.zeros(2, np.float32), "data array must be float32"),
        (
            np.zeros((2, 3, 4, 6), np.float32),
            np.zeros(2, np.float32),
            r"items \(3, 4, 6\), layer 'd' \(3, 4, 5\)",
        ),
        (
            np.zeros((2, 3, 4, 5), np.float32),
            np.zeros(3, np.float32),
            r"2 items need as many labels, found \(3,\)",
        ),
        (
            np.zeros((3, 3, 4, 5), np.float32),
            np.zeros(3, np.float32),
            "3 items; give a multiple of the batch size, 2",
        ),
    ],
)
def test_arrays_for_memory_data(tmp_path, data, labels, match):
    fields = "batch_size: 2 channels: 3 height: 4 width: 5"
    reader = source(tmp_path, f"type: 'MemoryData' memory_data_param {{ {fields} }}")
    with pytest.raises(RuntimeError, match=match):
        reader.set(data, labels)
    with pytest.raises(NetError, match="has no data; call set_input_arrays first"):
        reader.next()


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (b"\xff" * 9, "record 0: is no Datum"),
        (datum(IMAGE, width=6), r"40 values for its shape \(2, 4, 6\)"),
        (datum(IMAGE, channels=-2), r"40 values for its shape \(-2, 4, 5\)"),
        (datum(IMAGE, channels=0), "for its shape"),
        (message("Datum")().SerializeToString(), "for its shape"),
        (datum(IMAGE, encoded=True), "record 0: is of no kind that is read"),
    ],
)
def test_records(tmp_path, record, match):
    refused(tmp_path, data(write_lmdb(tmp_path / "db", [record])), ReadError, match)


def test_databases_that_are_none(tmp_path):
    refused(tmp_path, data(tmp_path / "none"), MissingData, "no such database")
    refused(tmp_path, data(tmp_path), ReadError, "has no data.mdb")
    refused(tmp_path, data(write_lmdb(tmp_path / "empty", [])), ReadError, "has no records")
    refused(
        tmp_path, data(tmp_path / "empty", backend="LEVELDB"), ReadError, "an LMDB, and the net's backend"
    )
    text = data(tmp_path / "empty").replace("batch_size: 2", "batch_size: 0")
    refused(tmp_path, text, NetError, r"layer 'd' \(Data\): batch_size must be given, and at least 1")


def test_a_damaged_lmdb_never_reaches_the_c_library(tmp_path):
    path = write_lmdb(tmp_path / "db", [datum(IMAGE)] * 300)
    file = path / "data.mdb"
    whole = file.read_bytes()
    roots = b"\xff" * 60
    for damage in (whole[:100] + roots + whole[160:], b"no database" * 2000):
        file.write_bytes(damage)
        refused(tmp_path, data(path), ReadError, "LMDB")


def test_a_leveldb_that_is_none(tmp_path):
    pytest.importorskip("plyvel")
    refused(tmp_path, data(tmp_path, backend="LEVELDB"), ReadError, "LevelDB library cannot read")


def test_a_damaged_leveldb(tmp_path):
    path = write_leveldb(tmp_path / "db", [datum(IMAGE)] * 9)
    (path / "CURRENT").write_bytes(b"MANIFEST-999999\n")
    refused(tmp_path, data(path, backend="LEVELDB"), ReadError, "LevelDB")


@pytest.mark.parametrize(("backend", "write"), [("LMDB", write_lmdb), ("LEVELDB", write_leveldb)])
def test_two_nets_read_one_database(tmp_path, backend, write):
    """A solver's nets may; the libraries open a database only once in a process."""
    path = write(tmp_path / "db", [datum(IMAGE, i) for i in range(3)])
    one, two = (source(tmp_path, data(path, backend=backend)) for _ in range(2))
    assert [list(reader.next()[1]) for reader in (one, one, two, one)] == [[0, 1], [2, 0], [0, 1], [1, 2]]


@pytest.mark.parametrize(
    ("text", "more", "match"),
    [
        ("a.png 1\n\na.png 2\n", "", "list.txt:2: is blank"),
        ("\n", "", "list.txt:1: is blank"),
        ("none.png 1\n", "", "none.png: no such file"),
        ("a.png 1\n", "new_height: 3", "give new_height and new_width, or neither"),
        ("a.png 1\n", "batch_size: 0", "batch_size is 0"),
        ("a.png 1\nb.png 2\n", "batch_size: 2", "in one batch"),
        ("list.txt 1\n", "", "of no kind that is read"),
        ("a.png 1\n", "rand_skip: 1000000", r"layer 'd' \(ImageData\): skips \d+ of 1 images"),
    ],
)
def test_lists_of_images(tmp_path, text, more, match):
    for name, size in (("a", (2, 3)), ("b", (3, 3))):
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "list.txt").write_text(text)
    param = f"source: '{tmp_path}/list.txt' root_folder: '{tmp_path}/' {more}"
    refused(tmp_path, f"type: 'ImageData' image_data_param {{ {param} }}", Caffe2TorchError, match)


def test_an_image_of_32_bits(tmp_path):
    Image.fromarray(np.zeros((2, 3), np.float32)).save(tmp_path / "a.tif")
    (tmp_path / "list.txt").write_text("a.tif 1\n")
    param = f"source: '{tmp_path}/list.txt' root_folder: '{tmp_path}/'"
    match = "a.tif: has pixels of mode F; save it with 8 bits, grey or RGB"
    refused(tmp_path, f"type: 'ImageData' image_data_param {{ {param} }}", ReadError, match)


def rows(folder, more=""):
    (folder / "list.txt").write_text(f"{folder}/a.h5")
    return f"type: 'HDF5Data' hdf5_data_param {{ source: '{folder}/list.txt' batch_size: 2 }} {more}"


def store_in_another(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("b.h5", "x", (3,))
    file.create_virtual_dataset("data", layout)


@pytest.mark.parametrize(
    ("fill", "match"),
    [
        (lambda file: file.update(data=np.zeros(3)), "no dataset 'label'"),
        (lambda file: file.update(data=np.zeros(3), label=np.zeros(2)), "data 3, label 2"),
        (lambda file: file.update(data=[b"text"], label=[1]), "'data' is no dataset of numbers"),
        (lambda file: file.update(data=1.0, label=[1]), "at least one axis"),
        (lambda file: file.update(data=np.zeros((0, 2)), label=np.zeros(0)), "has no rows"),
        (lambda file: file.update(data=h5py.SoftLink("/label"), label=[1]), "no dataset 'data'"),
        (lambda file: file.update(data=h5py.ExternalLink("b.h5", "x"), label=[1]), "no dataset 'data'"),
        (
            lambda file: file.create_dataset("data", (1 << 30,), "f4", chunks=(1 << 16,)),
            "asks for 4294967296 bytes as float32, and 0 are stored",
        ),
        (
            lambda file: file.create_dataset("data", (1 << 20, 1 << 20), "f4", chunks=(1, 1 << 16)),
            "Caffe allows",
        ),
        (store_in_another, "stored elsewhere"),
    ],
)
def test_hdf5_files(tmp_path, fill, match):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        fill(file)
    refused(tmp_path, rows(tmp_path), ReadError, match)


def test_lists_of_hdf5_files(tmp_path):
    refused(tmp_path, rows(tmp_path), MissingData, "a.h5: no such file")
    (tmp_path / "a.h5").write_text("no HDF5")
    refused(tmp_path, rows(tmp_path), ReadError, "HDF5 library cannot read it")
    refused(tmp_path, rows(tmp_path, "transform_param { scale: 2 }"), NetError, "takes no transform_param")
    refused(tmp_path, rows(tmp_path).replace("batch_size: 2", ""), NetError, "batch_size must be given")
    text = rows(tmp_path)
    (tmp_path / "list.txt").write_text(" \n")
    refused(tmp_path, text, ReadError, "names no HDF5 file")
    (tmp_path / "list.txt").unlink()
    refused(tmp_path, text, MissingData, "no such list")


def test_rows_of_another_shape_in_the_second_file(tmp_path):
    text = rows(tmp_path)
    for name, axes in (("a", 2), ("b", 3)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"], file["label"] = np.zeros((1, axes)), np.zeros(1)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.h5 {tmp_path}/b.h5")
    refused(tmp_path, text, ReadError, r"'data' has rows of \(3,\), the file before of \(2,\)")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x", "has 'x' where an image begins"),
        ("# 0 a.png 3 4 5 2\n1 0.9 0 0 1 1", "'a.png' is incomplete"),
        ("# 0 a.png 3 4 5 1\n1 high 0 0 1 1", "has no number"),
        ("# 0 a.png 3 4 5 0", "has no windows"),
        ("# 0 a.png 3 4 5 1\n0 0.9 0 0 1 1", "foreground whose label is not above 0"),
        ("# 0 a.png 3 4 5 1\n1 0.9 0 0 1 1", "no windows of the background"),
        ("# 0 a.png 3 4 5 1\n1 0.1 0 0 5 1", r"is 5x4, a window \(0, 0, 5, 1\)"),
        ("# 0 a.png 3 4 5 1\n1 0.1 3 0 2 1", "a window"),
    ],
)
def test_lists_of_windows(tmp_path, monkeypatch, text, match):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((4, 5), np.uint8)).save("a.png")
    (tmp_path / "list.txt").write_text(text)
    param = "window_data_param { source: 'list.txt' batch_size: 1 fg_fraction: 0 }"
    refused(
        tmp_path, f"type: 'WindowData' transform_param {{ crop_size: 3 }} {param}", Caffe2TorchError, match
    )


@pytest.mark.parametrize(
    ("mean", "match"),
    [
        ("mean_file: 'none.binaryproto'", "none.binaryproto: no such file"),
        ("mean_value: 1 mean_file: 'm.binaryproto'", "has a mean_file and a mean_value; keep one"),
        ("mean_value: [1, 2]", "has 2 mean_values for 3 channels"),
        ("mean_file: 'low.binaryproto'", r"has a mean_file \(3, 2, 2\); it must be square, and not below"),
        ("mean_file: 'wide.binaryproto'", r"has a mean_file \(3, 4, 5\); it must be square"),
        ("mean_file: 'grey.binaryproto'", r"has a mean_file \(1, 4, 4\)"),
    ],
)
def test_means_of_windows(tmp_path, monkeypatch, mean, match):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((4, 5), np.uint8)).save("a.png")
    (tmp_path / "list.txt").write_text("# 0 a.png 3 4 5 1\n1 0.1 0 0 2 1")
    for name, shape in {"low": (3, 2, 2), "wide": (3, 4, 5), "grey": (1, 4, 4)}.items():
        sizes = dict(zip(("channels", "height", "width"), shape, strict=True))
        blob = message("BlobProto")(num=1, data=np.zeros(shape).ravel(), **sizes)
        (tmp_path / f"{name}.binaryproto").write_bytes(blob.SerializeToString())
    transform = f"transform_param {{ crop_size: 3 {mean} }}"
    param = "window_data_param { source: 'list.txt' batch_size: 1 fg_fraction: 0 }"
    refused(tmp_path, f"type: 'WindowData' {transform} {param}", Caffe2TorchError, match)


def output(folder, path):
    text = f"type: 'HDF5Output' bottom: 'a' bottom: 'b' hdf5_output_param {{ file_name: '{path}' }}"
    return sink_of(layer(folder, text), "TEST", 1)


def test_hdf5_output(tmp_path):
    sink = output(tmp_path, tmp_path / "out.h5")
    assert (tmp_path / "out.h5").exists()
    values = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    sink.take(values[:3], np.arange(3, dtype=np.float32))
    sink.take(values[3:], np.array([7], np.float32))
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == {"data", "label"}
        assert file["data"].dtype == file["label"].dtype == np.float32
        assert (file["data"][...] == values[..., None]).all()
        assert (file["label"][...].ravel() == [0, 1, 2, 7]).all()
        assert file["label"].shape == (4, 1, 1, 1)


def test_hdf5_output_refuses(tmp_path):
    with pytest.raises(WriteError, match=r"none/out.h5: cannot be written"):
        output(tmp_path, tmp_path / "none" / "out.h5")
    with pytest.raises(NetError, match="has 1 bottoms, it needs 2"):
        sink_of(layer(tmp_path, "type: 'HDF5Output' bottom: 'a' hdf5_output_param { }"), "TEST", 1)
    sink = output(tmp_path, tmp_path / "out.h5")
    one = np.zeros(1, np.float32)
    with pytest.raises(NetError, match="1 rows of data and 2 of labels"):
        sink.take(one, np.zeros(2, np.float32))
    with pytest.raises(NetError, match="bottom of 5 axes"):
        sink.take(np.zeros((1,) * 5, np.float32), one)
    sink.take(one, one)
    with pytest.raises(NetError, match=r"data of \(2, 1, 1\) after \(1, 1, 1\)"):
        sink.take(np.zeros((1, 2), np.float32), one)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "data.mdb").write_bytes(b"")
    refused(tmp_path, data(tmp_path / "x"), MissingData, r"pip install 'caffe2torch\[caffe\]'")


@pytest.mark.fault(
    "a full disk under an HDF5Output layer", "pycaffe", "WriteError, one line; the file is removed"
)
def test_hdf5_output_onto_a_full_disk(tmp_path):
    """In a process of its own: HDF5 can end one that closes such a file."""
    program = """
import resource
from pathlib import Path
import numpy as np
from caffe2torch.errors import WriteError
from tests.feeding.test_refusals import output
sink = output(Path(), "out.h5")
sink.take(np.ones((2, 9), np.float32), np.ones(2, np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    sink.take(np.ones((2000, 9), np.float32), np.ones(2000, np.float32))
except WriteError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "out.h5: cannot be written: File too large\n"), done.stderr
    assert not (tmp_path / "out.h5").exists()
