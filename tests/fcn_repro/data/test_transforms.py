"""What a net is given, against the numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import caffe2torch as c2t
from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.datasets import Sample, dataset, names
from fcn_repro.data.transforms import log_depth, net_inputs, prepared

IMAGE = np.array([[[255, 128, 0], [10, 20, 30], [1, 2, 3]], [[0, 0, 0], [9, 8, 7], [77, 66, 55]]], np.uint8)
DEPTH = np.array([[1000, 2548, 1], [65535, 3000, 7]], np.uint16)
NYUD = ("color", "depth", "hha")
SAMPLE = Sample("5001", IMAGE, {}, DEPTH, IMAGE)


def test_an_image_is_bgr_minus_the_mean_channels_first():
    preparation = {"data": c2t.Preprocessing((104.00699, 116.66877, 122.67892), channels="BGR")}
    blob = net_inputs(SAMPLE, ("data",), preparation)["data"]
    assert (blob.shape, blob.dtype, blob.flags.c_contiguous) == ((3, 2, 3), np.float32, True)
    assert blob[:, 0, 1] == pytest.approx([30 - 104.00699, 20 - 116.66877, 10 - 122.67892], rel=1e-6)
    assert blob[:, 1, 2] == pytest.approx([55 - 104.00699, 66 - 116.66877, 77 - 122.67892], rel=1e-6)


def test_the_means_are_the_published_ones():
    voc = (104.00699, 116.66877, 122.67892)
    others = {"nyudv2": (116.190, 97.203, 92.318), "sift-flow": (114.578, 115.294, 108.353)}
    context = {name: (104.007, 116.669, 122.679) for name in names() if name.startswith("pascal-context")}
    assert len(context) == 3
    means = {name: dataset(name).mean_bgr for name in names()}
    assert means == {**dict.fromkeys(names(), voc), **others, **context}


def test_hha_keeps_its_channels():
    blob = net_inputs(SAMPLE, ("hha",), prepared(("hha",), (0, 0, 0)))["hha"]
    assert blob[:, 0, 0] == pytest.approx([255 - 132.431, 128 - 94.076, 0 - 118.477], rel=1e-6)


def test_depth_is_a_logarithm():
    blob = net_inputs(SAMPLE, ("depth",), prepared(("depth",), (0, 0, 0)))["depth"]
    assert (blob.shape, blob.dtype) == ((1, 2, 3), np.float32)
    expected = [[math.log(value) - 7.844 for value in row] for row in DEPTH.tolist()]
    np.testing.assert_allclose(blob[0], expected, atol=1e-6)


def test_a_depth_of_nothing_has_no_logarithm():
    with pytest.raises(ReadError, match="1 pixels of depth 0"):
        log_depth(np.array([[0, 5]], np.uint16))


def test_a_net_gets_the_blobs_that_it_names():
    blobs = net_inputs(SAMPLE, NYUD, prepared(NYUD, (116.190, 97.203, 92.318)))
    assert {name: blob.shape for name, blob in blobs.items()} == {
        "color": (3, 2, 3),
        "depth": (1, 2, 3),
        "hha": (3, 2, 3),
    }
    assert (
        net_inputs(SAMPLE, ("data",), prepared(("data",), (0, 0, 0)))["data"][0].tolist()
        == IMAGE[:, :, 2].tolist()
    )


def test_a_net_sees_images_as_it_knows_and_whole():
    known = c2t.Preprocessing((1, 2, 3), scale=0.5, crop_size=1, channels="RGB")
    blob = net_inputs(SAMPLE, ("data",), {"data": known})["data"]
    assert blob.shape == (3, 2, 3)
    assert blob[:, 0, 1].tolist() == [(10 - 1) / 2, (20 - 2) / 2, (30 - 3) / 2]


@pytest.mark.parametrize("blob", ["depth", "hha", "label"])
def test_what_a_data_set_does_not_have_is_said(blob):
    with pytest.raises(MissingData, match=f"2007_000033: the net takes '{blob}'"):
        net_inputs(Sample("2007_000033", IMAGE, {}), (blob,), prepared((blob,), (0, 0, 0)))
