"""Generated Python files, run by a process that cannot import caffe2torch."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from caffe2torch.formats import write
from caffe2torch.net import Net
from caffe2torch.writing.model import model_of


@dataclass(frozen=True)
class Job:
    """A generated file, and the arrays to compare with, under keys that begin with `prefix`."""

    path: str
    arrays: str
    prefix: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


STRANGER = """
import importlib.util, json, sys
import numpy as np, torch

sys.modules["caffe2torch"] = None
torch.set_num_threads(1)


def run(job):
    spec = importlib.util.spec_from_file_location("generated", job["path"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stored, prefix = np.load(job["arrays"]), job["prefix"]
    with torch.no_grad():
        found = module.load()(*(torch.from_numpy(stored[f"{prefix}in.{blob}"]) for blob in job["inputs"]))
    for blob in job["outputs"]:
        ours = (found[blob] if isinstance(found, dict) else found).numpy().astype(np.float64)
        stated = stored[f"{prefix}out.{blob}"].astype(np.float64)
        same = ours.shape == stated.shape and np.array_equal(np.isfinite(ours), np.isfinite(stated))
        size = max(np.linalg.norm(np.nan_to_num(stated)), 1e-12)
        yield blob, np.linalg.norm(np.nan_to_num(ours - stated)) / size if same else np.inf


answers = {}
for job in json.load(sys.stdin):
    try:
        answers |= {f"{job['path']} {job['prefix']}{blob}": float(error) for blob, error in run(job)}
    except Exception as error:
        answers[f"{job['path']} {job['prefix']}{type(error).__name__}"] = np.inf
        print(job["path"], repr(error), file=sys.stderr)
print(json.dumps(answers))
"""


def errors(jobs: list[Job]) -> dict[str, float]:
    """||file's - stored|| / ||stored|| of each output, inf where the file does not run.

    The files run in one process that cannot import caffe2torch.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER],
        input=json.dumps([vars(job) for job in jobs]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sys.stderr.write(done.stderr)
    return {Path(key).name: error for key, error in json.loads(done.stdout).items()}


def written(net: Net, path: Path, arrays: Path, *prefixes: str) -> list[Job]:
    """The jobs of a net's file, which is written, for the sizes that `arrays` hold."""
    converted = model_of(net)
    write(converted, path, check=False)
    inputs, outputs = tuple(converted.plan.inputs), converted.plan.outputs
    return [Job(str(path), str(arrays), prefix, inputs, outputs) for prefix in prefixes or [""]]


def module_of(path: Path):
    """A generated file, imported here."""
    spec = importlib.util.spec_from_file_location("generated", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ruff(*arguments: str) -> str:
    """What ruff says, with its own settings."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--isolated", "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode else ""


def assert_clean(folder: Path, *rules: str):
    """Every file in it is what ruff would make of it."""
    assert not ruff("format", "--diff", str(folder))
    assert not ruff("check", *rules, str(folder))


def layer(name: str, type_: str, bottoms: str, tops: str, more: str = "") -> str:
    """A layer in prototxt; bottoms and tops are parted by spaces."""
    ends = [f'bottom: "{blob}"' for blob in bottoms.split()] + [f'top: "{blob}"' for blob in tops.split()]
    return f'layer {{ name: "{name}" type: "{type_}" {" ".join(ends)} {more} }}\n'
