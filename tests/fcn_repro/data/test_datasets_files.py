"""Files that are not what they claim to be: refused by name, whatever is in them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat
from scipy.sparse import csc_array

from caffe2torch.errors import Caffe2TorchError, MissingData, ReadError
from fcn_repro.data import reading
from fcn_repro.data.datasets import matlab, open_dataset
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.data.images import read_image
from tests.fcn_repro.miniatures import save_jpeg, save_mat, save_png, save_text
from tests.places import GOLDEN

LABEL = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.parametrize(
    "read",
    [
        read_image,
        reading.read_label,
        reading.read_depth,
        reading.read_lines,
        lambda path: read_matrix(path, "S"),
    ],
)
def test_a_file_that_is_not_there(tmp_path, read):
    with pytest.raises(MissingData, match=r"x: no such file"):
        read(tmp_path / "x")


def test_grey_images_become_rgb_and_alpha_goes(tmp_path):
    save_png(tmp_path / "grey.png", LABEL)
    assert read_image(tmp_path / "grey.png").tolist() == np.stack([LABEL] * 3, 2).tolist()
    rgba = np.dstack([LABEL, LABEL + 20, LABEL + 40, np.zeros_like(LABEL)])
    Image.fromarray(rgba, "RGBA").save(tmp_path / "rgba.png")
    assert read_image(tmp_path / "rgba.png").tolist() == rgba[:, :, :3].tolist()


@pytest.mark.parametrize(
    ("pixels", "mode"), [(np.zeros((2, 3, 3), np.uint8), "RGB"), (np.zeros((2, 3), np.uint16), "I;16")]
)
def test_a_label_that_is_no_index_image(tmp_path, pixels, mode):
    save_png(tmp_path / "x.png", pixels)
    with pytest.raises(ReadError, match=f"the PNG is of mode {mode}; labels are indices"):
        reading.read_label(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("grey_labels_of_4_bits", "the PNG is grey, of bit depth 4, which readers scale"),
        ("renumbered_grey_palette", r"index 1 has the colour \(15, 15, 15\), which is that of label 15"),
    ],
)
def test_labels_that_a_program_made_smaller(case, problem):
    dataset = open_dataset("folder", GOLDEN / "reports" / case, "all")
    with pytest.raises(ReadError, match=rf"labels/a\.png: .*{problem}"):
        dataset[0]


VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]


@pytest.mark.parametrize(
    ("colours", "problem"),
    [
        (VOC, ""),
        ([*VOC[:3], (8, 8, 7)], r"index 3 has the colour \(8, 8, 7\), not its label's, \(128, 128, 0\)"),
        ([VOC[0], VOC[2], VOC[1], VOC[3]], r"index 1 has the colour \(0, 128, 0\), which is that of label 2"),
        ([VOC[0], (255, 255, 255)], r"index 1 has the colour \(255, 255, 255\), which is that of label 255"),
        ([(i, i, i) for i in range(4)], ""),
    ],
)
def test_a_palette_whose_colours_are_other_labels_is_refused(tmp_path, colours, problem):
    save_text(tmp_path / "classes.txt", *(f"c{i} {' '.join(map(str, c))}" for i, c in enumerate(VOC)))
    save_png(tmp_path / "images" / "x.png", np.zeros((2, 2, 3), np.uint8))
    label = Image.fromarray(np.array([[0, 1], [1, len(colours) - 1]], np.uint8))
    label.putpalette([value for colour in colours for value in colour])
    (tmp_path / "labels").mkdir()
    label.save(tmp_path / "labels" / "x.png")
    dataset = open_dataset("folder", tmp_path, "all")
    if problem:
        with pytest.raises(ReadError, match=problem):
            dataset[0]
    else:
        assert dataset[0].label.tolist() == [[0, 1], [1, len(colours) - 1]]


def test_a_label_as_jpeg_or_a_depth_of_8_bits(tmp_path):
    save_jpeg(tmp_path / "x.jpg", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "x.jpg").rename(tmp_path / "x.png")
    with pytest.raises(ReadError, match="not a PNG image"):
        reading.read_label(tmp_path / "x.png")
    save_png(tmp_path / "y.png", LABEL)
    with pytest.raises(ReadError, match="a depth map is grey, of 16 bits"):
        reading.read_depth(tmp_path / "y.png")


def png_of(width: int, height: int) -> bytes:
    """A grey PNG that declares its size and holds a few rows of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(3 * (width + 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8193, 11_000, 60_000])
def test_images_of_absurd_sizes_are_not_decoded(tmp_path, side):
    (tmp_path / "x.png").write_bytes(png_of(side, side))
    with pytest.raises(ReadError, match=r"x\.png: .*pixels"):
        reading.read_label(tmp_path / "x.png")


