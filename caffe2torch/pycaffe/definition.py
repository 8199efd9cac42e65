"""A network file -> the layers of one state, as Net::FilterNet and InsertSplits leave them.

prototxt ─ read_definition ─→ Net, State ─ filtered ─→ Net ─ with_splits ─→ what runs
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from caffe2torch import schema
from caffe2torch.errors import NetError, ReadError
from caffe2torch.formats.prototxt import text
from caffe2torch.net import Layer, Net, from_message, to_message
from caffe2torch.net.batch_norm import split_batch_norms
from caffe2torch.plan.phase import included, unmet
from caffe2torch.pycaffe.logs import is_on, log
from caffe2torch.schema import Message
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.untrusted.text import read_prototxt
from caffe2torch.upgrades import upgrade_net

_WHOLE = re.compile(r"(: -?\d+)\.0$", re.MULTILINE)
PHASES = ("TRAIN", "TEST")
"""By their numbers."""


@dataclass(frozen=True)
class State:
    """What layers' rules are about: Caffe's NetState; None for what a file leaves open."""

    phase: str | None = None
    level: int | None = None
    stages: tuple[str, ...] = ()

    def over(self, base: State) -> State:
        """Two states merged as protobuf does: this one's phase and level count, stages add up."""
        phase = base.phase if self.phase is None else self.phase
        level = base.level if self.level is None else self.level
        return State(phase, level, (*base.stages, *self.stages))

    @staticmethod
    def of(message: Message) -> State:
        """The state that a NetState message gives."""
        phase = PHASES[message.phase] if message.HasField("phase") else None
        return State(phase, message.level if message.HasField("level") else None, tuple(message.stage))

    def message(self) -> Message:
        """As a NetState."""
        state = schema.message("NetState")(stage=self.stages)
        if self.phase is not None:
            state.phase = PHASES.index(self.phase)
        if self.level is not None:
            state.level = self.level
        return state


def read_definition(path: AnyPath) -> tuple[Net, State]:
    """The net in a prototxt of any age and the state it names itself. Raises what `read` raises."""
    return definition_of(read_prototxt(path), str(path))


def definition_of(message: Message, source: str) -> tuple[Net, State]:
    """The same of a NetParameter."""
    if missing := message.FindInitializationErrors():
        raise ReadError(f"{source}: {missing[0]} is required but missing")
    current, notes = upgrade_net(message, source)
    state = State.of(current.state)
    current.ClearField("state")
    for note in notes:
        log("upgrade_proto.cpp:79", f"{source}: {note}")
    if filled := next((layer.name for layer in current.layer if layer.blobs), None):
        raise NetError(f"layer {filled!r}: has blobs in its definition; give them in a caffemodel")
    return split_batch_norms(from_message(current, (), source)), state


def filtered(net: Net, state: State) -> Net:
    """The net with the layers that a state's rules choose, each with its phase."""
    phase, level = state.phase or "TEST", state.level or 0
    layers = []
    for layer in net.layers:
        if included(layer, phase, level, state.stages):
            layers.append(layer)
        if is_on():
            _say_why(layer, phase, level, state.stages)
    return replace(net, layers=tuple(layers), stages=())


def _say_why(layer: Layer, phase: str, level: int, stages: Sequence[str]) -> None:
    for rule in (*layer.fields.include, *layer.fields.exclude):
        why = unmet(rule, phase, level, stages)
        if why:
            log("net.cpp:296", f"The NetState {why} specified by a rule in layer {layer.name}")
        elif rule in layer.fields.include:
            return  # any one suffices


def message_of(net: Net, state: State) -> Message:
    """The NetParameter of a filtered net, for the log; without the rules that chose its layers."""
    chosen = tuple(
        replace(layer, fields=layer.fields.replace(include=None, exclude=None)) for layer in net.layers
    )
    message = to_message(replace(net, layers=chosen))
    if not net.name:
        message.ClearField("name")
    message.state.CopyFrom(state.message())
    return message


def debug_string(message: Message) -> str:
    """A message as C++ prints it: whole floats without a point."""
    return _WHOLE.sub(r"\1", text(message)).rstrip("\n")
