"""Layers that convolutions do with other weights: the numbers of the whole net, by fewer layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.blob import Blob
from caffe2torch.inference.folding import folded
from caffe2torch.net import Net
from caffe2torch.plan import plan
from tests.nets import INPUT, net_of

CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
    "convolution_param { num_output: 6 kernel_size: 3 group: 3 bias_term: false } }"
)
BIASED = CONV.replace("bias_term: false", "")
NORM = 'layer { name: "n" type: "BatchNorm" bottom: "c" top: "c" }'
SCALE = 'layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }'
APART = NORM.replace('top: "c"', 'top: "n"') + SCALE.replace('"c"', '"n"')
RELU = 'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }'
BIAS = 'layer { name: "b" type: "Bias" bottom: "c" top: "c" }'
OWN = NORM.replace("}", "batch_norm_param { use_global_stats: false } }")
TWICE = 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "n" top: "e" }'
NAMED = BIASED.replace("convolution_param", 'param { name: "w" } param { name: "b" } convolution_param')
SHARED = NAMED.replace('"c"', '"d"') + NAMED


def with_values(net: Net) -> Net:
    """The net with values for all its blobs; a BatchNorm's variances are positive."""
    draw = np.random.default_rng(0)
    blobs: dict[str, tuple[Blob, ...]] = {}
    for step in plan(net).steps:
        shapes = [[size or 1 for size in parameter.shape] for parameter in step.parameters]
        values = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
        if step.layer.type == "BatchNorm":
            values = [values[0], np.abs(values[1]), np.array([2], np.float32)]
        blobs[step.layer.name] = tuple(map(Blob.of, values))
    layers = (replace(layer, blobs=blobs.get(layer.name, ())) for layer in net.layers)
    return replace(net, layers=tuple(layers), weights="net.caffemodel")


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        (CONV + NORM + SCALE + RELU, "c r"),
        (BIASED + NORM + SCALE, "c"),
        (BIASED + APART, "c"),
        (CONV + SCALE + BIAS, "c"),
        (CONV + NORM + RELU + SCALE, "c r s"),
        (CONV + OWN + SCALE, "c n s"),
        (CONV + APART + TWICE, "c n s e"),
        (CONV.replace("bias_term", "relu: true bias_term") + NORM, "c n"),
        (RELU.replace('"c"', '"data"') + NORM.replace('"c"', '"data"'), "r n"),
        (SHARED + NORM, "d c n"),
        (CONV + SCALE.replace("bias_term: true", "axis: 2"), "c s"),
        (CONV + SCALE.replace("bias_term: true", "num_axes: 0"), "c s"),
    ],
)
def test_what_is_folded_gives_the_same_numbers(layers: str, left: str) -> None:
    net = with_values(net_of(INPUT + layers))
    model = c2t.build(net).eval()
    image = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3, 8, 11)).astype(np.float32))
    fast = c2t.optimize(model)
    assert [key for key in fast.kernels if key != "data"] == left.split()
    with torch.no_grad():
        wanted = model(data=image)
    found = fast(data=image)
    assert found.keys() == wanted.keys()
    for name, top in wanted.items():
        assert torch.linalg.vector_norm(found[name] - top) < 2e-6 * torch.linalg.vector_norm(top)


def test_volumes_with_an_axis_that_counts_from_the_last() -> None:
    volumes = INPUT.replace("dim: 11", "dim: 11 dim: 7")
    scale = SCALE.replace("bias_term: true", "bias_term: true axis: -4")
    whole = plan(with_values(net_of(volumes + BIASED + scale)))
    values = {parameter.key: parameter.read() for parameter in whole.parameters()}
    _, step = folded(whole).steps
    weight, bias = (parameter.read() for parameter in step.parameters)
    factor = values["s.weight"].reshape(6, 1, 1, 1, 1)
    np.testing.assert_allclose(weight, values["c.weight"] * factor, rtol=1e-6)
    np.testing.assert_allclose(bias, values["c.bias"] * values["s.weight"] + values["s.bias"], rtol=1e-5)
