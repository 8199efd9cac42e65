"""What a model knows, beside a file that cannot hold it: NAME.caffemodel.json.

It belongs to the file of that name with the SHA-256 that it states, and is refused beside any other.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import IO

from caffe2torch.errors import ReadError, WriteError
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.untrusted.mapped import AnyPath, located
from caffe2torch.untrusted.tables import read_table
from caffe2torch.writing.digest import Digest
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output

SUFFIX = ".json"
FORMAT = "caffe2torch knowledge, 1"


def write_beside(model: Model, output: Output, said: Knowledge = Knowledge()) -> None:  # noqa: B008 (frozen)
    """Says beside `output` what the model knows, unless that is what the file itself has `said`.

    Raises WriteError where another file has the name.
    """
    name = f"{output.path.name}{SUFFIX}"
    old = output.target.with_name(name)
    if model.knowledge == said and not old.exists():
        return
    if old.exists() and not _is_ours(old):
        raise WriteError(f"{old}: is in the way and not from an earlier {output.path.name}; move it away")
    other = output.another(name)
    other.write(b"")  # it is there from now on
    other.at_last(partial(_write, model, output.path))


def read_beside(path: AnyPath) -> Knowledge | None:
    """What the file beside a model's says; None without one.

    Raises ReadError for a file that is damaged, that something else wrote, or that belongs to other bytes.
    """
    beside = Path(f"{path}{SUFFIX}")
    if not beside.is_file():
        return None
    table = read_table(beside)
    with located(beside):
        if table.get("format") != FORMAT:
            raise ReadError(f"is not what fcn-convert writes beside {Path(str(path)).name}; move it away")
        if table.get("sha256") != Digest(path).sha256():
            raise ReadError(f"belongs to another {Path(str(path)).name}; delete it, or write both again")
        return Knowledge.from_data(table.get("preprocessing"), table.get("labellings"))


def source_beside(path: Path) -> str:
    """The name of the file that the one at `path` was converted from; empty if no file of ours says so.

    Raises what reading the two raises.
    """
    table = read_table(Path(f"{path}{SUFFIX}"))
    if table.get("format") != FORMAT or table.get("sha256") != Digest(path).sha256():
        return ""
    return str(table.get("source", ""))


def _write(model: Model, path: Path, file: IO[bytes]) -> None:
    digest, known = Digest(path).sha256(), model.knowledge.as_data()
    content = {"format": FORMAT, "sha256": digest, "source": model.source, **known}
    file.write((json.dumps(content, indent=2) + "\n").encode())


def _is_ours(path: Path) -> bool:
    try:
        return read_table(path).get("format") == FORMAT
    except ReadError:
        return False
