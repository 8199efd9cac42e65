"""Net -> Plan: every layer with its converter, its shapes and its blobs, all checked, without torch.

This is what `build` runs and what the commands print and write; the checks are Caffe's own (net.cpp).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from caffe2torch.errors import NetError, UnsupportedLayer
from caffe2torch.layers.axes import product
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converter_for, converter_of
from caffe2torch.net import WITHOUT_UNKNOWN, Layer, Net
from caffe2torch.net.text import shape_text
from caffe2torch.plan.alignment import aligned, note, other_offset
from caffe2torch.plan.backward import Backward, LossTerm
from caffe2torch.plan.flow import Memory, check_blobs, of_other_size
from caffe2torch.plan.in_place import output_notes
from caffe2torch.plan.parameters import Parameter, Parameters, check_sizes
from caffe2torch.plan.phase import check_stages, for_phase
from caffe2torch.plan.sight import Sight


@dataclass(frozen=True)
class Step:
    """One layer, ready to run. `key` is its layer name, made unique: Caffe allows two of one name."""

    key: str
    layer: Layer
    converter: Converter
    tops: tuple[Shape | None, ...]
    parameters: tuple[Parameter, ...]
    views: Mapping[str, View]
    """How the first top sees each of the net's first inputs, at most sight.MAX_VIEWED."""
    overwrites: Mapping[str, str]
    """Later needed blobs in the memory of a top that is computed in place, each with the top."""


@dataclass(frozen=True)
class Plan:
    """A whole net, ready to run: its inputs with their shapes, its steps in order, and its outputs."""

    net: Net
    phase: str
    inputs: Mapping[str, Shape | None]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    """Caffe's, and every loss that something reads: Caffe gives one with a loss_weight under another name."""
    losses: tuple[LossTerm, ...]

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter that holds values of its own, in the net's order."""
        return (p for step in self.steps for p in step.parameters if p.owner == p.key)

    @property
    def output_shapes(self) -> dict[str, Shape | None]:
        """The outputs with their shapes, as far as they are known."""
        made = {
            top: shape for step in self.steps for top, shape in zip(step.layer.tops, step.tops, strict=True)
        }
        return {blob: made[blob] for blob in self.outputs}


def plan(net: Net, phase: str = "TEST", *, stages: Sequence[str] = (), allow_missing: bool = False) -> Plan:
    """The net of a phase, ready to run: every layer known, every shape consistent, every blob used.

    With `allow_missing` a layer without blobs (or a blob without data) in a net that has weights is left at
    Caffe's filler. Raises UnsupportedLayer, and NetError, also for one of `stages` that no rule names.
    """
    if phase not in ("TRAIN", "TEST"):
        raise NetError(f"phase is {phase!r}; it must be 'TRAIN' or 'TEST'")
    check_stages(net, stages)
    chosen = _with_loss_tops(_filled_once(for_phase(net, phase, stages=stages)))
    planned = _Planner(chosen, phase, allow_missing).plan()
    notes = dict.fromkeys((*planned.net.notes, *output_notes(planned)))
    return replace(planned, net=replace(planned.net, notes=tuple(notes)))


def _filled_once(net: Net) -> Net:
    """The net whose file, matched by name, fills one of several layers of a name, as Caffe does (net.cpp).

    A caffemodel fills the first, HDF5 the last. A net that its own file defines has blobs for each.
    """
    order, layers = range(len(net.layers)), list(net.layers)
    filled: set[int] = set()
    for place in reversed(order) if net.weights_format == "HDF5" else order:
        if id(layers[place].blobs) in filled:
            layers[place] = replace(layers[place], blobs=())
        elif layers[place].blobs:
            filled.add(id(layers[place].blobs))
    return replace(net, layers=tuple(layers))


def _with_loss_tops(net: Net) -> Net:
    """The net with a top for every loss that names none, named after the layer."""
    names = Names(top for layer in net.layers for top in layer.tops)
    layers = []
    for layer in net.layers:
        if not layer.tops and getattr(converter_of(layer), "auto_top", False):
            layer = replace(layer, tops=(names.unused(layer.name or layer.type),))
        layers.append(layer)
    return replace(net, layers=tuple(layers))


