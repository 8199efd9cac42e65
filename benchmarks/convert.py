"""`python benchmarks/convert.py [--repeats 5]`: time and memory, next to cp and plain protobuf.

Makes a full-size FCN-8s caffemodel (538 MB, random weights, bilinear deconvolutions) with our own writer,
then measures whole processes, in turn: interpreter start, hash and writing included. Memory is the sampled
peak of anonymous memory (RssAnon); the kernel can reclaim the pages of mapped files.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from caffe2torch import export
from caffe2torch.blob import Array, Blob
from caffe2torch.net import Net, from_message
from caffe2torch.plan import plan
from caffe2torch.plan.parameters import Parameter
from caffe2torch.weights.surgery import bilinear_kernel
from caffe2torch.zoo.fcn import Architecture, message

PROTOBUF = """
import sys
import numpy as np
from caffe2torch.schema import message
net = message("NetParameter").FromString(open(sys.argv[1], "rb").read())
arrays = {f"{l.name}.{i}": np.array(b.data, np.float32) for l in net.layer for i, b in enumerate(l.blobs)}
"""
LIMITS = {"help": (0.2, "", 150), "inspect": (0.2, "", 150), "convert": ("", 3.5, 150), "diff": ("", "", 150)}
"""The limits we set ourselves: seconds, multiples of cp's time, and megabytes."""


def random_weights(net: Net, seed: int) -> Net:
    """The net with blobs that keep values in range at any depth; deconvolutions are bilinear.

    Each blob is made when it is read, from `seed` and its place, so a net of any size takes no memory.
    """
    blobs: dict[str, list[Blob]] = {}
    for place, parameter in enumerate(plan(net).parameters()):
        shape = tuple(size for size in parameter.shape if size is not None)
        layer = parameter.key.rpartition(".")[0]
        blobs.setdefault(layer, []).append(_random_blob(shape, parameter, (seed, place)))
    layers = tuple(replace(layer, blobs=tuple(blobs.get(layer.name, ()))) for layer in net.layers)
    return replace(net, layers=layers, weights=f"random weights, seed {seed}")


def _random_blob(shape: tuple[int, ...], parameter: Parameter, seed: tuple[int, int]) -> Blob:
    def values() -> Array:
        if not parameter.trained:
            kernel = np.zeros(shape, np.float32)
            kernel[range(shape[0]), range(shape[0])] = bilinear_kernel(shape[-1])
            return kernel.reshape(-1)
        drawn = np.random.default_rng(seed).standard_normal(shape, np.float32)
        fan_in = max(1, int(np.prod(shape[1:])))
        drawn *= np.float32((2 / fan_in) ** 0.5 if len(shape) > 1 else 0.1)
        return drawn.reshape(-1)

    return Blob(shape, np.dtype(np.float32), values)


@dataclass(frozen=True)
class Measure:
    """One run of a process: wall seconds, and the peak of its anonymous memory in MB."""

    seconds: float
    megabytes: float


def measure(command: Sequence[str]) -> Measure:
    """Runs a command to its end; raises CalledProcessError when it fails."""
    # An installed package has its bytecode; in a checkout, the first of several runs writes it.
    environment = {name: x for name, x in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak))
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    watcher.join()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return Measure(seconds, peak[0])


def _watch(pid: int, peak: list[float]) -> None:
    status = Path(f"/proc/{pid}/status")
    while True:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            return
        anonymous = next((line for line in lines if line.startswith("RssAnon")), "")
        if not anonymous:
            return
        peak[0] = max(peak[0], int(anonymous.split()[1]) / 1000)
        time.sleep(0.002)


def main() -> None:
    """Prints one line per command: median seconds and megabytes, their limits, and the ratios to ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(dir=".") as folder:
        source, target = Path(folder, "fcn8s.caffemodel"), Path(folder, "fcn8s.safetensors")
        twin = source.with_name("twin.caffemodel")
        export(random_weights(from_message(message(Architecture("FCN8s"))), seed=0), source)
        shutil.copy(source, twin)
        convert = [sys.executable, "-m", "caffe2torch.cli.main", str(source)]
        commands = {
            "cp": ["cp", str(source), str(target)],
            "help": [*convert[:-1], "--help"],
            "inspect": [*convert, "--inspect"],
            "convert": [*convert, "-o", str(target)],
            "diff": [*convert, "--diff", str(twin)],
            "protobuf + numpy, no output": [sys.executable, "-c", PROTOBUF, str(source)],
        }
        runs: dict[str, list[Measure]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, command in commands.items():
                target.unlink(missing_ok=True)
                runs[name].append(measure(command))
                if target.exists() != (name in ("cp", "convert")):
                    raise SystemExit(f"{' '.join(command)}: did not do what is measured")
        report(source.stat().st_size, runs)


def report(size: int, runs: dict[str, list[Measure]]) -> None:
    """The table, as Markdown."""
    copying = median(run.seconds for run in runs["cp"])
    print(f"FCN-8s caffemodel of {size / 1e6:.0f} MB; medians of {len(runs['cp'])} runs\n")
    print("| command | seconds | limit | time / cp | limit | MB anonymous | limit |")
    print("|---|---|---|---|---|---|---|")
    for name, measures in runs.items():
        seconds, megabytes = (
            median(getattr(m, field) for m in measures) for field in ("seconds", "megabytes")
        )
        slowest, longest, largest = LIMITS.get(name, ("", "", ""))
        times = (f"{seconds:.2f}", slowest, f"{seconds / copying:.1f}", longest)
        columns = (name, *times, f"{megabytes:.0f}", largest)
        print(f"| {' | '.join(map(str, columns))} |")


if __name__ == "__main__":
    main()
