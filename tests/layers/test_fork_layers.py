"""Layers that forks added for classifiers and segmenters, against loops written from the forks' definitions.

Detectors are in test_fork_detection.py, optical flow in test_fork_flow.py, what forks added to Caffe's own
layers in test_fork_fields.py.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from caffe2torch.errors import UnsupportedLayer
from tests.single_layer import assert_close, one_layer, run, within_channel

rng = np.random.default_rng(7)


def noise(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


class TestBN:
    """One type, three definitions."""

    x = noise(3, 4, 5, 2) * 2 + 1
    weight, bias, mean = (noise(1, 4, 1, 1) for _ in range(3))
    variance = np.abs(noise(1, 4, 1, 1)) + 0.5

    def by_batch(self, eps):
        y = np.empty_like(self.x)
        for c in range(4):
            values = self.x[:, c].astype(np.float64)
            variance = (values**2).mean() - values.mean() ** 2
            y[:, c] = (values - values.mean()) / np.sqrt(variance + eps)
        return y * self.weight + self.bias

    def by_stored(self, eps):
        return (self.x - self.mean) / np.sqrt(self.variance + eps) * self.weight + self.bias

    def test_segnets_uses_the_batch_in_both_phases(self):
        for phase in ("TEST", "TRAIN"):
            (y,) = run("type: 'BN'", self.x, blobs=[self.weight, self.bias], phase=phase)
            assert_close(y, self.by_batch(1e-9))

    def test_segnets_inference_mode_scales_and_shifts(self):
        layer = "type: 'BN' bn_param { bn_mode: INFERENCE }"
        (y,) = run(layer, self.x, blobs=[self.weight, self.bias])
        assert_close(y, self.x * self.weight + self.bias)

    @pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
    def test_deconvnets_mean_and_variance(self, phase):
        y, mean, variance = run("type: 'BN'", self.x, blobs=[self.weight, self.bias], tops=3, phase=phase)
        assert_close(y, self.by_batch(1e-9))
        each = [self.x[:, c].astype(np.float64) for c in range(4)]
        assert_close(mean, [[[[values.mean()]] for values in each]])
        assert_close(variance, [[[[((values - values.mean()) ** 2).mean()]] for values in each]])

    @pytest.mark.parametrize("param", ["bn_mode: INFERENCE", "eps: 0.3"])
    def test_only_a_mean_that_is_computed_is_a_top(self, param):
        blobs = [self.weight, self.bias, self.mean, self.variance][: 2 if "INFERENCE" in param else 4]
        with pytest.raises(UnsupportedLayer, match="makes one top"):
            run(f"type: 'BN' bn_param {{ {param} }}", self.x, blobs=blobs, tops=2)

    @pytest.mark.parametrize(
        ("param", "phase", "eps", "stored"),
        [
            ("eps: 0.3", "TEST", 0.3, True),
            ("eps: 0.3", "TRAIN", 0.3, False),
            ("frozen: true", "TRAIN", 1e-5, True),
            ("slope_filler { value: 1 }", "TEST", 1e-5, True),
            ("var_eps: 0.3 moving_average: true", "TEST", 0.3, True),
            ("var_eps: 0.3 moving_average: true", "TRAIN", 0.3, False),
            ("var_eps: 0.3 moving_average: false", "TEST", 0.3, False),
        ],
    )
    def test_statistics(self, param, phase, eps, stored):
        blobs = [self.weight, self.bias, self.mean, self.variance]
        (y,) = run(f"type: 'BN' bn_param {{ {param} }}", self.x, blobs=blobs, phase=phase)
        assert_close(y, self.by_stored(eps) if stored else self.by_batch(eps))

    @pytest.mark.parametrize(("param", "rate"), [("momentum: 0.8", 0.2), ("var_eps: 1e-4 decay: 0.3", 0.3)])
    def test_training_moves_the_stored_statistics(self, param, rate):
        blobs = [self.weight, self.bias, self.mean, self.variance]
        model = one_layer(f"type: 'BN' bn_param {{ {param} }}", [self.x.shape], 1, blobs, "TRAIN")
        model(torch.tensor(self.x))
        _, _, mean, variance = (blob.detach().numpy().ravel() for blob in model.blobs()["l"])
        values = self.x.transpose(1, 0, 2, 3).reshape(4, -1)
        assert_close(mean, (1 - rate) * self.mean.ravel() + rate * values.mean(1))
        assert_close(variance, (1 - rate) * self.variance.ravel() + rate * values.var(1))


def interpolated(x, height, width):
    """Corner pixels stay; each other one is mixed from the four around its place."""
    y = np.empty((*x.shape[:2], height, width))
    for row, column in itertools.product(range(height), range(width)):
        v = row * (x.shape[2] - 1) / (height - 1) if height > 1 else 0
        h = column * (x.shape[3] - 1) / (width - 1) if width > 1 else 0
        top, left = int(v), int(h)
        bottom, right = min(top + 1, x.shape[2] - 1), min(left + 1, x.shape[3] - 1)
        upper = x[:, :, top, left] * (1 - h + left) + x[:, :, top, right] * (h - left)
        lower = x[:, :, bottom, left] * (1 - h + left) + x[:, :, bottom, right] * (h - left)
        y[:, :, row, column] = upper * (1 - v + top) + lower * (v - top)
    return y


@pytest.mark.parametrize(
    ("param", "height", "width"),
    [
        ("zoom_factor: 3", 13, 19),
        ("shrink_factor: 2", 3, 4),
        ("shrink_factor: 2 zoom_factor: 4", 9, 13),
        ("height: 4 width: 11", 4, 11),
        ("height: 1 width: 1", 1, 1),
        # A lone factor goes before height and width, both factors go after them.
        ("height: 4 width: 11 zoom_factor: 2", 9, 13),
        ("height: 4 width: 11 zoom_factor: 2 shrink_factor: 2", 4, 11),
    ],
)
def test_interp(param, height, width):
    x = noise(2, 3, 5, 7)
    (y,) = run(f"type: 'Interp' interp_param {{ {param} }}", x)
    assert_close(y, interpolated(x, height, width))


def test_interp_crops_before():
    x = noise(2, 3, 6, 9)
    (y,) = run("type: 'Interp' interp_param { zoom_factor: 2 pad_beg: -2 pad_end: -1 }", x)
    assert_close(y, interpolated(x[:, :, 2:-1, 2:-1], 5, 11))


def unpooled(x, mask, height, width):
    y = np.zeros((*x.shape[:2], height * width))
    for n, c in np.ndindex(x.shape[:2]):
        for value, place in zip(x[n, c].ravel(), mask[n, c].ravel(), strict=True):
            y[n, c, int(place)] = value
    return y.reshape(*x.shape[:2], height, width)


@pytest.mark.parametrize(
    ("param", "height", "width"),
    [
        ("", 6, 8),
        ("scale: 3", 9, 12),
        ("scale_h: 2 scale_w: 3", 6, 12),
        ("upsample_h: 5 upsample_w: 7", 5, 7),
        ("pad_out_h: true", 5, 8),
        ("pad_out_w: true", 6, 7),
    ],
)
def test_upsample_undoes_a_pooling(param, height, width):
    x = noise(2, 3, 3, 4)
    mask = np.stack([rng.permutation(height * width)[:12] for _ in range(6)]).reshape(x.shape)
    (y,) = run(f"type: 'Upsample' upsample_param {{ {param} }}", x, mask)
    assert_close(y, unpooled(x, mask, height, width))


def test_upsample_of_a_place_named_twice_keeps_the_last():
    x, mask = noise(1, 2, 3, 4), rng.integers(0, 5, (1, 2, 3, 4))
    (y,) = run("type: 'Upsample'", x, mask)
    assert_close(y, unpooled(x, mask, 6, 8))


def test_upsample_without_a_mask_repeats_pixels():
    x = noise(2, 3, 4, 5)
    (y,) = run("type: 'Upsample' upsample_param { scale: 3 }", x)
    assert_close(
        y,
        [
            [[[x[n, c, i // 3, j // 3] for j in range(15)] for i in range(12)] for c in range(3)]
            for n in range(2)
        ],
    )


@pytest.mark.parametrize("pad", [0, 1])
def test_pooling_and_unpooling(pad):
    x = noise(2, 3, 7, 9)
    window = f"pooling_param {{ pool: MAX kernel_size: 3 stride: 2 pad: {pad} }}"
    y, mask = run(f"type: 'Pooling' {window}", x, tops=2)
    (undone,) = run(f"type: 'Unpooling' {window}", y, mask)
    assert_close(undone, unpooled(y, mask, 7, 9))
    assert set(undone[undone != 0]) == set(y.ravel())


@pytest.mark.parametrize(
    ("param", "height", "width"), [("unpool_size: 8", 8, 8), ("unpool_h: 7 unpool_w: 9", 7, 9)]
)
def test_deconvnets_unpooling_names_its_size(param, height, width):
    x = noise(2, 3, 3, 4)
    mask = np.stack([rng.permutation(height * width)[:12] for _ in range(6)]).reshape(x.shape)
    (y,) = run(f"type: 'Unpooling' unpooling_param {{ kernel_size: 2 stride: 2 {param} }}", x, mask)
    assert_close(y, unpooled(x, mask, height, width))


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        ("unpooling_param { unpool: TILE unpool_size: 8 }", "undoes only unpool: MAX"),
        ("unpooling_param { pad: 1 unpool_size: 8 }", "undoes only unpool: MAX, and no padding"),
        ("unpooling_param { kernel_size: 2 }", "needs unpool_size"),
        ("unpooling_param { unpool_size: 8 unpool_w: 8 }", "needs unpool_size"),
        ("unpooling_param { unpool_size: 8 } pooling_param { kernel_size: 2 }", "has both"),
    ],
)
def test_unpooling_refuses(param, reason):
    with pytest.raises(UnsupportedLayer, match=reason):
        run(f"type: 'Unpooling' {param}", noise(1, 2, 3, 4), np.zeros((1, 2, 3, 4)))


def test_shuffle_channel():
    x = noise(2, 6, 3, 4)
    (y,) = run("type: 'ShuffleChannel' shuffle_channel_param { group: 3 }", x)
    assert_close(y, x[:, [0, 2, 4, 1, 3, 5]])


@pytest.mark.parametrize("kind", ["ConvolutionDepthwise", "DepthwiseConvolution"])
def test_depthwise_convolution(kind):
    x, weight, bias = noise(2, 3, 5, 6), noise(3, 1, 3, 3), noise(3)
    expected = np.zeros((2, 3, 3, 3)) + bias.reshape(3, 1, 1)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for c, row, column, i, j in itertools.product(range(3), repeat=5):
        expected[:, c, row, column] += weight[c, 0, i, j] * padded[:, c, 2 * row + i, 2 * column + j]
    param = "num_output: 3 kernel_size: 3 stride: 2 pad: 1"
    for group in ("", "group: 3"):
        (y,) = run(f"type: '{kind}' convolution_param {{ {param} {group} }}", x, blobs=[weight, bias])
        assert_close(y, expected)


@pytest.mark.parametrize("axes", [2, 4])
def test_axpy(axes):
    factor, x, y = noise(2, 3), noise(2, 3, 4, 5), noise(2, 3, 4, 5)
    (top,) = run("type: 'Axpy'", factor.reshape(2, 3, *(1,) * (axes - 2)), x, y)
    assert_close(top, [[factor[n, c] * x[n, c] + y[n, c] for c in range(3)] for n in range(2)])


def test_relu6():
    (y,) = run("type: 'ReLU6'", [[-1.0, 0.5], [6.0, 7.25]])
    np.testing.assert_array_equal(y, [[0, 0.5], [6, 6]])


@pytest.mark.parametrize(("phase", "count"), [("TRAIN", 3), ("TEST", 7)])
def test_top_k(phase, count):
    x = noise(2, 3, 4)
    (y,) = run("type: 'TopK' topk_param { k: 3 a: 2.5 }", x, phase=phase)
    for ours, item in zip(y, x, strict=True):
        least = sorted(item.ravel())[-count]
        np.testing.assert_array_equal(ours, np.where(item >= least, item, 0))


def test_gather_on_one_machine():
    x, y = noise(2, 3), noise(4, 5)
    tops = run("type: 'Gather'", x, y, tops=2)
    np.testing.assert_array_equal(tops[0], x)
    np.testing.assert_array_equal(tops[1], y)


class TestColors:
    image = np.array(
        [[[200.0, 0, 13], [255, 0, 90]], [[10, 0, 7], [255, 0, 180]], [[90, 0, 5], [255, 0, 30]]]
    )
    """BGR or RGB, whole numbers with black, white and a dark color among them."""

    @staticmethod
    def linear(value):
        x = value / 255
        return x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4

    def lab(self, rgb, matrix, white, bend, slope):
        xyz = [sum(a * self.linear(v) for a, v in zip(row, rgb, strict=True)) for row in matrix]
        f = [x ** (1 / 3) if x > bend else slope * x + 16 / 116 for x in np.divide(xyz, white)]
        return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]

    def each(self, color, image):
        pixels = [[color(image[:, i, j]) for j in range(3)] for i in range(2)]
        return np.moveaxis(np.array(pixels), 2, 0)[None]

    def test_color_conv(self):
        matrix = [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
        outputs = {
            "RGB": lambda rgb: rgb,
            "BGR": lambda rgb: rgb[::-1],
            "Gray": lambda rgb: [np.dot(matrix[1], rgb)],
            "XYZ": lambda rgb: np.dot(matrix, [self.linear(v) for v in rgb]),
            "Lab": lambda rgb: self.lab(rgb, matrix, (0.95074, 1, 1.08883), 0.008867, 903.3 / 116),
        }
        for (given, order), (output, color) in itertools.product(
            {"RGB": slice(None), "BGR": slice(None, None, -1)}.items(), outputs.items()
        ):
            layer = f"type: 'ColorConv' color_conv_param {{ input: {given} output: {output} }}"
            (y,) = run(layer, self.image[None])
            assert_close(y, self.each(color, self.image[order]), 1e-5, f"{given} to {output}")

    def test_bgr_to_lab_in_python(self):
        matrix = [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
        layer = "type: 'Python' python_param { module: 'caffe_traininglayers' layer: 'BGR2LabLayer' }"
        (y,) = run(layer, self.image[None] + 0.75 * (self.image[None] < 255))
        expected = self.each(
            lambda bgr: self.lab(bgr[::-1], matrix, (0.95047, 1, 1.08883), 0.008856, 7.787), self.image
        )
        assert_close(y, expected)
        assert_close(y[0, :, 1, 0], [100, 0, 0], 1e-3, "white")


def test_crops():
    x = noise(3, 4, 9, 11)
    (y,) = run(
        "type: 'CropCenter' crop_center_param { crop_size: 0 crop_size: 1 crop_size: 2 crop_size: 3 }", x
    )
    np.testing.assert_array_equal(y, x[:, 1:3, 2:7, 3:8])
    (y,) = run("type: 'SimpleCrop'", x, noise(2, 1, 4, 5))
    np.testing.assert_array_equal(y, x[:, :, :4, :5])


@pytest.mark.parametrize("param", ["local_param", "local_weighted_convolution_param"])
def test_local_has_weights_of_its_own_for_each_place(param):
    kind = {"local_param": "Local"}.get(param, "LocalWeightedConvolution")
    x, weight, bias = noise(2, 3, 5, 7), noise(4, 1, 27, 12), noise(1, 1, 4, 12)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.empty((2, 4, 3, 4))
    for n, o, row, column in np.ndindex(*expected.shape):
        place, window = row * 4 + column, padded[n, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        expected[n, o, row, column] = np.dot(weight[o, 0, :, place], window.ravel()) + bias[0, 0, o, place]
    layer = f"type: '{kind}' {param} {{ num_output: 4 kernel_size: 3 stride: 2 pad: 1 }}"
    (y,) = run(layer, x, blobs=[weight, bias])
    assert_close(y, expected)


def test_spatial_pyramid_pooling_has_windows_of_whole_pixels():
    x = noise(2, 3, 13, 9)
    layer = "type: 'SpatialPyramidPooling' spatial_pyramid_pooling_param { spatial_bin: 1 spatial_bin: 6 }"
    (y,) = run(layer, x)
    # 13 // 6 = 2 rows make 7 windows, the last of one row of pixels; 9 // 6 = 1 column makes 9.
    small = [[x[:, :, 2 * row : 2 * row + 2, j].max(2) for j in range(9)] for row in range(7)]
    small = np.moveaxis(np.array(small), (0, 1), (2, 3))
    assert_close(y, np.concatenate([x.max((2, 3)), small.reshape(2, -1)], 1))


def test_lrn_map_is_within_the_channel():
    x = noise(2, 3, 5, 6)
    (y,) = run("type: 'LRNMap' lrn_map_param { local_size: 3 alpha: 0.8 beta: 0.6 }", x)
    assert_close(y, within_channel(x, 3, 0.8, 0.6))


@pytest.mark.parametrize("weights", [0, 1, 2])
@pytest.mark.parametrize("sigma", [1, 3])
def test_smooth_l1_loss(weights, sigma):
    values, targets, *weighing = (noise(4, 6) for _ in range(2 + weights))
    inside, outside = [*weighing, *[np.ones((4, 6))] * 2][:2]
    expected = 0.0
    for d, w in zip(((values - targets) * inside).ravel(), outside.ravel(), strict=True):
        expected += w * (0.5 * (sigma * d) ** 2 if abs(d) < 1 / sigma**2 else abs(d) - 0.5 / sigma**2)
    layer = f"type: 'SmoothL1Loss' smooth_l1_loss_param {{ sigma: {sigma} }}"
    (loss,) = run(layer, values, targets, *weighing, phase="TRAIN")
    assert math.isclose(loss, expected / 4, rel_tol=1e-5)


def test_continuation_indicator():
    (y,) = run("type: 'ContinuationIndicator' continuation_indicator_param { time_step: 4 batch_size: 3 }")
    np.testing.assert_array_equal(y, [[0, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]])
    layer = "type: 'ContinuationIndicator' continuation_indicator_param { time_step: 2 axis: 1 }"
    (y,) = run(layer, noise(5, 3, 2))
    np.testing.assert_array_equal(y, [[0, 0, 0], [1, 1, 1]])
