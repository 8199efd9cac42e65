"""Engines besides onnxruntime that run an ONNX file, for `--check-in`; imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caffe2torch.formats.onnx.exporting import package
from caffe2torch.writing.format import Blobs, EngineToCheckIn, Run

_WINOGRAD_MEMORY_LEVEL = 3
"""Of MNN's hints, which Python has no names for."""


def _mnn(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
    mnn = package("MNN")
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder, "net.mnn")
        command = [sys.executable, "-m", "MNN.tools.mnnconvert", "-f", "ONNX"]
        files = ["--modelFile", str(path), "--MNNModel", str(converted)]
        subprocess.run([*command, *files], check=True, capture_output=True)  # noqa: S603
        runtime = mnn.nn.create_runtime_manager(({"backend": "CPU", "precision": "high"},))
        # By default convolutions are computed in Winograd's way, which rounds to 1e-4: as much as a
        # wrong graph may be off by.
        runtime.set_hint(_WINOGRAD_MEMORY_LEVEL, 0)
        net = mnn.nn.load_module_from_file(
            str(converted), list(inputs), list(outputs), runtime_manager=runtime
        )
    order = mnn.expr.NCHW

    def run(given: Blobs) -> Blobs:
        found = net.forward([mnn.expr.const(given[name], given[name].shape, order) for name in inputs])
        return {
            name: np.array(mnn.expr.convert(top, order).read())
            for name, top in zip(outputs, found, strict=True)
        }

    return run


def _opencv(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
    net = package("cv2").dnn.readNet(str(path))

    def run(given: Blobs) -> Blobs:
        for name in inputs:
            net.setInput(given[name], name)
        # By name: OpenCV 4 has them in another order.
        return dict(zip(outputs, net.forward(list(outputs)), strict=True))

    return run


def _openvino(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
    precision = {"INFERENCE_PRECISION_HINT": "f32"}  # it would compute in half precision where a CPU has it
    net = package("openvino").Core().compile_model(str(path), "CPU", precision)

    def run(given: Blobs) -> Blobs:
        found = net(dict(given))
        return {name: found[net.output(name)] for name in outputs}

    return run


def _reference(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
    evaluator = package("onnx.reference").ReferenceEvaluator(str(path))
    return lambda given: dict(zip(outputs, evaluator.run(list(outputs), dict(given)), strict=True))


def _tract(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
    net = package("tract").onnx().load(str(path)).into_model().into_runnable()

    def run(given: Blobs) -> Blobs:
        found = net.run([given[name] for name in inputs])
        return {name: top.to_numpy() for name, top in zip(outputs, found, strict=True)}

    return run


ENGINES = {
    "mnn": EngineToCheckIn("MNN", "MNN", _mnn),
    "opencv": EngineToCheckIn("cv2", "opencv-python-headless", _opencv),
    "openvino": EngineToCheckIn("openvino", "openvino", _openvino),
    "reference": EngineToCheckIn("onnx.reference", "onnx", _reference),
    "tract": EngineToCheckIn("tract", "tract", _tract),
}
"""By their names for `--check-in`; "reference" is ONNX's own."""
