"""Layers with the names of a module's own attributes: built, written in every format, and checked."""

from __future__ import annotations

import numpy as np
import pytest

from caffe2torch.formats import export, formats, names
from caffe2torch.modules.caffe_net import build
from tests.nets import INPUT, net_of

TAKEN = [
    *("plan", "loss", "eval", "forward", "train", "inputs", "blobs", "every_blob", "training", "net"),
    *("_modules", "to", "type", "named", "state_dict", "parameters", "converter", "module", "flows"),
    *("__class__", "__dict__", "self", "load", "data.x"),
]
"""Names that Caffe allows a layer, and that mean something to torch, to CaffeNet or to a generated file."""


def stacked(layers):
    """A net of one convolution per name, each on top of the last."""
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


@pytest.mark.parametrize("kind", names())
def test_export(kind, tmp_path):
    """Each file is loaded afresh, read back and run; that is what `export` checks."""
    path = tmp_path / f"net{formats()[kind].suffixes[0]}"
    check = export(build(stacked(TAKEN)), path, kind, run=True)
    assert check is not None
    assert check.report.ok


def test_modes_and_states_pass_through_such_names():
    model = build(stacked(TAKEN))
    assert {f"{name}.weight" for name in TAKEN} <= set(model.state_dict())
    model.train()
    assert model.training
    assert all(layer.training for layer in model.children())
    model.eval().load_state_dict(model.state_dict())
    assert not model.training
