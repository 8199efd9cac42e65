"""Sizes for the inputs of a net that runs at any: a net of Caffe's cannot be loaded without.

Net + what is known of its inputs --sized--> Net that Caffe loads
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from caffe2torch.errors import NetError
from caffe2torch.net import Fields, Layer, Net
from caffe2torch.plan import plan
from caffe2torch.registry import Shape

SIZE = (500, 500)
"""Height and width in the zoo's deploy nets; they are reshaped to each image (fcn.berkeleyvision.org)."""


def sized(net: Net, inputs: Mapping[str, Shape | None]) -> Net:
    """The net with one image of `SIZE` where an Input leaves batch, height or width open.

    `inputs` are the shapes as a Plan has them, with the channels that the weights tell. A net that does not
    run at that size, or with an input that is no image, is returned as it is: only its owner knows a size.
    """
    layers = tuple(_sized(layer, inputs) for layer in net.layers)
    if layers == net.layers:
        return net
    whole = replace(net, layers=layers)
    try:
        plan(whole, allow_missing=True)
    except NetError:
        return net
    return whole


def _sized(layer: Layer, inputs: Mapping[str, Shape | None]) -> Layer:
    if layer.type != "Input":
        return layer
    shapes = [_shape(inputs.get(top)) for top in layer.tops]
    dims = tuple(Fields("BlobShape", {"dim": shape}) for shape in shapes if shape is not None)
    if len(dims) < len(shapes):
        return layer
    return replace(layer, fields=layer.fields.replace(input_param=Fields("InputParameter", {"shape": dims})))


def _shape(known: Shape | None) -> tuple[int, ...] | None:
    """The shape with what is open filled in; None for what is no image of known channels."""
    if known is not None and None in known and len(known) == 4 and known[1] is not None:
        known = tuple(given or default for given, default in zip(known, (1, 1, *SIZE), strict=True))
    return None if known is None or None in known else tuple(size or 0 for size in known)
