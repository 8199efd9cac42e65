"""`python benchmarks/engines.py [--engine NAME ...] [--into DIR] [--write]`: exports where people deploy.

Installs each engine's pinned packages in an environment of its own, writes four FCNs in the form that it
takes, runs them at three sizes and on two images at once, and compares with our model. Prints a row per
engine: the error ‖delta‖ / ‖ours‖ and the least share of pixels with the same label, or what it says instead.

DIR keeps what was measured, so that a run that was stopped goes on from there; an environment is removed once
its engine is done. --write puts the table into docs/deploy.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
SECONDS = 1800
"""For one net in one engine."""
PAGE = HERE.parent / "docs" / "deploy.md"
Array = np.ndarray[Any, Any]
Try = Callable[["Engine", str, Path, Path], str]
"""An engine, a net, the Python of the engine, and a folder for files -> what a cell says."""


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
    python: str = ""
    """The version of Python that it needs, with the dependencies that its packages name; "" for ours."""

    @property
    def command(self) -> str:
        """How fcn-convert writes the file."""
        options = "".join(f" --{name} {value}" for name, value in self.options.items())
        return f"-o NET{self.suffix}{' --size HxW --batch N' * self.fixed}{options}"


ENGINES = {
    "onnxruntime": Engine(("onnxruntime==1.32.0",), "check_in:onnxruntime"),
    "OpenVINO": Engine(("openvino==2026.4.1",), "check_in:openvino"),
    "OpenCV 4": Engine(("opencv-python-headless==4.14.0.94",), "check_in:opencv", fixed=True),
    "OpenCV 5": Engine(("opencv-python-headless==5.0.0.93",), "check_in:opencv"),
    "MNN": Engine(("MNN==3.6.1",), "check_in:mnn"),
    "tract": Engine(("tract==0.23.9",), "check_in:tract"),
    "tinygrad": Engine(("tinygrad==0.14.0",), "tinygrad_cpu"),
    "IREE": Engine(
        ("iree-base-compiler==3.13.0", "iree-base-runtime==3.13.0"),
        "iree_cpu",
        options={"upsampling": "dense"},
        fixed=True,
    ),
    "TVM": Engine(("apache-tvm==0.27.0.post1", "apache-tvm-ffi==0.1.15.post2"), "tvm_cpu", fixed=True),
    "onnx2torch": Engine(("onnx2torch==1.5.15", "torchvision==0.28.0"), "onnx_to_torch"),
    "NNCF, int8": Engine(
        (
            *("nncf==3.4.0", "openvino==2026.4.1", "openvino-telemetry==2025.2.0", "tabulate==0.9.0"),
            *("psutil==7.1.3", "pydot==4.0.1", "pyparsing==3.2.5", "scikit-learn==1.7.2", "joblib==1.5.2"),
            "threadpoolctl==3.6.0",
        ),
        "nncf_int8",
    ),
    "RKNN's simulator": Engine(
        (
            *("rknn-toolkit2==2.5.0", "onnx==1.18.0", "onnxruntime==1.22.0", "numpy==1.26.4"),
            *("protobuf==4.25.4", "fast-histogram==0.14", "ruamel.yaml==0.18.10", "ml_dtypes==0.5.1"),
            *("opencv-python-headless==4.11.0.86", "psutil==7.1.3", "scipy==1.11.4"),
        ),
        "rknn_simulator",
        fixed=True,
    ),
    "onnx2tf": Engine(("onnx2tf==2.6.9",), "onnx_to_tf", options={"upsampling": "dense"}, python="3.12"),
    "ExecuTorch": Engine(
        (
            *("executorch==1.5.1", "torchao==0.18.0", "pandas==2.3.3", "tabulate==0.9.0"),
            *("ruamel.yaml==0.18.10", "python-dateutil==2.9.0.post0", "pytz==2025.2", "six==1.17.0"),
        ),
        "executorch_cpu",
        ".pt2",
    ),
    "torchao pt2e, int8": Engine(("torchao==0.18.0",), "torchao_int8", ".pt2"),
    "Core ML": Engine(
        ("coremltools==9.0", "attrs==25.4.0", "cattrs==25.3.0", "pyaml==25.7.0"),
        "core_ml",
        ".pt2",
        fixed=True,
    ),
    "LiteRT": Engine(
        (
            *("litert-torch==0.10.0", "ai-edge-litert==2.3.0", "litert-converter==0.5.0"),
            *("ai-edge-quantizer==0.10.0", "torchao==0.18.0", "jax==0.10.0", "jaxlib==0.10.0"),
            *("jaxtyping==0.3.11", "multipledispatch==1.0.0", "tabulate==0.10.0", "fire==0.7.1"),
            *("immutabledict==4.3.1", "opt_einsum==3.4.0", "backports.strenum==1.2.8"),
            *("wadler_lindig==0.1.8", "termcolor==3.3.0", "absl-py==2.3.1", "scipy==1.16.3"),
            *("flatbuffers==25.9.23", "ml_dtypes==0.5.4", "tqdm==4.67.1"),
        ),
        "litert",
        ".pt2",
        fixed=True,
    ),
    "ncnn": Engine(("ncnn==1.0.20261020", "pnnx==20261020"), "ncnn_cpu", ".py"),
    "torch.jit.script": Engine((), "torch_script", ".py"),
    "torch.jit.trace": Engine((), "torch_trace", ".py"),
    "torch.compile": Engine((), "torch_compile", ".py"),
    "AOTInductor": Engine((), "aotinductor", ".pt2"),
}


@dataclass(frozen=True)
class Found:
    """How far an engine's outputs are from ours, at worst."""

    error: float
    same: float
    """The share of pixels with the same label, in percent."""
    seconds: float
    """The least that the first set of inputs took; infinite where it was not timed."""


