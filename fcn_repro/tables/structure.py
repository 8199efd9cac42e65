"""What Table 1 says about the nets themselves, computed from their definitions, without torch."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import caffe2torch as c2t
from caffe2torch.errors import NetError

if TYPE_CHECKING:
    from caffe2torch.plan.table import Table

COUNTED = (
    "Layers: convolutions on the longest path. Parameters: all convolutions' weights and biases, without the "
    "deconvolution's. Field and stride: of the scores before the deconvolution."
)
"""How the numbers are counted."""

_WITH_CLASSIFIER_WINDOW = {"FCNGoogLeNet": "FCNGoogLeNetPooled"}
# 907 is what GoogLeNet sees through its 7x7 average pool, the counterpart of the others' fc6, although the
# papers' FCN drops that pool: without it the net sees 715.


class Structure(NamedTuple):
    """Layers by depth, parameters, and receptive field and maximum stride in pixels."""

    layers: int
    parameters: int
    receptive_field: float
    stride: float


@cache
def structure(net: str) -> Structure:
    """The structure of a net that `c2t.define` knows by name. Raises NetError for others."""
    table = _table(net)
    field, stride = _field_and_stride(_WITH_CLASSIFIER_WINDOW.get(net, net))
    convolutions = [row for row in table.rows if row.type == "Convolution"]
    depth: dict[str, int] = {}
    for row in table.rows:
        below = max((depth[bottom] for bottom in row.bottoms), default=0)
        depth |= dict.fromkeys(row.tops, below + (row.type == "Convolution"))
    parameters = sum(row.parameters or 0 for row in convolutions)
    return Structure(max(depth.values()), parameters, field, stride)


def about(net: str, what: str) -> str:
    """What to know about one of the numbers; "" for most."""
    if what == "parameters":
        return f"exactly {structure(net).parameters:,} parameters"
    if what == "receptive_field" and net in _WITH_CLASSIFIER_WINDOW:
        without, _ = _field_and_stride(net)
        return f"with the classifier's 7 x 7 average pool; the FCN, which drops it, sees {without} pixels"
    return ""


def _field_and_stride(net: str) -> tuple[float, float]:
    """Of the coarsest layer, in pixels; its window is as high as it is wide."""
    row = _table(net).coarsest
    if row is None or not row.receptive_field or not row.stride:
        raise NetError(f"{net}: no layer has a receptive field and a stride")
    return row.receptive_field[0], row.stride[0]


@cache
def _table(net: str) -> Table:
    return c2t.table_of(c2t.define(net))
