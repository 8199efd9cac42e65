"""The rendered data set: the same pixels for ever, labels that are exact, a folder that reads back equal."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from caffe2torch.errors import MissingData, WriteError
from fcn_repro import cli
from fcn_repro.data.datasets import Dataset, folder, open_dataset
from fcn_repro.data.scenes import street as streets
from fcn_repro.data.scenes.canvas import Canvas
from fcn_repro.data.scenes.chance import Chance
from fcn_repro.data.scenes.outlines import Bar, Disc, Outline, Polygon, Ring
from fcn_repro.tables.bounds import upper_bounds
from fcn_repro.workspace import Workspace
from tests.places import ROOT

STUFF, THINGS = (0, 1, 2), tuple(range(3, 11))
DRAWN = {
    "train": "90ef49c6607279f18e000bc19d0b2ebc0da46b1f0a4b3a0e01f1e30aa6518340",
    "val": "e456ba4b4474a1370a155e510c1a6be0b9c5231b00bf251befa1663e8d30e37e",
    "test": "c075ac77ea4d6df8dfbbf19d6a844a7924ced28f7b3647a92b2af882529c24f4",
    "objects": "83c3ff8d06248824e70b70478a147e0bf0f2850cc3bfeaa70cb3db5f3a825250",
    "objects-val": "ed50c5c99be1f96ee944be89cffbac7e77d17f39d2cf4ee366c1be519a7243bb",
}
"""SHA-256 of the sizes, images and labels of samples 0 and 7; a change of the drawing is a new VERSION."""


def shapes(split: str) -> Dataset:
    return open_dataset("shapes", "/nowhere", split)


def digest(split: str) -> str:
    opened, found = shapes(split), hashlib.sha256()
    for index in (0, 7):
        found.update(str(opened[index].image_hwc.shape).encode())
        found.update(opened[index].image_hwc.tobytes())
        found.update(opened[index].label.tobytes())
    return found.hexdigest()


# The same for ever


@pytest.mark.parametrize("split", DRAWN)
def test_a_sample_is_what_it_was(split: str) -> None:
    assert digest(split) == DRAWN[split]


def test_a_sample_is_the_same_in_another_process() -> None:
    code = "from tests.fcn_repro.data.test_shapes import *; print(digest('val'))"
    command = [sys.executable, "-c", code]
    paths = str(ROOT)
    ran = subprocess.run(command, env={"PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == digest("val")


def test_a_sample_does_not_depend_on_what_was_drawn_before() -> None:
    opened = shapes("train")
    before = opened[9_999]
    some = dataclasses.replace(opened, ids=opened.ids[:4])
    forwards, backwards = list(some), [some[index] for index in (3, 2, 1, 0)]
    for one, other in zip(forwards, backwards[::-1], strict=True):
        np.testing.assert_array_equal(one.image_hwc, other.image_hwc, one.id)
        np.testing.assert_array_equal(one.label, other.label, one.id)
    np.testing.assert_array_equal(opened[9_999].image_hwc, before.image_hwc)
    np.testing.assert_array_equal(opened.labels(9_999)["sem"], before.label)


def test_a_part_of_a_split_shows_the_same_images() -> None:
    whole = shapes("val")
    part = dataclasses.replace(whole, ids=whole.ids[5:7])
    np.testing.assert_array_equal(part[1].image_hwc, whole[6].image_hwc)


def test_numbers_are_within_their_bounds_and_all_of_them_occur() -> None:
    chance = Chance((3, 5))
    assert {chance.between(-2, 4) for _ in range(200)} == set(range(-2, 5))
    assert sum(chance.happens(20) for _ in range(2000)) == pytest.approx(400, abs=90)
    assert chance.bytes(3, 5).shape == (3, 5)
    assert abs(chance.bytes(100, 100).mean() - 127.5) < 3


# Exact labels


def covers(outline: Outline, y: int, x: int) -> bool:
    """Whether the point lies in the outline, by other rules than the outlines' own."""
    if isinstance(outline, Disc):
        return Fraction(y - outline.y, outline.ry) ** 2 + Fraction(x - outline.x, outline.rx) ** 2 <= 1
    if isinstance(outline, Ring):
        distance2 = (y - outline.y) ** 2 + (x - outline.x) ** 2
        return outline.r - outline.width <= Fraction(np.sqrt(distance2)).limit_denominator(10**9) <= outline.r
    if isinstance(outline, Bar):
        return near_segment(outline, y, x)
    assert isinstance(outline, Polygon)
    return in_polygon(outline.corners, y, x)


