"""Layers over random legal parameters, against slow loops written from Caffe's arithmetic."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caffe2torch.errors import UnsupportedLayer
from tests.single_layer import arrays, assert_close, axes_of, each, few, ints, one_layer, run, shapes

FLT_MAX = float(np.finfo(np.float32).max)

# Windows


@st.composite
def windows(draw):
    """Image, kernel, stride and pad; the kernel may be larger than the image."""
    image = tuple(draw(st.permutations(range(1, 9)))[:2])
    kernel, stride = ([draw(ints(1, 4)) for _ in image] for _ in range(2))
    return image, kernel, stride, [draw(ints(0, size - 1)) for size in kernel]


def pooled_size(size, kernel, stride, pad, ceil, padded):
    steps = (size + 2 * pad - kernel) / stride
    count = (math.ceil(steps) if ceil else math.floor(steps)) + 1
    return count - (padded and (count - 1) * stride >= size + pad)


def pool(x, kernel, stride, pad, places, method):
    """Pooled values, and for MAX where each came from."""
    height, width = x.shape[2:]
    y, mask = np.empty((*x.shape[:2], *places)), np.empty((*x.shape[:2], *places))
    for n, c, i, j in np.ndindex(y.shape):
        top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
        bottom, right = top + kernel[0], left + kernel[1]
        count = (min(bottom, height + pad[0]) - top) * (min(right, width + pad[1]) - left)
        best, at, total = -FLT_MAX, -1, np.float64(0)
        for r, s in product(range(max(top, 0), min(bottom, height)), range(max(left, 0), min(right, width))):
            total += x[n, c, r, s]
            if x[n, c, r, s] > best:
                best, at = x[n, c, r, s], r * width + s
        with np.errstate(invalid="ignore"):
            y[n, c, i, j] = best if method == "MAX" else total / count
        mask[n, c, i, j] = at
    return y, mask


methods = st.sampled_from(["MAX", "AVE"])


@settings(few, max_examples=200)
@given(st.data(), windows(), methods, st.booleans(), st.booleans())
def test_pooling(data, window, method, ceil, wants_mask):
    image, kernel, stride, pad = window
    places = [pooled_size(*sizes, ceil, any(pad)) for sizes in zip(*window, strict=True)]
    assume(min(places) > 0)
    x = data.draw(arrays((2, 3, *image)))
    y, mask = pool(x, kernel, stride, pad, places, method)
    layer = (
        f"type: 'Pooling' pooling_param {{ pool: {method} round_mode: {'CEIL' if ceil else 'FLOOR'} "
        f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} stride_w: {stride[1]} "
        f"pad_h: {pad[0]} pad_w: {pad[1]} }}"
    )
    ours = run(layer, x, tops=2 if wants_mask and method == "MAX" else 1)
    assert_close(ours[0], y)
    if len(ours) == 2:
        np.testing.assert_array_equal(ours[1], mask)


@pytest.mark.parametrize("method", ["AVE", "MAX"])
def test_a_stride_far_over_the_image_takes_no_memory(method):
    """Padding up to the windows beyond the image would take terabytes. The numbers are Caffe's, too."""
    x, kernel, stride = np.arange(256.0).reshape(1, 1, 16, 16), (3, 3), (1_000_000, 1_000_000)
    y, mask = pool(x, kernel, stride, (0, 0), (2, 2), method)
    fields = f"pool: {method} kernel_size: 3 stride: 1000000"
    ours = run(f"type: 'Pooling' pooling_param {{ {fields} }}", x, tops=2 if method == "MAX" else 1)
    assert_close(ours[0], y)
    assert y.ravel()[0] == (17 if method == "AVE" else 34)
    if method == "MAX":
        np.testing.assert_array_equal(ours[1], mask)
        assert mask.ravel().tolist() == [34, -1, -1, -1]


