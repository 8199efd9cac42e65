"""Plan -> safetensors, straight from the memory-mapped source, and back to a Net. No torch.

    8 bytes, little-endian: the header's length | header: JSON | the tensors, one after another

The format is Hugging Face's (github.com/huggingface/safetensors). `METADATA` lists what our header says
besides where the tensors are; reading back needs nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from caffe2torch.blob import Array, Blob
from caffe2torch.errors import NetError, ReadError, VerificationFailed
from caffe2torch.formats.prototxt import definition
from caffe2torch.net import Net, from_message
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.plan import Plan, plan
from caffe2torch.plan.parameters import Parameter
from caffe2torch.untrusted.mapped import AnyPath, located
from caffe2torch.untrusted.safetensors import Stored, read_tensors
from caffe2torch.untrusted.tables import read_table
from caffe2torch.untrusted.text import MAX_TEXT, parse_prototxt
from caffe2torch.writing import DTYPES
from caffe2torch.writing.digest import Digest
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model, valued, with_blobs
from caffe2torch.writing.output import Output, encoded

_T = TypeVar("_T")

CONFIG = "config.json"
"""The file that defines the net, next to its tensors, in a folder in the hub's form."""
_CONFIG_DEFAULTS = {"diagonal": "[]", "preprocessing": "{}", "labellings": "{}"}
"""What HubNet assumes of entries that are not there, as text."""
FORMAT_VERSION = "1"
METADATA = {
    "format_version": "of this table; a reader refuses one that it does not know",
    "caffe2torch": "the version of this package that wrote the file",
    "source": "name of the file that the values come from; empty for those of a module",
    "source_sha256": "its SHA-256; empty without a source",
    "net_name": "Caffe's name of the net",
    "architecture": "the architecture of the FCN zoo, such as FCN8s; empty for any other net",
    "net": "the deploy net's definition, as prototxt",
    "layers": "JSON: for each layer its name, type, keys and shapes",
    "diagonal": "JSON: keys of dense deconvolutions, (C, C, h, w), kept as their diagonal, (C, 1, h, w)",
    "preprocessing": "JSON: for each input, as far as it is known: mean (one value per channel, in the net's "
    "order), scale, crop_size, mirror, mean_file, channels (BGR or RGB); see net/preprocessing.py",
    "labellings": "JSON: for each output, as far as it is known: classes (names by index), colours (RGB)",
}
"""The entries of `__metadata__`, all text."""

