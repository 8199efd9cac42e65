"""Input shapes for nets that run at any size: Caffe does not load an Input without one.

    Plan ─ sized ─→ its Net, every Input with a shape

The shape is only a start; users of Caffe reshape the input to each image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from caffe2torch.errors import NetError, WeightsError
from caffe2torch.layers.converter import Shape
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.plan import Plan, plan
from caffe2torch.zoo.recognition import recognize

SIZE = (500, 500)
"""Height and width in the zoo's deploy nets (fcn.berkeleyvision.org)."""


def sized(planned: Plan) -> Net:
    """The net of a plan, with `SIZE` for every image whose height and width are open, and a batch of one.

    A net that does not run at that size, or has an open input that is not an image, is returned unchanged:
    only its owner knows the size.
    """
    net, shapes = planned.net, known_shapes(planned)
    whole = replace(net, layers=tuple(_sized(layer, shapes) for layer in net.layers))
    if whole == net or recognize(planned) is not None:  # the papers' nets run at any size
        return whole
    try:
        plan(whole, allow_missing=True)
    except (NetError, WeightsError):
        return net
    return whole


def known_shapes(planned: Plan) -> dict[str, Shape | None]:
    """The inputs' shapes.

    Early fusion's weights determine only the sum of its inputs' channels; its architecture, those of each.
    """
    shapes = dict(planned.inputs)
    if None in shapes.values():
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
    """The shape with its open axes filled in; None if open in anything but an image of known channels."""
    if known is not None and None in known and len(known) == 4 and known[1] is not None:
        known = tuple(given or default for given, default in zip(known, (1, 1, *SIZE), strict=True))
    return None if known is None or None in known else tuple(size or 0 for size in known)
