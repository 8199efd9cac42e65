"""A filtered net -> its layers and blobs, set up in order as Net::Init does, with its log lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from caffe2torch.errors import NetError, UnsupportedLayer
from caffe2torch.feeding.source import sink_of, source_of, sources
from caffe2torch.layers.registry import converter_of
from caffe2torch.modules.fillers import fill
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.plan import Names
from caffe2torch.plan.alignment import aligned
from caffe2torch.plan.flow import check_blobs
from caffe2torch.plan.parameters import Parameter, Parameters
from caffe2torch.plan.sight import Sight
from caffe2torch.pycaffe.blob import Blob, SharedBlob
from caffe2torch.pycaffe.definition import State, debug_string, message_of
from caffe2torch.pycaffe.logs import is_on, log
from caffe2torch.pycaffe.memory import Shape
from caffe2torch.pycaffe.needs import needs_of
from caffe2torch.pycaffe.net_layers import (
    InputLayer,
    NetLayer,
    SinkLayer,
    SourceLayer,
    TorchLayer,
    weights_of,
)
from caffe2torch.pycaffe.plain_layers import torch_layer
from caffe2torch.pycaffe.python_layer import PythonLayer
from caffe2torch.pycaffe.splits import with_splits

AUTOMATIC = "(automatic)"
"""The blob of a loss that names no top."""
_FLOAT_BYTES = 4


@dataclass
class Learnable:
    """One of Net::learnable_params: a blob, which several layers may share, and its multipliers."""

    blob: Blob
    lr_mult: float = 1.0
    decay_mult: float = 1.0


@dataclass
class Built:
    """What a net is made of."""

    layers: list[NetLayer] = field(default_factory=list)
    blob_names: list[str] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    loss_weights: list[float] = field(default_factory=list)
    """By blob."""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    learnable: list[Learnable] = field(default_factory=list)
    owners: list[tuple[NetLayer, int, str]] = field(default_factory=list)
    """Each layer's parameter, by position, with the name under which layers share it, or empty."""


def built(net: Net, state: State) -> Built:
    """A net with its data layers, ready to run; `net` holds the layers of `state`."""
    if is_on():
        log("net.cpp:53", f"Initializing net from parameters: \n{debug_string(message_of(net, state))}")
    check_blobs(net.layers)
    layers = tuple(_with_auto_top(layer) for layer in with_splits(net.layers))
    return _Builder(replace(net, layers=layers), state.phase or "TEST").build()


def _with_auto_top(layer: Layer) -> Layer:
    if not layer.tops and getattr(converter_of(layer), "auto_top", False):
        return replace(layer, tops=(AUTOMATIC,))
    return layer