_DTYPES = {"float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2)}

MAX_DENSE = 1 << 28
"""The most values of a blob made from its diagonal: 256 channels of 64x64; the zoo has 60."""


def read_back(path: Path, model: Model) -> Net:
    """The net in a safetensors file."""
    return read_safetensors(path)


def source_of(path: Path) -> str:
    """The name of the file that one was converted from, as its metadata say."""
    _, metadata = read_tensors(path)
    return metadata.get("source", "") if "caffe2torch" in metadata else ""


def write_safetensors(model: Model, output: Output, dtype: str = "float32") -> None:
    """The parameters that hold values of their own; what shares them follows from the net's definition."""
    if model.digest is not None:
        model.digest.begin()
    kept = {p.key: Kept(kept_shape(p), partial(_values, p)) for p in model.plan.parameters()}
    metadata = metadata_of(model)
    write_tensors(kept, metadata, output, dtype)
    if model.digest is not None:
        output.at_last(partial(_sign, kept, metadata, model.digest, dtype))


def _sign(
    tensors: Mapping[str, Kept], metadata: dict[str, str], digest: Digest, dtype: str, file: IO[bytes]
) -> None:
    """Puts the digest of the source, which writing did not wait for, into the place left for it."""
    unsigned = _header(tensors, metadata, dtype)
    signed = _header(tensors, metadata | {"source_sha256": digest.sha256()}, dtype)
    if len(signed) != len(unsigned) or file.read(len(unsigned)) != unsigned:
        raise VerificationFailed("the header is not as it was written; nothing was written")
    file.seek(0)
    file.write(signed)


@dataclass(frozen=True)
class Kept:
    """A tensor to write."""

    shape: tuple[int, ...]
    values: Callable[[], Array]
    """Its values, 1-D."""


def write_tensors(
    tensors: Mapping[str, Kept], metadata: dict[str, str], output: Output, dtype: str = "float32"
) -> None:
    """A safetensors file of tensors by key, in `dtype`."""
    header = _header(tensors, metadata, dtype)
    output.expected = len(header) + sum(_size(tensor, dtype) for tensor in tensors.values())
    output.write(header)
    for key, tensor in tensors.items():
        for piece in encoded(tensor.values(), dtype, key):
            output.write(piece)


def metadata_of(model: Model) -> dict[str, str]:
    """What METADATA lists; the digest of the source comes later."""
    from caffe2torch.version import __version__

    steps = model.plan.steps
    layers = [
        {
            "name": step.layer.name,
            "type": step.layer.type,
            "keys": [parameter.key for parameter in step.parameters],
            "shapes": [parameter.shape for parameter in step.parameters],
        }
        for step in steps
    ]
    diagonal = [parameter.key for parameter in model.plan.parameters() if parameter.diagonal]
    return {
        "format_version": FORMAT_VERSION,
        "caffe2torch": __version__,
        "source": model.source,
        "source_sha256": "0" * 64 if model.digest else "",
        "net_name": model.net.name,
        "architecture": model.architecture.name if model.architecture else "",
        "net": definition(model.plan.net),
        "layers": json.dumps(layers),
        "diagonal": json.dumps(diagonal),
        **{name: json.dumps(known) for name, known in model.deployed_knowledge.as_data().items()},
    }


def _header(tensors: Mapping[str, Kept], metadata: dict[str, str], dtype: str) -> bytes:
    """Length and JSON, padded with spaces so that the tensors start at a multiple of 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for key, tensor in tensors.items():
        offsets = [at, at := at + _size(tensor, dtype)]
        entries[key] = {"dtype": _DTYPES[dtype][0], "shape": tensor.shape, "data_offsets": offsets}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _size(tensor: Kept, dtype: str) -> int:
    return math.prod(tensor.shape) * _DTYPES[dtype][1]


def kept_shape(parameter: Parameter) -> tuple[int, ...]:
    """The shape in which a parameter is kept: dense, or its channel diagonal."""
    valued(parameter)
    shape = tuple(size or 0 for size in parameter.shape)
    return (shape[0], 1, *shape[2:]) if parameter.diagonal else shape


def _values(parameter: Parameter) -> Array:
    """The values as they are kept, 1-D; a view of the source if it holds them like that."""
    blob = valued(parameter)
    return parameter.read().reshape(-1) if parameter.diagonal or blob.values is None else blob.values()


def read_safetensors(path: AnyPath) -> Net:
    """The deploy net of a file that `write_safetensors` wrote, its blobs dense float32, as Caffe has them.

    A file written by the hub's own tools has no metadata; the CONFIG in its folder defines its net.
    Raises MissingData without the file, ReadError for one that is damaged or that something else wrote.
    """
    return read_with_knowledge(path)[0]


def read_with_knowledge(path: AnyPath) -> tuple[Net, Knowledge]:
    """What `read_safetensors` reads, and what the model knows about its inputs and outputs."""
    stored, metadata = _described(path)
    with located(path):
        net = filled(defined(metadata), stored, _listed(metadata, "diagonal"))
        metadata = {"labellings": "{}", **metadata}  # which older files lack
        prepared, labellings = (_json(metadata, name, dict) for name in ("preprocessing", "labellings"))
        known = Knowledge.from_data(prepared, labellings)
    return replace(net, read_from=str(path), weights=str(path)), known


def _described(path: AnyPath) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a file, and its metadata or, without any, what the CONFIG next to it says."""
    stored, metadata = read_tensors(path)
    config = Path(path).with_name(CONFIG)
    if "net" in metadata or not config.is_file():
        return stored, metadata
    given = {name: x for name, x in read_table(config).items() if x is not None}
    texts = {name: x if isinstance(x, str) else json.dumps(x) for name, x in given.items()}
    return stored, _CONFIG_DEFAULTS | texts


def filled(planned: Plan, stored: Mapping[str, Stored], diagonal: Collection[str]) -> Net:
    """The net of a plan with stored tensors as its blobs; those of the keys `diagonal` are made dense."""
    owners = {p.owner for step in planned.steps for p in step.parameters}
    if problem := _difference(owners, set(stored)):
        raise ReadError(problem)
    return with_blobs(planned, lambda p: _blob(p, stored[p.owner], p.owner in diagonal))


def defined(metadata: Mapping[str, str]) -> Plan:
    """The plan of the net that the metadata defines, without blobs."""
    version = metadata.get("format_version")
    if version != FORMAT_VERSION or "net" not in metadata:
        raise ReadError("holds tensors but no Caffe net; only files that fcn-convert wrote can be read back")
    if len(metadata["net"]) > MAX_TEXT:
        raise ReadError(f"its net is over {MAX_TEXT} bytes, more than any net needs")
    message = parse_prototxt(metadata["net"], "its net")
    for layer in message.layer:
        layer.ClearField("blobs")  # values come only from the tensors
    try:
        return plan(from_message(message))
    except NetError as error:
        raise ReadError(f"its net is invalid: {error}") from None


def _listed(metadata: dict[str, str], name: str) -> list[str]:
    listed: list[str] = _json(metadata, name, list)
    if not all(isinstance(key, str) for key in listed):
        raise ReadError(f"its metadata {name!r} is not a list of keys")
    return listed


def _json(metadata: dict[str, str], name: str, kind: type[_T]) -> _T:
    try:
        value = json.loads(metadata.get(name, "null"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise ReadError(f"its metadata {name!r} is not a JSON {kind.__name__}")
    return value


def _difference(needed: set[str], found: set[str]) -> str:
    """Why the tensors are not those of the net; empty when they are."""
    for keys, problem in (
        (needed - found, "lacks the tensor"),
        (found - needed, "has no layer for the tensor"),
    ):
        if keys:
            return f"{problem} {min(keys)!r}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
    return ""


def _blob(parameter: Parameter, stored: Stored, diagonal: bool) -> Blob:
    """The blob of a parameter; a diagonal is made dense each time it is read."""
    shape = (*stored.shape[:1] * 2, *stored.shape[2:])
    if diagonal and (len(stored.shape) != 4 or stored.shape[1] != 1 or math.prod(shape) > MAX_DENSE):
        raise ReadError(
            f"tensor {parameter.owner!r}: is {stored.shape}, not the diagonal (C, 1, h, w) of a blob "
            f"of at most {MAX_DENSE} values"
        )
    return stored.blob(diagonal=diagonal)


FORMAT = Format(
    "safetensors",
    (".safetensors",),
    write_safetensors,
    read=read_back,
    source=source_of,
    dtypes=DTYPES,
    code=(
        "import torch, caffe2torch as c2t",
        "model = c2t.from_safetensors({path!r})",
        "tops = model({inputs})",
    ),
)
