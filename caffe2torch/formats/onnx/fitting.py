"""An ONNX model as more engines read it: fewer operators, an older opset, no groups in deconvolutions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import WriteError
from caffe2torch.formats.onnx.exporting import package
from caffe2torch.layers.nonfinite import FLT_MAX

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

OPSET = 17
"""The opset unless another is asked for: onnx2torch, RKNN and others stop below 20, and nets need no more."""
OPSETS = range(13, 21)
"""Those that can be asked for."""


def pooled(proto: ModelProto) -> ModelProto:
    """The padding before each MaxPool moves into it; both compute with the lowest float there."""
    graph = proto.graph
    padding = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    spent = set[str]()
    for node in [node for node in graph.node if node.op_type == "MaxPool"]:
        pad = padding.get(node.input[0])
        if pad is None or readers[pad.output[0]] > 1:
            continue
        sides = _sides(graph, pad)
        own = next(x for x in node.attribute if x.name == "pads")
        kernel = next(x for x in node.attribute if x.name == "kernel_shape").ints
        # onnxruntime takes no pads as large as the kernel.
        if sides and all(side < size for side, size in zip(sides, (*kernel, *kernel), strict=True)):
            own.ints[:] = [mine + side for mine, side in zip(own.ints, sides, strict=True)]
            node.input[0] = pad.input[0]
            graph.node.remove(pad)
            spent.update(pad.input[1:])
    spent -= {name for node in graph.node for name in node.input}
    for stored in [stored for stored in graph.initializer if stored.name in spent]:
        graph.initializer.remove(stored)
    return proto


def _sides(graph: GraphProto, pad: NodeProto) -> tuple[int, ...]:
    """What a Pad with the lowest float adds above, left, below and right; () for any other Pad."""
    if len(pad.input) != 3:  # without a value it adds zeros; with axes it is another form
        return ()
    amounts, value = (_constant(graph, name) for name in pad.input[1:])
    if amounts is None or value is None or value.item() != np.float32(-FLT_MAX):
        return ()
    before, after = np.split(amounts, 2)
    return () if before[:2].any() or after[:2].any() else (*before[2:].tolist(), *after[2:].tolist())


def _constant(graph: GraphProto, name: str) -> Array | None:
    """The value of a constant of the graph; None for a value that is computed."""
    to_array = package("onnx.numpy_helper").to_array
    for stored in graph.initializer:
        if stored.name == name:
            values: Array = to_array(stored)
            return values
    for node in graph.node:
        if node.output[0] == name and node.op_type == "Constant":
            return to_array(node.attribute[0].t)  # type: ignore[no-any-return]
    return None


def dense(proto: ModelProto) -> ModelProto:
    """Deconvolutions in groups become such of all channels, with zeros between the groups."""
    from_array = package("onnx.numpy_helper").from_array
    done = dict[str, int]()  # layers of equal weights have one between them
    for node in proto.graph.node:
        group = next((x for x in node.attribute if x.name == "group"), None)
        if node.op_type != "ConvTranspose" or group is None or group.i == 1:
            continue
        name = node.input[1]
        weight = None if name in done else _constant(proto.graph, name)
        if weight is not None:
            stored = next(x for x in proto.graph.initializer if x.name == name)
            stored.CopyFrom(from_array(_between_zeros(weight, group.i), name))
            done[name] = group.i
        if done.get(name) == group.i:
            group.i = 1
    return proto


def _between_zeros(weight: Array, groups: int) -> Array:
    """A deconvolution's weight (bottoms, tops of a group, h, w) as (bottoms, tops of all, h, w)."""
    bottoms, tops, *kernel = weight.shape
    whole = np.zeros((groups, bottoms // groups, groups, tops, *kernel), weight.dtype)
    for place, part in enumerate(np.split(weight, groups)):
        whole[place, :, place] = part
    return whole.reshape(bottoms, -1, *kernel)


def lowered(proto: ModelProto, opset: int | None) -> ModelProto:
    """The model in the opset `opset`; without one, in OPSET if its operators are in it.

    Raises WriteError for an opset that lacks one of them.
    """
    if opset is not None and opset not in OPSETS:
        raise WriteError(f"opset {opset}: {OPSETS[0]} to {OPSETS[-1]} can be written")
    wanted = OPSET if opset is None else opset
    if proto.opset_import[0].version <= wanted:
        return proto
    missing = [node for node in proto.graph.node if not _is_in(node, wanted)]
    if not missing:
        proto.opset_import[0].version = wanted
    elif opset is not None:
        node = missing[0]
        lowest = next(later for later in OPSETS if _is_in(node, later))
        raise WriteError(f"opset {opset}: has no {node.op_type} as {node.name!r} needs it; {lowest} has")
    return proto


def _is_in(node: NodeProto, opset: int) -> bool:
    """Whether an opset has an operator with the inputs and attributes that it is used with."""
    # What else later versions add are types that no net has. An opset before 13 may compute something else.
    defs = package("onnx").defs
    if not defs.has(node.op_type, max_inclusive_version=opset):
        return False
    schema = defs.get_schema(node.op_type, opset)
    known = all(attribute.name in schema.attributes for attribute in node.attribute)
    return known and len(node.input) <= schema.max_input and len(node.output) <= schema.max_output
