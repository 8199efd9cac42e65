"""Net surgery: fully connected layers to convolutions, weights from net to net, bilinear kernels.

With these three operations the FCN papers turn a classifier into a net that labels every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Array, Blob, blob_of, dense, diagonal_of, is_diagonal
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.layers.converter import Shape
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.plan import Step, plan

if TYPE_CHECKING:
    from torch import Tensor, nn


def bilinear_kernel(size: int) -> Array:
    """The (size, size) float32 kernel that upsamples bilinearly by (size + 1) // 2 in a deconvolution.

    It is centred for any size, as Caffe's own filler is since October 2017 (modules/fillers.py).
    """
    factor = (size + 1) // 2
    centre = factor - (1 if size % 2 else 0.5)
    ramp = 1 - np.abs(np.arange(size) - centre) / factor
    kernel: Array = np.outer(ramp, ramp).astype(np.float32)
    return kernel


def bilinear_weight(shape: Sequence[int]) -> Array:
    """A deconvolution's float32 weight, (C, C, k, k) or (C, 1, k, k), that upsamples each channel to itself.

    Caffe's filler would give the kernel to every pair of channels and so mix them. Raises NetError for a
    kernel that is not square, and for different numbers of input and output channels.
    """
    if len(shape) != 4 or shape[2] != shape[3] or shape[1] not in (1, shape[0]):
        raise NetError(
            f"bilinear upsampling needs a weight (C, C, k, k) or (C, 1, k, k), found {tuple(shape)}"
        )
    weight = np.zeros(tuple(shape), np.float32)
    weight[range(shape[0]), range(shape[0]) if shape[1] > 1 else 0] = bilinear_kernel(shape[2])
    return weight


def convolutionalize(net: Net) -> Net:
    """The net with its fully connected layers as convolutions (CVPR 2015, Section 3.1).

    A kernel is as large as the layer's bottom at the size of the Input: 7x7 for fc6 of VGG-16 at 224x224, 6x6
    for CaffeNet's at 227x227, then 1x1. Blobs keep their values and are reshaped. A Convolution that holds an
    InnerProduct's blobs, as when an FCN's prototxt is read with a classifier's weights, gets them reshaped.

    Raises NetError where the size of the input is unknown or a layer needs a flat blob, WeightsError for
    blobs that do not fit.
    """
    net = _unflattened(net)
    steps = {step.layer.name: step for step in plan(_bare(net)).steps}
    layers = tuple(_convolved(layer, steps.get(layer.name)) for layer in net.layers)
    changed = [f"'{new.name}'" for new, old in zip(layers, net.layers, strict=True) if new is not old]
    what = f"now convolutions: {', '.join(changed)}" if changed else "no layer is fully connected"
    converted = replace(net, layers=layers, notes=(*net.notes, what))
    try:
        plan(_bare(converted))
    except NetError as error:
        raise NetError(f"{net.read_from}: cannot be made convolutional: {error}") from None
    return converted


def _bare(net: Net) -> Net:
    """The net's definition, without its blobs."""
    return replace(net, layers=tuple(replace(layer, blobs=()) for layer in net.layers), weights="")


def _unflattened(net: Net) -> Net:
    """The net with a Split in place of each Flatten that only InnerProduct layers read, which flatten too."""
    layers = []
    for layer in net.layers:
        p = layer.fields.flatten_param
        if layer.type == "Flatten" and (p.axis, p.end_axis) == (1, -1):
            readers = [x.type for x in net.layers if layer.tops[0] in x.bottoms and x.bottoms != x.tops]
            if set(readers) == {"InnerProduct"}:
                layer = replace(layer, type="Split", fields=layer.fields.replace(flatten_param=None))
        layers.append(layer)
    return replace(net, layers=tuple(layers))


def _convolved(layer: Layer, step: Step | None) -> Layer:
    if step is None:
        return layer
    if layer.type == "InnerProduct":
        return _as_convolution(layer, step.converter.bottoms[0])
    if layer.type == "Convolution" and layer.blobs:
        return _with_own_shape(layer, step.parameters[0].shape)
    return layer


