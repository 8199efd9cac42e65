"""Caffe's names in an ONNX model, in place of the exporter's."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from caffe2torch.writing.model import Model

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

PRODUCER = "caffe2torch"
SOURCE = "source"
"""The metadata that name the file that one was converted from."""
_FLOAT = 1
"""TensorProto.FLOAT."""


def name(proto: ModelProto, model: Model) -> None:
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
    for key, known in model.deployed_knowledge.as_data().items():
        proto.metadata_props.add(key=key, value=json.dumps(known))
    proto.metadata_props.add(key=SOURCE, value=json.dumps({"name": model.source}))


def _values(graph: GraphProto) -> Iterator[ValueInfoProto]:
    yield from graph.input
    yield from graph.output


def _name_nodes(graph: GraphProto, layers: set[str]) -> None:
    """The one node of a layer is named after it, several are `layer/operator`; sizes keep their names."""
    values = {x.name for x in (*graph.value_info, *graph.output) if x.type.tensor_type.elem_type == _FLOAT}
    owners = [_owner(node, layers) if node.output[0] in values else "" for node in graph.node]
    taken, nodes = set[str](), Counter(owners)
    numbers = defaultdict[str, Iterator[int]](lambda: itertools.count(2))
    for node, owner in zip(graph.node, owners, strict=True):
        if owner:
            stem = owner if nodes[owner] == 1 else f"{owner}/{node.op_type}"
            numbered = (f"{stem}_{n}" for n in numbers[stem])
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
