"""Inference in other engines, on a CPU: the elided net at each size, exported as ONNX and loaded."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.eliding.recent import Recent
from caffe2torch.errors import MissingData, NetError
from caffe2torch.inference.optimized import Optimized
from caffe2torch.inference.passes import sizes_of

if TYPE_CHECKING:
    from torch import Tensor

    from caffe2torch.writing.model import Model
    from caffe2torch.zoo.fcn import Architecture

SIZES = 4
"""How many are kept: each has all of the net's weights."""

Run = Callable[[list[Array]], list[Array]]
"""From the inputs to the outputs, in the net's order."""


class InEngine(Optimized):
    """See `optimize`."""

    def __init__(self, model: Model, architecture: Architecture | None, engine: str, precision: str) -> None:
        if engine == "onnxruntime" and precision != "fp32":
            raise NetError("onnxruntime has no bf16 on a CPU; openvino and torch have")
        super().__init__(model, architecture)
        self.load, self.precision = _ENGINES[engine], precision
        _package(engine)
        self.net = model.module  # with the values as they are now
        self.runs: Recent[tuple[int, ...], Run] = Recent(SIZES)

    def prepare(self, size: tuple[int, int]) -> None:
        """Makes a size (height, width) ready, for one image. Raises NetError if the net does not take it."""
        self._run(1, size)

    def run(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From images by name to outputs by name. Raises NetError for images of several sizes."""
        sizes = set(sizes_of(images).values())
        if len(sizes) > 1:
            raise NetError(f"the images have sizes {sorted(sizes)}; this backend takes one")
        (size,) = sizes
        arrays = [images[blob].detach().cpu().float().numpy() for blob in self.inputs]
        outputs = self._run(len(arrays[0]), size)(arrays)
        return {name: torch.from_numpy(output) for name, output in zip(self.outputs, outputs, strict=True)}

    def _run(self, count: int, size: tuple[int, int]) -> Run:
        return self.runs.of((count, *size), lambda: self._made(count, size))

    def _made(self, count: int, size: tuple[int, int]) -> Run:
        from caffe2torch.formats import export

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "net.onnx")
            export(self.net, path, size=size, batch=count, elide=True, check=False)
            return self.load(path, self.precision)


def _onnxruntime(path: Path, precision: str) -> Run:
    session = _package("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda arrays: list(session.run(None, dict(zip(names, arrays, strict=True))))


def _openvino(path: Path, precision: str) -> Run:
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    compiled = _package("openvino").Core().compile_model(path, "CPU", hints)

    def run(arrays: list[Array]) -> list[Array]:
        found = compiled.create_infer_request().infer(dict(enumerate(arrays)))
        return [np.array(found[output], np.float32) for output in compiled.outputs]

    return run


_ENGINES: Mapping[str, Callable[[Path, str], Run]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
"""What loads a file in an engine, at a precision."""


def _package(name: str) -> ModuleType:
    """An engine's package. Raises MissingData."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingData(f"the backend {name} needs its package: pip install {name} ({error})") from None
