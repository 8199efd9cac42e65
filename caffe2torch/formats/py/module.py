"""Plan -> the text of a torch.nn.Module, and its state."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.errors import WriteError
from caffe2torch.formats.py.formulas import Formulas, Sizes
from caffe2torch.formats.py.graph import Graph, Node, Value, graph
from caffe2torch.formats.py.lines import WIDTH, lines
from caffe2torch.formats.py.names import Names, class_name, is_renamed, remark, text
from caffe2torch.formats.py.statements import PASSING, Forward, Statement
from caffe2torch.formats.safetensors import Kept
from caffe2torch.plan.parameters import Parameter
from caffe2torch.writing.model import Model

_CONSTANTS = ("WEIGHTS", "PREPROCESSING", "LABELLINGS")
_TAKEN = frozenset({*_CONSTANTS, "F", "Path", "Tensor", "load", "load_file", "nn", "self", "torch", PASSING})
"""Names that the file around the module uses."""


class Module:
    """A net as a module in Python. Raises UnsupportedLayer for a layer that cannot be written."""

    def __init__(self, model: Model) -> None:
        self._plan, architecture = model.plan, model.architecture
        self._graph = graph(self._plan)
        if not self._graph.outputs:
            raise WriteError(f"net {self._plan.net.name!r} has no outputs; there is nothing to write")
        self._owners = {parameter.key: parameter for parameter in self._plan.parameters()}
        self._attributes = Names("layer", dir(torch.nn.Module()))
        self._forms = {node: node.python(self._name(node)) for node in self._graph.nodes}
        self._check_attributes()
        self.parts = tuple(dict.fromkeys(part for form in self._forms.values() for part in form.parts))
        """The functions that it calls and torch lacks."""
        taken = {*_TAKEN, *(part.__name__ for part in self.parts)}
        name = architecture.name if architecture else self._plan.net.name
        self.name = Names("Net", taken)(class_name(name))
        self._forward = Forward(self._graph, self._attributes, Names("blob", {*taken, self.name}))
        channels = {} if architecture is None else dict(i for s in architecture.streams for i in s.inputs)
        self._shapes = _shapes(self._graph, Sizes(self._plan, channels))

    def text(self) -> str:
        """The class."""
        return "\n".join(
            [
                f"class {self.name}(nn.Module):",
                *_docstring(self._about(), 4),
                "",
                "    def __init__(self) -> None:",
                "        super().__init__()",
                *self._init(),
                "",
                *self._signature(),
                *_docstring(self._promise(), 8),
                *self._body(),
            ]
        )

    def state(self) -> dict[str, Kept]:
        """The values of its state dict, by key."""
        return {
            f"{self._name(node)}{key}": Kept(values.shape, partial(_values, node, self._owners, key))
            for node in self._graph.nodes
            for key, values in _state(node, self._owners).items()
        }

    def _name(self, node: Node) -> str:
        return self._attributes(node.step.key)

    def _check_attributes(self) -> None:
        """Raises WriteError if two layers would both have an attribute of the same name."""
        made: dict[str, str] = {}
        for node, form in self._forms.items():
            for suffix in form.attributes:
                name = self._name(node) + suffix
                if made.setdefault(name, node.step.key) != node.step.key:
                    layers = f"{made[name]!r} and {node.step.key!r}"
                    raise WriteError(f"layers {layers} would both have an attribute {name!r}; rename one")

    def _paragraphs(self) -> list[list[Statement]]:
        """Statements up to a pooling or a block's sum, or up to where another branch begins.

        Branches of one statement stay together.
        """
        paragraphs: list[list[Statement]] = []
        for statement in self._forward.statements:
            before = paragraphs[-1][-1] if paragraphs else None
            if before is None or self._ends(before) or not {*before.makes} & {*statement.reads}:
                paragraphs.append([])
            paragraphs[-1].append(statement)
        return _joined(paragraphs)

    def _ends(self, statement: Statement) -> bool:
        """Whether a paragraph ends with a statement."""
        sums = len(statement.reads) > 1 and len(self._graph.readers[statement.makes[0]]) > 1
        return sums or any(node.step.layer.type == "Pooling" for node in statement.nodes)

    def _init(self) -> Iterator[str]:
        """What makes the layers, in the paragraphs of `forward`."""
        for number, paragraph in enumerate(self._layers()):
            yield from [""] * (number > 0)
            yield from paragraph
        yield from self._shared()
        yield from self._frozen()

    def _layers(self) -> list[list[str]]:
        made = [
            [line for statement in paragraph for node in statement.nodes for line in self._layer(node)]
            for paragraph in self._paragraphs()
        ]
        return [paragraph for paragraph in made if paragraph]

    def _layer(self, node: Node) -> Iterator[str]:
        name, key = self._name(node), node.step.key
        for suffix, made in self._forms[node].attributes.items():
            written = lines(f"self.{name}{suffix} = ", made)
            yield from _with_comment(written, *([f"Caffe: {remark(key)}"] if is_renamed(key, name) else []))

    def _shared(self) -> Iterator[str]:
        """What layers share in Caffe (`param { name }`), they share here."""
        attributes = {
            parameter.key: (f"self.{self._name(node)}.{name}", parameter.owner)
            for node in self._graph.nodes
            for name, parameter in node.parameters.items()
            if f".{name}" in _state(node, self._owners)
        }
        shared = [own for key, own in attributes.items() if key != own[1] in attributes]
        yield from [""] * bool(shared)
        for attribute, owner in shared:
            yield from lines(f"{attribute} = ", attributes[owner][0])

    def _frozen(self) -> Iterator[str]:
        """What Caffe did not train is not trained here, either."""
        layers = [node for node in self._graph.nodes if _learned(node)]
        frozen = [node for node in layers if not any(p.trained for p in _learned(node))]
        names = ", ".join(f"self.{self._name(node)}" for node in frozen)
        if not frozen:
            return
        yield from ("", "        # Caffe left these as they are (lr_mult: 0).")
        if len(frozen) == 1:
            yield f"        {names}.requires_grad_(False)"
        else:
            yield from lines("for layer in ", f"[{names}]", ":")
            yield "            layer.requires_grad_(False)"

    def _signature(self) -> list[str]:
        inputs = [f"{self._forward.variable(value)}: Tensor" for value in self._graph.inputs]
        returned = "Tensor" if len(self._graph.outputs) == 1 else "dict[str, Tensor]"
        whole = f"    def forward(self, {', '.join(inputs)}) -> {returned}:"
        if len(whole) <= WIDTH:
            return [whole]
        together = f"        self, {', '.join(inputs)}"
        each = [together] if len(together) <= WIDTH else [f"        {name}," for name in ("self", *inputs)]
        return ["    def forward(", *each, f"    ) -> {returned}:"]

    def _body(self) -> Iterator[str]:
        for number, paragraph in enumerate(self._paragraphs()):
            yield from [""] * (number > 0)
            for statement in paragraph:
                yield from self._statement(statement)
        last = self._forward.statements[-1:]
        if not last or not self._forward.returns(last[0]):
            yield from lines("return ", self._returned())

    def _statement(self, statement: Statement) -> list[str]:
        """A statement, with the shape of its value if that is new."""
        written = lines(self._forward.start(statement), self._forward.expression(statement))
        before, after = (self._shapes.get(value) for value in (statement.reads[0], statement.makes[0]))
        is_new = after is not None and len(statement.makes) == 1 and (before or ())[2:] != after[2:]
        return _with_comment(written, *_described(after)) if after and is_new else written

    def _returned(self) -> str:
        values = {value.blob: self._forward.variable(value) for value in self._graph.outputs}
        if len(values) == 1:
            return next(iter(values.values()))
        return f"{{{', '.join(f'{text(blob)}: {variable}' for blob, variable in values.items())}}}"

    def _about(self) -> list[str]:
        keys = [node.step.key for node in self._graph.nodes if self._forms[node].attributes]
        other = any(is_renamed(key, key) for key in keys)
        merged = any(node.absorbed for node in self._graph.nodes)
        about = (
            f"Layers have their Caffe names{', with _ for what an identifier cannot have' * other}"
            f"{'; a BatchNorm holds its Scale' * merged}."
        )
        return textwrap.wrap(about, WIDTH - 4 - 6)

    def _promise(self) -> list[str]:
        """What `forward` takes and returns."""
        inputs = " and ".join(map(self._named, self._graph.inputs))
        if len(self._graph.outputs) == 1:
            return textwrap.wrap(f"From {inputs} to {self._named(self._graph.outputs[0])}.", WIDTH - 8 - 6)
        outputs = [self._named(value) for value in self._graph.outputs]
        return [*textwrap.wrap(f"From {inputs} to these, by name:", WIDTH - 8 - 3), "", *outputs]

    def _named(self, value: Value) -> str:
        shape = self._shapes.get(value)
        return f"{remark(value.blob)} {_text(shape)}" if shape else remark(value.blob)


def _joined(paragraphs: list[list[Statement]]) -> list[list[Statement]]:
    """The paragraphs, with consecutive ones of one line as one."""
    joined: list[list[Statement]] = []
    for alone, group in groupby(paragraphs, lambda paragraph: len(paragraph) == 1):
        together = list(group)
        joined += [[statement for (statement,) in together]] if alone else together
    return joined


def _shapes(whole: Graph, sizes: Sizes) -> dict[Value, Formulas]:
    """The shapes of values, as far as formulas give them."""
    made = [(value, node.place, top) for node in whole.nodes for top, value in enumerate(node.makes)]
    shapes = {value: sizes.of(place, top) for value, place, top in made}
    shapes |= {value: sizes.of_input(value.blob) for value in whole.inputs}
    return {value: shape for value, shape in shapes.items() if shape is not None}


def _text(shape: Formulas) -> str:
    return f"({', '.join(shape)}{',' * (len(shape) == 1)})"


def _described(shape: Formulas) -> Iterator[str]:
    """A shape, and then a shorter form if the width's formula is the height's."""
    yield _text(shape)
    if len(shape) == 4 and shape[3] == shape[2].replace("H", "W") != shape[2]:
        yield f"({shape[0]}, {shape[1]}, h, w), h = {shape[2]}"


def _with_comment(written: list[str], *comments: str) -> list[str]:
    """A statement with the first of some comments that fits at its end."""
    commented = [f"{written[0]}  # {comment}" for comment in comments if len(written) == 1]
    return next(([line] for line in commented if len(line) <= WIDTH), written)


def _docstring(paragraph: list[str], indent: int) -> Iterator[str]:
    margin, (first, *others) = " " * indent, paragraph
    if not others:
        yield f'{margin}"""{first}"""'
        return
    yield f'{margin}"""{first}'
    yield from (f"{margin}{line}".rstrip() for line in others)
    yield f'{margin}"""'


def _learned(node: Node) -> list[Parameter]:
    """The parameters of a layer that are not statistics."""
    every = (*node.parameters.values(), *node.absorbed_parameters.values())
    return [parameter for parameter in every if not parameter.statistics]


def _state(node: Node, owners: Mapping[str, Parameter]) -> dict[str, Array]:
    """The values of a layer's attributes, by what a state dict adds to its name."""
    own = {name: owners[parameter.owner].read() for name, parameter in node.parameters.items()}
    absorbed = node.absorbed_parameters.items()
    taken = {f".{name}": owners[parameter.owner].read() for name, parameter in absorbed}
    return {**node.step.converter.state(own), **taken}


def _values(node: Node, owners: Mapping[str, Parameter], key: str) -> Array:
    return np.ascontiguousarray(_state(node, owners)[key]).reshape(-1)
