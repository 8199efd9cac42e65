"""`python benchmarks/training.py [--net voc-fcn32s|shapes-fcn8s] [--precision fp32|bf16] [--steps 20]`

A training of ours and a plain torch loop, in two processes, a step of one and a step of the other in turn.
Both see the same images of the same sizes in the same order, with the same dropout, and start from the same
weights. The plain loop has its tensors ready in memory; ours reads JPEG and PNG files and writes its log.

Prints the median seconds of a step, by the clock and of the processors, the peak memory of the processes, how
far the losses are from the plain loop's at the first step and at most, and how long a step waited for its
image. With --rounding, in place of ours the plain loop again, with the last bit of its pixels changed: how
far rounding alone takes losses apart.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fcn_repro.data.datasets import Dataset, open_dataset
from fcn_repro.data.examples import Example, Order, dropout_seed, examples
from fcn_repro.recipes import Init, Recipe, recipe
from fcn_repro.scoring.device import Process, arithmetic, device_name, synchronize, usable
from fcn_repro.training.arrangement import arranged
from fcn_repro.training.first_weights import initial
from fcn_repro.training.loop import Options, Training
from fcn_repro.workspace import Workspace

SIZES = {
    "voc-fcn32s": ((375, 500), (500, 375), (333, 500), (375, 500)),
    "shapes-fcn8s": ((96, 128),) * 4,
}
"""Heights and widths of the images: as in PASCAL VOC, whose pictures are up to 500 pixels, and of shapes."""
CLASSES = {"voc-fcn32s": 21, "shapes-fcn8s": 11}
WARM = 2
"""Steps of each that are not timed: the first makes the history."""


@dataclass(frozen=True)
class Step:
    """What a step took: seconds by the clock, of all processors, and waiting for the image; its loss."""

    seconds: float
    processor: float
    waited: float
    loss: float
    peak_mb: float


@dataclass(frozen=True)
class Job:
    """A loop to run in a process of its own."""

    net: str
    precision: str
    steps: int
    device: str
    images: Path


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--net", choices=tuple(SIZES), default="voc-fcn32s")
    parser.add_argument("--precision", choices=("fp32", "bf16"), nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounding", action="store_true")
    args = parser.parse_args()
    print(
        f"{args.net}, {args.steps} steps, on {device_name(usable(args.device))}, torch {torch.__version__}\n"
    )
    print(
        "| loop | precision | s | processor s | images/s of plain | GB at most | of plain | waits | losses |"
    )
    print("|---" * 9 + "|")
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), SIZES[args.net], CLASSES[args.net])
        for precision in args.precision:
            job = Job(args.net, precision, args.steps + WARM, args.device, Path(folder))
            name, loop = ("plain, rounded", plain_rounded) if args.rounding else ("ours", ours)
            print_rows(precision, name, *in_turn(job, plain, loop))


def print_rows(precision: str, other: str, plain: list[Step], ours: list[Step]) -> None:
    """Both loops' medians; the ratio is that of the clock's, then that of the processors' seconds."""
    clocks, processors, peaks = (
        [middle(steps, name) for steps in (plain, ours)] for name in ("seconds", "processor", "peak_mb")
    )
    apart = [abs(a.loss - b.loss) / abs(a.loss) for a, b in zip(plain, ours, strict=True)]
    for who, name in enumerate(("plain torch", other)):
        ratio = "" if not who else f"{clocks[0] / clocks[1]:.2f} ({processors[0] / processors[1]:.2f})"
        memory = f"{peaks[1] / peaks[0]:.2f}" if who else ""
        waits = f"{100 * middle(ours, 'waited') / clocks[1]:.1f} %" if who else ""
        far = f"{apart[0]:.0e}, {max(apart):.0e} apart" if who else ""
        row = [name, precision, f"{clocks[who]:.3f}", f"{processors[who]:.3f}", ratio]
        print("|", " | ".join([*row, f"{peaks[who] / 1000:.2f}", memory, waits, far]), "|", flush=True)


def middle(steps: list[Step], name: str) -> float:
    """The median of what the steps after the first ones took; of the peaks, the last."""
    values = [getattr(step, name) for step in steps[WARM:]]
    return float(values[-1] if name == "peak_mb" else median(values))


Loop = Callable[["Job", "Turns"], None]


def in_turn(job: Job, *loops: Loop) -> list[list[Step]]:
    """The steps of each loop, taken in turn by processes of their own."""
    context, found = multiprocessing.get_context("spawn"), [list[Step]() for _ in loops]
    with ExitStack() as ends:
        pipes = []
        for loop in loops:
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(loop, job, there))
            process.start()
            ends.callback(process.join)
            here.recv()  # its net is made
            pipes.append(here)
        for _ in range(job.steps):
            for pipe, steps in zip(pipes, found, strict=True):
                pipe.send("step")
                steps.append(pipe.recv())
    return found


def _serve(loop: Loop, job: Job, pipe: Connection) -> None:
    with suppress(Done):
        loop(job, Turns(pipe, job.steps))


class Done(Exception):
    """All steps were taken."""


