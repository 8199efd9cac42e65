"""`python benchmarks/training.py [cpu|cuda]`: images/s of a training run and of a plain torch loop, in turn.

The same narrow FCN-32s, images and losses. The plain loop has its tensors ready in memory and steps with
torch.optim.SGD(foreach=True); ours reads samples from memory, or renders them, while the net computes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from fcn_repro.data.datasets import Dataset, Sample, open_dataset
from fcn_repro.data.examples import Order, examples
from fcn_repro.recipes import DataSpec, Init, LossSpec, NetSpec, Recipe
from fcn_repro.scoring.device import Process, synchronize, usable
from fcn_repro.training.first_weights import initial
from fcn_repro.training.log import TRAIN, read_rows
from fcn_repro.training.loop import Training
from fcn_repro.workspace import Workspace

IMAGES, ROUNDS, WARM = 40, 3, 20
WIDTHS = (12, 16, 24, 32, 48, 96, 96)
RECIPE = Recipe(
    title="A narrow FCN-32s, from random weights",
    source=(),
    data=DataSpec("shapes/val", (104.00699, 116.66877, 122.67892), order="epochs"),
    net=NetSpec("FCN32s", (11,), widths=WIDTHS),
    init=Init(fresh=("*",)),
    loss=LossSpec(normalize=True),
    solver={
        "base_lr": 1e-3,
        "lr_policy": "fixed",
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "max_iter": IMAGES + WARM,
        "display": WARM,
    },
)


class InMemory:
    """A data set whose samples were read in advance."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._samples = dataset, list(dataset)

    def __getattr__(self, name: str) -> object:
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


def ours(dataset: Dataset, device: torch.device) -> float:
    """Images/s of Training.run, without the first ones, from its own log."""
    with tempfile.TemporaryDirectory() as home:
        model = initial(RECIPE, Workspace(Path(home)), dataset).model.to(device)
        Training("net", RECIPE, model, dataset, None, Path(home), Process(0, 1, device)).run()
        rows = read_rows(Path(home) / "train.csv", TRAIN)
    return statistics.median(row["images_per_s"] for row in rows[1:])


def plain(dataset: Dataset, device: torch.device) -> float:
    """Images/s of the loop that everybody writes."""
    model = initial(RECIPE, Workspace(Path()), dataset).model.to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-3, momentum=0.9, weight_decay=5e-4, foreach=True)
    order = Order("epochs", len(dataset), RECIPE.seed)
    seen = examples(dataset, range(IMAGES + WARM), order, blobs=("data",), mean_bgr=RECIPE.data.mean_bgr)
    pairs = [(example.inputs["data"].to(device), example.labels["sem"].to(device)) for example in seen]
    speeds = []
    for start in range(0, len(pairs), WARM):
        begin = time.perf_counter()
        for image, label in pairs[start : start + WARM]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data=image), label, ignore_index=255).backward()
            optimizer.step()
        synchronize(device)
        speeds.append(WARM / (time.perf_counter() - begin))
    return statistics.median(speeds[1:])


def main(device: str) -> None:
    """Prints a Markdown table."""
    place, rendered = usable(device), open_dataset("shapes", ".", "val")
    kept = InMemory(rendered)
    loops = {
        "plain torch, tensors in memory": lambda: plain(kept, place),
        "fcn-repro, samples in memory": lambda: ours(kept, place),
        "fcn-repro, samples rendered": lambda: ours(rendered, place),
    }
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            speeds[name].append(loop())
    threads = torch.get_num_threads()
    print(f"FCN-32s, widths {WIDTHS}, on {device}, {threads} threads; medians of {ROUNDS} rounds\n")
    print("| loop | images/s | of plain torch's |")
    print("|---|---|---|")
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    for name, median in medians.items():
        print(f"| {name} | {median:.1f} | {median / next(iter(medians.values())):.2f} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
