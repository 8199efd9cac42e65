"""Datums, the records of Caffe's databases -> images and labels."""

from __future__ import annotations

import math

import numpy as np
from google.protobuf.message import DecodeError

from caffe2torch import schema
from caffe2torch.blob import Array
from caffe2torch.errors import ReadError
from caffe2torch.untrusted.pixels import decode_bgr


def read_datum(record: bytes, where: str, color: bool | None = None) -> tuple[Array, int]:
    """The image (C, H, W) of a serialized Datum, uint8 or float32, and its label.

    An encoded image is BGR or grey: as `color` says, None for its own. Raises ReadError, which calls the
    record `where`, for one that is no Datum, or whose values do not fill its shape.
    """
    try:
        datum = schema.message("Datum").FromString(record)
    except DecodeError:
        raise ReadError(f"{where}: is no Datum") from None
    if datum.encoded:
        return decode_bgr(datum.data, where, color), datum.label
    shape = (datum.channels, datum.height, datum.width)
    values: Array = (
        np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    )
    if min(shape) < 1 or math.prod(shape) != values.size:
        raise ReadError(f"{where}: a Datum with {values.size} values for its shape {shape}")
    return values.reshape(shape), datum.label
