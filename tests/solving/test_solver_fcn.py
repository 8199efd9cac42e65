"""Five training steps of the ten golden FCNs, by both roads, against a float64 oracle, none of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import caffe2torch as c2t
from caffe2torch.opening.loading import load
from tests import plain_protobuf
from tests.float64_net import Float64Net
from tests.places import GOLDEN

NETS = sorted(path.name for path in (GOLDEN / "fcn").iterdir())
STEPS, MOMENTUM, DECAY = 5, 0.99, 5e-4
Arrays = dict[str, np.ndarray]


def rate(net: str) -> float:
    """What changes the scores' weights by some percent; AlexNet's loss is a mean, the others' a sum."""
    return 1e-4 if net == "voc-fcn-alexnet" else 1e-8


def inputs_of(folder: Path) -> Arrays:
    with np.load(folder / "io.npz") as io:
        return {k.removeprefix("train.in."): io[k][:, :, :33, :40] for k in io if k.startswith("train.in.")}


class Oracle:
    """SGD by hand: `losses` of each step, then `blobs` and `velocity` by layer."""

    def __init__(self, folder: Path) -> None:
        net, inputs = Float64Net(folder / "train.prototxt", folder / "weights.caffemodel"), inputs_of(folder)
        self.blobs, self.losses = net.blobs, list[dict[str, float]]()
        self.start = {name: [b.detach().clone() for b in blobs] for name, blobs in net.blobs.items()}
        self.velocity = {name: [torch.zeros_like(b) for b in blobs] for name, blobs in net.blobs.items()}
        for _ in range(STEPS):
            losses = net.losses(inputs)
            torch.stack(list(losses.values())).sum().backward()
            self.losses.append({name: loss.item() for name, loss in losses.items()})
            for name, blobs in net.blobs.items():
                for blob, velocity, mults in zip(blobs, self.velocity[name], net.specs[name], strict=True):
                    self.update(blob, velocity, rate(folder.name), *mults)

    @staticmethod
    @torch.no_grad()
    def update(blob: torch.Tensor, velocity: torch.Tensor, base: float, lr: float, decay: float) -> None:
        velocity *= MOMENTUM
        velocity += base * lr * (blob.grad + DECAY * decay * blob)
        blob -= velocity
        blob.grad = None


@pytest.fixture(scope="module", params=NETS)
def folder(request: pytest.FixtureRequest, golden: Path) -> Path:
    return golden / "fcn" / request.param


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    return Oracle(folder)


def built(folder: Path, scratch: Path) -> tuple[torch.nn.Module, Callable[[Any], Arrays]]:
    """The net of train.prototxt with dropout_ratio 0, and its losses."""
    text = (folder / "train.prototxt").read_text()
    assert text.count("dropout_ratio: 0.5") == text.count('"Dropout"')
    prototxt = scratch / "train.prototxt"
    prototxt.write_text(text.replace("dropout_ratio: 0.5", "dropout_ratio: 0"))
    model = c2t.build(c2t.read(prototxt, folder / "weights.caffemodel"), "TRAIN")
    return model, lambda inputs: model(**inputs)


def hand_written(folder: Path, scratch: Path) -> tuple[torch.nn.Module, Callable[[Any], Arrays]]:
    """The FCN of fcn.py, in eval mode, and its losses; they are not clamped."""
    model = load(folder / "weights.caffemodel")
    reduction = "mean" if folder.name == "voc-fcn-alexnet" else "sum"

    def losses(inputs: Any) -> Any:
        scores = model(**{name: inputs[name] for name in model.inputs})
        scores = scores if isinstance(scores, dict) else {"score": scores}
        labels = {name: inputs.get(name.removeprefix("score_"), inputs.get("label")) for name in scores}
        return {
            name.replace("score", "loss"): F.cross_entropy(
                score, labels[name][:, 0].long(), ignore_index=255, reduction=reduction
            )
            for name, score in scores.items()
        }

    return model, losses


def far(what: str, ours: np.ndarray, reference: torch.Tensor) -> str | None:
    """What is further than 1e-4 off, relative, in words."""
    expected = reference.detach().numpy()
    assert ours.shape == expected.shape, what
    error, size = np.linalg.norm(ours - expected), np.linalg.norm(expected)
    return f"{what}: {error / size:.1e}" if error > 1e-4 * size else None


def parsed(kind: str, path: Path) -> Any:
    return plain_protobuf.message(kind).FromString(path.read_bytes())


def array(blob: Any) -> np.ndarray:
    return np.array(blob.data, np.float64).reshape(tuple(blob.shape.dim))


@pytest.mark.parametrize("road", [built, hand_written], ids=["build", "load"])
def test_five_steps(road: Callable[..., Any], folder: Path, oracle: Oracle, tmp_path: Path) -> None:
    """Losses of each step; then every blob and its history, as the snapshot holds them for Caffe."""
    model, losses = road(folder, tmp_path)
    inputs = {name: torch.from_numpy(x) for name, x in inputs_of(folder).items()}
    solver = c2t.Solver(
        model, base_lr=rate(folder.name), lr_policy="fixed", momentum=MOMENTUM, weight_decay=DECAY
    )
    wrong: list[str | None] = []
    for step in range(STEPS):
        solver.zero_grad()
        tops = losses(inputs)
        torch.stack([tops[name].reshape(()) for name in oracle.losses[step]]).sum().backward()
        solver.step()
        for name, loss in oracle.losses[step].items():
            wrong.append(far(f"{name} of step {step}", tops[name].detach().numpy(), torch.tensor(loss)))
    weights, state = solver.snapshot(tmp_path / "snap")
    stored = {x.name: x.blobs for x in parsed("NetParameter", weights).layer if x.blobs}
    assert list(stored) == list(oracle.blobs)
    history = iter(parsed("SolverState", state).history)
    for name, blobs in oracle.blobs.items():
        for i, blob in enumerate(blobs):
            wrong.append(far(f"{name} blob {i}", array(stored[name][i]), blob))
            wrong.append(far(f"{name} history {i}", array(next(history)), oracle.velocity[name][i]))
    assert not list(filter(None, wrong))
    assert next(history, None) is None


def test_the_steps_are_visible(oracle: Oracle) -> None:
    """The test above could not see a solver that does nothing."""
    changes = {
        name: ((blobs[0] - oracle.start[name][0]).norm() / oracle.start[name][0].norm()).item()
        for name, blobs in oracle.blobs.items()
    }
    assert max(changes.values()) > 1e-2
    first, last = (sum(losses.values()) for losses in (oracle.losses[0], oracle.losses[-1]))
    assert abs(last - first) / first > 1e-2, (first, last)
