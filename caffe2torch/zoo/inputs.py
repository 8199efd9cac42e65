"""Sizes for the inputs of a net that runs at any: Caffe loads none without.

    Plan --sized--> the Net that it is of, every Input with a shape

The shape is where Caffe starts; pycaffe, and Caffe's users, reshape it to each image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from caffe2torch.errors import NetError, WeightsError
from caffe2torch.layers.registry import Shape
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.plan import Plan, plan

SIZE = (500, 500)
"""Height and width in the zoo's deploy nets, which are reshaped to each image (fcn.berkeleyvision.org)."""


def sized(planned: Plan) -> Net:
    """The net of a plan, with one image of `SIZE` where an Input leaves batch, height or width open.

    A net that does not run at that size, or has an input that is no image, is returned as it is: its owner
    alone knows a size.
    """
    net, shapes = planned.net, known_shapes(planned)
    whole = replace(net, layers=tuple(_sized(layer, shapes) for layer in net.layers))
    if whole == net:
        return net
    try:
        plan(whole, allow_missing=True)
    except (NetError, WeightsError):
        return net
    return whole


def known_shapes(planned: Plan) -> dict[str, Shape | None]:
    """The inputs' shapes. Early fusion's weights tell the sum of its channels; its architecture, each."""
    shapes = dict(planned.inputs)
    if None in shapes.values():
        from caffe2torch.zoo.recognition import recognize  # plans the zoo's nets, which takes a while

        architecture = recognize(planned)
        for stream in architecture.streams if architecture else ():
            shapes |= {blob: shapes[blob] or (None, size, None, None) for blob, size in stream.inputs}
    return shapes


def _sized(layer: Layer, inputs: Mapping[str, Shape | None]) -> Layer:
    if layer.type != "Input":
        return layer
    shapes = [_shape(inputs[top]) for top in layer.tops]
    dims = tuple(Fields("BlobShape", {"dim": shape}) for shape in shapes if shape is not None)
    if len(dims) < len(shapes):
        return layer
    return replace(layer, fields=layer.fields.replace(input_param=Fields("InputParameter", {"shape": dims})))


def _shape(known: Shape | None) -> tuple[int, ...] | None:
    """The shape with what is open filled in; None for what is no image of known channels."""
    if known is not None and None in known and len(known) == 4 and known[1] is not None:
        known = tuple(given or default for given, default in zip(known, (1, 1, *SIZE), strict=True))
    return None if known is None or None in known else tuple(size or 0 for size in known)
