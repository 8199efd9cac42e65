"""BatchNorm as NVIDIA's Caffe has it -> Caffe's own BatchNorm and Scale.

NVIDIA 0.16, 0.17   mean, variance, factor, scale, shift    Intel's order, too
NVIDIA 0.14, 0.15   scale, shift, mean, variance, a 1
BVLC                mean, variance, factor                  scale and shift are a Scale layer's
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from caffe2torch.blob import Blob
from caffe2torch.errors import WeightsError
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields

_FIVE = 5


def split_batch_norms(net: Net) -> Net:
    """The net with a Scale layer after every BatchNorm that scales and shifts, and notes about what changed.

    A factor of 0, by which BVLC's Caffe takes all statistics as 0, becomes 1 where they are not: only
    NVIDIA's Caffe, which leaves statistics as they are, writes that. Raises WeightsError for one channel,
    whose five blobs could be in either order.
    """
    names = {layer.name: layer for layer in net.layers}
    layers: list[Layer] = []
    added: dict[str, Layer] = {}
    unscaled: list[str] = []
    for layer in net.layers:
        if layer.type != "BatchNorm":
            same = added.get(layer.name) if _reads_its_top(layer) else None
            layers.append(layer if same is None else replace(layer, blobs=same.blobs))
            continue
        norm, scale = _split(layer, net.weights) if _scales(layer) else (layer, None)
        if _is_unscaled(norm):
            norm = replace(norm, blobs=(*norm.blobs[:2], Blob.of(np.ones(norm.blobs[2].shape, np.float32))))
            unscaled.append(layer.name)
        layers.append(norm)
        if scale is not None:
            added[scale.name] = scale
            # A net that was split before has this Scale already.
            layers += [] if scale.name in names else [scale]
    notes = _notes([name for name in added if name not in names], unscaled)
    return replace(net, layers=tuple(layers), notes=(*net.notes, *notes))


def _scales(layer: Layer) -> bool:
    p = layer.fields.batch_norm_param
    return len(layer.blobs) == _FIVE or p.scale_bias or p.has("scale_filler")


def _reads_its_top(layer: Layer) -> bool:
    return layer.type == "Scale" and layer.bottoms == layer.tops


def _split(layer: Layer, weights: str) -> tuple[Layer, Layer]:
    """The BatchNorm without scale and shift, and the Scale, in place, that has them."""
    p, specs, blobs = layer.fields.batch_norm_param, layer.fields.param, _ordered(layer, weights)
    # From 0.16 on, phase TEST always uses the stored statistics, and eps is 1e-5 or more.
    own = {"use_global_stats": p.use_global_stats or None, "eps": max(p.eps, 1e-5) if p.has("eps") else None}
    gone = ("scale_bias", "scale_filler", "filler", "bias_filler", "use_weight_bias", "bias_term", "engine")
    norm_fields = p.replace(**dict.fromkeys(gone), **own)
    scale_fields: Mapping[str, object] = {
        "filler": p.scale_filler if p.has("scale_filler") else p.filler if p.has("filler") else None,
        "bias_filler": p.bias_filler if p.has("bias_filler") else None,
        "bias_term": True,
    }
    norm = replace(
        layer,
        fields=layer.fields.replace(batch_norm_param=norm_fields, param=specs[:3] or None),
        blobs=blobs[:3],
    )
    scale_param = Fields("ScaleParameter", {}).replace(**scale_fields)
    fields = layer.fields.replace(batch_norm_param=None, scale_param=scale_param, param=specs[3:] or None)
    return norm, Layer(f"{layer.name}_scale", "Scale", layer.tops, layer.tops, fields, blobs[3:])


def _ordered(layer: Layer, weights: str) -> tuple[Blob, ...]:
    """The blobs in the order of NVIDIA's 0.16: mean, variance, factor, scale, shift."""
    if len(layer.blobs) != _FIVE:
        return layer.blobs
    third, fifth = layer.blobs[2].count, layer.blobs[4].count
    if third == fifth == 1:
        raise WeightsError(
            f"{weights}: layer {layer.name!r} (BatchNorm) has five blobs of one value; NVIDIA's Caffe 0.15 "
            f"and 0.16 order them differently, and which wrote them cannot be told"
        )
    scale, shift, mean, variance, factor = layer.blobs
    return (mean, variance, factor, scale, shift) if fifth == 1 else layer.blobs


def _is_unscaled(layer: Layer) -> bool:
    """Whether the factor is 0 though the statistics are not."""
    if len(layer.blobs) != 3 or not all(blob.has_data for blob in layer.blobs):
        return False
    mean, variance, factor = (blob.read() for blob in layer.blobs)
    return not factor.any() and bool(mean.any() or variance.any())


def _notes(added: Sequence[str], unscaled: Sequence[str]) -> Iterator[str]:
    if added:
        yield f"BatchNorm of NVIDIA's Caffe became BatchNorm and Scale: added {', '.join(map(repr, added))}"
    if unscaled:
        yield (
            f"BatchNorm with factor 0: {', '.join(map(repr, unscaled))}; the statistics were taken as they "
            f"are, as by NVIDIA's Caffe, which writes that (BVLC's would take them as 0)"
        )
