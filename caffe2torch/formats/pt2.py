"""Plan -> pt2, a graph that runs without this package: `torch.export.load(path).module()(image)`."""

from __future__ import annotations

from pathlib import Path

from caffe2torch._torch import torch
from caffe2torch.errors import WriteError
from caffe2torch.formats import Run, writes
from caffe2torch.formats.checking import as_function
from caffe2torch.formats.model import Conversion
from caffe2torch.formats.writing import Output, patiently


def open_pt2(path: Path) -> Run:
    """The graph in a file."""
    from caffe2torch.formats.graph import argument  # loads slowly, and other formats do without

    program = torch.export.load(path).module()
    return as_function(lambda **inputs: program(**{argument(blob): x for blob, x in inputs.items()}))


@writes(
    "pt2",
    ".pt2",
    open=open_pt2,
    code=("import torch", "model = torch.export.load({path!r}).module()", "tops = model({inputs})"),
)
def write_pt2(converted: Conversion, output: Output, dtype: str = "float32") -> None:
    """torch.export's program: batch, height and width are free where they are in the net (trial.py)."""
    if dtype != "float32":
        raise WriteError(f"a pt2 is written in float32, not {dtype}")
    from caffe2torch.formats.graph import quiet

    program = converted.graph
    with patiently(output) as file, quiet():
        torch.export.save(program, file)
