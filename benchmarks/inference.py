"""`python benchmarks/inference.py [--net NAME ...] [--peer NAME ...] [--into DIR]`: forward passes.

Each peer runs by turns in a process of its own, with its pinned packages in an environment of its own
(engines.py). Nets of full width have random weights that keep the scale of what passes them. Prints, for each
net, the median and the spread of the rounds, the ratio to ours, the relative error and the share of equal
labels against torch's eager module, and the most memory a process had; and what a product of matrices reaches
in torch, and in which share of that our convolutions are.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from engines import HERE, Engine, environment
from torch import nn

import caffe2torch as c2t
from caffe2torch.eliding.schedule import Eliding
from caffe2torch.writing.model import model_of


@dataclass(frozen=True)
class Peer:
    """What runs a net: its loader in in_engines/timed.py, how, and the environment that it needs."""

    engine: str
    how: str
    packages: tuple[str, ...] = ()
    suffix: str = ".safetensors"


_ORT, _OV = ("onnxruntime==1.32.0",), ("openvino==2026.4.1",)
PEERS = {
    "torch eager, NCHW": Peer("ours", "nchw"),
    "torch eager, channels_last": Peer("ours", "channels_last"),
    "torch.compile": Peer("compiled", ""),
    "onnxruntime 1.32.0": Peer("onnxruntime", "", _ORT, ".onnx"),
    "OpenVINO 2026.4.1, f32": Peer("openvino", "f32", _OV, ".onnx"),
    "OpenVINO 2026.4.1, bf16": Peer("openvino", "bf16", _OV, ".onnx"),
    "OpenCV 5.0.0": Peer("opencv", "", ("opencv-python-headless==5.0.0.93",), ".onnx"),
    "c2t.optimize, fp32": Peer("ours", "fp32"),
    "c2t.optimize, bf16": Peer("ours", "bf16"),
}
NETS = {
    "FCN-8s": ("FCN8s", (1, 3, 375, 500)),
    "FCN-32s": ("FCN32s", (1, 3, 375, 500)),
    "FCN-AlexNet": ("FCNAlexNet", (1, 3, 375, 500)),
    "FCN-8s, 8 images": ("FCN8s", (8, 3, 500, 500)),
    "shapes-fcn8s": ("", (1, 3, 96, 128)),
}


def net_of(name: str) -> nn.Module:
    """The net: the embedded one, or of full width with random weights."""
    if not name:
        return c2t.load(HERE.parent / "weights" / "shapes-fcn8s.caffemodel")
    torch.manual_seed(0)
    net = c2t.fcn_of(c2t.Architecture(name))
    for key, values in net.named_parameters():
        if values.ndim == 4 and "upscore" not in key:
            nn.init.kaiming_normal_(values)
        elif values.ndim == 1:
            nn.init.normal_(values, std=0.1)
    return net.eval()


class Running:
    """A peer's process, ready to run its net."""

    def __init__(self, peer: Peer, folder: Path, into: Path, shape: tuple[int, ...], threads: int) -> None:
        self.scores = folder / f"{peer.engine}-{peer.how}.npy"
        python = Path(sys.executable)
        if peer.packages:
            python = environment(Engine(peer.packages, ""), into / peer.packages[0].replace("==", "-"))
        sizes = ",".join(map(str, shape))
        self.process = subprocess.Popen(
            [python, "-m", "in_engines.timed", peer.engine, peer.how, folder / f"net{peer.suffix}",
             self.scores, sizes, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}", "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        self.seconds: list[float] = []
        self._line()

    def go(self) -> None:
        """One run."""
        self._tell("go")
        self.seconds.append(float(self._line()))

    def end(self) -> float:
        """The most memory that it had, in MB."""
        self._tell("end")
        return float(self._line())

    def _tell(self, what: str) -> None:
        assert self.process.stdin is not None  # noqa: S101
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def _line(self) -> str:
        assert self.process.stdout is not None  # noqa: S101
        while line := self.process.stdout.readline():
            if line.strip() == "ready" or line[:1].isdigit():
                return line
        assert self.process.stderr is not None  # noqa: S101
        raise RuntimeError((self.process.stderr.read().strip().splitlines() or ["ended"])[-1])


def table(name: str, folder: Path, options: argparse.Namespace, ceiling: float) -> None:
    """Prints the rows of a net."""
    peers, into, threads = options.peer, options.into or folder, options.threads
    architecture, shape = NETS[name]
    net = net_of(architecture)
    for suffix in {PEERS[peer].suffix for peer in peers}:
        c2t.export(net, folder / f"net{suffix}", check=False)
    runs, failed = dict[str, Running](), dict[str, str]()
    for peer in peers:
        try:
            runs[peer] = Running(PEERS[peer], folder, into, shape, threads)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            failed[peer] = str(error)
    for _ in range(options.rounds):
        for running in runs.values():
            running.go()
    medians = {peer: statistics.median(running.seconds) for peer, running in runs.items()}
    ours, plain = medians.get("c2t.optimize, fp32", float("nan")), runs.get("torch eager, NCHW")
    wanted = np.load(plain.scores) if plain is not None else None
    for peer, running in runs.items():
        low, high = min(running.seconds), max(running.seconds)
        error = labels = "-"
        if wanted is not None:
            found = np.load(running.scores)
            error = f"{np.linalg.norm(found - wanted) / np.linalg.norm(wanted):.1e}"
            labels = f"{100 * (found.argmax(1) == wanted.argmax(1)).mean():.2f}"
        times = (
            f"{1e3 * medians[peer]:.1f} | {1e3 * low:.1f} to {1e3 * high:.1f} | {medians[peer] / ours:.2f}"
        )
        print(f"| {name} | {peer} | {times} | {error} | {labels} | {running.end():.0f} |", flush=True)
    for peer, problem in failed.items():
        print(f"| {name} | {peer} | no: {problem[:100]} | | | | | |", flush=True)
    eliding = Eliding(model_of(net).plan)
    part, all_ = (at({"data": shape[2:]}).multiplications * shape[0] for at in (eliding.at, eliding.whole))
    rate = 2e-9 * part / ours
    print(f"| {name} | {part / 1e9:.1f} of {all_ / 1e9:.1f} GMAC: {rate:.0f} GFLOP/s, "
          f"{100 * rate / ceiling:.0f} % of a matrix product | | | | | | |", flush=True)  # fmt: skip


def matrix_product() -> float:
    """GFLOP/s of a product in float32."""
    a, b = torch.randn(2, 3072, 3072)
    a @ b
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2e-9 * 3072**3 / min(seconds)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--peer", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--into", type=Path, help="keeps the environments there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ceiling = matrix_product()
    today = datetime.now(timezone.utc).date()
    print(f"{today}, {platform.machine()}, {options.threads} threads, Python {sys.version.split()[0]}, torch "
          f"{torch.__version__}; a product of matrices: {ceiling:.0f} GFLOP/s\n")  # fmt: skip
    print("| net | | ms | rounds | / ours | error | labels, % | MB |")
    print("|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.net:
            table(name, Path(folder), options, ceiling)


if __name__ == "__main__":
    main()
