"""A prototxt whose layers have fields that no schema has: the net without them, and where they stand.

Whether they matter shows when the net is planned: a net to deploy drops its data layers and losses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from caffe2torch.errors import SyntaxRefused
from caffe2torch.schema import Message
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.untrusted.text import UnknownField, parse_prototxt, prototxt_text

_TOKEN = re.compile(r"""#.*|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|[{}<>]|\w+""")


def read_net(path: AnyPath) -> tuple[Message, dict[int | None, UnknownField]]:
    """The NetParameter in a prototxt without the fields that no schema has, and the first of them by layer.

    A layer is given by its position, None stands for the net itself. Raises what `read_prototxt` raises.
    """
    text, source = prototxt_text(path), str(path)
    try:
        return parse_prototxt(text, source), {}
    except UnknownField:
        message = parse_prototxt(text, source, ignore_unknown=True)
    unknown: dict[int | None, UnknownField] = {}
    rest, done, line, counted = list[str](), 0, 0, 0
    for position, (start, end) in enumerate(_layers(text)):
        line, counted = line + text.count("\n", counted, start), start
        try:
            parse_prototxt(text[start:end], source)
        except UnknownField as refusal:
            unknown[position] = _placed(refusal, text, start, line)
            rest += (text[done:start], re.sub(r"[^\n]", " ", text[start:end]))
            done = end
    try:
        parse_prototxt("".join((*rest, text[done:])), source)
    except UnknownField as refusal:
        unknown[None] = refusal
    return message, unknown


def _layers(text: str) -> Iterator[tuple[int, int]]:
    """Where each `layer` or `layers` begins and ends in a text that parses."""
    depth, last, start = 0, None, None
    for token in _TOKEN.finditer(text):
        if token[0] in ("{", "<"):
            if not depth and last is not None and last[0] in ("layer", "layers"):
                start = last.start()
            depth += 1
        elif token[0] in ("}", ">"):
            depth -= 1
            if not depth and start is not None:
                yield start, token.end()
                start = None
        elif not token[0].startswith("#"):
            last = token


def _placed(refusal: SyntaxRefused, text: str, start: int, line: int) -> UnknownField:
    """The refusal of a part of a text that begins at `start`, after `line` lines, placed in the whole."""
    column = start - (text.rfind("\n", 0, start) + 1) if refusal.line == 1 else 0
    return UnknownField(
        refusal.path, refusal.line + line, refusal.column + column, refusal.problem, refusal.text
    )
