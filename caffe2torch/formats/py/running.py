"""Runs a generated Python file as its user does: in a new process, where this package cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.numpy import load, save

from caffe2torch.blob import Array
from caffe2torch.errors import ReadError
from caffe2torch.writing.model import Model

if TYPE_CHECKING:
    from caffe2torch.writing.format import Run

_PROGRAM = """
import importlib.util
import sys

import torch
from safetensors.torch import load, save

sys.modules["caffe2torch"] = None  # importing it fails
spec = importlib.util.spec_from_file_location("converted", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
inputs = load(sys.stdin.buffer.read())
with torch.inference_mode():
    outputs = module.load()(*(inputs[str(place)] for place in range(len(inputs))))
found = {}
for place, value in enumerate(outputs.values() if isinstance(outputs, dict) else [outputs]):
    found[str(place)] = value.clone(memory_format=torch.contiguous_format)
sys.stdout.buffer.write(save(found))
"""
"""Tensors go in and out by position, so that names need not be valid in Python."""


def run_fresh(path: Path, model: Model) -> Run:
    """The net of a generated file: inputs by blob name -> outputs by blob name."""
    return partial(_run, path, tuple(model.plan.inputs), model.plan.outputs)


def _run(
    path: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], values: Mapping[str, Array]
) -> Mapping[str, Array]:
    """Raises ReadError with the last line of the error output if the file does not run."""
    done = subprocess.run(  # noqa: S603 (the file is ours, and no name in it is a stranger's)
        # Isolated (-I): neither the environment nor the folder adds modules.
        [sys.executable, "-I", "-B", "-c", _PROGRAM, str(path)],
        input=save({str(place): values[blob] for place, blob in enumerate(inputs)}),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        *_, line = done.stderr.decode(errors="replace").strip().split("\n")
        raise ReadError(line or f"exit code {done.returncode}")
    found = load(done.stdout)
    return {blob: found[str(place)] for place, blob in enumerate(outputs)}
