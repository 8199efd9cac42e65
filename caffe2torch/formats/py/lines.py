"""Statements in lines of at most 88 characters, broken as `ruff format` and `black` break them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

WIDTH = 88


def lines(start: str, expression: str, end: str = "", indent: int = 8) -> list[str]:
    """A statement, by default of a method: an expression, such as a call, between two texts."""
    return list(_lines(" " * indent, start, expression, end))


def _lines(margin: str, start: str, expression: str, end: str) -> Iterator[str]:
    whole = f"{margin}{start}{expression}{end}"
    node = ast.parse(expression, mode="eval").body
    elements = _elements(node)
    if len(whole) <= WIDTH or not (elements or isinstance(node, ast.BinOp)):
        yield whole
    elif elements:
        first, last = elements[0][0], elements[-1][1].end_col_offset or 0
        yield f"{margin}{start}{expression[:first]}"
        together = isinstance(node, ast.Call | ast.Subscript)
        yield from _inside(f"{margin}    ", expression, elements, together)
        yield f"{margin}{expression[last:]}{end}"
    else:
        yield f"{margin}{start}("
        yield from _terms(f"{margin}    ", expression, node, _binding(node))
        yield f"{margin}){end}"


def _inside(
    margin: str, expression: str, elements: list[tuple[int, ast.expr]], together: bool
) -> Iterator[str]:
    """Arguments and indices on one line if they fit; else, like elements, on lines that end in commas."""
    line = f"{margin}{expression[elements[0][0] : elements[-1][1].end_col_offset]}"
    if together and len(line) <= WIDTH:
        yield line
        return
    for begin, value in elements:
        inner = ast.get_source_segment(expression, value) or ""
        if isinstance(value, ast.Slice):
            yield f"{margin}{inner},"
        else:
            yield from _lines(margin, expression[begin : value.col_offset], inner, ",")


def _elements(node: ast.expr) -> list[tuple[int, ast.expr]]:
    """Where each argument, element or key begins, and its value."""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return [(key.col_offset, value) for key, value in pairs if key is not None]
    if isinstance(node, ast.Call):
        named = [(keyword.col_offset, keyword.value) for keyword in node.keywords]
        return [*((value.col_offset, value) for value in node.args), *named]
    if isinstance(node, ast.Subscript):
        node = node.slice
    values = node.elts if isinstance(node, (ast.List, ast.Tuple)) else []
    return [(value.col_offset, value) for value in values]


def _terms(margin: str, expression: str, node: ast.expr, binding: int) -> Iterator[str]:
    """A sum or product, its operators, all of which bind as strongly, at the beginnings of lines."""
    if not isinstance(node, ast.BinOp) or _binding(node) != binding:
        yield f"{margin}{expression}"
        return
    at = node.left.end_col_offset or 0
    yield from _terms(margin, expression[:at], node.left, binding)
    yield f"{margin}{expression[at:].strip()}"


def _binding(node: ast.expr) -> int:
    """How strongly an operator binds: a sum 0, a power 2."""
    operator = node.op if isinstance(node, ast.BinOp) else None
    return 0 if isinstance(operator, ast.Add | ast.Sub) else 2 if isinstance(operator, ast.Pow) else 1
