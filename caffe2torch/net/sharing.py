"""Shared blobs (`param { name }`) in HDF5 files: Caffe stores each once, with its first layer (net.cpp)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from caffe2torch.blob import ABSENT, Blob
from caffe2torch.errors import WeightsError
from caffe2torch.net import Layer, Net

Rules = list[tuple[str, str]]
_WHEN = ("include", "exclude", "phase")


def with_shared(net: Net, weights: str) -> Net:
    """The net with the blobs of the HDF5 file `weights`, every shared one at each layer that shares it.

    Of copies that differ Caffe keeps the last, in the order of the layers' names. Raises WeightsError for a
    blob that the file leaves out and no layer shares.
    """
    stored = last_stored(sorted(net.layers, key=lambda layer: layer.name))
    return replace(net, layers=tuple(_completed(layer, stored, weights) for layer in net.layers))


def _completed(layer: Layer, stored: Mapping[str, Blob], weights: str) -> Layer:
    """The layer with those of its blobs that others store."""
    blobs = [*layer.blobs, *[ABSENT] * (len(layer.fields.param) - len(layer.blobs))]
    blobs = [_kept(blob, stored.get(layer.share_name(place), blob)) for place, blob in enumerate(blobs)]
    while blobs and blobs[-1] is ABSENT:
        blobs.pop()
    if ABSENT in blobs and not layer.blobs:
        return layer  # not in the net that was stored, such as a layer of the other phase
    if ABSENT in blobs:
        raise WeightsError(
            f"{weights}: layer {layer.name!r} has no blob {blobs.index(ABSENT)}, and no other layer stores "
            f"it; is this the net of these weights?"
        )
    # Layers of one name have one tuple of blobs, which tells a plan that a file has filled both.
    unchanged = list(map(id, blobs)) == list(map(id, layer.blobs))
    return layer if unchanged else replace(layer, blobs=tuple(blobs))


def _kept(blob: Blob, shared: Blob) -> Blob:
    """What Caffe keeps of a layer's copy and the one that counts for all who share it."""
    if blob is ABSENT or shared is blob:
        return shared
    return replace(shared, shape=blob.shape) if shared.count == blob.count else blob


def stored_once(layers: Sequence[Layer]) -> list[dict[int, Blob]]:
    """For each layer the blobs that Caffe stores with it, by position: a shared one with its first layer.

    A later layer that is in the net where the first is not, by its phase or stage, stores its own. Where
    copies of one differ, Caffe would have kept the last.
    """
    last, seen = last_stored(layers), defaultdict[str, list[Rules]](list)
    kept = []
    for layer in layers:
        own, rules = {}, _rules(layer)
        for position, blob in enumerate(layer.blobs):
            name = layer.share_name(position)
            if not name or not any(earlier in ([], rules) for earlier in seen[name]):
                own[position] = _kept(blob, last.get(name, blob))
            seen[name].append(rules)
        kept.append(own)
    return kept


def _rules(layer: Layer) -> Rules:
    """What says when a layer is in its net."""
    return [(name, repr(value)) for name, value in layer.fields.given() if name in _WHEN]


def last_stored(layers: Sequence[Layer]) -> dict[str, Blob]:
    """By the name that shares it, the blob of the last layer that stores it."""
    return {
        name: blob
        for layer in layers
        for position, blob in enumerate(layer.blobs)
        if blob.has_data and (name := layer.share_name(position))
    }
