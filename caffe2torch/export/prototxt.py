"""Net -> prototxt: its definition as text, in the current format."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format

from caffe2torch.errors import WriteError
from caffe2torch.export import writes
from caffe2torch.export.caffemodel import refuse_alignment
from caffe2torch.export.conversion import Conversion
from caffe2torch.export.output import Output
from caffe2torch.net import Net, to_message


@writes("prototxt", ".prototxt")
def write_prototxt(converted: Conversion, output: Output, dtype: str = "float32") -> None:
    """The net without its blobs."""
    if dtype != "float32":
        raise WriteError(f"a prototxt holds no parameters, and so none in {dtype}")
    refuse_alignment(converted.caffe_net)
    output.write(definition(converted.caffe_net).encode())


def definition(net: Net) -> str:
    """The net's definition as prototxt text."""
    return text(to_message(net))


def text(message: Any) -> str:
    """A message as prototxt text; floats as short as float32 allows."""
    return text_format.MessageToString(message, as_utf8=True)
