"""A model's file, told by its content -> the net in it, and the Python that reads it.

caffemodel of any age, .caffemodel.h5, prototxt    read
safetensors of this package, a folder of the hub   export/safetensors.py
VGG-16 as torchvision or Keras has it              vgg16.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe2torch.errors import ReadError
from caffe2torch.formats import Format, formats
from caffe2torch.formats.hub import WEIGHTS
from caffe2torch.formats.reading import read
from caffe2torch.formats.safetensors import read_preprocessing, read_safetensors
from caffe2torch.net import Net
from caffe2torch.net.preprocessing import Preprocessing, preprocessing
from caffe2torch.untrusted.binary import read_caffemodel
from caffe2torch.untrusted.mapped import HDF5, AnyPath, is_text, mapped
from caffe2torch.untrusted.safetensors import is_safetensors
from caffe2torch.upgrades import format_of

_AGES = {"V0": "V0 format (2013)", "V1": "V1 format (2014)", "current": "current format"}
_TORCH = (b"PK\x03\x04", b"\x80\x02")
"""How PyTorch's files begin: zips, and pickles."""


@dataclass(frozen=True)
class ModelFile:
    """A net as it was read."""

    file: str
    format: str
    net: Net
    preprocessing: Mapping[str, Preprocessing]
    code: tuple[str, ...]
    """Lines of Python that make a `net` of it."""


def open_model(
    path: str,
    prototxt: str | None = None,
    *,
    ignore_unknown: bool = False,
    mean: Sequence[float] | None = None,
) -> ModelFile:
    """The net in a file, with its blobs if it holds any.

    `prototxt` defines the net of a file of Caffe's; `mean` is for VGG-16 from elsewhere (vgg16_from).
    Raises what `read`, `read_safetensors` and `vgg16_from` raise, and ReadError for a prototxt beside a file
    that defines its own net, and for a file that defines none.
    """
    if whose := vgg16_origin(path):
        return _vgg16(path, whose, prototxt, mean)
    if (known := that_only_runs(path)) is not None:
        raise ReadError(f"{path}: is {known.name}, which only runs; give the model that it came from")
    if is_state_dict(path):
        raise ReadError(f"{path}: a state dict holds values and no net; export the module that loads it")
    start = mapped(path, {})
    if is_safetensors(start[:9], len(start)):
        return _safetensors(path, prototxt)
    is_prototxt = is_text(start) and not path.endswith((".caffemodel", ".h5"))
    if is_prototxt and prototxt is not None:
        raise ReadError(f"{path}: is text, and so is --prototxt; FILE must hold the weights")
    files = (path, None) if is_prototxt else (prototxt, path)
    net = read(*files, ignore_unknown=ignore_unknown)
    ignore = ", ignore_unknown=True" if ignore_unknown else ""
    code = f"net = c2t.read({files[0]!r}, {files[1]!r}{ignore})"
    kind = "prototxt" if is_prototxt else _caffemodel_format(path)
    return ModelFile(path, kind, net, preprocessing(net), (code,))


def weights_in(path: str) -> str:
    """The file to read: the weights in a folder of the hub's form, or else the path itself."""
    inside = Path(path, WEIGHTS)
    try:
        return str(inside) if inside.is_file() else path
    except OSError:  # a path that cannot be, of which reading it tells
        return path


def vgg16_origin(path: AnyPath) -> str:
    """Who wrote the VGG-16 in a file; empty when it is Caffe's or none."""
    start = mapped(path, {})
    if not is_safetensors(start[:9], len(start)) and not start[: len(HDF5)].startswith((HDF5, *_TORCH)):
        return ""
    from caffe2torch.weights import vgg16  # a caffemodel does without

    return vgg16.origin(path)


def is_mean(path: str) -> bool:
    """Whether a file begins as a BlobProto does: with `num`, `data` or `shape`."""
    start = mapped(path, {})
    # A safetensors file begins with a length, which may have the same first byte; ONNX with a version.
    return (
        start[:1] in (b"\x08", b"\x2a", b"\x3a")
        and not is_safetensors(start[:9], len(start))
        and that_only_runs(path) is None
    )


def defines_net(path: str) -> bool:
    """Whether a file tells its net: Caffe's HDF5 and state dicts hold values alone, some formats only run."""
    if vgg16_origin(path):
        return True
    return not is_hdf5(path) and not is_state_dict(path) and that_only_runs(path) is None


def is_hdf5(path: AnyPath) -> bool:
    """Whether a file is HDF5, as Caffe's snapshots are that hold blobs and no net."""
    return mapped(path, {})[: len(HDF5)] == HDF5


def is_state_dict(path: AnyPath) -> bool:
    """Whether torch.save wrote a file."""
    if not mapped(path, {})[:4].startswith(_TORCH):
        return False
    from caffe2torch.untrusted.pickles import is_pth  # a caffemodel does without

    return is_pth(path)


def that_only_runs(path: str) -> Format | None:
    """The format of a file that only runs, such as ONNX, as its suffix tells."""
    return next((x for x in formats().values() if x.read is None and path.endswith(x.suffixes)), None)


def _vgg16(path: str, whose: str, prototxt: str | None, mean: Sequence[float] | None) -> ModelFile:
    if prototxt is not None:
        raise ReadError(f"{path}: holds {whose}'s VGG-16, whose net is known; leave out --prototxt")
    from caffe2torch.weights.vgg16 import vgg16_from

    net = vgg16_from(path, mean)
    more = "" if mean is None else f", mean={mean}"
    code = f"net = c2t.vgg16_from({path!r}{more})"
    return ModelFile(path, f"VGG-16 of {whose}", net, preprocessing(net), (code,))


def _safetensors(path: str, prototxt: str | None) -> ModelFile:
    if prototxt is not None:
        raise ReadError(f"{path}: holds its own net; --prototxt is for Caffe's files")
    code = (
        "from caffe2torch.formats.safetensors import read_safetensors",
        f"net = read_safetensors({path!r})",
    )
    net, known = read_safetensors(path), read_preprocessing(path)
    return ModelFile(path, "safetensors of this package", net, known, code)


def _caffemodel_format(path: str) -> str:
    if is_hdf5(path):
        return "caffemodel in HDF5"
    return f"caffemodel, {_AGES[format_of(read_caffemodel(path).message)]}"
