"""Plan -> a folder in the form of Hugging Face's hub: `config.json` and `model.safetensors`.

`caffe2torch.hub.HubNet.from_pretrained(folder)` loads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from caffe2torch.formats.safetensors import (
    CONFIG,
    defined,
    filled,
    kept_shape,
    metadata_of,
    read_config,
    write_safetensors,
)
from caffe2torch.net import Net
from caffe2torch.plan import Plan
from caffe2torch.untrusted.safetensors import read_tensors
from caffe2torch.writing import DTYPES
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output

WEIGHTS = "model.safetensors"


def read_back(path: Path, model: Model) -> Net:
    """The net of a folder: the definition in its config, the tensors in its file."""
    stored, _ = read_tensors(path / WEIGHTS)
    config = read_config(path / CONFIG)
    return filled(planned(config["net"], config["format_version"]), stored, config["diagonal"])


def planned(net: str, format_version: str) -> Plan:
    """The plan of the net that a config defines, without blobs. Raises ReadError."""
    return defined({"net": net, "format_version": format_version})


def write_hub(model: Model, output: Output, dtype: str = "float32") -> None:
    """The safetensors file, and a config that defines the net on its own."""
    metadata = metadata_of(model)
    texts = ("format_version", "caffe2torch", "net_name", "architecture", "net")
    config: dict[str, Any] = {name: metadata[name] for name in texts}
    config["shapes"] = {parameter.key: kept_shape(parameter) for parameter in model.plan.parameters()}
    config |= {name: json.loads(metadata[name]) for name in ("diagonal", "preprocessing")}
    write_safetensors(model, output.another(WEIGHTS), dtype)
    output.another(CONFIG).write((json.dumps(config, indent=2) + "\n").encode())


FORMAT = Format(
    "hub",
    ("/",),
    write_hub,
    read=read_back,
    dtypes=DTYPES,
    code=(
        "import torch, caffe2torch as c2t",
        "model = c2t.HubNet.from_pretrained({path!r})",
        "tops = model({inputs})",
    ),
)
