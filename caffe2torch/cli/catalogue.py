"""What is converted, from the converters themselves: `fcn-convert --list-layers` and docs/layers.md.

`python -m caffe2torch.cli.catalogue > docs/layers.md` writes the page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from caffe2torch import schema
from caffe2torch.layers.converter import Converter
from caffe2torch.layers.registry import converters
from caffe2torch.net.text import aligned

_TITLE = """# Layer types

What `fcn-convert` converts. A layer of another type, a field that no schema has, and a value that is not
described here are refused. *Held against* says where the numbers come from that the tests compare with:
Caffe's own outputs and gradients, or NumPy loops written from the definition in the fork that has the type,
and for some also the outputs of a Caffe with SSD's layers.

This page is written by `python -m caffe2torch.cli.catalogue`; the words are the converters' docstrings.
"""


@dataclass(frozen=True)
class Entry:
    """One converter: the types it serves, in words, the fields it reads, and what it was held against."""

    types: tuple[str, ...]
    says: str
    """Its docstring; the first line stands by itself."""
    fields: tuple[tuple[str, tuple[str, ...]], ...]
    """Messages of LayerParameter and their fields; each is honoured, or refused where it is set."""
    held_against: str

    @property
    def summary(self) -> str:
        """The first line."""
        return self.says.split("\n", 1)[0]


def entries() -> list[Entry]:
    """Every converter, by the first of its types."""
    types: dict[type[Converter], list[str]] = {}
    for name, converter in converters().items():
        types.setdefault(converter, []).append(name)
    return [
        Entry(
            tuple(names), inspect.getdoc(converter) or "", tuple(_fields(converter)), converter.held_against
        )
        for converter, names in types.items()
    ]


def _fields(converter: type[Converter]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The messages that a converter's code names, with Caffe's fields and the forks' that it honours."""
    own = [c for c in converter.__mro__ if issubclass(c, Converter) and c is not Converter]
    code = "".join(map(inspect.getsource, own))
    layer = schema.descriptor("LayerParameter").fields_by_name
    for name in dict.fromkeys(re.findall(r"\.(\w+_param)\b", code)):
        message = layer[name].message_type if name in layer else None
        fields = message.fields if message is not None else ()
        honoured = [f.name for f in fields if _is_honoured(converter, name, f.name, f.number)]
        if honoured:
            yield name, tuple(honoured)


def _is_honoured(converter: type[Converter], message: str, field: str, number: int) -> bool:
    return number < schema.PRIVATE or bool({message, f"{message}.{field}"} & converter.fork_fields)


def table() -> str:
    """A line per type: what it does, and what it was held against."""
    rows = [(name, entry.held_against, entry.summary) for entry in entries() for name in entry.types]
    return "\n".join(aligned([("type", "held against", "supported"), *sorted(rows)]))


def markdown() -> str:
    """The page docs/layers.md."""
    return "\n".join([_TITLE, *(_section(entry) for entry in entries())])


def _section(entry: Entry) -> str:
    fields = [f"`{message}`: {', '.join(names)}" for message, names in entry.fields]
    held = [f"Held against: {entry.held_against}."] if entry.held_against else []
    parts = [f"## {', '.join(entry.types)}", entry.says, *fields, *held]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
