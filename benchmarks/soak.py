"""`python benchmarks/soak.py [-o docs/soak.svg] [--rounds 2000]`: conversions, evaluations and segmentations.

All in one process, one of each in a round: to each format in turn, of three images on which a small net is
scored, and of two photos. Memory, open file descriptors and threads must not grow with the rounds. The
chart goes into the file, and what is printed says how they grow: by the least squares, without the first
quarter. Each sample is also shown on stderr as it is taken.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import caffe2torch as c2t
from caffe2torch.cli.main import main as convert
from fcn_repro.cli import main as repro
from fcn_repro.report.html import Markup, element
from fcn_repro.segmenting.cli import main as segment

FORMATS = ("safetensors", "pt", "caffemodel", "caffemodel.h5", "prototxt", "/")
SLOW = ("onnx", "pt2", "py")
"""Formats that take seconds: one of them in every SLOW_EVERY rounds."""
SLOW_EVERY = 100
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 48, 64] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "small" type: "Convolution" bottom: "pool" top: "small"
        convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "score" type: "Deconvolution" bottom: "small" top: "score"
        convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 } }
"""
MODEL = "model.safetensors"
SAMPLES = 100
WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 560, 240, 40, 90, 30, 30
CURVES = {"MB": "#c2410c", "files": "#3d6fb4", "threads": "#4d7c0f"}


@dataclass(frozen=True)
class Sample:
    """What the process holds after so many rounds."""

    rounds: int
    MB: float
    files: int
    threads: int


def main() -> None:
    """Runs the rounds, prints what grew, and draws it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/soak.svg"))
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    begin, samples = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        options.output = options.output.absolute()
        os.chdir(_prepared(Path(folder)))
        for done in _rounds(options.rounds):
            if done % max(1, options.rounds // SAMPLES) == 0:
                samples.append(_sample(done))
                print(samples[-1], file=sys.stderr)
    print(f"{options.rounds} rounds in {time.perf_counter() - begin:.0f} s\n")
    print("| rounds | MB | open files | threads |\n|--:|--:|--:|--:|")
    shown = [samples[len(samples) * i // 5] for i in range(5)] + [samples[-1]]
    for sample in shown:
        print(f"| {sample.rounds:,} | {sample.MB:.0f} | {sample.files} | {sample.threads} |")
    slopes = {name: _slope(samples, name) for name in CURVES}
    print("\nper 1,000 rounds: " + ", ".join(f"{slope * 1000:+.2f} {name}" for name, slope in slopes.items()))
    options.output.write_text(str(_chart(samples)))


def _prepared(folder: Path) -> Path:
    """Models, three images with labels, and two photos."""
    (folder / "net.prototxt").write_text(NET)
    model = c2t.build(c2t.read(folder / "net.prototxt")).eval()
    model.preprocessing = {"data": c2t.Preprocessing((104.0, 117.0, 123.0), channels="BGR")}
    colours = ((0, 0, 0), (200, 0, 0), (0, 200, 0))
    model.labellings = {"score": c2t.Labelling(("nothing", "one", "two"), colours)}
    c2t.export(model, folder / "model.caffemodel")
    c2t.export(model, folder / "model.safetensors")
    random = np.random.default_rng(1)
    for place, count in (("mine/val/images", 3), ("mine/val/labels", 3), ("photos", 2)):
        (folder / place).mkdir(parents=True)
        for number in range(count):
            size = (48, 64) if "labels" in place else (48, 64, 3)
            pixels = random.integers(0, 3 if "labels" in place else 256, size, np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number}.png")
    (folder / "mine" / "classes.txt").write_text("nothing\none\ntwo\n")
    return folder


def _rounds(count: int) -> Iterator[int]:
    """How many rounds are done, after each."""
    for number in range(count):
        form = FORMATS[number % len(FORMATS)]
        if number % SLOW_EVERY == SLOW_EVERY - 1:
            form = SLOW[number // SLOW_EVERY % len(SLOW)]
        Path("out").mkdir()
        _call(convert, "model.caffemodel", "-o", f"out/net.{form}" if form != "/" else "out/net/")
        _call(repro, "--evaluate", MODEL, "--on", "folder/val", "--data", "mine", "--home", "out")
        _call(segment, "photos", "--model", MODEL, "-o", "out/seen")
        shutil.rmtree("out")
        yield number + 1


def _call(command: Callable[[Sequence[str]], int], *words: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        code = command(words)
    if code:
        raise SystemExit(f"{' '.join(words)} ended with exit code {code}")


def _sample(rounds: int) -> Sample:
    lines = Path("/proc/self/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    files, threads = (sum(1 for _ in Path("/proc/self", name).iterdir()) for name in ("fd", "task"))
    return Sample(rounds, memory / 1000, files, threads)


def _slope(samples: Sequence[Sample], name: str) -> float:
    """What a round adds, by the least squares over the last three quarters."""
    late = samples[len(samples) // 4 :]
    return float(np.polyfit([s.rounds for s in late], [getattr(s, name) for s in late], 1)[0])


def _chart(samples: Sequence[Sample]) -> Markup:
    """A curve for each, from 0 to its own largest value."""
    across = (WIDTH - LEFT - RIGHT) / samples[-1].rounds
    parts = [element("rect", width=WIDTH, height=HEIGHT, fill="#fff")]
    for place, (name, colour) in enumerate(CURVES.items()):
        values = [getattr(sample, name) for sample in samples]
        # Each in a third of the height, so that no two curves meet.
        down = (HEIGHT - TOP - FOOT) / 3 * 0.8 / max(values)
        foot = TOP + (HEIGHT - TOP - FOOT) / 3 * (place + 1)
        path = " ".join(
            f"{LEFT + s.rounds * across:.1f},{foot - v * down:.1f}"
            for s, v in zip(samples, values, strict=True)
        )
        parts += [
            element("line", x1=LEFT, y1=round(foot, 1), x2=WIDTH - RIGHT, y2=round(foot, 1), stroke="#bbb"),
            element("polyline", points=path, fill="none", stroke=colour, stroke_width=1.5),
            element(
                "text", f"{values[-1]:.0f} {name}", fill=colour,
                x=WIDTH - RIGHT + 6, y=round(foot - values[-1] * down + 4, 1),
            ),
        ]  # fmt: skip
    parts += [
        element("text", "a process after so many rounds", x=8, y=14, fill="#1c1f24"),
        *(
            element(
                "text",
                f"{n:,}",
                x=round(LEFT + n * across),
                y=HEIGHT - 12,
                text_anchor="middle",
                fill="#626a76",
            )
            for n in (0, samples[-1].rounds // 2, samples[-1].rounds)
        ),
    ]
    return element(
        "svg", parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH,
        style="font: 11px sans-serif",
    )  # fmt: skip


if __name__ == "__main__":
    main()