def _as_convolution(layer: Layer, bottom: Shape | None) -> Layer:
    """An InnerProduct as a Convolution that sees its whole bottom, (N, C, H, W) or (N, C)."""
    p = layer.fields.inner_product_param
    if bottom is None or None in bottom[1:]:
        raise NetError(
            f"layer '{layer.name}' (InnerProduct): the size of its bottom is not known; "
            f"give a --prototxt whose Input has a shape"
        )
    if len(bottom) not in (2, 4) or p.axis % len(bottom) != 1:
        raise NetError(
            f"layer '{layer.name}' (InnerProduct): axis: {p.axis} of a bottom {bottom} leaves no image"
        )
    channels, *size = (size for size in bottom[1:] if size is not None)
    height, width = size or (1, 1)
    given = {"num_output": p.num_output, "kernel_size": (height, width) if height != width else (height,)}
    given |= {name: getattr(p, name) for name in ("bias_term", "weight_filler", "bias_filler") if p.has(name)}
    own = Fields("ConvolutionParameter", given)
    fields = layer.fields.replace(inner_product_param=None, convolution_param=own)
    blobs = layer.blobs
    if blobs:
        weight = _transposed(blobs[0], p.num_output) if p.transpose else blobs[0]
        biases = tuple(replace(bias, shape=(bias.count,)) for bias in blobs[1:])
        blobs = (_reshaped(weight, (p.num_output, channels, height, width), layer), *biases)
    return replace(layer, type="Convolution", fields=fields, blobs=blobs)


def _transposed(weight: Blob, columns: int) -> Blob:
    """A weight that is stored as (K, num_output), as (num_output, K)."""

    def values() -> Array:
        return np.ascontiguousarray(weight.read().reshape(-1, columns).T).reshape(-1)

    return replace(weight, values=values if weight.has_data else None)


