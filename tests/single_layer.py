"""Nets of one layer, run on arrays, random shapes and arrays for them, and how far numbers are apart."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

from caffe2torch.modules.caffe_net import build
from tests.nets import net_of

few = settings(max_examples=40, deadline=None, derandomize=True)
ints = st.integers


@st.composite
def arrays(draw, shape):
    """Float32 numbers from -1.5 to 1.7, in random order, none of them twice."""
    rng = np.random.default_rng(draw(ints(0, 2**32)))
    return rng.permutation(np.linspace(-1.5, 1.7, math.prod(shape), dtype=np.float32)).reshape(shape)


def shapes(low=1, high=5):
    """Axes that all differ."""
    return st.permutations([2, 3, 4, 5, 1]).flatmap(
        lambda sizes: ints(low, high).map(lambda axes: tuple(sizes[:axes]))
    )


@st.composite
def axes_of(draw, shape):
    """An axis of a shape, from 0, and as it may be given: from the front or from the back."""
    axis = draw(ints(0, len(shape) - 1))
    return axis, draw(st.sampled_from([axis, axis - len(shape)]))


def each(name, sizes):
    return " ".join(f"{name}: {size}" for size in sizes)


def one_layer(layer: str, shapes, tops: int = 1, blobs=(), phase: str = "TEST"):
    """The model of one layer `l`, with inputs x0, x1, … of these shapes and tops y0, y1, …."""
    inputs = "".join(
        f'layer {{ name: "x{i}" type: "Input" top: "x{i}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {size}' for size in shape)} }} }} }}\n"
        for i, shape in enumerate(shapes)
    )
    ends = [f'bottom: "x{i}"' for i in range(len(shapes))] + [f'top: "y{i}"' for i in range(tops)]
    text = f'{inputs} layer {{ name: "l" {" ".join(ends)} {layer} }}'
    return build(net_of(text, **({"l": list(blobs)} if len(blobs) else {})), phase)


def run(layer: str, *bottoms, blobs=(), tops: int = 1, phase: str = "TEST"):
    """The tops of one layer as arrays."""
    model = one_layer(layer, [np.shape(x) for x in bottoms], tops, blobs, phase)
    with torch.no_grad():
        outputs = model(*(torch.tensor(x, dtype=torch.float32) for x in bottoms))
    return [outputs[f"y{i}"].numpy() for i in range(tops)]


def backward(layer: str, *bottoms, gradients, blobs=(), phase: str = "TEST"):
    """The gradients at the bottoms and at the blobs, None where none arrives, from those at the tops."""
    model = one_layer(layer, [np.shape(x) for x in bottoms], len(gradients), blobs, phase)
    inputs = [torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in bottoms]
    outputs = model(*inputs)
    heads = [torch.tensor(gradient, dtype=torch.float32) for gradient in gradients]
    torch.autograd.backward([outputs[f"y{i}"] for i in range(len(heads))], heads)
    tensors = inputs, model.blobs().get("l", [])
    return tuple([None if t.grad is None else t.grad.numpy() for t in group] for group in tensors)


def assert_close(ours, expected, allowed: float = 1e-5, name: str = "top"):
    """Shapes equal, ||ours - expected|| / ||expected|| within `allowed`, NaN where NaN is expected."""
    expected = np.asarray(expected, np.float64)
    assert ours.shape == expected.shape, f"{name}: shape {ours.shape}, expected {expected.shape}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(ours[~finite], expected[~finite], err_msg=name)
    delta = np.where(finite, np.abs(ours - np.where(finite, expected, 0)), 0)
    error = np.linalg.norm(delta) / max(np.linalg.norm(expected[finite]), 1e-3)
    where = np.unravel_index(delta.argmax(), delta.shape) if delta.size else ()
    assert error <= allowed, (
        f"{name}: relative error {error:.2e}, allowed {allowed:.0e}; max |delta| {delta.max():.2e} "
        f"at {tuple(map(int, where))}, ours {ours[where]:.7g}, expected {expected[where]:.7g}"
    )


def within_channel(x, size, alpha, beta):
    """LRN within a channel, pixel by pixel."""
    y, half = np.empty_like(x), size // 2
    for n, c, row, column in np.ndindex(*x.shape):
        square = x[n, c, max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] ** 2
        y[n, c, row, column] = x[n, c, row, column] * (1 + alpha * square.sum() / size**2) ** -beta
    return y
