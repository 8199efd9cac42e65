"""What an ONNX file says of itself: its producer and its metadata. The graph is stepped over, not read."""

from __future__ import annotations

from caffe2torch.errors import ReadError
from caffe2torch.untrusted.mapped import AnyPath, Buffer, located, mapped
from caffe2torch.untrusted.wire import LENGTH, Field, fields

_OWN = _PRODUCER, _METADATA = 2, 14
"""Numbers of ModelProto's fields `producer_name` and `metadata_props` (onnx.proto)."""
_KEY, _VALUE = 1, 2
"""Those of StringStringEntryProto."""
MAX_BYTES = 1 << 24
"""Of an entry that is read."""


def read_metadata(path: AnyPath, producer: str) -> dict[str, str]:
    """The metadata of an ONNX file; {} if another `producer` wrote it.

    Raises ReadError for a file that is damaged.
    """
    with located(path):
        buffer = mapped(path, {})
        own = [field for field in fields(buffer) if field.number in (_PRODUCER, _METADATA)]
        contents = {number: [_content(buffer, x) for x in own if x.number == number] for number in _OWN}
        return dict(map(_entry, contents[_METADATA])) if contents[_PRODUCER] == [producer.encode()] else {}


def _entry(entry: bytes) -> tuple[str, str]:
    texts = {field.number: _content(entry, field).decode(errors="replace") for field in fields(entry)}
    return texts.get(_KEY, ""), texts.get(_VALUE, "")


def _content(buffer: Buffer, field: Field) -> bytes:
    if field.wire != LENGTH or field.end - field.payload > MAX_BYTES:
        raise ReadError(f"byte {field.start}: is no text of at most {MAX_BYTES} bytes")
    return buffer[field.payload : field.end]
