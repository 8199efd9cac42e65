"""caffe.io, Classifier, Detector and coord_map against pycaffe: scripts/make_io.py of the golden files."""

import numpy as np
import pytest

from caffe2torch import pycaffe as caffe
from caffe2torch.errors import MissingData, ReadError
from caffe2torch.pycaffe import coord_map, io
from caffe2torch.pycaffe import layers as L
from caffe2torch.pycaffe.proto import caffe_pb2
from tests.places import GOLDEN

FOLDER = GOLDEN / "pycaffe" / "scripts"
IMAGES = FOLDER.parent / "feeding" / "images"
STORED = np.load(FOLDER / "io.npz")
EVERYTHING = {
    "mean": np.array([104.0, 117.0, 123.0]),
    "raw_scale": 255,
    "channel_swap": (2, 1, 0),
    "input_scale": 0.25,
}


def close(found, key, tolerance=1e-6):
    expected = STORED[key]
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


RESIZED = [key.split(".")[1:] for key in STORED if key.startswith("resize.") and not key.endswith(".in")]


@pytest.mark.parametrize(("channels", "order", "height", "width"), RESIZED)
def test_resize_image(channels, order, height, width):
    image = STORED[f"resize.{channels}.in"]
    found = io.resize_image(image, (int(height), int(width)), interp_order=int(order))
    close(found, f"resize.{channels}.{order}.{height}.{width}")


def test_resize_image_of_one_value():
    assert (io.resize_image(np.full((4, 5, 3), 7.0), (2, 9)) == np.full((2, 9, 3), 7, np.float32)).all()


def transformer():
    t = io.Transformer({"data": (1, 3, 5, 6)})
    t.set_transpose("data", (2, 0, 1))
    t.set_channel_swap("data", (2, 1, 0))
    t.set_raw_scale("data", 255)
    t.set_input_scale("data", 0.5)
    t.set_mean("data", STORED["transform.mean"])
    return t


@pytest.mark.parametrize("size", ["same", "other"])
def test_transformer(size):
    image = STORED[f"transform.{size}.in"]
    before = image.copy()
    there = transformer().preprocess("data", image)
    close(there, f"transform.{size}.out")
    close(transformer().deprocess("data", there), f"transform.{size}.back", 1e-5)
    assert (image == before).all()  # pycaffe may write into it


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t.set_mean("data", np.zeros(4)), ValueError),
        (lambda t: t.set_mean("data", np.zeros((5, 6))), ValueError),
        (lambda t: t.set_mean("data", np.zeros((4, 5, 6))), ValueError),
        (lambda t: t.set_mean("data", np.zeros((1, 3, 5, 6))), ValueError),
        (lambda t: t.set_transpose("data", (1, 0)), Exception),
        (lambda t: t.set_channel_swap("data", (1, 0)), Exception),
        (lambda t: t.set_raw_scale("other", 1), Exception),
        (lambda t: t.preprocess("other", np.zeros((5, 6, 3))), Exception),
    ],
)
def test_transformer_refuses(call, error):
    with pytest.raises(error):
        call(transformer())


def test_mean_without_channel_axis_for_one_channel():
    t = io.Transformer({"data": (1, 1, 2, 2)})
    t.set_mean("data", np.ones((2, 2)))
    assert (t.preprocess("data", np.full((2, 2), 3.0)) == 2).all()


def test_oversample():
    close(io.oversample(STORED["oversample.in"], (5, 4)), "oversample.out", 0)


LOADED = [key.removeprefix("load.").rsplit(".", 1) for key in STORED if key.startswith("load.")]


@pytest.mark.parametrize(("name", "color"), LOADED)
def test_load_image(name, color):
    close(io.load_image(IMAGES / name, color == "1"), f"load.{name}.{color}")


def test_load_image_refuses(tmp_path):
    with pytest.raises(MissingData, match="no such file"):
        io.load_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ReadError, match="of no kind that is read"):
        io.load_image(tmp_path / "text.png")


