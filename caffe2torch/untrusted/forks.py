"""Fields of forks in binary files: each fork's own numbers <-> the private ones of our schema.

Forks reuse each other's numbers, and Caffe's: 137 is Caffe's embed_param, SegNet's upsample_param and
yjxiong's bn_param. A layer's type settles which it is; where two forks could have written a layer, the rest
of its net decides, and if that does not, nobody guesses.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from caffe2torch import schema
from caffe2torch.errors import NetError, ReadError
from caffe2torch.schema import PRIVATE, Message
from caffe2torch.untrusted.wire import FIXED32, FIXED64, LENGTH, VARINT, Field, delimited, fields, varint

_TABLE = Path(schema.__file__).with_name("fork-numbers.tsv")
_LAYER, _NET = schema.descriptor("LayerParameter"), schema.descriptor("NetParameter")
_PRIVATE = range(PRIVATE, PRIVATE + 1000)
"""More than we use; R-FCN's own numbers are far above."""
_LAYERS = _NET.fields_by_name["layer"].number
_TYPES = {
    "norm_param": ("Normalize",),
    **dict.fromkeys(
        ("augmentation_param", "coeff_schedule_param"),
        ("DataAugmentation", "FlowAugmentation", "GenerateAugmentationParameters"),
    ),
}
"""Layer types whose parameters are not called as they are."""

_HOLES = "HoleConvolution"
"""The first PSPNet's: in its ConvolutionParameter, holes have the numbers of later fields of Caffe's."""

_Numbers = Mapping[str, Mapping[str, int]]
"""A fork's numbers, by message and field."""
_Find = Callable[[Descriptor, Field], "tuple[int, FieldDescriptor | None] | None"]
"""The number that a field of a message gets, and what it is; None if it cannot be told."""


@cache
def _forks() -> dict[str, _Numbers]:
    forks: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    with _TABLE.open(newline="") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            for fork in row["forks"].split():
                forks[fork][row["message"]][row["field"]] = int(row["number"])
    return {fork: dict(messages) for fork, messages in forks.items()}


# From a file.


def resolved(net: Message, data: bytes, unknown: tuple[str, ...]) -> tuple[Message, tuple[str, ...]]:
    """The net with the fields of forks that its layers' types settle, and those of `unknown` that remain.

    `unknown` are paths of fields; `data` is the serialized net: parsing loses what another field's type does
    not hold. Only current layers are settled.
    """
    if any(path.startswith("#") for path in unknown) and (told := _told_net(net)) is not None:
        net, unknown = told, tuple(path for path in unknown if path[0] != "#" or _is_private(path))
    layers = [data[x.payload : x.end] for x in fields(data) if (x.number, x.wire) == (_LAYERS, LENGTH)]
    candidates = [_candidates(layer, own) for layer, own in zip(net.layer, layers, strict=True)]
    settled = {fork for found in candidates if _only(found) is not None for fork in found}
    done: set[str] = set()
    left: set[str] = set()
    for position, (layer, found) in enumerate(zip(net.layer, candidates, strict=True)):
        place = f"layer {layer.name!r}." if layer.name else f"layer[{position}]."
        likely = {fork: told for fork, told in found.items() if fork in settled} or found
        told = _only(likely)
        if told is not None:
            layer.CopyFrom(told)
        (left if told is None else done).add(place)
    gone = tuple(done - left)
    return net, tuple(path for path in unknown if not path.startswith(gone))


def _is_private(path: str) -> bool:
    """Whether a file gave a number of ours, which is not believed."""
    number = path.rpartition("#")[2]
    return number.isdecimal() and int(number) in _PRIVATE


def _only(found: Mapping[str, Message]) -> Message | None:
    """What all candidates say, if they agree."""
    first = next(iter(found.values()), None)
    return first if all(told == first for told in found.values()) else None


def _candidates(layer: Message, data: bytes) -> dict[str, Message]:
    """The layer as each fork means it that knows all of its fields; none if it is plain Caffe's."""
    given = UnknownFieldSet(layer)
    numbers = {field.number for field, _ in layer.ListFields()}
    numbers |= {given[i].field_number for i in range(len(given))}
    owned = _owned(layer.type)
    # A field of the layer's own type goes before what a fork gives to layers of every type.
    closest = [fork for fork, own in owned.items() if numbers & own.keys()]
    if not closest and not _has_unknown(layer):
        return {}
    told = {fork: _told(data, _LAYER, _meaning(_forks()[fork], owned[fork])) for fork in closest or _forks()}
    return {fork: layer for fork, layer in told.items() if layer is not None}


def _told_net(net: Message) -> Message | None:
    """The net whose own fields, outside of layers, some fork knows."""
    for names in _forks().values():
        told = _told(net.SerializeToString(), _NET, _meaning(names, {}), top_only=True)
        if told is not None:
            return told
    return None


@lru_cache(1024)
def _owned(layer_type: str) -> dict[str, dict[int, str]]:
    """For each fork, the fields of LayerParameter that belong only to a layer type, by the fork's numbers."""
    return {fork: _own(names, layer_type) for fork, names in _forks().items()}


