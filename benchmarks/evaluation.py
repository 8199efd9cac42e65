"""`python benchmarks/evaluation.py [--net narrow|full] [--images 8]`: what an evaluation does beside the net.

Evaluates a net on a folder of JPEG photos, its predictions saved, and times the net's own calls in the same
run: reading, counting and writing are to hide behind it. Then two processes with a thread each, against one
with two. At last the embedded net on shapes/test, whose images have many sizes, on one thread: as it is
evaluated, and as the module alone would be, by turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from training import CLASSES, SIZES, write_images

import caffe2torch as c2t
from caffe2torch.inference.optimized import Optimized
from fcn_repro.data.datasets import open_dataset
from fcn_repro.data.transforms import prepared
from fcn_repro.scoring import predict
from fcn_repro.scoring.device import device_name
from fcn_repro.scoring.evaluate import evaluate

NETS = {"narrow": ("shapes-fcn8s", (12, 16, 24, 32, 48, 96, 96)), "full": ("voc-fcn32s", c2t.VGG16)}


@contextmanager
def timed() -> Iterator[list[float]]:
    """Inside, the seconds of each call of an optimized net are kept."""
    seconds: list[float] = []
    call = Optimized.__call__

    def and_timed(self: Optimized, *images: Tensor, **inputs: Tensor) -> object:
        begin = time.perf_counter()
        scores = call(self, *images, **inputs)
        seconds.append(time.perf_counter() - begin)
        return scores

    with patch.object(Optimized, "__call__", and_timed):
        yield seconds


def evaluated(net: str, count: int, folder: Path) -> tuple[float, float]:
    """Seconds of an evaluation, and of the net alone in it."""
    images, widths = NETS[net]
    if not folder.is_dir():
        folder.mkdir()
        write_images(folder, SIZES[images] * -(-count // len(SIZES[images])), CLASSES[images])
    with timed() as seconds:
        found = evaluate(
            c2t.FCN8s(CLASSES[images], widths=widths),
            open_dataset("folder", folder, "all"),
            preparation=prepared(("data",), (104.0, 117.0, 123.0)),
            save_predictions=folder.parent / "predictions",
            progress=lambda done, of: None,
        )
    return found.seconds, sum(seconds[1:])  # the first one is to see what it predicts


def in_processes(net: str, count: int, folder: Path, processes: int) -> float:
    """Images/s of so many processes on as many threads as there are processors, or 2."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(2 // processes)}
    launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    arguments = [__file__, "--net", net, "--images", str(count), "--in", str(folder)]
    command = [sys.executable, *launch, *arguments]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return count * processes / float(out.split()[-1])  # the seconds are those of all processes


def against_module(rounds: int = 3) -> None:
    """Prints what the embedded net takes on shapes/test, and its module."""
    torch.set_num_threads(1)
    model = c2t.load(Path(__file__).parents[1] / "weights" / "shapes-fcn8s.caffemodel")
    opened = open_dataset("shapes", Path(), "test")
    ways = {"optimized": predict.fast, "module": lambda model, precision: model}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            with patch.object(predict, "fast", way):
                begin = time.process_time()
                found = evaluate(
                    model,
                    opened,
                    preparation=prepared(("data",), (104.00699, 116.66877, 122.67892)),
                    progress=lambda done, of: None,
                )
                spent[name].append((found.seconds, time.process_time() - begin))
    print("\n| shapes/test, one thread | images/s | processor seconds |\n|---|---|---|")
    for name, each in spent.items():
        seconds, processor = map(min, zip(*each, strict=True))
        print(f"| {name} | {len(opened) / seconds:.1f} | {processor:.2f} |")


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--net", choices=tuple(NETS), nargs="+", default=list(NETS))
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        seconds, _ = evaluated(args.net[0], args.images, args.folder)
        if os.environ.get("RANK", "0") == "0":
            print(seconds)
        return
    print(f"FCN-8s, {args.images} images, {device_name(torch.device('cpu'))}, torch {torch.__version__}\n")
    print("| net | s per image | of it beside the net | 2 processes / 1 of 2 threads, images/s |")
    print("|---|---|---|---|")
    for net in args.net:
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "images"
            total, own = evaluated(net, args.images, folder)
            two, one = (in_processes(net, args.images, folder, n) for n in (2, 1))
            beside = 100 * (1 - own / total)
            print(f"| {net} | {total / args.images:.3f} | {beside:.1f} % | {two / one:.2f} |", flush=True)
    against_module()


if __name__ == "__main__":
    main()