def test_classifier(monkeypatch):
    monkeypatch.chdir(FOLDER)
    net = caffe.Classifier("classes.prototxt", "classes.caffemodel", image_dims=(8, 9), **EVERYTHING)
    close(net.predict(list(STORED["classify.in"])), "classify.ten", 1e-5)
    close(net.predict(list(STORED["classify.in"]), oversample=False), "classify.centre", 1e-5)


def test_images_as_they_are(monkeypatch):
    """Without settings a net takes what it is given, channels first; and nothing is done to bring it back."""
    monkeypatch.chdir(FOLDER)
    images = STORED["classify.in"][:, :5, :6]
    net = caffe.Classifier("classes.prototxt", "classes.caffemodel")
    plain = caffe.Net("classes.prototxt", "classes.caffemodel", caffe.TEST)
    given = images.transpose(0, 3, 1, 2)
    (found,), predicted = plain.forward_all(data=given).values(), net.predict(list(images), oversample=False)
    np.testing.assert_allclose(predicted, found, rtol=1e-5)
    untouched = io.Transformer({"data": (1, 3, 5, 6)})
    np.testing.assert_array_equal(untouched.preprocess("data", images[0].reshape(5, 6, 3)), images[0])
    np.testing.assert_array_equal(untouched.deprocess("data", given[:1]), given[0])


def test_a_mean_of_one_value_at_another_size():
    classes = (FOLDER / "classes.prototxt").as_posix()
    net = caffe.Classifier(classes, f"{FOLDER}/classes.caffemodel", mean=np.full((3, 9, 9), 7.0))
    np.testing.assert_array_equal(net.transformer.mean["data"], np.full((3, 5, 6), 7, np.float32))


def test_a_window_outside_its_image(monkeypatch):
    monkeypatch.chdir(FOLDER)
    net = caffe.Detector("classes.prototxt", "classes.caffemodel", mean=np.arange(3.0), context_pad=1)
    np.testing.assert_array_equal(net.crop_mean[0, 0], np.arange(3))
    with pytest.raises(AssertionError, match="is outside the image of"):
        net.crop(np.zeros((20, 30, 3), np.float32), (100, 100, 110, 110))


@pytest.mark.parametrize("pad", [0, 2])
def test_detector(monkeypatch, tmp_path, pad):
    monkeypatch.chdir(FOLDER)
    square = tmp_path / "square.prototxt"
    square.write_text((FOLDER / "classes.prototxt").read_text().replace("dim: 5 dim: 6", "dim: 9 dim: 9"))
    net = caffe.Detector(str(square), "classes.caffemodel", context_pad=pad or None, **EVERYTHING)
    windows = STORED["detect.windows"]
    found = net.detect_windows([(str(IMAGES / "a.png"), windows)])
    close(np.array([one["prediction"] for one in found]), f"detect.{pad}", 1e-5)
    assert [one["filename"] for one in found] == [str(IMAGES / "a.png")] * 3
    assert (np.array([one["window"] for one in found]) == windows).all()
    with pytest.raises(NotImplementedError, match="detect_windows"):
        net.detect_selective_search([str(IMAGES / "a.png")])


def test_datum():
    levels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    datum = io.array_to_datum(levels, label=5)
    assert (datum.channels, datum.height, datum.width, datum.label) == (2, 3, 4, 5)
    assert datum.data == levels.tobytes()
    back = io.datum_to_array(datum)
    assert back.dtype == np.uint8
    assert (back == levels).all()
    floats = levels / 7
    datum = io.array_to_datum(floats)
    assert not datum.data
    assert not datum.HasField("label")
    np.testing.assert_allclose(io.datum_to_array(datum), floats, rtol=1e-6)
    with pytest.raises(ValueError, match="3 axes"):
        io.array_to_datum(np.zeros((2, 2)))


