"""`python benchmarks/engines_published.py MODELS [--engine NAME ...] [--into DIR] [--write]`.

Published nets where people deploy: each below MODELS that has a net.prototxt, weights, and an input of its
own in an .npz, in the engines of engines.py. The net gets the image, and as a batch of two the half of
it and of its mirror image. Prints the error ‖delta‖ / ‖ours‖, and the time for the image as a multiple of
that of `c2t.optimize`: each the shortest of 20, with as many threads as it takes unless told. --write puts
the table into docs/deploy.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from engines import ENGINES, Array, Engine, compared, head, options_of, tabulate, write
from exports import stored
from in_engines.shortest import shortest

import caffe2torch as c2t
from caffe2torch.cli.survey import Case, find
from caffe2torch.errors import UnsupportedLayer

USUAL = ("onnxruntime", "OpenVINO", "OpenCV 4", "OpenCV 5", "MNN", "tract", "ncnn", "ExecuTorch")
TIMES = 20


def nets(folder: Path) -> dict[str, Case]:
    """The nets by the names of their folders."""
    cases = (case for case in find(folder) if case.prototxt and case.weights and case.reference)
    return {case.prototxt.parent.name: case for case in cases}


def images(case: Case) -> list[list[Array]]:
    """The sets of inputs of a net."""
    (image,) = (array[:1] for array in next(stored(case.reference))["in"].values())
    return [[image], [np.concatenate([image, image[..., ::-1]]) / 2]]


def tried(cases: Mapping[str, Case], engine: Engine, net: str, python: Path, files: Path) -> str:
    """The error and the time of a net, at a fixed size if it cannot be had or run at a free one."""
    case = cases[net]
    model = c2t.build(c2t.read(case.prototxt, case.weights)).eval()
    given, how = images(case), ""
    try:
        found = compared(engine, model, python, files / net, given, TIMES)
    except (UnsupportedLayer, RuntimeError):
        if engine.fixed or engine.suffix == ".py":
            raise
        found = compared(replace(engine, fixed=True), model, python, files / net, given, TIMES)
        how = ", with --size"
    return f"{found.error:.1e}, {found.seconds / seconds(model, given[0]):.2g}x{how}"


def seconds(model: c2t.CaffeNet, given: Sequence[Array]) -> float:
    """The least that we take."""
    fast = c2t.optimize(model)
    tensors = [torch.from_numpy(array) for array in given]
    fast(*tensors)
    return shortest(lambda: fast(*tensors), TIMES)


def main() -> None:
    """Prints the table of published nets."""
    parser = options_of(__doc__, tuple(ENGINES))
    parser.set_defaults(engine=list(USUAL))
    parser.add_argument("models", type=Path)
    options = parser.parse_args()
    cases = nets(options.models)
    names = list(cases)
    table = tabulate(options.engine, names, options.into, partial(tried, cases))
    if options.write:
        write([head(names), *(table.row(name, names) for name in USUAL)], Path(__file__).name)


if __name__ == "__main__":
    main()
