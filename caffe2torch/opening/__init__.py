"""A model's file, whatever it is -> a Model.

    path ─ look ─→ File ─ open_model ─→ Model: the net, where it came from, and the Python that reads it

caffemodel of any age, .caffemodel.h5, prototxt    reading.py
safetensors of this package, a folder of the hub   safetensors.py
VGG-16 from torchvision or Keras                   weights/vgg16.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from caffe2torch.errors import ReadError
from caffe2torch.formats import formats
from caffe2torch.formats.hub import WEIGHTS
from caffe2torch.formats.safetensors import read_with_knowledge
from caffe2torch.net import Net
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.preprocessing import preprocessing
from caffe2torch.net.reading import read
from caffe2torch.untrusted.kinds import File, Kind, look
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.writing.beside import read_beside
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model, Origin

_FORMATS = {
    "": "prototxt",
    "V0": "caffemodel, V0 format (2013)",
    "V1": "caffemodel, V1 format (2014)",
    "current": "caffemodel, current format",
    "HDF5": "caffemodel in HDF5",
}
"""The format of one of Caffe's files in words, by Net.weights_format."""
_OF_OTHERS = (Kind.HDF5, Kind.SAFETENSORS, Kind.STATE_DICT)
"""Kinds of file in which torchvision and Keras keep VGG-16."""


def open_model(
    path: AnyPath,
    prototxt: AnyPath | None = None,
    *,
    ignore_unknown: bool = False,
    align_crops: bool = False,
    mean: Sequence[float] | None = None,
    trained_on: str | None = None,
) -> Model:
    """The net in a file or in a folder in the hub's form, with its blobs if it holds any.

    `prototxt` defines the net of one of Caffe's files; `ignore_unknown` and `align_crops` are for those
    (read); `mean` and `trained_on` are for VGG-16 from elsewhere
    (vgg16_from).
    Raises what `read`, `from_safetensors` and `vgg16_from` raise, and ReadError for a prototxt given with a
    file that defines its own net, and for a file that defines none.
    """
    file = look_at_model(path)
    if whose := vgg16_origin(file):
        return _vgg16(file, whose, prototxt, mean, trained_on)
    if (known := without_net(file)) is not None:
        what = "can only be run" if known.read is None else "holds values but no net"
        raise ReadError(f"{file}: is {known.name}, which {what}; give the model that it came from")
    if file.kind is Kind.STATE_DICT:
        from caffe2torch.untrusted.pickles import check_no_net  # needs torch

        check_no_net(file)
    if file.kind is Kind.SAFETENSORS:
        return _safetensors(file, prototxt)
    if file.kind is Kind.PROTOTXT and prototxt is not None:
        raise ReadError(f"{file}: is text, and so is --prototxt; FILE must hold the weights")
    files = (file, None) if file.kind is Kind.PROTOTXT else (prototxt, file)
    net = read(*files, ignore_unknown=ignore_unknown, align_crops=align_crops)
    given = {"ignore_unknown": ignore_unknown, "align_crops": align_crops}
    options = "".join(f", {name}=True" for name, value in given.items() if value)
    names = ", ".join(repr(None if name is None else str(name)) for name in files)
    origin = Origin(file, _FORMATS[net.weights_format], (f"net = c2t.read({names}{options})",))
    return replace(knowing(net, *files), origin=origin)


def knowing(net: Net, definition: AnyPath | None, weights: AnyPath | None) -> Model:
    """A net that was read from Caffe's files, with what its data layers and the files beside it say.

    Raises ReadError for a file beside one of these that does not belong to it.
    """
    prepared = preprocessing(net)
    labellings: dict[str, Labelling] = {}
    for file in (definition, weights):
        if file is not None and (known := read_beside(file)) is not None:
            prepared |= known.preprocessing
            labellings |= known.labellings
    return Model(net, preprocessing=prepared, labellings=labellings)


def look_at_model(path: AnyPath) -> File:
    """A model's file, looked at once; for a folder in the hub's form, the weights in it."""
    if isinstance(path, File):
        return path
    inside = Path(path, WEIGHTS)
    try:
        return look(inside if inside.is_file() else path)
    except OSError:  # an impossible path; reading it says why
        return look(path)


def vgg16_origin(file: File) -> str:
    """Who wrote the VGG-16 in a file; empty if it is Caffe's or not a VGG-16."""
    if file.kind not in _OF_OTHERS:
        return ""
    from caffe2torch.weights import vgg16  # Caffe's own files do not need it

    return vgg16.origin(file)


def defines_net(file: File) -> bool:
    """Whether a file defines its net: HDF5, state dicts and some formats hold only values, or only run."""
    if vgg16_origin(file):
        return True
    return file.kind not in (Kind.HDF5, Kind.STATE_DICT) and without_net(file) is None


def is_mean(file: File) -> bool:
    """Whether a file is a BlobProto; ONNX, known by its suffix, begins with the same byte."""
    return file.kind is Kind.MEAN and without_net(file) is None


def without_net(file: File) -> Format | None:
    """The format of a file that only runs, such as ONNX, or only holds values, by its suffix.

    Not of state dicts and HDF5, which are known by their first bytes.
    """
    without = (x for x in formats().values() if x.read is None or x.values is not None)
    return next((x for x in without if file.path.endswith(x.suffixes)), None)


def _vgg16(
    file: File, whose: str, prototxt: AnyPath | None, mean: Sequence[float] | None, trained_on: str | None
) -> Model:
    if prototxt is not None:
        raise ReadError(f"{file}: holds {whose}'s VGG-16, whose net is known; leave out --prototxt")
    from caffe2torch.weights.vgg16 import vgg16_from

    net = vgg16_from(file, mean, trained_on)
    more = "" if mean is None else f", mean={mean}"
    more += "" if trained_on is None else f", trained_on={trained_on!r}"
    origin = Origin(file, f"VGG-16 of {whose}", (f"net = c2t.vgg16_from({file.path!r}{more})",))
    return Model(net, preprocessing=preprocessing(net), origin=origin)


def _safetensors(file: File, prototxt: AnyPath | None) -> Model:
    if prototxt is not None:
        raise ReadError(f"{file}: holds its own net; --prototxt is for Caffe's files")
    net, known = read_with_knowledge(file)
    code = (f"net = c2t.read_safetensors({file.path!r})",)
    return Model(net, **vars(known), origin=Origin(file, "safetensors of this package", code))
