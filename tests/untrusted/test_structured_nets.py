"""Nets of every layer type with fields of any value: read and planned, or refused in one of our own errors.

Unlike mutated files these are well-formed, so that what reads them reaches the plan.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import caffe2torch as c2t
from caffe2torch import schema
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.layers.registry import converters
from caffe2torch.plan import plan
from caffe2torch.plan.table import table_of
from caffe2torch.schema import Message
from caffe2torch.untrusted.binary import read_caffemodel
from caffe2torch.untrusted.text import read_prototxt
from fuzz.targets import agreement

LAYER = schema.descriptor("LayerParameter")
TYPES = sorted(converters())
WHOLE = (0, 1, 2, 3, 5, 8, 2**31 - 1)
SIGNED = (*WHOLE, -1, -2, -(2**31))
REAL = (0.0, 0.5, 1.0, -1.0, 1e-30, 3e38, float("inf"), float("nan"))
NAMES = ("data", "a", "b", "", "../x", "a b", "a\x1b[2J", "\u202e", "0", "n" * 300)
MAX_DEPTH = 2
UNSIGNED = (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64)
PARAMETERS = tuple(
    field for field in LAYER.fields if field.message_type is not None and field.name.endswith("_param")
)
profile = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck], database=None
)


def value(draw: st.DrawFn, field: FieldDescriptor, depth: int) -> object:
    """Any value of a field."""
    if field.message_type is not None:
        return filled(draw, field.message_type, depth + 1)
    if field.enum_type is not None:
        return draw(st.sampled_from([each.number for each in field.enum_type.values]))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return draw(st.booleans())
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return draw(st.sampled_from(REAL))
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        text = draw(st.sampled_from(NAMES))
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    return draw(st.sampled_from(WHOLE if field.type in UNSIGNED else SIGNED))


def filled(draw: st.DrawFn, kind: Descriptor, depth: int = 0) -> Message:
    """A message of a kind with up to four of its fields."""
    message = schema.message(kind.name)()
    fields = [field for field in kind.fields if field.number < schema.PRIVATE]
    chosen = {field.name: field for field in fields if field.is_required}
    if depth <= MAX_DEPTH and fields:
        chosen |= {field.name: field for field in draw(st.lists(st.sampled_from(fields), max_size=4))}
    for field in chosen.values():
        if field.is_repeated:
            values = [value(draw, field, depth) for _ in range(draw(st.integers(0, 3)))]
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(value(draw, field, depth))
        else:
            setattr(message, field.name, value(draw, field, depth))
    return message


@st.composite
def nets(draw: st.DrawFn) -> Message:
    """A net of an input and up to five layers, whose bottoms are mostly tops of others."""
    net = schema.message("NetParameter")(name=draw(st.sampled_from(NAMES)))
    sizes = draw(st.lists(st.sampled_from((1, 2, 3, 8, 9)), max_size=5))
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add(dim=sizes)
    blobs = ["data"]
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(TYPES))
        bottoms = draw(st.lists(st.sampled_from([*blobs[-3:], "nobody"][: max(1, len(blobs))]), max_size=3))
        tops = [f"t{number}_{i}" for i in range(draw(st.integers(0, 2)))]
        layer = net.layer.add(name=draw(st.sampled_from(NAMES)), type=kind, bottom=bottoms, top=tops)
        own = [field for field in PARAMETERS if field.name.replace("_", "").startswith(kind.lower()[:4])]
        for field in own or draw(st.lists(st.sampled_from(PARAMETERS), max_size=1)):
            getattr(layer, field.name).CopyFrom(filled(draw, field.message_type))
        if draw(st.booleans()):
            blob = layer.blobs.add(data=draw(st.lists(st.sampled_from(REAL), max_size=6)))
            blob.shape.dim.extend(draw(st.lists(st.sampled_from((0, 1, 2, 3, -1, 2**40)), max_size=4)))
        blobs += tops
    return net


def tried(path: Path) -> str:
    """The table of a file's net, or why there is none; any other error comes out."""
    try:
        return str(table_of(plan(c2t.read(path), allow_missing=True)))
    except Caffe2TorchError as refusal:
        return str(refusal).replace(str(path), "")


@profile
@given(net=nets())
def test_text_is_read_or_refused(net: Message, tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / "net.prototxt"
    path.write_text(text_format.MessageToString(net), encoding="utf-8")
    # NaN is unequal to itself, so that the bytes are compared.
    assert read_prototxt(path).SerializeToString(deterministic=True) == net.SerializeToString(
        deterministic=True
    )
    assert tried(path) == tried(path)


@profile
@given(net=nets())
def test_binary_is_read_as_protobuf_reads_it(net: Message, tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    agreement(path, "NetParameter")
    try:
        message = read_caffemodel(path).message
    except Caffe2TorchError:
        return
    assert [layer.type for layer in message.layer] == [layer.type for layer in net.layer]
