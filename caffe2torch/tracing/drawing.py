"""A net in the making, drawn layer by layer while a torch module is traced.

    Call --layer--> Drawing --> layers, each with a top of its own, and the tensors that their blobs hold

Shapes are those for the given inputs, as Caffe computes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import TYPE_CHECKING, NoReturn

from torch import Tensor

from caffe2torch import schema
from caffe2torch.blob import blob_of
from caffe2torch.errors import NetError, UnsupportedModule
from caffe2torch.layers.registry import converter_for
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields, freeze

if TYPE_CHECKING:
    from caffe2torch.schema import Message

Size = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Top:
    """A tensor of the traced module: the blob that holds it, and its shape for the given inputs."""

    blob: str
    shape: Size

    def written(self) -> Top:
        """The tensor as a blob of the net."""
        return self


class Side(int):
    """The length of a tensor's axis. Sums and differences keep `of`, its tensor, which Caffe's Crop needs."""

    of: Top

    def __new__(cls, length: int, of: Top) -> Side:
        """The length `of` a tensor's axis, plus or minus a constant."""
        side = super().__new__(cls, length)
        side.of = of
        return side

    def __add__(self, other: int) -> Side:
        return Side(int(self) + int(other), self.of)

    __radd__ = __add__

    def __sub__(self, other: int) -> Side:
        return Side(int(self) - int(other), self.of)

    def __rsub__(self, other: int) -> Side:
        return Side(int(other) - int(self), self.of)


@dataclass
class Drawing:
    """The layers so far. Every top has a name of its own; `held` are the tensors of a layer's blobs."""

    floor_pooling: bool = False
    layers: list[Layer] = field(default_factory=list)
    held: dict[str, Sequence[Tensor]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    numbers: dict[str, Iterator[int]] = field(default_factory=lambda: defaultdict(lambda: count(1)))

    def unused(self, name: str) -> str:
        """The name, numbered as torch.fx does if it is taken."""
        numbered = (f"{name}_{n}" for n in self.numbers[name])
        free = next(x for x in chain([name], numbered) if x not in self.taken)
        self.taken.add(free)
        return free

    def input(self, name: str, shape: Size) -> Top:
        """An Input layer."""
        blob = self.unused(name)
        fields = _fields(input_param={"shape": [{"dim": shape}]})
        self.layers.append(Layer(blob, "Input", (), (blob,), fields))
        return Top(blob, shape)


@dataclass(frozen=True)
class Call:
    """One call in the traced module; draws the layers that it becomes."""

    drawing: Drawing
    name: str
    """The name of the module; for a function, those of the calling module and of the function."""
    what: str
    """What is called, such as MaxPool2d."""
    shape: Size | None
    """The shape of the tensor that the call returns; None if it returns several."""

    def refuse(self, reason: str) -> NoReturn:
        """Raises UnsupportedModule."""
        raise UnsupportedModule(f"{self.name} ({self.what}): {reason}")

    def layer(
        self,
        kind: str,
        *bottoms: Top,
        blobs: Sequence[Tensor | None] = (),
        suffix: str = "",
        **fields: Mapping[str, object],
    ) -> Top:
        """Draws a layer with one top; a None among `blobs` is left out."""
        (top,) = self.layers(kind, *bottoms, tops=1, blobs=blobs, suffix=suffix, **fields)
        return top

    def layers(
        self,
        kind: str,
        *bottoms: Top,
        tops: int = 1,
        blobs: Sequence[Tensor | None] = (),
        suffix: str = "",
        **fields: Mapping[str, object],
    ) -> list[Top]:
        """Draws a layer with several tops, named `name.0`, `name.1`, …"""
        read = [bottom.written() for bottom in bottoms]
        name = self.drawing.unused(self.name + suffix)
        names = [name] if tops == 1 else [self.drawing.unused(f"{name}.{i}") for i in range(tops)]
        held = [tensor for tensor in blobs if tensor is not None]
        layer = Layer(name, kind, tuple(x.blob for x in read), tuple(names), _fields(**fields))
        try:
            converter = converter_for(layer, tuple(x.shape for x in read))
            shapes = [tuple(size or 0 for size in shape or ()) for shape in converter.top_shapes()]
            own = [tuple(size or 0 for size in spec.shape) for spec in converter.blob_specs()]
        except NetError as error:
            self.refuse(f"as a {kind}, {str(error).partition(': ')[2]}")
        self.drawing.layers.append(replace(layer, blobs=tuple(map(blob_of, held, own))))
        self.drawing.held[name] = held
        return [Top(top, shape) for top, shape in zip(names, shapes, strict=True)]


def _fields(**given: Mapping[str, object]) -> Fields:
    message = schema.message("LayerParameter")(**given)
    _clear_defaults(message)
    return freeze(message)


def _clear_defaults(message: Message) -> None:
    """Clears what only repeats the schema's default; not `pad_w: 0`: Caffe wants both of such a pair."""
    for known, value in message.ListFields():
        if known.is_repeated or known.is_required or known.name.endswith(("_h", "_w")):
            continue
        if known.message_type is not None:
            _clear_defaults(value)
        if not value.ListFields() if known.message_type is not None else value == known.default_value:
            message.ClearField(known.name)
