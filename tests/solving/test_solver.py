"""Caffe's solvers: the trajectories that Caffe wrote; where these are silent, its formulas as plain loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.errors import NetError
from caffe2torch.solving import pieces
from caffe2torch.solving.solver import Solver
from caffe2torch.untrusted.binary import read_solverstate
from tests import plain_protobuf
from tests.nets import net_of
from tests.places import GOLDEN
from tests.solving.trajectory import Trajectory, outside, relative

CASES_FOLDER = GOLDEN / "solver"
CASES = sorted(path.name for path in CASES_FOLDER.iterdir())
TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def fields(kind: str, **others: Any) -> dict[str, Any]:
    """Fields with which a solver of this type learns."""
    momentum = {} if kind in ("AdaGrad", "RMSProp") else {"momentum": 0.9}
    return {"type": kind, "base_lr": 0.05, "lr_policy": "fixed", **momentum, **others}


# The trajectories


@pytest.mark.parametrize("case", CASES)
def test_twelve_steps(case: str) -> None:
    trajectory = Trajectory(CASES_FOLDER / case)
    for step in range(12):
        errors = trajectory.step()
        assert len(errors) == 7
        assert not outside(errors), step


@pytest.mark.parametrize("case", CASES)
def test_the_last_six_from_caffe_s_snapshot(case: str) -> None:
    trajectory = Trajectory(CASES_FOLDER / case, "snap_iter_6.caffemodel")
    snap = CASES_FOLDER / case / "snap_iter_6"
    trajectory.solver.restore(f"{snap}.solverstate", f"{snap}.caffemodel")
    for step in range(6, 12):
        assert trajectory.solver.iter == step
        assert not outside(trajectory.step()), step


@pytest.mark.parametrize("case", CASES)
def test_our_snapshot_is_caffe_s(case: str, tmp_path: Path) -> None:
    """As a protobuf class made of the golden table reads both; and each of ours as we read it, bit by bit."""
    trajectory = Trajectory(CASES_FOLDER / case)
    for _ in range(6):
        trajectory.step()
    weights, path = trajectory.solver.snapshot(tmp_path / "snap")
    assert [weights.name, path.name] == ["snap_iter_6.caffemodel", "snap_iter_6.solverstate"]
    ours, caffe = (plain("SolverState", file) for file in (path, CASES_FOLDER / case / path.name))
    assert (ours.iter, ours.current_step) == (caffe.iter, caffe.current_step)
    assert ours.learned_net == str(weights)
    assert Path(caffe.learned_net).name == weights.name
    assert len(ours.history) == len(caffe.history)
    for mine, theirs in zip(ours.history, caffe.history, strict=True):
        assert mine.shape == theirs.shape
        assert relative(mine.data, theirs.data) <= 1e-5

    again = Trajectory(CASES_FOLDER / case)
    again.solver.restore(path, weights)
    assert snapshot(again.solver, tmp_path) == [weights.read_bytes(), path.read_bytes()]


def plain(kind: str, path: Path) -> Any:
    return plain_protobuf.message(kind).FromString(path.read_bytes())


def snapshot(solver: Solver, folder: Path) -> list[bytes]:
    """All that there is to know of a solver: weights, history, iter and current_step."""
    return [path.read_bytes() for path in solver.snapshot(folder / "snap")]


# Caffe's formulas, as plain loops

SHAPES = {"ip.weight": (5, 7), "ip.bias": (5,), "top.weight": (3, 5)}
MULTS = {"ip.weight": (1, 1), "ip.bias": (2, 0), "top.weight": (0.5, 3)}
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 7 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" param { lr_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 } inner_product_param { num_output: 5 } }
layer { name: "top" type: "InnerProduct" bottom: "ip" top: "top" param { lr_mult: 0.5 decay_mult: 3 }
  inner_product_param { num_output: 3 bias_term: false } }
"""
DEFAULTS = {"momentum": 0, "momentum2": 0.999, "rms_decay": 0.99, "delta": 1e-8, "weight_decay": 0}


def draws(count: int, seed: int = 3) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [{key: random.normal(size=shape) for key, shape in SHAPES.items()} for _ in range(count)]


def decayed(g: float, w: float, decay: float, p: dict[str, Any]) -> float:
    """Regularize."""
    return g + decay * (np.sign(w) if p.get("regularization_type") == "L1" else w)


