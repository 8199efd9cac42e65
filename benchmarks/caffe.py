"""`python benchmarks/caffe.py PYTHON [FOLDER ...]`: what we write for Caffe, loaded and run by Caffe itself.

PYTHON is an interpreter that imports BVLC Caffe's `caffe`. Three tables:

- nets: each net below the folders (by default the ten FCNs of the tests), and plain modules through
  from_torch, become torch models and are exported to prototxt with caffemodel and with caffemodel.h5. Caffe
  loads both and runs them on random inputs of two sizes; the number is the largest ‖Caffe's - ours‖ / ‖ours‖
  of any output.
- training: an FCN-8s is exported to train.prototxt, solver.prototxt and caffemodel, and both train it.
- resuming: our Solver takes six steps and writes a snapshot; Caffe resumes from it for six more. The number
  is the largest relative difference of any blob from twelve steps of Caffe's own.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from exports import GOLDEN, cell, error, last_row, nets
from torch import nn

import caffe2torch as c2t
from caffe2torch.errors import WriteError
from caffe2torch.net import Net
from caffe2torch.writing.model import Model, model_of, net_of

Arrays = Mapping[str, np.ndarray]
SOLVERS = GOLDEN.parent / "solver"
RUN = """
import sys
import caffe
import numpy as np

prototxt, weights, inputs, outputs = sys.argv[1:]
caffe.set_mode_cpu()
net = caffe.Net(prototxt, caffe.TEST, weights=weights)
stored, found = np.load(inputs), {}
for key in {name.partition("/")[0] for name in stored}:
    for name in stored:
        if name.startswith(key + "/"):
            blob = net.blobs[name[len(key) + 1:]]
            blob.reshape(*stored[name].shape)
            blob.data[...] = stored[name]
    net.reshape()
    found.update({f"{key}/{blob}": np.array(top) for blob, top in net.forward().items()})
np.savez(outputs, **found)
"""
TRAIN = """
import os, sys
import caffe
import numpy as np

folder, state, steps, inputs, outputs = sys.argv[1:]
os.chdir(folder)
caffe.set_mode_cpu()
solver = caffe.get_solver("solver.prototxt")
if state:
    solver.restore(state)
else:
    solver.net.copy_from("init.caffemodel")
for blob, values in np.load(inputs).items():
    solver.net.blobs[blob].data[...] = values
solver.step(int(steps))
np.savez(outputs, **{f"{layer}/{i}": np.array(blob.data)
                     for layer, blobs in solver.net.params.items() for i, blob in enumerate(blobs)})
"""


class Caffe:
    """Caffe in processes of its own, because it ends the process when it refuses."""

    def __init__(self, python: str, folder: Path) -> None:
        self.python, self.folder = python, folder

    def say(self, program: str, *arguments: object) -> str:
        """What a program prints, given its arguments."""
        command = [self.python, "-c", program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            *_, line = [line for line in done.stderr.splitlines() if "Check failed" in line] or [done.stderr]
            raise SystemExit(f"{arguments[0]}: Caffe refuses it: {line}")
        return done.stdout

    def run(self, program: str, *arguments: object, inputs: Arrays) -> dict[str, np.ndarray]:
        """What a program writes, given its arguments and the files for inputs and outputs."""
        given, found = self.folder / "in.npz", self.folder / "out.npz"
        np.savez(given, **inputs)
        self.say(program, *arguments, given, found)
        with np.load(found) as arrays:
            return dict(arrays)


class Residual(nn.Module):
    """Two convolutions with batch normalization, and a shortcut of another width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.shortcut = nn.Conv2d(6, 8, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (N, 6, H, W) to (N, 8, H / 2, W / 2), rounded up."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class UNet(nn.Module):
    """Down, up by deconvolution and by repeated pixels, concatenated with what came before."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 10, 3, padding=1)
        self.up, self.score = nn.ConvTranspose2d(10, 7, 2, stride=2), nn.Conv2d(13, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (N, 3, H, W) to (N, 5, H, W), for multiples of 4."""
        first = nn.functional.leaky_relu(self.down1(x), 0.1)
        second = torch.sigmoid(self.down2(nn.functional.max_pool2d(first, 2)))
        up = self.up(nn.functional.interpolate(nn.functional.avg_pool2d(second, 2), scale_factor=2.0))
        return torch.softmax(self.score(torch.cat([first, up], 1)), 1)


def modules() -> Iterator[tuple[str, Net]]:
    """Plain torch modules, as Caffe layers."""
    torch.manual_seed(0)
    classifier = nn.Sequential(
        Residual(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 9)
    )
    for part in classifier.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight)
    yield "from_torch: residual classifier", c2t.from_torch(classifier.eval(), {"data": (2, 6, 33, 47)})
    yield "from_torch: U-Net", c2t.from_torch(UNet(), {"data": (2, 3, 32, 44)})


def in_caffe(caffe: Caffe, converted: Model, suffix: str) -> float | str:
    """The largest error of Caffe's outputs against ours, for a net exported from torch to Caffe's files."""
    prototxt, weights = caffe.folder / "net.prototxt", caffe.folder / f"net.{suffix}"
    try:
        c2t.export(converted.module, prototxt)
        c2t.export(converted.module, weights)
    except WriteError as problem:
        return f"refused: {problem}"
    trials = converted.trials.trials
    inputs = {f"{i}/{blob}": x for i, trial in enumerate(trials) for blob, x in trial.inputs.items()}
    found = caffe.run(RUN, prototxt, weights, inputs=inputs)
    wanted = {f"{i}/{blob}": y for i, trial in enumerate(trials) for blob, y in trial.outputs.items()}
    if found.keys() != wanted.keys():
        return f"Caffe has outputs {sorted(found)}, ours are {sorted(wanted)}"
    return max(error(found[key], y) for key, y in wanted.items())


