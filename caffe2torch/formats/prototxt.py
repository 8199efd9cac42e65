"""Net -> prototxt: its definition as text, in the current format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import text_format

from caffe2torch.formats.caffemodel import refuse_alignment, told
from caffe2torch.net import Net, to_message
from caffe2torch.net.reading import read
from caffe2torch.plan import plan
from caffe2torch.writing.beside import source_beside, write_beside
from caffe2torch.writing.checking import as_function
from caffe2torch.writing.format import Format, Run
from caffe2torch.writing.model import Model, net_of
from caffe2torch.writing.output import Output

if TYPE_CHECKING:
    from caffe2torch.schema import Message


def read_back(path: Path, model: Model) -> Net:
    """The net that a prototxt defines."""
    return read(path)


def defined(model: Model) -> Net:
    """The net without blobs."""
    net = model.caffe_net
    return replace(net, layers=tuple(replace(layer, blobs=()) for layer in net.layers))


def run_prototxt(path: Path, model: Model) -> Run:
    """The net that a prototxt defines, with the model's values."""
    from caffe2torch.modules.caffe_net import CaffeNet

    blobs = {layer.name: layer.blobs for layer in net_of(model.module).layers}
    net = read(path)
    layers = tuple(replace(layer, blobs=blobs.get(layer.name, ())) for layer in net.layers)
    return as_function(CaffeNet(plan(replace(net, layers=layers))))


def write_prototxt(model: Model, output: Output, dtype: str = "float32") -> None:
    """The net without its blobs."""
    refuse_alignment(model.caffe_net)
    output.write(definition(model.caffe_net).encode())
    write_beside(model, output, told(model.caffe_net))


def definition(net: Net) -> str:
    """The net's definition as prototxt text."""
    return text(to_message(net))


def text(message: Message) -> str:
    """A message as prototxt text; floats as short as float32 allows."""
    return text_format.MessageToString(message, as_utf8=True)


FORMAT = Format(
    "prototxt",
    (".prototxt",),
    write_prototxt,
    read=read_back,
    source=source_beside,
    run=run_prototxt,
    holds=defined,
    needs_values=False,
    code=("import caffe2torch as c2t", "net = c2t.read({path!r})", "print(net)"),
)