@pytest.mark.parametrize("method", ["AVE", "MAX"])
def test_a_kernel_far_over_the_image_takes_no_memory(method):
    """Its one window is the image: the other pixels that it spans would take 16 TB."""
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    fields = f"pool: {method} kernel_size: 2000000 stride: 2000000"
    ours = run(f"type: 'Pooling' pooling_param {{ {fields} }}", x, tops=2 if method == "MAX" else 1)
    assert_close(ours[0], [[[[x.mean() if method == "AVE" else 11]]]])
    if method == "MAX":
        np.testing.assert_array_equal(ours[1], [[[[11]]]])


@few
@given(st.data(), shapes(4, 4), methods)
def test_global_pooling(data, shape, method):
    x = data.draw(arrays(shape))
    y, mask = pool(x, shape[2:], (1, 1), (0, 0), (1, 1), method)
    layer = f"type: 'Pooling' pooling_param {{ pool: {method} global_pooling: true }}"
    ours = run(layer, x, tops=2 if method == "MAX" else 1)
    assert_close(ours[0], y)
    assert_close(run(layer, x)[0], y)
    if method == "MAX":
        np.testing.assert_array_equal(ours[1], mask)


@few
@given(st.data(), st.permutations(range(1, 10)), ints(1, 3), methods)
def test_spatial_pyramid_pooling(data, sizes, levels, method):
    x = data.draw(arrays((2, 3, *sizes[:2])))
    parts = []
    for bins in (2**level for level in range(levels)):
        kernel = [math.ceil(size / bins) for size in sizes[:2]]
        pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, sizes, strict=False)]
        assume(all(p < k for p, k in zip(pad, kernel, strict=True)))
        parts.append(pool(x, kernel, kernel, pad, (bins, bins), method)[0].reshape(2, -1))
    (y,) = run(f"type: 'SPP' spp_param {{ pyramid_height: {levels} pool: {method} }}", x)
    assert_close(y, np.concatenate(parts, 1) if levels > 1 else parts[0].reshape(2, 3, 1, 1))