class Names:
    """Names that are taken. Each new one costs the same, however many layers a file gives one name."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)
        self._next: dict[str, int] = {}

    def unused(self, name: str) -> str:
        """The name, numbered from 2 if it is taken; now it is."""
        unused, number = name, self._next.get(name, 2)
        while unused in self.taken:
            unused, number = f"{name}#{number}", number + 1
        self.taken.add(unused)
        self._next[name] = number
        return unused


class _Planner:
    """Walks the layers once, carrying for each blob name its shape and how it sees the inputs."""

    def __init__(self, net: Net, phase: str, allow_missing: bool) -> None:
        self.net, self.phase = net, phase
        self.shapes: dict[str, Shape | None] = {}
        self.sight = Sight()
        self.inputs: dict[str, Shape | None] = {}
        self.keys = Names(())
        self.unaligned: list[tuple[str, tuple[int, ...]]] = []
        self.parameters = Parameters(net, allow_missing, phase == "TRAIN" and net.force_backward)
        self.memory = Memory()

    def plan(self) -> Plan:
        check_blobs(self.net.layers)
        steps = tuple(self._step(layer) for layer in self.net.layers)
        notes = dict.fromkeys(filter(None, (*self.net.notes, note(self.unaligned))))
        net = replace(self.net, layers=tuple(step.layer for step in steps), notes=tuple(notes))
        backward = Backward(steps, self.net.force_backward)
        if self.phase == "TRAIN":
            backward.check()
        losses = backward.terms()
        outputs = tuple(dict.fromkeys((*self._outputs(), *(term.blob for term in losses))))
        return Plan(net, self.phase, self.inputs, _that_matter(steps, outputs), outputs, losses)

    def _outputs(self) -> tuple[str, ...]:
        """Caffe's outputs: the blobs that nothing reads after they were last written (net.cpp)."""
        open_: dict[str, None] = {}
        for layer in self.net.layers:
            for bottom in layer.bottoms:
                open_.pop(bottom, None)
            open_ |= dict.fromkeys(layer.tops)
        return tuple(open_)

    def _step(self, layer: Layer) -> Step:
        if layer.unknown:
            raise UnsupportedLayer(layer.name, layer.type, "; ".join((*layer.unknown, WITHOUT_UNKNOWN)))
        seen = self.sight.of(layer)
        if offset := other_offset(layer, seen):
            self.unaligned.append((layer.name, offset))
        layer = aligned(layer, seen)
        bottoms = tuple(self.shapes[bottom] for bottom in layer.bottoms)
        key = self._key(layer)
        with _refusing(layer, bottoms):
            converter = converter_for(layer, bottoms)
            parameters = self.parameters.of(layer, key, converter)
            tops = self._tops(layer, converter)
            is_input = layer.type == "Input"
            views = (
                self.sight.begin(layer, tops) if is_input else self.sight.follow(layer, converter, bottoms)
            )
        overwrites = self.memory.written(layer, converter)
        return Step(key, layer, converter, tops, parameters, views, overwrites)

    def _key(self, layer: Layer) -> str:
        """A unique name: Caffe allows layers without one, and two of one name."""
        return self.keys.unused(layer.name or layer.type)

    def _tops(self, layer: Layer, converter: Converter) -> tuple[Shape | None, ...]:
        tops = converter.top_shapes()
        if len(tops) != len(layer.tops):
            raise NetError(
                f"layer {layer.name!r} ({layer.type}) makes {len(tops)} tops, the net names {layer.tops}"
            )
        if layer.type == "Input":
            tops = tuple(self._completed(top, shape) for top, shape in zip(layer.tops, tops, strict=True))
            self.inputs |= zip(layer.tops, tops, strict=True)
        # An input may hold no items, such as no regions, and then neither does what is made of it.
        if layer.type != "Input" and not any(0 in (shape or ()) for shape in converter.bottoms):
            for top, shape in zip(layer.tops, tops, strict=True):
                check_sizes(layer, f"top {top!r}", shape or ())
        self.shapes |= zip(layer.tops, tops, strict=True)
        return tops

    def _completed(self, blob: str, shape: Shape | None) -> Shape | None:
        """An input's shape; what the file leaves open comes from the weights of the layer that reads it."""
        if shape is not None and None not in shape:
            return shape
        known = self._by_weights(blob)
        if shape is None or known is None or len(shape) != len(known):
            return known if shape is None else shape
        return tuple(b if a is None else a for a, b in zip(shape, known, strict=True))

    def _by_weights(self, blob: str) -> Shape | None:
        layer = self._readers.get(blob)
        if layer is None:
            return None
        bottoms = (None,) * len(layer.bottoms)
        with _refusing(layer, bottoms):
            return converter_for(layer, bottoms).shape_by_weights()

    @cached_property
    def _readers(self) -> dict[str, Layer]:
        """The first layer whose first bottom a blob is."""
        return {bottom: layer for layer in reversed(self.net.layers) for bottom in layer.bottoms[:1]}


@contextmanager
def _refusing(layer: Layer, bottoms: Sequence[Shape | None]) -> Iterator[None]:
    """Refuses a layer for what its converter stumbles over: an axis that is not there, a number that is 0."""
    try:
        yield
    except (IndexError, ValueError) as error:
        shapes = ", ".join(map(shape_text, filter(None, bottoms)))
        problem = f"its bottoms {shapes} have fewer or more axes than it can take"
        raise UnsupportedLayer(layer.name, layer.type, problem) from error
    except ArithmeticError as error:
        problem = f"one of its numbers is 0 or too large ({error})"
        raise UnsupportedLayer(layer.name, layer.type, problem) from error


def _that_matter(steps: Sequence[Step], outputs: Sequence[str]) -> tuple[Step, ...]:
    """The steps without what they overwrite for nobody: for no later reader, and no output."""
    if not any(step.overwrites for step in steps):
        return tuple(steps)
    wanted, kept = set(outputs), list[Step]()
    for step in reversed(steps):
        overwrites = {blob: top for blob, top in step.overwrites.items() if blob in wanted}
        for blob, top in overwrites.items():
            _check_size(step, top, blob)
        kept.append(replace(step, overwrites=overwrites))
        wanted |= set(step.layer.bottoms)
    return tuple(reversed(kept))


def _check_size(step: Step, top: str, blob: str) -> None:
    """Refuses a size of a top in place that is not its bottom's, while `blob` needs that."""
    position = step.layer.tops.index(top)
    before, after = step.converter.bottoms[position], step.tops[position]
    if before is not None and after is not None:
        sizes = {product(before), product(after)} - {None}
        if len(sizes) > 1:
            raise of_other_size(step.layer, top, blob)