def _with_own_shape(layer: Layer, needed: Shape) -> Layer:
    """A Convolution with its weight reshaped if that is an InnerProduct's, (M, K) or (1, 1, M, K)."""
    weight, (rows, channels, *kernel) = layer.blobs[0], (size or 0 for size in needed)
    columns = weight.shape[-1]
    shape = (rows, columns // math.prod(kernel), *kernel)
    is_product = weight.shape in ((rows, columns), (1, 1, rows, columns)) and weight.shape != shape
    if not is_product or math.prod(shape) != weight.count or channels not in (0, shape[1]):
        return layer
    return replace(layer, blobs=(_reshaped(weight, shape, layer), *layer.blobs[1:]))


def _reshaped(blob: Blob, shape: tuple[int, ...], layer: Layer) -> Blob:
    if blob.count != math.prod(shape):
        raise WeightsError(f"layer '{layer.name}' blob 0 is {blob.shape}, as a Convolution it needs {shape}")
    return replace(blob, shape=shape)


@dataclass(frozen=True)
class Transplant:
    """What `transplant` did; `str()` gives a line for each kind."""

    copied: tuple[str, ...]
    """Layers of the target whose blobs were copied as they are."""
    reshaped: tuple[str, ...]
    """Layers of the target that got as many values in another shape, with the two shapes."""
    missing: tuple[str, ...]
    """Layers of the source that the target lacks."""
    untouched: tuple[str, ...]
    """Layers of the target that the source lacks."""
    net: Net | None = None
    """The target with its new blobs if it is a Net; a module is changed in place."""

    def __str__(self) -> str:
        kinds = [(kind, getattr(self, kind)) for kind in ("copied", "reshaped", "missing", "untouched")]
        return "\n".join(f"{kind}: {', '.join(layers)}" for kind, layers in kinds if layers)


def transplant(
    target: nn.Module | Net, source: nn.Module | Net, suffix: str = "", *, leave: Collection[str] = ()
) -> Transplant:
    """Copies the blobs of the source's layers to the target's layers of the same names plus `suffix`.

    Modules are CaffeNets or FCNs, and a target module is changed in place. Layers of the target that are
    named in `leave` keep their blobs. As in the FCN reference implementation, a blob of another shape with as
    many values is copied in order, and layers that one side lacks are skipped and reported. A
    deconvolution that is dense on one side and kept as its channel diagonal on the other is converted. Raises
    WeightsError, before anything is changed, for blobs that do not fit.
    """
    theirs, needed = _blobs(source), _shapes(target)
    wanted = needed.keys() - set(leave)
    given = {name + suffix: blobs for name, blobs in theirs.items() if name + suffix in wanted}
    fitted = {name: _all_fitted(name, blobs, needed[name]) for name, blobs in given.items()}
    reshaped = {name: text for name in given if (text := _changes(given[name], fitted[name]))}
    return Transplant(
        copied=tuple(name for name in given if name not in reshaped),
        reshaped=tuple(f"{name} {text}" for name, text in reshaped.items()),
        missing=tuple(name for name in theirs if name + suffix not in needed),
        untouched=tuple(name for name in needed if name not in given),
        net=_filled(target, fitted),
    )


def _blobs(source: nn.Module | Net) -> dict[str, tuple[Blob, ...]]:
    """The blobs of each layer that has any."""
    if isinstance(source, Net):
        return {layer.name: layer.blobs for layer in source.layers if layer.blobs}
    return {
        name: tuple(blob_of(x, exact=True) for x in tensors) for name, tensors in _tensors(source).items()
    }


@runtime_checkable
class _HasBlobs(Protocol):
    """What CaffeNets and FCNs have in common."""

    def blobs(self) -> dict[str, list[Tensor]]: ...


def _tensors(model: nn.Module) -> dict[str, list[Tensor]]:
    if not isinstance(model, _HasBlobs):
        raise TypeError(f"transplant takes a CaffeNet, an FCN of this package or a Net; not {type(model)}")
    return model.blobs()


def _shapes(target: nn.Module | Net) -> dict[str, tuple[Shape, ...]]:
    """The shapes of the blobs that each layer needs."""
    if isinstance(target, Net):
        steps = plan(_bare(target)).steps
        return {step.layer.name: tuple(p.shape for p in step.parameters) for step in steps if step.parameters}
    return {name: tuple(tuple(x.shape) for x in tensors) for name, tensors in _tensors(target).items()}


def _all_fitted(name: str, blobs: Sequence[Blob], needed: Sequence[Shape]) -> tuple[Blob, ...]:
    if len(blobs) != len(needed):
        raise WeightsError(f"layer '{name}': the source has {len(blobs)} blobs, the target {len(needed)}")
    return tuple(
        _fitted(f"layer '{name}' blob {i}", *pair) for i, pair in enumerate(zip(blobs, needed, strict=True))
    )


def _fitted(what: str, blob: Blob, needed: Shape) -> Blob:
    """The blob in the needed shape; an axis that the target's definition leaves open keeps its size."""
    rest = blob.count // math.prod(size for size in needed if size is not None)
    own = blob.shape if len(blob.shape) == len(needed) else [rest] * len(needed)
    shape = tuple(mine if size is None else size for size, mine in zip(needed, own, strict=True))
    if math.prod(shape) == blob.count:
        return replace(blob, shape=shape)
    if (regrouped := _regrouped(blob, shape)) is not None:
        return regrouped
    raise WeightsError(f"{what} is {blob.shape} in the source, {shape} in the target; they cannot be copied")


def _regrouped(blob: Blob, shape: tuple[int, ...]) -> Blob | None:
    """A dense weight as its channel diagonal, or the reverse; None where it is neither."""
    whole, compact = sorted((shape, blob.shape), key=math.prod, reverse=True)
    if len(whole) != 4 or whole[0] != whole[1] or compact != (whole[0], 1, *whole[2:]):
        return None
    if blob.shape == compact:
        return dense(whole, lambda: blob.read().reshape(-1), blob.dtype)
    weight = blob.read()
    return Blob.of(diagonal_of(weight)) if is_diagonal(weight) else None


def _changes(before: Sequence[Blob], after: Sequence[Blob]) -> str:
    pairs = zip(before, after, strict=True)
    return ", ".join(f"{old.shape} -> {new.shape}" for old, new in pairs if old.shape != new.shape)


def _filled(target: nn.Module | Net, blobs: Mapping[str, tuple[Blob, ...]]) -> Net | None:
    if isinstance(target, Net):
        layers = tuple(replace(layer, blobs=blobs.get(layer.name, layer.blobs)) for layer in target.layers)
        return replace(target, layers=layers)
    tensors = _tensors(target)
    with torch.no_grad():
        for name, new in blobs.items():
            for tensor, blob in zip(tensors[name], new, strict=True):
                tensor.copy_(torch.from_numpy(np.array(blob.read())))
    return None
