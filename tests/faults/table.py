"""The table of faults in docs/trust.md: `python -m tests.faults.table` prints it.

A test that is a row of it has a mark:

    @pytest.mark.fault("full disk", "fcn-convert", "one line, exit code 1, no file")
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.places import ROOT

COMMANDS = ("fcn-convert", "fcn-repro", "fcn-segment", "c2t-caffe")


@dataclass(frozen=True, order=True)
class Row:
    """A fault, the commands that meet it, what the user gets, and a link to the test that says so."""

    what: str
    commands: str
    then: str
    test: str


def rows() -> list[Row]:
    """All of them, in the order of the words."""
    return sorted(row for path in (ROOT / "tests").rglob("test_*.py") for row in _of(path))


def _of(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8")
    if "pytest.mark.fault(" not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    what, commands, then = (ast.literal_eval(word) for word in mark.args)
                    place = path.relative_to(ROOT)
                    yield Row(what, commands, then, f"[{node.name.removeprefix('test_')}](../{place})")


def text() -> str:
    """The table in Markdown."""
    lines = ["| fault | in | what you get | test |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.commands} | {row.then} | {row.test} |" for row in rows()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201
