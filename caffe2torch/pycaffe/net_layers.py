"""The layers of a running net: each reads its bottoms' memory and leaves its results in its tops'.

    NetLayer ├── InputLayer     keeps what scripts write
             ├── SourceLayer    takes batches from a Source (feeding/)
             ├── SinkLayer      gives its bottoms to a Sink
             ├── TorchLayer     a Converter's forward; its backward by torch.autograd, layer by layer
             │   └── ...        written-out backwards, where autograd's cost would show (plain_layers.py)
             └── PythonLayer    a class of the user's (python_layer.py)

Gradients are Caffe's: what is in the tops' diffs when `backward` is called, whoever wrote it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from caffe2torch.errors import NetError, UnsupportedLayer
from caffe2torch.feeding.source import Batch, Sink, Source
from caffe2torch.layers.converter import Converter
from caffe2torch.layers.registry import converter_for
from caffe2torch.net import Layer
from caffe2torch.plan.parameters import check_sizes
from caffe2torch.pycaffe.blob import Blob, BlobVec
from caffe2torch.pycaffe.memory import Shape
from caffe2torch.pycaffe.needs import Needs

if TYPE_CHECKING:
    from caffe2torch.plan.parameters import Parameter


class NetLayer:
    """A layer at its place in a net."""

    def __init__(self, layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> None:
        self.layer = layer
        self.bottoms, self.tops = BlobVec(bottoms), BlobVec(tops)
        self.blobs = BlobVec()
        """Its parameters."""
        self.needs = Needs(False, [False] * len(bottoms), [])
        self.is_in_place = any(top == bottom for top, bottom in zip(layer.tops, layer.bottoms, strict=False))

    @property
    def type(self) -> str:
        """Its type in Caffe."""
        return self.layer.type

    def setup(self, *_: object) -> None:
        """Nothing: a layer of a net is set up."""

    def reshape(self, *_: object) -> None:
        """Gives the tops the shapes that follow from the bottoms' shapes."""

    def forward(self, record: bool = True) -> None:
        """Computes the tops' data; `record` says that a backward pass may follow."""

    def backward(self) -> None:
        """Computes the bottoms' diffs that `needs` asks for, and adds to the parameters' diffs."""

    def steady(self, forward: bool, record: bool) -> Callable[[], object]:
        """What `forward(record)`, or else `backward`, comes to until any memory moves."""
        return partial(self.forward, record) if forward else self.backward


class InputLayer(NetLayer):
    """An Input: its tops are what scripts make them."""

    def __init__(self, layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> None:
        super().__init__(layer, bottoms, tops)
        shapes = [tuple(shape.dim) for shape in layer.fields.input_param.shape]
        if len(shapes) not in (1, len(tops)):
            problem = f"{len(shapes)} shapes for {len(tops)} tops; give one, or one per top"
            raise UnsupportedLayer(layer.name, layer.type, problem)
        for top, shape in zip(tops, shapes * len(tops), strict=False):
            top.reshape(*shape)


class SourceLayer(NetLayer):
    """A data layer."""

    def __init__(self, layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob], source: Source) -> None:
        super().__init__(layer, bottoms, tops)
        self.source = source
        for top, shape in zip(tops, source.shapes(), strict=True):
            top.set_shape(shape)
        self._fill(source.start())

    def forward(self, record: bool = True) -> None:
        """Takes the next batch."""
        self._fill(self.source.next())

    def _fill(self, batch: Batch) -> None:
        for top, values in zip(self.tops, batch, strict=True):
            if values is not None:
                values = values if values.flags.writeable else values.copy()
                top.data_memory.put(torch.from_numpy(values))


class SinkLayer(NetLayer):
    """A layer that stores its bottoms, such as an HDF5Output."""

    def __init__(self, layer: Layer, bottoms: Sequence[Blob], sink: Sink) -> None:
        super().__init__(layer, bottoms, ())
        self.sink = sink

    def forward(self, record: bool = True) -> None:
        """Stores a batch."""
        self.sink.take(*(bottom.data for bottom in self.bottoms))


