"""Shared blobs (`param { name }`) in HDF5 files, where Caffe stores each once, at its first layer (net.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from caffe2torch.blob import ABSENT, Blob
from caffe2torch.errors import WeightsError
from caffe2torch.net import Layer, Net


def with_shared(net: Net, weights: str) -> Net:
    """The net with the blobs of the HDF5 file `weights`, every shared one at each layer that shares it.

    Raises WeightsError for a blob that the file leaves out and no layer shares.
    """
    stored = _last_stored(net.layers)

    def completed(layer: Layer) -> Layer:
        names = [layer.share_name(i) for i in range(max(len(layer.blobs), len(layer.fields.param)))]
        padded = (*layer.blobs, *[ABSENT] * (len(names) - len(layer.blobs)))
        blobs = [
            stored.get(name, ABSENT) if blob is ABSENT else blob
            for name, blob in zip(names, padded, strict=True)
        ]
        while blobs and blobs[-1] is ABSENT:
            del blobs[-1]
        if ABSENT in blobs:
            raise WeightsError(
                f"{weights}: layer {layer.name!r} has no blob {blobs.index(ABSENT)}, and no other layer stores "
                f"one for it; is this the net of these weights?"
            )
        # Layers of one name have one tuple of blobs, by which a plan tells that a file has filled both.
        return (
            layer
            if len(blobs) == len(layer.blobs) and ABSENT not in layer.blobs
            else replace(layer, blobs=tuple(blobs))
        )

    return replace(net, layers=tuple(map(completed, net.layers)))


def stored_once(layers: Sequence[Layer]) -> list[dict[int, Blob]]:
    """For each layer the blobs that Caffe stores with it, by position: a shared one with the first that has it.

    Where copies of one differ, Caffe would have kept the last.
    """
    last, seen = _last_stored(layers), set[str]()
    kept = []
    for layer in layers:
        own = {}
        for position, blob in enumerate(layer.blobs):
            name = layer.share_name(position)
            shared = last.get(name, blob)
            if name not in seen:
                own[position] = replace(shared, shape=blob.shape) if shared.count == blob.count else blob
            seen |= {name} - {""}
        kept.append(own)
    return kept


def _last_stored(layers: Sequence[Layer]) -> dict[str, Blob]:
    """By the name that shares it, the blob of the last layer that has one."""
    return {
        name: blob
        for layer in layers
        for position, blob in enumerate(layer.blobs)
        if blob is not ABSENT and (name := layer.share_name(position))
    }
