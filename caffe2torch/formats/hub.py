"""Plan -> a folder in the form of Hugging Face's hub: its configs and `model.safetensors`.

`caffe2torch.hub.HubNet.from_pretrained(folder)` loads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from caffe2torch.formats.safetensors import (
    CONFIG,
    defined,
    filled,
    kept_shape,
    metadata_of,
    source_of,
    write_safetensors,
)
from caffe2torch.net import Net
from caffe2torch.plan import Plan
from caffe2torch.untrusted.safetensors import read_tensors
from caffe2torch.untrusted.tables import read_table
from caffe2torch.writing import DTYPES
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output

WEIGHTS = "model.safetensors"
PROCESSOR = "preprocessor_config.json"


def read_back(path: Path, model: Model) -> Net:
    """The net of a folder: the definition in its config, the tensors in its file."""
    stored, _ = read_tensors(path / WEIGHTS)
    config = read_table(path / CONFIG)
    return filled(planned(config["net"], config["format_version"]), stored, config["diagonal"])


def source_of_folder(path: Path) -> str:
    """The name of the file that a folder was converted from."""
    return source_of(path / WEIGHTS)


def planned(net: str, format_version: str) -> Plan:
    """The plan of the net that a config defines, without blobs. Raises ReadError."""
    return defined({"net": net, "format_version": format_version})


def write_hub(model: Model, output: Output, dtype: str = "float32") -> None:
    """The safetensors file, and a config that defines the net on its own."""
    metadata = metadata_of(model)
    texts = ("format_version", "caffe2torch", "net_name", "architecture", "net")
    config: dict[str, Any] = {name: metadata[name] for name in texts}
    config["shapes"] = {parameter.key: kept_shape(parameter) for parameter in model.plan.parameters()}
    config |= {name: json.loads(metadata[name]) for name in ("diagonal", "preprocessing", "labellings")}
    config |= dict(_labels(model))
    write_safetensors(model, output.another(WEIGHTS), dtype)
    _write_json(output.another(CONFIG), config)
    if processor := image_processor(model):
        _write_json(output.another(PROCESSOR), processor)


def _labels(model: Model) -> Iterator[tuple[str, dict[Any, Any]]]:
    """The class names as transformers' configs have them, of a net with one labelling."""
    labellings = model.deployed_knowledge.labellings.values()
    if len(labellings) == 1:
        names = dict(enumerate(next(iter(labellings)).classes))
        yield "id2label", names
        yield "label2id", {name: label for label, name in names.items()}


def image_processor(model: Model) -> dict[str, Any]:
    """The preprocessing of a net's only input in the words of transformers' image processors.

    {} where it is unknown, or something that these words cannot say: a mean image, a scale of 0, the channels
    of another order than BGR and RGB.
    """
    prepared, channels = model.deployed_knowledge.preprocessing, 3
    if len(model.plan.inputs) != 1 or len(prepared) != 1:
        return {}
    (known,) = prepared.values()
    if known.mean_file or known.scale == 0 or not known.channels or len(known.mean) not in (0, 1, channels):
        return {}
    mean = [*(known.mean or (0.0,))] * (1 if len(known.mean) == channels else channels)
    is_bgr = known.channels == "BGR"
    return {
        "do_resize": False,
        "do_center_crop": known.crop_size > 0,
        "crop_size": {"height": known.crop_size, "width": known.crop_size} if known.crop_size else None,
        "do_rescale": False,
        "rescale_factor": 1.0,
        "do_normalize": True,
        "image_mean": mean[::-1] if is_bgr else mean,  # they flip the channels last
        "image_std": [1 / known.scale] * channels,
        "do_flip_channel_order": is_bgr,
    }


def _write_json(output: Output, table: dict[str, Any]) -> None:
    output.write((json.dumps(table, indent=2) + "\n").encode())


FORMAT = Format(
    "hub",
    ("/",),
    write_hub,
    read=read_back,
    source=source_of_folder,
    dtypes=DTYPES,
    code=(
        "import torch, caffe2torch as c2t",
        "model = c2t.HubNet.from_pretrained({path!r})",
        "tops = model({inputs})",
    ),
)
