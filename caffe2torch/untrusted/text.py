"""The text of a prototxt -> a message; syntax errors give line and column."""

from __future__ import annotations

import re

from google.protobuf import text_format

from caffe2torch import schema
from caffe2torch.errors import ReadError, SyntaxRefused
from caffe2torch.schema import Message
from caffe2torch.untrusted.mapped import AnyPath, is_text, mapped

MAX_TEXT = 16 << 20
"""Bytes of a prototxt; the largest nets have one megabyte."""
_CONFLICT = re.compile(r"(<{7}|={7}|>{7})(?!\S)")
_PLACEHOLDER = re.compile(r"\$\w+\$|\$\{\w+\}")
_COMMENT_OR_QUOTED = re.compile(r"""#.*|("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?)""")
_NO_UTF_8 = re.compile("[\ud800-\udfff]")
_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(
    rf"""\\([abfnrtv'"\\]|[0-3][0-7]{{2}}|[0-7]{{1,2}}(?![0-7])|x{_HEX}|u{_HEX}{{4}}|U{_HEX}{{8}})?"""
)


class UnknownField(SyntaxRefused):
    """A field that no schema has; the rest of the text may parse."""


def read_prototxt(path: AnyPath, kind: str = "NetParameter", ignore_unknown: bool = False) -> Message:
    """The message in a prototxt: a NetParameter or a SolverParameter, not upgraded.

    Raises ReadError when it is not text, SyntaxRefused where it does not parse; `ignore_unknown` drops the
    fields that the schema lacks.
    """
    return parse_prototxt(prototxt_text(path), str(path), kind, ignore_unknown)


def prototxt_text(path: AnyPath) -> str:
    """The text of a prototxt. Raises ReadError when it is not text."""
    raw = mapped(path)[: MAX_TEXT + 1]
    if not is_text(raw):
        raise ReadError(f"{path}: looks like a binary file, not text; was a caffemodel given as --prototxt?")
    if len(raw) > MAX_TEXT:
        raise ReadError(f"{path}: is over {MAX_TEXT} bytes; no prototxt is")
    # Comments may be in any encoding; Caffe ignores them.
    return raw.decode("utf-8-sig", "surrogateescape")


def parse_prototxt(
    text: str, source: str, kind: str = "NetParameter", ignore_unknown: bool = False
) -> Message:
    """The message in a text, which errors call `source`. Raises the errors of `read_prototxt`."""
    _check_escapes(source, text)
    if _NO_UTF_8.search(text):
        _check_utf_8(source, text)
    try:
        return text_format.Parse(text, schema.message(kind)(), allow_unknown_field=ignore_unknown)
    except text_format.ParseError as error:
        raise _syntax_refused(source, text, kind, error) from None
    except RecursionError:
        raise ReadError(f"{source}: nests its messages too deeply") from None


def _check_escapes(source: str, text: str) -> None:
    """Refuses the escapes that Caffe's parser refuses; Python's only warns about them."""
    for line, here in enumerate(text.split("\n"), 1):
        for quoted in _COMMENT_OR_QUOTED.finditer(here):
            for escape in _ESCAPE.finditer(quoted[1] or ""):
                if escape[1] is None:
                    column = quoted.start() + escape.start() + 1
                    raise _refused(source, line, column, "an escape that protobuf does not know", here)


def _check_utf_8(source: str, text: str) -> None:
    """Refuses bytes that are not UTF-8, but in comments; protobuf may raise a SystemError."""
    for line, here in enumerate(text.split("\n"), 1):
        code = _COMMENT_OR_QUOTED.sub(lambda part: part[1] or " " * len(part[0]), here)
        if byte := _NO_UTF_8.search(code):
            within = (quoted for quoted in _COMMENT_OR_QUOTED.finditer(here) if byte.start() < quoted.end())
            string = next(within, None)
            if string and string.start() < byte.start():
                raise _refused(source, line, string.start() + 1, "a string that is not UTF-8", here)
            raise _refused(source, line, byte.start() + 1, "a byte that is not UTF-8", here)


def _syntax_refused(source: str, text: str, kind: str, error: text_format.ParseError) -> SyntaxRefused:
    """Why a prototxt does not parse; the usual causes are named."""
    line, column, lines = error.GetLine() or 1, error.GetColumn() or 1, text.split("\n")
    conflict = next((i for i, here in enumerate(lines, 1) if _CONFLICT.match(here)), None)
    if conflict:
        line, column, problem = conflict, 1, "a git conflict marker; resolve the conflict first"
    elif _PLACEHOLDER.search(lines[line - 1]):
        problem = "a template's placeholder; fill it in first"
    elif unknown := _unknown_field(str(error), kind):
        return _refused(source, line, column, unknown, lines[line - 1], UnknownField)
    else:
        problem = _problem(str(error), lines[line - 1])
    return _refused(source, line, column, problem, lines[line - 1])


def _refused(
    source: str, line: int, column: int, problem: str, here: str, kind: type[SyntaxRefused] = SyntaxRefused
) -> SyntaxRefused:
    there = here[max(0, column - 61) : column + 59]
    return kind(source, line, column, _printable(problem), _printable(there))


def _printable(text: str) -> str:
    """The text without what could garble a terminal, or could not be printed at all."""
    return "".join(c if c.isprintable() else " " for c in text)


def _unknown_field(error: str, kind: str) -> str:
    """Which field is unknown, if protobuf says that one is; empty otherwise."""
    unknown = re.search(r'Message type "caffe\.(\w+)" has no field named "(.*?)"', error)
    if not unknown:
        return ""
    message, field = unknown.groups()
    other = "SolverParameter" if kind == "NetParameter" else "NetParameter"
    if message == kind and field in schema.descriptor(other).fields_by_name:
        return f"{field!r} is a field of {other}, and this should be a {kind}"
    return f"{message} has no field {field!r}, in Caffe or in any fork we know"


def _problem(error: str, here: str) -> str:
    """What protobuf says, without the position and the line that it repeats."""
    if "codec can't" in error:
        return "a string that is not UTF-8"
    said = re.sub(r"^\d+:\d+ : ", "", error)
    return said.removeprefix(f"'{here}': ").removeprefix("'': ").removesuffix(".")
