"""`PYTHON make_io.py`: what pycaffe's io, Classifier, Detector and coord_map give, into io.npz.

PYTHON imports Caffe with scikit-image of our day. This project's code has no part in it.
"""

import os
from pathlib import Path

import caffe
import caffe.coord_map
import numpy as np
from caffe import layers as L
from old_scikit_image import restore

HERE = Path(__file__).resolve().parent
CLASSES = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 4 dim: 3 dim: 5 dim: 6 } } }
layer { name: 'score' type: 'Pooling' bottom: 'data' top: 'score'
  pooling_param { pool: AVE kernel_h: 3 kernel_w: 3 stride: 2 } }
layer { name: 'flat' type: 'Flatten' bottom: 'score' top: 'flat' }
"""
SQUARE = CLASSES.replace("dim: 5 dim: 6", "dim: 9 dim: 9")


class Old(np.ndarray):
    """An array whose slices may be floats, as NumPy's could until 1.12; pycaffe's Detector gives it such."""

    def __getitem__(self, key):
        if isinstance(key, tuple):
            key = tuple(
                slice(int(k.start), int(k.stop)) if isinstance(k, slice) and k.stop else k for k in key
            )
        return super().__getitem__(key)


def settings():
    mean = np.array([104.0, 117.0, 123.0])
    return {"mean": mean, "raw_scale": 255, "channel_swap": (2, 1, 0), "input_scale": 0.25}


def resized(rng):
    """resize_image for grey, colour and other channels, larger and smaller."""
    for channels in (1, 3, 4):
        image = rng.random((6, 9, channels)).astype(np.float32) * 3 - 1
        yield f"resize.{channels}.in", image
        for order in (0, 1):
            for size in ((4, 5), (13, 11), (6, 4)):
                name = f"resize.{channels}.{order}.{size[0]}.{size[1]}"
                yield name, caffe.io.resize_image(image, size, interp_order=order)


def transformed(rng):
    """A Transformer with everything, there and back; a mean image of another size."""
    t = caffe.io.Transformer({"data": (1, 3, 5, 6)})
    t.set_transpose("data", (2, 0, 1))
    t.set_channel_swap("data", (2, 1, 0))
    t.set_raw_scale("data", 255)
    t.set_input_scale("data", 0.5)
    mean = rng.random((3, 7, 4)) * 255
    yield "transform.mean", mean
    t.set_mean("data", mean)
    for name, shape in (("same", (5, 6, 3)), ("other", (8, 7, 3))):
        image = rng.random(shape).astype(np.float32)
        yield f"transform.{name}.in", image
        there = t.preprocess("data", image.copy())
        yield f"transform.{name}.out", there
        yield f"transform.{name}.back", t.deprocess("data", there)


def scored(rng):
    """A Classifier with and without ten crops, and a Detector with and without context."""
    Path("classes.prototxt").write_text(CLASSES)
    Path("square.prototxt").write_text(SQUARE)
    net = caffe.Net("classes.prototxt", caffe.TEST)
    net.save("classes.caffemodel")
    images = [rng.random((9, 8, 3)).astype(np.float32) for _ in range(3)]
    yield "classify.in", np.array(images)
    model = caffe.Classifier("classes.prototxt", "classes.caffemodel", image_dims=(8, 9), **settings())
    yield "classify.ten", model.predict(images)
    yield "classify.centre", model.predict(images, oversample=False)
    load = caffe.io.load_image
    caffe.io.load_image = lambda name: load(name).view(Old)
    windows = [np.array(w) for w in ((0, 0, 4, 5), (2, 1, 8, 7), (1, 3, 6, 6))]
    yield "detect.windows", np.array(windows)
    for pad in (None, 2):
        model = caffe.Detector("square.prototxt", "classes.caffemodel", context_pad=pad, **settings())
        found = model.detect_windows([("../feeding/images/a.png", windows)])
        yield f"detect.{pad or 0}", np.array([one["prediction"] for one in found])
    caffe.io.load_image = load
    Path("square.prototxt").unlink()


def mapped():
    """Coordinate maps of stacks of layers."""
    data = L.Input(shape={"dim": [1, 1, 99, 99]})
    conv = L.Convolution(data, kernel_size=5, stride=2, pad=1, num_output=1)
    pool = L.Pooling(L.ReLU(conv), kernel_size=[3, 2], stride=2)
    dilated = L.Convolution(pool, kernel_size=3, dilation=2, num_output=1)
    up = L.Deconvolution(
        dilated, convolution_param={"num_output": 1, "kernel_size": 8, "stride": 4, "pad": 1}
    )
    whole = L.Deconvolution(conv, convolution_param={"num_output": 1, "kernel_size": 4, "stride": 2})
    for name, pair in {
        "conv": (conv, data),
        "up": (up, data),
        "pool": (data, pool),
        "arms": (whole, data),
    }.items():
        axis, a, b = caffe.coord_map.coord_map_from_to(*pair)
        yield f"map.{name}", np.array([[axis] * len(np.atleast_1d(b)), np.broadcast_to(a, np.shape(b)), b])


def loaded():
    """load_image of every kind of file."""
    for name in ("a.png", "grey.png", "alpha.png", "palette.png", "deep.png", "a.bmp", "turned.jpg"):
        # Today's imread lays transparency on white before it makes grey; that of Caffe's time dropped it.
        for color in (True, False)[: 1 if name == "alpha.png" else 2]:
            yield f"load.{name}.{int(color)}", caffe.io.load_image(f"../feeding/images/{name}", color)


def main():
    rng = np.random.default_rng(19)
    restore()
    images = rng.random((2, 8, 9, 3)).astype(np.float32)
    found = {"oversample.in": images, "oversample.out": caffe.io.oversample(images, (5, 4))}
    for part in (resized(rng), transformed(rng), scored(rng), mapped(), loaded()):
        found.update(part)
    np.savez_compressed("io.npz", **found)


if __name__ == "__main__":
    os.chdir(HERE)
    main()
