"""The intermediate representation: frozen Net, Layer, Blob. This is where protobuf ends.

    message + blobs --from_message--> Net --for_phase--> Net --to_message--> message

Field values keep Caffe's names and the schema's defaults: `layer.fields.convolution_param.num_output`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import FieldDescriptor

from caffe2torch import schema
from caffe2torch.errors import NetError

Array = npt.NDArray[Any]


class Fields:
    """A frozen protobuf message: attributes are its fields, with the schema's defaults where unset.

    Enum values are their names (`"MAX"`), repeated fields tuples, messages `Fields`. `fields.has("kernel_h")`
    tells whether a field was given. Two are equal when they give the same fields the same values.
    """

    __slots__ = ("_given", "_type")
    _given: dict[str, Any]
    _type: str

    def __init__(self, type_name: str, given: dict[str, Any]) -> None:
        object.__setattr__(self, "_type", type_name)
        object.__setattr__(self, "_given", given)

    def __getattr__(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        try:
            return _defaults(self._type)[name]
        except KeyError:
            raise AttributeError(f"{self._type} has no field {name!r}") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Fields are frozen; replace() makes changed ones")

    def has(self, name: str) -> bool:
        """Whether the field was given, be it with its default; a repeated one, with at least one value."""
        if name not in _defaults(self._type):
            raise AttributeError(f"{self._type} has no field {name!r}")
        return name in self._given

    def given(self) -> Iterator[tuple[str, Any]]:
        """The fields that were given, with their values, in the schema's order."""
        return ((name, self._given[name]) for name in _defaults(self._type) if name in self._given)

    def fork_fields(self) -> Iterator[str]:
        """Paths of what was given and only forks of Caffe have, such as `convolution_param.hole`.

        A field with its default value is as good as none. A message stands for all that is in it.
        """
        for name, value in self.given():
            field = schema.descriptor(self._type).fields_by_name[name]
            values = value if isinstance(value, tuple) else (value,)
            if field.enum_type is not None:
                numbers = [field.enum_type.values_by_name[v].number for v in values]
                private = max([field.number, *numbers]) >= schema.PRIVATE
            else:
                private = field.number >= schema.PRIVATE
            if private and value != _defaults(self._type)[name]:
                yield name
            elif not private:
                inner = (path for v in values if isinstance(v, Fields) for path in v.fork_fields())
                yield from (f"{name}.{path}" for path in dict.fromkeys(inner))

    def replace(self, **changes: Any) -> Fields:
        """A copy with some fields changed; None takes a field away."""
        given = {name: value for name, value in (self._given | changes).items() if value is not None}
        for name in given:
            getattr(self, name)
        return Fields(self._type, given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and (self._type, self._given) == (other._type, other._given)

    def __hash__(self) -> int:
        return hash((self._type, tuple(self.given())))

    def __repr__(self) -> str:
        return f"{self._type}({', '.join(f'{name}={value!r}' for name, value in self.given())})"


@cache
def _defaults(type_name: str) -> dict[str, Any]:
    return {f.name: _default(f) for f in schema.descriptor(type_name).fields}


def _default(field: FieldDescriptor) -> Any:
    if field.is_repeated:
        return ()
    if field.message_type is not None:
        return Fields(field.message_type.name, {})
    if field.enum_type is not None:
        return field.enum_type.values_by_number[field.default_value].name
    return field.default_value


def freeze(message: Any) -> Fields:
    """A message as Fields. Floats keep the float32 value that the message holds."""

    def one(field: FieldDescriptor, value: Any) -> Any:
        if field.message_type is not None:
            return freeze(value)
        return field.enum_type.values_by_number[value].name if field.enum_type is not None else value

    given = {}
    for field, value in message.ListFields():
        given[field.name] = tuple(one(field, v) for v in value) if field.is_repeated else one(field, value)
    return Fields(message.DESCRIPTOR.name, given)


def thaw(fields: Fields) -> Any:
    """The message that `freeze` turns into `fields`."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        return thaw(value) if isinstance(value, Fields) else value

    return schema.message(fields._type)(**{name: plain(value) for name, value in fields.given()})


@dataclass(frozen=True, eq=False)
class Blob:
    """One blob of a layer: its shape, its dtype (float32 or float64) and where its values come from.

    `shape` is the stored one; the legacy `num, channels, height, width` give four axes. `values` returns the
    values, 1-D and read-only: a view of the memory-mapped file wherever they lie in one piece. It is None for
    a blob that has a shape and no data.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    values: Callable[[], Array] | None

    @property
    def count(self) -> int:
        """The number of values that the shape asks for."""
        return math.prod(self.shape)

    @property
    def has_data(self) -> bool:
        """Whether the file holds this blob's values, not only its shape."""
        return self.values is not None

    def read(self) -> Array:
        """The values in `shape`."""
        if self.values is None:
            raise NetError(f"a blob of shape {self.shape} has no data")
        return self.values().reshape(self.shape)

    @staticmethod
    def of(array: Array) -> Blob:
        """The blob of an array in memory."""
        return Blob(array.shape, array.dtype, lambda: array.reshape(-1))


@dataclass(frozen=True)
class Layer:
    """One layer: Caffe's LayerParameter, with `fields` for all that is not named here."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    fields: Fields
    """The LayerParameter without name, type, bottom, top and blobs."""
    blobs: tuple[Blob, ...] = ()
    unknown: tuple[str, ...] = ()
    """Fields of a fork's schema that its file holds and nobody can name, such as `#149`."""

    def lr_mult(self, blob: int) -> float:
        """The learning rate multiplier of the layer's i-th blob; Caffe's default is 1."""
        specs = self.fields.param
        return float(specs[blob].lr_mult) if blob < len(specs) else 1.0

    def share_name(self, blob: int) -> str:
        """The name under which `param { name }` shares the layer's i-th blob; empty when it is its own."""
        specs = self.fields.param
        return str(specs[blob].name) if blob < len(specs) else ""


_OWN_FIELDS = ("name", "type", "bottom", "top", "blobs")


@dataclass(frozen=True)
class Net:
    """A net in the current format, layers in Caffe's order. `print(net)` is a table."""

    name: str
    layers: tuple[Layer, ...]
    source: str = ""
    """Where it was read from, for messages."""
    weights: str = ""
    """Where its blobs were read from; empty for a net without weights."""
    notes: tuple[str, ...] = ()
    """What reading rewrote or dropped, and why; one sentence each."""
    stages: tuple[str, ...] = ()
    """Those that its own `state` names, which layers' include and exclude rules ask for."""

    def __str__(self) -> str:
        from caffe2torch.plan.table import table

        return table(self)


def from_message(message: Any, blobs: Sequence[Blob] = (), source: str = "", weights: str = "") -> Net:
    """A current-format NetParameter as a Net.

    A BlobProto of the message is a position in `blobs` (its private field `index`). Raises NetError for a
    `state` at another level than 0.
    """
    if message.state.level:
        raise NetError(
            f"{source}: its state has level: {message.state.level}, which Caffe's solvers heed and its tools "
            f"do not; leave it out, and the layers that are not for it"
        )

    def layer(proto: Any) -> Layer:
        fields = freeze(proto)
        return Layer(
            fields.name,
            fields.type,
            fields.bottom,
            fields.top,
            fields.replace(**dict.fromkeys(_OWN_FIELDS)),
            tuple(blobs[blob.index] for blob in fields.blobs),
        )

    layers = tuple(layer(proto) for proto in message.layer)
    return Net(message.name, layers, source, weights, stages=tuple(message.state.stage))


def to_message(net: Net) -> Any:
    """The NetParameter of a Net, without blobs."""
    message = schema.message("NetParameter")(name=net.name)
    if net.stages:
        message.state.stage.extend(net.stages)
    for layer in net.layers:
        own = {"name": layer.name, "type": layer.type, "bottom": layer.bottoms, "top": layer.tops}
        message.layer.append(thaw(layer.fields.replace(**{k: v or None for k, v in own.items()})))
    return message
