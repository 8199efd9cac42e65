"""Photos of every kind, made with Pillow or by hand; what they should show is worked out with NumPy."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import MissingData, ReadError
from caffe2torch.untrusted.photos import MAX_PIXELS, read_image, read_photo

RANDOM = np.random.default_rng(5)
COLOURS = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
ALPHA = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
DEEP = RANDOM.integers(0, 1 << 16, (5, 7), dtype=np.uint16)
LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}
TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""The image as it is to be seen, by its EXIF orientation (EXIF 2.3, 4.6.4)."""


def saved(folder: Path, image: Image.Image, form: str, **options: object) -> Path:
    path = folder / f"photo.{form}"
    image.save(path, form, **options)
    return path


def three(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=2)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[:, :, None] / 255
    return colours * share + 255 * (1 - share)


def assert_shows(path: Path, expected: np.ndarray, within: int = 0) -> tuple[str, ...]:
    photo = read_photo(path)
    assert photo.image_hwc.dtype == np.uint8
    assert photo.image_hwc.shape == (*expected.shape[:2], 3)
    assert abs(photo.image_hwc - expected.astype(float)).max() <= within
    return photo.notes


@pytest.mark.parametrize("form", LOSSLESS)
def test_colours_are_as_stored(tmp_path: Path, form: str) -> None:
    assert assert_shows(saved(tmp_path, Image.fromarray(COLOURS), form, **LOSSLESS[form]), COLOURS) == ()


@pytest.mark.parametrize("name", ["photo.JPG", "photo.Jpeg", "photo.png", "photo", "photo.txt"])
def test_the_content_tells_the_format(tmp_path: Path, name: str) -> None:
    expected = np.full((5, 7, 3), (200, 30, 90), np.uint8)
    Image.fromarray(expected).save(tmp_path / name, "JPEG", quality=100)
    assert_shows(tmp_path / name, expected, within=3)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_photos_are_upright(tmp_path: Path, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(COLOURS), form, exif=exif, **LOSSLESS[form])
    assert_shows(path, TURNED[orientation](COLOURS))


def test_jpegs_are_upright(tmp_path: Path) -> None:
    halves = np.zeros((16, 32, 3), np.uint8)
    halves[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, Image.fromarray(halves), "JPEG", exif=exif, quality=100)
    assert_shows(path, TURNED[6](halves), within=3)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GREY), three(GREY)),
        (Image.fromarray(GREY > 99), three(255 * (GREY > 99))),
        (Image.fromarray(DEEP), three(DEEP >> 8)),
        (Image.fromarray(np.dstack([GREY, ALPHA])), on_white(three(GREY), ALPHA)),
        (Image.fromarray(np.dstack([COLOURS, ALPHA])), on_white(COLOURS, ALPHA)),
    ],
    ids=["grey", "black and white", "16 bits", "grey and alpha", "colours and alpha"],
)
def test_every_mode_becomes_rgb(tmp_path: Path, form: str, image: Image.Image, expected: np.ndarray) -> None:
    notes = assert_shows(saved(tmp_path, image, form), expected, within=1 if "A" in image.mode else 0)
    assert notes == (("transparency laid on white",) if "A" in image.mode else ())


def test_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    image = Image.fromarray(np.dstack([COLOURS, np.full_like(ALPHA, 255)]))
    assert assert_shows(saved(tmp_path, image, "PNG"), COLOURS) == ()


