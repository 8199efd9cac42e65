"""What the data layers did to an image, from the files."""

from __future__ import annotations

import numpy as np
import pytest

from caffe2torch.errors import NetError
from caffe2torch.net.preprocessing import MAX_PARAM_STR, Preprocessing, preprocessing, with_mean
from caffe2torch.net.reading import read
from tests.nets import net_of

IMAGE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
DATA = 'layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ {0} }} }}'
PYTHON = (
    'layer {{ name: "data" type: "Python" top: "image" python_param {{ layer: "Mine" param_str: "{0}" }} }}'
)


@pytest.mark.parametrize(
    ("name", "top", "mean", "channels"),
    [
        ("voc-fcn8s", "data", (104.00699, 116.66877, 122.67892), "BGR"),
        ("pascalcontext-fcn8s", "data", (104.00699, 116.66877, 122.67892), "BGR"),
        ("siftflow-fcn16s", "data", (114.578, 115.294, 108.353), "BGR"),
        ("nyud-fcn32s-color-hha", "color", (116.190, 97.203, 92.318), "BGR"),
        ("nyud-fcn32s-color-hha", "hha", (132.431, 94.076, 118.477), ""),
        ("nyud-fcn32s-color-d", "depth", (7.844,), ""),
    ],
)
def test_means_of_the_zoo(golden, name, top, mean, channels):
    known = preprocessing(read(weights=golden / "fcn" / name / "weights.caffemodel"))
    assert known[top] == Preprocessing(mean, channels=channels)


def test_transform_param():
    (known,) = preprocessing(
        net_of(
            DATA.format("mean_value: 10 mean_value: 20 mean_value: 30 scale: 0.5 crop_size: 3 mirror: true")
        )
    ).values()
    assert known == Preprocessing((10.0, 20.0, 30.0), 0.5, 3, mirror=True, channels="BGR")
    expected = np.empty((3, 3, 3))
    for c in range(3):
        for y in range(3):
            for x in range(3):
                expected[c, y, x] = (float(IMAGE[1 + y, 2 + x, c]) - 10 * (c + 1)) / 2
    np.testing.assert_array_equal(known(IMAGE), expected)


def test_a_mean_image_is_subtracted_before_the_crop():
    (known,) = preprocessing(net_of(DATA.format('mean_file: "m" crop_size: 3'))).values()
    mean = np.arange(3 * 5 * 7, dtype=np.float32).reshape(1, 3, 5, 7)
    np.testing.assert_array_equal(known(IMAGE, mean), (IMAGE.transpose(2, 0, 1) - mean[0])[:, 1:4, 2:5])


def test_one_mean_for_all_channels_and_none():
    np.testing.assert_array_equal(Preprocessing((4.0,))(IMAGE), IMAGE.transpose(2, 0, 1).astype(float) - 4)
    np.testing.assert_array_equal(Preprocessing()(IMAGE), IMAGE.transpose(2, 0, 1))


def test_what_cannot_be_done_is_refused():
    with pytest.raises(NetError, match="3 channels, the net's mean has 2"):
        Preprocessing((1.0, 2.0))(IMAGE)
    with pytest.raises(NetError, match="5x7, the net's crop_size is 6"):
        Preprocessing(crop_size=6)(IMAGE)
    with pytest.raises(NetError, match=r"subtracts the mean image 'mean\.binaryproto'"):
        Preprocessing(mean_file="mean.binaryproto")(IMAGE)
    with pytest.raises(NetError, match=r"the image is \(3, 5, 7\), the mean image \(3, 7, 5\)"):
        Preprocessing(mean_file="mean.binaryproto")(IMAGE, np.zeros((1, 3, 7, 5)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "21",
        "{'mean': 'grey'}",
        "{'mean': (1, '2')}",
        "__import__('os').abort()",
        "(" * MAX_PARAM_STR,
        "-" * (MAX_PARAM_STR - 1) + "1",
        "1" + "+1" * (MAX_PARAM_STR // 2 - 1),
        "{[1]: 2}",
    ],
)
def test_a_param_str_that_tells_no_mean(text):
    assert preprocessing(net_of(PYTHON.format(text))) == {}


def test_a_param_str_is_bounded():
    assert preprocessing(net_of(PYTHON.format("{'mean': (1, 2)}"))) == {"image": Preprocessing((1.0, 2.0))}
    assert preprocessing(net_of(PYTHON.format("{'mean': (1, 2)}" + " " * MAX_PARAM_STR))) == {}


def test_a_mean_that_a_user_tells_is_that_of_the_image():
    rgb, sizes = (
        Preprocessing((9.0, 8.0, 7.0), 0.5, channels="RGB"),
        {"color": (1, 3, 5, 7), "hha": (1, 3, 5, 7)},
    )
    told = with_mean({"color": rgb}, sizes, (1, 2, 3))
    assert told == {"color": Preprocessing((3.0, 2.0, 1.0), 0.5, channels="RGB")}
    assert with_mean({}, {"in": None}, (1, 2, 3)) == {"in": Preprocessing((1.0, 2.0, 3.0), channels="BGR")}
    assert with_mean({}, {"in": (1, 1, 5, 7)}, (4,)) == {"in": Preprocessing((4.0,))}
    for inputs in ({"hha": (1, 3, 5, 7), "other": (1, 3, 5, 7)}, {"grey": (1, 1, 5, 7)}):
        with pytest.raises(NetError, match="mean 1, 2, 3: 3 values are no mean of one of the inputs"):
            with_mean({}, inputs, (1, 2, 3))


def test_an_order_of_channels_is_one_of_two():
    with pytest.raises(ValueError, match="channels are 'GBR'; they can be 'BGR', 'RGB' or ''"):
        Preprocessing(channels="GBR")
