"""A frozen protobuf message: Caffe's names, the schema's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from caffe2torch import schema
from caffe2torch.schema import Message


class Fields:
    """A frozen protobuf message: attributes are its fields, with the schema's defaults where unset.

    Enum values are their names (`"MAX"`), repeated fields tuples, messages `Fields`. `fields.has("kernel_h")`
    says whether a field was given. Two are equal when they give the same fields the same values.
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
        raise AttributeError("Fields are frozen; replace() returns a changed copy")

    def has(self, name: str) -> bool:
        """Whether the field was given, even with its default; if repeated, with at least one value."""
        if name not in _defaults(self._type):
            raise AttributeError(f"{self._type} has no field {name!r}")
        return name in self._given

    def given(self) -> Iterator[tuple[str, Any]]:
        """The fields that were given, with their values, in the schema's order."""
        return ((name, self._given[name]) for name in _defaults(self._type) if name in self._given)

    def fork_fields(self) -> Iterator[str]:
        """Paths of the given fields that only forks of Caffe have, such as `convolution_param.hole`.

        A field with its default value does not count. A fork's message stands for everything in it.
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
        """A copy with some fields changed; None removes a field."""
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


def freeze(message: Message) -> Fields:
    """A message as Fields. Floats keep the float32 value that the message holds."""

    def one(field: FieldDescriptor, value: Any) -> Any:
        if field.message_type is not None:
            return freeze(value)
        return field.enum_type.values_by_number[value].name if field.enum_type is not None else value

    given = {}
    for field, value in message.ListFields():
        given[field.name] = tuple(one(field, v) for v in value) if field.is_repeated else one(field, value)
    return Fields(message.DESCRIPTOR.name, given)


def thaw(fields: Fields) -> Message:
    """The message that `freeze` turns into `fields`."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        return thaw(value) if isinstance(value, Fields) else value

    return schema.message(fields._type)(**{name: plain(value) for name, value in fields.given()})
