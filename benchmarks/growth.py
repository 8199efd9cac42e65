"""`python benchmarks/growth.py [-o docs/growth] [--quick]`: time and memory as something grows.

Each point is a process of its own: processor seconds of one call, the least of three, and the memory it took
at most beyond what it had before. A chart for each thing that grows goes into the folder, and the table that
is printed says as which power of it time and memory grow, by the two largest points.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

import caffe2torch as c2t
from caffe2torch.plan import plan
from fcn_repro.report.html import Markup, element

NARROW = (12, 16, 24, 32, 48, 96, 96)
REPEATS = 3
WIDTH, HEIGHT, LEFT, ROOM, TOP, FOOT = 380, 220, 66, 78, 34, 40
"""Of a chart, and the margins around its curves."""
COLOURS = {"seconds": "#3d6fb4", "MB": "#c2410c"}
LINE = 13
"""The height of a value beside a curve's end."""
Call = Callable[[], object]


@dataclass(frozen=True)
class Sweep:
    """What grows, through which sizes, and what is called for each; `quick` are the sizes for a trial."""

    name: str
    what: str
    unit: str
    sizes: tuple[int, ...]
    prepare: Callable[[int, Path], Call]
    quick: tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """The cost at a size."""

    size: int
    seconds: float
    MB: float


def _forward(classes: int, batch: int, height: int, width: int) -> Call:
    model = c2t.FCN8s(classes, widths=NARROW).eval()
    images = torch.rand(batch, 3, height, width)

    def call() -> None:
        with torch.inference_mode():
            model(images).argmax(1)

    return call


def _read_and_write(megabytes: int, folder: Path) -> Call:
    outputs = megabytes * 250_000 // 4096
    net = f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 4096 }} }} }}
        layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "y"
                 inner_product_param {{ num_output: {outputs} }} }}"""
    (folder / "net.prototxt").write_text(net)
    model = c2t.build(c2t.read(folder / "net.prototxt"))
    c2t.export(model, folder / "net.caffemodel")
    del model
    return lambda: c2t.export(c2t.read(None, folder / "net.caffemodel"), folder / "net.safetensors")


def _planned(count: int, folder: Path) -> Call:
    """A chain of convolutions, each with its ReLU in place; all layers of a kind have one name."""
    pair = """
        layer {{ name: "conv" type: "Convolution" bottom: "b{i}" top: "b{j}"
                 convolution_param {{ num_output: 4 kernel_size: 1 }} }}
        layer {{ name: "relu" type: "ReLU" bottom: "b{j}" top: "b{j}" }}"""
    first = (
        'layer { name: "in" type: "Input" top: "b0" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 8 } } }'
    )
    path = folder / "net.prototxt"
    path.write_text(first + "".join(pair.format(i=i, j=i + 1) for i in range(count // 2)))
    return lambda: plan(c2t.read(path))


def _read_inputs(count: int, folder: Path) -> Call:
    inputs = "".join(f'input: "x{i}" input_shape {{ dim: 1 dim: 4 }} ' for i in range(count))
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(count))
    path = folder / "net.prototxt"
    path.write_text(f'{inputs} layer {{ name: "sum" type: "Eltwise" top: "y" {bottoms} }}')
    return lambda: plan(c2t.read(path))


SWEEPS = (
    Sweep(
        *("area", "forward, narrow FCN-8s, 11 classes", "pixels"),
        tuple(side * side for side in (128, 256, 512, 1024)),
        lambda size, _: _forward(11, 1, math.isqrt(size), math.isqrt(size)),
        (32 * 32, 64 * 64),
    ),
    Sweep(
        *("batch", "forward, narrow FCN-8s, 96 x 128", "images"),
        (1, 4, 16, 64),
        lambda size, _: _forward(11, size, 96, 128),
        (1, 2),
    ),
    Sweep(
        *("classes", "forward, narrow FCN-8s, 256 x 256", "classes"),
        (10, 40, 160, 640),
        lambda size, _: _forward(size, 1, 256, 256),
        (2, 3),
    ),
    Sweep("file", "caffemodel to checked safetensors", "MB", (8, 32, 128, 512), _read_and_write, (1, 2)),
    Sweep(
        "layers", "reading and planning a prototxt", "layers", (1250, 5000, 10000, 40000), _planned, (10, 20)
    ),
    Sweep("inputs", "the same, of a sum of inputs", "inputs", (750, 1500, 3000), _read_inputs, (10, 20)),
)


def main() -> None:
    """Prints a Markdown table and writes the charts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/growth"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    print("| what grows | sizes | processor s | MB | s as power | MB as power |")
    print("|---" * 6 + "|")
    for sweep in SWEEPS:
        points = [measured(sweep, size) for size in (sweep.quick if args.quick else sweep.sizes)]
        (args.output / f"{sweep.name}.svg").write_text(f"{chart(sweep, points)}\n")
        columns = [
            f"[{sweep.unit}]({args.output.name}/{sweep.name}.svg): {sweep.what}",
            *(", ".join(form.format(getattr(p, name)) for p in points) for name, form in FORMS.items()),
            *(f"{power(points, name):.2f}" for name in COLOURS),
        ]
        print("|", " | ".join(columns), "|", flush=True)


