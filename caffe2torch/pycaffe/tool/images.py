"""`c2t-caffe convert_imageset` and `compute_image_mean`: databases of images, and their mean."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import numpy as np
from PIL import Image

from caffe2torch import schema
from caffe2torch.blob import Array
from caffe2torch.command_line import UsageError
from caffe2torch.errors import Caffe2TorchError, NetError, ReadError
from caffe2torch.feeding.image_data import read_lines
from caffe2torch.feeding.resize import resize
from caffe2torch.feeding.writing import BACKENDS, COMMIT, new_database
from caffe2torch.pycaffe.logs import ERROR, log
from caffe2torch.pycaffe.tool.flags import Flag, Value, parse
from caffe2torch.untrusted.databases import open_database
from caffe2torch.untrusted.datums import read_datum
from caffe2torch.untrusted.pixels import read_bgr
from caffe2torch.writing.output import create

_BACKEND = Flag("lmdb", "the kind of the database: lmdb or leveldb")
_CONVERT: Mapping[str, Flag] = {
    "gray": Flag(False, "treat images as grey ones"),
    "shuffle": Flag(False, "shuffle the images and their labels, the same way each time"),
    "backend": _BACKEND,
    "resize_width": Flag(0, "width that images are resized to"),
    "resize_height": Flag(0, "height that images are resized to"),
    "check_size": Flag(False, "check that all images have the same size"),
    "encoded": Flag(False, "store encoded images"),
    "encode_type": Flag("", "what to encode as, png or jpg; by default each as its file's suffix says"),
}
_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "bmp": "BMP", "tif": "TIFF", "tiff": "TIFF"}


def convert_imageset(argv: Sequence[str]) -> int:
    """Images of a list into a database; those that cannot be read are left out, with a line in the log."""
    flags, words = parse(argv, _CONVERT)
    if len(words) != 3:
        raise UsageError("convert_imageset takes [FLAGS] ROOTFOLDER/ LISTFILE DB_NAME")
    if flags["encode_type"] and flags["encode_type"] not in _FORMATS:
        raise UsageError(f"--encode_type is {flags['encode_type']!r}; it can be {', '.join(_FORMATS)}")
    root, source, target = words
    lines = read_lines(source)
    if flags["shuffle"]:
        log("convert_imageset.cpp:77", "Shuffling data")
        order = np.random.default_rng(1).permutation(len(lines))
        lines = [lines[i] for i in order]
    log("convert_imageset.cpp:80", f"A total of {len(lines)} images.")
    count, size = 0, None
    with new_database(target, _backend(flags)) as database:
        for number, (name, label) in enumerate(lines):
            try:
                image = _image(root + name, flags)
                datum = _datum(root + name, image, flags)
            except Caffe2TorchError as error:
                log("io.cpp:81", str(error), ERROR)
                continue
            size = size or image.shape
            if flags["check_size"] and image.shape != size:
                raise NetError(f"{root + name}: is {image.shape}, the first image {size} (C, H, W)")
            datum.label = label
            database.put(f"{number:08d}_{name}".encode("utf-8", "surrogateescape"), datum.SerializeToString())
            count += 1
            if count % COMMIT == 0:
                log("convert_imageset.cpp:145", f"Processed {count} files.")
    if count % COMMIT:
        log("convert_imageset.cpp:151", f"Processed {count} files.")
    return 0


def _backend(flags: Mapping[str, Value]) -> str:
    if flags["backend"] not in BACKENDS:
        raise UsageError(f"--backend is {flags['backend']!r}; it can be {' or '.join(BACKENDS)}")
    return str(flags["backend"])


def _image(path: str, flags: Mapping[str, Value]) -> Array:
    image = read_bgr(path, not flags["gray"])
    height, width = int(flags["resize_height"]), int(flags["resize_width"])
    return resize(image, height, width) if height > 0 and width > 0 else image


def _datum(path: str, image: Array, flags: Mapping[str, Value]) -> schema.Message:
    """The Datum of an image that was read from `path`, without its label."""
    kind = schema.message("Datum")
    channels, height, width = image.shape
    suffix = PurePath(path).suffix.lower().removeprefix(".")
    if not (flags["encoded"] or flags["encode_type"]):
        shape = {"channels": channels, "height": height, "width": width}
        return kind(**shape, data=image.tobytes(), encoded=False)
    encoding = str(flags["encode_type"] or suffix)
    if encoding not in _FORMATS:
        raise ReadError(f"{path}: no encoding is named {encoding!r}; give --encode_type, png or jpg")
    as_stored = not (flags["gray"] or flags["resize_height"] or flags["resize_width"])
    if as_stored and _FORMATS.get(suffix) == _FORMATS[encoding] and channels == 3:
        with open(path, "rb") as file:  # noqa: PTH123 (a list's names may be bytes)
            return kind(data=file.read(), encoded=True)
    buffer, pixels = io.BytesIO(), image.transpose(1, 2, 0)[:, :, ::-1]
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(
        buffer, _FORMATS[encoding], **({"quality": 95} if _FORMATS[encoding] == "JPEG" else {})
    )
    return kind(data=buffer.getvalue(), encoded=True)


def compute_image_mean(argv: Sequence[str]) -> int:
    """The mean image of a database, as a binaryproto, and the mean of each channel in the log."""
    flags, words = parse(argv, {"backend": _BACKEND})
    if len(words) not in (1, 2):
        raise UsageError("compute_image_mean takes [FLAGS] INPUT_DB [OUTPUT_FILE]")
    source, *target = words
    total, count = np.zeros(0, np.float32), 0
    log("compute_image_mean.cpp:71", "Starting iteration")
    for number, record in enumerate(open_database(source, _backend(flags).upper()).values()):
        image, _ = read_datum(record, f"{source}: record {number}")
        if count and image.shape != total.shape:
            raise ReadError(f"{source}: record {number} is {image.shape}, the first {total.shape} (C, H, W)")
        total = image.astype(np.float32) if count == 0 else total + image  # in float32, as Caffe adds
        count += 1
        if count % 10_000 == 0:
            log("compute_image_mean.cpp:95", f"Processed {count} files.")
    if not count:
        raise ReadError(f"{source}: has no records")
    if count % 10_000:
        log("compute_image_mean.cpp:100", f"Processed {count} files.")
    mean = total / np.float32(count)
    if target:
        log("compute_image_mean.cpp:108", f"Write to {target[0]}")
        shape = dict(zip(("num", "channels", "height", "width"), (1, *mean.shape), strict=True))
        with create(target[0]) as output:
            output.write(schema.message("BlobProto")(**shape, data=mean.ravel()).SerializeToString())
    log("compute_image_mean.cpp:114", f"Number of channels: {len(mean)}")
    for channel, values in enumerate(mean):
        log("compute_image_mean.cpp:119", f"mean_value channel [{channel}]: {values.mean():g}")
    return 0
