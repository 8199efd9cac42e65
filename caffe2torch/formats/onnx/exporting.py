"""A model's graph -> torch's ONNX exporter, and the layer that it stumbles over."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch
from caffe2torch.errors import MissingData, NetError
from caffe2torch.formats.onnx.detecting import detections
from caffe2torch.layers.forks.detections import operator
from caffe2torch.writing.model import Model

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

OPSET = 18
"""The least that torch's exporter writes."""


def exported(model: Model, opset: int) -> ModelProto:
    """The ModelProto, as torch makes it of a graph.

    Raises UnsupportedLayer or NetError for what ONNX cannot hold, MissingData without ONNX's packages.
    """
    from caffe2torch.writing.graph import graph, quiet  # loads slowly, and few formats need it

    operators = getattr(package("onnxscript"), f"opset{opset}")

    def sort(x: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
        # TopK also puts the first of equal values first; the exporter has no stable sort.
        # The exporter evaluates the annotations, so they must be names that exist at run time.
        size = operators.Shape(x, start=dim, end=dim + 1 or None)
        return operators.TopK(x, size, axis=dim, largest=int(descending), sorted=1)

    program = graph(model, own=True)
    try:
        with quiet():
            done = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=list(model.plan.inputs),
                output_names=list(model.plan.outputs),
                custom_translation_table={
                    torch.ops.aten.sort.stable: sort,
                    operator(): detections(operators),
                },
            )
    except RuntimeError as error:
        raise _refusal(program, model, error) from error
    assert done is not None  # noqa: S101 (dynamo=True returns a program)
    return done.model_proto


def _refusal(program: ExportedProgram, model: Model, error: Exception) -> Exception:
    """The refusal of the layer whose operator ONNX lacks, if torch names the operator."""
    from caffe2torch.writing.graph import refused

    causes = [error, *filter(None, (error.__cause__, error.__cause__ and error.__cause__.__cause__))]
    name = re.search(r"translating node %(\w+)", " ".join(map(str, causes)))
    problem = str(causes[-1]).strip().split("\n", 1)[0]
    for node in program.graph.nodes:
        if name and node.name == name[1] and (it := refused(model, node, f"ONNX cannot hold it: {problem}")):
            return it
    return NetError(f"ONNX cannot hold the net: {problem}")


def package(name: str) -> ModuleType:
    """A package of the extra `onnx`. Raises MissingData."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingData(f"ONNX needs {name}: pip install onnx onnxruntime onnxscript ({error})") from None