def updated(g: float, h: list[float], rate: float, t: int, p: dict[str, Any]) -> tuple[float, list[float]]:
    """ComputeUpdateValue: what is taken off a weight, and its new history."""
    m, delta = p["momentum"], p["delta"]
    if p["type"] == "SGD":
        v = m * h[0] + rate * g
        return v, [v, 0]
    if p["type"] == "Nesterov":
        v = m * h[0] + rate * g
        return (1 + m) * v - m * h[0], [v, 0]
    if p["type"] == "AdaGrad":
        s = h[0] + g * g
        return rate * g / (math.sqrt(s) + delta), [s, 0]
    if p["type"] == "RMSProp":
        s = p["rms_decay"] * h[0] + (1 - p["rms_decay"]) * g * g
        return rate * g / (math.sqrt(s) + delta), [s, 0]
    if p["type"] == "AdaDelta":
        s = m * h[0] + (1 - m) * g * g
        u = g * math.sqrt((h[1] + delta) / (s + delta))
        return rate * u, [s, m * h[1] + (1 - m) * u * u]
    s = m * h[0] + (1 - m) * g
    v = p["momentum2"] * h[1] + (1 - p["momentum2"]) * g * g
    correction = math.sqrt(1 - p["momentum2"] ** t) / (1 - m**t)
    return rate * correction * s / (math.sqrt(v) + delta), [s, v]