FORMS = {"size": "{:,}", "seconds": "{:.3g}", "MB": "{:.0f}"}


def measured(sweep: Sweep, size: int) -> Point:
    """The cost at a size, in a process of its own."""
    here, there = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=_measure, args=(sweep, size, there))
    process.start()
    there.close()
    seconds, megabytes = here.recv()
    process.join()
    return Point(size, seconds, megabytes)


def _measure(sweep: Sweep, size: int, pipe: Connection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        call = sweep.prepare(size, Path(folder))
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
        before, seconds = _memory("VmRSS"), []
        for _ in range(REPEATS):
            begin = time.process_time()
            call()
            seconds.append(time.process_time() - begin)
        pipe.send((min(seconds), _memory("VmHWM") - before))


def _memory(field: str) -> float:
    """A line of this process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1000


def power(points: Sequence[Point], name: str) -> float:
    """The slope between the last two points, both axes logarithmic."""
    (x, y), (x2, y2) = ((p.size, max(getattr(p, name), 1e-6)) for p in points[-2:])
    return math.log(y2 / y) / math.log(x2 / x)


def chart(sweep: Sweep, points: Sequence[Point]) -> Markup:
    """Both curves over the size, all axes logarithmic; what is as steep as the grey line is proportional."""
    xs = [math.log10(p.size) for p in points]
    curves = {name: [math.log10(max(getattr(p, name), 1e-3)) for p in points] for name in COLOURS}
    across = (WIDTH - LEFT - ROOM) / (xs[-1] - xs[0])
    down = (HEIGHT - TOP - FOOT) / max(xs[-1] - xs[0], *(max(ys) - min(ys) for ys in curves.values()))
    right = [LEFT + (x - xs[0]) * across for x in xs]
    places = {name: [TOP + (max(ys) - y) * down for y in ys] for name, ys in curves.items()}
    foot = TOP + (xs[-1] - xs[0]) * down
    labels = [
        _label(name, point, x + (5 if end else -5), y, "start" if end else "end")
        for end, x in ((0, right[0]), (-1, right[-1]))
        for point in (points[end],)
        for name, y in _apart({name: ys[end] for name, ys in places.items()}).items()
    ]
    return element(
        "svg",
        element("rect", width=WIDTH, height=HEIGHT, fill="#fff"),
        element("text", sweep.what, x=8, y=14, fill="#1c1f24"),
        element(
            "line", x1=LEFT, y1=round(foot, 1), x2=right[-1], y2=TOP, stroke="#bbb", stroke_dasharray="3 3"
        ),
        [_curve(name, list(zip(right, ys, strict=True))) for name, ys in places.items()],
        labels,
        [
            element("text", f"{p.size:,}", x=round(x, 1), y=HEIGHT - 18, text_anchor="middle", fill="#626a76")
            for x, p in zip(right, points, strict=True)
        ],
        element("text", sweep.unit, x=WIDTH - 8, y=HEIGHT - 4, text_anchor="end", fill="#626a76"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        style="font: 11px sans-serif",
    )


def _curve(name: str, places: Sequence[tuple[float, float]]) -> Markup:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return element("polyline", points=path, fill="none", stroke=COLOURS[name], stroke_width=1.5)


def _label(name: str, point: Point, x: float, y: float, anchor: str) -> Markup:
    """A value beside the end of its curve."""
    value = f"{getattr(point, name):.3g} {'s' if name == 'seconds' else name}"
    return element("text", value, x=round(x, 1), y=round(y + 4, 1), text_anchor=anchor, fill=COLOURS[name])


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """The heights of two labels, so that neither covers the other."""
    (upper, high), (lower, low) = sorted(heights.items(), key=lambda item: item[1])
    missing = max(0.0, LINE - (low - high)) / 2
    return {upper: high - missing, lower: low + missing}


if __name__ == "__main__":
    main()