@st.composite
def kernels(draw, transposed=False):
    """A bottom with its leading axes, weight, bias or none, window and group, and the layer's parameters."""
    axes, group, lead = draw(ints(1, 3)), draw(ints(1, 3)), draw(st.sampled_from([(), (2,), (2,), (2, 3)]))
    inputs, outputs = (group * draw(ints(1, 2)) for _ in range(2))
    kernel, stride = ([draw(ints(1, 3)) for _ in range(axes)] for _ in range(2))
    dilation = [draw(ints(1, 2)) for _ in kernel]
    pad = [draw(ints(0, size - 1)) for size in kernel]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    least = [1 + 2 * p if transposed else size for size, p in zip(reach, pad, strict=True)]
    image = [size + i + draw(ints(0, 1)) for i, size in enumerate(least)]
    ends = (inputs, outputs // group) if transposed else (outputs, inputs // group)
    x, weight = draw(arrays((*lead, inputs, *image))), draw(arrays((*ends, *kernel)))
    bias = draw(st.none() | arrays((outputs,)))
    axis = draw(st.sampled_from([len(lead), -axes - 1]))
    p = f"num_output: {outputs} group: {group} axis: {axis} bias_term: {'false' if bias is None else 'true'}"
    p += f" {each('kernel_size', kernel)} {each('stride', stride)} "
    p += f"{each('dilation', dilation)} {each('pad', pad)}"
    return x, weight, bias, (stride, dilation, pad), group, p


def slid(sizes, kernel, window):
    """How many places a kernel has, per axis."""
    steps = zip(sizes, kernel, *window, strict=True)
    return [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, d, p in steps]


def convolve(x, weight, window, group):
    outputs, inputs, *kernel = weight.shape
    y = np.zeros((outputs, *slid(x.shape[1:], kernel, window)))
    for o, *place in np.ndindex(y.shape):
        for c, *at in np.ndindex(inputs, *kernel):
            pixel = [i * s - p + k * d for i, k, s, d, p in zip(place, at, *window, strict=True)]
            if all(0 <= i < size for i, size in zip(pixel, x.shape[1:], strict=True)):
                channel = o // (outputs // group) * inputs + c
                y[(o, *place)] += np.float64(x[(channel, *pixel)]) * weight[(o, c, *at)]
    return y


def deconvolve(x, weight, window, group):
    inputs, outputs, *kernel = weight.shape
    sizes = [
        s * (size - 1) + d * (k - 1) + 1 - 2 * p
        for size, k, s, d, p in zip(x.shape[1:], kernel, *window, strict=True)
    ]
    y = np.zeros((outputs * group, *sizes))
    for c, *pixel in np.ndindex(x.shape):
        for o, *at in np.ndindex(outputs, *kernel):
            place = [i * s - p + k * d for i, k, s, d, p in zip(pixel, at, *window, strict=True)]
            if all(0 <= i < size for i, size in zip(place, sizes, strict=True)):
                channel = c // (inputs // group) * outputs + o
                y[(channel, *place)] += np.float64(x[(c, *pixel)]) * weight[(c, o, *at)]
    return y


def check_convolution(kind, loops, case):
    x, weight, bias, window, group, p = case
    lead = x.shape[: 1 - weight.ndim]
    y = np.stack([loops(item, weight, window, group) for item in x.reshape(-1, *x.shape[len(lead) :])])
    if bias is not None:
        y += bias.reshape(-1, *(1,) * (weight.ndim - 2))
    blobs = [weight] if bias is None else [weight, bias]
    (ours,) = run(f"type: '{kind}' convolution_param {{ {p} }}", x, blobs=blobs)
    assert_close(ours, y.reshape(*lead, *y.shape[1:]))


@few
@given(kernels())
def test_convolution(case):
    check_convolution("Convolution", convolve, case)


@few
@given(kernels(transposed=True))
def test_deconvolution(case):
    check_convolution("Deconvolution", deconvolve, case)


@few
@given(kernels())
def test_im2col(case):
    x, weight, _, window, _, p = case
    (ours,) = run(f"type: 'Im2col' convolution_param {{ {p} }}", x)
    lead, kernel = x.shape[: 1 - weight.ndim], weight.shape[2:]
    channels = x.shape[len(lead)] * math.prod(kernel)
    assert ours.shape == (*lead, channels, *slid(x.shape[len(lead) + 1 :], kernel, window))
    for index in np.ndindex(ours.shape):
        item, channel, place = index[: len(lead)], index[len(lead)], index[len(lead) + 1 :]
        channel, *at = np.unravel_index(channel, (x.shape[len(lead)], *kernel))
        pixel = [i * s - p + k * d for i, k, s, d, p in zip(place, at, *window, strict=True)]
        inside = all(0 <= i < size for i, size in zip(pixel, x.shape[len(lead) + 1 :], strict=True))
        assert ours[index] == (x[(*item, channel, *pixel)] if inside else 0), index


def test_im2col_of_a_smaller_image_than_planned():
    net = one_layer("type: 'Im2col' convolution_param { kernel_size: 3 }", [(1, 2, 5, 4)])
    with pytest.raises(UnsupportedLayer, match=r"\(1, 2, 2, 4\) is too small for the kernel"):
        net(torch.zeros(1, 2, 2, 4))


# Normalization


@few
@given(st.data(), shapes(4, 4), st.sampled_from([1, 3, 5]), st.booleans())
def test_lrn(data, shape, size, within):
    x, half = data.draw(arrays(shape)), size // 2
    alpha, beta, k = (data.draw(st.sampled_from(options)) for options in ([0.5, 2], [0.25, 0.75], [1, 2.5]))
    y = np.empty(shape)
    for n, c, i, j in np.ndindex(shape):
        if within:
            near = x[n, c, max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1]
            scale = 1 + alpha / size**2 * np.square(near, dtype=np.float64).sum()
        else:
            near = x[n, max(c - half, 0) : c + half + 1, i, j]
            scale = k + alpha / size * np.square(near, dtype=np.float64).sum()
        y[n, c, i, j] = x[n, c, i, j] * scale**-beta
    region = "WITHIN_CHANNEL" if within else "ACROSS_CHANNELS"
    p = f"local_size: {size} alpha: {alpha} beta: {beta} k: {k} norm_region: {region}"
    (ours,) = run(f"type: 'LRN' lrn_param {{ {p} }}", x)
    assert_close(ours, y)


@few
@given(st.data(), shapes(3, 5), st.booleans(), st.booleans())
def test_mvn(data, shape, across, variance):
    x, y = data.draw(arrays(shape)), np.empty(shape)
    for index in np.ndindex(shape[: 1 if across else 2]):
        item = x[index].astype(np.float64)
        y[index] = item - item.mean()
        if variance:
            y[index] /= np.sqrt(np.square(y[index]).mean()) + 0.125
    p = f"across_channels: {str(across).lower()} normalize_variance: {str(variance).lower()} eps: 0.125"
    (ours,) = run(f"type: 'MVN' mvn_param {{ {p} }}", x)
    assert_close(ours, y)


@few
@given(st.data(), shapes())
def test_softmax(data, shape):
    x, (axis, given_axis) = data.draw(arrays(shape)), data.draw(axes_of(shape))
    y = np.empty(shape)
    for index in np.ndindex(shape):
        line = x[(*index[:axis], slice(None), *index[axis + 1 :])].astype(np.float64)
        y[index] = np.exp(x[index]) / sum(math.exp(value) for value in line)
    (ours,) = run(f"type: 'Softmax' softmax_param {{ axis: {given_axis} }}", x)
    assert_close(ours, y)


# Operands


@few
@given(st.data(), shapes(), st.sampled_from(["Scale", "Bias"]), st.booleans(), st.booleans())
def test_scale_and_bias(data, shape, kind, learned, shifted):
    x, (axis, given_axis) = data.draw(arrays(shape)), data.draw(axes_of(shape))
    axes = data.draw(ints(0, len(shape) - axis))
    operand = data.draw(arrays(shape[axis : axis + axes]))
    shift = data.draw(arrays(operand.shape)) if kind == "Scale" and shifted else None
    y = np.empty(shape)
    for index in np.ndindex(shape):
        at = index[axis : axis + axes]
        y[index] = x[index] * operand[at] if kind == "Scale" else x[index] + operand[at]
        y[index] += 0 if shift is None else shift[at]
    num_axes = -1 if axes == len(shape) - axis and data.draw(st.booleans()) else axes
    p = f"axis: {given_axis} num_axes: {num_axes}" + (" bias_term: true" if shift is not None else "")
    blobs = ([operand] if learned else []) + ([] if shift is None else [shift])
    bottoms = (x,) if learned else (x, operand)
    (ours,) = run(f"type: '{kind}' {kind.lower()}_param {{ {p} }}", *bottoms, blobs=blobs)
    assert_close(ours, y)


@few
@given(st.data(), shapes(), st.sampled_from(["SUM", "PROD", "MAX"]), ints(1, 4), st.booleans())
def test_eltwise(data, shape, operation, bottoms, weighted):
    assume(bottoms > 1 or operation == "SUM")
    xs = [data.draw(arrays(shape)) for _ in range(bottoms)]
    coeff = [1.0] * bottoms
    if operation != "PROD" and weighted:
        coeff = [data.draw(st.sampled_from([-2.0, 0.0, 0.5, 3.0])) for _ in xs]
    y = np.empty(shape)
    for index in np.ndindex(shape):
        # Caffe takes coeff with MAX, too, and does nothing with it (eltwise_layer.cpp).
        factors = coeff if operation == "SUM" else [1.0] * bottoms
        row = [c * float(x[index]) for c, x in zip(factors, xs, strict=True)]
        y[index] = {"SUM": sum, "PROD": math.prod, "MAX": max}[operation](row)
    p = f"operation: {operation} {each('coeff', coeff) if coeff != [1.0] * bottoms else ''}"
    (ours,) = run(f"type: 'Eltwise' eltwise_param {{ {p} }}", *xs)
    assert_close(ours, y)


@few
@given(st.data(), shapes(), st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"]))
def test_reduction(data, shape, operation):
    x, (axis, given_axis) = data.draw(arrays(shape)), data.draw(axes_of(shape))
    y = np.zeros(shape[:axis])
    for index in np.ndindex(shape):
        value = float(x[index])
        y[index[:axis]] += {"ASUM": abs(value), "SUMSQ": value**2}.get(operation, value)
    y = y * -1.5 / (math.prod(shape[axis:]) if operation == "MEAN" else 1)
    p = f"operation: {operation} axis: {given_axis} coeff: -1.5"
    (ours,) = run(f"type: 'Reduction' reduction_param {{ {p} }}", x)
    assert_close(ours, y)


@few
@given(
    st.data(), shapes(1, 5), st.booleans(), st.sampled_from([None, False, True]), st.sampled_from([0.0, 4.0])
)
def test_batch_norm(data, shape, training, global_stats, factor):
    """The batch's statistics in TRAIN, the stored ones over their factor in TEST or when told so."""
    x, channels = data.draw(arrays(shape)), shape[1] if len(shape) > 1 else 1
    stored = data.draw(arrays((channels,))), data.draw(arrays((channels,))) + 2
    p = "eps: 0.25 moving_average_fraction: 0.5"
    p += "" if global_stats is None else f" use_global_stats: {str(global_stats).lower()}"
    uses_stored = (not training) if global_stats is None else global_stats
    y, moved = np.empty(shape), [stored[0].copy(), stored[1].copy(), factor]
    for channel in range(channels):
        at = (slice(None), channel) if len(shape) > 1 else slice(None)
        values = x[at].astype(np.float64)
        mean, variance = values.mean(), np.square(values - values.mean()).mean()
        if uses_stored:
            mean, variance = (float(s[channel]) / factor if factor else 0.0 for s in stored)
        else:
            moved[0][channel] = 0.5 * stored[0][channel] + mean
            moved[1][channel] = 0.5 * stored[1][channel] + variance * values.size / max(1, values.size - 1)
            moved[2] = 0.5 * factor + 1
        y[at] = (values - mean) / math.sqrt(variance + 0.25)
    layer, blobs = f"type: 'BatchNorm' batch_norm_param {{ {p} }}", [*stored, np.array([factor])]
    model = one_layer(layer, [shape], blobs=blobs, phase="TRAIN" if training else "TEST")
    assert_close(model(torch.from_numpy(x))["y0"].numpy(), y)
    for name, ours, value in zip(("mean", "variance", "factor"), model.blobs()["l"], moved, strict=True):
        assert_close(ours.numpy(), np.reshape(value, ours.shape), name=name)


@few
@given(st.data(), shapes(), st.booleans(), st.booleans())
def test_inner_product(data, shape, transposed, biased):
    x, (axis, given_axis) = data.draw(arrays(shape)), data.draw(axes_of(shape))
    inputs, outputs = math.prod(shape[axis:]), 3
    weight, bias = data.draw(arrays((outputs, inputs))), data.draw(arrays((outputs,)))
    y = np.zeros((*shape[:axis], outputs))
    for index in np.ndindex(y.shape):
        for k, value in enumerate(x[index[:-1]].ravel()):
            y[index] += np.float64(value) * weight[index[-1], k]
        y[index] += bias[index[-1]] if biased else 0
    p = f"num_output: {outputs} axis: {given_axis} bias_term: {str(biased).lower()}"
    p += f" transpose: {str(transposed).lower()}"
    blobs = [weight.T if transposed else weight, bias][: 1 + biased]
    (ours,) = run(f"type: 'InnerProduct' inner_product_param {{ {p} }}", x, blobs=blobs)
    assert_close(ours, y)