def test_blobproto():
    values, diff = np.arange(6.0).reshape(1, 2, 3), np.ones((1, 2, 3))
    blob = io.array_to_blobproto(values, diff)
    assert list(blob.shape.dim) == [1, 2, 3]
    assert (io.blobproto_to_array(blob) == values).all()
    assert (io.blobproto_to_array(blob, return_diff=True) == 1).all()
    legacy = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=3, data=range(6))
    assert io.blobproto_to_array(legacy).shape == (1, 1, 2, 3)
    assert io.blobproto_to_array(caffe_pb2.BlobProto(data=[4])).shape == ()
    both = io.blobprotovector_str_to_arraylist(io.arraylist_to_blobprotovector_str([values, diff[0]]))
    assert [array.shape for array in both] == [(1, 2, 3), (2, 3)]


def stack():
    data = L.Input(shape={"dim": [1, 1, 99, 99]})
    conv = L.Convolution(data, kernel_size=5, stride=2, pad=1, num_output=1)
    pool = L.Pooling(L.ReLU(conv), kernel_size=[3, 2], stride=2)
    dilated = L.Convolution(pool, kernel_size=3, dilation=2, num_output=1)
    wide = {"num_output": 1, "kernel_size": 8, "stride": 4, "pad": 1}
    up = L.Deconvolution(dilated, convolution_param=wide)
    whole = L.Deconvolution(conv, convolution_param={"num_output": 1, "kernel_size": 4, "stride": 2})
    return {"conv": (conv, data), "up": (up, data), "pool": (data, pool), "arms": (whole, data)}


@pytest.mark.parametrize("name", ["conv", "up", "pool", "arms"])
def test_coord_map(name):
    axis, a, b = coord_map.coord_map_from_to(*stack()[name])
    expected = STORED[f"map.{name}"]
    assert (expected == [[axis] * len(b), np.broadcast_to(a, b.shape), b]).all()


def test_coord_map_goes_back():
    up, data = stack()["up"]
    _, a, b = coord_map.coord_map_from_to(up, data)
    _, c, d = coord_map.coord_map_from_to(data, up)
    assert (a * c == 1).all()
    assert (b == -d * a).all()


def test_crop():
    data = L.Input()
    conv = L.Convolution(data, kernel_size=5, pad=50, num_output=1)
    up = L.Deconvolution(conv, convolution_param={"num_output": 1, "kernel_size": 9, "pad": 1})
    layer = coord_map.crop(up, data).to_proto().layer[-1]
    assert (layer.type, layer.crop_param.axis, list(layer.crop_param.offset)) == ("Crop", 2, [51])
    cropped = L.Crop(up, data, crop_param={"axis": 2, "offset": [51]})
    _, a, b = coord_map.coord_map_from_to(cropped, data)
    assert (a, b) == (1, 0)


def test_crop_refuses():
    data = L.Input()
    half = L.Pooling(data, kernel_size=2, stride=2)
    with pytest.raises(AssertionError, match="scale"):
        coord_map.crop(half, data)
    with pytest.raises(AssertionError, match="noninteger"):
        coord_map.crop(L.Convolution(data, kernel_size=4, pad=4, num_output=1), data)
    with pytest.raises(AssertionError, match="negative"):
        coord_map.crop(L.Convolution(data, kernel_size=3, num_output=1), data)


def test_maps_that_there_are_not():
    data = L.Input()
    scores = L.InnerProduct(data, num_output=1)
    with pytest.raises(RuntimeError, match="no map"):
        coord_map.coord_map_from_to(scores, data)
    with pytest.raises(RuntimeError, match="no map"):
        coord_map.coord_map_from_to(L.ReLU(data), L.Input())
    deep = L.Convolution(L.Convolution(data, kernel_size=3, axis=2), kernel_size=3)
    with pytest.raises(coord_map.AxisMismatchException):
        coord_map.coord_map_from_to(deep, data)
    with pytest.raises(AssertionError, match="pad_h"):
        coord_map.coord_map_from_to(L.Convolution(data, kernel_size=3, pad_h=1), data)


def test_a_map_through_many_branches():
    top = data = L.Input()
    for _ in range(60):  # every path would be 2 ** 60
        top = L.Eltwise(top, L.ReLU(top))
    assert coord_map.coord_map_from_to(top, data) == (None, 1, 0)