class _Builder:
    def __init__(self, net: Net, phase: str) -> None:
        self.net, self.phase = net, phase
        self.built = Built()
        self.available: dict[str, Blob] = {}
        self.unread: set[str] = set()
        self.parameters = Parameters(net, allow_missing=True, forced=True)
        self.keys = Names(())
        self.owned: dict[str, Learnable] = {}
        self.given: dict[str, set[str]] = {}
        self.sight = Sight()
        self.memory = 0

    def build(self) -> Built:
        for layer in self.net.layers:
            self._add(layer)
        self._plan_backward()
        self.built.outputs = sorted(self.unread, key=str.encode)
        for name in self.built.outputs:
            log("net.cpp:242", f"This network produces output {name}")
        log("net.cpp:255", "Network initialization done.")
        return self.built

    def _add(self, layer: Layer) -> None:
        log("layer_factory.hpp:77", f"Creating layer {layer.name}")
        log("net.cpp:86", f"Creating Layer {layer.name}")
        layer = aligned(layer, self.sight.of(layer))
        bottoms = [self.available[bottom] for bottom in layer.bottoms]
        for bottom in layer.bottoms:
            log("net.cpp:408", f"{layer.name} <- {bottom}")
            self.unread.discard(bottom)
        tops = [self._top(layer, place) for place in range(len(layer.tops))]
        made = self._made(layer, bottoms, tops)
        made.reshape()
        self._see(made)
        self.built.layers.append(made)
        if layer.type == "Input":
            self.built.inputs += layer.tops
        log("net.cpp:124", f"Setting up {layer.name}")
        for place, weight in enumerate(weights_of(layer)):
            self._set_up(tops[place], weight)
        log("net.cpp:139", f"Memory required for data: {self.memory * _FLOAT_BYTES}")

    def _see(self, made: NetLayer) -> None:
        """Follows how blobs see the inputs, which a crop without an offset is aligned by."""
        bottoms, tops = ([blob.sizes for blob in blobs] for blobs in (made.bottoms, made.tops))
        if not bottoms:
            self.sight.begin(made.layer, tops)
        elif isinstance(made, TorchLayer):
            self.sight.follow(made.layer, made.converter, bottoms)
        else:
            self.sight.blind(made.layer)

    def _set_up(self, top: Blob, weight: float) -> None:
        self.memory += top.count
        log("net.cpp:131", f"Top shape: {''.join(f'{size} ' for size in top.sizes)}({top.count})")
        if weight:
            log("net.cpp:134", f"    with loss weight {weight:g}")
            top.fit_diff().put(torch.full(top.sizes, weight))
        self.built.loss_weights[self.built.blobs.index(top)] = weight

    def _top(self, layer: Layer, place: int) -> Blob:
        name = layer.tops[place]
        if name in layer.bottoms[place : place + 1]:
            log("net.cpp:369", f"{layer.name} -> {name} (in-place)")
            self.unread.add(name)
            return self.available[name]
        log("net.cpp:382", f"{layer.name} -> {name}")
        blob = Blob()
        self.built.blob_names.append(name)
        self.built.blobs.append(blob)
        self.built.loss_weights.append(0.0)
        if name != AUTOMATIC:
            self.available[name] = blob
            self.unread.add(name)
        return blob

    def _made(self, layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> NetLayer:
        if layer.type == "Input":
            return InputLayer(layer, bottoms, tops)
        if layer.type == "Python":
            return self._with_own(PythonLayer(layer, bottoms, tops, self.phase))
        seed = int(torch.randint(1 << 31, ())) if layer.type in sources() else 0
        if (sink := sink_of(layer, self.phase, seed)) is not None:
            return SinkLayer(layer, bottoms, sink)
        if layer.type in sources() or getattr(converter_of(layer), "is_data", False):
            return SourceLayer(layer, bottoms, tops, source_of(layer, self.phase, seed))
        return self._with_parameters(self._torch_layer(layer, bottoms, tops))

    def _torch_layer(self, layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> TorchLayer:
        shapes = [bottom.sizes for bottom in bottoms]
        try:
            return torch_layer(layer, bottoms, tops, self.phase)
        except (IndexError, ValueError, ArithmeticError) as error:
            problem = f"cannot take its bottoms {shapes}: {error}"
            raise UnsupportedLayer(layer.name, layer.type, problem) from error

    def _with_own(self, made: PythonLayer) -> PythonLayer:
        """A Python layer, whose parameters are what its `setup` has made."""
        for place, blob in enumerate(made.blobs):
            specs = made.layer.fields.param[place : place + 1]
            learnable = Learnable(blob)
            for spec in specs:
                learnable.lr_mult, learnable.decay_mult = spec.lr_mult, spec.decay_mult
            self.built.learnable.append(learnable)
            self.built.owners.append((made, place, ""))
        return made

    def _with_parameters(self, made: TorchLayer) -> TorchLayer:
        key = self.keys.unused(made.layer.name or made.layer.type)
        parameters = self.parameters.of(made.layer, key, made.converter)
        specs = made.layer.fields.param
        blobs = []
        for place, parameter in enumerate(parameters):
            spec = specs[place] if place < len(specs) else None
            owner = self._learnable(parameter, spec).blob
            blobs.append(SharedBlob(owner, _shape(parameter)) if parameter.reshaped else owner)
            self.built.owners.append((made, place, made.layer.share_name(place)))
        made.own(parameters, blobs)
        return made

    def _learnable(self, parameter: Parameter, spec: Fields | None) -> Learnable:
        own = self.owned.get(parameter.owner)
        if own is None:
            own = Learnable(_filled(parameter))
            self.owned[parameter.owner] = own
            self.built.learnable.append(own)
        given = self.given.setdefault(parameter.owner, set())
        for name in ("lr_mult", "decay_mult"):
            if spec is not None and spec.has(name) and name not in given:
                setattr(own, name, float(getattr(spec, name)))
                given.add(name)
        if parameter.statistics:
            own.lr_mult = 0.0  # batch_norm_layer.cpp
        return own

    def _plan_backward(self) -> None:
        layers = [made.layer for made in self.built.layers]
        counts = [len(made.blobs) for made in self.built.layers]
        weights = [weights_of(layer) for layer in layers]
        needs = needs_of(layers, counts, weights, self.net.force_backward)
        for made, own in reversed(list(zip(self.built.layers, needs, strict=True))):
            made.needs = own
            said = "needs backward" if own.backward else "does not need backward"
            log("net.cpp:200" if own.backward else "net.cpp:202", f"{made.layer.name} {said} computation.")


def _filled(parameter: Parameter) -> Blob:
    """A parameter as its filler leaves it."""
    shape = _shape(parameter)
    blob = Blob(shape)
    if parameter.filler is not None:
        blob.data_memory.put(fill(shape, parameter.filler))
    return blob


def _shape(parameter: Parameter) -> Shape:
    if None in parameter.shape:
        raise NetError(f"{parameter.key!r} has shape {parameter.shape}, which its bottoms do not tell")
    return tuple(size or 0 for size in parameter.shape)
