"""`c2t-caffe extract_features`: what a net computes, blob by blob, into databases of float Datums."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from caffe2torch import schema
from caffe2torch.command_line import UsageError
from caffe2torch.feeding.writing import BACKENDS, COMMIT, DatabaseWriter, new_database
from caffe2torch.pycaffe import mode
from caffe2torch.pycaffe.blob import Blob
from caffe2torch.pycaffe.logs import ERROR, log
from caffe2torch.pycaffe.net import Net

_USAGE = (
    "extract_features takes CAFFEMODEL PROTOTXT BLOB[,BLOB...] DATABASE[,DATABASE...] BATCHES "
    "lmdb|leveldb [CPU|GPU] [DEVICE_ID=0]"
)
_TEST = 1


def extract_features(argv: Sequence[str]) -> int:
    """Runs a net in phase TEST on its own data; each item of a blob becomes a record 0000000000, ..."""
    if not 6 <= len(argv) <= 8:
        raise UsageError(_USAGE)
    weights, definition, blobs, targets, batches, backend = argv[:6]
    names, places = blobs.split(","), targets.split(",")
    if len(names) != len(places) or backend not in BACKENDS or not batches.isdecimal():
        raise UsageError(f"{_USAGE}; as many databases as blobs")
    _choose_device(argv[6:])
    net = Net(definition, weights, _TEST)
    if unknown := [name for name in names if name not in net.blobs]:
        raise UsageError(f"unknown feature blob name {unknown[0]} in the network {definition}")
    counts = dict.fromkeys(names, 0)
    with ExitStack() as stack:
        writers = [stack.enter_context(new_database(place, backend)) for place in places]
        log("extract_features.cpp:138", "Extracting Features")
        for _ in range(int(batches)):
            net.forward()
            for name, writer in zip(names, writers, strict=True):
                counts[name] = _write(net.blobs[name], name, writer, counts[name])
    for name, count in counts.items():
        if count % COMMIT:
            log("extract_features.cpp:189", _extracted(count, name), ERROR)
    log("extract_features.cpp:194", "Successfully extracted the features!", ERROR)
    return 0


def _choose_device(words: Sequence[str]) -> None:
    if words[:1] == ["GPU"]:
        device = words[1].removeprefix("DEVICE_ID=") if len(words) > 1 else "0"
        if not device.isdecimal():
            raise UsageError(_USAGE)
        log("extract_features.cpp:55", "Using GPU", ERROR)
        mode.set_device(int(device))
        mode.set_mode_gpu()
    else:
        log("extract_features.cpp:68", "Using CPU", ERROR)
        mode.set_mode_cpu()


def _write(blob: Blob, name: str, writer: DatabaseWriter, count: int) -> int:
    """Adds the items of a blob after `count` others; returns how many there are now."""
    shape = {"channels": blob.channels, "height": blob.height, "width": blob.width}
    for item in blob.data.reshape(blob.num, -1):
        datum = schema.message("Datum")(**shape, float_data=item)
        writer.put(b"%010d" % count, datum.SerializeToString())
        count += 1
        if count % COMMIT == 0:
            log("extract_features.cpp:178", _extracted(count, name), ERROR)
    return count


def _extracted(count: int, name: str) -> str:
    return f"Extracted features of {count} query images for feature blob {name}"
