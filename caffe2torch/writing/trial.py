"""A net's outputs for random inputs, of two sizes if it takes more than one.

A file states one size or none, and not whether its net takes others: a classifier with InnerProduct layers
does not, and one whose branches meet again may need multiples of 32. So we try.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.errors import Caffe2TorchError, NetError
from caffe2torch.layers.converter import Shape
from caffe2torch.net.preprocessing import Preprocessing
from caffe2torch.plan import Plan
from caffe2torch.plan.sizes import completed, fitting

if TYPE_CHECKING:
    from caffe2torch.modules.caffe_net import CaffeNet
    from caffe2torch.writing.model import Engine

Blobs = Mapping[str, Array]
Shapes = Mapping[str, tuple[int, ...]]

MAX_INPUT = 1 << 22
"""The most values of one input; a larger batch is cut to one image."""
_MIDDLE = 128.0
"""About the mean of a mean image, which is in a file of its own."""
_OPEN = ((67, 90), (224, 224))
"""Heights and widths to begin with where the file leaves them open."""
_STEPS = (((6, 25), (19, 44)), ((32, 64), (96, 128)))
"""What is added to height and width, for a first and a second size: anything, then multiples of 32."""
_STEPS_FROM = (((0, 0), (19, 44)), ((0, 0), (96, 128)))
"""The same, from a size that someone insists on."""


@dataclass(frozen=True)
class Trial:
    """Random inputs by blob name, float32, and the net's outputs."""

    inputs: Blobs
    outputs: Blobs

    def __str__(self) -> str:
        return _text({blob: array.shape for blob, array in self.inputs.items()})


@dataclass(frozen=True)
class Trials:
    """One or two trials, and which axes of the inputs are free."""

    trials: tuple[Trial, ...]
    images: frozenset[str]
    """The inputs whose height and width are free; all of them change together."""
    batch: bool
    """Whether the first axis of every input is free; all of them change together."""

    def free(self, blob: str) -> dict[int, str]:
        """The free axes of an input, with their names."""
        axes = {0: "batch"} if self.batch else {}
        return axes | ({2: "height", 3: "width"} if blob in self.images else {})


@dataclass(frozen=True)
class Subject:
    """A net to be tried, and what is known of its inputs."""

    module: CaffeNet
    preprocessing: Mapping[str, Preprocessing]

    def tried(self, shapes: Shapes, seed: int) -> Trial:
        """Its outputs for inputs from `seed`. Raises NetError where it does not run on these shapes.

        Images for which it overflows, or states an impossible scale, would show nothing: inputs are then as
        if nothing were known of them.
        """
        draw = np.random.default_rng(seed)
        values = {blob: draw.random(shape, np.float32) for blob, shape in shapes.items()}
        trial = self._ran({blob: self._input(blob, array) for blob, array in values.items()})
        if not all(np.isfinite(array).all() for array in trial.outputs.values()):
            plain = self._ran(values)
            if all(np.isfinite(array).all() for array in plain.outputs.values()):
                return plain
        return trial

    def _ran(self, inputs: Blobs) -> Trial:
        try:
            with torch.no_grad():
                outputs = self.module(**{blob: torch.from_numpy(array) for blob, array in inputs.items()})
        except (Caffe2TorchError, RuntimeError, IndexError) as error:
            line = str(error).split("\n", 1)[0]
            shapes = {blob: array.shape for blob, array in inputs.items()}
            raise NetError(f"does not run on random {_text(shapes)}: {line}") from None
        return Trial(inputs, {blob: tensor.numpy() for blob, tensor in outputs.items()})

    def _input(self, blob: str, values: Array) -> Array:
        """Values in [0, 1) as pixels of 0 to 255, prepared, where the net says how.

        Beside biases that were trained with such pixels, smaller values would hardly count.
        """
        known = self.preprocessing.get(blob)
        if known is None or values.ndim != 4 or not known.scale:
            return values
        mean = (_MIDDLE,) if known.mean_file else known.mean
        pixels: Array = 255 * values
        if len(mean) in (1, values.shape[1]):
            pixels -= np.array(mean, np.float32).reshape(-1, 1, 1)
        with np.errstate(over="ignore"):  # a scale beyond float32
            pixels *= np.float32(known.scale)
        return pixels


