"""Copies that are incomplete, mixed up or the user's own; the published lists and counts; the real data."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data import splits
from fcn_repro.data.datasets import dataset, names, open_dataset
from fcn_repro.data.palette import colormap
from tests.fcn_repro import miniatures

PUBLISHED = {
    ("voc2011", "train"): 1112,
    ("voc2011", "val"): 1111,
    ("voc2011", "seg11valid"): 736,
    ("voc2012", "train"): 1464,
    ("voc2012", "val"): 1449,
    ("voc2012", "trainaug"): 10582,
    ("voc2012", "test"): 1456,
    ("sbd", "train"): 8498,
    ("sbd", "val"): 2857,
    ("sbd", "trainval"): 11355,
    ("sbd", "train_noval"): 5623,
    ("nyudv2", "train"): 381,
    ("nyudv2", "val"): 414,
    ("nyudv2", "trainval"): 795,
    ("nyudv2", "test"): 654,
    ("sift-flow", "trainval"): 2486,
    ("sift-flow", "test"): 200,
    ("pascal-context", "train"): 4998,
    ("pascal-context-33", "val"): 5105,
    ("camvid", "train"): 367,
    ("camvid", "val"): 101,
    ("camvid", "test"): 233,
}
CLASSES = {
    **{"voc2011": 21, "voc2012": 21, "sbd": 21, "nyudv2": 40, "sift-flow": 33, "camvid": 11},
    **{"pascal-context": 60, "pascal-context-59": 59, "pascal-context-33": 33},
}


def test_the_published_counts():
    for (name, split), count in PUBLISHED.items():
        assert dataset(name).splits[split].count == count, (name, split)


def test_the_number_of_classes():
    for name, count in CLASSES.items():
        head = dataset(name).labellings["sem"]
        assert (len(head.classes), len(set(head.classes)), head.palette.shape) == (
            count,
            count,
            (count, 3),
        ), name
    assert dataset("sift-flow").labellings["geo"].classes == ("sky", "horizontal", "vertical")


@pytest.mark.parametrize(
    ("name", "count", "first", "last", "sha1"),
    [
        ("seg11valid", 736, "2007_000033", "2011_003271", "dc143d96cbef27941a92fe028359eb919ded5723"),
        ("nyudv2_train", 381, "5449", "6419", "bb81542035299d06fe9fb9f03398824fb4861252"),
        ("nyudv2_val", 414, "5010", "6440", "48e9b1cd3804d68e4897c3422031e665f8097078"),
        ("nyudv2_test", 654, "5133", "5618", "ea2a0e505c795dfe044f047e0f508b12e1453fad"),
        (
            "sift_flow_test",
            200,
            "coast_natu975",
            "highway_gre141",
            "6cf0a53f63d7c3c8bb135ffe2d87ef433693fb69",
        ),
    ],
)
def test_the_lists_are_the_published_files(name, count, first, last, sha1):
    content = (Path(splits.__file__).parent / f"{name}.txt").read_bytes()
    assert hashlib.sha1(content).hexdigest() == sha1  # noqa: S324
    ids = splits.read(name)
    assert (len(ids), ids[0], ids[-1]) == (count, first, last)


def test_nyudv2s_lists_divide_the_1449_images():
    parts = [splits.read(f"nyudv2_{part}") for part in ("train", "val", "test")]
    assert sorted(int(identifier) for part in parts for identifier in part) == list(range(5001, 6450))


def test_seg11valid_by_year():
    years = [identifier[:4] for identifier in splits.read("seg11valid")]
    counts = {year: years.count(year) for year in sorted(set(years))}
    assert counts == {"2007": 321, "2008": 104, "2009": 132, "2010": 101, "2011": 78}


def test_another_count_than_published_is_refused_with_the_numbers_and_the_way(tmp_path):
    miniatures.pascal_voc(tmp_path)
    folder = next(tmp_path.iterdir())
    with pytest.raises(MissingData) as caught:
        open_dataset("voc2012", folder, "val")
    message = str(caught.value)
    for part in ("VOC2012", "split val", "the list has 3 ids, expected 1449", "--fetch voc2012", "--partial"):
        assert part in message, message


@pytest.mark.parametrize("gone", ["JPEGImages/2008_005049.jpg", "SegmentationClass/2008_005049.png"])
def test_an_incomplete_copy_is_refused_or_opened_as_what_it_is(tmp_path, gone):
    miniatures.pascal_voc(tmp_path)
    voc = next(tmp_path.glob("*/VOCdevkit/VOC2012"))
    (voc / gone).unlink()
    with pytest.raises(
        MissingData, match=rf"2 of 3 samples are complete, the first missing file is .*{gone}"
    ):
        open_dataset("voc2012", voc, "val", expected_count=3)
    found = open_dataset("voc2012", voc, "val", partial=True)
    assert found.ids == ("2007_000042", "2011_003271")
    assert found.notes[-1].startswith(
        "This copy is partial: the list has 3 ids, expected 1449; 2 of 3 samples"
    )


def test_a_copy_with_nothing_of_the_split_does_not_open_even_partially(tmp_path):
    miniatures.sift_flow(tmp_path, "trainval")
    with pytest.raises(MissingData, match="0 of 200 samples are complete"):
        open_dataset("sift-flow", next(tmp_path.iterdir()), "test", partial=True)


def test_a_copy_is_found_where_its_archive_puts_it_and_refused_elsewhere(tmp_path):
    miniatures.pascal_voc(tmp_path)
    folder = next(tmp_path.iterdir())
    for place in ("", "VOCdevkit", "VOCdevkit/VOC2012"):
        assert len(open_dataset("voc2012", folder / place, "val", expected_count=3)) == 3
    for name in names():
        if dataset(name).rendered:
            continue
        with pytest.raises(MissingData, match=r"no .* here"):
            open_dataset(name, tmp_path / "nowhere", "val")
    with pytest.raises(MissingData, match=r"no data set is called 'coco'; known are .*folder"):
        open_dataset("coco", tmp_path, "val")
    with pytest.raises(MissingData, match="no list 'vla' here; published are train, val"):
        open_dataset("voc2012", folder, "vla")


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    miniatures.pascal_voc(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(b"broken")
    found = open_dataset("voc2012", next(tmp_path.iterdir()), "val", expected_count=3)
    assert found.labels(0)["sem"].shape == (11, 17)
    with pytest.raises(ReadError, match="not a JPEG, PNG, TIFF, BMP or WEBP image"):
        found[0]


def test_a_test_set_has_images_and_no_labels(tmp_path):
    miniatures.pascal_voc(tmp_path, split="test")
    voc = next(tmp_path.glob("*/VOCdevkit/VOC2012"))
    for path in voc.glob("SegmentationClass/*"):
        path.unlink()
    found = open_dataset("voc2012", voc, "test", expected_count=3)
    assert not found.labelled
    assert (found[1].labels, found[1].image_hwc.shape) == ({}, (19, 8, 3))
    with pytest.raises(MissingData, match="not public"):
        _ = found[0].label
    assert any("evaluation server" in note for note in found.notes)


def test_a_folder_of_labels_is_enough_for_labels(tmp_path):
    made = miniatures.pascal_voc(tmp_path)
    folder = next(tmp_path.glob("*/VOCdevkit/VOC2012/SegmentationClass"))
    found = open_dataset("voc2011", folder, "seg11valid", partial=True)
    assert found.labels_only
    assert set(found.ids) == set(made.labels)
    for index, identifier in enumerate(found.ids):
        np.testing.assert_array_equal(found.labels(index)["sem"], made.labels[identifier]["sem"])
    with pytest.raises(MissingData, match="no such file"):
        found[0]


def test_trainaug_has_its_own_labels(tmp_path):
    miniatures.pascal_voc(tmp_path, split="trainaug")
    voc = next(tmp_path.glob("*/VOCdevkit/VOC2012"))
    (voc / "SegmentationClass").rename(voc / "SegmentationClassAug")
    assert len(open_dataset("voc2012", voc, "trainaug", expected_count=3)[0].label) == 11


def test_sbds_trainval_is_both_lists(tmp_path):
    miniatures.sbd(tmp_path)
    found = open_dataset("sbd", next(tmp_path.iterdir()), "trainval", partial=True)
    assert found.ids == ("2008_000002", "2008_000003")
    assert "the list has 3 ids, expected 11355; 2 of 3 samples are complete" in found.notes[-1]
    assert any("overlaps" in note for note in found.notes)


def test_sift_flows_training_set_is_the_rest_without_what_nobody_annotated(tmp_path):
    made = miniatures.sift_flow(tmp_path, "trainval")
    folder = next(tmp_path.iterdir())
    miniatures.save_jpeg(folder / "Images" / miniatures.SCENES / "coast_natu975.jpg", miniatures.ramp(4, 4))
    found = open_dataset("sift-flow", folder, "trainval", expected_count=2)
    assert found.ids == ("coast_land111", "forest_for121")
    np.testing.assert_array_equal(found[1].labels["geo"], made.labels["forest_for121"]["geo"])
    assert found.absent == ()
    assert any("highway_bost181 and street_urb506 have no annotation" in note for note in found.notes)


def test_sift_flows_test_set_names_the_absent_classes(tmp_path):
    miniatures.sift_flow(tmp_path)
    found = open_dataset("sift-flow", next(tmp_path.iterdir()), "test", partial=True)
    assert found.absent == ("cow", "desert", "moon")
    assert set(found.absent) < set(found.classes)
    assert any("30 of the 33" in note for note in found.notes)


def test_nyudv2_opens_without_depth(tmp_path):
    miniatures.nyudv2(tmp_path)
    folder = next(tmp_path.iterdir())
    for path in folder.glob("nyud/data/depth/*"):
        path.unlink()
    sample = open_dataset("nyudv2", folder, "test", partial=True)[0]
    assert sample.depth is None
    assert sample.hha_hwc is not None


def test_pascal_context_inside_voc2010_and_what_its_labels_txt_must_be(tmp_path):
    miniatures.pascal_context(tmp_path, ("sky",), rest=0, first=50)
    voc = next(tmp_path.glob("*/VOCdevkit/VOC2010"))
    for part in ("trainval", "labels.txt"):
        (tmp_path / "trainval.tar.gz" / part).rename(voc / part)
    assert len(open_dataset("pascal-context", voc.parents[1], "val", expected_count=2)[0].label) == 23
    lines = (voc / "labels.txt").read_text().splitlines()
    for changed, problem in (
        (lines[:-1], "458 labels, expected 459"),
        (
            [line.replace("397: table", "397: desk") for line in lines],
            "no label is called 'table', .*diningtable",
        ),
        ([*lines, "460: more"], "'460: more' is not NUMBER: NAME"),
    ):
        miniatures.save_text(voc / "labels.txt", *changed)
        with pytest.raises(ReadError, match=problem):
            open_dataset("pascal-context", voc, "val", expected_count=2)[0]


def test_pascal_contexts_numbers_are_the_published_ones():
    published = {
        *(2, 259, 260, 415, 324, 9, 258, 144, 18, 19, 22, 23, 397, 25, 284, 158, 159, 416, 33, 162, 420, 454),
        *(295, 296, 427, 44, 45, 46, 308, 59, 440, 445, 31, 232, 65, 354, 424, 68, 326, 72, 458, 34, 207, 80),
        *(355, 85, 347, 220, 349, 360, 98, 187, 104, 105, 366, 189, 368, 113, 115),
    }
    assert set(miniatures.CONTEXT_NUMBERS.values()) == published


def test_a_folder_of_the_users_own(tmp_path):
    made = miniatures.own_folder(tmp_path)
    found = open_dataset("folder", tmp_path, "all")
    assert found.ids == ("left 1", "right", "up")
    assert found.classes == ("road", "kerb stone", "grass")
    assert found.palette.tolist() == [[128, 64, 128], [9, 8, 7], [0, 255, 0]]
    for sample in found:
        np.testing.assert_array_equal(sample.label, made.labels[sample.id]["sem"])
    miniatures.save_text(tmp_path / "some.txt", "up", "left 1", end="\r\n")
    assert open_dataset("folder", tmp_path, "some").ids == ("up", "left 1")
    (tmp_path / "night").mkdir()
    for part in ("images", "labels"):
        (tmp_path / part).rename(tmp_path / "night" / part)
    assert len(open_dataset("folder", tmp_path, "night")) == 3
    with pytest.raises(MissingData, match=r"no list 'all' here; here are night, some$"):
        open_dataset("folder", tmp_path, "all")
    with pytest.raises(MissingData, match="no list 'classes' here"):
        open_dataset("folder", tmp_path, "classes")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "is empty"),
        ([""], "0 classes"),
        (["a", "b\x1b[1m"], ":2: .* cannot be shown"),
        (["x"], "1 class; expected 2 to 255, .* a single class is right everywhere"),
        (["x"] * 256, "256 classes"),
        (["x 1 2 256", "y 1 2 3"], "0 to 255"),
        (["a", "b", "a"], r"classes\.txt:3: the name a is already that of line 1"),
        (["a 1 2 3", "b 1 2 3"], r":2: the colour \(1, 2, 3\) is already that of line 1"),
        (["a", f"b{' ' * 300}c"], "a line of 302 characters; a class takes at most 200"),
        (["a", "", "b"], ":2: '': no class, but each line is one"),
        (["# my classes", "a", "b"], ":1: '# my classes': no class"),
        (["a 1 2 3", "b"], ":2: 'b': expected NAME R G B, as on other lines"),
        (["a 1 2 3", "b 1 2"], ":2: 'b 1 2': expected NAME R G B, as on other lines"),
        (["a,1,2,3", "b,3,4,5"], ":1: 'a,1,2,3': expected NAME R G B, with spaces between"),
        (["1: a", "2: b"], ":1: '1: a': the lines number the classes, but not from 0 on"),
        (["1 b", "0 a"], ":1: '1 b': the lines number the classes, but not from 0 on"),
    ],
)
def test_classes_that_cannot_be(tmp_path, lines, problem):
    miniatures.own_folder(tmp_path)
    miniatures.save_text(tmp_path / "classes.txt", *lines)
    with pytest.raises(ReadError, match=problem):
        _ = open_dataset("folder", tmp_path, "all").classes


def test_vocs_colours_are_those_in_its_label_files():
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {label: tuple(colormap(256)[label].tolist()) for label in known} == known
    assert len({tuple(colour) for colour in colormap(256).tolist()}) == 256


def test_voc100_opens(data):
    """Real VOC files: the labelled pixels were counted before, by other code."""
    for split, count, labelled in (("voc2012_val", 54, 9_203_750), ("voc2012_train", 46, None)):
        found = open_dataset("voc2012", data / "voc100", split)
        assert len(found) == count
        pixels = sum(int((sample.label != 255).sum()) for sample in found)
        assert labelled in (None, pixels)
    partial = open_dataset("voc2012", data / "voc100", "seg11valid", partial=True)
    assert set(partial.ids) == set(open_dataset("voc2012", data / "voc100", "voc2012_val").ids)
    assert "54 of 736" in partial.notes[-1]
    with pytest.raises(MissingData, match="the list has 100 ids, expected 1449"):
        open_dataset("voc2012", data / "voc100", "val")


def test_the_736_labels_open(data):
    found = open_dataset("voc2011", data / "seg11valid-labels", "seg11valid")
    labels = [found.labels(i)["sem"] for i in range(len(found))]
    assert sum(int((label != 255).sum()) for label in labels) == 124_539_366
    assert sum(int((label == 255).sum()) for label in labels) == 7_051_801


@pytest.mark.parametrize(
    ("split", "labelled"), [("train", 60_913_605), ("val", 17_155_529), ("test", 38_719_017)]
)
def test_camvid_opens(data, split, labelled):
    found = open_dataset("camvid", data / "camvid", split)
    assert sum(int((found.labels(i)["sem"] != 255).sum()) for i in range(len(found))) == labelled
    assert found[0].image_hwc.shape == (360, 480, 3)


def test_the_data_sets_load_without_what_they_do_not_need():
    code = "import sys, fcn_repro.data.datasets as d; d.names(); print('requests' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
