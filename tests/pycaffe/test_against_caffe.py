"""Golden files of real Caffe, run through the interface: layers both ways, trainings with snapshots."""

import shutil

import numpy as np
import pytest

from caffe2torch import pycaffe as caffe
from tests.places import GOLDEN
from tests.pycaffe.problem import write

LAYERS = sorted((GOLDEN / "layers").glob("*.prototxt"))
SOLVERS = sorted(path.parent for path in (GOLDEN / "solver").glob("*/traj.npz"))
FORWARD, GRADIENT, TRAINED = 1e-5, 1e-4, 1e-5
"""Relative errors allowed, ||ours - Caffe's|| / ||Caffe's||."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "2")


def check(name, ours, theirs, allowed):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{name}: {ours.shape}, Caffe's is {theirs.shape}"
    error = np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-30)
    assert error <= allowed, f"{name}: relative error {error:.2e}, allowed {allowed:.0e}"


def named(stored, kind):
    return [key.partition(".")[2] for key in stored if key.startswith(f"{kind}.")]


@pytest.mark.parametrize("prototxt", LAYERS, ids=lambda path: path.stem)
def test_layer(tmp_path, prototxt):
    weights, stored = prototxt.with_suffix(".caffemodel"), np.load(prototxt.with_suffix(".npz"))
    heads, text = named(stored, "gout"), prototxt.read_text()
    forced = "force_backward: true\n" if heads and "force_backward" not in text else ""
    net = caffe.Net(write(tmp_path / "net.prototxt", forced + text), caffe.TEST)
    if weights.exists():
        net.copy_from(weights)
    for name in named(stored, "in"):
        net.blobs[name].reshape(*stored[f"in.{name}"].shape)
        net.blobs[name].data[...] = stored[f"in.{name}"]
    net.forward()
    for name in named(stored, "out"):
        check(name, net.blobs[name].data, stored[f"out.{name}"], FORWARD)
    for name in heads:
        net.blobs[name].diff[...] = stored[f"gout.{name}"]
    if heads:
        net.backward()
    for name in named(stored, "gin"):
        check(f"gradient of {name}", net.blobs[name].diff, stored[f"gin.{name}"], GRADIENT)
    for name in named(stored, "gparam"):
        layer, place = name.rsplit(".", 1)
        check(f"gradient of {name}", net.params[layer][int(place)].diff, stored[f"gparam.{name}"], GRADIENT)


@pytest.mark.parametrize("folder", SOLVERS, ids=lambda path: path.name)
def test_training(tmp_path, monkeypatch, folder):
    """Twelve steps; then six more from Caffe's own snapshot, and from ours."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    stored = np.load("traj.npz")

    def fed():
        solver = caffe.get_solver("solver.prototxt")
        for name in solver.net.inputs:
            blob = solver.net.blobs[name]
            blob.data[...] = stored[f"in.{name}" if f"in.{name}" in stored else name].reshape(blob.data.shape)
        return solver

    def compare(solver):
        for layer, blobs in solver.net.params.items():
            for place, blob in enumerate(blobs):
                key = f"w{solver.iter:02}.{layer}.{place}"
                check(key, blob.data, stored[key], TRAINED)

    solver = fed()
    solver.net.copy_from("init.caffemodel")
    for k in range(12):
        solver.step(1)
        check(f"loss {k}", solver._losses[-1], stored["loss"][k], TRAINED)
        compare(solver)
    for state in (folder / "snap_iter_6.solverstate", tmp_path / "snap_iter_6.solverstate"):
        resumed = fed()
        resumed.restore(str(state))
        resumed.step(6)
        compare(resumed)
