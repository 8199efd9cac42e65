"""Net -> prototxt: its definition as text, in the current format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from google.protobuf import text_format

from caffe2torch.errors import WriteError
from caffe2torch.export import writes
from caffe2torch.export.caffemodel import refuse_alignment
from caffe2torch.export.conversion import Conversion
from caffe2torch.export.output import Output
from caffe2torch.net import Net, to_message
from caffe2torch.read import read


def read_back(path: Path, converted: Conversion) -> Net:
    """The net that a prototxt defines."""
    return read(path)


def defined(converted: Conversion) -> Net:
    """The net without blobs."""
    net = converted.net
    return replace(net, layers=tuple(replace(layer, blobs=()) for layer in net.layers))


@writes(
    "prototxt",
    ".prototxt",
    read=read_back,
    holds=defined,
    code=("import caffe2torch as c2t", "net = c2t.read({path!r})", "print(net)"),
)
def write_prototxt(converted: Conversion, output: Output, dtype: str = "float32") -> None:
    """The net without its blobs."""
    if dtype != "float32":
        raise WriteError(f"a prototxt holds no parameters, and so none in {dtype}")
    refuse_alignment(converted.net)
    output.write(definition(converted.net).encode())


def definition(net: Net) -> str:
    """The net's definition as prototxt text; floats as short as float32 allows."""
    return text_format.MessageToString(to_message(net), as_utf8=True)
