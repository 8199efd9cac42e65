"""The readers of strangers' files, each as a function of a path, and the files that fuzzing starts from."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from google.protobuf.message import DecodeError
from PIL import Image
from scipy.io import savemat

import caffe2torch as c2t
from caffe2torch import schema
from caffe2torch.errors import Caffe2TorchError, ReadError
from caffe2torch.feeding.hdf5_data import words_of
from caffe2torch.feeding.image_data import read_lines
from caffe2torch.feeding.window_data import read_windows
from caffe2torch.formats.onnx import source_of
from caffe2torch.formats.safetensors import read_safetensors
from caffe2torch.formats.safetensors import source_of as safetensors_source
from caffe2torch.net.classes import read_classes
from caffe2torch.plan import plan
from caffe2torch.plan.table import table_of
from caffe2torch.schema import Message
from caffe2torch.solving.parameter import read_solver
from caffe2torch.untrusted.binary import read_binaryproto, read_caffemodel, read_solverstate
from caffe2torch.untrusted.databases import open_database
from caffe2torch.untrusted.datums import read_datum
from caffe2torch.untrusted.hdf5 import is_keras, keras_weights, rows
from caffe2torch.untrusted.mapped import located, mapped
from caffe2torch.untrusted.npz import stored_inputs
from caffe2torch.untrusted.photos import read_photo
from caffe2torch.untrusted.pickles import read_state_dict
from caffe2torch.untrusted.pixels import read_bgr, read_pixels
from caffe2torch.untrusted.pt2 import read_pt2
from caffe2torch.untrusted.tables import read_table
from caffe2torch.untrusted.wire import scan
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.data.images import read_image
from fcn_repro.data.palette import colormap
from fcn_repro.data.reading import read_depth, read_ids, read_label
from fcn_repro.fetching.archives import extract
from fcn_repro.recipes import Recipe
from fcn_repro.scoring.metrics import Confusion
from fcn_repro.scoring.result import Evaluation, HeadScores
from fcn_repro.scoring.voc_server import read_answer
from fcn_repro.toml_records import load
from fcn_repro.training.log import TRAIN, read_rows

ROOT = Path(__file__).parents[1]
MAX_SEED = 1 << 14
"""Bytes of a file to start from: small ones are mutated faster."""

Make = Callable[[Path], object]
"""Writes a file, or several, into a folder."""


@dataclass(frozen=True)
class Target:
    """A reader, the suffix of its files, and those to start from: in the repository, and made."""

    read: Callable[[Path], object]
    suffix: str
    found: str = ""
    """A pattern of paths in the repository."""
    make: Make = lambda folder: None

    def seeds(self, folder: Path) -> None:
        """Puts the files to start from into a folder."""
        for number, path in enumerate(sorted(ROOT.glob(self.found)) if self.found else ()):
            if path.stat().st_size <= MAX_SEED:
                shutil.copyfile(path, folder / f"{number}{self.suffix}")
        self.make(folder)


_NO_MESSAGE = ("cut short", "bytes long", "are left")
"""Parts of the scan's refusals of what no parser takes; others are of shapes, types and bounds."""


def agreement(path: Path, name: str) -> None:
    """Asserts that the scan of a message's wire format and protobuf accept the same and find the same."""
    data, kind = path.read_bytes(), schema.message(name)
    try:
        skeleton, blobs = scan(data, name)
        kind.FromString(skeleton)
    except DecodeError:
        return
    except ReadError as refusal:
        if any(part in str(refusal) for part in _NO_MESSAGE):
            with contextlib.suppress(DecodeError):
                kind.FromString(data)
                raise AssertionError(f"protobuf takes what the scan refuses: {refusal}") from None
        return
    protos = list(_blobs(kind.FromString(data)))
    assert len(protos) == len(blobs)
    for blob, proto in zip(blobs, protos, strict=True):
        values = proto.double_data or proto.data
        if len(values) and not _has_values_elsewhere(proto):
            np.testing.assert_array_equal(blob.read().reshape(-1), np.array(values, blob.dtype))


def _blobs(message: Message) -> Iterator[Message]:
    """The BlobProtos of a message in the order in which a file holds them."""
    if message.DESCRIPTOR.name == "BlobProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _blobs(inner)


def _has_values_elsewhere(proto: Message) -> bool:
    """Whether it has fields that protobuf does not know: those of C3D or NVIDIA's Caffe."""
    known = type(proto).FromString(proto.SerializeToString())
    known.DiscardUnknownFields()
    return bool(known.ByteSize() < proto.ByteSize())


def _planned(path: Path) -> None:
    str(table_of(plan(c2t.read(path), allow_missing=True)))