def test_a_label_outside_the_classes_is_refused_with_its_file(tmp_path):
    save_text(tmp_path / "classes.txt", "a", "b")
    save_png(tmp_path / "images" / "x.png", np.zeros((3, 4, 3), np.uint8))
    save_png(tmp_path / "labels" / "x.png", np.array([[0, 1, 255, 0], [0, 0, 2, 0], [0, 0, 0, 0]], np.uint8))
    with pytest.raises(ReadError, match=r"labels/x\.png: label 2; known are 0 to 1, and 255"):
        open_dataset("folder", tmp_path, "all")[0]


def test_a_label_of_another_size_than_its_image(tmp_path):
    save_text(tmp_path / "classes.txt", "a", "b")
    save_png(tmp_path / "images" / "x.png", np.zeros((3, 4, 3), np.uint8))
    save_png(tmp_path / "labels" / "x.png", np.zeros((4, 3), np.uint8))
    with pytest.raises(ReadError, match=r"images/x\.png: \(H, W\) is \(3, 4\), of its label \(4, 3\)"):
        open_dataset("folder", tmp_path, "all")[0]


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?"])
def test_matrices_of_any_type_as_scipy_writes_them(tmp_path, compress, dtype):
    values = LABEL.astype(dtype)
    others = {"text": "S", "cell": np.array([[1], ["a"]], object), "sparse": csc_array(LABEL), "z": {"S": 1}}
    save_mat(tmp_path / "x.mat", {**others, "S": values}, compress)
    found = read_matrix(tmp_path / "x.mat", "S")
    assert found.tolist() == values.astype(int).tolist()
    assert found.tolist() == loadmat(tmp_path / "x.mat", variable_names="S")["S"].tolist()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (2, 5), (0, 4)])
def test_matrices_of_any_shape(tmp_path, shape):
    values = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)  # up to 4 bytes: the small form
    save_mat(tmp_path / "x.mat", {"S": values, "T": {"L": values, "M": "m"}})
    assert read_matrix(tmp_path / "x.mat", "S").tolist() == values.tolist()
    assert read_matrix(tmp_path / "x.mat", "T", "L").tolist() == values.tolist()


def test_doubles_stored_as_bytes_from_a_machine_of_the_other_order(tmp_path):
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    head = element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", 2, 3))
    name = struct.pack(">HH4s", 1, 1, b"S")  # the small form
    matrix = element(14, head + name + element(2, bytes([1, 2, 3, 4, 5, 6])))
    header = b"MATLAB 5.0 MAT-file, written by MATLAB as doubles of one byte".ljust(124) + b"\x01\x00MI"
    (tmp_path / "x.mat").write_bytes(header + matrix)
    assert read_matrix(tmp_path / "x.mat", "S").tolist() == [[1, 3, 5], [2, 4, 6]]
    assert loadmat(tmp_path / "x.mat", variable_names="S")["S"].tolist() == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize(
    "value",
    ["text", np.zeros((2, 2, 2)), np.zeros((2, 2), complex), np.array([[1, "a"]], object), {"S": LABEL}],
    ids=["text", "3 axes", "complex", "cell", "struct"],
)
def test_variables_that_are_no_matrices(tmp_path, value):
    save_mat(tmp_path / "x.mat", {"S": value})
    with pytest.raises(ReadError, match=r"x\.mat: no labels in S: it is not a matrix of real numbers"):
        read_matrix(tmp_path / "x.mat", "S")


def test_a_mat_without_the_variable_or_the_field(tmp_path):
    save_mat(tmp_path / "x.mat", {"GTcls": {"Other": LABEL, "More": LABEL}, "plain": LABEL})
    for variable, field, problem in (
        ("S", "", "no labels in S: there is no such variable"),
        ("GTcls", "Segmentation", r"no labels in GTcls\.Segmentation: its fields are Other, More"),
        ("plain", "Segmentation", "the variable is not a struct"),
    ):
        with pytest.raises(ReadError, match=problem):
            read_matrix(tmp_path / "x.mat", variable, field)


