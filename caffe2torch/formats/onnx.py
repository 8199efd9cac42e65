"""Plan -> ONNX, opset 20, for onnxruntime and others. Needs the packages of the extra `onnx`.

Batch, height and width are free where the net leaves them free. Inputs and outputs have the names of Caffe's
blobs, parameters those of the state dict (`conv1_1.weight`), nodes those of the layers.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch
from caffe2torch.errors import MissingData, NetError, VerificationFailed, WriteError
from caffe2torch.untrusted.onnx import read_metadata
from caffe2torch.untrusted.safetensors import parsed_table
from caffe2torch.writing.format import Format, Run
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto
    from torch.export import ExportedProgram

OPSET = 20
"""The first that has all the operators we need and that onnxruntime and the exporter agree on."""
_FLOAT = 1
"""TensorProto.FLOAT."""
PRODUCER = "caffe2torch"
SOURCE = "source"
"""The metadata that name the file that one was converted from."""
MAX_BYTES = (1 << 31) - 1
"""Protobuf's limit for one message."""


def open_onnx(path: Path) -> Run:
    """The file in onnxruntime, on a CPU."""
    onnxruntime = _package("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def source_of(path: Path) -> str:
    """The name of the file that a graph was converted from, as its metadata say."""
    said = read_metadata(path, PRODUCER).get(SOURCE, "{}")
    return str(parsed_table(said.encode(), SOURCE).get("name", ""))


def write_onnx(model: Model, output: Output, dtype: str = "float32") -> None:
    """A graph that passes onnx.checker."""
    onnx = _package("onnx")
    proto = _model(model)
    if proto.ByteSize() > MAX_BYTES:
        raise WriteError(f"{output.path.name}: would take {proto.ByteSize()} bytes, ONNX allows {MAX_BYTES}")
    _name(proto, model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except onnx.checker.ValidationError as error:
        raise VerificationFailed(f"{output.path.name}: onnx.checker refuses it: {error}") from error
    output.write(proto.SerializeToString(deterministic=True))


def _model(model: Model) -> ModelProto:
    """The ModelProto, as torch makes it of a graph."""
    from caffe2torch.writing.graph import graph, quiet  # loads slowly, and few formats need it

    operators = getattr(_package("onnxscript"), f"opset{OPSET}")

    def sort(x: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
        # TopK also puts the first of equal values first; the exporter has no stable sort.
        # The exporter evaluates the annotations, so they must be names that exist at run time.
        size = operators.Shape(x, start=dim, end=dim + 1 or None)
        return operators.TopK(x, size, axis=dim, largest=int(descending), sorted=1)

    program = graph(model)
    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(model.plan.inputs),
                output_names=list(model.plan.outputs),
                custom_translation_table={torch.ops.aten.sort.stable: sort},
            )
    except RuntimeError as error:
        raise _refusal(program, model, error) from error
    assert exported is not None  # noqa: S101 (dynamo=True returns a program)
    return exported.model_proto


def _refusal(program: ExportedProgram, model: Model, error: Exception) -> Exception:
    """The refusal of the layer whose operator ONNX lacks, if torch names the operator."""
    from caffe2torch.writing.graph import member

    causes = [error, *filter(None, (error.__cause__, error.__cause__ and error.__cause__.__cause__))]
    name = re.search(r"translating node %(\w+)", " ".join(map(str, causes)))
    problem = str(causes[-1]).strip().split("\n", 1)[0]
    for node in program.graph.nodes:
        if name and node.name == name[1]:
            scopes = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
            for step in model.plan.steps:
                if member(step.key) in scopes:
                    return step.converter.refuse(f"ONNX cannot hold it: {problem}")
    return NetError(f"ONNX cannot hold the net: {problem}")


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingData(f"ONNX needs {name}: pip install onnx onnxruntime onnxscript ({error})") from None


def _name(proto: ModelProto, model: Model) -> None:
    """Caffe's names in place of the exporter's, without its notes about our source files."""
    from caffe2torch.version import __version__
    from caffe2torch.writing.graph import member

    _name_nodes(proto.graph, {member(step.key) for step in model.plan.steps})
    _name_axes(proto.graph, model)
    proto.graph.name = model.net.name or "net"
    proto.producer_name, proto.producer_version = PRODUCER, __version__
    for message in (proto, proto.graph, *proto.graph.node, *proto.graph.initializer, *_values(proto.graph)):
        message.ClearField("metadata_props")
    proto.graph.ClearField("value_info")
    for name, known in model.deployed_knowledge.as_data().items():
        proto.metadata_props.add(key=name, value=json.dumps(known))
    proto.metadata_props.add(key=SOURCE, value=json.dumps({"name": model.source}))


def _values(graph: GraphProto) -> Iterator[ValueInfoProto]:
    yield from graph.input
    yield from graph.output


def _name_nodes(graph: GraphProto, layers: set[str]) -> None:
    """The one node of a layer is named after it, several are `layer/operator`; sizes keep their names."""
    values = {x.name for x in (*graph.value_info, *graph.output) if x.type.tensor_type.elem_type == _FLOAT}
    owners = [_owner(node, layers) if node.output[0] in values else "" for node in graph.node]
    taken: set[str] = set()
    for node, owner in zip(graph.node, owners, strict=True):
        if owner:
            stem = owner if owners.count(owner) == 1 else f"{owner}/{node.op_type}"
            numbered = (f"{stem}_{n}" for n in itertools.count(2))
            node.name = next(name for name in itertools.chain([stem], numbered) if name not in taken)
        taken.add(node.name)


def _owner(node: NodeProto, layers: set[str]) -> str:
    """The layer that a node is part of; empty if none."""
    noted = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
    return next((scope for scope in ast.literal_eval(noted) if scope in layers), "")


def _name_axes(graph: GraphProto, model: Model) -> None:
    """`batch`, `height` and `width` in place of the exporter's symbols; a second input has its own."""
    names: dict[str, str] = {}
    for value in graph.input:
        for axis, name in model.trials.free(value.name).items():
            symbol = value.type.tensor_type.shape.dim[axis].dim_param
            own = f"{name}_{value.name}" if name in names.values() else name
            names.setdefault(symbol, own)
    for value in _values(graph):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), dim.dim_param)


FORMAT = Format(
    "onnx",
    (".onnx",),
    write_onnx,
    open=open_onnx,
    source=source_of,
    needs_values=False,
    code=(
        "import numpy, onnxruntime",
        f"session = onnxruntime.InferenceSession({{path!r}})  # opset {OPSET}",
        "tops = session.run(None, {arrays})",
    ),
)
