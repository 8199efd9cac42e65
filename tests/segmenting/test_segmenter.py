"""segment and overlay, on a net of one kernel of one pixel whose scores are worked out with NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import caffe2torch as c2t
from caffe2torch.errors import MissingData, NetError, ReadError
from tests.nets import net_of

INPUT = """layer {{ name: '{blob}' type: 'Input' top: '{blob}' input_param {{
  shape {{ dim: 1 dim: {channels} dim: 8 dim: 8 }} }} }}
"""
DATA = INPUT.format(blob="data", channels=3)
SCORE = "layer { name: 'score' type: 'Convolution' bottom: 'data' top: 'score' convolution_param { %s } }"
CLASSES = c2t.Labelling(
    ("background", "car", "tree", "sky"), ((0, 0, 0), (255, 0, 0), (0, 200, 0), (9, 90, 255))
)
MEAN = (104.0, 117.5, 123.0)
RANDOM = np.random.default_rng(11)
WEIGHT = RANDOM.normal(0, 0.02, (4, 3)).astype(np.float32)
BIAS = RANDOM.normal(0, 0.5, 4).astype(np.float32)
PHOTO = RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)


def tiny(more: str = "") -> c2t.CaffeNet:
    text = DATA + SCORE % "num_output: 4 kernel_size: 1" + more
    blobs = [WEIGHT[:, :, None, None], BIAS]
    return c2t.build(net_of(text, score=blobs, other=[-blobs[0][:2], blobs[1][2:]]))


def expected(channels: str = "BGR", scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The labels and their softmax in percent, of PHOTO, pixel by pixel; MEAN is blue, green, red."""
    labels, percent = np.zeros((6, 5), int), np.zeros((6, 5))
    for y in range(6):
        for x in range(5):
            red, green, blue = PHOTO[y, x].astype(float)
            pixel = [(blue - MEAN[0]) * scale, (green - MEAN[1]) * scale, (red - MEAN[2]) * scale]
            pixel = pixel if channels == "BGR" else pixel[::-1]
            score = [
                sum(w * v for w, v in zip(row, pixel, strict=True)) + b
                for row, b in zip(WEIGHT, BIAS, strict=True)
            ]
            odds = [np.exp(value) for value in score]
            labels[y, x] = score.index(max(score))
            percent[y, x] = 100 * max(odds) / sum(odds)
    return labels, percent


def test_labels_with_a_mean_that_is_given() -> None:
    labels = c2t.segment(tiny(), PHOTO, MEAN)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected()[0])
    assert len(np.unique(labels)) > 2


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_labels_with_what_the_model_knows(channels: str) -> None:
    model = tiny()
    own = MEAN if channels == "BGR" else MEAN[::-1]
    model.preprocessing = {"data": c2t.Preprocessing(own, scale=0.5, crop_size=3, channels=channels)}
    labels, percent = expected(channels, 0.5)
    found = c2t.Segmenter(model)(PHOTO)["score"]
    np.testing.assert_array_equal(found.labels, labels)
    assert abs(found.certainty - percent).max() <= 0.51
    np.testing.assert_array_equal(c2t.segment(model, PHOTO, MEAN), labels)  # its scale and its order stay


def test_a_softmax_is_taken_as_it_is() -> None:
    softmax = "layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }"
    found = c2t.Segmenter(tiny(softmax), MEAN)(PHOTO)["prob"]
    np.testing.assert_array_equal(found.labels, expected()[0])
    assert abs(found.certainty - expected()[1]).max() <= 0.51


