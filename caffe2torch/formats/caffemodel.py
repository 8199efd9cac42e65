"""Net -> caffemodel: a binary NetParameter in the current format, written blob by blob.

The bytes are what protobuf would write if blobs came last in their layers; writing a 3 GB net takes a few
megabytes of memory. Caffe itself reads up to 2 GiB.
"""

from __future__ import annotations

from pathlib import Path

from caffe2torch import schema
from caffe2torch.blob import Blob
from caffe2torch.errors import NetError
from caffe2torch.net import Layer, Net, to_message
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.net.preprocessing import preprocessing
from caffe2torch.net.reading import read
from caffe2torch.untrusted.forks import numbered
from caffe2torch.untrusted.wire import varint
from caffe2torch.writing.beside import source_beside, write_beside
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output, encoded

_LENGTH = 2
_FLOAT_BYTES = 4


def read_back(path: Path, model: Model) -> Net:
    """The net in a caffemodel."""
    return read(weights=path)


def whole(model: Model) -> Net:
    """The net with all of its layers, including those that only training uses."""
    return model.caffe_net


def write_caffemodel(model: Model, output: Output, dtype: str = "float32") -> None:
    """All layers with their blobs: `shape` and packed float32 `data`; a blob without data keeps its shape."""
    net = model.caffe_net
    write_net(net, output)
    write_beside(model, output, told(net))


def write_net(net: Net, output: Output) -> None:
    """The bytes of a net with its blobs."""
    refuse_alignment(net)
    message = to_message(net)
    definitions = list(numbered(message.layer))
    message.ClearField("layer")
    output.expected = sum(_size(layer) for layer in net.layers)
    output.write(message.SerializeToString(deterministic=True))
    for layer, definition in zip(net.layers, definitions, strict=True):
        _write_layer(layer, definition, output)


def told(net: Net) -> Knowledge:
    """What a net's data layers say."""
    return Knowledge(preprocessing(net))


def refuse_alignment(net: Net) -> None:
    """Raises NetError for a Crop of the CVPR 2015 nets, whose offset is not in its definition."""
    for layer in net.layers:
        if layer.fields.crop_param.align:
            raise NetError(
                f"layer '{layer.name}' (Crop): its definition lacks the offset; export the net's plan instead"
            )


def write_blob(kind: str, field: str, blob: Blob, name: str, output: Output) -> None:
    """Writes a blob as one value of a message's field; `name` is for errors."""
    head = _blob_head(blob)
    output.write(_opening(kind, field, len(head) + _data_size(blob)) + head)
    _write_values(blob, name, output)


def _write_layer(layer: Layer, definition: bytes, output: Output) -> None:
    sizes = [len(_blob_head(blob)) + _data_size(blob) for blob in layer.blobs]
    tags = [_opening("LayerParameter", "blobs", size) for size in sizes]
    total = len(definition) + sum(map(len, tags)) + sum(sizes)
    output.write(_opening("NetParameter", "layer", total) + definition)
    for position, blob in enumerate(layer.blobs):
        write_blob("LayerParameter", "blobs", blob, f"layer '{layer.name}' blob {position}", output)


def _blob_head(blob: Blob) -> bytes:
    """A BlobProto up to the first byte of its values."""
    proto = schema.message("BlobProto")()
    proto.shape.SetInParent()  # a scalar's shape has no axes, but is there
    proto.shape.dim.extend(blob.shape)
    head: bytes = proto.SerializeToString(deterministic=True)
    return head + _opening("BlobProto", "data", _data_size(blob)) if blob.has_data else head


def _write_values(blob: Blob, name: str, output: Output) -> None:
    if blob.values is not None:
        for piece in encoded(blob.values(), "float32", name):
            output.write(piece)


def _data_size(blob: Blob) -> int:
    return blob.count * _FLOAT_BYTES if blob.has_data else 0


def _size(layer: Layer) -> int:
    return sum(_data_size(blob) for blob in layer.blobs)


def _opening(kind: str, field: str, length: int) -> bytes:
    """Tag and length of a field that holds `length` bytes."""
    number = schema.descriptor(kind).fields_by_name[field].number
    return varint(number << 3 | _LENGTH) + varint(length)


FORMAT = Format(
    "caffemodel",
    (".caffemodel",),
    write_caffemodel,
    read=read_back,
    holds=whole,
    source=source_beside,
    needs_values=False,
    code=("import torch, caffe2torch as c2t", "model = c2t.load({path!r})", "tops = model({inputs})"),
)
