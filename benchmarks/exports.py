"""`python benchmarks/exports.py [FOLDER ...] [--formats onnx pt2 ...]`: every net through every format.

Each net below the folders (by default the ten FCNs of the tests) is written in each format, reloaded and
run. The number is the largest relative error of its outputs: on random inputs of two sizes against our model,
and on stored inputs against Caffe's stored outputs. 1e-5 is allowed.
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

import caffe2torch as c2t
from caffe2torch.cli.survey import Case, find
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.writing.model import Model, model_of

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "fcn"
ALLOWED = 1e-5
RUN = ("safetensors", "hub", "pt", "py", "caffemodel", "caffemodel.h5", "pt2", "onnx")
export = import_module("caffe2torch.formats")  # c2t.export is the function


def stored(reference: Path) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """What Caffe computed: the inputs and outputs by blob name, for each set of an .npz."""
    sets: dict[str, dict[str, dict[str, np.ndarray]]] = defaultdict(lambda: {"in": {}, "out": {}})
    with np.load(reference) as arrays:
        for name in arrays:
            if part := re.fullmatch(r"(?:(\d+)\.)?(in|out)\.(.+)", name):
                sets[part[1]][part[2]][part[3]] = arrays[name].astype(np.float32)
    yield from sets.values()


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """‖found - wanted‖ / ‖wanted‖, without infinities and NaN that agree; infinite if shapes differ."""
    if found.shape != wanted.shape:
        return math.inf
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    delta = np.where(same, 0, found.astype(np.float64) - np.where(same, 0, wanted))
    norm = np.linalg.norm(wanted[np.isfinite(wanted)].astype(np.float64))
    return float(np.linalg.norm(delta) / max(norm, 1e-30)) if delta.any() else 0.0


def through(converted: Model, name: str, case: Case, folder: str) -> float:
    """The largest error of a net after writing and reloading it."""
    known = export.formats()[name]
    path = f"{folder}/net{known.suffixes[0]}"
    check = export.write(converted, path, name, run=True)
    load = import_module("caffe2torch.writing.checking").loaded
    run = load(known, Path(path), converted)
    errors = [check.report.worst]
    for one in stored(case.reference) if case.reference else ():
        tops = run(one["in"])
        errors += (error(tops[blob], wanted) for blob, wanted in one["out"].items() if blob in tops)
    return max(errors)


def results(converted: Model, case: Case, formats: list[str]) -> Iterator[float | str]:
    """The error for each format, or why there is none."""
    for name in formats:
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield through(converted, name, case, folder)
            except Caffe2TorchError as problem:
                yield f"{type(problem).__name__}: {problem}".replace("|", "¦")


def cell(result: float | str) -> str:
    """A result in the table; bold if it is not within 1e-5."""
    if isinstance(result, str):
        return result
    return f"{result:.1e}" if result <= ALLOWED else f"**{result:.1e}**"


def last_row(rows: list[list[float | str]]) -> list[str]:
    """The largest error of each column, out of how many, and how many were refused."""
    cells = []
    for column in zip(*rows, strict=True):
        errors = [result for result in column if isinstance(result, float)]
        refused = f", {len(column) - len(errors)} refused" if len(errors) < len(column) else ""
        cells.append(f"{cell(max(errors, default=0.0))} of {len(errors)}{refused}")
    return cells


def nets(folder: Path) -> Iterator[tuple[Case, Model]]:
    """The nets below a folder that convert and have values; `--survey` reports the others."""
    for case in find(folder):
        try:
            converted = model_of(c2t.read(case.prototxt, case.weights))
            if all(parameter.blob is not None for parameter in converted.plan.parameters()):
                yield case, converted
        except Caffe2TorchError:
            continue


def main() -> None:
    """Prints one line per net, as a Markdown table, and one for all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[GOLDEN])
    parser.add_argument("--formats", nargs="+", choices=RUN, default=list(RUN))
    options = parser.parse_args()
    print(f"| net | {' | '.join(options.formats)} | seconds |")
    print("|---" * (len(options.formats) + 2) + "|")
    rows = []
    for folder in options.folders:
        for case, converted in nets(folder):
            start = time.perf_counter()
            rows.append(list(results(converted, case, options.formats)))
            seconds = f"{time.perf_counter() - start:.0f}"
            print(f"| {case.name(folder)} | {' | '.join([*map(cell, rows[-1]), seconds])} |", flush=True)
    print(f"| the largest of {len(rows)} | {' | '.join(last_row(rows))} | |")


if __name__ == "__main__":
    main()
