"""Every layer case that Caffe wrote, forward and backward, read and built as a user would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from caffe2torch.modules.caffe_net import build
from caffe2torch.net.reading import read
from tests.places import GOLDEN

CASES = sorted((GOLDEN / "layers").glob("*.prototxt"))
FORKS = sorted((GOLDEN / "forks").glob("*.prototxt"))
"""Written by a Caffe that has SSD's layers, see make.py there."""
FORWARD, GRADIENT = 1e-5, 1e-4
"""Relative errors allowed, ||ours - Caffe's|| / ||Caffe's||."""
MOVES_VALUES = (
    *("accuracy", "argmax", "batch_reindex", "concat", "crop", "filter", "flatten", "im2col", "pool_max"),
    *("reshape", "slice", "split", "threshold", "tile"),
)
"""Layers that count or move values, so that theirs are Caffe's to the bit."""


def test_no_case_is_lost():
    """At least the first ones are there, and each has its arrays."""
    assert len(CASES) >= 84
    assert len(FORKS) >= 13
    for folder, cases in (("layers", CASES), ("forks", FORKS)):
        assert [path.stem for path in cases] == sorted(path.stem for path in (GOLDEN / folder).glob("*.npz"))


@pytest.mark.parametrize("prototxt", CASES + FORKS, ids=lambda path: path.stem)
def test_layer(prototxt):
    weights, stored = prototxt.with_suffix(".caffemodel"), np.load(prototxt.with_suffix(".npz"))
    model = build(read(prototxt, weights if weights.exists() else None))
    inputs = {name: torch.from_numpy(stored[f"in.{name}"]).requires_grad_() for name in named(stored, "in")}
    blobs = model.every_blob(**inputs)
    check_outputs(prototxt, blobs, stored)
    if heads := named(stored, "gout"):
        torch.autograd.backward([blobs[n] for n in heads], [torch.tensor(stored[f"gout.{n}"]) for n in heads])
    for name in named(stored, "gin"):
        check(f"gradient of {name}", gradient(inputs[name]), stored[f"gin.{name}"], GRADIENT)
    parameters = model.blobs()
    for name in named(stored, "gparam"):
        layer, index = name.rsplit(".", 1)
        blob = parameters[layer][int(index)]
        check(f"gradient of {name}", gradient(blob), stored[f"gparam.{name}"], GRADIENT)


@pytest.mark.parametrize("prototxt", CASES + FORKS, ids=lambda path: path.stem)
def test_layer_whose_inputs_have_no_shapes(prototxt):
    """As in the net of a training, whose data layers tell no shapes: the numbers are Caffe's all the same."""
    weights, stored = prototxt.with_suffix(".caffemodel"), np.load(prototxt.with_suffix(".npz"))
    net = read(prototxt, weights if weights.exists() else None)
    layers = [replace(layer, fields=layer.fields.replace(input_param=None)) for layer in net.layers]
    model = build(replace(net, layers=tuple(layers)))
    with torch.no_grad():
        blobs = model.every_blob(**{x: torch.tensor(stored[f"in.{x}"]) for x in named(stored, "in")})
    check_outputs(prototxt, blobs, stored)


def check_outputs(prototxt, blobs, stored):
    outputs = named(stored, "out")
    assert outputs
    for name in outputs:
        allowed = 0.0 if prototxt.stem.startswith(MOVES_VALUES) else FORWARD
        check(name, blobs[name], stored[f"out.{name}"], allowed)


def named(stored, kind):
    return [key.partition(".")[2] for key in stored if key.startswith(f"{kind}.")]


def gradient(blob):
    """The gradient, zeros where none arrived: Caffe gives the size that Crop only looks at zeros."""
    return torch.zeros_like(blob) if blob.grad is None else blob.grad


def check(name, ours, caffe, allowed):
    ours = ours.detach().numpy()
    assert ours.shape == caffe.shape, f"{name}: shape {ours.shape}, Caffe's is {caffe.shape}"
    assert np.isfinite(ours).all(), f"{name}: not finite"
    delta = np.abs(ours.astype(np.float64) - caffe)
    error = np.linalg.norm(delta) / max(np.linalg.norm(caffe.astype(np.float64)), 1e-30)
    where = np.unravel_index(delta.argmax(), delta.shape)
    assert error <= allowed, (
        f"{name}: relative error {error:.2e}, allowed {allowed:.0e}; max |delta| {delta.max():.2e} "
        f"at {tuple(map(int, where))}, ours {ours[where]:.7g}, Caffe's {caffe[where]:.7g}"
    )