def near_segment(bar: Bar, y: int, x: int) -> bool:
    """By the foot of the perpendicular."""
    dy, dx = bar.b[0] - bar.a[0], bar.b[1] - bar.a[1]
    along = Fraction((y - bar.a[0]) * dy + (x - bar.a[1]) * dx, dy * dy + dx * dx)
    away = (y - bar.a[0] - along * dy, x - bar.a[1] - along * dx)
    return 0 <= along <= 1 and away[0] ** 2 + away[1] ** 2 <= Fraction(bar.width, 2) ** 2


def in_polygon(corners: tuple[tuple[int, int], ...], y: int, x: int) -> bool:
    """By how often a ray to the right crosses its edges, of which every point belongs to it."""
    crossings = 0
    for (ay, ax), (by, bx) in zip(corners, corners[1:] + corners[:1], strict=True):
        if ay == by:
            if y == ay and min(ax, bx) <= x <= max(ax, bx):
                return True
        elif min(ay, by) <= y <= max(ay, by):
            edge = ax + Fraction((y - ay) * (bx - ax), by - ay)
            if edge == x:
                return True
            crossings += edge > x and (ay <= y) != (by <= y)
    return crossings % 2 == 1


@pytest.mark.parametrize(
    "outline",
    [
        Disc(60, 84, 37, 52),
        Disc(-4, 12, 28, 20),
        Ring(70, 62, 45, 17),
        Bar((12, 20), (110, 91), 19),
        Bar((60, 8), (60, 120), 24),
        Polygon(((4, 60), (60, 116), (116, 60), (60, 4))),
        Polygon(((10, 30), (25, 130), (90, 97), (101, 15))),
    ],
)
def test_an_outline_covers_the_pixels_whose_centres_it_has(outline: Outline) -> None:
    centres_y, centres_x = 8 * np.arange(15) + 4, 8 * np.arange(18) + 4
    found = outline.covers(centres_y[:, None], centres_x[None])
    expected = [[covers(outline, int(y), int(x)) for x in centres_x] for y in centres_y]
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < found.size
    top, left, bottom, right = outline.box
    assert not found[(centres_y < top) | (centres_y > bottom)].any()
    assert not found[:, (centres_x < left) | (centres_x > right)].any()


