"""`python benchmarks/published.py FOLDER ...`: a forward pass of published models, here and in OpenCV.

Takes each net below the folders that has a prototxt, weights, and an input of its own (opencv.py), and runs
it on one core: by `c2t.optimize`, as the module that `c2t.load` gives, and in OpenCV's importer, by turns.
Prints the medians in ms. It needs opencv-python-headless, a version before 5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from exports import error, stored
from opencv import Blobs, Run, nets, ours, theirs

import caffe2torch as c2t

ROUNDS, LONG = 7, 0.02
"""How many rounds, and how many seconds a round takes at least."""


def optimized(prototxt: Path, weights: Path) -> Run:
    """A net by `c2t.optimize`."""
    fast = c2t.optimize(c2t.load(weights, prototxt))

    def run(inputs: Blobs, outputs: list[str]) -> Blobs:
        tops = fast(**{blob: torch.from_numpy(array) for blob, array in inputs.items()})
        return {blob: (tops if isinstance(tops, torch.Tensor) else tops[blob]).numpy() for blob in outputs}

    return run


WAYS = {"optimize": optimized, "torch": ours, "OpenCV": theirs}


def seconds(run: Callable[[], object], times: int) -> float:
    """Of one of so many runs."""
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def timed(files: tuple[Path, Path, Path]) -> dict[str, float | str]:
    """The median of each way, or why there is none."""
    prototxt, weights, reference = files
    one = next(stored(reference))
    inputs, outputs = one["in"], list(one["out"])
    found, runs = dict[str, float | str](), dict[str, Callable[[], Blobs]]()
    for name, read in WAYS.items():
        try:
            net = read(prototxt, weights)
            odd = max(error(value, one["out"][blob]) for blob, value in net(inputs, outputs).items())
            if not odd < 1e-4:
                raise ValueError(f"error {odd:.0e}")
            runs[name] = lambda net=net: net(inputs, outputs)
        except Exception as problem:  # OpenCV raises errors of its own
            found[name] = " ".join(str(problem).split())[-60:].replace("|", "¦")
    times = {name: max(1, round(LONG / seconds(run, 1))) for name, run in runs.items()}
    rounds = [{name: seconds(run, times[name]) for name, run in runs.items()} for _ in range(ROUNDS)]
    return found | {name: 1e3 * median(each[name] for each in rounds) for name in runs}


def main() -> None:
    """Prints a Markdown table, and what it comes to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"torch {torch.__version__}, OpenCV {cv2.__version__}, one thread\n")
    print("| net | optimize, ms | torch / optimize | OpenCV / optimize |\n|---|---|---|---|")
    ratios: dict[str, list[float]] = {"torch": [], "OpenCV": []}
    for files in nets(options.folders):
        found = timed(files)
        own, cells = found["optimize"], []
        for name in ratios:
            theirs_, both = found[name], isinstance(own, float) and isinstance(found[name], float)
            cells.append(f"{theirs_ / own:.2f}" if both else f"{theirs_}")
            ratios[name] += [theirs_ / own] if both else []
        shown = f"{own:.2f}" if isinstance(own, float) else own
        print(f"| {files[0].parent.name} | {shown} | {' | '.join(cells)} |", flush=True)
    for name, values in ratios.items():
        slower = sum(value < 1 for value in values)
        print(f"\n{name}: of {len(values)} nets, {slower} are faster there; median {np.median(values):.2f}, "
              f"least {min(values):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