class TorchLayer(NetLayer):
    """A layer that its Converter computes."""

    def __init__(self, layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob], phase: str) -> None:
        super().__init__(layer, bottoms, tops)
        self.converter = converter_for(layer, self._bottom_shapes())
        self.names: list[str] = []
        """Of the parameters, as the converter calls them."""
        self.learned: list[bool] = []
        """Which are no statistics."""
        own_phase = layer.fields.phase if layer.fields.has("phase") else phase
        module = self.converter.module()
        self._more: dict[str, Any] = {} if module is None else {"module": module}
        self.is_training = own_phase == "TRAIN"
        if self.converter.depends_on_phase:
            self._more["training"] = self.is_training
        self.shares_memory = self.converter.shares_memory()
        if self.shares_memory:
            for top in self.tops:
                top.data_memory.share(self.bottoms[0].data_memory)
        self._tape: tuple[list[Tensor], list[Tensor], tuple[Tensor, ...]] | None = None

    def _bottom_shapes(self) -> tuple[Shape, ...]:
        return tuple(bottom.sizes for bottom in self.bottoms)

    def own(self, parameters: Sequence[Parameter], blobs: Sequence[Blob]) -> None:
        """Takes its parameters."""
        self.blobs = BlobVec(blobs)
        self.names = [parameter.name for parameter in parameters]
        self.learned = [not parameter.statistics for parameter in parameters]

    def reshape(self, *_: object) -> None:
        """By the converter, or where it cannot tell by computing."""
        try:
            converter = type(self.converter)(self.layer, self._bottom_shapes())
            shapes = converter.top_shapes()
        except (IndexError, ValueError, ArithmeticError) as error:
            raise self.converter.refuse(f"cannot take bottoms {self._bottom_shapes()}: {error}") from error
        for top, shape in zip(self.tops, self._whole(converter, shapes), strict=True):
            if not any(0 in bottom.sizes for bottom in self.bottoms):
                check_sizes(self.layer, "top", shape)
            top.set_shape(shape)

    def _whole(self, converter: Converter, shapes: Sequence[tuple[int | None, ...] | None]) -> list[Shape]:
        known = [shape for shape in shapes if shape is not None and None not in shape]
        if len(known) == len(self.tops):
            return known  # type: ignore[return-value]
        with torch.no_grad():
            tops = self._computed([bottom.data_memory.tensor for bottom in self.bottoms], self._values())
        # Where it depends on values, such as Filter's, there is at least one until the net runs.
        return [tuple(max(1, size) for size in top.shape) for top in tops]

    def _values(self) -> list[Tensor]:
        return [blob.data_memory.tensor for blob in self.blobs]

    def _computed(self, bottoms: Sequence[Tensor], blobs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        named = dict(zip(self.names, blobs, strict=True))
        try:
            tops = self.converter.forward(*bottoms, **named, **self._more)
        except (RuntimeError, IndexError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            line, *_ = str(error).split("\n", 1)
            shapes = [tuple(bottom.shape) for bottom in bottoms]
            raise self.converter.refuse(f"cannot compute on {shapes}: {line}") from error
        return tops if isinstance(tops, tuple) else (tops,)

    def forward(self, record: bool = True) -> None:
        """Computes the tops, and what a backward pass needs if there may be one."""
        bottoms = [bottom.data_memory.tensor for bottom in self.bottoms]
        if record and self.needs.backward:
            tops = self._recorded(bottoms)
        else:
            with torch.no_grad():
                tops = self._computed(bottoms, self._values())
        for top, values in zip(self.tops, tops, strict=True):
            if self.shares_memory:
                top.data_memory.take(values)
            else:
                top.data_memory.put(self._own_memory(values, bottoms))

    def _own_memory(self, values: Tensor, bottoms: Sequence[Tensor]) -> Tensor:
        """The values, copied where they are a bottom's memory: a Dropout in phase TEST returns its bottom."""
        if self.is_in_place:
            return values
        place = values.untyped_storage().data_ptr()
        if any(bottom.untyped_storage().data_ptr() == place for bottom in bottoms):
            return values.clone()
        return values

    def _recorded(self, bottoms: Sequence[Tensor]) -> tuple[Tensor, ...]:
        leaves = [
            x.data.requires_grad_() if asked and place not in self.converter.no_gradient else x.data
            for place, (x, asked) in enumerate(zip(bottoms, self.needs.bottoms, strict=True))
        ]
        if self.is_in_place and not self.tops[0].data_memory.moves:
            leaves = [leaf.clone().detach().requires_grad_(leaf.requires_grad) for leaf in leaves]
        blobs = [
            values.data.requires_grad_() if asked and learned else values
            for values, asked, learned in zip(
                self._values(), self.needs.parameters, self.learned, strict=True
            )
        ]
        with torch.enable_grad():
            tops = self._computed(leaves, blobs)
        self._tape = leaves, blobs, tops
        return tuple(top.data for top in tops)

    def backward(self) -> None:
        """By autograd, from what `forward` recorded."""
        if self._tape is None:
            self.forward()
        assert self._tape is not None  # noqa: S101
        leaves, blobs, tops = self._tape
        self._check()
        graded = [(top, blob.fit_diff().tensor) for top, blob in zip(tops, self.tops, strict=True)]
        graded = [(top, diff) for top, diff in graded if top.requires_grad]
        wanted = [x for x in (*leaves, *blobs) if x.requires_grad]
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if graded and wanted:
            outputs, diffs = zip(*graded, strict=True)
            found = _gradients(outputs, diffs, wanted)
        grads = dict(zip(map(id, wanted), found, strict=True))
        for bottom, leaf in zip(self.bottoms, leaves, strict=True):
            if leaf.requires_grad:
                grad = grads[id(leaf)]
                bottom.diff_memory.put(torch.zeros_like(leaf) if grad is None else grad)
        taken = {diff.data_ptr() for _, diff in graded}
        for blob, values in zip(self.blobs, blobs, strict=True):
            grad = grads.get(id(values))
            if grad is not None:
                grad = grad.reshape(blob.data_memory.tensor.shape)
                blob.fit_diff().add(grad.clone() if grad.data_ptr() in taken else grad)

    def _check(self) -> None:
        """Refuses to go back to a label, as Caffe does."""
        for place in sorted(self.converter.no_gradient):
            if self.needs.bottoms[place : place + 1] == [True]:
                name = self.layer.bottoms[place]
                raise self.converter.refuse(f"has no gradient for its bottom {name!r}, which needs one")


def _gradients(outputs: Sequence[Tensor], diffs: Sequence[Tensor], wanted: Sequence[Tensor]) -> Any:
    """torch.autograd.grad, as often as one likes, without its checks.

    For these it loads sympy, at a first call three seconds for each process, and a call takes twice as long.
    """
    engine = torch.autograd.Variable._execution_engine
    return engine.run_backward(
        tuple(outputs), tuple(diffs), True, False, tuple(wanted), True, accumulate_grad=False
    )


def weights_of(layer: Layer) -> tuple[float, ...]:
    """The weight of each top in the loss: those given, else 1 for the first top of a loss (layer.hpp)."""
    tops = len(layer.tops)
    given: tuple[float, ...] = tuple(layer.fields.loss_weight)
    if given and len(given) != tops:
        raise NetError(f"layer {layer.name!r}: {len(given)} loss_weight; give none, or one per top")
    if not given and layer.type.endswith("Loss"):
        given = (1.0, *(0.0,) * (tops - 1))
    return given or (0.0,) * tops
