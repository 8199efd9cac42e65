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
from caffe2torch.plan import Plan
from caffe2torch.plan.sizes import completed, fitting

if TYPE_CHECKING:
    from caffe2torch.modules.caffe_net import CaffeNet
    from caffe2torch.writing.model import Engine

Blobs = Mapping[str, Array]
Shapes = Mapping[str, tuple[int, ...]]

MAX_INPUT = 1 << 22
"""The most values of one input; a larger batch is cut to one image."""
_OPEN = ((67, 90), (224, 224))
"""Heights and widths to begin with where the file leaves them open."""
_STEPS = (((6, 25), (19, 44)), ((32, 64), (96, 128)))
"""What is added to height and width, for a first and a second size: anything, then multiples of 32."""
_STEPS_FROM = (((0, 0), (19, 44)), ((0, 0), (96, 128)))
"""The same, from a size that someone insists on."""


@dataclass(frozen=True)
class Trial:
    """Random inputs by blob name, float32 in [0, 1), and the net's outputs."""

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


def try_out(model: CaffeNet, known: Mapping[str, Shape | None], insisted: Shapes | None = None) -> Trials:
    """Runs a net on random inputs of two sizes, or of the one that it takes.

    `known` has the shapes of its inputs, as far as its file states them; one trial has those of `insisted`.
    Raises NetError for a net that does not run on inputs of those shapes, or lacks an input of `insisted`.
    """
    problem = ""
    known = with_sizes(known, insisted or {})
    for own in _own_shapes(model.plan, known):
        for first, second in _STEPS_FROM if insisted else _STEPS:
            if (found := _two(model, _grown(own, first), _grown(own, second))) is not None:
                return found
        try:
            return _one(model, own)
        except NetError as error:
            problem = problem or str(error)
    raise NetError(problem)


def try_at(model: CaffeNet, known: Mapping[str, Shape | None], engine: Engine) -> Trials:
    """Runs a net twice on images of the size and batch that an engine wants; nothing is free.

    Raises NetError for a net that does not run on them.
    """
    own = {blob: completed(shape, (1, 3, *engine.size)) for blob, shape in known.items()}
    images = _images(own)
    shapes = {
        blob: (engine.batch, shape[1], *engine.size) if blob in images else shape
        for blob, shape in own.items()
    }
    return Trials((_tried(model, shapes, 0), _tried(model, shapes, 1)), frozenset(), False)


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


def _two(model: CaffeNet, first: Shapes, second: Shapes) -> Trials | None:
    """Trials of two sizes of image; None if the net does not take them."""
    images = _images(first)
    try:
        one = _tried(model, first, 0)
        two, batch = _second(model, second) if images else (None, False)
    except NetError:
        return None
    return Trials((one, two), images, batch) if two is not None else None


def _one(model: CaffeNet, shapes: Shapes) -> Trials:
    """Trials of one size of image, and of two batches if the net takes them."""
    one = _tried(model, shapes, 0)
    two, batch = _second(model, shapes)
    return Trials((one, two) if batch else (one,), frozenset(), batch)


def _second(model: CaffeNet, shapes: Shapes) -> tuple[Trial, bool]:
    """A trial with one more item if the net takes it, and whether it does."""
    if (more := _more(shapes)) is not None:
        try:
            return _tried(model, more, 1), True
        except NetError:
            pass
    return _tried(model, shapes, 1), False


def _tried(model: CaffeNet, shapes: Shapes, seed: int) -> Trial:
    draw = np.random.default_rng(seed)
    inputs = {blob: draw.random(shape, np.float32) for blob, shape in shapes.items()}
    try:
        with torch.no_grad():
            outputs = model(**{blob: torch.from_numpy(array) for blob, array in inputs.items()})
    except (Caffe2TorchError, RuntimeError, IndexError) as error:
        line = str(error).split("\n", 1)[0]
        raise NetError(f"does not run on random {_text(shapes)}: {line}") from None
    return Trial(inputs, {blob: tensor.numpy() for blob, tensor in outputs.items()})


def _text(shapes: Shapes) -> str:
    return ", ".join(f"{blob} {tuple(shape)}" for blob, shape in shapes.items())
