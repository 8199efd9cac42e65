"""`optimize` in another engine, and the elided ONNX file that it runs."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import onnx
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.eliding import schedule as planning
from caffe2torch.errors import MissingData, NetError, WriteError
from tests.inference.test_optimize import alike, relative

WIDTHS = (4, 4, 6, 6, 8, 8, 8)


def test_onnxruntime_runs_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "COPY", 0)
    model = alike(c2t.FCN8s(5, widths=WIDTHS))
    fast = c2t.optimize(model, backend="onnxruntime")
    image = torch.randn(2, 3, 20, 31) * 70
    with torch.no_grad():
        wanted = copy.deepcopy(model).double()(image.double())
    found, before = fast(image), fast.labels(image)
    torch.nn.init.zeros_(model.conv1_1.weight)
    assert torch.equal(fast(image), found)
    assert torch.equal(fast.labels(image), before)
    assert relative(found, wanted) < 2e-6


def test_the_file_has_frames_and_no_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked by `export` itself, in onnxruntime, against the whole net."""
    monkeypatch.setattr(planning, "COPY", 0)
    model = alike(c2t.fcn_of(c2t.Architecture("FCNAlexNet", widths=(4, 4, 6, 6, 8, 8, 8))))
    found = c2t.export(model, tmp_path / "a.onnx", size=(30, 41), elide=True)
    assert found is not None
    assert found.report is not None
    assert found.report.worst < 2e-6
    graph = onnx.load(tmp_path / "a.onnx").graph
    assert {"conv1.weight", "fc6.bias"} <= {value.name for value in graph.initializer}
    assert sum(node.op_type == "Concat" for node in graph.node) >= 6
    pads = [
        x.ints for node in graph.node if node.op_type == "Conv" for x in node.attribute if x.name == "pads"
    ]
    assert max(map(max, pads)) < 20


def test_refusals(tmp_path: Path) -> None:
    model = alike(c2t.FCN32s(5, widths=WIDTHS))
    with pytest.raises(WriteError, match="elide goes with a size"):
        c2t.export(model, tmp_path / "a.onnx", elide=True)
    with pytest.raises(WriteError, match="safetensors cannot choose the size; onnx, pt2 can"):
        c2t.export(model, tmp_path / "a.safetensors", size=(3, 4), elide=True)
    with pytest.raises(NetError, match="onnxruntime has no bf16"):
        c2t.optimize(model, backend="onnxruntime", precision="bf16")


@pytest.mark.skipif(importlib.util.find_spec("openvino") is not None, reason="openvino is installed")
def test_openvino_is_not_installed() -> None:
    with pytest.raises(MissingData, match="pip install openvino"):
        c2t.optimize(alike(c2t.FCN32s(5, widths=WIDTHS)), backend="openvino")