def _small(folder: Path, suffix: str) -> None:
    net = c2t.read(ROOT / "tests/golden/legacy/v1.prototxt", ROOT / "tests/golden/legacy/v1.caffemodel")
    c2t.export(net, folder / f"small{suffix}", check=False)


def _state_dicts(folder: Path) -> None:
    state = torch.nn.Conv2d(2, 3, 3).state_dict()
    torch.save(state, folder / "now.pth")
    torch.save(state, folder / "before.pth", _use_new_zipfile_serialization=False)


def _photos(folder: Path) -> None:
    image = Image.fromarray(np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3))
    for suffix in ("png", "jpg", "tif", "bmp", "webp"):
        image.save(folder / f"photo.{suffix}")


def _matrices(folder: Path) -> None:
    labels = {"LabelMap": np.arange(12, dtype=np.uint8).reshape(3, 4), "s": {"x": np.eye(2)}}
    for compressed in (False, True):
        savemat(folder / f"{compressed}.mat", labels, do_compression=compressed)


def _archives(folder: Path) -> None:
    for name, mode in (("plain.tar", "w"), ("packed.tar.gz", "w:gz")):
        with tarfile.open(folder / name, mode) as archive:
            archive.add(ROOT / "LICENSE", "folder/LICENSE")
    with zipfile.ZipFile(folder / "one.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.write(ROOT / "LICENSE", "folder/LICENSE")


def _unpacked(path: Path) -> None:
    folder = path.with_name("unpacked")
    try:
        extract(path, folder, max_bytes=1 << 20, max_members=100)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _class_lists(folder: Path) -> None:
    (folder / "classes.txt").write_text("background 0 0 0\nroad 128 64 128\nsign 220 220 0\n")


def _both(read: Callable[[Path], object], kind: str) -> Callable[[Path], None]:
    """A reader of a binary message that also holds the scan against protobuf."""

    def reading(path: Path) -> None:
        agreement(path, kind)
        read(path)

    return reading


def _database(path: Path) -> None:
    for record in open_database(str(path), "LMDB").values():
        read_datum(record, str(path))


def _level_db(path: Path) -> None:
    """The first byte says which file of a LevelDB the others replace."""
    which, content = path.read_bytes()[:1] or b"\0", path.read_bytes()[1:]
    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(LEVEL_DB, folder)
    files = sorted(each for each in folder.iterdir() if each.name != "LOG")
    files[which[0] % len(files)].write_bytes(content)
    for record in open_database(str(folder), "LEVELDB").values():
        read_datum(record, str(path))


def _level_db_files(folder: Path) -> None:
    files = sorted(path for path in LEVEL_DB.iterdir() if path.name != "LOG")
    for number, path in enumerate(files):
        (folder / f"{number}.leveldb").write_bytes(bytes((number,)) + path.read_bytes())


def _datums(folder: Path) -> None:
    datum, png = schema.message("Datum"), ROOT / "tests/golden/pycaffe/feeding/images"
    encoded = datum(data=min(png.iterdir(), key=lambda path: path.stat().st_size).read_bytes(), encoded=True)
    for number, each in enumerate(
        (
            datum(channels=2, height=3, width=4, data=bytes(24), label=5),
            datum(channels=1, height=2, width=2, float_data=[1, 2, 3, 4]),
            encoded,
        )
    ):
        (folder / f"{number}.datum").write_bytes(each.SerializeToString())


def _labels(folder: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = Image.fromarray(pixels, "P")
    palette.putpalette(colormap(256).ravel().tolist())
    palette.save(folder / "palette.png")
    Image.fromarray(pixels).save(folder / "grey.png")
    Image.fromarray(colormap(12)[pixels]).save(folder / "colours.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(folder / "deep.png")


def _read_labels(path: Path) -> None:
    with contextlib.suppress(ReadError):
        read_label(path, colormap(21))
    with contextlib.suppress(ReadError):
        read_label(path, colormap(21), by_colour=True)
    with contextlib.suppress(ReadError):
        read_depth(path)
    read_image(path)


def _evaluations(folder: Path) -> None:
    confusion = Confusion(2).with_counts(np.array([[3, 1], [0, 5]]))
    head = HeadScores(("a", "b"), ("#000000", "#00ff00"), confusion)
    facts = {"images": 1, "processes": 1, "seconds": 1.5}
    texts = ("model", "model_sha256", "dataset", "split", "precision", "device", "date", "command")
    Evaluation(**facts, **dict.fromkeys(texts, "x"), heads={"": head}).save(folder / "evaluation.json")


def _answers(folder: Path) -> None:
    (folder / "number.txt").write_text("62.2 %\n")
    (folder / "list.txt").write_text("background: 91.2%\naeroplane: 76.8%\nmean: 62.2%\n")
    page = "<table><tr><th>mean</th><th>bird</th></tr><tr><td>62.2</td><td>68.9</td></tr></table>"
    (folder / "page.txt").write_text(page)


def _ids(folder: Path) -> None:
    (folder / "ids.txt").write_text("2007_000033\n2007_000042\n2007_000061\n")


def _logs(folder: Path) -> None:
    (folder / "train.csv").write_text(f"{','.join(TRAIN)}\n{','.join('1' for _ in TRAIN)}\n")


def _tables(folder: Path) -> None:
    (folder / "table.json").write_text('{"mean": [104.0, 117, 123], "net": "name: 1", "x": {"y": null}}')


def _safetensors(path: Path) -> None:
    with contextlib.suppress(Caffe2TorchError):
        safetensors_source(path)
    read_safetensors(path)


def _keras(path: Path) -> None:
    with located(path):
        buffer = mapped(path)
        if is_keras(str(path)):
            keras_weights(str(path), buffer)


def _keras_files(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "keras.h5", "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["layer_names"] = [b"block1_conv1"]
        file["block1_conv1/block1_conv1_W_1:0"] = np.zeros((3, 3, 3, 4), np.float32)


def _rows(path: Path) -> None:
    with located(path):
        rows(str(path), ("data", "label"))


def _pixels(path: Path) -> None:
    for color in (None, False, True):
        read_bgr(path, color)
    read_pixels(path)


GOLDEN = "tests/golden/**/*"
LEVEL_DB = ROOT / "tests/golden/pycaffe/feeding/raw_leveldb"
TARGETS = {
    "archive": Target(_unpacked, ".tar", make=_archives),
    "answer": Target(read_answer, ".txt", make=_answers),
    "binaryproto": Target(
        _both(read_binaryproto, "BlobProto"), ".binaryproto", f"{GOLDEN}.binaryproto"
    ),
    "caffemodel": Target(
        _both(read_caffemodel, "NetParameter"), ".caffemodel", f"{GOLDEN}.caffemodel"
    ),
    "classes": Target(read_classes, ".txt", make=_class_lists),
    "datum": Target(lambda path: read_datum(path.read_bytes(), str(path)), ".datum", make=_datums),
    "evaluation": Target(Evaluation.load, ".json", make=_evaluations),
    "hdf5": Target(read_caffemodel, ".caffemodel.h5", f"{GOLDEN}.caffemodel.h5"),
    "hdf5 list": Target(lambda path: words_of(str(path)), ".txt", "tests/golden/pycaffe/feeding/*.txt"),
    "ids": Target(read_ids, ".txt", make=_ids),
    "image list": Target(lambda path: read_lines(str(path)), ".txt", "tests/golden/pycaffe/feeding/s*.txt"),
    "keras": Target(_keras, ".h5", make=_keras_files),
    "labels": Target(_read_labels, ".png", make=_labels),
    "leveldb": Target(_level_db, ".leveldb", make=_level_db_files),
    "lmdb": Target(_database, ".mdb", f"{GOLDEN}.mdb"),
    "log": Target(lambda path: read_rows(path, TRAIN), ".csv", make=_logs),
    "matlab": Target(lambda path: read_matrix(path, "LabelMap"), ".mat", make=_matrices),
    "npz": Target(lambda path: [*stored_inputs(path)], ".npz", "tests/golden/layers/*.npz"),
    "onnx": Target(source_of, ".onnx", make=lambda folder: _small(folder, ".onnx")),
    "photo": Target(read_photo, ".png", make=_photos),
    "pixels": Target(_pixels, ".png", "tests/golden/pycaffe/feeding/images/*"),
    "prototxt": Target(_planned, ".prototxt", f"{GOLDEN}.prototxt"),
    "pt2": Target(read_pt2, ".pt2", make=lambda folder: _small(folder, ".pt2")),
    "pth": Target(read_state_dict, ".pth", make=_state_dicts),
    "recipe": Target(lambda path: load(path, Recipe), ".toml", "fcn_repro/recipes/*.toml"),
    "rows": Target(_rows, ".h5", "tests/golden/pycaffe/feeding/*.h5"),
    "safetensors": Target(
        _safetensors, ".safetensors", make=lambda folder: _small(folder, ".safetensors")
    ),
    "solver": Target(read_solver, ".prototxt", "tests/golden/**/solver.prototxt"),
    "solverstate": Target(
        _both(read_solverstate, "SolverState"), ".solverstate", f"{GOLDEN}.solverstate"
    ),
    "table": Target(read_table, ".json", make=_tables),
    "windows": Target(
        lambda path: read_windows(str(path), ""), ".txt", "tests/golden/pycaffe/feeding/w*.txt"
    ),
    "wire": Target(
        lambda path: agreement(path, "NetParameter"), ".caffemodel", f"{GOLDEN}.caffemodel"
    ),
}  # fmt: skip
"""By name. A reader may raise nothing but Caffe2TorchError."""
