"""JSON objects, of bounded size."""

from __future__ import annotations

import json
from typing import Any

from caffe2torch.errors import ReadError
from caffe2torch.untrusted.mapped import AnyPath, located, mapped

MAX_TABLE = 8 << 20
"""Bytes, of which Python makes thirty times as many; what describes 10,000 convolutions takes 6 MB."""


def read_table(path: AnyPath) -> dict[str, Any]:
    """The JSON object in a file. Raises ReadError for anything else, or one over MAX_TABLE."""
    buffer = mapped(path)
    with located(path):
        if len(buffer) > MAX_TABLE:
            raise ReadError(f"has {len(buffer)} bytes; {MAX_TABLE} are allowed, more than any net needs")
        return parsed_table(buffer[:], "it")


def parsed_table(text: bytes, what: str) -> dict[str, Any]:
    """The JSON object in a text, which errors call `what`. Raises ReadError for anything else."""
    try:
        table = json.loads(text.decode(), object_pairs_hook=_unrepeated)
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{what} is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise ReadError(f"{what} is not a JSON object")
    return table


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key appears twice")
    return table
