"""`python benchmarks/exports.py [FOLDER ...] [--formats onnx pt2 ...]`: every net through every format.

Each net below the folders (by default the ten FCNs of the tests) is written in each format, loaded afresh and
run. The number is the largest relative error of its outputs: on random inputs of two sizes against our model,
and on the inputs that Caffe's outputs are stored for against those. 1e-5 is allowed.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

import caffe2torch as c2t
from caffe2torch.coverage import Case, find
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.export.conversion import Conversion, conversion

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "fcn"
RUN = ("safetensors", "hub", "pt", "py", "caffemodel", "caffemodel.h5", "pt2", "onnx")
export = import_module("caffe2torch.export")  # c2t.export is the function


def stored(reference: Path) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """What Caffe computed: for each set of an .npz its inputs and outputs by blob name."""
    sets: dict[str, dict[str, dict[str, np.ndarray]]] = defaultdict(lambda: {"in": {}, "out": {}})
    with np.load(reference) as arrays:
        for name in arrays:
            if part := re.fullmatch(r"(?:(\d+)\.)?(in|out)\.(.+)", name):
                sets[part[1]][part[2]][part[3]] = arrays[name].astype(np.float32)
    yield from sets.values()


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """‖found - wanted‖ / ‖wanted‖; where both are the same infinity or NaN, nothing."""
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    delta = np.where(same, 0, found.astype(np.float64) - np.where(same, 0, wanted))
    norm = np.linalg.norm(wanted[np.isfinite(wanted)].astype(np.float64))
    return float(np.linalg.norm(delta) / max(norm, 1e-30)) if delta.any() else 0.0


def through(converted: Conversion, name: str, case: Case, folder: str) -> float:
    """The largest error of a net that was written and loaded again."""
    known = export.formats()[name]
    path = f"{folder}/net{known.suffixes[0]}"
    check = export.write(converted, path, name, run=True)
    load = import_module("caffe2torch.export.check").loaded
    run = load(known, Path(path), converted)
    errors = [check.report.worst]
    for one in stored(case.reference) if case.reference else ():
        tops = run(one["in"])
        errors += (error(tops[blob], wanted) for blob, wanted in one["out"].items() if blob in tops)
    return max(errors)


def cell(converted: Conversion, name: str, case: Case) -> str:
    """The error, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            worst = through(converted, name, case, folder)
        except Caffe2TorchError as problem:
            return f"{type(problem).__name__}: {problem}".replace("|", "¦")
    return f"{worst:.1e}" if worst <= 1e-5 else f"**{worst:.1e}**"


def main() -> None:
    """Prints one line per net, as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[GOLDEN])
    parser.add_argument("--formats", nargs="+", choices=RUN, default=RUN)
    options = parser.parse_args()
    print(f"| net | {' | '.join(options.formats)} | seconds |")
    print("|---" * (len(options.formats) + 2) + "|")
    for folder in options.folders:
        for case in find(folder):
            start = time.perf_counter()
            try:
                converted = conversion(c2t.read(case.prototxt, case.weights))
                missing = any(parameter.blob is None for parameter in converted.plan.parameters())
            except Caffe2TorchError:
                continue  # no net, or none that is converted: --survey tells which
            if missing:
                continue  # a definition alone
            cells = [cell(converted, name, case) for name in options.formats]
            seconds = f"{time.perf_counter() - start:.0f}"
            print(f"| {case.name(folder)} | {' | '.join([*cells, seconds])} |", flush=True)


if __name__ == "__main__":
    main()
