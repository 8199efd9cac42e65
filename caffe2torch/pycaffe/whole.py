"""Whole forward passes in less time, where nobody looks between the layers: in inference/'s elided form.

What is between inputs and outputs gets its values when somebody looks there: those of the pass, from the
inputs and weights that it had. The pass after that goes layer by layer, as whoever looks once may look again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from caffe2torch.errors import NetError
from caffe2torch.inference.passes import Passes
from caffe2torch.inference.values import values_in
from caffe2torch.layers.caffe.convolution import Convolution
from caffe2torch.net import Net
from caffe2torch.plan import Plan, Step, flow, plan
from caffe2torch.pycaffe.blob import Blob
from caffe2torch.pycaffe.building import Built
from caffe2torch.pycaffe.memory import Shape
from caffe2torch.pycaffe.net_layers import InputLayer, NetLayer, TorchLayer
from caffe2torch.pycaffe.own_mode import in_own_mode

LARGE = 1 << 22
"""Values in all blobs of a net, from which on a pass takes longer than what is to be seen to before it."""
_PATIENCE = 2
"""Passes on end layer by layer, after which the packed weights, as large as the net's, are given back."""
_IMAGE_AXES = 4


def whole_of(net: Net, made: Built, phase: str) -> Whole | None:
    """The whole passes of a built net; None for one that is to run layer by layer."""
    is_large = sum(blob.count for blob in made.blobs) >= LARGE
    if phase != "TEST" or not is_large or any(made.loss_weights) or not all(map(_fits, made.layers)):
        return None
    try:
        planned = plan(net, phase)
    except NetError:
        return None  # of a layer that runs only as it stands
    if not any(isinstance(step.converter, Convolution) for step in planned.steps) or _overwrites(planned):
        return None
    same = all(step.layer.fields == own.layer.fields for step, own in _pairs(planned, made))
    return Whole(planned, made) if same and set(planned.outputs) == set(made.outputs) else None


def _fits(own: NetLayer) -> bool:
    """Whether a layer computes nothing but its tops, from its bottoms; an input is an image."""
    if isinstance(own, InputLayer):
        return all(len(top.sizes) == _IMAGE_AXES for top in own.tops)
    return isinstance(own, TorchLayer) and not (own.needs.backward or own.is_training)


def _overwrites(planned: Plan) -> bool:
    """Whether a layer in place changes a blob of another name, or an input, which the next pass reads."""
    memory = flow.Memory()
    written = [memory.written(step.layer, step.converter) for step in planned.steps]
    made = {top for step in planned.steps if step.layer.bottoms for top in step.layer.tops}
    return any(written) or not made.isdisjoint(planned.inputs)


class Whole:
    """The whole passes of a net."""

    def __init__(self, planned: Plan, made: Built) -> None:
        self._plan, self._made = planned, made
        blobs = dict(zip(made.blob_names, made.blobs, strict=True))
        self._inputs, self._outputs = ({n: blobs[n] for n in names} for names in (made.inputs, made.outputs))
        self._channels = [blob.channels for blob in self._inputs.values()]
        self._between = {n: b for n, b in blobs.items() if n not in self._inputs and n not in self._outputs}
        self._sharing = [own for own in made.layers if isinstance(own, TorchLayer) and own.shares_memory]
        self._weights = list(_weights(planned, made))
        self._sizes: list[Shape] = []
        """The shapes of all blobs, in the order of `made.blobs`, when they last followed from the inputs'."""
        self._packed: list[tuple[Tensor, int, int]] = []
        """Of what the kernels were packed: each weight with the number of its changes, and of its looks."""
        self._passes: Passes | None = None
        self._given: dict[str, Tensor] = {}
        """The inputs of the last pass, while nobody has looked into it."""
        self._was_looked_into = False
        self._in_layers = 0
        """How many passes on end went layer by layer."""

    def run(self, start: int, end: int, is_watched: bool) -> bool:
        """Runs the net, and says so; else its layers are to be run from `start` to `end`."""
        if start > 0 or end + 1 < len(self._made.layers):
            self._look()
            return False
        self._given = {}
        runs = not (is_watched or self._was_looked_into or self._is_held()) and self._run()
        self._was_looked_into = False
        self._in_layers = 0 if runs else self._in_layers + 1
        if self._in_layers >= _PATIENCE:
            self._passes, self._packed = None, []
        for blob in self._between.values():
            blob.data_memory.before_look = self._look
        return runs

    def _is_held(self) -> bool:
        """Whether an array is held that shows a blob between, or may change a weight at any time."""
        return any(
            blob.data_memory.is_seen or blob.data_memory.stays
            for blob in (*self._between.values(), *(blob for _, blob in self._weights))
        )

    def _run(self) -> bool:
        if [blob.channels for blob in self._inputs.values()] != self._channels:
            return False  # the layer that cannot take them will say so
        if [blob.sizes for blob in self._made.blobs] != self._sizes:
            for own in self._made.layers:
                own.reshape()
            self._sizes = [blob.sizes for blob in self._made.blobs]
        given = {
            name: blob.data_memory.tensor.clone(memory_format=torch.channels_last)
            for name, blob in self._inputs.items()
        }
        outputs = self._ready().outputs(given)
        for name, blob in self._outputs.items():
            blob.data_memory.copy(outputs[name])
        self._given = given
        return True

    def _ready(self) -> Passes:
        """The passes with the weights as they are."""
        memories = [blob.data_memory for _, blob in self._weights]
        now = [(memory.tensor, memory.tensor._version, memory.looks) for memory in memories]
        is_same = len(now) == len(self._packed) and all(
            a is b and rest == others for (a, *rest), (b, *others) in zip(now, self._packed, strict=True)
        )
        if self._passes is None or not is_same:
            self._passes = None  # first gives its memory back
            state = {key: blob.data_memory.tensor for key, blob in self._weights}
            device = next((value.device for value in state.values()), torch.device("cpu"))
            blobs = partial(values_in, state=state)
            self._passes, self._packed = Passes(self._plan, blobs, torch.float32, device), now
        return self._passes

    @in_own_mode
    def _look(self) -> None:
        """Fills the blobs between inputs and outputs with the values that they had in the last pass.

        Where it is interrupted, the next look does it.
        """
        self._was_looked_into = True
        asked = {name: blob for name, blob in self._between.items() if blob.data_memory.before_look}
        if self._passes is not None and self._given:
            names = [name for name in asked if name in self._passes.eliding.last]
            values = self._passes.blobs(self._given, names)
            for name in names:
                asked[name].data_memory.copy(values.pop(name))
            for own in self._sharing:
                own.forward(False)
        self._given = {}
        for blob in asked.values():
            blob.data_memory.before_look = None


def _weights(planned: Plan, made: Built) -> Iterator[tuple[str, Blob]]:
    """The plan's keys of all parameters, each with its blob."""
    for step, own in _pairs(planned, made):
        yield from zip((parameter.key for parameter in step.parameters), own.blobs, strict=True)


def _pairs(planned: Plan, made: Built) -> Iterator[tuple[Step, NetLayer]]:
    """Each step of a plan with its layer in the built net, which has Splits as well."""
    layers = iter(made.layers)
    for step in planned.steps:
        yield step, next(own for own in layers if own.layer.name == step.layer.name)
