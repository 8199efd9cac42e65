"""Solvers as cases: steps here and in Caffe, and each going on from the other's snapshot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from apart import Apart
from cases import EXPLAINED, SCALE, Arrays, Case, differences, found, loss_of
from drawn_layers import Draw
from drawn_solvers import STEPS, STOP, drawn_solver

import caffe2torch as c2t


class SolverCase(Case):
    """A solver and its net: the blobs at the snapshot and at the end."""

    def __init__(self, folder: Path, seed: int) -> None:
        draw = Draw(seed)
        self.drawn = drawn_solver(draw.getrandbits(32))
        super().__init__(folder, self.drawn.net)
        self.overwriting = False
        """Whether to do as Caffe does with the Scale of a batch of one."""
        self.suffix = ".h5" if self.drawn.hdf5 else ""
        self.inputs = {f"{i}.{blob}": x for i, one in enumerate(self.drawn.inputs) for blob, x in one.items()}
        self._write(folder, str(self.net), filled="net.prototxt", weights="init.caffemodel")

    def _write(self, folder: Path, net: str, **case: Any) -> None:
        own = {"steps": STEPS, "stop": STOP, "restored": "", "seed": 1}
        self.write(folder, self.inputs, **(own | case))
        (folder / "net.prototxt").write_text(net)
        (folder / "solver.prototxt").write_text(self.drawn.text)

    def run(self, dtype: torch.dtype) -> Arrays:
        """From the first step to the last with a snapshot, and from Caffe's snapshot on."""
        solver = self._solver(dtype, "init.caffemodel")
        here = {}
        while solver.iter < STEPS:
            self._step(solver, dtype)
            if solver.iter == STOP:
                here |= _blobs("stop", solver)
                if dtype == torch.float32:
                    solver.snapshot(self.folder / "ours", hdf5=self.drawn.hdf5)
        here |= _blobs("after", solver)
        stem = self.folder / f"caffe_iter_{STOP}"
        if stem.with_suffix(f".solverstate{self.suffix}").exists():
            resumed = self._solver(dtype, "init.caffemodel")
            weights = stem.with_suffix(f".caffemodel{self.suffix}")
            resumed.restore(stem.with_suffix(f".solverstate{self.suffix}"), weights=weights)
            while resumed.iter < STEPS:
                self._step(resumed, dtype)
            here |= _blobs("resumed", resumed)
        return here

    def _solver(self, dtype: torch.dtype, weights: str) -> c2t.Solver:
        own = self.folder / weights
        net = c2t.read(self.folder / "net.prototxt", own if own.exists() else None)
        return c2t.Solver.from_prototxt(self.folder / "solver.prototxt", c2t.build(net, "TRAIN").to(dtype))

    def _step(self, solver: c2t.Solver, dtype: torch.dtype) -> None:
        model, given = solver.model, self.drawn.inputs[solver.iter]
        inputs = {blob: torch.from_numpy(x).to(dtype) for blob, x in given.items() if blob in model.inputs}
        solver.zero_grad()
        for _ in range(solver.iter_size):
            loss = loss_of(model, model(**inputs))
            if self.overwriting:
                for weight in self._overwritten(model):
                    weight.grad = None
            if loss.requires_grad:
                loss.backward()
        solver.step()

    def _overwritten(self, model: c2t.CaffeNet) -> list[torch.Tensor]:
        """Weights whose gradients Caffe does not add up: of Scale at a batch of one, but a single number."""
        scales = [x for x in self.net.layers if x.included and x.kind == "Scale" and len(x.bottoms) == 1]
        sizes = {x.name: self.net.shapes[x.bottoms[0]] for x in scales}
        blobs = {name: own[0] for name, own in model.blobs().items() if sizes.get(name, (0,))[0] == 1}
        return [x for name, x in blobs.items() if x.numel() > 1 or math.prod(sizes[name]) == 1]

    def compared(self) -> str:
        """The verdict, perhaps with the gradients of Scale overwritten as in Caffe."""
        verdict = super().compared()
        if verdict in EXPLAINED or self.drawn.iter_size == 1:
            return verdict
        self.overwriting, plain = True, self.here
        self.here = self.run(torch.float32)
        return SCALE if differences(self.here, plain) and super().compared() in EXPLAINED else verdict

    def follow_up(self) -> None:
        """The net apart where something differs; Caffe from our snapshot where nothing does."""
        if differences(self.here, self.wanted()):
            weights = "../init.caffemodel"
            self._write(self.folder / "apart", str(Apart(self.net).rewritten()), filled="", weights=weights)
        else:
            state = f"../ours_iter_{STOP}.solverstate{self.suffix}"
            self._write(self.folder / "back", str(self.net), filled="", weights="", restored=state)

    def wanted(self) -> Arrays:
        """What Caffe found, which is what we are to find from its snapshot, too."""
        caffes = found(self.folder)
        ends = {key: x for key, x in caffes.items() if key.startswith("after.")}
        return caffes | {key.replace("after.", "resumed."): x for key, x in ends.items()}


def _blobs(kind: str, solver: c2t.Solver) -> Arrays:
    """The model's blobs under Caffe's keys."""
    return {
        f"{kind}.{i}.{j}": blob.detach().numpy().copy()
        for i, own in enumerate(solver.model.blobs().values())
        for j, blob in enumerate(own)
    }