def test_photos_and_models_in_every_form(tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    model = tiny()
    model.preprocessing = {"data": c2t.Preprocessing(MEAN, channels="BGR")}
    c2t.export(model, tmp_path / "tiny.safetensors")
    for given in (model, tmp_path / "tiny.safetensors", str(tmp_path / "tiny.safetensors")):
        for photo in (PHOTO, Image.fromarray(PHOTO), tmp_path / "photo.png", str(tmp_path / "photo.png")):
            np.testing.assert_array_equal(c2t.segment(given, photo), expected()[0])


def test_several_heads_are_told_apart() -> None:
    model = tiny(SCORE.replace("'score'", "'other'") % "num_output: 2 kernel_size: 1")
    labels = c2t.segment(model, PHOTO, MEAN)
    assert list(labels) == ["score", "other"]
    np.testing.assert_array_equal(labels["score"], expected()[0])
    assert set(np.unique(labels["other"])) == {0, 1}


def test_the_model_stays_as_it_is() -> None:
    model = tiny().train()
    c2t.segment(model, PHOTO, MEAN)
    assert model.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, "the model does not know how its photos were prepared; give the mean .* --mean B,G,R"),
        ({"mean": MEAN}, "the model does not know the order of its channels; give the mean"),
        (
            {"mean_file": "m.binaryproto", "channels": "BGR"},
            "subtracts the mean image 'm.binaryproto'.*; give the",
        ),
    ],
)
def test_a_mean_that_is_unknown_is_asked_for(known: dict[str, object], message: str) -> None:
    model = tiny()
    if known:
        model.preprocessing = {"data": c2t.Preprocessing(**known)}
    with pytest.raises(NetError, match=message):
        c2t.segment(model, PHOTO)
    assert c2t.segment(model, PHOTO, MEAN).shape == (6, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer { name: 'fc' type: 'InnerProduct' bottom: 'data' top: 'fc' "
         "inner_product_param { num_output: 4 } }",
         r"the output 'fc' is \(1, 4\), no score for each pixel .*: a classifier of whole images cannot"),
        ("layer { name: 'p' type: 'Pooling' bottom: 'data' top: 'p' pooling_param { global_pooling: true } }",
         r"the output 'p' is \(1, 3, 1, 1\), no score for each pixel"),
        (SCORE % "num_output: 1 kernel_size: 1", "the output 'score' has 1 channel, .* 2 to 255"),
        (SCORE % "num_output: 256 kernel_size: 1", "the output 'score' has 256 channels, .* 2 to 255"),
        (SCORE % "num_output: 4 kernel_size: 2 stride: 2",
         r"the output 'score' is \(1, 4, 3, 2\); a score for each pixel of this photo is \(1, 4, 6, 5\)"),
    ],
)  # fmt: skip
def test_models_that_cannot_segment_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        c2t.segment(c2t.build(net_of(DATA + text)), PHOTO, MEAN)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"color": 3, "depth": 1}, "the model takes color, depth; a photo is only one colour image"),
        ({"hha": 3}, "the model takes hha; a photo is only one colour image"),
        ({"data": 1}, r"the input 'data' is \(1, 1, 8, 8\); a photo is \(N, 3, H, W\)"),
    ],
)
def test_models_that_take_no_photo_are_refused(inputs: dict[str, int], message: str) -> None:
    text = "".join(INPUT.format(blob=blob, channels=channels) for blob, channels in inputs.items())
    bottoms = "".join(f"bottom: '{blob}' " for blob in inputs)
    text += f"layer {{ name: 'all' type: 'Concat' {bottoms} top: 'score' }}"
    with pytest.raises(NetError, match=message):
        c2t.Segmenter(c2t.build(net_of(text)), MEAN)


@pytest.mark.parametrize(
    ("mean", "message"),
    [
        ((104.0, 117.0), "the mean has 2 values; give three: blue, green, red"),
        ((104.0, float("nan"), 123.0), r"the mean is 104\.0, nan, 123\.0; give finite numbers"),
    ],
)
def test_a_mean_that_is_none_is_refused(mean: tuple[float, ...], message: str) -> None:
    with pytest.raises(NetError, match=message):
        c2t.Segmenter(tiny(), mean)


def test_scores_that_are_not_finite_are_refused() -> None:
    model = tiny()
    with torch.no_grad():
        model.get_parameter("score.bias")[2] = torch.nan
    with pytest.raises(NetError, match="the scores of 'score' are not finite"):
        c2t.segment(model, PHOTO, MEAN)


def test_a_labelling_of_another_size_is_refused() -> None:
    model = tiny()
    model.labellings = {"score": c2t.Labelling.numbered(3)}
    with pytest.raises(NetError, match="scores 4 classes, the model names 3"):
        c2t.Segmenter(model, MEAN)


def test_arrays_that_are_no_photos_are_refused() -> None:
    for image in (PHOTO.astype(np.float32), PHOTO[:, :, :2], PHOTO[:, :, 0], PHOTO[:0]):
        with pytest.raises(NetError, match=r"the image is \w+ .*; give uint8 \(H, W, 3\), RGB"):
            c2t.segment(tiny(), image, MEAN)
    with pytest.raises(MissingData, match="no such file"):
        c2t.segment(tiny(), "absent.png", MEAN)
    with pytest.raises(ReadError, match="32 bits"):
        c2t.segment(tiny(), Image.fromarray(np.zeros((3, 4), np.float32)), MEAN)


