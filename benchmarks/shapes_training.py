"""`python benchmarks/shapes_training.py --home DIR [--seeds 1337 1 2]`: the rendered streets, seed by seed.

Trains each recipe for the data set shapes with each seed, scores it on shapes/test, and prints mean IU with
its mean and spread over the seeds. What DIR/sSEED already has is kept; an interrupted run is resumed.
`--weights` then writes the first seed's nets into weights/, without the zeros of their upsampling.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import caffe2torch as c2t
from caffe2torch.blob import Blob, diagonal_of, is_diagonal

WEIGHTS = Path(__file__).parents[1] / "weights"
STAGES = (
    "shapes-classifier",
    "shapes-fcn32s-fixed",
    "shapes-fcn32s",
    "shapes-fcn16s",
    "shapes-fcn8s",
)


def main(home: Path, seeds: Sequence[int]) -> None:
    """Prints one line for each net."""
    scores = {seed: dict(_scored(home / f"s{seed}", seed)) for seed in seeds}
    print("mean IU on shapes/test, 200 images, %\n")
    print(f"| net | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | spread |")
    print("|---" * (len(seeds) + 3) + "|")
    for stage in STAGES[1:]:
        own = [scores[seed][stage] for seed in seeds]
        spread = max(own) - min(own)
        print(f"| {stage} | {' | '.join(f'{x:.2f}' for x in own)} | {mean(own):.2f} | {spread:.2f} |")


def _scored(home: Path, seed: int) -> Any:
    for stage in STAGES:
        if not (home / "models" / f"{stage}.safetensors").is_file():
            begin = time.perf_counter()
            _run("--train", stage, "--seed", str(seed), "--resume", "--home", str(home))
            print(f"{stage}, seed {seed}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    for stage in STAGES[1:]:
        stored = home / "results" / f"{stage}-shapes-test.json"
        if not stored.is_file():
            model = str(home / "models" / f"{stage}.safetensors")
            _run("--evaluate", model, "--on", "shapes/test", "--home", str(home))
        yield stage, json.loads(stored.read_text())["heads"]["sem"]["scores_percent"]["mean_iu"]


def write_weights(models: Path, folder: Path = WEIGHTS) -> None:
    """Writes the trained nets, and what they know, as caffemodels with a group per channel in deconvolutions.

    Dense, as the published nets have them, ten elevenths of these kernels are zeros.
    """
    for stage in STAGES[1:]:
        trained = c2t.load(models / f"{stage}.safetensors")
        net = trained.net()
        grouped = c2t.build(replace(net, layers=tuple(map(_grouped, net.layers))))
        grouped.preprocessing, grouped.labellings = trained.preprocessing, trained.labellings
        c2t.export(grouped, folder / f"{stage}.caffemodel")


def _grouped(layer: c2t.Layer) -> c2t.Layer:
    """A layer, its frozen deconvolution's kernel kept as its channel diagonal: the same numbers."""
    if layer.type != "Deconvolution" or not is_diagonal(kernel := layer.blobs[0].read()):
        return layer
    p = layer.fields.convolution_param
    fields = layer.fields.replace(convolution_param=p.replace(group=p.num_output))
    return replace(layer, blobs=(Blob.of(diagonal_of(kernel)),), fields=fields)


def _run(*arguments: str) -> None:
    command = [sys.executable, "-m", "fcn_repro.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("demo"), help="where the runs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1337, 1, 2])
    parser.add_argument("--weights", action="store_true", help="write the first seed's nets into weights/")
    args = parser.parse_args()
    main(args.home, args.seeds)
    if args.weights:
        write_weights(args.home / f"s{args.seeds[0]}" / "models")