def test_every_label_of_a_scene_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pixel has the label of the last thing painted there, or void beside the last that touches it."""
    painted = []
    add = Canvas.add

    def note(canvas: Canvas, parts, label: int, *, border: bool) -> None:
        painted.append(([part.outline for part in parts], label, border))
        add(canvas, parts, label, border=border)

    monkeypatch.setattr(Canvas, "add", note)
    label = streets.street(Chance((4, 1))).label
    height, width = label.shape
    expected = np.zeros((height, width), int)
    for outlines, number, border in painted:
        covered = {
            (row, column)
            for outline in outlines
            for row in range(max(0, outline.box[0] // 8), min(height, outline.box[2] // 8 + 1))
            for column in range(max(0, outline.box[1] // 8), min(width, outline.box[3] // 8 + 1))
            if covers(outline, 8 * row + 4, 8 * column + 4)
        }
        beside = {(row + i, column + j) for row, column in covered for i in (-1, 0, 1) for j in (-1, 0, 1)}
        for row, column in beside if border else ():
            if 0 <= row < height and 0 <= column < width:
                expected[row, column] = 255
        for row, column in covered:
            expected[row, column] = number
    assert len({number for _, number, _ in painted}) >= 5
    np.testing.assert_array_equal(label, expected)


def test_void_lies_around_things_and_nowhere_else() -> None:
    """A thing touches, but for itself and its likes, void alone; void is a pixel from a thing, or two.

    Two where the border of something nearer has swallowed a sliver of what is behind it.
    """
    opened, swallowed = shapes("val"), []
    for index in range(20):
        label = opened.labels(index)["sem"]
        void, thing = label == 255, np.isin(label, THINGS)
        beside, near = (ndimage.binary_dilation(thing, np.ones((side, side))) for side in (3, 5))
        assert not (void & ~near).any(), opened.ids[index]
        swallowed.append((void & ~beside).sum() / void.sum())
        for number in THINGS:
            around = ndimage.binary_dilation(label == number, np.ones((3, 3)))
            assert set(np.unique(label[around])) <= {number, 255}, opened.ids[index]
    assert np.mean(swallowed) < 0.01, swallowed


# What the splits show


def test_small_and_thin_classes_have_their_share_of_the_test_pixels() -> None:
    opened = shapes("test")
    labels = [opened.labels(index)["sem"].ravel() for index in range(len(opened))]
    counts = np.bincount(np.concatenate(labels), minlength=256)
    share = dict(zip(opened.classes, counts[:11] / counts[:11].sum(), strict=True))
    assert counts[11:255].sum() == 0
    assert 0.03 < counts[255] / counts.sum() < 0.08
    assert share["background"] < 0.5
    assert min(share.values()) > 0.01, share


def test_finer_grids_allow_higher_scores() -> None:
    """What the strides 32, 16 and 8 can reach at best is far apart, so the nets can be told apart."""
    opened = shapes("val")
    bounds = upper_bounds(dataclasses.replace(opened, ids=opened.ids[:50]), (32, 16, 8), workers=1)
    scores = [bounds.scores[factor].percent()["mean_iu"] for factor in (32, 16, 8)]
    assert np.diff(scores).min() > 15, scores


@pytest.mark.parametrize(
    ("split", "heights", "widths"),
    [("val", (88, 104), (120, 136)), ("objects-val", (56, 64), (68, 76))],
)
def test_sizes_vary(split: str, heights: tuple[int, int], widths: tuple[int, int]) -> None:
    opened = shapes(split)
    sizes = np.array([opened.labels(index)["sem"].shape for index in range(60)])
    assert (sizes.min(0) >= (heights[0], widths[0])).all()
    assert (sizes.max(0) <= (heights[1], widths[1])).all()
    assert len(np.unique(sizes, axis=0)) > 20


def test_splits_share_no_image() -> None:
    seen = {}
    for split in DRAWN:
        opened = shapes(split)
        for index in range(20):
            key = opened[index].image_hwc.tobytes()
            assert key not in seen, (opened.ids[index], seen[key])
            seen[key] = opened.ids[index]
    assert len(set(seen.values())) == 20 * len(DRAWN)


def test_objects_teach_a_classifier() -> None:
    """Each image has one label, every pixel of it; the classes come equally often."""
    opened = shapes("objects-val")
    labels = [np.unique(opened.labels(index)["sem"]).tolist() for index in range(len(opened))]
    assert sorted(labels) == [[number] for number in range(11) for _ in range(20)]
    assert "every pixel has that label" in opened.notes[0]


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(MissingData, match="no list 'trainval' here; published are train, val, test, objects"):
        shapes("trainval")


def test_the_commands_find_it_in_any_folder(tmp_path: Path) -> None:
    for data in (None, tmp_path, tmp_path / "nowhere"):
        assert Workspace.at(tmp_path / "home", data).open("shapes/val").ids == shapes("val").ids


# In files


def test_a_written_folder_reads_back_equal(tmp_path: Path) -> None:
    whole = shapes("val")
    part = dataclasses.replace(whole, ids=whole.ids[:6])
    folder.save_folder(part, tmp_path / "mine")
    again = open_dataset("folder", tmp_path / "mine", "all")
    assert (again.classes, again.ids) == (part.classes, part.ids)
    np.testing.assert_array_equal(again.palette, part.palette)
    for written, drawn in zip(again, part, strict=True):
        np.testing.assert_array_equal(written.image_hwc, drawn.image_hwc, drawn.id)
        np.testing.assert_array_equal(written.label, drawn.label, drawn.id)


def test_a_folder_that_is_not_empty_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    for target in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(WriteError, match="already exists; name a new folder"):
            folder.save_folder(shapes("val"), target)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_what_was_interrupted_does_not_open(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.save_folder(shapes("val"), tmp_path, interrupt)
    assert len(list(tmp_path.rglob("*.png"))) == 2
    with pytest.raises(MissingData, match=r"expected classes\.txt"):
        open_dataset("folder", tmp_path, "all")


def test_a_split_is_rendered_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--render", "shapes/val", "-o", str(tmp_path / "mine")]) == 0
    assert "100 images with their labels" in capsys.readouterr().out
    assert len(open_dataset("folder", tmp_path / "mine", "all")) == 100
    assert cli.main(["--render", "shapes/val", "-o", str(tmp_path / "mine")]) == 1
    assert "already exists; name a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--render", "shapes/val"], "--render needs -o DIR"),
        (["--render", "camvid/val", "-o", "x"], "only shapes is rendered; the others are files already"),
    ],
)
def test_what_cannot_be_rendered(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_shapes_are_always_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list", "--home", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "\n  shapes: train, val, test, objects, objects-val  [rendered]\n" in listed
