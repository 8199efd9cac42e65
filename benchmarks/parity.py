"""`python benchmarks/parity.py [FOLDER]`: how close our FCNs come to what real Caffe computed, net by net.

Each net is converted from nothing but its caffemodel. `outputs` is the largest relative error over all stored
blobs for two image sizes, for the net built from its own definition and for the hand-written module; `loss`
and `gradients` are those of one training step without dropout.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

import caffe2torch as c2t

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "fcn"


def relative(ours: torch.Tensor, reference: np.ndarray) -> float:
    """‖ours - reference‖ / ‖reference‖, in float64."""
    expected = torch.from_numpy(np.asarray(reference, np.float64))
    return float((ours.double() - expected).norm() / expected.norm().clamp(min=1e-300))


def training(weights: Path, io: dict[str, np.ndarray]) -> tuple[float, float]:
    """The largest relative errors of the losses and of the parameters' gradients."""
    model = c2t.build(c2t.read(weights=weights), "TRAIN").eval()  # eval: Caffe ran with dropout_ratio 0
    tops = model(
        **{k.removeprefix("train.in."): torch.from_numpy(io[k]) for k in io if k.startswith("train.in.")}
    )
    model.loss(tops).backward()
    losses = [relative(tops[k.split(".")[2]].detach(), io[k]) for k in io if k.startswith("train.loss.")]
    blobs, gradients = model.blobs(), []
    for key in (k for k in io if k.startswith("train.gparam.")):
        layer, position = key.removeprefix("train.gparam.").rsplit(".", 1)
        gradients.append(relative(blobs[layer][int(position)].grad, io[key]))
    return max(losses), max(gradients)


def main(folder: Path) -> None:
    """Prints one line per net, as a Markdown table."""
    print("| net | layers | blobs | outputs, built | outputs, hand-written | loss | gradients |")
    print("|---|---|---|---|---|---|---|")
    for net in sorted(path for path in folder.iterdir() if (path / "io.npz").exists()):
        weights, reference = net / "weights.caffemodel", net / "io.npz"
        model = c2t.build(c2t.read(weights=weights))
        built, written = c2t.verify(model, reference), c2t.verify(c2t.load(weights), reference)
        loss, gradients = training(weights, dict(np.load(reference)))
        errors = (built.worst, written.worst, loss, gradients)
        columns = " | ".join(f"{error:.1e}" for error in errors)
        print(f"| {net.name} | {len(model.plan.steps)} | {len(built.rows)} | {columns} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN)
