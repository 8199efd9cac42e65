"""A user's own folder: whatever its files are, they are read right, named in a note, or refused."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import MissingData, ReadError
from fcn_repro import cli
from fcn_repro.data.datasets import open_dataset
from fcn_repro.data.images import read_image
from fcn_repro.data.survey import surveyed
from tests.fcn_repro.miniatures import save_png, save_text

PICTURE = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3) * 5  # (3, 5, 3)
LABEL = np.array([[0, 1, 2, 255, 1], [0] * 5, [2] * 5], np.uint8)


@pytest.fixture
def mine(tmp_path):
    """A folder of three classes, still without images."""
    save_text(tmp_path / "classes.txt", "ground", "sky", "tree")
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    return tmp_path


def add(folder: Path, name: str, image: np.ndarray = PICTURE, label: np.ndarray = LABEL, **how) -> None:
    Image.fromarray(image).save(folder / "images" / name, **how)
    save_png(folder / "labels" / f"{Path(name).stem}.png", label)


def notes(folder: Path, split: str = "all", *, partial: bool = False) -> str:
    return "\n".join(surveyed(open_dataset("folder", folder, split, partial=partial)).notes)


# Which files are taken


def test_any_suffix_in_any_case(mine):
    for name in ("a.JPG", "b.Png", "c.tif", "d.BMP", "e.TIFF", "f.jpeg"):
        add(mine, name)
    add(mine, "g.WebP", lossless=True)
    (mine / "labels/a.png").rename(mine / "labels/a.PNG")
    found = open_dataset("folder", mine, "all")
    assert found.ids == ("a", "b", "c", "d", "e", "f", "g")
    for sample in found:
        off = np.abs(sample.image_hwc.astype(int) - PICTURE).max()
        assert off <= (40 if sample.id in "af" else 0), (sample.id, off)
        assert sample.label.tolist() == LABEL.tolist()
    assert notes(mine) == ""


def test_two_images_of_one_name_are_refused(mine):
    add(mine, "a.jpg")
    add(mine, "a.PNG")
    with pytest.raises(ReadError, match=r"images/a\.jpg: a\.PNG has the same name but for its suffix"):
        open_dataset("folder", mine, "all")


def test_files_without_a_partner_are_counted_and_named(mine):
    for name in ("a.png", "b.png", "c.jpg"):
        add(mine, name)
    (mine / "labels/b.png").rename(mine / "labels/b_mask.png")
    (mine / "labels/c.png").rename(mine / "labels/c.bmp")
    said = (
        r"1 of 3 samples are complete, the first missing file is .*labels/b\.png; images without a label "
        r"PNG: 2 \(b\.png, c\.jpg\); in labels, but no PNG of an image's name: 2 \(b_mask\.png, c\.bmp\)"
    )
    with pytest.raises(MissingData, match=f"{said}; .*or use what is there with --partial"):
        open_dataset("folder", mine, "all")
    found = open_dataset("folder", mine, "all", partial=True)
    assert found.ids == ("a",)
    assert "images without a label PNG: 2 (b.png, c.jpg)" in found.notes[-1]


def test_a_label_without_an_image_is_enough_to_refuse_but_not_in_a_list(mine):
    for name in ("a.png", "b.png"):
        add(mine, name)
    (mine / "images/b.png").unlink()
    with pytest.raises(MissingData, match=r"in labels, but no PNG of an image's name: 1 \(b\.png\)"):
        open_dataset("folder", mine, "all")
    save_text(mine / "few.txt", "a")
    assert open_dataset("folder", mine, "few").notes == ()


def test_what_is_no_image_is_named(mine):
    add(mine, "a.png")
    (mine / "images/city").mkdir()
    for name in ("Thumbs.db", "b.heic", ".DS_Store"):
        (mine / "images" / name).write_bytes(b"")
    assert notes(mine) == (
        "Left out of images, being none of JPEG, PNG, TIFF, BMP, WEBP: 3 (Thumbs.db, b.heic, city)."
    )


def test_a_misspelt_list_names_those_that_are_there(mine):
    add(mine, "a.png")
    for split in ("train", "val"):
        save_text(mine / f"{split}.txt", "a")
    shutil.copytree(mine / "images", mine / "night/images")
    with pytest.raises(MissingData) as caught:
        open_dataset("folder", mine, "trian")
    said = "no list 'trian' here; here are all, night, train, val; did you mean 'train'?"
    assert str(caught.value).endswith(said)


# How they are read


def png_by_hand(path: Path, samples: np.ndarray, bits: int = 16) -> None:
    """Of a shape (H, W, C): Pillow writes no RGB PNG of 16 bits, and Pillow 10 no grey one of 2 or 4."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 3: 2}[channels], 0, 0, 0)
    each = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(height, -1, 2), axis=2)[..., -bits:]
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in each)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_and_said_so(mine, channels):
    deep = np.random.default_rng(4).integers(0, 65536, (3, 5, channels), np.uint16)
    add(mine, "a.png")
    png_by_hand(mine / "images/a.png", deep)
    expected = [[[int(v) // 256 for v in (pixel.tolist() * 3)[:3]] for pixel in row] for row in deep]
    assert open_dataset("folder", mine, "all")[0].image_hwc.tolist() == expected
    assert notes(mine) == "Of 16 bits per sample, read as 8, so that 65535 becomes 255: 1 (a)."


def test_a_tiff_of_16_bits_is_scaled_and_said_so(mine):
    deep = np.arange(15, dtype=np.uint16).reshape(3, 5) * 4400
    add(mine, "a.tif", deep)
    found = open_dataset("folder", mine, "all")[0].image_hwc
    assert found[:, :, 2].tolist() == [[int(v) // 256 for v in row] for row in deep]
    assert "Of 16 bits per sample" in notes(mine)


@pytest.mark.parametrize("channels", [1, 3])
def test_12_bits_in_16_are_refused(tmp_path, channels):
    png_by_hand(tmp_path / "a.png", np.full((3, 5, channels), 4095, np.uint16))
    with pytest.raises(ReadError, match=r"a\.png: .*none over 4095 of 65535.*save it with 8 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_are_refused(tmp_path, dtype):
    Image.fromarray(np.ones((3, 5), dtype)).save(tmp_path / "a.tif")
    with pytest.raises(ReadError, match=r"a\.tif: the image has 32 bits per sample; save it with 8"):
        read_image(tmp_path / "a.tif")


def test_several_pages_are_refused(tmp_path):
    page = Image.fromarray(PICTURE)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(ReadError, match=r"a\.tif: several images in one file"):
        read_image(tmp_path / "a.tif")


def test_a_phones_second_picture_in_a_jpeg_is_not_meant(tmp_path):
    first, second = (Image.new("RGB", (8, 16), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_image(tmp_path / "a.jpg")[:, :, 0].min() > 250


SHOWN = {  # what EXIF 2.3 says of the tag: which side of the picture the first row and column are
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


def tag(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_an_image_is_turned_where_its_labels_tell(mine, orientation, suffix):
    how = {"exif": tag(orientation), **({"lossless": True} if suffix == "webp" else {})}
    shown = SHOWN[orientation](LABEL)
    add(mine, f"a.{suffix}", label=shown, **how)
    sideways = orientation >= 5
    found = open_dataset("folder", mine, "all")[0]
    assert found.image_hwc.tolist() == (SHOWN[orientation](PICTURE) if sideways else PICTURE).tolist()
    assert found.label.tolist() == shown.tolist()
    said = (
        "labels as they are shown, so turned to fit them: 1 (a)" if sideways else "look whether they fit: 1"
    )
    assert said in notes(mine)


def test_an_image_stays_as_stored_where_its_labels_are(mine):
    add(mine, "a.png", exif=tag(6))
    assert open_dataset("folder", mine, "all")[0].image_hwc.tolist() == PICTURE.tolist()
    assert notes(mine) == ("With an EXIF orientation and labels as they are stored, so not turned: 1 (a).")


def test_a_square_does_not_tell_and_is_said_so(mine):
    add(mine, "a.png", PICTURE[:, :3], np.array([[0, 1, 2]] * 3, np.uint8), exif=tag(8))
    assert open_dataset("folder", mine, "all")[0].image_hwc.tolist() == PICTURE[:, :3].tolist()
    assert "NOT turned, and labels whose size does not tell" in notes(mine)


def test_damaged_exif_turns_nothing(mine):
    add(mine, "a.png", exif=b"Exif\0\0no TIFF header")
    assert open_dataset("folder", mine, "all")[0].image_hwc.tolist() == PICTURE.tolist()
    assert notes(mine) == ""


def test_a_tiff_that_pillow_would_turn_is_refused(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    with pytest.raises(ReadError, match=r"a\.tif: a TIFF with an orientation tag; save it as it is seen"):
        read_image(tmp_path / "a.tif")


# What the labels hold


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([255], "all its labels are 255, void, in every pixel: .*; label them with 0 to 2"),
        ([0, 255], "0 and 255 alone, as black and white masks do.*with 1 in the place of 255"),
    ],
)
def test_labels_that_leave_nothing_to_learn_are_refused(mine, values, problem):
    for name in ("a.png", "b.png"):
        add(mine, name, label=np.resize(np.array(values, np.uint8), (3, 5)))
    with pytest.raises(ReadError, match=f"{mine}: .*split all: .*{problem}"):
        surveyed(open_dataset("folder", mine, "all"))


def test_classes_that_no_label_shows_are_named(mine):
    add(mine, "a.png", label=np.minimum(LABEL, 1))
    assert notes(mine) == "No label shows tree: not to be learned from these, and IU 0 where predicted."
    add(mine, "a.png", label=np.ones_like(LABEL))
    assert notes(mine) == (
        "No label shows ground, tree: not to be learned from these, and IU 0 where predicted.\n"
        "All labels are sky: whatever always answers that scores 100."
    )


def test_images_that_are_all_void_are_named(mine):
    add(mine, "a.png")
    add(mine, "b.png", label=np.full_like(LABEL, 255))
    assert notes(mine) == "Void (255) in all their labels: 1 (b)."


def test_a_look_at_the_files_finds_what_cannot_be_read(mine):
    add(mine, "a.png")
    (mine / "images/a.png").write_bytes(b"no PNG")
    with pytest.raises(ReadError, match=r"a\.png: not a JPEG, PNG, TIFF, BMP or WEBP image"):
        surveyed(open_dataset("folder", mine, "all"))


def test_a_look_at_the_files_finds_labels_of_another_size(mine):
    add(mine, "a.png", label=LABEL[:, :4], exif=tag(6))
    with pytest.raises(ReadError, match=r"a\.png: \(H, W\) is \(3, 5\), of its label \(3, 4\)"):
        surveyed(open_dataset("folder", mine, "all"))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_labels_of_fewer_bits_are_refused(mine, bits):
    add(mine, "a.png")
    png_by_hand(mine / "labels/a.png", LABEL[:, :, None] % 2**bits, bits)
    with pytest.raises(ReadError, match=f"the PNG is grey, of bit depth {bits}, which readers scale"):
        surveyed(open_dataset("folder", mine, "all"))


def renumbered(path: Path, colours: list[tuple[int, int, int]]) -> None:
    """As a program leaves it that numbers the colours in use by their order in the picture."""
    small = Image.fromarray(np.resize(np.arange(len(colours), dtype=np.uint8), (3, 5)))
    small.putpalette([value for colour in colours for value in colour])
    small.save(path)


@pytest.mark.parametrize("coloured", [True, False])
def test_a_palette_of_other_colours_is_refused(mine, coloured):
    """Colours of the user's own, and a file whose second and first class have changed places."""
    add(mine, "a.png")
    if coloured:
        save_text(mine / "classes.txt", "ground 10 20 30", "sky 40 50 60", "tree 70 80 90")
    renumbered(mine / "labels/a.png", [(40, 50, 60), (10, 20, 30)])
    other = r"which is that of label 1" if coloured else r"not its label's, \(0, 0, 0\)"
    with pytest.raises(ReadError, match=rf"index 0 has the colour \(40, 50, 60\), {other}; was the palette"):
        surveyed(open_dataset("folder", mine, "all"))


COLOURS = [(0, 0, 0), (10, 20, 30), (10, 30, 20)]


def painted(path: Path, *, void: tuple[int, ...] = (255, 255, 255), alpha: tuple[int, ...] = ()) -> None:
    """LABEL in COLOURS, pixel by pixel, as annotation tools export it."""
    colours = {**dict(enumerate(COLOURS)), 255: void}
    rows = [[(*colours[value], *alpha) for value in row] for row in LABEL.tolist()]
    Image.fromarray(np.array(rows, np.uint8)).save(path)


@pytest.mark.parametrize("alpha", [(), (255,)])
def test_labels_in_the_colours_of_the_classes(mine, alpha):
    add(mine, "a.png")
    save_text(mine / "classes.txt", "ground 0 0 0", "sky 10 20 30", "tree 10 30 20")
    painted(mine / "labels/a.png", alpha=alpha)
    assert open_dataset("folder", mine, "all")[0].label.tolist() == LABEL.tolist()
    assert notes(mine) == ""
    save_text(mine / "classes.txt", "ground 0 0 0", "sky 10 20 30", "tree 10 30 20", "snow 255 255 255")
    white = open_dataset("folder", mine, "all")[0].label
    assert white.tolist() == np.where(LABEL == 255, 3, LABEL).tolist()


def test_colours_between_those_of_the_classes_are_refused(mine):
    add(mine, "a.png")
    save_text(mine / "classes.txt", "ground 0 0 0", "sky 10 20 30", "tree 10 30 20")
    painted(mine / "labels/a.png", void=(10, 25, 25))
    said = r"1 pixels have no class's colour .* row 0, column 3, has \(10, 25, 25\)\. .*without antialiasing"
    with pytest.raises(ReadError, match=said):
        notes(mine)


def test_transparent_labels_are_refused(mine):
    add(mine, "a.png")
    save_text(mine / "classes.txt", "ground 0 0 0", "sky 10 20 30", "tree 10 30 20")
    painted(mine / "labels/a.png", alpha=(254,))
    with pytest.raises(ReadError, match="transparent pixels, whose labels nobody can tell; flatten it"):
        notes(mine)


def test_colours_tell_nothing_where_no_class_has_one(mine):
    """PASCAL VOC's colours are a default for pictures, not what the user said of the labels."""
    add(mine, "a.png")
    Image.new("RGB", (5, 3), (128, 0, 0)).save(mine / "labels/a.png")
    with pytest.raises(ReadError, match=r"mode RGB; .* where classes\.txt gives each class its colour"):
        notes(mine)


def test_a_renumbered_label_of_camvid_is_refused(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / split / "labels").mkdir(parents=True)
    save_png(tmp_path / "val/images/a.png", PICTURE)
    (tmp_path / "val/images/a.png").rename(tmp_path / "val/images/a.jpg")
    road, car, void = (128, 64, 128), (64, 0, 128), (0, 0, 0)
    renumbered(tmp_path / "val/labels/a.png", [road, car, void])
    with pytest.raises(ReadError, match=r"index 0 has the colour \(128, 64, 128\), which is that of label 3"):
        open_dataset("camvid", tmp_path, "val", expected_count=1).labels(0)
    small = Image.fromarray(np.array([[3, 8, 11]], np.uint8))
    small.putpalette([v for i in range(12) for v in {3: road, 8: car, 11: void}.get(i, (1, 2, 3))])
    small.save(tmp_path / "val/labels/a.png")
    found = open_dataset("camvid", tmp_path, "val", expected_count=1)
    assert found.labels(0)["sem"].tolist() == [[3, 8, 255]]


# What the command says


@pytest.mark.parametrize(
    ("split", "value", "code", "said"),
    [
        (
            "all",
            255,
            1,
            "all its labels are 255, void, in every pixel: there is nothing to learn or to score",
        ),
        ("all", 7, 1, "labels/a.png: label 7; known are 0 to 2, and 255"),
        ("al", 1, 3, "no list 'al' here; here are all; did you mean 'all'?"),
    ],
)
def test_the_command_says_one_line_and_its_code(mine, capsys, split, value, code, said):
    add(mine, "a.png", label=np.full_like(LABEL, value))
    asked = [
        "--evaluate",
        "shapes-fcn8s",
        "--on",
        f"folder/{split}",
        "--data",
        str(mine),
        "--home",
        str(mine),
    ]
    assert cli.main(asked) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
