"""LSTM and RNN, unrolled over time as Caffe does (recurrent_layer.cpp, lstm_layer.cpp, rnn_layer.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from caffe2torch._torch import torch
from caffe2torch.layers.axes import product
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


class _Recurrent(Converter):
    """What LSTM and RNN share: bottoms x (T, N, …), cont (T, N), a static input (N, …) if there is one.

    With `expose_hidden` the initial states, (1, N, num_output) each, are further bottoms, the final ones
    further tops.
    """

    bottom_count = (2, 5)
    top_count = (1, 3)
    no_gradient = frozenset({1})
    states: ClassVar[int]
    """How many states pass from one time step to the next."""
    gates: ClassVar[int]

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.recurrent_param
        self.exposed = self.states if self.p.expose_hidden else 0
        self.has_static = len(bottoms) > 2 + self.exposed
        if not self.p.num_output:
            raise self.refuse("num_output must be given and positive")
        if len(bottoms) not in (2 + self.exposed, 3 + self.exposed):
            raise self.refuse(
                f"needs {2 + self.exposed} bottoms, or one more with a static input; has {len(bottoms)}"
            )
        if bottoms[0] is not None and len(bottoms[0]) < 3:
            raise self.refuse(f"its bottom {bottoms[0]} must be (time, items, …)")

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        outputs = self.p.num_output * self.gates
        specs = [self._weight("weight_ih", outputs, self._size(0, 2)), self._bias("bias_ih", outputs)]
        if self.has_static:
            specs.append(self._weight("weight_static", outputs, self._size(2, 1)))
        return (*specs, self._weight("weight_hh", outputs, self.p.num_output))

    def _size(self, bottom: int, axis: int) -> int | None:
        shape = self.bottoms[bottom]
        return None if shape is None else product(shape[axis:])

    def _weight(self, name: str, outputs: int, inputs: int | None) -> BlobSpec:
        return BlobSpec(name, (outputs, inputs), self.p.weight_filler)

    def _bias(self, name: str, outputs: int) -> BlobSpec:
        return BlobSpec(name, (outputs,), self.p.bias_filler)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        time, items = (self.bottoms[0] or (None, None))[:2]
        size = self.p.num_output
        return ((time, items, size), *((1, items, size),) * self.exposed)

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        x, cont = bottoms[:2]
        linear = torch.nn.functional.linear
        inputs = linear(x.flatten(2), blobs["weight_ih"], blobs["bias_ih"])  # (T, N, gates * num_output)
        if self.has_static:
            inputs = inputs + linear(bottoms[2].flatten(1), blobs["weight_static"])
        given = bottoms[2 + self.has_static :]
        empty = x.new_zeros(x.shape[1], self.p.num_output)
        states = tuple(state[0] for state in given) or (empty,) * self.states
        outputs = []
        for now, keep in zip(inputs, cont.unsqueeze(2), strict=True):
            output, *states_now = self._step(now, keep, *states, **blobs)
            states = tuple(states_now)
            outputs.append(output)
        return (torch.stack(outputs), *(state[None] for state in states[: self.exposed]))

    def _step(self, now: Tensor, keep: Tensor, *states: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        """The output and the next states, (N, num_output); `keep`, (N, 1), is 0 where a sequence begins."""
        raise NotImplementedError


@converts("LSTM")
class LSTM(_Recurrent):
    """Long short-term memory with `cont`, a static input and `expose_hidden`.

    Without `expose_hidden` each run starts from states of 0, while Caffe continues from its last run unless
    cont is 0.
    """

    states = 2
    gates = 4

    def _step(self, now: Tensor, keep: Tensor, *states: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        h, c = states
        c, h = lstm_step(c, now + torch.nn.functional.linear(h * keep, blobs["weight_hh"]), keep)
        return h, h, c


@converts("RNN")
class RNN(_Recurrent):
    """A plain recurrent net of tanh with `cont`, a static input and `expose_hidden`.

    Without `expose_hidden` each run starts from a state of 0, while Caffe continues from its last run unless
    cont is 0.
    """

    states = 1
    gates = 1

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        size = self.p.num_output
        return (*super().blob_specs(), self._weight("weight_ho", size, size), self._bias("bias_ho", size))

    def _step(self, now: Tensor, keep: Tensor, *states: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        linear = torch.nn.functional.linear
        h = (now + linear(states[0] * keep, blobs["weight_hh"])).tanh()
        return linear(h, blobs["weight_ho"], blobs["bias_ho"]).tanh(), h


def lstm_step(c: Tensor, gates: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """The next memory and output; gates are input, forget, output and update (lstm_unit_layer.cpp)."""
    i, f, o, g = gates.chunk(4, -1)
    c = keep * f.sigmoid() * c + i.sigmoid() * g.tanh()
    return c, o.sigmoid() * c.tanh()
