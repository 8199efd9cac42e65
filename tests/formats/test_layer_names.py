"""Layers with the names of a module's own attributes: built, written in every format, and checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffe2torch.formats import export, formats, names
from caffe2torch.modules.caffe_net import CaffeNet, build
from caffe2torch.net.reading import read
from tests.nets import INPUT, net_of

TAKEN = sorted(
    {"plan", "loss", "eval", "forward", "train", "inputs", "blobs", "every_blob", "training", "_modules", "to", "named", "net"}
    | {"state_dict", "parameters", "converter", "module", "flows", "type", "__class__", "__dict__", "self", "load", "data.x"}
)
"""Names that Caffe allows a layer, and that mean something to torch, to CaffeNet or to a generated file."""


def stacked(layers):
    """A net of one convolution per name, each on top of the last, and a PReLU called like its method."""
    bottoms = ["data", *(f"y{i}" for i in range(len(layers) - 1))]
    rng = np.random.default_rng(2)
    text, blobs = INPUT, {}
    for i, (name, bottom) in enumerate(zip(layers, bottoms, strict=True)):
        text += (
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "y{i}" '
            "convolution_param { num_output: 3 kernel_size: 1 } }"
        )
        blobs[name] = [rng.standard_normal((3, 3, 1, 1)), rng.standard_normal(3)]
    return net_of(text, **blobs)


@pytest.mark.parametrize("format", names())  # noqa: A002
def test_export(format, tmp_path):
    model = build(stacked(TAKEN))
    path = tmp_path / f"net{formats()[format].suffixes[0]}"
    check = export(model, path, format, run=True)
    assert check is not None
