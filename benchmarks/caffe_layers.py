"""`python benchmarks/caffe_layers.py PYTHON [--cases 2000] [--seed 1]`: random layers, in Caffe and here.

PYTHON is an interpreter that imports BVLC Caffe's `caffe`. Each case is a net of one layer, its type,
parameters and sizes drawn at random (drawn_layers.py), on random inputs. Both run it, and outputs agree to
1e-5, gradients to 1e-4; or both refuse it; or the case is printed. Types that this Caffe lacks are left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from caffe import Caffe
from drawn_layers import DRAWS, Draw, Drawn
from exports import error

import caffe2torch as c2t
from caffe2torch.errors import Caffe2TorchError

Arrays = dict[str, np.ndarray]
SAME, REFUSED = "the same", "refused by both"
RUN = """
import os, sys
from pathlib import Path
import caffe
import numpy as np

def run(case):
    phase = caffe.TRAIN if (case / "TRAIN").exists() else caffe.TEST
    net = caffe.Net(str(case / "net.prototxt"), phase)
    if (case / "net.caffemodel").exists():
        net.copy_from(str(case / "net.caffemodel"))
    given = np.load(case / "given.npz")
    for key in given:
        if key.startswith("in."):
            net.blobs[key[3:]].data[...] = given[key]
    net.forward()
    found = {f"out.{top}": np.array(net.blobs[top].data) for top in net.outputs}
    tops = [key for key in given if key.startswith("gout.")]
    if tops:
        for key in tops:
            net.blobs[key[5:]].diff[...] = given[key]
        net.backward()
        found.update({f"gin.{blob}": np.array(net.blobs[blob].diff) for blob in net.inputs})
        blobs = ((layer, i, blob) for layer, own in net.params.items() for i, blob in enumerate(own))
        found.update({f"gparam.{layer}.{i}": np.array(blob.diff) for layer, i, blob in blobs})
    np.savez(case / "part.npz", **found)
    (case / "part.npz").rename(case / "found.npz")

print(" ".join(caffe.layer_type_list()))
sys.stdout.flush()
for case in sorted(Path(sys.argv[1]).iterdir()):
    if os.fork() == 0:  # Caffe ends the process when it refuses
        run(case)
        os._exit(0)
    os.wait()
"""


@dataclass
class Case:
    """A drawn layer, its results here or why it is refused, and the folder where Caffe finds it."""

    drawn: Drawn
    folder: Path
    given: Arrays = field(default_factory=dict)
    found: Arrays = field(default_factory=dict)
    refusal: str = ""

    def text(self) -> str:
        """The net."""
        shapes = [" ".join(f"dim: {size}" for size in bottom.shape) for bottom in self.drawn.bottoms]
        inputs = (
            f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {dims} }} }} }}\n'
            for i, dims in enumerate(shapes)
        )
        bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
        tops = " ".join(f'top: "y{i}"' for i in range(self.drawn.tops))
        layer = f'layer {{ name: "l" type: "{self.drawn.kind}" {bottoms} {tops} {self.drawn.fields} }}\n'
        return f"force_backward: true\n{''.join(inputs)}{layer}"

    def run_here(self) -> None:
        """Writes Caffe's inputs, and keeps our results."""
        self.folder.mkdir()
        (self.folder / "net.prototxt").write_text(self.text())
        self.given = {f"in.x{i}": bottom for i, bottom in enumerate(self.drawn.bottoms)}
        if self.drawn.train:
            (self.folder / "TRAIN").touch()
        try:
            self._forward_and_backward()
        except Caffe2TorchError as problem:
            self.refusal = str(problem)
        np.savez(self.folder / "given.npz", **self.given)

    def _forward_and_backward(self) -> None:
        net = c2t.read(self.folder / "net.prototxt")
        model = c2t.build(net, "TRAIN" if self.drawn.train else "TEST", allow_missing=True)
        blobs = model.blobs().get("l", [])
        if self.drawn.kind == "BatchNorm":
            for blob in blobs:
                blob.uniform_(0.5, 2)
        if blobs:
            c2t.export(model, self.folder / "net.caffemodel", check=False)
        bottoms = [torch.from_numpy(bottom.copy()) for bottom in self.drawn.bottoms]
        learned = bottoms[: len(bottoms) - self.drawn.labels] if self.drawn.backward else []
        for bottom in learned:
            bottom.requires_grad_()
        tops = model(*bottoms)
        self.found = {f"out.{blob}": top.detach().numpy().copy() for blob, top in tops.items()}
        if learned:
            gradients = _gradients(model, tops)
            self.given |= {f"gout.{blob}": gradient for blob, gradient in gradients.items()}
            total = sum((tops[blob] * torch.from_numpy(x)).sum() for blob, x in gradients.items())
            if total.requires_grad:  # a Power may be constant
                total.backward()
            self.found |= {f"gin.x{i}": _gradient(bottom) for i, bottom in enumerate(learned)}
            trained = (i for i, blob in enumerate(blobs) if blob.requires_grad)
            self.found |= {f"gparam.l.{i}": _gradient(blobs[i]) for i in trained}

    def verdict(self) -> str:
        """SAME, REFUSED, or what differs."""
        if not (self.folder / "found.npz").exists():
            return REFUSED if self.refusal else "Caffe refuses it"
        if self.refusal:
            return f"we refuse it: {self.refusal}"
        with np.load(self.folder / "found.npz") as caffes:
            for key, ours in self.found.items():
                off = error(ours, caffes[key])
                if off > (1e-5 if key.startswith("out.") else 1e-4):
                    return f"{key} {ours.shape} is off by {off:.1e}; Caffe's is {caffes[key].shape}"
        return SAME


def _gradients(model: torch.nn.Module, tops: dict[str, torch.Tensor]) -> Arrays:
    """The gradient of each top: its weight for a loss, random numbers for others."""
    draw = np.random.default_rng(0)
    gradients = {blob: np.asarray(draw.standard_normal(top.shape), np.float32) for blob, top in tops.items()}
    if any(layer.type.endswith("Loss") for layer in model.plan.net.layers):
        (blob,) = tops
        weight = model.loss({blob: torch.ones(())}).item()
        gradients = {blob: np.full(tops[blob].shape, weight, np.float32)}
    return gradients


def _gradient(tensor: torch.Tensor) -> np.ndarray:
    return (torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).numpy()


def main() -> None:
    """Prints the cases that differ, and a count."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("python", help="an interpreter that imports caffe")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = Draw(options.seed)
    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "cases")
        root.mkdir()
        cases = [Case(draw.choice(DRAWS)(draw), root / f"{i:06}") for i in range(options.cases)]
        for case in cases:
            case.run_here()
        known = Caffe(options.python, Path(folder)).say(RUN, root).split()
        verdicts = [(case, case.verdict()) for case in cases if case.drawn.kind in known]
    for case, verdict in verdicts:
        if verdict not in (SAME, REFUSED):
            print(f"{verdict}\n{case.text()}")
    counts = Counter(verdict if verdict in (SAME, REFUSED) else "different" for _, verdict in verdicts)
    types = len({case.drawn.kind for case, verdict in verdicts if verdict == SAME})
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in (SAME, REFUSED, "different"))
    print(f"{len(verdicts)} layers of {types} types: {said}")


if __name__ == "__main__":
    main()
