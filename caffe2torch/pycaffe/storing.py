"""The parameters of a net to files and from them (Net::ToProto, ToHDF5, CopyTrainedLayersFrom)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from caffe2torch.blob import Blob as StoredBlob
from caffe2torch.blob import blob_of
from caffe2torch.errors import WeightsError, WriteError
from caffe2torch.formats.caffemodel import write_net
from caffe2torch.formats.caffemodel_h5 import write_group
from caffe2torch.net import Layer, Net
from caffe2torch.plan.parameters import fits
from caffe2torch.pycaffe.blob import Blob
from caffe2torch.pycaffe.building import AUTOMATIC, Built
from caffe2torch.pycaffe.logs import log
from caffe2torch.pycaffe.memory import Changes
from caffe2torch.pycaffe.net_layers import NetLayer
from caffe2torch.schema import Message
from caffe2torch.untrusted.binary import read_caffemodel
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.writing.output import create, patiently

if TYPE_CHECKING:
    from os import PathLike


def copy_blobs(made: Built, path: AnyPath) -> None:
    """Copies the blobs of a file into the layers of the same names; nothing if any does not fit.

    Raises WeightsError where Caffe would abort: for another number of blobs, or other shapes.
    """
    stored = read_caffemodel(path)
    pairs: list[tuple[Blob, StoredBlob]] = []
    for message in _layers(stored.message):
        own = _named(made, message.name)
        if own is None:
            if message.name:
                log("net.cpp:746", f"Ignoring source layer {message.name}")
            continue
        blobs = [stored.blobs[blob.index] for blob in message.blobs]
        pairs += _paired(made, own, blobs, str(path), is_hdf5=not stored.has_net)
    for blob, values in pairs:
        blob.data_memory.copy(torch.from_numpy(np.array(values.read(), np.float32)))


def _layers(message: Message) -> Iterator[Message]:
    """What has the name and blobs of each layer of a NetParameter of any age."""
    for layer in message.layers:
        yield layer.layer if layer.HasField("layer") else layer
    yield from message.layer


def share_blobs(made: Built, other: Built) -> None:
    """Makes the parameters of `other` those of the layers of the same names here: data, not diffs."""
    for theirs in other.layers:
        own = _named(made, theirs.layer.name)
        if own is None:
            log("net.cpp:683", f"Ignoring source layer {theirs.layer.name}")
            continue
        if len(own.blobs) != len(theirs.blobs):
            problem = f"{len(theirs.blobs)} blobs, here {len(own.blobs)}"
            raise WeightsError(f"layer {own.layer.name!r} has {problem}; is it the same net?")
        for place, (blob, shared) in enumerate(zip(own.blobs, theirs.blobs, strict=True)):
            if blob.sizes != shared.sizes:
                problem = f"blob {place} is {shared.sizes}, here {blob.sizes}"
                raise WeightsError(f"layer {own.layer.name!r}: {problem}; is it the same net?")
            if blob.data_memory is not shared.data_memory:
                blob.data_memory = shared.data_memory
                Changes.count += 1


def _named(made: Built, name: str) -> NetLayer | None:
    return next((own for own in made.layers if own.layer.name == name), None)


def _paired(
    made: Built, own: NetLayer, blobs: Sequence[StoredBlob], path: str, is_hdf5: bool
) -> Iterator[tuple[Blob, StoredBlob]]:
    name = own.layer.name
    # HDF5 holds a shared blob once, with the layer that owns it.
    missing = range(len(blobs), len(own.blobs)) if is_hdf5 else range(0)
    shared = bool(missing) and all(own.layer.share_name(place) for place in missing)
    if len(blobs) != len(own.blobs) and not shared:
        raise WeightsError(
            f"{path}: layer {name!r} holds {len(blobs)} blobs, the net's {len(own.blobs)}; is it this net's?"
        )
    for place, (blob, values) in enumerate(zip(own.blobs, blobs, strict=False)):
        if is_hdf5 and not values.has_data and own.layer.share_name(place):
            continue  # stored with the layer that owns it
        if not fits(blob.sizes, values.shape):
            raise WeightsError(
                f"{path}: layer {name!r} blob {place} is {values.shape}, the net's is {blob.sizes}; "
                f"to learn it anew, rename the layer"
            )
        if not values.has_data:
            raise WeightsError(f"{path}: layer {name!r} blob {place} has a shape and no data")
        yield blob, values


def stored_net(net: Net, made: Built, phase: str) -> Net:
    """The net with all its layers, Splits too, each with its phase and blobs."""
    layers = []
    for own in made.layers:
        fields = own.layer.fields.replace(include=None, exclude=None)
        if not fields.has("phase"):
            fields = fields.replace(phase=phase)
        blobs = tuple(_stored(blob) for blob in own.blobs)
        tops = tuple(top for top in own.layer.tops if top != AUTOMATIC)
        layers.append(Layer(own.layer.name, own.layer.type, own.layer.bottoms, tops, fields, blobs))
    return replace(net, layers=tuple(layers), stages=())


def _stored(blob: Blob) -> StoredBlob:
    return blob_of(blob.data_memory.tensor, blob.sizes)


def save(net: Net, made: Built, phase: str, path: str | PathLike[str]) -> None:
    """Writes a caffemodel, which appears complete or not at all. Raises WriteError."""
    with create(path) as output:
        write_net(stored_net(net, made, phase), output)


def save_hdf5(made: Built, path: str | PathLike[str]) -> None:
    """Writes HDF5: a group for each layer, also those without blobs; a shared one once. Raises WriteError."""
    import h5py  # loads slowly, and few files need it

    names = [own.layer.name for own in made.layers]
    if odd := next((name for name in names if "/" in name or name in ("", ".")), None):
        raise WriteError(f"{path}: HDF5 does not take the name of layer {odd!r}; save a caffemodel")
    if len(set(names)) < len(names):
        raise WriteError(f"{path}: two layers have one name, which HDF5 does not take; save a caffemodel")
    stored: set[int] = set()
    with create(path) as output, patiently(output.file) as target, h5py.File(target, "w") as file:
        data = file.create_group("data")
        for own in made.layers:
            blobs: Mapping[int, StoredBlob] = {
                place: _stored(blob)
                for place, blob in enumerate(own.blobs)
                if not own.layer.share_name(place) or id(blob) not in stored
            }
            stored |= {id(blob) for blob in own.blobs}
            write_group(data.create_group(own.layer.name), own.layer.name, blobs)
