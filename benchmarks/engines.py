"""`python benchmarks/engines.py [--engine NAME ...] [--into DIR]`: our exports where people deploy them.

Installs each engine's pinned packages in an environment of its own, writes four FCNs in the form that it
takes, runs them at three sizes and on two images at once, and compares with our model. Prints a row per
engine: the error ‖delta‖ / ‖ours‖ and the least share of pixels with the same label, or what it says instead.
"""

from __future__ import annotations

import argparse
import shutil
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
    "AOTInductor": Engine((), "aotinductor", ".pt2"),
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
        ("coremltools==9.0", "attrs==25.4.0", "cattrs==25.3.0", "pyaml==25.7.0"), "core_ml", ".pt2"
    ),
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
    quiet = ("-q", "--disable-pip-version-check")
    if not python.exists():
        venv.create(folder, with_pip=True)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        ours = [sysconfig.get_path("purelib"), *map(str, (Path(np.__file__).parents[1], HERE, HERE.parent))]
        (site / "ours.pth").write_text("\n".join(ours) + "\n")
        if engine.packages:
            subprocess.run(
                [python, "-m", "pip", "install", *quiet, "--no-deps", *engine.packages], check=True
            )
    return python


def inputs(model: c2t.CaffeNet, size: tuple[int, int, int]) -> list[np.ndarray[Any, Any]]:
    """Images as a net sees them, about zero."""
    images, height, width = size
    draw = np.random.default_rng(images * height)
    shapes = [(images, shape[1], height, width) for shape in model.plan.inputs.values() if shape]
    return [(draw.random(shape, np.float32) - 0.5) * 200 for shape in shapes]


def tried(engine: Engine, net: str, place: Path, name: str) -> Found:
    """A net in an engine, at all sizes. Raises RuntimeError with the last line that the engine printed."""
    python = environment(engine, place / name.replace(" ", "-"))
    model = c2t.build(c2t.read(weights=GOLDEN / net / "weights.caffemodel")).eval()
    errors, same = [0.0], [100.0]
    for sizes in [[size] for size in SIZES] if engine.fixed else [list(SIZES)]:
        given = [inputs(model, size) for size in sizes]
        file = exported(engine, model, place / "files" / net, sizes[0])
        for arrays, tops in zip(given, ran(engine, python, file, given), strict=True):
            with torch.no_grad():
                wanted = [top.numpy() for top in model(*map(torch.from_numpy, arrays)).values()]
            for ours, theirs in zip(wanted, tops, strict=True):
                if theirs.shape != ours.shape:
                    raise RuntimeError(f"gives {theirs.shape}, not {ours.shape}")
                errors.append(float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours)))
                same.append(100 * float((theirs.argmax(1) == ours.argmax(1)).mean()))
    return Found(float(np.max(errors)), min(same))  # NaN stays NaN


def exported(engine: Engine, model: c2t.CaffeNet, folder: Path, size: tuple[int, int, int]) -> Path:
    """The file that an engine takes, written once for all that take the same."""
    images, height, width = size
    fixed = {"size": (height, width), "batch": images} if engine.fixed else {}
    wishes = fixed | dict(engine.options)
    file = folder / "-".join(["net", *map(str, wishes.values())]) / f"net{engine.suffix}"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        c2t.export(model, file, **wishes)
    return file


def ran(
    engine: Engine, python: Path, file: Path, given: Sequence[Sequence[np.ndarray[Any, Any]]]
) -> Iterator[list[np.ndarray[Any, Any]]]:
    """The outputs for each set of inputs."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(file.parent, folder, dirs_exist_ok=True)
        sets, found = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(sets, **{f"{k}.{i}": x for k, arrays in enumerate(given) for i, x in enumerate(arrays)})
        command = [python, "-m", "in_engines", engine.module, Path(folder, file.name), sets, found]
        with Path(folder, "log").open("w+") as log:
            done = subprocess.run(command, stdout=log, stderr=log, timeout=SECONDS, cwd=folder, check=False)
            log.seek(0)
            lines = log.read().strip().splitlines()
        if done.returncode or not found.exists():
            raise RuntimeError(lines[-1] if lines else f"ended with {done.returncode}")
        with np.load(found) as stored:
            for k in range(len(given)):
                names = [name for name in stored if name.startswith(f"{k}.")]
                yield [stored[f"{k}.{i}"] for i in range(len(names))]


def cell(engine: Engine, net: str, place: Path, name: str) -> str:
    """The result for a net, or what stopped it."""
    try:
        return str(tried(engine, net, place, name))
    except (RuntimeError, subprocess.SubprocessError, Caffe2TorchError) as error:
        return f"no: {error}".replace("|", "¦").replace("\n", " ")[:150]


def main() -> None:
    """Prints a row per engine, as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--into", type=Path, help="keeps environments there, and in files/ what was exported")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}\n")
    print(f"| engine | packages | fcn-convert | {' | '.join(options.net)} |")
    print("|---" * (3 + len(options.net)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        place = (options.into or Path(folder)).absolute()
        for name in options.engine:
            engine = ENGINES[name]
            cells = [cell(engine, net, place, name) for net in options.net]
            packages = engine.packages[0] if engine.packages else "torch"
            print(f"| {name} | `{packages}` | `{engine.command}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