def test_unknown_classes_have_numbers_and_vocs_colours() -> None:
    """The colours that the VOC devkit gives its first labels and its last."""
    segmenter = c2t.Segmenter(tiny(), MEAN)
    assert not segmenter.named
    assert segmenter.labellings["score"].classes == ("class 0", "class 1", "class 2", "class 3")
    voc = c2t.Labelling.numbered(256).colours
    assert voc[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert voc[15] == (192, 128, 128)  # person
    assert voc[20] == (0, 64, 128)  # tv monitor
    assert voc[255] == (224, 224, 192)  # void


def test_an_overlay_paints_the_classes() -> None:
    """Large enough that the picture has the photo's own pixels; 255 and the background are not painted."""
    photo = RANDOM.integers(0, 256, (600, 700, 3), dtype=np.uint8)
    labels = RANDOM.choice(np.array([0, 1, 3, 255], np.uint8), (600, 700))
    picture = np.asarray(c2t.overlay(photo, labels, CLASSES)).astype(float)
    assert picture.shape[1:] == (700, 3)
    assert picture.shape[0] > 600
    for label, colour in enumerate(CLASSES.colours):
        here, shown = photo[labels == label].astype(float), picture[:600][labels == label]
        painted = here if label == 0 else here * 0.45 + np.array(colour) * 0.55
        assert label == 2 or abs(shown - painted).max() <= 1
    np.testing.assert_array_equal(picture[:600][labels == 255], photo[labels == 255])
    legend = {tuple(colour) for colour in picture[600:].reshape(-1, 3).tolist()}
    assert {(255, 0, 0), (9, 90, 255)} <= legend
    assert (0, 200, 0) not in legend, "trees do not occur"


@pytest.mark.parametrize(
    ("size", "shown"),
    [((6, 5), (516, 430)), ((511, 9), (1022, 18)), ((600, 20), (600, 20)), ((20, 4096), (10, 2048))],
)
def test_an_overlay_has_a_size_to_look_at(size: tuple[int, int], shown: tuple[int, int]) -> None:
    picture = c2t.overlay(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8))
    assert picture.width == shown[1]
    assert picture.height > shown[0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((5, 6), np.uint8), r"the labels are uint8 \(5, 6\), the photo is \(6, 5\)"),
        (np.zeros((6, 5), int), r"the labels are int64 \(6, 5\)"),
        (np.full((6, 5), 4, np.uint8), "label 4 is none of the 4 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(NetError, match=message):
        c2t.overlay(PHOTO, labels, CLASSES)


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="class 1 has no name"):
        c2t.Labelling(("a", ""), ((1, 2, 3), (4, 5, 6)))


def test_odd_names_are_shown_on_one_line() -> None:
    odd = c2t.Labelling(("a\nb\x1b[31m" + "c" * 900, "d"), ((1, 2, 3), (4, 5, 6)))
    plain = c2t.Labelling(("a?b?[31m" + "c" * 31 + "…", "d"), ((1, 2, 3), (4, 5, 6)))
    labels = (PHOTO[:, :, 0] > 99).astype(np.uint8)
    assert c2t.overlay(PHOTO, labels, odd).tobytes() == c2t.overlay(PHOTO, labels, plain).tobytes()


@pytest.mark.parametrize("image", [None, b"photo.png", PHOTO.tolist(), torch.from_numpy(PHOTO)])
def test_what_is_no_image_is_refused(image: object) -> None:
    with pytest.raises(TypeError, match="give a file, a PIL image, or uint8 RGB"):
        c2t.segment(tiny(), image, MEAN)


@pytest.mark.parametrize("labels", [None, [[0, 1]], {"score": np.zeros((6, 5), np.uint8)}])
def test_what_is_no_array_of_labels_is_refused(labels: object) -> None:
    with pytest.raises(TypeError, match="give one head's, a uint8 array"):
        c2t.overlay(PHOTO, labels)


def test_pil_images_without_colours_or_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="the image: a broken image: conversion from La"):
        c2t.segment(tiny(), Image.new("La", (5, 6)), MEAN)
    with pytest.raises(NetError, match=r"the image is uint8 \(5, 0, 3\)"):
        c2t.segment(tiny(), Image.new("RGB", (0, 5)), MEAN)
    cut = tmp_path / "cut.png"
    Image.fromarray(PHOTO).save(cut)
    cut.write_bytes(cut.read_bytes()[:60])
    with Image.open(cut) as image, pytest.raises(ReadError, match="the image: a broken image"):
        c2t.segment(tiny(), image, MEAN)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(NetError, match="the mean is nan, 1, 2; give finite numbers"):
        c2t.Segmenter(tiny(), (float("nan"), 1, 2))
    for memory in (0, -1, float("nan")):
        with pytest.raises(NetError, match="give bytes, more than 0"):
            c2t.Segmenter(tiny(), MEAN, memory)


def test_a_model_of_another_precision() -> None:
    np.testing.assert_array_equal(c2t.segment(tiny().double(), PHOTO, MEAN), expected()[0])
