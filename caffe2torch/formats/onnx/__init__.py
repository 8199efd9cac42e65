"""Plan -> ONNX, for onnxruntime and others. Needs the packages of the extra `onnx`.

    graph ─ exporting ─→ as torch writes it ─ fitting ─→ as most engines read it ─ naming ─→ the file

Batch, height and width are free where the net leaves them free. Inputs and outputs have the names of Caffe's
blobs, parameters those of the state dict (`conv1_1.weight`), nodes those of the layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from caffe2torch.errors import ReadError, VerificationFailed, WriteError
from caffe2torch.formats.onnx.engines import ENGINES
from caffe2torch.formats.onnx.exporting import OPSET, exported, package
from caffe2torch.formats.onnx.fitting import dense, lowered, pooled
from caffe2torch.formats.onnx.naming import PRODUCER, SOURCE, name
from caffe2torch.untrusted.onnx import read_metadata
from caffe2torch.untrusted.tables import parsed_table
from caffe2torch.writing.format import Blobs, Format, Run
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output

MAX_BYTES = (1 << 31) - 1
"""Protobuf's limit for one message."""


def open_onnx(path: Path) -> Run:
    """The file in onnxruntime, on a CPU. Raises ReadError where that refuses it, also when it is run."""
    onnxruntime = package("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with _refusing(path):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Blobs) -> Blobs:
        with _refusing(path):
            return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each of the library's is a class of its own
        raise ReadError(f"{path}: onnxruntime refuses it: {' '.join(str(error).split())}") from None


def source_of(path: Path) -> str:
    """The name of the file that a graph was converted from, as its metadata say."""
    said = read_metadata(path, PRODUCER).get(SOURCE, "{}")
    return str(parsed_table(said.encode(), SOURCE).get("name", ""))


def write_onnx(model: Model, output: Output, dtype: str = "float32") -> None:
    """A graph that passes onnx.checker."""
    onnx, engine = package("onnx"), model.engine
    proto = lowered(pooled(exported(model, max(OPSET, engine.opset or 0))), engine.opset)
    if engine.upsampling == "dense":
        proto = dense(proto)
    if proto.ByteSize() > MAX_BYTES:
        raise WriteError(f"{output.path.name}: would take {proto.ByteSize()} bytes, ONNX allows {MAX_BYTES}")
    name(proto, model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except onnx.checker.ValidationError as error:
        raise VerificationFailed(f"{output.path.name}: onnx.checker refuses it: {error}") from error
    output.write(proto.SerializeToString(deterministic=True))


FORMAT = Format(
    "onnx",
    (".onnx",),
    write_onnx,
    open=open_onnx,
    source=source_of,
    engine=("opset", "size", "batch", "upsampling", "elide", "check_in"),
    check_in=ENGINES,
    needs_values=False,
    code=(
        "import numpy, onnxruntime",
        "session = onnxruntime.InferenceSession({path!r})",
        "tops = session.run(None, {arrays})",
    ),
)
