"""The papers' nets by name, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe2torch.errors import NetError
from caffe2torch.net import Net, from_message
from caffe2torch.zoo import fcn, googlenet
from caffe2torch.zoo.fcn import CAFFENET, COLOR_HHA, NAMES, VGG16, Architecture, Head, Stream

DEFINED = (*NAMES, "FCNGoogLeNet", "FCNGoogLeNetPooled")
"""The names of the nets."""


def define(name: str, classes: int = 21, size: Sequence[int] = (500, 500)) -> Net:
    """The net of the FCN papers called `name`, one head of `classes`, for images of `size` (height, width).

    Names are those of the classes in `fcn.py`, and FCNGoogLeNet, of which FCNGoogLeNetPooled keeps the
    average pool. Raises NetError for any other.
    """
    if name not in DEFINED:
        raise NetError(f"no net is called {name!r}; known are {', '.join(DEFINED)}")
    return from_message(_message(name, classes, size), source=name)


def _message(name: str, classes: int, size: Sequence[int]) -> Any:
    if name.startswith("FCNGoogLeNet"):
        return googlenet.definition(classes, size, average_pool=name.endswith("Pooled"))
    widths = CAFFENET if name == "FCNAlexNet" else VGG16
    streams = COLOR_HHA if name == "FCN32sLateFusion" else (Stream(),)
    return fcn.definition(Architecture(name, (Head("", classes),), streams, widths), size)
