"""`python benchmarks/engines.py [--engine NAME ...] [--into DIR]`: our exports where people deploy them.

Installs each engine's pinned packages in an environment of its own, writes four FCNs in the form that it
takes, runs them at three sizes and on two images at once, and compares with our model. Prints a row per
engine: the error ‖delta‖ / ‖ours‖ and the least share of pixels with the same label, or what it says instead.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import caffe2torch as c2t
from caffe2torch.errors import Caffe2TorchError

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "tests" / "golden" / "fcn"
NETS = ("voc-fcn8s", "voc-fcn32s", "siftflow-fcn8s", "voc-fcn-alexnet")
SIZES = ((1, 97, 131), (1, 160, 96), (1, 61, 83), (2, 97, 131))
"""Images, height, width."""
SECONDS = 900
"""For one net in one engine."""


@dataclass(frozen=True)
class Engine:
    """An engine: its packages, the module of in_engines that runs it, and the form of file that it takes."""

    packages: tuple[str, ...]
    module: str
    suffix: str = ".onnx"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `c2t.export`."""
    fixed: bool = False
    """Whether it takes a file for each size."""

    @property
    def command(self) -> str:
        """How fcn-convert writes the file."""
        options = "".join(f" --{name} {value}" for name, value in self.options.items())
        return f"-o NET{self.suffix}{' --size HxW --batch N' * self.fixed}{options}"


ENGINES = {
    "onnxruntime": Engine(("onnxruntime==1.32.0",), "ort"),
    "OpenVINO": Engine(("openvino==2026.4.1",), "openvino_cpu"),
    "OpenCV 4": Engine(("opencv-python-headless==4.14.0.94",), "opencv", fixed=True),
    "OpenCV 5": Engine(("opencv-python-headless==5.0.0.93",), "opencv"),
    "MNN": Engine(("MNN==3.6.1",), "mnn"),
    "tract": Engine(("tract==0.23.9",), "tract_cpu"),
    "tinygrad": Engine(("tinygrad==0.14.0",), "tinygrad_cpu"),
    "onnx2torch": Engine(("onnx2torch==1.5.15",), "onnx_to_torch"),
    "AOTInductor": Engine((), "aotinductor", ".pt2"),
    "ExecuTorch": Engine(("executorch==1.5.1",), "executorch_cpu", ".pt2"),
    "ncnn": Engine(("ncnn==1.0.20261020", "pnnx==20261020"), "ncnn_cpu", ".py"),
    "torch.compile": Engine((), "torch_compile", ".py"),
    "torch.jit.script": Engine((), "torch_script", ".py"),
    "torch.jit.trace": Engine((), "torch_trace", ".py"),
}


@dataclass(frozen=True)
class Found:
    """How far an engine's outputs are from ours, at worst."""

    error: float
    same: float
    """The share of pixels with the same label, in percent."""

    def __str__(self) -> str:
        return f"{self.error:.1e}, {self.same:.2f} %"


def environment(engine: Engine, folder: Path) -> Path:
    """A Python with the engine's packages, and ours after them; torch is not installed twice."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        ours = [sysconfig.get_path("purelib"), str(Path(np.__file__).parents[1]), str(HERE)]
        (site / "ours.pth").write_text("\n".join(ours) + "\n")
        if engine.packages:
            quiet = ("-q", "--disable-pip-version-check", "--no-deps")
            subprocess.run([python, "-m", "pip", "install", *quiet, *engine.packages], check=True)
    return python


def inputs(model: c2t.CaffeNet, size: tuple[int, int, int]) -> list[np.ndarray[Any, Any]]:
    """Images as a net sees them, about zero."""
    images, height, width = size
    draw = np.random.default_rng(images * height)
    shapes = [(images, shape[1], height, width) for shape in model.plan.inputs.values() if shape]
    return [(draw.random(shape, np.float32) - 0.5) * 200 for shape in shapes]


def tried(engine: Engine, python: Path, net: str) -> Found:
    """A net in an engine, at all sizes. Raises RuntimeError with the last line that the engine printed."""
    model = c2t.build(c2t.read(weights=GOLDEN / net / "weights.caffemodel")).eval()
    errors, same = [0.0], [100.0]
    for sizes in [[size] for size in SIZES] if engine.fixed else [list(SIZES)]:
        given = [inputs(model, size) for size in sizes]
        for arrays, tops in zip(given, ran(engine, python, model, given), strict=True):
            with torch.no_grad():
                wanted = [top.numpy() for top in model(*map(torch.from_numpy, arrays)).values()]
            for ours, theirs in zip(wanted, tops, strict=True):
                if theirs.shape != ours.shape:
                    raise RuntimeError(f"gives {theirs.shape}, not {ours.shape}")
                errors.append(float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours)))
                same.append(100 * float((theirs.argmax(1) == ours.argmax(1)).mean()))
    return Found(max(errors), min(same))


def ran(
    engine: Engine, python: Path, model: c2t.CaffeNet, given: Sequence[Sequence[np.ndarray[Any, Any]]]
) -> Iterator[list[np.ndarray[Any, Any]]]:
    """The outputs for each set of inputs."""
    with tempfile.TemporaryDirectory() as folder:
        file, sets, found = (Path(folder, name) for name in (f"net{engine.suffix}", "in.npz", "out.npz"))
        images, _, height, width = given[0][0].shape
        fixed = {"size": (height, width), "batch": images} if engine.fixed else {}
        c2t.export(model, file, **fixed, **engine.options)
        np.savez(sets, **{f"{k}.{i}": x for k, arrays in enumerate(given) for i, x in enumerate(arrays)})
        command = [python, "-m", "in_engines", engine.module, file, sets, found]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=folder,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise RuntimeError(lines[-1])
        with np.load(found) as stored:
            for k in range(len(given)):
                names = [name for name in stored if name.startswith(f"{k}.")]
                yield [stored[f"{k}.{i}"] for i in range(len(names))]


def cell(engine: Engine, python: Path, net: str) -> str:
    """The result for a net, or what stopped it."""
    try:
        return str(tried(engine, python, net))
    except (RuntimeError, subprocess.TimeoutExpired, Caffe2TorchError) as error:
        return f"no: {error}".replace("|", "¦").replace("\n", " ")[:150]


def main() -> None:
    """Prints a row per engine, as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--into", type=Path, help="keeps the environments there")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}\n")
    print(f"| engine | packages | fcn-convert | {' | '.join(options.net)} |")
    print("|---" * (3 + len(options.net)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.engine:
            engine = ENGINES[name]
            python = environment(engine, (options.into or Path(folder)) / name.replace(" ", "-"))
            cells = [cell(engine, python, net) for net in options.net]
            packages = ", ".join(engine.packages) or "torch"
            print(f"| {name} | {packages} | {engine.command} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