def _own(names: _Numbers, layer_type: str) -> dict[int, str]:
    """The fields of LayerParameter that belong only to a layer type, by a fork's numbers."""
    mine = layer_type.lower()
    own = {
        number: name
        for name, number in names.get("LayerParameter", {}).items()
        if name.removesuffix("_param").replace("_", "") == mine or layer_type in _TYPES.get(name, ())
    }
    if layer_type == _HOLES and "hole" in names.get("ConvolutionParameter", {}):
        own[_LAYER.fields_by_name["convolution_param"].number] = "convolution_param"
    return own


def _meaning(names: _Numbers, own: Mapping[int, str]) -> _Find:
    """What a fork's numbers mean in a layer whose type has the fields `own`."""
    layers = names.get("LayerParameter", {})
    shared = {number: name for name, number in layers.items() if not name.endswith("_param")}

    has_holes = "convolution_param" in own.values()

    def find(message: Descriptor, field: Field) -> tuple[int, FieldDescriptor | None] | None:
        if field.number in _PRIVATE and message.name != "BlobProto":
            return None  # our own numbers in a file are not believed; a blob's index is wire.scan's
        forks = own if message is _LAYER else {n: name for name, n in names.get(message.name, {}).items()}
        known = message.fields_by_number.get(field.number)
        first = message is _LAYER or has_holes
        if field.number in forks and (first or known is None or not _holds(known, field.wire)):
            known = message.fields_by_name[forks[field.number]]
        elif message is _LAYER and (known is None or not _holds(known, field.wire)):
            known = message.fields_by_name.get(shared.get(field.number, ""))
        return (field.number, None) if known is None else (known.number, known)

    return find


def _told(data: bytes, kind: Descriptor, find: _Find, top_only: bool = False) -> Message | None:
    """A serialized message with the numbers that `find` gives; None if some field is unknown even so."""
    try:
        renumbered = _renumbered(data, kind, find, top_only)
        told = None if renumbered is None else schema.message(kind.name).FromString(renumbered)
    except (DecodeError, ReadError):
        return None
    if told is None or len(UnknownFieldSet(told)) or (not top_only and _has_unknown(told)):
        return None
    if kind is _LAYER and not told.engine.isprintable():
        return None  # a message of another fork, not the name of Intel's engine
    return told


def _has_unknown(message: Message) -> bool:
    inner = [
        each
        for field, value in message.ListFields()
        if field.message_type is not None
        for each in ([value] if isinstance(value, Message) else value)
    ]
    return len(UnknownFieldSet(message)) > 0 or any(map(_has_unknown, inner))


def _holds(field: FieldDescriptor, wire: int) -> bool:
    """Whether a field is written in this wire type."""
    if field.type in (field.TYPE_MESSAGE, field.TYPE_STRING, field.TYPE_BYTES):
        return wire == LENGTH
    own = {field.TYPE_FLOAT: FIXED32, field.TYPE_DOUBLE: FIXED64}.get(field.type, VARINT)
    return wire == own or (wire == LENGTH and field.is_repeated)


# To a file.


def numbered(layers: Sequence[Message]) -> Iterator[bytes]:
    """Layers as their forks would write them; all as one fork, if one has all of their fields.

    Raises NetError for a layer with a field that no fork is known to write.
    """
    plain = [data for layer in layers if (data := _as_fork(layer, "")) is not None]
    if len(plain) == len(layers):
        yield from plain
        return
    ways = [
        {fork: data for fork in ("", *_forks()) if (data := _as_fork(x, fork)) is not None} for x in layers
    ]
    common = [fork for fork in ("", *_forks()) if all(fork in way for way in ways)]
    for layer, way in zip(layers, ways, strict=True):
        if not way:
            raise NetError(
                f"layer {layer.name!r} ({layer.type}): has fields of a fork of Caffe whose numbers in a "
                f"caffemodel are not known; write safetensors or a prototxt"
            )
        yield way.get(common[0]) or b"" if common else next(iter(way.values()))


def _as_fork(layer: Message, fork: str) -> bytes | None:
    """The layer with a fork's numbers, None if the fork lacks any; "" is Caffe itself."""
    names: _Numbers = _forks().get(fork, {})

    def find(message: Descriptor, field: Field) -> tuple[int, FieldDescriptor | None] | None:
        known = message.fields_by_number[field.number]
        number = names.get(message.name, {}).get(known.name) if known.number >= PRIVATE else known.number
        return None if number is None else (number, known)

    return _renumbered(layer.SerializeToString(deterministic=True), _LAYER, find)


def _renumbered(data: bytes, kind: Descriptor, find: _Find, top_only: bool = False) -> bytes | None:
    """A serialized message with the numbers that `find` gives; None where it gives none."""
    parts = []
    for field in fields(data):
        found = find(kind, field)
        if found is None:
            return None
        number, known = found
        content: bytes | None = data[field.payload : field.end]
        if field.wire != LENGTH:
            parts.append(varint(number << 3 | field.wire) + (content or b""))
            continue
        if known is not None and known.message_type is not None and not top_only:
            content = _renumbered(content or b"", known.message_type, find)
        if content is None:
            return None
        parts.append(delimited(number, content))
    return b"".join(parts)
