"""Every bound of a reader is met: what needs exactly so much is read, and refused with one less allowed.

The inputs are small; the bound itself is set to what they need. A bound without a case fails the last test.
"""

from __future__ import annotations

import importlib
import io
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import caffe2torch as c2t
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.feeding.hdf5_data import words_of
from caffe2torch.feeding.resize import resize
from caffe2torch.formats.safetensors import read_safetensors
from caffe2torch.net.classes import read_classes
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.net.preprocessing import preprocessing
from caffe2torch.plan import plan
from caffe2torch.untrusted.hdf5_places import layers, rows
from caffe2torch.untrusted.npz import stored_inputs
from caffe2torch.untrusted.onnx import read_metadata
from caffe2torch.untrusted.photos import read_photo
from caffe2torch.untrusted.pickles import read_state_dict
from caffe2torch.untrusted.tables import read_table
from caffe2torch.untrusted.text import read_prototxt
from caffe2torch.untrusted.wire import scan
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.data.images import read_image
from fcn_repro.data.reading import read_ids
from fcn_repro.fetching.archives import extract
from fcn_repro.recipes import NetSpec
from fcn_repro.scoring.result import read_json
from fcn_repro.scoring.voc_server import read_answer
from fcn_repro.toml_records import load
from tests import wire_writer as w
from tests.places import GOLDEN, ROOT

Case = Callable[[Path], "tuple[int | Fraction, Callable[[], object]]"]
"""What an input in a folder needs of the bound, and what reads it."""
CASES: dict[str, tuple[Case, str]] = {}
"""By the bound's module and name: the case, and what the refusal says."""
READERS = (
    *("caffe2torch/untrusted", "caffe2torch/feeding", "fcn_repro/data", "fcn_repro/fetching"),
    *("caffe2torch/net/classes.py", "caffe2torch/net/knowledge.py", "caffe2torch/net/preprocessing.py"),
    "fcn_repro/toml_records.py",
    *("fcn_repro/scoring/result.py", "fcn_repro/scoring/voc_server.py", "caffe2torch/layers/caffe/spp.py"),
    *(
        "fcn_repro/recipes/__init__.py",
        "caffe2torch/plan/flow.py",
        "caffe2torch/blob.py",
        "caffe2torch/formats/safetensors.py",
    ),
)
ELSEWHERE = {
    "caffe2torch.untrusted.apart.MAX_MEMORY": "tests/untrusted/test_apart.py",
    "caffe2torch.untrusted.apart.MAX_SECONDS": "tests/untrusted/test_apart.py",
    "caffe2torch.plan.flow.MAX_CHANGES": "tests/modules/test_corners.py",
    "fcn_repro.fetching.http.MAX_BYTES": "tests/fcn_repro/fetching/test_fetching.py",
    "fcn_repro.scoring.voc_server.MAX_PNG_BYTES": "tests/fcn_repro/scoring/test_voc_server.py",
}


def bound(name: str, refusal: str) -> Callable[[Case], Case]:
    """Registers a case for the bound `name`, whose module counts from `caffe2torch.` or `fcn_repro.`."""

    def register(case: Case) -> Case:
        CASES[name] = case, refusal
        return case

    return register


