"""The papers' nets by name, without weights."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2torch.errors import NetError
from caffe2torch.net import Net, from_message
from caffe2torch.schema import Message
from caffe2torch.zoo import fcn, googlenet
from caffe2torch.zoo.fcn import COLOR_HHA, Architecture, Head, Stream

DEFINED = (*fcn.NAMES, "FCNGoogLeNet", "FCNGoogLeNetPooled")
"""The names that `define` takes."""


def define(name: str, classes: int = 21, size: Sequence[int] = (500, 500)) -> Net:
    """A net of the FCN papers by name, with one head of `classes`, for images of `size` (height, width).

    `name` is that of a module, such as FCN8s, or FCNGoogLeNet, or FCNGoogLeNetPooled, which keeps GoogLeNet's
    average pool. Raises NetError for any other.
    """
    if name not in DEFINED:
        raise NetError(f"no net is called {name!r}; known are {', '.join(DEFINED)}")
    return from_message(_message(name, classes, size), read_from=name)


def _message(name: str, classes: int, size: Sequence[int]) -> Message:
    if name.startswith("FCNGoogLeNet"):
        return googlenet.message(classes, size, average_pool=name.endswith("Pooled"))
    streams = COLOR_HHA if name == "FCN32sLateFusion" else (Stream(),)
    return fcn.message(Architecture(name, (Head("", classes),), streams), size)
