"""Graph -> the statements of a `forward`, as a person writes them: `x = F.relu(self.conv1_1(data))`.

A layer that keeps its bottom's shape is written around the one before it. Between layers with one bottom, a
value that only the next statement reads is called `x`; all others have the names of their blobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from caffe2torch.formats.py.graph import Graph, Node, Value
from caffe2torch.formats.py.lines import lines
from caffe2torch.formats.py.names import Names

PASSING = "x"
"""The variable of a value that only the next statement reads."""


@dataclass(frozen=True, eq=False)
class Statement:
    """Layers that are written as one expression, the first inmost, and the values it is assigned to."""

    nodes: tuple[Node, ...]

    @property
    def makes(self) -> tuple[Value, ...]:
        """What it is assigned to."""
        return self.nodes[-1].makes

    @property
    def reads(self) -> tuple[Value, ...]:
        """What it is made of."""
        return self.nodes[0].reads


class Forward:
    """The statements of a graph with their names: `attributes` for layers, `variables` for blobs."""

    def __init__(self, graph: Graph, attributes: Names, variables: Names) -> None:
        self.graph, self.attributes, self.variables = graph, attributes, variables
        for value in graph.inputs:
            variables(value.blob)
        self._say(_chained(graph))
        while any(too_long := [self._is_too_long(statement) for statement in self.statements]):
            halves = zip(self.statements, too_long, strict=True)
            self._say([part for whole, split in halves for part in (_halves(whole) if split else [whole])])

    def _say(self, statements: Sequence[Statement]) -> None:
        self.statements, self._passing = tuple(statements), set[Value]()
        for statement, after in pairwise(statements):
            lone = len(statement.makes) == len(statement.reads) == len(after.reads) == 1
            if lone and self.graph.readers[statement.makes[0]] == [after.nodes[0]]:
                self._passing |= {*statement.makes}

    def _is_too_long(self, statement: Statement) -> bool:
        written = lines(self.start(statement), self.expression(statement))
        room = 1 if len(statement.reads) == 1 else 3  # a sum may stand in the lines of its ReLU
        return len(statement.nodes) > 1 and len(written) > room

    def expression(self, statement: Statement) -> str:
        """What a statement computes, in Python."""
        bottoms = [self.variable(value) for value in statement.reads]
        for node in statement.nodes:
            bottoms = [node.python(self.attributes(node.step.key), bottoms).expression]
        return bottoms[0]

    def start(self, statement: Statement) -> str:
        """What stands before a statement's expression."""
        if self.returns(statement):
            return "return "
        return f"{', '.join(self.variable(value) for value in statement.makes)} = "

    def returns(self, statement: Statement) -> bool:
        """Whether a statement makes the one output of the net, and is the last one."""
        return statement is self.statements[-1] and len(self.graph.outputs) == 1

    def variable(self, value: Value) -> str:
        """What a value is called."""
        return PASSING if value in self._passing else self.variables(value.blob)


def _chained(whole: Graph) -> list[Statement]:
    statements: list[Statement] = []
    for node in whole.nodes:
        before = statements[-1] if statements else None
        if before and node.follows and whole.is_chain(before.nodes[-1], node):
            statements[-1] = Statement((*before.nodes, node))
        else:
            statements.append(Statement((node,)))
    return statements


def _halves(statement: Statement) -> list[Statement]:
    half = len(statement.nodes) // 2
    return [Statement(statement.nodes[:half]), Statement(statement.nodes[half:])]