def file(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@bound("caffe2torch.blob.MAX_COUNT", "Caffe allows")
def _values_of_a_blob(folder: Path) -> tuple[int, Callable[[], object]]:
    return 6, lambda: scan(w.packed(5, [0.0] * 6) + w.shape(2, 3), "BlobProto")


@bound("caffe2torch.blob.MAX_AXES", "axes, Caffe allows")
def _axes(folder: Path) -> tuple[int, Callable[[], object]]:
    return 3, lambda: scan(w.packed(5, [0.0] * 6) + w.shape(1, 2, 3), "BlobProto")


@bound("caffe2torch.blob.MAX_EMPTY", "has a 0, and other axes that no array has")
def _empty(folder: Path) -> tuple[int, Callable[[], object]]:
    return 6, lambda: scan(w.shape(2, 0, 3), "BlobProto")


@bound("caffe2torch.untrusted.wire.MAX_FIELDS", "more than 2 fields")
def _fields(folder: Path) -> tuple[int, Callable[[], object]]:
    return 3, lambda: scan(w.delimited(1, b"") * 3)


@bound("caffe2torch.untrusted.wire.MAX_DEFINITION", "the definition, blobs aside, is over")
def _definition(folder: Path) -> tuple[int, Callable[[], object]]:
    return 12, lambda: scan(w.delimited(1, bytes(10)))


@bound("caffe2torch.untrusted.wire.MAX_TAG", "no field starts here")
def _tag(folder: Path) -> tuple[int, Callable[[], object]]:
    return 5, lambda: scan(b"\x8a\x80\x80\x80\x00" + b"\x00")


@bound("caffe2torch.untrusted.text.MAX_TEXT", "no prototxt is")
def _text(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "a.prototxt", "name: 'a'")
    return 9, lambda: read_prototxt(path)


@bound("caffe2torch.untrusted.tables.MAX_TABLE", "are allowed")
def _table(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "a.json", '{"a": 1}')
    return 8, lambda: read_table(path)


@bound("caffe2torch.untrusted.onnx.MAX_BYTES", "is no text of at most")
def _metadata(folder: Path) -> tuple[int, Callable[[], object]]:
    entry = w.delimited(1, b"key") + w.delimited(2, b"value")
    path = file(folder, "a.onnx", w.delimited(2, b"me") + w.delimited(14, entry))
    return len(entry), lambda: read_metadata(path, "me")


PLACES = "caffe2torch.untrusted.hdf5_places"


def hdf5_case(fill: Callable[[h5py.File], int]) -> Case:
    def case(folder: Path) -> tuple[int, Callable[[], object]]:
        with h5py.File(folder / "a.h5", "w") as target:
            needs = fill(target)
        return needs, lambda: layers(str(folder / "a.h5"))

    return case


def _members(target: h5py.File) -> int:
    for layer in ("a", "b"):
        target[f"data/{layer}/0"] = np.zeros(3, "f")
    return 4


def _name(target: h5py.File) -> int:
    target[f"data/{'n' * 20}/0"] = np.zeros(3, "f")
    return 20


def _number(target: h5py.File) -> int:
    target["data/a/4"] = np.zeros(3, "f")
    return 5


bound(f"{PLACES}.MAX_MEMBERS", "its groups never end, or are over")(hdf5_case(_members))
bound(f"{PLACES}.MAX_NAME", "its groups never end")(hdf5_case(_name))
bound(f"{PLACES}.MAX_BLOBS", "is not the number of a blob")(hdf5_case(_number))


def rows_case(needs: int, shape: tuple[int, ...], **storing: object) -> Case:
    def case(folder: Path) -> tuple[int, Callable[[], object]]:
        with h5py.File(folder / "a.h5", "w") as target:
            target.create_dataset("data", shape, "u1", **storing)
        return needs, lambda: rows(str(folder / "a.h5"), ["data"])

    return case


bound(f"{PLACES}.MAX_UNSTORED", "asks for 24 bytes as float32, and 0 are stored")(rows_case(24, (2, 3)))
bound(f"{PLACES}.MAX_CHUNKS", "is in 6 chunks; 5 are allowed")(rows_case(6, (3, 4), chunks=(1, 2)))


@bound(f"{PLACES}.MAX_RATIO", "as float32")
def _deflated_rows(folder: Path) -> tuple[int, Callable[[], object]]:
    with h5py.File(folder / "a.h5", "w") as target:
        data = target.create_dataset("data", data=np.zeros(1 << 26, "u1"), chunks=(1 << 26,), compression=9)
        stored, size = data.id.get_storage_size(), 4 << 26
    return -(-(size - (3 << 26)) // stored), lambda: rows(str(folder / "a.h5"), ["data"])


@bound("caffe2torch.untrusted.npz.MAX_ARRAY", "declares")
def _array(folder: Path) -> tuple[int, Callable[[], object]]:
    np.savez(folder / "a.npz", **{"in.data": np.zeros(6, np.float32)})
    return 24, lambda: list(stored_inputs(folder / "a.npz"))


def _deflated(folder: Path) -> tuple[Path, int]:
    path = folder / "a.npz"
    np.savez_compressed(path, **{"in.data": np.zeros(4096, np.float32)})
    with zipfile.ZipFile(path) as archive:
        return path, archive.infolist()[0].compress_size


@bound("caffe2torch.untrusted.npz.MAX_UNSTORED", "declares")
def _unstored(folder: Path) -> tuple[int, Callable[[], object]]:
    path, stored = _deflated(folder)
    return 4 * 4096 - 3 * stored, lambda: list(stored_inputs(path))


@bound("caffe2torch.untrusted.npz.MAX_RATIO", "declares")
def _ratio(folder: Path) -> tuple[Fraction, Callable[[], object]]:
    path, stored = _deflated(folder)
    return Fraction(4 * 4096 - (1 << 27), stored), lambda: list(stored_inputs(path))


def state_dict_case(needs: Callable[[bytes], int], key: object = "a") -> Case:
    def case(folder: Path) -> tuple[int, Callable[[], object]]:
        torch.save({key: torch.zeros(3)}, folder / "a.pth")
        with zipfile.ZipFile(folder / "a.pth") as archive:
            pickle = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
        return needs(pickle), lambda: read_state_dict(folder / "a.pth")

    return case


bound("caffe2torch.untrusted.pickles.MAX_PICKLE", "are allowed")(state_dict_case(len))
bound("caffe2torch.untrusted.pickles.MAX_TUPLE", "has a tuple of over 39 values")(
    state_dict_case(lambda _: 40, tuple(range(40)))
)


def png(folder: Path, width: int, height: int, mode: str = "RGB") -> Path:
    Image.new(mode, (width, height)).save(folder / "a.png")
    return folder / "a.png"


@bound("caffe2torch.untrusted.photos.MAX_PIXELS", "are decoded")
def _pixels(folder: Path) -> tuple[int, Callable[[], object]]:
    path = png(folder, 7, 5)
    return 35, lambda: read_photo(path)


@bound("caffe2torch.untrusted.photos.FREE_PIXELS", "as no photo has")
def _free(folder: Path) -> tuple[int, Callable[[], object]]:
    path = png(folder, 300, 200)
    return 60_000 - 50 * path.stat().st_size, lambda: read_photo(path)


@bound("caffe2torch.untrusted.photos.MAX_RATIO", "as no photo has")
def _photo_ratio(folder: Path) -> tuple[Fraction, Callable[[], object]]:
    path = png(folder, 300, 200)
    return Fraction(60_000 - (1 << 24), path.stat().st_size), lambda: read_photo(path)


@bound("caffe2torch.untrusted.photos.MAX_SCANS", "a JPEG of over")
def _scans(folder: Path) -> tuple[int, Callable[[], object]]:
    path = folder / "a.jpg"
    Image.new("RGB", (16, 16)).save(path, progressive=True)
    return path.read_bytes().count(b"\xff\xda"), lambda: read_photo(path)


@bound("fcn_repro.data.images.MAX_PIXELS", "are decoded")
def _image_pixels(folder: Path) -> tuple[int, Callable[[], object]]:
    path = png(folder, 7, 5)
    return 35, lambda: read_image(path)


@bound("fcn_repro.data.images.FREE_PIXELS", "as no photo has")
def _image_free(folder: Path) -> tuple[int, Callable[[], object]]:
    path = png(folder, 300, 200)
    return 60_000 - 50 * path.stat().st_size, lambda: read_image(path)


@bound("fcn_repro.data.images.MAX_RATIO", "as no photo has")
def _image_ratio(folder: Path) -> tuple[Fraction, Callable[[], object]]:
    path = png(folder, 300, 200)
    return Fraction(60_000 - (1 << 24), path.stat().st_size), lambda: read_image(path)


@bound("caffe2torch.feeding.hdf5_data.MAX_LIST", "is over")
def _list(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "list.txt", "a.h5\nb.h5\n")
    return 10, lambda: words_of(str(path))


@bound("caffe2torch.feeding.hdf5_data.MAX_WORDS", "is over")
def _words(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "list.txt", "a.h5\nb.h5\n")
    return 2, lambda: words_of(str(path))


NET = GOLDEN / "fcn" / "voc-fcn8s"


@bound("caffe2torch.feeding.resize.MAX_PIXELS", "images are to become 3 x 5 (height x width)")
def _resized(folder: Path) -> tuple[int, Callable[[], object]]:
    return 15, lambda: resize(np.zeros((3, 2, 2), np.uint8), 3, 5)


def known(blobs: int, classes: int, name: int, mean: float) -> Callable[[], object]:
    prepared = {"mean": [mean], "scale": 1, "crop_size": 0, "mirror": False, "mean_file": ""}
    labelling = {
        "classes": [f"{i}".ljust(name, "n") for i in range(classes)],
        "colours": [[i, 0, 0] for i in range(classes)],
    }
    return lambda: Knowledge.from_data({f"{i}": prepared for i in range(blobs)}, {"up": labelling})


for constant, needs, read, refusal in (
    ("MAX_BLOBS", 3, known(3, 2, 4, 1), "of at most 2 blobs"),
    ("MAX_CLASSES", 3, known(1, 3, 4, 1), "a list of 1 to 2"),
    ("MAX_NAME", 9, known(1, 2, 9, 1), "which is no name"),
    ("MAX_NUMBER", 200, known(1, 2, 4, 200), "has an impossible mean"),
):
    CASES[f"caffe2torch.net.knowledge.{constant}"] = (
        lambda folder, needs=needs, read=read: (needs, read),
        refusal,
    )


@bound("caffe2torch.net.preprocessing.MAX_PARAM_STR", "no mean")
def _param_str(folder: Path) -> tuple[int, Callable[[], object]]:
    text = "{'mean': (1, 2, 3)}"
    layer = f"type: 'Python' top: 'data' python_param {{ module: 'm' layer: 'L' param_str: \"{text}\" }}"
    path = file(folder, "a.prototxt", f"layer {{ name: 'd' {layer} }}")

    def read() -> None:
        if not preprocessing(c2t.read(path)):
            raise Caffe2TorchError("no mean")

    return len(text), read


@bound("caffe2torch.formats.safetensors.MAX_DENSE", "not the diagonal (C, 1, h, w) of a blob of at most")
def _diagonal(folder: Path) -> tuple[int, Callable[[], object]]:
    net = c2t.read(NET / "deploy.prototxt", NET / "weights.caffemodel")
    c2t.export(net, folder / "a.safetensors", check=False)
    largest = max(layer.blobs[0].count for layer in net.layers if layer.type == "Deconvolution")
    return largest, lambda: read_safetensors(folder / "a.safetensors")


@bound("caffe2torch.layers.caffe.spp.MAX_LEVELS", "pyramid_height")
def _levels(folder: Path) -> tuple[int, Callable[[], object]]:
    text = (
        "input: 'x' input_shape { dim: 1 dim: 2 dim: 9 dim: 9 } "
        "layer { name: 's' type: 'SPP' bottom: 'x' top: 'y' spp_param { pyramid_height: 2 } }"
    )
    path = file(folder, "a.prototxt", text)
    return 2, lambda: plan(c2t.read(path))


@dataclass(frozen=True)
class Record:
    """Of a file of one number."""

    a: float


def toml(folder: Path, text: str) -> Callable[[], object]:
    path = file(folder, "a.toml", text)
    return lambda: load(path, Record)


@bound("fcn_repro.toml_records.MAX_BYTES", "is over")
def _toml_bytes(folder: Path) -> tuple[int, Callable[[], object]]:
    return 7, toml(folder, "a = 1.5")


@bound("fcn_repro.toml_records.MAX_DOTS", "dots")
def _toml_dots(folder: Path) -> tuple[int, Callable[[], object]]:
    return 3, toml(folder, "a = 1.5 # ..\n")


@bound("fcn_repro.data.reading.MAX_LIST_BYTES", "a list has at most")
def _ids(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "a.txt", "a\nb\n")
    return 4, lambda: read_ids(path)


@bound("fcn_repro.data.reading.MAX_ID", "no file has such a name")
def _id(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "a.txt", "a\nbcd\n")
    return 3, lambda: read_ids(path)


@bound("fcn_repro.recipes.MAX_WIDTH", "a layer has 1 to")
def _width(folder: Path) -> tuple[int, Callable[[], object]]:
    return 64, lambda: spec((64, 32))


@bound("fcn_repro.recipes.MAX_CLASSES", "labels of 8 bits name")
def _classes(folder: Path) -> tuple[int, Callable[[], object]]:
    return 21, lambda: spec((), classes=(21,))


def spec(widths: tuple[int, ...], **more: object) -> None:
    """A part of a recipe; what it refuses is a ReadError of the recipe's file."""
    try:
        NetSpec("FCN32s", widths=widths, **more)
    except ValueError as error:
        raise Caffe2TorchError(str(error)) from None


@bound("caffe2torch.net.classes.MAX_BYTES", "a list has at most")
def _class_list(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "classes.txt", "background\nroad\n")
    return 16, lambda: read_classes(path)


@bound("caffe2torch.net.classes.MAX_LINE", "a class takes at most")
def _class(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "classes.txt", "background\nroad\n")
    return 10, lambda: read_classes(path)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(name: bytes, parts: int = 0) -> bytes:
    head = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack("<ii", 2, 3)) + element(1, name)
    return element(14, head + element(2, bytes(6)) + element(1, b"") * parts)


def mat(folder: Path, *elements: bytes) -> Callable[[], object]:
    path = file(folder, "a.mat", b"MATLAB 5.0".ljust(124) + b"\0\1IM" + b"".join(elements))
    return lambda: read_matrix(path, "x")


@bound("fcn_repro.data.datasets.matlab.MAX_BYTES", "inflates to more than")
def _inflated(folder: Path) -> tuple[int, Callable[[], object]]:
    packed = [zlib.compress(matrix(name)) for name in (b"w" * 4096, b"x")]
    elements = [struct.pack("<II", 15, len(data)) + data for data in packed]
    return sum(len(zlib.decompress(data)) for data in packed), mat(folder, *elements)


@bound("fcn_repro.data.datasets.matlab.MAX_VARIABLES", "over 1 variables")
def _variables(folder: Path) -> tuple[int, Callable[[], object]]:
    return 2, mat(folder, matrix(b"w"), matrix(b"x"))


@bound("fcn_repro.data.datasets.matlab.MAX_PARTS", "no labels in x")
def _parts(folder: Path) -> tuple[int, Callable[[], object]]:
    return 4, mat(folder, matrix(b"x"))


@bound("fcn_repro.scoring.result.MAX_BYTES", "are read")
def _json(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "a.json", '{"a": [[1], [2]]}')
    return 17, lambda: read_json(path)


@bound("fcn_repro.scoring.result.MAX_TABLES", "lists and objects")
def _json_tables(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "a.json", '{"a": [[1], [2]]}')
    return 4, lambda: read_json(path)


@bound("fcn_repro.scoring.voc_server.MAX_ANSWER_BYTES", "an answer has at most")
def _answer(folder: Path) -> tuple[int, Callable[[], object]]:
    path = file(folder, "a.txt", "62.2")
    return 4, lambda: read_answer(path)


def tar(folder: Path) -> Callable[[], object]:
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name in ("a", "b"):
            entry = tarfile.TarInfo(name)
            entry.size = 5
            archive.addfile(entry, io.BytesIO(bytes(5)))
    counted = iter(range(9))
    return lambda: extract(folder / "a.tar", folder / f"out{next(counted)}", **archive_bounds())


def archive_bounds() -> dict[str, int]:
    module = importlib.import_module("fcn_repro.fetching.archives")
    return {"max_bytes": module.MAX_BYTES, "max_members": module.MAX_MEMBERS}


@bound("fcn_repro.fetching.archives.MAX_BYTES", "bytes allowed")
def _unpacked(folder: Path) -> tuple[int, Callable[[], object]]:
    return 10, tar(folder)


@bound("fcn_repro.fetching.archives.MAX_MEMBERS", "members allowed")
def _archive_members(folder: Path) -> tuple[int, Callable[[], object]]:
    return 2, tar(folder)


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_needs_the_bound_is_read_and_one_more_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case, refusal = CASES[name]
    needs, read = case(tmp_path)
    monkeypatch.setattr(name, needs)
    read()
    monkeypatch.setattr(name, needs - 1)
    with pytest.raises(Caffe2TorchError, match=re.escape(refusal)):
        read()


def bounds() -> set[str]:
    """The names of all bounds in the modules of readers."""
    found = set()
    for place in READERS:
        paths = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
        for path in paths:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            names = re.findall(r"^((?:MAX|FREE)_\w+(?:, \w+)*)(?:: \w+)? =", path.read_text(), re.MULTILINE)
            found |= {f"{module}.{name}" for line in names for name in line.split(", ")}
    return found


def test_every_bound_has_a_case() -> None:
    missing = bounds() - CASES.keys() - ELSEWHERE.keys()
    assert not missing
    assert len(CASES) > 40
    for name, test in ELSEWHERE.items():
        assert name.rpartition(".")[2] in (ROOT / test).read_text()
