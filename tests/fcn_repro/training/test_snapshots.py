"""Snapshots on disk: which of them count, what is refused, and what is cleaned away."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import caffe2torch as c2t
from caffe2torch.errors import ReadError
from caffe2torch.modules import fcn
from fcn_repro.training.snapshots import Snapshots

KEY = {"recipe": "abc"}


def new_solver():
    torch.manual_seed(1)
    model = fcn.FCN8s(2, widths=(1, 2, 3, 2, 1, 3, 2))
    return c2t.Solver(model, base_lr=0.1, lr_policy="fixed", momentum=0.9)


def advance(solver):
    for parameter in solver.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.01 * (solver.iter + 1))
    solver.step()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Snapshots at iterations 1, 2 and 3, and the solver as it was at the last one."""
    folder, solver = tmp_path_factory.mktemp("snapshots") / "a-net", new_solver()
    snapshots = Snapshots(folder, "a-net", KEY)
    folder.mkdir()
    for _ in range(3):
        advance(solver)
        snapshots.save(solver, [0.1 * solver.iter, 1 / 3])
    return folder, solver


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written[0], tmp_path / "a-net")


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def files(*iterations):
    suffixes = ("caffemodel", "json", "solverstate")
    return [f"a-net_iter_{n}.{suffix}" for n in iterations for suffix in suffixes]


def test_there_is_none_in_a_new_folder(tmp_path):
    assert Snapshots(tmp_path / "nothing", "a-net", KEY).latest() is None


def test_the_latest_two_are_kept_and_the_last_is_found(written):
    folder, _ = written
    assert listed(folder) == files(2, 3)
    found = Snapshots(folder, "a-net", KEY).latest()
    assert found.iteration == 3
    assert (found.caffemodel.name, found.solverstate.name) == (files(3)[0], files(3)[2])
    assert found.losses == (0.1 * 3, 1 / 3), "to the last bit"


def test_a_solver_goes_on_from_it_to_the_last_bit(written):
    folder, solver = written
    found, restored = Snapshots(folder, "a-net", KEY).latest(), new_solver()
    restored.restore(found.solverstate, weights=found.caffemodel)
    assert restored.iter == solver.iter == 3
    pairs = zip(restored.model.parameters(), solver.model.parameters(), strict=True)
    for own, other in pairs:
        assert torch.equal(own, other)
        assert (own in restored.state) == (other in solver.state) == other.requires_grad
        if other.requires_grad:
            assert torch.equal(restored.state[own]["history"][0], solver.state[other]["history"][0])


def test_files_without_a_marker_do_not_count(folder):
    (folder / "a-net_iter_3.json").unlink()
    assert Snapshots(folder, "a-net", KEY).latest().iteration == 2


def test_what_killed_processes_left_is_removed_by_the_next_snapshot(folder):
    left = [
        "a-net_iter_1.caffemodel",
        ".a-net_iter_9.c.0123abcd.part/a-net_iter_9.caffemodel",
        ".train.csv.part",
    ]
    kept = [
        "train.csv",
        "b-net_iter_1.json",
        "a-net_iter_1.json.bak",
        "ba-net_iter_1.caffemodel",
        "a-net_iter_x.json",
    ]
    (folder / left[1]).parent.mkdir()
    for name in (*left, *kept):
        (folder / name).write_text("x")
    snapshots, solver = Snapshots(folder, "a-net", KEY), new_solver()
    found = snapshots.latest()
    solver.restore(found.solverstate, weights=found.caffemodel)
    advance(solver)
    snapshots.save(solver, [1.0])
    assert listed(folder) == sorted([*files(3, 4), *kept])


def test_what_the_net_knows_comes_and_goes_with_its_snapshot(tmp_path):
    snapshots, solver = Snapshots(tmp_path, "a-net", KEY), new_solver()
    solver.model.preprocessing = {"data": c2t.Preprocessing(mean=(1.0, 2.0, 3.0))}
    for _ in range(3):
        advance(solver)
        saved = snapshots.save(solver, [1.0])
    assert listed(tmp_path) == sorted([*files(2, 3), *(f"a-net_iter_{n}.caffemodel.json" for n in (2, 3))])
    assert snapshots.latest() == saved
    assert c2t.load(saved.caffemodel).preprocessing["data"].mean == (1.0, 2.0, 3.0)
    for n in (2, 3):
        (tmp_path / f"a-net_iter_{n}.json").unlink()
    assert snapshots.latest() is None


def test_a_name_is_no_pattern(tmp_path):
    snapshots, solver = Snapshots(tmp_path, "my[1]*", KEY), new_solver()
    advance(solver)
    saved = snapshots.save(solver, [1.0])
    assert Snapshots(tmp_path, "my[1]*", KEY).latest() == saved
    assert Snapshots(tmp_path, "my1", KEY).latest() is None


def test_another_trainings_are_refused(folder):
    with pytest.raises(
        ReadError,
        match=r"iter_3\.json: recipe was 'abc' and is 'xyz' now.*recipe it had, or delete .*a-net to",
    ):
        Snapshots(folder, "a-net", {"recipe": "xyz"}).latest()


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def without(key):
    def damage(path):
        content = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("json", lambda path: path.write_text(path.read_text()[:70])),
        ("json", lambda path: path.write_bytes(b"\xff\x00")),
        ("json", without("files")),
        ("json", without("losses")),
        ("json", lambda path: path.write_text(path.read_text().replace("solverstate", "caffemodel"))),
        ("json", lambda path: path.write_text(path.read_text().replace("0.333", '"a", 0.333'))),
        ("caffemodel", flip_last_byte),
        ("caffemodel", lambda path: path.write_bytes(path.read_bytes()[:-1])),
        ("solverstate", flip_last_byte),
        ("solverstate", lambda path: path.unlink()),
    ],
)
def test_damage_is_refused_with_the_way_out(folder, name, damage):
    path, marker = folder / f"a-net_iter_3.{name}", folder / "a-net_iter_3.json"
    damage(path)
    with pytest.raises(ReadError) as refused:
        Snapshots(folder, "a-net", KEY).latest()
    assert str(refused.value).startswith(f"{path}: ")
    assert str(refused.value).endswith(f"; delete {marker} to continue from the snapshot before")
    marker.unlink()
    assert Snapshots(folder, "a-net", KEY).latest().iteration == 2


def test_a_marker_names_files_of_its_folder_alone(folder, tmp_path):
    """Whatever a marker says, nothing outside is read."""
    marker, outside = folder / "a-net_iter_3.json", tmp_path / "a-net_iter_3.caffemodel"
    outside.write_bytes((folder / outside.name).read_bytes())
    (folder / outside.name).unlink()
    marker.write_text(marker.read_text().replace(outside.name, f"../{outside.name}"))
    with pytest.raises(ReadError, match=r"a-net_iter_3\.caffemodel: missing or changed"):
        Snapshots(folder, "a-net", KEY).latest()
