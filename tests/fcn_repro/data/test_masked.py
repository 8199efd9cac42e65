"""Masked data sets against pixels masked one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffe2torch.errors import MissingData
from fcn_repro.data.datasets import dataset, names, open_dataset
from fcn_repro.data.datasets.masked import masked_images
from fcn_repro.data.examples import Order, examples
from tests.fcn_repro import miniatures

MEAN_RGB = (123, 117, 104)
SHAPE = {True: (255, 255, 255), False: (0, 0, 0)}
FILL = {"foreground": MEAN_RGB, "background+black": (0, 0, 0), "background+white": (255, 255, 255)}


def by_pixel(image: np.ndarray, label: np.ndarray, kept: str) -> np.ndarray:
    """Void, 255, is no object's."""
    found = image.copy()
    for place in np.ndindex(label.shape):
        is_object = 1 <= label[place] <= 20
        if kept == "shape":
            found[place] = SHAPE[is_object]
        elif is_object != kept.startswith("foreground"):
            found[place] = FILL[kept]
    return found


@pytest.mark.parametrize("kept", [*FILL, "shape"])
@pytest.mark.parametrize(("name", "split"), [("voc2012", "val"), ("sbd", "train")])
def test_what_is_not_kept_is_masked(tmp_path: Path, name: str, split: str, kept: str) -> None:
    miniatures.pascal_voc(tmp_path)
    miniatures.sbd(tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if ("benchmark" in path.name) == (name == "sbd"))
    whole = open_dataset(name, folder, split, partial=True)
    masked = open_dataset(f"{name}+{kept}", folder, split, partial=True)
    assert (masked.ids, masked.name, masked.kept) == (whole.ids, f"{name}+{kept}", kept)
    assert any("Void pixels count as background" in note for note in masked.notes)
    for before, after in zip(whole, masked, strict=True):
        assert np.array_equal(after.image_hwc, by_pixel(before.image_hwc, before.label, kept))
        assert after.image_hwc.dtype == np.uint8
        assert np.array_equal(after.label, before.label)
        assert not np.array_equal(after.image_hwc, before.image_hwc)


def test_a_training_sees_masked_images(tmp_path: Path) -> None:
    miniatures.sbd(tmp_path)
    masked = open_dataset("sbd+foreground", tmp_path / "benchmark.tgz", "train", partial=True)
    order = Order("epochs", len(masked), 1)
    (example,) = examples(masked, [0], order, blobs=["data"], mean_bgr=masked.mean_bgr)
    image, label = example.inputs["data"][0].numpy(), example.labels["sem"][0].numpy()
    assert np.abs(image[:, label == 0]).max() < 0.5, "the mean colour, rounded, minus the mean"
    assert np.abs(image[:, label > 0]).max() > 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("voc2012+objects", r"voc2012\+objects: masked data sets are voc2012\+foreground and"),
        ("voc2012+", r"voc2012\+: masked data sets are"),
        ("voc2012+foreground+green", r"voc2012\+foreground\+green: masked data sets are"),
        ("voc2012+foreground+black+white", r"masked data sets are .*, and voc2012\+shape"),
        ("voc2012+shape+black", r"voc2012\+shape\+black: masked data sets are"),
        ("camvid+foreground", r"camvid\+foreground: CamVid has no background to tell from objects"),
        ("folder+foreground", r"folder\+foreground: .* has no background to tell from objects"),
        ("voc2013+foreground", "no data set is called 'voc2013'; known are"),
    ],
)
def test_other_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(MissingData, match=message):
        dataset(name)


def test_the_secret_labels_of_a_test_set_mask_nothing(tmp_path: Path) -> None:
    miniatures.pascal_voc(tmp_path, split="test")
    masked = open_dataset(
        "voc2012+foreground", tmp_path / "VOCtrainval_11-May-2012.tar", "test", partial=True
    )
    with pytest.raises(MissingData, match="the labels of this split are not public"):
        masked[0]


def test_names_are_made_of_what_is_kept() -> None:
    assert masked_images("voc2011/seg11valid", "") == "voc2011/seg11valid"
    assert masked_images("voc2011/seg11valid", "", "black") == "voc2011/seg11valid"
    assert masked_images("voc2011/seg11valid", "background") == "voc2011+background/seg11valid"
    assert masked_images("voc2011/seg11valid", "background", "black") == "voc2011+background+black/seg11valid"
    assert masked_images("voc2012/val", "shape", "black") == "voc2012+shape/val"
    assert dataset("voc2012+shape") is dataset("voc2012+shape")
    assert not any("+" in name for name in names())
