"""Plan -> the statements of a `forward`, as a person writes them.

    steps ─ nodes ─→ what depends on what ─ statements ─→ x = F.relu(self.conv1_1(data))

A layer that keeps its bottom's shape is written around the one before it. Between layers of one bottom, what
only the next statement reads is called `x`; all else has the name of its blob.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, pairwise

from caffe2torch.export.lines import lines
from caffe2torch.export.names import Names
from caffe2torch.export.safetensors import kept_shape
from caffe2torch.plan import Parameter, Plan, Step
from caffe2torch.registry import Converter
from caffe2torch.source import Place, Source

PASSING = "x"
"""The variable of what only the next statement reads."""


@dataclass(frozen=True)
class Value:
    """What a blob holds from when a layer writes it until another does."""

    blob: str
    number: int


@dataclass(frozen=True, eq=False)
class Node:
    """A layer between the values that it reads and makes, and a Scale that is written as part of it."""

    place: int
    """Of its step in the plan; that of the Scale where there is one."""
    step: Step
    reads: tuple[Value, ...]
    makes: tuple[Value, ...]
    absorbed: Step | None = None

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The layer's blobs by their own names."""
        return _by_name(self.step)

    @property
    def absorbed_parameters(self) -> dict[str, Parameter]:
        """Those of the Scale."""
        return {} if self.absorbed is None else _by_name(self.absorbed)

    def source(self, name: str, bottoms: Sequence[str] = ()) -> Source:
        """The layer in Python, its attribute called `self.name`."""
        shapes = {name: kept_shape(parameter) for name, parameter in self.parameters.items()}
        read = tuple(bottoms) or (PASSING,) * len(self.reads)
        return self.step.converter.source(Place(f"self.{name}", read, shapes, self.absorbed is not None))

    @property
    def follows(self) -> bool:
        """Whether it is written around the layer before it: it keeps the shape of one bottom, named once."""
        keeps = type(self.step.converter).top_shapes is Converter.top_shapes
        if not keeps or len(self.reads) != 1 or len(self.makes) != 1:
            return False
        return self.source("layer", ["bottom"]).expression.count("bottom") == 1


def _by_name(step: Step) -> dict[str, Parameter]:
    return {parameter.key.rpartition(".")[2]: parameter for parameter in step.parameters}


@dataclass(frozen=True)
class Graph:
    """The layers that a net's outputs depend on, in their order."""

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]

    @cached_property
    def readers(self) -> dict[Value, list[Node | None]]:
        """The layers that read each value; None stands for the end, where it is an output."""
        found = defaultdict[Value, "list[Node | None]"](list)
        for node in self.nodes:
            for value in dict.fromkeys(node.reads):
                found[value].append(node)
        for value in self.outputs:
            found[value].append(None)
        return found

    def is_chain(self, before: Node, after: Node) -> bool:
        """Whether a layer reads what one before it makes, and nothing else does either."""
        return before.makes == after.reads and self.readers[before.makes[0]] == [after]


def graph(plan: Plan) -> Graph:
    """The layers of a plan and what each reads, without those that no output depends on."""
    numbers, latest, nodes = count(), dict[str, Value](), list[Node]()
    for place, step in enumerate(plan.steps):
        reads = tuple(latest[bottom] for bottom in step.layer.bottoms)
        makes = tuple(Value(top, next(numbers)) for top in step.layer.tops)
        latest |= zip(step.layer.tops, makes, strict=True)
        nodes.append(Node(place, step, reads, makes))
    inputs = tuple(value for node in nodes if node.step.layer.type == "Input" for value in node.makes)
    outputs = tuple(latest[blob] for blob in plan.outputs)
    used = [node for node in _used(nodes, outputs) if node.step.layer.type != "Input"]
    return _absorbed(Graph(inputs, tuple(_branch_by_branch(used)), outputs))


def _used(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    needed, used = set(outputs), list[Node]()
    for node in reversed(nodes):
        if needed & set(node.makes):
            needed |= set(node.reads)
            used.insert(0, node)
    return used


def _branch_by_branch(nodes: Sequence[Node]) -> list[Node]:
    """The layers in an order that goes on from the last one where it can, and else takes the net's first."""
    waiting, before, ordered = dict.fromkeys(nodes), _before(nodes), dict[Node, None]()
    last = set[Value]()
    while waiting:
        ready = [node for node in waiting if before[node] <= ordered.keys()]
        chosen = next((node for node in ready if last & {*node.reads}), ready[0])
        ordered[chosen], last = waiting.pop(chosen), {*chosen.makes}
    return list(ordered)


def _before(nodes: Sequence[Node]) -> dict[Node, set[Node]]:
    """The layers that must come before each: what uses a blob comes before what writes over it."""
    before: dict[Node, set[Node]] = {}
    users = defaultdict[str, "list[Node]"](list)
    makers = {value: node for node in nodes for value in node.makes}
    for node in nodes:
        written = {value.blob for value in node.makes}
        before[node] = {other for blob in written for other in users[blob]}
        before[node] |= {makers[value] for value in node.reads if value in makers}
        for blob in written | {value.blob for value in node.reads}:
            users[blob].append(node)
    return before


def _absorbed(whole: Graph) -> Graph:
    """The graph with each Scale that is written as part of the layer before it taken into that."""
    nodes: list[Node] = []
    for node in whole.nodes:
        before = nodes[-1] if nodes and whole.is_chain(nodes[-1], node) else None
        if before is not None and before.step.converter.absorbs(node.step.converter):
            nodes[-1] = replace(before, place=node.place, makes=node.makes, absorbed=node.step)
        else:
            nodes.append(node)
    return replace(whole, nodes=tuple(nodes))


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
            bottoms = [node.source(self.attributes(node.step.key), bottoms).expression]
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
