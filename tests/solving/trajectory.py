"""Steps that Caffe's solver made, from a folder: `tests/golden/{solver,frozen}` and `corners/solver_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import caffe2torch as c2t
from caffe2torch.solving.solver import Solver

ALLOWED = 1e-5


def relative(ours: Any, expected: Any) -> float:
    """‖ours - expected‖ / ‖expected‖, 0 where both are zeros."""
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape
    error = np.linalg.norm(ours - expected)
    return float(error / np.linalg.norm(expected)) if error else 0.0


class Trajectory:
    """A net in phase TRAIN with Caffe's weights, its solver, and what Caffe did with them."""

    def __init__(self, folder: Path, weights: str = "init.caffemodel") -> None:
        net = c2t.read(folder / "net.prototxt", folder / weights)
        self.model = c2t.build(net, "TRAIN")
        self.solver = Solver.from_prototxt(folder / "solver.prototxt", self.model)
        with np.load(folder / "traj.npz") as arrays:
            self.caffe = dict(arrays)

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """The same for every step; older cases have them under their bare names."""
        names = {name: f"in.{name}" if f"in.{name}" in self.caffe else name for name in self.model.inputs}
        return {name: torch.from_numpy(self.caffe[key]) for name, key in names.items()}

    def step(self) -> dict[str, float]:
        """One step; the relative errors of its loss and of each blob after it."""
        self.solver.zero_grad()
        for _ in range(self.solver.iter_size):
            loss = self.model.loss(self.model(**self.inputs))
            loss.backward()
        errors = {"loss": relative(loss.detach(), self.caffe["loss"][self.solver.iter])}
        self.solver.step()
        for name, blobs in self.model.blobs().items():
            for i, blob in enumerate(blobs):
                key = f"w{self.solver.iter:02}.{name}.{i}"
                errors[key] = relative(blob.detach(), self.caffe[key])
        assert len(errors) > 2
        return errors


def outside(errors: dict[str, float]) -> dict[str, float]:
    """Those that are not allowed."""
    return {name: error for name, error in errors.items() if not error <= ALLOWED}
