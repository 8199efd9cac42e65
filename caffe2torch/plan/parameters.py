"""The parameters of a net: the values that its layers own or share, checked against what their types need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile

import numpy as np

from caffe2torch.blob import Array, Blob, diagonal_of
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.layers.axes import product
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.net.sharing import last_stored
from caffe2torch.net.text import shape_text


@dataclass(frozen=True)
class Parameter:
    """One blob of a step: its key in a state dict, and where its values come from."""

    key: str
    shape: Shape
    blob: Blob | None
    """None when Caffe would leave it at its filler."""
    filler: Fields | None
    owner: str
    """The key of the parameter it shares its values with (`param { name }`), its own key otherwise."""
    diagonal: bool
    """The blob is dense, (C, C, h, w), and kept as its channel diagonal, (C, 1, h, w)."""
    trained: bool
    """Has a learning rate; False for lr_mult 0 and for statistics."""
    statistics: bool
    reshaped: bool = False
    """Its owner has another shape and as many values (`share_mode: PERMISSIVE`)."""

    @property
    def name(self) -> str:
        """Its name within its layer."""
        return self.key.rpartition(".")[2]

    def read(self) -> Array:
        """The values as they are kept: reshaped as the layer needs them, a diagonal taken out."""
        assert self.blob is not None  # noqa: S101 (callers check `blob` first)
        array = self.blob.read()
        if self.diagonal:
            return diagonal_of(array)
        return array.reshape([size or -1 for size in self.shape])


class Parameters:
    """Makes the parameters of a net's layers, in the net's order, as those of a name share one value."""

    def __init__(self, net: Net, allow_missing: bool, forced: bool) -> None:
        """With `forced` every value of a frozen blob has a gradient, and none is kept as a diagonal."""
        self.net, self.allow_missing, self.forced = net, allow_missing, forced
        self.owners: dict[str, Parameter] = {}
        self.multipliers: dict[tuple[str, str], float] = {}
        self.stored = last_stored(net.layers)

    def of(self, layer: Layer, key: str, converter: Converter) -> tuple[Parameter, ...]:
        """Those of a layer. Raises WeightsError where blobs are missing or do not fit, and NetError."""
        specs = converter.blob_specs()
        for position, spec in enumerate(specs):
            check_sizes(layer, f"blob {position}", spec.shape)
        if len(layer.fields.param) > len(specs):
            raise NetError(
                f"layer {layer.name!r} ({layer.type}): has {len(layer.fields.param)} param for "
                f"{len(specs)} blobs; remove the rest, as Caffe aborts on them"
            )
        shared = all(layer.share_name(position) in self.stored for position in range(len(specs)))
        if layer.blobs and len(layer.blobs) != len(specs):
            raise WeightsError(
                f"{self.net.weights}: layer {layer.name!r} holds {len(layer.blobs)} blobs, "
                f"its {layer.type} needs {len(specs)}; is this the net of these weights?"
            )
        if specs and not (layer.blobs or shared) and self.net.weights and not self.allow_missing:
            raise WeightsError(
                f"{self.net.weights}: has no blobs for layer {layer.name!r} ({layer.type}); "
                f"is this the net of these weights? --allow-missing leaves them at Caffe's filler"
            )
        return tuple(self._parameter(converter, key, i, spec) for i, spec in enumerate(specs))

    def _parameter(self, converter: Converter, layer_key: str, position: int, spec: BlobSpec) -> Parameter:
        layer, key = converter.layer, f"{layer_key}.{spec.name}"
        statistics = converter.has_statistics or spec.statistic
        blob = self._blob(layer, position, spec)
        parameter = Parameter(
            key=key,
            shape=spec.shape if blob is None else _concrete(spec.shape, blob),
            blob=blob,
            filler=spec.filler,
            owner=key,
            diagonal=position == 0 and blob is not None and not self.forced and _is_diagonal(layer, blob),
            trained=not statistics and layer.lr_mult(position) != 0,
            statistics=statistics,
        )
        return self._shared(layer, position, parameter)

    def _blob(self, layer: Layer, position: int, spec: BlobSpec) -> Blob | None:
        """What fills the parameter; of several stored copies of a shared one, Caffe keeps the last."""
        shared = self.stored.get(layer.share_name(position))
        if shared is not None and fits(spec.shape, shared.shape):
            return shared
        if shared is not None and shared.count == product(spec.shape):
            return replace(shared, shape=tuple(size or 0 for size in spec.shape))
        if not layer.blobs:
            return None
        blob = layer.blobs[position]
        if not fits(spec.shape, blob.shape):
            hint = "was the net made fully convolutional? see --convolutionalize"
            hint = (
                hint if len(spec.shape) > 2 == len(_bare(blob.shape)) else "is this the net of these weights?"
            )
            raise WeightsError(
                f"{self.net.weights}: layer {layer.name!r} blob {position} is {blob.shape}, "
                f"its {layer.type} needs {shape_text(spec.shape)}; {hint}"
            )
        if blob.has_data:
            return blob
        if self.allow_missing:
            return None
        raise WeightsError(
            f"{self.net.weights}: layer {layer.name!r} blob {position} has a shape, {blob.shape}, "
            f"and no data; --allow-missing leaves it at Caffe's filler"
        )

    def _check_multipliers(self, shared: str, spec: Fields, owner: Parameter) -> None:
        for name in ("lr_mult", "decay_mult"):
            value = getattr(spec, name)
            if spec.has(name) and self.multipliers.setdefault((shared, name), value) != value:
                values = ", ".join(f"{x:g}" for x in sorted((value, self.multipliers[shared, name])))
                raise NetError(
                    f"layers share '{owner.key}' and give it {name} {values}; Caffe wants one value"
                )

    def _shared(self, layer: Layer, position: int, parameter: Parameter) -> Parameter:
        name = layer.share_name(position)
        if not name:
            return parameter
        owner = self.owners.setdefault(name, parameter)
        self._check_multipliers(name, layer.fields.param[position], owner)
        if owner.statistics != parameter.statistics:
            raise NetError(
                f"layer {layer.name!r} shares blob {name!r} with {owner.key!r}, "
                f"but only one of the two is a statistic"
            )
        permissive = layer.fields.param[position].share_mode == "PERMISSIVE"
        fits_in = permissive and product(owner.shape) == product(parameter.shape)
        if owner.shape != parameter.shape and not fits_in:
            raise NetError(
                f"layer {layer.name!r} shares blob {name!r} with {owner.key!r}, but their shapes are "
                f"{shape_text(parameter.shape)} and {shape_text(owner.shape)}"
            )
        return replace(parameter, owner=owner.key, reshaped=owner.shape != parameter.shape)


def check_sizes(layer: Layer, what: str, shape: Shape) -> None:
    """Raises NetError for an axis that would hold nothing."""
    if any(size is not None and size < 1 for size in shape):
        problem = f"its {what} would be {shape_text(shape)}, and no axis can be empty"
        raise NetError(f"layer {layer.name!r} ({layer.type}): {problem}")


def _bare(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without leading ones: legacy blobs have four axes whatever they hold."""
    return tuple(dropwhile(lambda size: size == 1, shape))


def fits(needed: Shape, found: tuple[int, ...]) -> bool:
    """Whether a blob has the needed shape, leading ones aside where an old file has four axes."""
    if len(found) != len(needed):
        found = (*(1,) * (len(needed) - len(_bare(found))), *_bare(found))
    return len(found) == len(needed) and all(n in (None, f) for n, f in zip(needed, found, strict=True))


def _concrete(needed: Shape, blob: Blob) -> tuple[int, ...]:
    return blob.shape[len(blob.shape) - len(needed) :] if len(blob.shape) >= len(needed) else blob.shape


def _is_diagonal(layer: Layer, blob: Blob) -> bool:
    """A frozen dense deconvolution that maps each channel to itself: zero off the diagonal, to the bit."""
    frozen = layer.type == "Deconvolution" and layer.lr_mult(0) == 0 and not layer.share_name(0)
    if not frozen or layer.fields.convolution_param.group != 1 or blob.shape[0] != blob.shape[1]:
        return False
    bits = blob.read().view(np.uint32 if blob.dtype.itemsize == 4 else np.uint64)
    return not any(row[:channel].any() or row[channel + 1 :].any() for channel, row in enumerate(bits))