def try_out(net: Subject, known: Mapping[str, Shape | None], insisted: Shapes | None = None) -> Trials:
    """Runs a net on random inputs of two sizes, or of the one that it takes.

    `known` has the shapes of its inputs, as far as its file states them; one trial has those of `insisted`.
    Raises NetError for a net that does not run on inputs of those shapes, or lacks an input of `insisted`.
    """
    problem = ""
    known = with_sizes(known, insisted or {})
    for own in _own_shapes(net.module.plan, known):
        for first, second in _STEPS_FROM if insisted else _STEPS:
            if (found := _two(net, _grown(own, first), _grown(own, second))) is not None:
                return found
        try:
            return _one(net, own)
        except NetError as error:
            problem = problem or str(error)
    raise NetError(problem)


def try_at(net: Subject, known: Mapping[str, Shape | None], engine: Engine) -> Trials:
    """Runs a net twice on images of the size and batch that an engine wants; nothing is free.

    Raises NetError for a net that does not run on them.
    """
    own = {blob: completed(shape, (1, 3, *engine.size)) for blob, shape in known.items()}
    images = _images(own)
    shapes = {
        blob: (engine.batch, shape[1], *engine.size) if blob in images else shape
        for blob, shape in own.items()
    }
    return Trials((net.tried(shapes, 0), net.tried(shapes, 1)), frozenset(), False)


def with_sizes(known: Mapping[str, Shape | None], insisted: Shapes) -> dict[str, Shape | None]:
    """The inputs' shapes, some of them as someone insists. Raises NetError for one that is no input."""
    if others := [blob for blob in insisted if blob not in known]:
        raise NetError(f"has no input {others[0]!r} to give a shape; its inputs are {', '.join(known)}")
    return {**known, **insisted}


def _own_shapes(plan: Plan, known: Mapping[str, Shape | None]) -> Iterator[Shapes]:
    """Complete shapes: sizes that are not known are those of an image, or what the net's layers need."""
    open_ = any(shape is None or None in shape for shape in known.values())
    for image in _OPEN if open_ else _OPEN[:1]:
        yield {blob: few(completed(shape, (1, 3, *image))) for blob, shape in known.items()}
    if open_ and (found := fitting(plan, known)) is not None:
        yield {blob: few(shape) for blob, shape in found.items()}


def few(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, with a batch of one if there would be too many values."""
    return (1, *shape[1:]) if math.prod(shape) > MAX_INPUT else shape


def _images(shapes: Shapes) -> frozenset[str]:
    return frozenset(blob for blob, shape in shapes.items() if len(shape) == 4 and min(shape[2:]) > 1)


def _grown(shapes: Shapes, step: tuple[int, int]) -> Shapes:
    """The shapes with larger images."""
    images, (rows, columns) = _images(shapes), step
    return {
        blob: (*shape[:2], shape[2] + rows, shape[3] + columns) if blob in images else shape
        for blob, shape in shapes.items()
    }


def _more(shapes: Shapes) -> Shapes | None:
    """The shapes with a batch larger by one; None if their first axes differ."""
    same = all(shapes.values()) and len({shape[0] for shape in shapes.values()}) == 1
    return {blob: (shape[0] + 1, *shape[1:]) for blob, shape in shapes.items()} if same else None


def _two(net: Subject, first: Shapes, second: Shapes) -> Trials | None:
    """Trials of two sizes of image; None if the net does not take them."""
    images = _images(first)
    try:
        one = net.tried(first, 0)
        two, batch = _second(net, second) if images else (None, False)
    except NetError:
        return None
    return Trials((one, two), images, batch) if two is not None else None


def _one(net: Subject, shapes: Shapes) -> Trials:
    """Trials of one size of image, and of two batches if the net takes them."""
    one = net.tried(shapes, 0)
    two, batch = _second(net, shapes)
    return Trials((one, two) if batch else (one,), frozenset(), batch)


def _second(net: Subject, shapes: Shapes) -> tuple[Trial, bool]:
    """A trial with one more item if the net takes it, and whether it does."""
    if (more := _more(shapes)) is not None:
        try:
            return net.tried(more, 1), True
        except NetError:
            pass
    return net.tried(shapes, 1), False


def _text(shapes: Shapes) -> str:
    return ", ".join(f"{blob} {tuple(shape)}" for blob, shape in shapes.items())
