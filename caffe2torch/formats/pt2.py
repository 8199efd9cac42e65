"""Plan -> pt2, a graph that runs without this package: `torch.export.load(path).module()(image)`.

Its extra files `preprocessing.json` and `labellings.json` are what safetensors.METADATA calls these;
`source.json` has the name of the file that it was converted from.
"""

from __future__ import annotations

import json
from pathlib import Path

from caffe2torch._torch import torch
from caffe2torch.net import Net
from caffe2torch.untrusted.pt2 import read_extra, read_pt2
from caffe2torch.writing.checking import as_function
from caffe2torch.writing.format import Format, Run
from caffe2torch.writing.model import Model, with_state
from caffe2torch.writing.output import Output, patiently

SOURCE = "source.json"


def open_pt2(path: Path) -> Run:
    """The graph in a file, whose author decides what loading it runs."""
    from caffe2torch.writing.graph import argument, quiet  # loads slowly, and few formats need it

    with quiet():  # older versions of torch warn of their own buffers
        program = torch.export.load(path).module()
    return as_function(lambda **inputs: program(**{argument(blob): x for blob, x in inputs.items()}))


def read_values(path: Path, model: Model) -> Net:
    """The model's net with the weights in a file, of which nothing is run."""
    return with_state(model, read_pt2(path), path)


def source_of(path: Path) -> str:
    """The name of the file that a pt2 was converted from, as its extra file says."""
    return str(read_extra(path, SOURCE).get("name", ""))


def write_pt2(model: Model, output: Output, dtype: str = "float32") -> None:
    """torch.export's program: batch, height and width are free where the net leaves them free (trial.py)."""
    from caffe2torch.writing.graph import graph, quiet

    program = graph(model)
    known = {f"{name}.json": json.dumps(table) for name, table in model.deployed_knowledge.as_data().items()}
    known[SOURCE] = json.dumps({"name": model.source})
    _, traced_on = program.example_inputs
    # A compiler of the file asks for their shapes; each is stored as one number.
    program.example_inputs = ((), {name: x.new_zeros(()).expand(x.shape) for name, x in traced_on.items()})
    with patiently(output.file) as file, quiet():
        torch.export.save(program, file, extra_files=known)


FORMAT = Format(
    "pt2",
    (".pt2",),
    write_pt2,
    open=open_pt2,
    values=read_values,
    source=source_of,
    runs_code=True,
    engine=("size", "batch"),
    needs_values=False,
    code=("import torch", "model = torch.export.load({path!r}).module()", "tops = model({inputs})"),
)
