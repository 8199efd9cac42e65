"""Caffe's files -> nets: prototxt, caffemodel, .caffemodel.h5, .binaryproto, .solverstate(.h5).

    prototxt   --read_net-->        message
    caffemodel --read_caffemodel--> message + blobs, views of the memory-mapped file
    both       --read-->            Net: upgraded, blobs matched to layers by name

A file is recognized by its content, never by its name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from caffe2torch import upgrades
from caffe2torch.blob import Blob
from caffe2torch.errors import ReadError, WeightsError
from caffe2torch.net import WITHOUT_UNKNOWN, Layer, Net, from_message
from caffe2torch.net.batch_norm import split_batch_norms
from caffe2torch.net.fields import Fields
from caffe2torch.net.sharing import with_shared
from caffe2torch.untrusted.binary import Caffemodel, read_caffemodel
from caffe2torch.untrusted.layer_texts import read_net
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.untrusted.text import UnknownField

_LAYER = re.compile(r"layer[ \[]")


def read(
    prototxt: AnyPath | None = None,
    weights: AnyPath | None = None,
    *,
    ignore_unknown: bool = False,
    align_crops: bool = False,
) -> Net:
    """The net that a prototxt defines, with the blobs of a caffemodel; either may be left out.

    `weights` alone is enough: a caffemodel holds the definition of its own net, though an HDF5 file does not.
    With both, a layer gets the blobs of the layer of the same name, as in Caffe's CopyTrainedLayersFrom;
    whether they fit is not checked here. `ignore_unknown` leaves out, with a note, fields that no schema has;
    without it, a layer that has any is refused when the net is planned, unless a net to deploy drops it.

    `align_crops` cuts a Crop without crop_param where its two bottoms align, as HED's branch of Caffe did,
    and not at 0.

    Raises MissingData for a file that is not there, ReadError for one that is not what it should be
    (SyntaxRefused: with line and column), WeightsError for two source layers of one name whose blobs differ.
    """
    stored = None if weights is None else read_caffemodel(weights)
    if prototxt is not None:
        net = _defined(prototxt, ignore_unknown)
        net = net if stored is None else _filled(net, stored, str(weights))
    elif stored is not None:
        net = _enclosed(stored, str(weights), ignore_unknown)
    else:
        raise ReadError("no net to read: give a prototxt, a caffemodel or both")
    net = split_batch_norms(net)
    return replace(net, layers=tuple(map(_aligning, net.layers))) if align_crops else net


def with_weights(net: Net, weights: AnyPath) -> Net:
    """The net with the blobs of the caffemodel's layers of the same names, and no others; see `read`."""
    return split_batch_norms(_filled(net, read_caffemodel(weights), str(weights)))


def _filled(net: Net, stored: Caffemodel, weights: str) -> Net:
    """The net with the blobs of a file; one in HDF5 holds those that layers share once."""
    trained = _trained(net, stored, weights)
    return trained if stored.has_net else with_shared(trained, weights)


def _defined(prototxt: AnyPath, ignore_unknown: bool) -> Net:
    """The net that a prototxt defines."""
    message, unknown = read_net(prototxt)
    for layer in _layers(message):
        if layer.blobs:
            raise ReadError(f"{prototxt}: layer {layer.name!r} has blobs as text; give them in a caffemodel")
    net = _upgraded(message, (), str(prototxt))
    if not unknown:
        return net
    first = min(unknown.values(), key=lambda refusal: (refusal.line, refusal.column))
    if ignore_unknown:
        return replace(net, notes=(f"{first}; this and every other unknown field was ignored", *net.notes))
    reasons = {
        layer.name: (str(unknown[position]),)
        for position, layer in enumerate(_layers(message))
        if position in unknown
    }
    if None in unknown or "" in reasons:
        # No layer to blame, or one without a name, which the plan could not name.
        problem = f"{first.problem}; {WITHOUT_UNKNOWN}"
        raise UnknownField(first.path, first.line, first.column, problem, first.text)
    return replace(net, layers=tuple(replace(x, unknown=reasons.get(x.name, ())) for x in net.layers))


