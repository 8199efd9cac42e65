"""FlowNet's layers against loops written from FlowNet 2's kernels (lmb-freiburg/flownet2, *.cu)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.single_layer import assert_close, run

rng = np.random.default_rng(13)


def noise(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("pad", "kernel", "reach", "stride_1", "stride_2"),
    [(2, 1, 2, 1, 1), (3, 1, 4, 1, 2), (2, 3, 2, 2, 1), (4, 3, 3, 1, 2)],
)
@pytest.mark.parametrize("kind", ["MULTIPLY", "SUBTRACT"])
def test_correlation(pad, kernel, reach, stride_1, stride_2, kind):
    a, b = noise(2, 3, 7, 9), noise(2, 3, 7, 9)
    padded_a, padded_b = (np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))) for x in (a, b))
    border = reach + kernel // 2
    height, width = (math.ceil((size + 2 * pad - 2 * border) / stride_1) for size in (7, 9))
    steps = range(-(reach // stride_2), reach // stride_2 + 1)
    expected = np.zeros((2, len(steps) ** 2, height, width))
    for (c, (dy, dx)), row, column in itertools.product(
        enumerate(itertools.product(steps, steps)), range(height), range(width)
    ):
        top, left = row * stride_1 + reach, column * stride_1 + reach
        for i, j in np.ndindex(kernel, kernel):
            one = padded_a[:, :, top + i, left + j]
            other = padded_b[:, :, top + i + dy * stride_2, left + j + dx * stride_2]
            alike = one * other if kind == "MULTIPLY" else np.abs(one - other)
            expected[:, c, row, column] += alike.sum(1) / (kernel**2 * 3)
    param = (
        f"pad: {pad} kernel_size: {kernel} max_displacement: {reach} "
        f"stride_1: {stride_1} stride_2: {stride_2} correlation_type: {kind}"
    )
    (y,) = run(f"type: 'Correlation' correlation_param {{ {param} }}", a, b)
    assert_close(y, expected)


@pytest.mark.parametrize(
    ("param", "fill"), [("", 0), ("fill_value: ZERO", 0), ("fill_value: NOT_A_NUMBER", np.nan)]
)
def test_flow_warp(param, fill):
    image, flow = noise(2, 3, 6, 8), noise(2, 2, 6, 8) * 3
    flow[0, :, 0, 0] = np.nan
    flow[0, :, 1, 1] = 0
    flow[1, :, 2, 3] = 8 - 3 - 0.25, 0.5  # between the last pixel and the edge
    expected = np.full(image.shape, fill, float)
    for n, row, column in np.ndindex(2, 6, 8):
        x, y = column + flow[n, 0, row, column], row + flow[n, 1, row, column]
        if 0 <= x < 8 and 0 <= y < 6:
            left, top = int(x), int(y)
            right, bottom = min(left + 1, 7), min(top + 1, 5)
            upper = image[n, :, top, left] * (1 - x + left) + image[n, :, top, right] * (x - left)
            lower = image[n, :, bottom, left] * (1 - x + left) + image[n, :, bottom, right] * (x - left)
            expected[n, :, row, column] = upper * (1 - y + top) + lower * (y - top)
    (warped,) = run(f"type: 'FlowWarp' flow_warp_param {{ {param} }}", image, flow)
    assert_close(warped, expected)
    assert 10 < (expected[:, 0] == fill).sum() + np.isnan(expected[:, 0]).sum() < 80


def test_channel_norm():
    x = noise(2, 3, 4, 5)
    (y,) = run("type: 'ChannelNorm'", x)
    assert_close(
        y, [[[[math.sqrt(sum(x[n, :, i, j] ** 2)) for j in range(5)] for i in range(4)]] for n in range(2)]
    )


def triangle(x):
    return max(0.0, 1 - abs(x))


def cubic(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resampled(x, height, width, kernel, antialias):
    scale = x.shape[3] / width
    squeeze = 1 / scale if antialias and scale > 1 else 1.0
    y = np.empty((*x.shape[:2], height, width))
    for row, column in np.ndindex(height, width):
        v, h = ((place + 0.5) * scale - 0.5 for place in (row, column))
        total, weights = 0.0, 0.0
        for i, j in np.ndindex(*x.shape[2:]):
            weight = kernel(squeeze * (v - i)) * kernel(squeeze * (h - j))
            total, weights = total + weight * x[:, :, i, j], weights + weight
        y[:, :, row, column] = total / weights
    return y


@pytest.mark.parametrize(("height", "width"), [(4, 6), (16, 24), (2, 3), (12, 18)])
@pytest.mark.parametrize(("kind", "kernel"), [("LINEAR", triangle), ("CUBIC", cubic)])
@pytest.mark.parametrize("antialias", [True, False])
def test_resample(height, width, kind, kernel, antialias):
    x = noise(2, 3, 8, 12)
    param = f"height: {height} width: {width} type: {kind} antialias: {str(antialias).lower()}"
    (y,) = run(f"type: 'Resample' resample_param {{ {param} }}", x)
    assert_close(y, resampled(x, height, width, kernel, antialias))


def test_resample_to_the_nearest_and_to_a_second_bottom():
    x = noise(2, 3, 4, 6)
    (y,) = run("type: 'Resample' resample_param { type: NEAREST }", x, noise(1, 1, 10, 15))
    places = [[math.floor((i + 0.5) * 0.4) for i in range(size)] for size in (10, 15)]
    assert_close(y, x[:, :, places[0]][:, :, :, places[1]])
    (y,) = run("type: 'Resample' resample_param { type: LINEAR }", x, noise(1, 1, 10, 15))
    assert_close(y, resampled(x, 10, 15, triangle, antialias=True))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_resample_by_a_factor_repeats_pixels(factor):
    x = noise(2, 3, 4, 6)
    (y,) = run(f"type: 'Resample' resample_param {{ type: NEAREST antialias: false factor: {factor} }}", x)
    assert_close(
        y,
        [
            [
                [[x[n, c, i // factor, j // factor] for j in range(6 * factor)] for i in range(4 * factor)]
                for c in range(3)
            ]
            for n in range(2)
        ],
    )


def test_resample_takes_a_factor_of_one_beside_another_size():
    x = noise(2, 3, 4, 6)
    (y,) = run("type: 'Resample' resample_param { type: NEAREST factor: 1 }", x, noise(1, 1, 8, 12))
    assert_close(y, x.repeat(2, 2).repeat(2, 3))


def downsampled(x, height, width):
    y = np.empty((*x.shape[:2], height, width))
    scales = (x.shape[2] - 1) / (height - 1), (x.shape[3] - 1) / (width - 1)
    for n, c, row, column in np.ndindex(*y.shape):
        total = weights = missing = 0.0
        for i, j in np.ndindex(*x.shape[2:]):
            weight = triangle(i / scales[0] - row) * triangle(j / scales[1] - column)
            if np.isnan(x[n, c, i, j]):
                missing += weight
            else:
                total, weights = total + weight * x[n, c, i, j], weights + weight
        y[n, c, row, column] = np.nan if missing > 0.5 * weights else total / weights
    return y


def test_downsample():
    x = noise(2, 3, 8, 12)
    expected = downsampled(x, 3, 5)
    assert_close(run("type: 'Downsample' downsample_param { top_height: 3 top_width: 5 }", x)[0], expected)
    assert_close(run("type: 'Downsample'", x, noise(2, 1, 3, 5))[0], expected)


def test_downsample_leaves_out_what_is_not_a_number():
    x = noise(1, 2, 8, 12)
    x[:, 0, :2, :2] = x[:, 1, 4, 6] = np.nan
    expected = downsampled(x, 3, 5)
    assert_close(run("type: 'Downsample' downsample_param { top_height: 3 top_width: 5 }", x)[0], expected)
    assert np.isnan(expected[:, 0]).any()
    assert not np.isnan(expected[:, 1]).any()


def test_accum():
    a, b, reference = noise(2, 3, 3, 4), noise(2, 1, 5, 2), noise(2, 7, 5, 10)
    (y,) = run("type: 'Accum' accum_param { have_reference: true }", a, b, reference)
    expected = np.empty((2, 4, 5, 10))
    for image, channels in ((a, slice(0, 3)), (b, slice(3, 4))):
        height, width = image.shape[2:]
        for row, column, i, j in np.ndindex(5, 10, height, width):
            if (i, j) == (0, 0):
                expected[:, channels, row, column] = 0
            weight = triangle(row * (height - 1) / 4 - i) * triangle(column * (width - 1) / 9 - j)
            expected[:, channels, row, column] += weight * image[:, :, i, j]
    assert_close(y, expected)
    (y,) = run("type: 'Accum'", a, a * 2)
    assert_close(y, np.concatenate([a, a * 2], 1))