def nets_table(caffe: Caffe, folders: list[Path]) -> None:
    """Prints the first table."""
    suffixes = ("caffemodel", "caffemodel.h5")
    print(f"| net | {' | '.join(suffixes)} |\n|---|---|---|")
    known = [(case.name(folder), net) for folder in folders for case, net in nets(folder)]
    rows = []
    for name, converted in (*known, *((name, model_of(net)) for name, net in modules())):
        rows.append([in_caffe(caffe, converted, suffix) for suffix in suffixes])
        print(f"| {name} | {' | '.join(map(cell, rows[-1]))} |", flush=True)
    print(f"| the largest of {len(rows)} | {' | '.join(last_row(rows))} |")


def steps(solver: c2t.Solver, inputs: Arrays, count: int) -> None:
    """Our steps, all on the same inputs."""
    tensors = {blob: torch.from_numpy(x) for blob, x in inputs.items()}
    for _ in range(count):
        solver.zero_grad()
        for _ in range(solver.iter_size):
            solver.model.loss(solver.model(**tensors)).backward()
        solver.step()


def values(model: nn.Module) -> dict[str, np.ndarray]:
    """A model's blobs by layer and place, as Caffe has them: upsampling is dense."""
    blobs = ((layer.name, i, blob) for layer in net_of(model).layers for i, blob in enumerate(layer.blobs))
    return {f"{layer}/{i}": blob.read().copy() for layer, i, blob in blobs}


def trained(caffe: Caffe, count: int) -> tuple[float, float]:
    """How far Caffe's blobs are from ours after some steps, and how far ours moved; the largest of each."""
    folder = caffe.folder
    train = without_dropout(
        c2t.training_net(c2t.load(GOLDEN / "voc-fcn8s" / "weights.caffemodel"), normalize=True)
    )
    c2t.export(train, folder / "train.prototxt")
    c2t.export(train, folder / "init.caffemodel")
    fields = {"net": "train.prototxt", "type": "SGD", "base_lr": 0.001, "lr_policy": "fixed", "momentum": 0.9}
    fields |= {"weight_decay": 0.0005, "max_iter": 100, "snapshot_after_train": False, "display": 0}
    (folder / "solver.prototxt").write_text(c2t.solver_prototxt(fields))
    draw = np.random.default_rng(0)
    model = c2t.build(c2t.read(folder / "train.prototxt", folder / "init.caffemodel"), "TRAIN")
    data, label = (model.plan.inputs[blob] for blob in ("data", "label"))
    inputs = {
        "data": draw.uniform(-120, 130, data).astype(np.float32),
        "label": draw.choice([*range(21), 255], label).astype(np.float32),
    }
    before = values(model)
    steps(c2t.Solver.from_prototxt(folder / "solver.prototxt", model), inputs, count)
    found, ours = caffe.run(TRAIN, folder, "", count, inputs=inputs), values(model)
    return (
        max(error(found[key], wanted) for key, wanted in ours.items()),
        max(error(before[key], wanted) for key, wanted in ours.items()),
    )


def without_dropout(net: Net) -> Net:
    """The net without dropout, which is in place: Caffe and torch draw different numbers."""
    return replace(net, layers=tuple(layer for layer in net.layers if layer.type != "Dropout"))


def went_on(caffe: Caffe, case: Path, hdf5: bool) -> float:
    """The largest error of any blob after Caffe resumed from our snapshot, against Caffe's own run."""
    for file in ("net.prototxt", "solver.prototxt"):
        (caffe.folder / file).write_bytes((case / file).read_bytes())
    model = c2t.build(c2t.read(case / "net.prototxt", case / "init.caffemodel"), "TRAIN")
    with np.load(case / "traj.npz") as arrays:
        known = dict(arrays)
    inputs = {blob: known[blob] for blob in ("data", "label")}
    solver = c2t.Solver.from_prototxt(case / "solver.prototxt", model)
    steps(solver, inputs, 6)
    _, state = solver.snapshot(caffe.folder / "ours", hdf5)
    found = caffe.run(TRAIN, caffe.folder, state.name, 6, inputs=inputs)
    return max(error(x, known[f"w12.{key.replace('/', '.')}"]) for key, x in found.items())


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", help="an interpreter that imports caffe")
    parser.add_argument("folders", nargs="*", type=Path, default=[GOLDEN])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        caffe = Caffe(options.python, Path(folder))
        nets_table(caffe, options.folders)
        print("\n| trained by both | largest error | moved by |\n|---|---|---|")
        off, moved = trained(caffe, 3)
        print(f"| FCN-8s, 3 steps | {cell(off)} | {moved:.1e} |")
        print("\n| resumed from our snapshot | binary | HDF5 |\n|---|---|---|")
        for case in sorted(SOLVERS.iterdir()):
            errors = [cell(went_on(caffe, case, hdf5)) for hdf5 in (False, True)]
            print(f"| {case.name} | {' | '.join(errors)} |")


if __name__ == "__main__":
    main()