def _enclosed(stored: Caffemodel, weights: str, ignore_unknown: bool) -> Net:
    """The net that a caffemodel holds."""
    if not stored.has_net:
        raise ReadError(f"{weights}: an HDF5 file holds blobs but no net; give the net's --prototxt")
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    if stored.unknown:
        names = ", ".join(stored.unknown[:3]) + (", ..." if len(stored.unknown) > 3 else "")
        found = f"{weights}: has fields of a fork's schema, unknown to Caffe: {names}"
        if ignore_unknown:
            notes = (f"{found}; they were ignored",)
        elif upgrades.format_of(stored.message) == "current" and all(map(_LAYER.match, stored.unknown)):
            unknown = stored.unknown
        else:
            raise ReadError(f"{found}; give the net's --prototxt; {WITHOUT_UNKNOWN}")
    net = _upgraded(stored.message, stored.blobs, weights)
    layers = [_marked(layer, position, unknown, weights) for position, layer in enumerate(net.layers)]
    age, notes = _format(stored), notes + net.notes
    return replace(net, layers=tuple(layers), weights=weights, weights_format=age, notes=notes)


def _format(stored: Caffemodel) -> str:
    return upgrades.format_of(stored.message) if stored.has_net else "HDF5"


def _marked(layer: Layer, position: int, unknown: Sequence[str], weights: str) -> Layer:
    """The layer with its unknown fields; whether they matter shows when its net is planned."""
    place = f"layer {layer.name!r}." if layer.name else f"layer[{position}]."
    own = [path.removeprefix(place) for path in unknown if path.startswith(place)]
    reason = f"{weights} gives it fields of a fork's schema, {', '.join(own)}; give the net's --prototxt"
    return replace(layer, unknown=(reason,)) if own else layer


def _trained(net: Net, stored: Caffemodel, weights: str) -> Net:
    """The net with the blobs of the caffemodel's layers of the same names."""
    names = {layer.name for layer in net.layers}
    blobs: dict[str, list[tuple[Blob, ...]]] = defaultdict(list)
    # No upgrade changes a layer's name or blobs, so a fork's layers are no obstacle here.
    for layer in _layers(stored.message):
        if layer.blobs:
            own = tuple(stored.blobs[blob.index] for blob in layer.blobs)
            # Caffe would copy both into the first of the two, and leave the other at its filler.
            if layer.name in names and blobs[layer.name] and not _equal(own, blobs[layer.name][0]):
                raise WeightsError(
                    f"{weights}: two layers named {layer.name!r} have different blobs; Caffe matches by name"
                )
            blobs[layer.name].append(own)
    notes = tuple(
        f"layer {name!r} of {Path(weights).name} is not in the net; its blobs were left out"
        for name in blobs
        if name not in names
    )
    layers, age = [], _format(stored)
    for layer in net.layers:
        copies = blobs.get(layer.name, [()])
        layers.append(replace(layer, blobs=copies.pop(0) if len(copies) > 1 else copies[0]))
    return replace(net, layers=tuple(layers), weights=weights, weights_format=age, notes=net.notes + notes)


def _equal(blobs: Sequence[Blob], others: Sequence[Blob]) -> bool:
    """Whether the blobs of two layers are the same, bit for bit."""
    return len(blobs) == len(others) and all(
        a.shape == b.shape
        and a.has_data == b.has_data
        and (not a.has_data or a.read().tobytes() == b.read().tobytes())
        for a, b in zip(blobs, others, strict=True)
    )


def _aligning(layer: Layer) -> Layer:
    """A Crop without crop_param as the branch of CVPR 2015 reads it."""
    if layer.type != "Crop" or layer.fields.has("crop_param"):
        return layer
    return replace(layer, fields=layer.fields.replace(crop_param=Fields("CropParameter", {"align": True})))


def _layers(message: Any) -> Iterator[Any]:
    """The message with the name and blobs of each layer of a NetParameter of any age."""
    for layer in message.layers:
        yield layer.layer if layer.HasField("layer") else layer
    yield from message.layer


def _upgraded(message: Any, blobs: Sequence[Blob], source: str) -> Net:
    if missing := message.FindInitializationErrors():
        raise ReadError(f"{source}: {missing[0]} is required but missing")
    current, notes = upgrades.upgrade_net(message, source)
    net = replace(from_message(current, blobs, source), notes=notes)
    if message.input and not (message.input_shape or message.input_dim):
        # Caffe leaves them undefined, and no net runs; the weights give their channels.
        shapeless = Layer("input", "Input", (), tuple(message.input), Fields("LayerParameter", {}))
        net = replace(net, layers=(shapeless, *net.layers))
    return net
