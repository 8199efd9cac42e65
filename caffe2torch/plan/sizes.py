"""Sizes of inputs at which a net fits together, from its layers' shapes and its blobs; nothing is run.

A file may leave sizes open that its layers do not: an InnerProduct has a fan-in, a Slice needs its channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, product
from typing import TypeVar

from caffe2torch.errors import Caffe2TorchError, NetError
from caffe2torch.layers.converter import Shape
from caffe2torch.plan import Plan, Step

Size = TypeVar("Size", int, int | None)
Sizes = Mapping[str, tuple[int, ...]]

_SIDES = (224, 227, 256, 299, 321, 512, 12, 24, 28, 32, 40, 48, 64, 96, 112, 128)
"""Heights and widths that are usual; then every one up to `_MAX_SIDE` is tried."""
_MAX_SIDE = 512
_CHANNELS = (3, 1, 2, 4, 6, 9, 12, 15, 16)
_FLAT = ((1, 3), (5, 5), (1,))
"""Inputs that are no images: an image's size and scale, regions, labels."""


def tops_at(
    step: Step, shapes: dict[str, Shape | None], owners: dict[str, Shape] | None = None
) -> tuple[Shape | None, ...]:
    """The shapes of a step's tops, noted in `shapes`; those of the parameters that it owns in `owners`.

    Raises NetError if its blobs do not fit, or differ from the ones that they share their values with.
    """
    if step.layer.type == "Input":
        return tuple(shapes[top] for top in step.layer.tops)
    converter = type(step.converter)(step.layer, tuple(shapes[bottom] for bottom in step.layer.bottoms))
    for spec, parameter in zip(converter.blob_specs(), step.parameters, strict=True):
        shared = spec.shape if owners is None else owners.setdefault(parameter.owner, spec.shape)
        needed = [*zip(spec.shape, parameter.shape, strict=True), *zip(spec.shape, shared, strict=True)]
        if any(None not in pair and pair[0] != pair[1] for pair in needed):
            raise NetError(f"'{parameter.key}' is {parameter.shape}, not {spec.shape}")
    tops = converter.top_shapes()
    shapes |= zip(step.layer.tops, tops, strict=True)
    return tops


def fits_together(planned: Plan, sizes: Mapping[str, Shape]) -> bool:
    """Whether every layer takes its bottoms, if the inputs have these sizes; None is open."""
    shapes: dict[str, Shape | None] = dict(sizes)
    owners: dict[str, Shape] = {}
    try:
        for step in planned.steps:
            tops_at(step, shapes, owners)
    except (Caffe2TorchError, ValueError):
        return False
    return True


def fitting(planned: Plan, known: Mapping[str, Shape | None]) -> Sizes | None:
    """The first complete sizes of the inputs at which the net fits together; None if none are found.

    `known` are their shapes as far as they are known; what is open is tried.
    """
    tried: set[tuple[tuple[int, ...], ...]] = set()
    for sizes in chain(_candidates(known), _oblong(planned, known)):
        key = tuple(sizes.values())
        if key not in tried and fits_together(planned, sizes):
            return sizes
        tried.add(key)
    return None


def completed(shape: Shape | None, image: tuple[Size, ...]) -> tuple[int | Size, ...]:
    """The shape with its open sizes from `image`."""
    if shape is None:
        return image
    return tuple(
        image[min(axis, len(image) - 1)] if size is None else size for axis, size in enumerate(shape)
    )


def _candidates(known: Mapping[str, Shape | None]) -> Iterator[Sizes]:
    images = [(1, channels, side, side) for channels, side in product(_CHANNELS, _SIDES)]
    for image in images:
        yield {blob: completed(shape, image) for blob, shape in known.items()}
    unknown = [blob for blob, shape in known.items() if shape is None]
    if 1 < len(unknown) < 4:
        for choice in product((images[0], *_FLAT), repeat=len(unknown)):
            chosen = dict(zip(unknown, choice, strict=True))
            yield {blob: chosen.get(blob) or completed(shape, images[0]) for blob, shape in known.items()}
    for channels, side in product((3, 1), range(1, _MAX_SIDE + 1)):
        yield {blob: completed(shape, (1, channels, side, side)) for blob, shape in known.items()}


def _oblong(planned: Plan, known: Mapping[str, Shape | None]) -> Iterator[Sizes]:
    """The height and the width that each fit while the other is open, for nets that name sizes inside."""

    def fit(*image: int | None) -> bool:
        return fits_together(planned, {blob: completed(shape, image) for blob, shape in known.items()})

    sides = (*range(2, _MAX_SIDE + 1, 2), *range(1, _MAX_SIDE, 2))
    for channels in (3, 1):
        height = next((side for side in sides if fit(1, channels, side, None)), None)
        width = height and next((side for side in sides if fit(1, channels, None, side)), None)
        if height and width:
            image = (1, channels, height, width)
            yield {blob: completed(shape, image) for blob, shape in known.items()}
