"""Net -> caffemodel.h5: Caffe's snapshot in HDF5, `data/<layer>/<i>`, which holds blobs but no definition.

Caffe reads it together with a prototxt, like a caffemodel (net.cpp, ToHDF5, CopyTrainedLayersFromHDF5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.blob import ABSENT, Blob
from caffe2torch.errors import WriteError
from caffe2torch.formats.caffemodel import whole
from caffe2torch.net import Layer, Net
from caffe2torch.net.sharing import stored_once, with_shared
from caffe2torch.untrusted.binary import read_caffemodel
from caffe2torch.writing.beside import source_beside, write_beside
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output, checked, patiently

if TYPE_CHECKING:
    from h5py import Group


def read_back(path: Path, model: Model) -> Net:
    """The model's net with the blobs of a file, matched by layer name."""
    stored, net = read_caffemodel(path), model.caffe_net
    blobs = {x.name: tuple(stored.blobs[blob.index] for blob in x.blobs) for x in stored.message.layer}
    layers = tuple(replace(x, blobs=blobs.get(x.name, ())) for x in net.layers)
    return with_shared(replace(net, layers=layers), str(path))


def held(model: Model) -> Net:
    """The net with all of its layers, as a file gives it back: copies of a shared blob are the last one."""
    net = whole(model)
    layers = tuple(
        replace(layer, blobs=tuple(own.get(position, ABSENT) for position in range(len(layer.blobs))))
        for layer, own in zip(net.layers, stored_once(net.layers), strict=True)
    )
    return with_shared(replace(net, layers=layers), net.weights)


def write_caffemodel_h5(model: Model, output: Output, dtype: str = "float32") -> None:
    """A group for each layer, with its blobs as float32 arrays; a shared one once, as in Caffe.

    Raises WriteError if two layers with blobs have the same name, or if HDF5 cannot use a layer's name.
    """
    import h5py  # loads slowly, and few files need it

    layers = [layer for layer in model.caffe_net.layers if layer.blobs]
    _check_names(layers)
    with patiently(output.file) as target, h5py.File(target, "w") as file:
        data = file.create_group("data")
        for layer, blobs in zip(layers, stored_once(layers), strict=True):
            write_group(data.create_group(layer.name), layer.name, blobs)
    write_beside(model, output)


def _check_names(layers: Sequence[Layer]) -> None:
    """Caffe finds blobs by layer name, as HDF5 understands it: a name with a slash is a path."""
    counts = Counter(layer.name for layer in layers)
    for name, count in counts.items():
        if count > 1 or "/" in name or name in ("", "."):
            problem = "two layers have this name" if count > 1 else "HDF5 does not take this name"
            raise WriteError(f"layer {name!r}: {problem}; write a caffemodel")


def write_group(group: Group, name: str, blobs: Mapping[int, Blob]) -> None:
    """The blobs of a layer, by position, into its group."""
    for position, blob in blobs.items():
        dataset = group.create_dataset(str(position), blob.shape, "<f4")
        if blob.values is not None and blob.count:
            values = checked(blob.values(), "float32", f"layer '{name}' blob {position}")
            dataset.write_direct(values.reshape(blob.shape))


FORMAT = Format(
    "caffemodel.h5",
    (".caffemodel.h5",),
    write_caffemodel_h5,
    read=read_back,
    source=source_beside,
    holds=held,
    needs_values=False,
    code=(
        "import caffe2torch as c2t",
        "net = c2t.read(PROTOTXT, {path!r})  # see --format prototxt",
    ),
)