class Turns:
    """In a loop's process: waits for its turn, and tells what the step took."""

    def __init__(self, pipe: Connection, steps: int) -> None:
        self._pipe, self._left = pipe, steps
        self._begun = self._processor = 0.0

    def begin(self) -> None:
        """Returns when the next step is due."""
        self._pipe.send("ready") if not self._begun else None
        self._pipe.recv()
        self._begun, self._processor = time.perf_counter(), time.process_time()

    def end(self, loss: float, waited: float = 0.0) -> None:
        """Tells of the step. Raises Done after the last one."""
        seconds, processor = time.perf_counter() - self._begun, time.process_time() - self._processor
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        self._pipe.send(Step(seconds, processor, waited, loss, peak))
        self._left -= 1
        if not self._left:
            raise Done


def ours(job: Job, turns: Turns) -> None:
    """Training.run, as `fcn-repro --train` calls it."""
    device, own, dataset = usable(job.device), recipe_of(job.net), open_dataset("folder", job.images, "all")
    model, waited = started(own, dataset).to(device), [0.0]

    def show(training: Training) -> None:
        turns.end(training.losses[-1], waited[0])
        turns.begin()

    with tempfile.TemporaryDirectory() as home, arranged(model):
        options = Options(job.precision, show=show)
        training = Training("net", own, model, dataset, None, Path(home), Process(0, 1, device), options)
        training.__dict__["_examples"] = _timed(training._examples, waited)  # cached: read from here on
        turns.begin()
        training.run()


def _timed(read: Iterator[Example], waited: list[float]) -> Iterator[Example]:
    """The examples; `waited[0]` is how long the last one took to come."""
    while True:
        begin = time.perf_counter()
        example = next(read)
        waited[0] = time.perf_counter() - begin
        yield example


def plain(job: Job, turns: Turns, scale: float = 1.0) -> None:
    """The loop that everybody writes: batches of one, NCHW, torch's loss, torch.optim.SGD."""
    device, own, dataset = usable(job.device), recipe_of(job.net), open_dataset("folder", job.images, "all")
    model = started(own, dataset).to(device)
    order, mean_bgr = Order("epochs", len(dataset), own.seed), own.data.mean_bgr
    seen = [
        example.to(device)
        for example in examples(dataset, range(job.steps), order, blobs=("data",), mean_bgr=mean_bgr)
    ]
    optimizer = optimizer_of(own, model)
    for example in seen:
        turns.begin()
        torch.manual_seed(dropout_seed(own.seed, example.number))
        optimizer.zero_grad()
        with arithmetic(job.precision, device):
            image, reduction = example.inputs["data"], "mean" if own.loss.normalize else "sum"
            scores = model(data=image * scale)
            loss = nn.functional.cross_entropy(
                scores, example.labels["sem"], ignore_index=255, reduction=reduction
            )
            torch.autograd.backward(loss)
        optimizer.step()
        synchronize(device)
        turns.end(loss.item())


def plain_rounded(job: Job, turns: Turns) -> None:
    """The same but for the last bit of each pixel."""
    plain(job, turns, 1 + torch.finfo(torch.float32).eps)


def optimizer_of(own: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Caffe's usual rates, biases at twice the rate and without decay, as pytorch-fcn sets them."""
    solver: Any = own.solver
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": solver["weight_decay"]},
        {"params": [p for p in trained if p.ndim == 1], "lr": 2 * solver["base_lr"]},
    ]
    return torch.optim.SGD(groups, lr=solver["base_lr"], momentum=solver["momentum"])


def recipe_of(net: str) -> Recipe:
    """The recipe, from random weights, with a row of the log for each step and no end."""
    own = recipe(net)
    rate, momentum = (1e-4, 0.9) if own.loss.normalize else (own.solver["base_lr"], own.solver["momentum"])
    data = replace(own.data, train="folder/all", val="", order="epochs", mirror=False)
    return replace(
        own,
        data=data,
        net=replace(own.net, classes=(CLASSES[net],)),
        init=Init(fresh=("*",)),
        solver={
            "base_lr": rate,
            "lr_policy": "fixed",
            "momentum": momentum,
            "weight_decay": 5e-4,
            "max_iter": 1 << 20,
            "display": 1,
        },
    )


def started(own: Recipe, dataset: Dataset) -> nn.Module:
    """The net with its first weights, the same in both loops."""
    model = initial(own, Workspace(Path()), dataset).model
    score = model.get_parameter("score_fr.weight")
    nn.init.normal_(score, std=0.001, generator=torch.Generator().manual_seed(1))
    return model


def write_images(folder: Path, sizes: tuple[tuple[int, int], ...], classes: int) -> None:
    """A folder of JPEG photos and PNG labels in smooth blobs, with some void."""
    random = np.random.default_rng(1)
    (folder / "classes.txt").write_text("\n".join(f"class{i}" for i in range(classes)))
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for number, (height, width) in enumerate(sizes):
        coarse = Image.fromarray(random.integers(0, 256, (height // 20, width // 20, 3), np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / "images" / f"{number}.jpg")
        blobs = random.integers(0, classes, (height // 40 + 1, width // 40 + 1), np.uint8)
        blobs[0, 0] = 255
        label = np.kron(blobs, np.ones((40, 40), np.uint8))[:height, :width]
        Image.fromarray(label).save(folder / "labels" / f"{number}.png")


if __name__ == "__main__":
    main()
