"""A built net, run forward and backward over its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from caffe2torch.net import Net
from caffe2torch.pycaffe import mode
from caffe2torch.pycaffe.building import Built, built
from caffe2torch.pycaffe.definition import State
from caffe2torch.pycaffe.memory import Changes
from caffe2torch.pycaffe.net_layers import InputLayer, NetLayer, weights_of
from caffe2torch.pycaffe.own_mode import in_own_mode
from caffe2torch.pycaffe.whole import Whole, whole_of

Hook = Callable[[int], object]
"""Called with the index of a layer."""
_Pass = tuple[int, int, bool | None]
"""From which layer to which, and whether forward is recorded; None for backward."""


class Running:
    """The layers of a net, and what happens before and after each."""

    @in_own_mode
    def __init__(self, net: Net, state: State) -> None:
        self.made: Built = built(net, state)
        self.hooks: dict[str, list[Hook]] = {
            name: [] for name in ("before_forward", "after_forward", "before_backward", "after_backward")
        }
        self._device = mode.CPU
        self._whole: Whole | None = whole_of(net, self.made, state.phase or "TEST")
        self._steady = _Steady()
        self._losses = [
            (index, top)
            for index, own in enumerate(self.made.layers)
            for top, weight in zip(own.tops, weights_of(own.layer), strict=True)
            if weight
        ]

    @in_own_mode
    def forward(self, start: int, end: int, record: bool = True) -> None:
        """Runs the layers from `start` to `end`; `record` says that a backward pass may follow."""
        layers = self.made.layers
        is_watched = self._is_watched("before_forward", "after_forward")
        if self._whole is not None and self._whole.run(start, end, is_watched):
            return
        if is_watched:
            self._watched(range(start, end + 1), "forward", lambda own: own.forward(record))
            return
        if self._steady.run((start, end, record)):
            return
        before = Changes.count
        for own in layers[start : end + 1]:
            own.forward(record)
        self._steady.keep(before, (start, end, record), layers[start : end + 1])

    @in_own_mode
    def backward(self, start: int, end: int) -> None:
        """Runs the layers from `start` down to `end` backward, those that need it."""
        if self._is_watched("before_backward", "after_backward"):
            self._watched(range(start, end - 1, -1), "backward", _backward)
            return
        if self._steady.run((start, end, None)):
            return
        before = Changes.count
        layers = [own for own in self.made.layers[end : start + 1][::-1] if own.needs.backward]
        for own in layers:
            own.backward()
        self._steady.keep(before, (start, end, None), layers)

    def loss(self, start: int, end: int) -> float:
        """The sum of the losses of layers that have run, by the weights in their diffs."""
        total = 0.0
        for index, top in self._losses:
            if start <= index <= end:
                data, weight = top.data_memory.tensor, top.fit_diff().tensor
                if data.dim():
                    total += float(torch.dot(data.view(-1), weight.to(data.device).view(-1)))
                else:
                    total += data.item() * weight.item()
        return total

    @in_own_mode
    def reshape(self) -> None:
        """Gives all blobs the shapes that follow from the inputs'."""
        for own in self.made.layers:
            own.reshape()

    def clear_param_diffs(self) -> None:
        """Sets the diffs of all parameters to 0."""
        for learnable in self.made.learnable:
            learnable.blob.diff_memory.zero()

    def _is_watched(self, before: str, after: str) -> bool:
        """Whether something happens between the layers: a hook, or the way to a GPU."""
        device = mode.device()
        if device is mode.CPU is not self._device:
            for own in self.made.layers:
                _bring(own, device)
        self._device = device
        return device is not mode.CPU or bool(self.hooks[before] or self.hooks[after])

    def _watched(self, order: Iterable[int], what: str, run: Callable[[NetLayer], object]) -> None:
        for index in order:
            own = self.made.layers[index]
            for hook in self.hooks[f"before_{what}"]:
                hook(index)
            _bring(own, self._device)
            run(own)
            for hook in self.hooks[f"after_{what}"]:
                hook(index)


class _Steady:
    """The calls of passes through small layers, good as long as no memory moves."""

    def __init__(self) -> None:
        self._kept: dict[_Pass, tuple[int, list[Callable[[], object]]]] = {}
        """With the number of changes when they were kept."""

    def run(self, which: _Pass) -> bool:
        """Runs a pass, and says so; False if its calls are not known, or no longer good."""
        changes, calls = self._kept.get(which, (-1, []))
        if changes != Changes.count:
            return False
        for call in calls:
            call()
        return True

    def keep(self, before: int, which: _Pass, layers: Sequence[NetLayer]) -> None:
        """Takes the calls of a pass that has run, if no memory has moved: there were `before` changes."""
        if before == Changes.count:
            forward, record = which[2] is not None, bool(which[2])
            computing = (own for own in layers if not isinstance(own, InputLayer))
            self._kept[which] = before, [own.steady(forward, record) for own in computing]


def _backward(own: NetLayer) -> None:
    if own.needs.backward:
        own.backward()


def _bring(own: NetLayer, device: torch.device) -> None:
    """Brings what a layer reads, or writes in part, to where it is computed."""
    for blob in (*own.bottoms, *own.tops, *own.blobs):
        blob.data_memory.to(device)
        blob.diff_memory.to(device)
