"""The readers of strangers' files, each as a function of a path, and the files that fuzzing starts from."""

from __future__ import annotations

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
from caffe2torch.errors import ReadError
from caffe2torch.feeding.image_data import read_lines
from caffe2torch.feeding.window_data import read_windows
from caffe2torch.formats.onnx import source_of
from caffe2torch.formats.safetensors import read_safetensors
from caffe2torch.plan import plan
from caffe2torch.plan.table import table_of
from caffe2torch.schema import Message
from caffe2torch.untrusted.binary import read_binaryproto, read_caffemodel, read_solverstate
from caffe2torch.untrusted.databases import open_database
from caffe2torch.untrusted.datums import read_datum
from caffe2torch.untrusted.hdf5 import rows
from caffe2torch.untrusted.mapped import located
from caffe2torch.untrusted.npz import stored_inputs
from caffe2torch.untrusted.photos import read_photo
from caffe2torch.untrusted.pickles import read_state_dict
from caffe2torch.untrusted.pixels import read_bgr, read_pixels
from caffe2torch.untrusted.pt2 import read_pt2
from caffe2torch.untrusted.wire import scan
from fcn_repro.data.datasets.classes import read_classes
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.fetching.archives import extract
from fcn_repro.recipes import Recipe
from fcn_repro.toml_records import load

ROOT = Path(__file__).parents[1]
MAX_SEED = 1 << 15
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


def agreement(path: Path) -> None:
    """Asserts that the scan of the wire format and protobuf accept the same and find the same values."""
    data, kind = path.read_bytes(), schema.message("NetParameter")
    try:
        skeleton, blobs = scan(data)
        kind.FromString(skeleton)
    except (ReadError, DecodeError):
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


def _database(path: Path) -> None:
    for record in open_database(str(path), "LMDB").values():
        read_datum(record, str(path))


def _rows(path: Path) -> None:
    with located(path):
        rows(str(path), ("data", "label"))


def _pixels(path: Path) -> None:
    for color in (None, False, True):
        read_bgr(path, color)
    read_pixels(path)


GOLDEN = "tests/golden/**/*"
TARGETS = {
    "archive": Target(_unpacked, ".tar", make=_archives),
    "binaryproto": Target(read_binaryproto, ".binaryproto", f"{GOLDEN}.binaryproto"),
    "caffemodel": Target(read_caffemodel, ".caffemodel", f"{GOLDEN}.caffemodel"),
    "classes": Target(read_classes, ".txt", make=_class_lists),
    "hdf5": Target(read_caffemodel, ".caffemodel.h5", f"{GOLDEN}.caffemodel.h5"),
    "image list": Target(lambda path: read_lines(str(path)), ".txt", "tests/golden/pycaffe/feeding/s*.txt"),
    "lmdb": Target(_database, ".mdb", f"{GOLDEN}.mdb"),
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
        read_safetensors, ".safetensors", make=lambda folder: _small(folder, ".safetensors")
    ),
    "solverstate": Target(read_solverstate, ".solverstate", f"{GOLDEN}.solverstate"),
    "windows": Target(
        lambda path: read_windows(str(path), ""), ".txt", "tests/golden/pycaffe/feeding/w*.txt"
    ),
    "wire": Target(agreement, ".caffemodel", f"{GOLDEN}.caffemodel"),
}  # fmt: skip
"""By name. A reader may raise nothing but Caffe2TorchError."""