def by_hand(
    weights: dict[str, np.ndarray], steps: Sequence[Sequence[dict[str, np.ndarray]]], rates: Any, **given: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights and history after steps of so many passes each, in float64, element by element."""
    p = DEFAULTS | given
    # 1 - momentum2 depends on it: a SolverParameter holds float32.
    p |= {key: float(np.float32(value)) for key, value in p.items() if isinstance(value, float)}
    weights = {key: w.copy() for key, w in weights.items()}
    history = {key: np.zeros((2, *w.shape)) for key, w in weights.items()}
    for t, (passes, rate) in enumerate(zip(steps, rates, strict=True), start=1):
        sums = {key: sum(gradients[key] for gradients in passes) for key in weights}
        norm = math.sqrt(sum((g * g).sum() for g in sums.values()))
        clip = min(1, p["clip_gradients"] / norm) if "clip_gradients" in p else 1
        for key, w in weights.items():
            lr_mult, decay_mult = MULTS[key]
            for i in np.ndindex(w.shape):
                g = decayed(sums[key][i] * clip / len(passes), w[i], p["weight_decay"] * decay_mult, p)
                off, h = updated(g, [x[i] for x in history[key]], rate * lr_mult, t, p)
                w[i] -= off
                for slot in (0, 1):
                    history[key][slot][i] = h[slot]
    return weights, history


def run(
    weights: dict[str, np.ndarray], steps: Sequence[Sequence[dict[str, np.ndarray]]], **given: Any
) -> tuple[Solver, list[float]]:
    """Our solver after the same steps, and the rate of each."""
    blobs = {"ip": [weights["ip.weight"], weights["ip.bias"]], "top": [weights["top.weight"]]}
    model = c2t.build(net_of(NET, **blobs), "TRAIN")
    solver, rates = Solver(model, **given), []
    for passes in steps:
        solver.zero_grad()
        for gradients in passes:
            for key, gradient in gradients.items():
                p, g = model.get_parameter(key), torch.from_numpy(gradient).float()
                p.grad = g if p.grad is None else p.grad + g
        rates.append(solver.rate)
        solver.step()
    return solver, rates


FORMULAS: dict[str, dict[str, Any]] = {
    **{kind: fields(kind, weight_decay=0.1) for kind in TYPES},
    "AdaDelta of CIFAR": {**fields("AdaDelta"), "momentum": 0.95, "delta": 1e-6, "weight_decay": 0.02},
    **{f"{kind}, L1": fields(kind, weight_decay=0.1, regularization_type="L1") for kind in TYPES},
    **{f"{kind}, clipped": fields(kind, weight_decay=0.1, clip_gradients=1.5) for kind in TYPES},
    "not clipped": fields("SGD", clip_gradients=1e4),
    **{f"{kind}, three passes": fields(kind, iter_size=3, weight_decay=0.1) for kind in TYPES},
    "all": fields("SGD", iter_size=3, clip_gradients=2, weight_decay=0.1, regularization_type="L1"),
    "a falling rate": fields("SGD", lr_policy="exp", gamma=0.5, iter_size=2, weight_decay=0.1),
    "a falling rate, Nesterov": fields("Nesterov", lr_policy="step", gamma=0.1, stepsize=2),
}


@pytest.mark.parametrize("given", FORMULAS.values(), ids=FORMULAS)
def test_formulas(given: dict[str, Any], tmp_path: Path) -> None:
    (weights,), gradients = draws(1), draws(5 * given.get("iter_size", 1), seed=4)
    steps = [gradients[i::5] for i in range(5)]
    solver, rates = run(weights, steps, **given)
    factor = {"fixed": 1, "exp": 0.5, "step": 0.1}[given["lr_policy"]]
    made = [t // given.get("stepsize", 1) for t in range(5)]
    assert relative(rates, [0.05 * factor**n for n in made]) < 1e-6
    expected, history = by_hand(weights, steps, rates, **given)
    state = read_solverstate(solver.snapshot(tmp_path / "snap")[1])
    ours = [blob.read() for blob in state.history]
    errors = {key: relative(solver.model.get_parameter(key).detach(), w) for key, w in expected.items()}
    for slot in range(len(ours) // 3):
        errors |= {
            f"{key} {slot}": relative(ours[3 * slot + i], history[key][slot]) for i, key in enumerate(SHAPES)
        }
    assert len(errors) == (9 if given["type"] in ("AdaDelta", "Adam") else 6)
    assert not outside(errors)


def test_a_parameter_that_no_loss_reaches_still_decays(tmp_path: Path) -> None:
    (weights,), given = draws(1), fields("SGD", weight_decay=0.1)
    solver, rates = run(weights, [[{}], [{}]], **given)
    zeros = {key: np.zeros(shape) for key, shape in SHAPES.items()}
    expected, _ = by_hand(weights, [[zeros], [zeros]], rates, **given)
    for key, w in expected.items():
        assert relative(solver.model.get_parameter(key).detach(), w) < 1e-6


# Learning rates


def rates(count: int, **given: Any) -> list[float]:
    solver = Solver(c2t.build(net_of(NET)), base_lr=0.5, **given)
    found = []
    for _ in range(count):
        found.append(solver.rate)
        assert solver.rate == solver.rate  # asking changes nothing
        solver.step()
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"lr_policy": "fixed"}, [0.5] * 4),
        ({"lr_policy": "step", "gamma": 0.1, "stepsize": 2}, [0.5, 0.5, 0.05, 0.05, 0.005]),
        ({"lr_policy": "exp", "gamma": 0.9}, [0.5, 0.45, 0.405, 0.3645]),
        ({"lr_policy": "inv", "gamma": 0.5, "power": 2}, [0.5, 0.5 / 2.25, 0.5 / 4, 0.5 / 6.25]),
        ({"lr_policy": "inv", "gamma": 1e-4, "power": 0.75}, [0.5, 0.4999625, 0.4999250]),
        ({"lr_policy": "poly", "power": 2, "max_iter": 4}, [0.5, 0.28125, 0.125, 0.03125, 0]),
        ({"lr_policy": "poly", "max_iter": 2}, [0.5, 0.5, 0.5]),
        ({"lr_policy": "sigmoid", "gamma": 2, "stepsize": 1}, [0.0596015, 0.25, 0.4403985]),
        ({"lr_policy": "sigmoid", "gamma": 1, "stepsize": 100000}, [0, 0]),
        ({"lr_policy": "sigmoid", "gamma": -2, "stepsize": 1}, [0.4403985, 0.25, 0.0596015]),
        ({"lr_policy": "multistep", "gamma": 0.5, "stepvalue": [1, 3]}, [0.5, 0.25, 0.25, 0.125, 0.125]),
        # Caffe makes one step per iteration, even where several are due.
        ({"lr_policy": "multistep", "gamma": 0.5, "stepvalue": [2, 2, 2]}, [0.5, 0.5, 0.25, 0.125, 0.0625]),
    ],
)
def test_rates(given: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(rates(len(expected), **given), expected, rtol=1e-6)


def test_poly_ends_at_max_iter() -> None:
    model = c2t.build(net_of(NET))
    solver = Solver(model, base_lr=0.5, lr_policy="poly", power=0.9, max_iter=2)
    for _ in range(3):
        solver.step()
    before = copied(model)
    with pytest.raises(NetError, match="'poly' gives the rate nan at iteration 3, max_iter is 2"):
        solver.step()
    assert solver.iter == 3
    assert all(torch.equal(a, b) for a, b in zip(before, copied(model), strict=True))


def copied(model: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def test_a_multistep_goes_on_where_it_was(tmp_path: Path) -> None:
    """Its steps are counted, not computed: the state holds them."""
    given = {"base_lr": 0.5, "lr_policy": "multistep", "gamma": 0.5, "stepvalue": [1, 1, 1, 9]}
    solver, other = (Solver(c2t.build(net_of(NET)), **given) for _ in range(2))
    for _ in range(3):
        solver.step()
    weights, path = solver.snapshot(tmp_path / "snap")
    other.restore(path, weights)
    assert (other.iter, other.current_step) == (3, 2)
    assert other.rate == solver.rate == 0.5 / 8


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_a_step_in_pieces_is_the_same_step(kind, monkeypatch):
    """To the bit, whatever the layout; the pieces do not divide the sizes."""

    def trained(piece):
        monkeypatch.setattr(pieces, "PIECE", piece)
        monkeypatch.setattr(pieces, "LARGE", 8 * piece)
        torch.manual_seed(4)
        model = c2t.FCN32s(3, widths=(3, 4, 5, 5, 4, 6, 6))
        model.conv1_2.weight.data = model.conv1_2.weight.data.contiguous(memory_format=torch.channels_last)
        solver = c2t.Solver(model, type=kind, base_lr=0.1, lr_policy="fixed", weight_decay=0.01, iter_size=3)
        for _ in range(3):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape) if parameter.requires_grad else None
            model.fc6.weight.grad = model.fc6.weight.grad.contiguous(memory_format=torch.channels_last)
            solver.step()
        return model

    whole, cut = trained(1 << 20), trained(7)
    for name, values in whole.named_parameters():
        assert torch.equal(values, cut.get_parameter(name)), name
