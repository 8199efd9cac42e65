"""Tables and shapes as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def aligned(lines: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Cells in columns, two spaces apart; columns `right` are aligned right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            c.rjust(w) if i in right else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape such as (N, 3, ?, ?), with ? for an axis known only when the net runs."""
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"