def test_matlab_7_3_is_refused_with_what_to_do(tmp_path):
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file["S"] = LABEL
    content = bytearray((tmp_path / "x.mat").read_bytes())
    content[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(ReadError, match=r"not a MATLAB 5 file \(MATLAB writes one with save -v7"):
        read_matrix(tmp_path / "x.mat", "S")


def test_a_mat_that_inflates_too_far_is_left(tmp_path, monkeypatch):
    save_mat(tmp_path / "x.mat", {"S": np.zeros((2000, 1000), np.uint8)})
    assert (tmp_path / "x.mat").stat().st_size < 10_000
    assert read_matrix(tmp_path / "x.mat", "S").shape == (2000, 1000)
    monkeypatch.setattr(matlab, "MAX_BYTES", 1_000_000)
    with pytest.raises(ReadError, match="inflates to more than 1000000 bytes"):
        read_matrix(tmp_path / "x.mat", "S")


def test_a_mat_that_is_larger_than_any_label_is_left(tmp_path, monkeypatch):
    save_mat(tmp_path / "x.mat", {"S": LABEL})
    size = (tmp_path / "x.mat").stat().st_size
    monkeypatch.setattr(matlab, "MAX_BYTES", size - 1)
    with pytest.raises(ReadError, match=rf"x\.mat: {size} bytes; a label file has at most {size - 1}"):
        read_matrix(tmp_path / "x.mat", "S")


def test_a_mat_that_ends_early_or_has_an_empty_field(tmp_path):
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    head = element(6, struct.pack("<II", 2, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, b"S")
    fields = element(5, struct.pack("<i", 8)) + element(1, b"L".ljust(8, b"\0")) + element(14, b"")
    whole = element(14, head + fields)
    for content, problem in (
        (whole, r"no labels in S\.L: it is empty"),
        (element(15, zlib.compress(whole)[:-9]), "it is truncated"),
    ):
        (tmp_path / "x.mat").write_bytes(header + content)
        with pytest.raises(ReadError, match=rf"x\.mat: .*{problem}"):
            read_matrix(tmp_path / "x.mat", "S", "L")
    (tmp_path / "x.mat").write_bytes(header + whole)
    assert loadmat(tmp_path / "x.mat")["S"]["L"][0, 0].size == 0


def test_fractions_are_no_labels():
    for raw in (np.array([[0, 0.5]]), np.array([[0, np.nan]])):
        with pytest.raises(ReadError, match="labels must be integers, found fractions"):
            reading.lookup(raw, range(41), Path("x.mat"))


def test_labels_beyond_the_raw_ones_are_refused(tmp_path):
    path = tmp_path / "x.mat"
    for raw in (np.array([[0, 41]]), np.array([[-1, 3]]), np.array([[0.0, 1e300]])):
        with pytest.raises(ReadError, match=r"x\.mat: labels from .* where 0 to 40 are known"):
            reading.lookup(raw, range(41), path)


@pytest.mark.parametrize("line", ["../secret", "a/b", "a\\b", ".hidden"])
def test_lists_do_not_lead_out_of_the_folder(tmp_path, line):
    save_text(tmp_path / "list.txt", "fine", line)
    with pytest.raises(ReadError, match="is not an id"):
        reading.read_ids(tmp_path / "list.txt")


def test_lists_with_doubles_or_of_other_bytes(tmp_path):
    save_text(tmp_path / "list.txt", "a", " b ", "", "a", end="\r\n")
    with pytest.raises(ReadError, match="a is listed twice"):
        reading.read_ids(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ReadError, match="not a readable text"):
        reading.read_ids(tmp_path / "list.txt")


def damaged(content: bytes, draw: np.random.Generator) -> bytes:
    if draw.random() < 0.3:
        return content[: draw.integers(len(content))]
    spoilt = bytearray(content)
    for _ in range(draw.integers(1, 20)):
        spoilt[draw.integers(len(spoilt))] = draw.integers(256)
    return bytes(spoilt)


@pytest.mark.parametrize("kind", ["jpg", "png", "16 bit png", "mat", "flat mat", "struct"])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, kind):
    path, draw = tmp_path / "x", np.random.default_rng(11)
    label = draw.integers(0, 20, (30, 40), np.uint8)
    make = {
        "jpg": lambda: save_jpeg(tmp_path / "x.jpg", np.dstack([label] * 3)),
        "png": lambda: save_png(tmp_path / "x.png", label, palette=True),
        "16 bit png": lambda: save_png(tmp_path / "x.png", label.astype(np.uint16)),
        "mat": lambda: save_mat(tmp_path / "x.mat", {"S": label}),
        "flat mat": lambda: save_mat(tmp_path / "x.mat", {"S": label}, compress=False),
        "struct": lambda: save_mat(tmp_path / "x.mat", {"S": {"L": label}}, compress=False),
    }
    make[kind]()
    (good,) = tmp_path.iterdir()
    read = {
        "jpg": read_image,
        "png": reading.read_label,
        "16 bit png": reading.read_depth,
        "struct": lambda path: read_matrix(path, "S", "L"),
    }.get(kind, lambda path: read_matrix(path, "S"))
    content, refused = good.read_bytes(), 0
    assert read(good).shape[:2] == (30, 40)
    for _ in range(200):
        path.write_bytes(damaged(content, draw))
        try:
            read(path)
        except Caffe2TorchError:
            refused += 1
    assert refused > 50, refused
