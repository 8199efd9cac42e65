"""Data layers from text, and databases of a few records; Datums by a protobuf that knows nothing of ours."""

import lmdb
import pytest

from caffe2torch.feeding.source import source_of
from caffe2torch.net.reading import read
from tests.plain_protobuf import message


def layer(folder, text):
    path = folder / "layer.prototxt"
    path.write_text(f"layer {{ name: 'd' {text} }}")
    return read(path).layers[0]


def source(folder, text, phase="TEST", seed=1):
    """The source of a layer with the tops `data` and `label`."""
    return source_of(layer(folder, f"top: 'data' top: 'label' {text}"), phase, seed)


def datum(image, label=0, **more):
    """A serialized Datum of an array (C, H, W), uint8."""
    channels, height, width = image.shape
    fields = {"channels": channels, "height": height, "width": width, "data": image.tobytes(), "label": label}
    return message("Datum")(**fields | more).SerializeToString()


def write_lmdb(path, values):
    with lmdb.open(str(path), map_size=1 << 22) as env, env.begin(write=True) as transaction:
        for i, value in enumerate(values):
            transaction.put(b"%08d" % i, value)
    return path


def write_leveldb(path, values):
    database = pytest.importorskip("plyvel").DB(str(path), create_if_missing=True)
    for i, value in enumerate(values):
        database.put(b"%08d" % i, value)
    database.close()
    return path
