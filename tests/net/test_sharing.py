"""HDF5 files of nets with shared blobs, which Caffe stores once: read and written as it does."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.comparing.files import between
from caffe2torch.errors import WeightsError
from caffe2torch.untrusted.kinds import look
from tests.nets import net_of
from tests.places import GOLDEN
from tests.solving.trajectory import ALLOWED, Trajectory, outside, relative

CORNERS = GOLDEN / "corners"
SNAPSHOT = CORNERS / "solver_h5_shared_restore"
SHARED = CORNERS / "h5_shared_both"
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
  inner_product_param { num_output: 3 } }
layer { name: "b" type: "InnerProduct" bottom: "x" top: "b" param { name: "w" }
  inner_product_param { num_output: 3 } }
layer { name: "c" type: "InnerProduct" bottom: "x" top: "c" param { } param { name: "v" }
  inner_product_param { num_output: 3 } }
layer { name: "d" type: "InnerProduct" bottom: "x" top: "d" param { } param { name: "v" }
  inner_product_param { num_output: 3 } }
"""
"""Two layers share their weight alone, two their bias alone."""


def stored(path: Path) -> dict[str, np.ndarray]:
    """What an HDF5 file holds, by place."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if hasattr(item, "shape") else {}))
    return found


def arrays(seed: int = 3) -> dict[str, np.ndarray]:
    """What Caffe would store of NET."""
    draw = np.random.default_rng(seed)
    names = ("a/0", "a/1", "b/1", "c/0", "c/1", "d/0")
    return {f"data/{name}": draw.standard_normal((3, 3)[: 2 - int(name[-1])]).astype("f") for name in names}


def written(path: Path, values: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in values.items():
            file[name] = array
    return path


def test_outputs_are_caffe_s() -> None:
    model = c2t.build(c2t.read(SHARED / "net.prototxt", SHARED / "weights.caffemodel.h5"))
    with np.load(SHARED / "in.npz") as given, np.load(SHARED / "caffe.npz") as caffe:
        tops = model(x=torch.from_numpy(given["x"]))
        for name in ("a", "b"):
            assert relative(tops[name].detach(), caffe[name]) <= ALLOWED


def test_training_goes_on_from_caffe_s_snapshot(tmp_path: Path) -> None:
    trajectory = Trajectory(SNAPSHOT, "snap_iter_6.caffemodel.h5")
    weights = SNAPSHOT / "snap_iter_6.caffemodel.h5"
    trajectory.solver.restore(SNAPSHOT / "snap_iter_6.solverstate.h5", weights)
    for _ in range(6):
        assert not outside(trajectory.step()), trajectory.solver.iter
    assert trajectory.solver.iter == 12


def test_our_snapshot_holds_what_caffe_s_does(tmp_path: Path) -> None:
    trajectory = Trajectory(SNAPSHOT)
    for _ in range(6):
        assert not outside(trajectory.step()), trajectory.solver.iter
    for path in trajectory.solver.snapshot(tmp_path / "snap", hdf5=True):
        ours, caffe = stored(path), stored(SNAPSHOT / path.name)
        assert ours.keys() == caffe.keys()
        for name in ours.keys() - {"learned_net"}:
            assert relative(ours[name], caffe[name]) <= 10 * ALLOWED, name


def test_a_blob_of_its_own_beside_a_shared_one(tmp_path: Path) -> None:
    """Caffe leaves out b/0 and d/1."""
    values = arrays()
    path = written(tmp_path / "net.caffemodel.h5", values)
    (tmp_path / "net.prototxt").write_text(NET)
    net = c2t.read(tmp_path / "net.prototxt", path)
    blobs = c2t.build(net).blobs()
    same = {"b/0": "a/0", "d/1": "c/1"}
    for layer in "abcd":
        for i, blob in enumerate(blobs[layer]):
            name = same.get(f"{layer}/{i}", f"{layer}/{i}")
            np.testing.assert_array_equal(blob.detach(), values[f"data/{name}"])
    for model in (net, c2t.build(net)):
        c2t.export(model, tmp_path / "again.caffemodel.h5")
        again = stored(tmp_path / "again.caffemodel.h5")
        assert again.keys() == values.keys()
        for name, array in again.items():
            np.testing.assert_array_equal(array, values[name])


def test_the_last_copy_is_the_one(tmp_path: Path) -> None:
    """As in Caffe, which reads them one over the other; it writes one where the first was."""
    draw = np.random.default_rng(4)
    blobs = {name: [draw.standard_normal((3, 3)), draw.standard_normal(3)] for name in "abcd"}
    c2t.export(net_of(NET, **blobs), tmp_path / "net.caffemodel.h5")
    found = stored(tmp_path / "net.caffemodel.h5")
    np.testing.assert_array_equal(found["data/a/0"], blobs["b"][0].astype("f"))
    np.testing.assert_array_equal(found["data/c/1"], blobs["d"][1].astype("f"))
    np.testing.assert_array_equal(found["data/c/0"], blobs["c"][0].astype("f"))


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("a/0", "layer 'a' has no blob 0, and no other layer stores it"),
        ("c/0", "layer 'c' has no blob 0, and no other layer stores it"),
        ("b/1", "layer 'b' holds 1 blobs, its InnerProduct needs 2"),
    ],
)
def test_a_blob_that_nobody_stores(missing: str, problem: str, tmp_path: Path) -> None:
    values = {name: array for name, array in arrays().items() if name != f"data/{missing}"}
    path = written(tmp_path / "net.caffemodel.h5", values)
    (tmp_path / "net.prototxt").write_text(NET)
    with pytest.raises(WeightsError) as refusal:
        c2t.build(c2t.read(tmp_path / "net.prototxt", path))
    assert str(refusal.value).startswith(f"{path}: {problem}")


def test_a_sharer_of_the_other_phase_is_not_in_the_file(tmp_path: Path) -> None:
    """It shares its second blob alone; Caffe, in phase TEST, stores nothing of it."""
    values = {name: array for name, array in arrays().items() if not name.startswith("data/d")}
    path = written(tmp_path / "net.caffemodel.h5", values)
    rules = NET.replace('name: "d"', 'name: "d" include { phase: TRAIN }')
    (tmp_path / "net.prototxt").write_text(rules)
    net = c2t.read(tmp_path / "net.prototxt", path)
    assert len(c2t.build(net, "TEST").blobs()["c"]) == 2
    with pytest.raises(WeightsError, match="has no blobs for layer 'd'"):
        c2t.build(net, "TRAIN")


def test_two_such_files_are_compared(tmp_path: Path) -> None:
    one, other = (look(written(tmp_path / f"{seed}.caffemodel.h5", arrays(seed))) for seed in (3, 5))
    found = between(one, other, lambda path: None)
    assert len(found.blobs) == len(arrays())
    assert not any(row.ok for row in found.blobs)
    assert all(row.ok for row in between(one, one, lambda path: None).blobs)
