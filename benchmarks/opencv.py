"""`python benchmarks/opencv.py [FOLDER ...]`: each net that comes with Caffe's outputs, in OpenCV and here.

OpenCV's importer, cv2.dnn.readNetFromCaffe, is how most people without Caffe run its models. Both read
the same prototxt and caffemodel and run on the inputs that Caffe ran on; the number is the largest
‖found - Caffe's‖ / ‖Caffe's‖ of any output. Then both read and run a full-size FCN-8s, in turn, on one core.
It alone needs opencv-python-headless, a version before 5.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from convert import random_weights
from exports import ALLOWED, GOLDEN, cell, error, stored

import caffe2torch as c2t
from caffe2torch.cli.survey import find

Blobs = Mapping[str, np.ndarray]
Run = Callable[[Blobs, list[str]], Blobs]
"""Inputs, and names of outputs -> outputs."""
Read = Callable[[Path, Path], Run]
Files = tuple[Path, Path, Path]
"""Prototxt, caffemodel, and what Caffe computed."""
IMAGE = (1, 3, 320, 400)


def ours(prototxt: Path, weights: Path) -> Run:
    """A net here."""
    model = c2t.load(weights, prototxt)

    def run(inputs: Blobs, outputs: list[str]) -> Blobs:
        with torch.inference_mode():
            tops = model(**{blob: torch.from_numpy(array) for blob, array in inputs.items()})
        return {blob: (tops if isinstance(tops, torch.Tensor) else tops[blob]).numpy() for blob in outputs}

    return run


def theirs(prototxt: Path, weights: Path) -> Run:
    """A net in OpenCV."""
    net = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))

    def run(inputs: Blobs, outputs: list[str]) -> Blobs:
        for blob, array in inputs.items():
            net.setInput(array, blob)
        return {blob: net.forward(blob) for blob in outputs}

    return run


def result(read: Read, files: Files) -> float | str:
    """The largest error of a net, or why there is none."""
    prototxt, weights, reference = files
    try:
        run = read(prototxt, weights)
        errors = []
        for one in stored(reference):
            found = run(one["in"], list(one["out"]))
            shapes = {blob: (found[blob].shape, wanted.shape) for blob, wanted in one["out"].items()}
            if odd := [f"{blob} is {x}, Caffe's {y}" for blob, (x, y) in shapes.items() if x != y]:
                return odd[0]
            errors += (error(found[blob], wanted) for blob, wanted in one["out"].items())
        return max(errors)
    except Exception as problem:  # OpenCV raises errors of its own
        return " ".join(str(problem).split())[-90:].replace("|", "¦")


def nets(folders: list[Path]) -> Iterator[Files]:
    """The nets whose outputs from Caffe are known."""
    for case in (case for folder in folders for case in find(folder)):
        if case.prototxt and case.weights and case.reference and case.prototxt.stem in ("net", "deploy"):
            yield case.prototxt, case.weights, case.reference


def compare(folders: list[Path]) -> None:
    """Prints one line per net, and a count."""
    print("| net | ours | OpenCV |\n|---|---|---|")
    rows = []
    for files in nets(folders):
        rows.append([result(read, files) for read in (ours, theirs)])
        print(f"| {files[0].parent.name} | {' | '.join(map(cell, rows[-1]))} |", flush=True)
    for name, column in zip(("ours", f"OpenCV {cv2.__version__}"), zip(*rows, strict=True), strict=True):
        errors = [error for error in column if isinstance(error, float)]
        right = sum(error <= ALLOWED for error in errors)
        print(f"\n{name}: {right} of {len(rows)} within {ALLOWED:g}, {len(errors) - right} wrong, ", end="")
        print(f"{len(rows) - len(errors)} refused or failed")


def measure(repeats: int) -> None:
    """Prints the seconds that each takes to read an FCN-8s and to run it."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    image = np.random.default_rng(0).standard_normal(IMAGE, np.float32) * 50
    times: dict[str, dict[str, list[float]]] = {"ours": {}, "OpenCV": {}}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        prototxt, weights = Path(folder, "fcn8s.prototxt"), Path(folder, "fcn8s.caffemodel")
        net = random_weights(c2t.define("FCN8s"), seed=0)
        c2t.export(net, weights, check=False)
        c2t.export(net, prototxt, check=False)
        for _ in range(repeats):
            scores = []
            for name, read in (("ours", ours), ("OpenCV", theirs)):
                start = time.perf_counter()
                run = read(prototxt, weights)
                times[name].setdefault("read", []).append(time.perf_counter() - start)
                run({"data": image}, ["score"])  # the first run also prepares
                start = time.perf_counter()
                scores.append(run({"data": image}, ["score"])["score"])
                times[name].setdefault("run", []).append(time.perf_counter() - start)
    print(f"\nFCN-8s, data {IMAGE}; medians of {repeats}; outputs differ by {error(*scores):.1e}\n")
    print("| | ours, s | OpenCV, s | ours / OpenCV |\n|---|---|---|---|")
    for what in ("read", "run"):
        a, b = (median(times[name][what]) for name in ("ours", "OpenCV"))
        print(f"| {what} | {a:.2f} | {b:.2f} | {a / b:.2f} |")


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[GOLDEN])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    compare(options.folders)
    measure(options.repeats)


if __name__ == "__main__":
    main()
