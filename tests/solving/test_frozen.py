"""Frozen parameters that have gradients in Caffe: clip_gradients counts them, and histories take them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from tests import plain_protobuf
from tests.nets import net_of
from tests.places import GOLDEN
from tests.solving.trajectory import ALLOWED, Trajectory, outside, relative

CORNERS = GOLDEN / "corners"
FROZEN = sorted(path for path in (GOLDEN / "frozen").iterdir() if path.is_dir())
SOLVERS = [*FROZEN, CORNERS / "solver_fb_clip_1051", CORNERS / "solver_lstm_frozen_clip"]


def test_no_case_is_lost() -> None:
    assert len(FROZEN) == 10


@pytest.mark.parametrize("folder", SOLVERS, ids=lambda path: path.name)
def test_steps(folder: Path) -> None:
    trajectory = Trajectory(folder)
    for _ in trajectory.caffe["loss"]:
        assert not outside(trajectory.step()), trajectory.solver.iter


@pytest.mark.parametrize("folder", FROZEN, ids=lambda path: path.name)
def test_history(folder: Path, tmp_path: Path) -> None:
    """As a protobuf class made of the golden table reads both snapshots."""
    trajectory = Trajectory(folder)
    for _ in range(4):
        assert not outside(trajectory.step()), trajectory.solver.iter
    _, path = trajectory.solver.snapshot(tmp_path / "snap")
    kind = plain_protobuf.message("SolverState")
    ours, caffe = (kind.FromString(file.read_bytes()) for file in (path, folder / path.name))
    assert len(ours.history) == len(caffe.history)
    for mine, theirs in zip(ours.history, caffe.history, strict=True):
        assert relative(mine.data, theirs.data) <= 10 * ALLOWED


def test_force_backward_overrides_propagate_down() -> None:
    folder = CORNERS / "fb_pd_false"
    model = c2t.build(c2t.read(folder / "net.prototxt", folder / "weights.caffemodel"), "TRAIN")
    with np.load(folder / "in.npz") as given, np.load(folder / "caffe.npz") as caffe:
        inputs = {name: torch.from_numpy(given[f"0.{name}"]).requires_grad_() for name in model.inputs}
        model.loss(model(**inputs)).backward()
        assert relative(inputs["data"].grad, caffe["gi0.data"]) <= ALLOWED
        for i, blob in enumerate(model.blobs()["fc"]):
            assert relative(blob.grad, caffe[f"g0.fc.{i}"]) <= ALLOWED


def test_force_backward_keeps_to_labels() -> None:
    """Caffe's AllowForceBackward leaves them as propagate_down says."""
    text = """{} layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
    layer {{ name: "t" type: "Input" top: "t" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
    layer {{ name: "l" type: "SigmoidCrossEntropyLoss" bottom: "x" bottom: "t" top: "l"
      propagate_down: false propagate_down: false }}"""
    for forced, reached in ("", [False, False]), ("force_backward: true", [True, False]):
        model = c2t.build(net_of(text.format(forced)), "TRAIN")
        inputs = {name: torch.full((2, 3), 0.5, requires_grad=True) for name in model.inputs}
        loss = model(**inputs)["l"]
        if any(reached):
            loss.backward()
        assert [inputs[name].grad is not None for name in "xt"] == reached


def test_force_backward_is_written_back(tmp_path: Path) -> None:
    net = c2t.read(CORNERS / "fb_pd_false" / "net.prototxt")
    for name in "net.prototxt", "net.caffemodel":
        c2t.export(c2t.build(net, "TRAIN") if name.endswith("model") else net, tmp_path / name)
    assert c2t.read(tmp_path / "net.prototxt").force_backward
    assert c2t.read(weights=tmp_path / "net.caffemodel").force_backward


def test_a_deployed_net_freezes_what_lr_mult_freezes() -> None:
    folder = GOLDEN / "frozen" / "forced_upsampling"
    net = c2t.read(folder / "net.prototxt", folder / "init.caffemodel")
    shapes = {"TEST": (3, 1, 4, 4), "TRAIN": (3, 3, 4, 4)}  # a diagonal has no gradient beside it
    for phase, shape in shapes.items():
        weight = c2t.build(net, phase).blobs()["y"][0]
        assert (tuple(weight.shape), weight.requires_grad) == (shape, phase == "TRAIN")


def test_a_frozen_parameter_of_the_user(tmp_path: Path) -> None:
    """What does not require a gradient does not count, whatever its net says."""
    trajectory = Trajectory(GOLDEN / "frozen" / "forced_adam")
    trajectory.model.requires_grad_(False)
    before = [blob.clone() for blobs in trajectory.model.blobs().values() for blob in blobs]
    for blobs in trajectory.model.blobs().values():
        for blob in blobs:
            blob.grad = torch.ones_like(blob)
    trajectory.solver.step()
    after = [blob for blobs in trajectory.model.blobs().values() for blob in blobs]
    assert all(map(torch.equal, before, after))
