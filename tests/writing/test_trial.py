"""What a net is tried with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffe2torch as c2t
from caffe2torch.net.preprocessing import Preprocessing
from caffe2torch.writing.model import model_of

EXP = """
    input: 'data' input_shape { dim: 1 dim: 3 dim: 5 dim: 6 }
    layer { name: 'e' type: 'Exp' bottom: 'data' top: 'e' }
"""


@pytest.mark.parametrize(
    ("known", "least", "most"),
    [
        (Preprocessing(), 0, 1),  # e^255 is over what float32 holds
        (Preprocessing(scale=3e38), 0, 1),
        (Preprocessing(scale=0), 0, 1),
        (Preprocessing(mean=(250,)), -250, 5),
        (Preprocessing(scale=1 / 4), 0, 255 / 4),
    ],
)
def test_images_for_which_there_are_no_finite_outputs_show_nothing(
    tmp_path: Path, known: Preprocessing, least: float, most: float
) -> None:
    (tmp_path / "net.prototxt").write_text(EXP)
    model = c2t.build(c2t.read(tmp_path / "net.prototxt"))
    model.preprocessing = {"data": known}
    for trial in model_of(model).trials.trials:
        values, outputs = trial.inputs["data"], trial.outputs["e"]
        assert np.isfinite(outputs).all()
        assert least <= values.min() < values.max() <= most
        assert np.ptp(values) > (most - least) / 2, f"from {values.min()} to {values.max()}"


def test_a_net_without_outputs_passes(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text("layer { name: 'd' type: 'Data' top: 'data' }")
    check = c2t.export(c2t.read(tmp_path / "net.prototxt"), tmp_path / "net.safetensors", run=True)
    assert "max |delta| 0.0e+00, relative 0.0e+00" in str(check)
