"""TOML files -> frozen dataclasses; unknown keys, missing keys and other types are refused.

A record's fields are its file's keys: scalars, other records, `tuple[X, ...]` for arrays, `Mapping[str, X]`
for tables, `X | Y` of scalars and an array, and `X | None`, where the file writes "-" for None. A field with
a default may be left out.
A ValueError from a record's `__post_init__` is reported with its place in the file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from caffe2torch.errors import MissingData, ReadError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_R = TypeVar("_R")

MAX_BYTES = 1 << 20
"""Of a file; the longest of ours has 50 kB."""
MAX_DOTS = 1000
"""In a line: the parser walks along a key's dots once for each of them."""


def load(path: Path, kind: type[_R]) -> _R:
    """The record in a TOML file.

    Raises MissingData without the file, and ReadError, naming file and place, for anything but exactly what
    `kind` asks for.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ReadError(f"{path.name}: is over {MAX_BYTES} bytes, more than any recipe or table needs")
        if max((line.count(b".") for line in text.split(b"\n")), default=0) > MAX_DOTS:
            raise ReadError(f"{path.name}: has a line of over {MAX_DOTS} dots")
        content = tomllib.loads(text.decode())
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path.name}: not readable as TOML: {error}") from error
    record: _R = _read(kind, content, path.name)
    return record


def _read(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _record(kind, value, where)
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return tuple(_read(item, v, f"{where}[{i}]") for i, v in enumerate(_of(list, value, where)))
    if get_origin(kind) is Mapping:
        item = get_args(kind)[1]
        return {key: _read(item, v, _below(where, key)) for key, v in _of(dict, value, where).items()}
    if isinstance(kind, UnionType):
        return _one_of(get_args(kind), value, where)
    return _of(kind, value, where)


def _record(kind: Any, value: Any, where: str) -> Any:
    """A `kind`, from a table with exactly its fields."""
    table = _of(dict, value, where)
    hints = get_type_hints(kind)
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if unknown := sorted(table.keys() - hints.keys()):
        raise ReadError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(hints)}")
    if missing := sorted(needed - table.keys()):
        raise ReadError(f"{where}: key {missing[0]!r} is missing")
    given = {key: _read(hints[key], v, _below(where, key)) for key, v in table.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise ReadError(f"{where}: {error}") from error


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if NoneType in kinds:
        (kind,) = (k for k in kinds if k is not NoneType)
        return None if value == "-" else _read(kind, value, where)
    arrays = [kind for kind in kinds if get_origin(kind) is tuple]
    if arrays and type(value) is list:
        return _read(arrays[0], value, where)
    if type(value) not in kinds:
        known = [_TOML_NAMES[list] if kind in arrays else kind.__name__ for kind in kinds]
        raise ReadError(f"{where}: expected {' or '.join(known)}, found {_shown(value)}")
    return value


def _of(kind: type, value: Any, where: str) -> Any:
    if type(value) is not kind:  # exactly: here True is not an int
        raise ReadError(f"{where}: expected {_TOML_NAMES.get(kind, kind.__name__)}, found {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """The start of a value, which may be long or deep."""
    return f"a {type(value).__name__}" if isinstance(value, (dict, list)) else repr(value)[:80]


_TOML_NAMES = {dict: "a table", list: "an array", str: "a string", bool: "true or false"}


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if ": " in where else f"{where}: {key}"
