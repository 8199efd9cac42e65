"""SSD's detections as ONNX in onnxruntime: what SSD's Caffe gave, and what our layer gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import caffe2torch as c2t
from caffe2torch.errors import UnsupportedLayer
from tests.nets import net_of

Arrays = dict[str, np.ndarray[Any, Any]]
FORKS = Path(__file__).parents[1] / "golden" / "forks"


def run(path: Path, given: Arrays) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path)
    (rows,) = session.run(None, given)
    return np.asarray(rows)


@pytest.mark.parametrize("case", ["detection_output", "detection_output_corner"])
def test_ssds_caffe_gave_the_same(case: str, tmp_path: Path) -> None:
    stored = np.load(FORKS / f"{case}.npz")
    c2t.export(c2t.read(FORKS / f"{case}.prototxt"), tmp_path / "net.onnx")
    found = run(tmp_path / "net.onnx", {blob: stored[f"in.{blob}"] for blob in ("x0", "x1", "x2")})
    np.testing.assert_allclose(found, stored["out.y0"], rtol=1e-6, atol=1e-7)


def ssd(param: str, more: str = "") -> Any:
    """DetectionOutput of 3 classes for 20 priors, each class with its own boxes."""
    shapes = {"x0": "dim: 2 dim: 240", "x1": "dim: 2 dim: 60", "x2": "dim: 1 dim: 2 dim: 80"}
    inputs = (
        f'layer {{ name: "{blob}" type: "Input" top: "{blob}" input_param {{ shape {{ {shape} }} }} }}'
        for blob, shape in shapes.items()
    )
    return net_of(
        f"""{"".join(inputs)}
        layer {{ name: "l" type: "DetectionOutput" bottom: "x0" bottom: "x1" bottom: "x2" top: "y"
        detection_output_param {{ num_classes: 3 share_location: false {param} }} }}"""
    )


def drawn(seed: int) -> Arrays:
    """Boxes that overlap, with confidences of which many are equal."""
    draw = np.random.default_rng(seed)
    start = draw.random((20, 2)) * 0.6
    priors = np.concatenate([start, start + 0.1 + draw.random((20, 2)) * 0.3], 1).reshape(-1)
    return {
        "x0": draw.standard_normal((2, 240)).astype(np.float32),
        "x1": (draw.integers(0, 12, (2, 60)) / 12).astype(np.float32),
        "x2": np.stack([priors, np.full(80, 0.1)])[None].astype(np.float32),
    }


@pytest.mark.parametrize(
    ("param", "rows"),
    [
        ("nms_param { nms_threshold: 0.3 top_k: 11 } keep_top_k: 8 background_label_id: 1", 16),
        ("nms_param { nms_threshold: 0.5 } confidence_threshold: 0.9 background_label_id: -1", None),
        ("nms_param { nms_threshold: 0.5 } confidence_threshold: 2 keep_top_k: 5", 2),
    ],
    ids=["the best of each image, of equal ones the first", "some", "nothing"],
)
def test_it_gives_what_the_model_gives(param: str, rows: int | None, tmp_path: Path) -> None:
    model = c2t.build(ssd(param))
    c2t.export(model, tmp_path / "net.onnx")
    for seed in (1, 2):
        given = drawn(seed)
        with torch.no_grad():
            wanted = model(**{blob: torch.from_numpy(x) for blob, x in given.items()})["y"].numpy()
        found = run(tmp_path / "net.onnx", given)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        assert rows is None or len(found[0, 0]) == rows
    (output,) = onnx.load(tmp_path / "net.onnx").graph.output
    shape = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
    assert shape == [1, 1, "detections", 7]


class TopK(OpRun):
    """With the last of equal values first; OpenVINO's has any."""

    op_domain = ""

    def _run(self, x: Any, k: Any, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:  # noqa: A002
        backwards = np.argsort(np.flip(-x if largest else x, axis), axis, kind="stable")
        order = np.take(x.shape[axis] - 1 - backwards, np.arange(k[0]), axis)
        return np.take_along_axis(x, order, axis), order


def test_no_order_of_equal_values_matters_but_of_scores(tmp_path: Path) -> None:
    model = c2t.build(ssd("nms_param { nms_threshold: 0.3 } keep_top_k: 8"))
    c2t.export(model, tmp_path / "net.onnx")
    given = drawn(1)
    given["x1"] = np.random.default_rng(3).permutation(120).reshape(2, 60).astype(np.float32) / 120
    (found,) = ReferenceEvaluator(str(tmp_path / "net.onnx"), new_ops=[TopK]).run(None, given)
    np.testing.assert_allclose(found, run(tmp_path / "net.onnx", given), rtol=1e-5, atol=1e-6)
    assert found.shape == (1, 1, 16, 7)


def test_what_no_graph_holds(tmp_path: Path) -> None:
    refusal = r"^layer 'l' \(DetectionOutput\): torch has no operator that chooses boxes; onnx holds it$"
    with pytest.raises(UnsupportedLayer, match=refusal):
        c2t.export(ssd(""), tmp_path / "net.pt2")
    eta = (
        r"^layer 'l' \(DetectionOutput\): no graph can hold it: eta 0\.9 changes the threshold with each box$"
    )
    with pytest.raises(UnsupportedLayer, match=eta):
        c2t.export(ssd("nms_param { eta: 0.9 }"), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
