"""Files that appear under their names only when complete, and the folders they are in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from caffe2torch.errors import WriteError
from caffe2torch.partial import partial


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents, unless they exist. Raises WriteError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be created: {error.strerror or error}") from error


def write(path: Path, content: bytes | str) -> None:
    """Writes or replaces a file, and creates its folders. Raises WriteError."""
    data = content.encode() if isinstance(content, str) else content
    make_folder(path.parent)
    try:
        with partial(path) as unfinished:
            unfinished.write_bytes(data)
            unfinished.replace(path)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error


def refuse_existing(paths: Iterable[Path], force: bool) -> None:
    """Raises WriteError for files that are there, unless they may be replaced."""
    if not force and (existing := [path for path in paths if path.exists()]):
        raise WriteError(f"{existing[0]}: exists; name another place with -o, or replace it with --force")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON: keys in the order given, each list of plain values on one line. Raises WriteError."""
    write(path, as_json(content) + "\n")


def as_json(content: Any, margin: str = "\n") -> str:
    """JSON text, with one line for each row of a confusion matrix."""
    inner = margin + " "
    if isinstance(content, Mapping) and content:
        items = (f"{inner}{as_json(str(key))}: {as_json(value, inner)}" for key, value in content.items())
        return "{" + ",".join(items) + margin + "}"
    if isinstance(content, (list, tuple)) and any(
        isinstance(value, (Mapping, list, tuple)) for value in content
    ):
        return "[" + ",".join(inner + as_json(value, inner) for value in content) + margin + "]"
    return json.dumps(content, ensure_ascii=False, allow_nan=False)
