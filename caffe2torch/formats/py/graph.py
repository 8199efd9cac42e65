"""Plan -> what depends on what: the layers, and the values that each reads and makes.

A blob that layers write in place has several values. What no output depends on is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

from caffe2torch.formats.safetensors import kept_shape
from caffe2torch.layers.converter import Converter
from caffe2torch.layers.python_form import Place, PythonForm
from caffe2torch.plan import Plan, Step
from caffe2torch.plan.parameters import Parameter


@dataclass(frozen=True)
class Value:
    """What a blob holds from when a layer writes it until another does."""

    blob: str
    number: int


@dataclass(frozen=True, eq=False)
class Node:
    """A layer, the values that it reads and makes, and a Scale that is written as part of it."""

    place: int
    """Of its step in the plan, or of the Scale's if there is one."""
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

    def python(self, name: str, bottoms: Sequence[str] = ()) -> PythonForm:
        """The layer in Python, its attribute called `self.name`, its bottoms by default `x`."""
        shapes = {blob: kept_shape(parameter) for blob, parameter in self.parameters.items()}
        read = tuple(bottoms) or ("x",) * len(self.reads)
        return self.step.converter.python(Place(f"self.{name}", read, shapes, self.absorbed is not None))

    @property
    def follows(self) -> bool:
        """Whether it is written around the layer before it: it keeps the shape of one bottom, named once."""
        keeps = type(self.step.converter).top_shapes is Converter.top_shapes
        if not keeps or len(self.reads) != 1 or len(self.makes) != 1:
            return False
        return self.python("layer", ["bottom"]).expression.count("bottom") == 1


def _by_name(step: Step) -> dict[str, Parameter]:
    return {parameter.key.rpartition(".")[2]: parameter for parameter in step.parameters}


@dataclass(frozen=True)
class Graph:
    """The layers that a net's outputs depend on, in an order in which they can run."""

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
        """Whether a layer reads just what the one before it makes, and nothing else reads that."""
        return before.makes == after.reads and self.readers[before.makes[0]] == [after]


def graph(plan: Plan) -> Graph:
    """The layers of a plan and what each reads, without those that no output depends on.

    Raises UnsupportedLayer for what only CaffeNet does: blobs in one memory, `share_mode: PERMISSIVE`, and a
    layer that a deployed net runs in phase TRAIN.
    """
    for step in plan.steps:
        _check(step)
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


def _check(step: Step) -> None:
    if step.overwrites:
        raise step.converter.no_python_form(f"in place, it also changes {min(step.overwrites)!r}")
    if any(parameter.reshaped for parameter in step.parameters):
        raise step.converter.no_python_form("share_mode: PERMISSIVE")
    if (
        step.converter.depends_on_phase
        and step.layer.fields.phase == "TRAIN"
        and step.layer.fields.has("phase")
    ):
        raise step.converter.no_python_form("phase: TRAIN")


def _used(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    needed, used = set(outputs), list[Node]()
    for node in reversed(nodes):
        if needed & set(node.makes):
            needed |= set(node.reads)
            used.insert(0, node)
    return used


def _branch_by_branch(nodes: Sequence[Node]) -> list[Node]:
    """The layers in an order that continues from the last one if it can, or else takes the net's next."""
    waiting, before, ordered = dict.fromkeys(nodes), _before(nodes), dict[Node, None]()
    last = set[Value]()
    while waiting:
        ready = [node for node in waiting if before[node] <= ordered.keys()]
        chosen = next((node for node in ready if last & {*node.reads}), ready[0])
        ordered[chosen], last = waiting.pop(chosen), {*chosen.makes}
    return list(ordered)


def _before(nodes: Sequence[Node]) -> dict[Node, set[Node]]:
    """The layers that must come before each: a blob that one writes in place has no other reader."""
    makers = {value: node for node in nodes for value in node.makes}
    return {node: {makers[value] for value in node.reads if value in makers} for node in nodes}


def _absorbed(whole: Graph) -> Graph:
    """The graph with each Scale that can be written as part of the layer before it merged into that layer."""
    nodes: list[Node] = []
    for node in whole.nodes:
        before = nodes[-1] if nodes and whole.is_chain(nodes[-1], node) else None
        if before is not None and before.step.converter.absorbs(node.step.converter):
            nodes[-1] = replace(before, place=node.place, makes=node.makes, absorbed=node.step)
        else:
            nodes.append(node)
    return replace(whole, nodes=tuple(nodes))