@pytest.mark.parametrize("transparent", [None, 2])
def test_palettes(tmp_path: Path, transparent: int | None) -> None:
    indices, palette = GREY % 4, RANDOM.integers(0, 256, (4, 3), dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    options = {} if transparent is None else {"transparency": transparent}
    expected = palette[indices]
    if transparent is not None:
        expected[indices == transparent] = 255
    assert_shows(saved(tmp_path, image, "PNG", **options), expected)


@pytest.mark.parametrize(("form", "within"), [("TIFF", 1), ("JPEG", 6)])
def test_cmyk(tmp_path: Path, form: str, within: int) -> None:
    ink = np.full((8, 8, 4), (10, 200, 90, 40), np.uint8)
    cyan, black = ink[:, :, :3].astype(float), ink[:, :, 3:].astype(float)
    path = saved(
        tmp_path,
        Image.frombytes("CMYK", (8, 8), ink.tobytes()),
        form,
        **{"quality": 100} if form == "JPEG" else {},
    )
    assert_shows(path, (255 - cyan) * (255 - black) / 255, within)


def test_deep_colours(tmp_path: Path) -> None:
    """16 bits for each of three colours, which Pillow reads and does not write."""
    deep = RANDOM.integers(0, 1 << 16, (5, 7, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    (tmp_path / "deep.png").write_bytes(png(7, 5, bits=16, colour=2, pixels=rows))
    assert_shows(tmp_path / "deep.png", deep >> 8)


@pytest.mark.parametrize(("order", "white_is_zero"), [("<", False), ("<", True), (">", False)])
def test_deep_tiffs(tmp_path: Path, order: str, white_is_zero: bool) -> None:
    (tmp_path / "deep.tif").write_bytes(tiff(DEEP, order, photometric=0 if white_is_zero else 1))
    grey = DEEP >> 8
    assert_shows(tmp_path / "deep.tif", three(255 - grey if white_is_zero else grey))


@pytest.mark.parametrize("colour", [0, 2])
def test_12_bits_in_16_are_refused(tmp_path: Path, colour: int) -> None:
    """They would be almost black."""
    channels = 1 if colour == 0 else 3
    rows = b"".join(
        b"\0" + row.tobytes() for row in RANDOM.integers(0, 4096, (5, 7 * channels)).astype(">u2")
    )
    (tmp_path / "dark.png").write_bytes(png(7, 5, bits=16, colour=colour, pixels=rows))
    with pytest.raises(ReadError, match=r"dark.png: has 16 bits, but no value above 4095 of 65535"):
        read_photo(tmp_path / "dark.png")


def test_a_phones_second_picture_is_not_told_of(tmp_path: Path) -> None:
    halves = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    image = Image.fromarray(halves)
    path = saved(tmp_path, image, "MPO", save_all=True, append_images=[image.resize((8, 8))], quality=100)
    assert assert_shows(path, halves, within=3) == ()


def test_a_colour_space_that_is_not_rgb_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.frombytes("LAB", (7, 5), COLOURS.tobytes()), "TIFF")
    with pytest.raises(ReadError, match=r"photo.TIFF: is of the colour space LAB; save it as RGB"):
        read_photo(path)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_without_a_known_white_are_refused(tmp_path: Path, dtype: type) -> None:
    path = saved(tmp_path, Image.fromarray(GREY.astype(dtype)), "TIFF")
    with pytest.raises(ReadError, match=r"photo.TIFF: its pixels have 32 bits, and which value is white"):
        read_photo(path)


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG"])
def test_of_several_pictures_the_first_is_taken(tmp_path: Path, form: str) -> None:
    others = [Image.fromarray(255 - COLOURS), Image.fromarray(COLOURS // 2)]
    path = saved(
        tmp_path, Image.fromarray(COLOURS), form, save_all=True, append_images=others, **LOSSLESS[form]
    )
    assert assert_shows(path, COLOURS) == ("the first of 3 pictures in the file",)


@pytest.mark.parametrize("form", [*LOSSLESS, "JPEG"])
def test_truncated_files_are_refused(tmp_path: Path, form: str) -> None:
    noise = RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), form)
    content = path.read_bytes()
    for length in (20, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:length])
        with pytest.raises(ReadError, match=rf"^{path}: (a broken image: \S|is of no kind that is read)"):
            read_photo(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, world", "is of no kind that is read; save it as JPEG, PNG, TIFF, BMP or WebP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is HEIC or AVIF, which is not read"),
        (b"<!DOCTYPE html><html>", "is a web page, not the file itself"),
        (b"version https://git-lfs.github.com/spec/v1", "is a git-LFS pointer"),
        (b"", "is empty"),
        (b"GIF89a\1\0\1\0\0\0\0;", "is of no kind that is read"),
        (b"II*\0" + b"\xff" * 60, "a broken image"),
        (b"BM" + b"\xff" * 60, "a broken image"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ReadError) as refused:
        read_photo(path)
    assert str(refused.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refused.value)


def test_absent_photos(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such file"):
        read_photo(tmp_path / "photo.jpg")
    with pytest.raises(ReadError, match="is a folder"):
        read_photo(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(MAX_PIXELS // 1000, 1001), (60_000, 60_000)])
def test_large_sizes_are_refused_before_memory_is_taken(tmp_path: Path, width: int, height: int) -> None:
    """The file holds no pixels: decoding it would fail in another way."""
    (tmp_path / "bomb.png").write_bytes(png(width, height, bits=8, colour=2, pixels=b""))
    with pytest.raises(ReadError, match=r"134217728 are decoded|exceeds limit of \d+ pixels"):
        read_photo(tmp_path / "bomb.png")


def test_an_image_of_pillows_is_left_as_it_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(COLOURS)
    image.info["exif"] = exif.tobytes()
    np.testing.assert_array_equal(read_image(image).image_hwc, TURNED[6](COLOURS))
    np.testing.assert_array_equal(np.asarray(image), COLOURS)


def png(width: int, height: int, *, bits: int, colour: int, pixels: bytes) -> bytes:
    """A PNG by its parts (RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(grey: np.ndarray, order: str, photometric: int) -> bytes:
    """A grey TIFF of 16 bits by its parts (TIFF 6.0)."""
    height, width = grey.shape
    pixels = grey.astype(f"{order}u2").tobytes()
    entries = {
        256: width,
        257: height,
        258: 16,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: height,
        279: len(pixels),
    }
    tags = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries.items())
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(pixels))
    return start + pixels + struct.pack(f"{order}H", len(entries)) + tags + struct.pack(f"{order}I", 0)