@dataclass(frozen=True)
class Ran:
    """What an engine gave."""

    tops: Sequence[Sequence[Array]]
    """The outputs for each set of inputs."""
    seconds: float
    """As in Found."""


@contextmanager
def installed(engine: Engine, folder: Path) -> Iterator[Path]:
    """An environment of an engine, while it is needed."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
    try:
        yield environment(engine, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(engine: Engine, folder: Path) -> Path:
    """A Python with the engine's packages, and ours after them; torch is not installed twice."""
    python = folder / "bin" / "python"
    install = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    if engine.python:
        base = shutil.which(f"python{engine.python}")
        if base is None:
            raise RuntimeError(f"needs Python {engine.python}")
        subprocess.run([base, "-m", "venv", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text(f"{HERE}\n")
        subprocess.run([*install, *engine.packages], check=True)
        return python
    venv.create(folder, with_pip=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    ours = [sysconfig.get_path("purelib"), *map(str, (Path(np.__file__).parents[1], HERE, HERE.parent))]
    (site / "ours.pth").write_text("\n".join(ours) + "\n")
    if engine.packages:
        subprocess.run([*install, "--no-deps", *engine.packages], check=True)
    return python


def inputs(model: c2t.CaffeNet, size: tuple[int, int, int]) -> list[Array]:
    """Images as a net sees them, about zero."""
    images, height, width = size
    draw = np.random.default_rng(images * height)
    shapes = [(images, shape[1], height, width) for shape in model.plan.inputs.values() if shape]
    return [(draw.random(shape, np.float32) - 0.5) * 200 for shape in shapes]


def tried(engine: Engine, net: str, python: Path, files: Path) -> str:
    """A golden net in an engine, at all sizes, as `compared` does it."""
    model = c2t.build(c2t.read(weights=GOLDEN / net / "weights.caffemodel")).eval()
    found = compared(engine, model, python, files / net, [inputs(model, size) for size in SIZES])
    return f"{found.error:.1e}, {found.same:.2f} %"


def compared(
    engine: Engine,
    model: c2t.CaffeNet,
    python: Path,
    files: Path,
    given: Sequence[Sequence[Array]],
    times: int = 0,
) -> Found:
    """A net in an engine, on sets of inputs.

    Raises RuntimeError with the last words that the engine printed.
    """
    errors, same, seconds = [0.0], [100.0], list[float]()
    for sets in [[arrays] for arrays in given] if engine.fixed else [given]:
        file = exported(engine, model, files, sets[0][0].shape)
        found = ran(engine, python, file, sets, times)
        seconds.append(found.seconds)
        for arrays, tops in zip(sets, found.tops, strict=True):
            with torch.no_grad():
                wanted = [top.numpy() for top in model(*map(torch.from_numpy, arrays)).values()]
            for ours, theirs in zip(wanted, tops, strict=True):
                if theirs.shape != ours.shape:
                    raise RuntimeError(f"gives {theirs.shape}, not {ours.shape}")
                errors.append(float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours)))
                same.append(100 * float((theirs.argmax(1) == ours.argmax(1)).mean()))
    return Found(float(np.max(errors)), min(same), seconds[0])  # NaN stays NaN


def exported(engine: Engine, model: c2t.CaffeNet, folder: Path, shape: tuple[int, ...]) -> Path:
    """The file that an engine takes, written once for all that take the same."""
    images, _, height, width = shape
    fixed = {"size": (height, width), "batch": images} if engine.fixed else {}
    wishes = fixed | dict(engine.options)
    file = folder / "-".join(["net", *map(str, wishes.values())]) / f"net{engine.suffix}"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        c2t.export(model, file, **wishes)
    return file


def ran(engine: Engine, python: Path, file: Path, given: Sequence[Sequence[Array]], times: int = 0) -> Ran:
    """The outputs for each set of inputs; the first one is run so many times more, and timed."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(file.parent, folder, dirs_exist_ok=True)
        sets, found = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(sets, **{f"{k}.{i}": x for k, arrays in enumerate(given) for i, x in enumerate(arrays)})
        command = [
            python,
            "-m",
            "in_engines",
            engine.module,
            Path(folder, file.name),
            sets,
            found,
            str(times),
        ]
        with Path(folder, "log").open("w+") as log:
            done = subprocess.run(command, stdout=log, stderr=log, timeout=SECONDS, cwd=folder, check=False)
            log.seek(0)
            said, _, _ = log.read().partition("Stack backtrace")  # Rust's, after the message
            lines = [line for line in said.splitlines() if any(map(str.isalpha, line))]
        if done.returncode or not found.exists():
            raise RuntimeError(lines[-1] if lines else f"ended with {done.returncode}")
        with np.load(found) as stored:
            tops = [[stored[name] for name in stored if name.startswith(f"{k}.")] for k in range(len(given))]
            return Ran(tops, float(stored["seconds"]))


class Table:
    """The cells measured so far, by engine and net, in a file; those of other packages do not count."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cells: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    @staticmethod
    def _key(name: str, net: str) -> str:
        engine = ENGINES[name]
        return " | ".join([name, net, engine.command, *engine.packages])

    def __getitem__(self, place: tuple[str, str]) -> str:
        return self._cells.get(self._key(*place), "(not run)")

    def __setitem__(self, place: tuple[str, str], cell: str) -> None:
        self._cells[self._key(*place)] = cell
        self._file.write_text(json.dumps(self._cells, indent=1))

    def missing(self, name: str, nets: Sequence[str]) -> list[str]:
        """The nets that an engine has not yet run."""
        return [net for net in nets if self[name, net].startswith("(")]

    def row(self, name: str, nets: Sequence[str]) -> str:
        """An engine's row, in Markdown."""
        engine = ENGINES[name]
        packages = engine.packages[0] if engine.packages else "torch"
        cells = " | ".join(self[name, net] for net in nets)
        return f"| {name} | `{packages}` | `{engine.command}` | {cells} |"


def measure(table: Table, name: str, nets: Sequence[str], place: Path, attempt: Try) -> None:
    """Runs the nets that an engine has not yet run."""
    engine, left = ENGINES[name], table.missing(name, nets)
    if not left:
        return
    try:
        with installed(engine, place / "environment") as python:
            for net in left:
                table[name, net] = cell(attempt, engine, net, python, place / "files")
    except (RuntimeError, subprocess.SubprocessError) as error:
        for net in left:
            table[name, net] = shown(f"cannot be installed: {error}")


def cell(attempt: Try, engine: Engine, net: str, python: Path, files: Path) -> str:
    """The result for a net, or what stopped it."""
    try:
        return attempt(engine, net, python, files)
    except subprocess.TimeoutExpired:
        return shown(f"took more than {SECONDS} s")
    except (RuntimeError, subprocess.SubprocessError, Caffe2TorchError) as error:
        return shown(str(error))


def shown(problem: str) -> str:
    """What stopped an engine, for a cell."""
    return f"({problem.strip('> ').removeprefix('RuntimeError: ')[:150]})".replace("|", "¦").replace(
        "\n", " "
    )


def head(nets: Sequence[str]) -> str:
    """The first rows of the table."""
    return f"| engine | packages | fcn-convert | {' | '.join(nets)} |\n{'|---' * (3 + len(nets))}|"


def write(lines: Sequence[str], script: str) -> None:
    """Puts the table of a script into the page, with the versions and the day."""
    before, rest = PAGE.read_text().split(begin := f"<!-- written by benchmarks/{script} -->\n")
    _, after = rest.split(end := "<!-- end -->\n", 1)
    version = f"Python {sys.version.split()[0]}, torch {torch.__version__.split('+')[0]}"
    day = f"{datetime.date.today():%d %B %Y}".lstrip("0")
    table = "\n".join([*lines, "", f"{version} on a CPU, {day}."])
    PAGE.write_text(f"{before}{begin}{table}\n{end}{after}")


def options_of(description: str | None, engines: Sequence[str]) -> argparse.ArgumentParser:
    """The options of a script that makes such a table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engine", nargs="+", choices=engines, default=list(engines))
    parser.add_argument("--into", type=Path, metavar="DIR", help="keeps what was measured and exported")
    parser.add_argument("--write", action="store_true", help="puts the whole table into docs/deploy.md")
    return parser


def tabulate(chosen: Sequence[str], nets: Sequence[str], into: Path | None, attempt: Try) -> Table:
    """Runs nets in engines, and prints a row per engine, as a Markdown table."""
    print(head(nets), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = (into or Path(folder)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        table = Table(place / "cells.json")
        for name in chosen:
            measure(table, name, nets, place, attempt)
            print(table.row(name, nets), flush=True)
    return table


def main() -> None:
    """Prints the table of the golden nets."""
    parser = options_of(__doc__, tuple(ENGINES))
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS))
    options = parser.parse_args()
    table = tabulate(options.engine, options.net, options.into, tried)
    if options.write:
        write([head(NETS), *(table.row(name, NETS) for name in ENGINES)], Path(__file__).name)


if __name__ == "__main__":
    main()
