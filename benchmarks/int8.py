"""`python benchmarks/int8.py [--engine NAME ...] [--images N]`: what int8 does to labels.

FCN-32s and FCN-8s, trained on `shapes`, quantized after training by three tools, each calibrated on 32 images
of the training set, with some layers left in float. Prints for each how many of the pixels of N test images
have the label that the net gives in float32, and the mean IU beside float32's.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engines import ENGINES, Engine, installed, ran
from in_engines.quantizing import CALIBRATED_ON

import caffe2torch as c2t
from fcn_repro.data.datasets import open_dataset
from fcn_repro.scoring.metrics import Confusion

WEIGHTS = Path(__file__).parents[1] / "weights"
NETS = ("shapes-fcn32s", "shapes-fcn8s")
TOOLS = {
    "NNCF": (ENGINES["NNCF, int8"], ("all", "upsampling", "ends", "ends+exact")),
    "onnxruntime": (
        Engine(("onnxruntime==1.32.0",), "onnxruntime_int8"),
        ("all+tensor", "all", "upsampling", "ends"),
    ),
    "torchao": (ENGINES["torchao pt2e, int8"], ("all", "upsampling", "ends")),
}
"""The engines of in_engines, and the settings that each is tried with (in_engines/quantizing.py)."""
Array = np.ndarray[Any, Any]


def samples(split: str, count: int, model: c2t.CaffeNet) -> list[tuple[Array, Array]]:
    """Images as the net sees them (1, 3, H, W), and their labels (H, W)."""
    data = open_dataset("shapes", ".", split)
    prepare = model.preprocessing["data"]
    return [(prepare(data[k].image_hwc[:, :, ::-1])[None], data[k].label) for k in range(count)]


def mean_iu(labels: Sequence[Array], truth: Sequence[Array], classes: int) -> float:
    """Of labels against the true ones, in percent."""
    confusion = Confusion(classes)
    for ours, wanted in zip(labels, truth, strict=True):
        confusion.add(wanted, ours)
    return confusion.scores().percent()["mean_iu"]


def row(tool: str, how: str, net: str, python: Path, folder: Path, count: int) -> str:
    """A net quantized in one way, as a row of the table."""
    engine = TOOLS[tool][0]
    model = c2t.load(WEIGHTS / f"{net}.caffemodel")
    file = folder / net / f"net{engine.suffix}"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)  # another tool takes another form
        c2t.export(model, file)
    calibrating = [[image] for image, _ in samples("train", CALIBRATED_ON, model)]
    tests = samples("test", count, model)
    given = [*calibrating, *([image] for image, _ in tests)]
    quantizing = replace(engine, module=f"{engine.module}:{how}")
    tops = [top for (top,) in ran(quantizing, python, file, given).tops][CALIBRATED_ON:]
    with torch.no_grad():
        floats = [model(torch.from_numpy(image)).numpy() for image, _ in tests]
    ours, theirs = ([x.argmax(1)[0] for x in scores] for scores in (floats, tops))
    same = 100 * np.mean(np.concatenate([(a == b).ravel() for a, b in zip(ours, theirs, strict=True)]))
    truth, classes = [label for _, label in tests], floats[0].shape[1]
    before, after = (mean_iu(labels, truth, classes) for labels in (ours, theirs))
    return f"| {tool} | {how} | {net} | {same:.2f} % | {before:.1f} | {after:.1f} |"


def main() -> None:
    """Prints a row per tool, setting and net, as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engine", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--images", type=int, default=50)
    options = parser.parse_args()
    print("| tool | setting | net | labels as in fp32 | mean IU, fp32 | mean IU, int8 |\n" + "|---" * 6 + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for tool in options.engine:
            engine, settings = TOOLS[tool]
            with installed(engine, folder / "environment") as python:
                for net, how in itertools.product(NETS, settings):
                    try:
                        print(row(tool, how, net, python, folder, options.images), flush=True)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        print(f"| {tool} | {how} | {net} | no: {str(error)[:150]} |", flush=True)


if __name__ == "__main__":
    main()
