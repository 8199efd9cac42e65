"""HTML and SVG from nested calls: text is always escaped, so no name from a file can add markup."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

Content: TypeAlias = "str | Iterable[Content]"

_WITHOUT_CONTENT = ("img", "input", "meta", "br")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, /, *content: Content, **attributes: str | float | None) -> Markup:
    """An element; strings in `content` are escaped unless they are Markup, other iterables are joined.

    Attributes that are None are left out; `class_` is class, and `stroke_width` is stroke-width.
    """
    given = {
        key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None
    }
    head = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items())
    if tag in _WITHOUT_CONTENT:
        return Markup(f"<{tag}{head}>")
    return Markup(f"<{tag}{head}>{joined(*content)}</{tag}>")


def joined(*content: Content) -> Markup:
    """Several pieces in a row."""
    return Markup("".join(_escaped(piece) for piece in content))


def _escaped(piece: Content) -> str:
    if isinstance(piece, Markup):
        return piece
    return html.escape(piece, quote=False) if isinstance(piece, str) else joined(*piece)
