"""Plan -> state dict, as torch.save writes it; `torch.load(path, weights_only=True)` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.blob import blob_of
from caffe2torch.net import Net
from caffe2torch.writing import DTYPES
from caffe2torch.writing.beside import source_beside, write_beside
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model, with_state
from caffe2torch.writing.output import Output, encoded, patiently

if TYPE_CHECKING:
    from torch import Tensor

    from caffe2torch.plan.parameters import Parameter


def read_pt(path: Path, model: Model) -> Net:
    """The model's net with the values of a state dict, which may come from anywhere.

    Raises ReadError for a file that holds none, WeightsError for keys that are not those of the net.
    """
    from caffe2torch.untrusted.pickles import read_state_dict  # writing does not need it

    return with_state(model, read_state_dict(path), path)


def read_back(path: Path, model: Model) -> Net:
    """The model's net with the state dict in a file."""
    state = torch.load(path, weights_only=True, mmap=True)
    return with_state(model, {key: blob_of(tensor) for key, tensor in state.items()}, path)


def write_pt(model: Model, output: Output, dtype: str = "float32") -> None:
    """The keys and shapes of `CaffeNet.state_dict()`; parameters that share values share them here, too."""
    own = {parameter.key: _tensor(parameter, dtype) for parameter in model.plan.parameters()}
    parameters = (parameter for step in model.plan.steps for parameter in step.parameters)
    with patiently(output.file) as file:
        torch.save({parameter.key: own[parameter.owner] for parameter in parameters}, file)
    write_beside(model, output)  # a state dict holds tensors and nothing else


def _tensor(parameter: Parameter, dtype: str) -> Tensor:
    array = parameter.read()
    data = bytearray(array.size * getattr(torch, dtype).itemsize)
    at = 0
    for piece in encoded(array.reshape(-1), dtype, parameter.key):
        data[at : at + piece.size] = piece.data
        at += piece.size
    return torch.frombuffer(data, dtype=getattr(torch, dtype)).reshape(array.shape)


FORMAT = Format(
    "pt",
    (".pt", ".pth"),
    write_pt,
    read=read_back,
    source=source_beside,
    dtypes=DTYPES,
    code=(
        "import torch, caffe2torch as c2t",
        "{reading}",
        "model.load_state_dict(torch.load({path!r}, weights_only=True))",
    ),
)
