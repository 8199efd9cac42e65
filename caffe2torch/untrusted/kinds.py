"""What a file is, judged by its first bytes and never only by its name.

    path ─ look ─→ File: mapped once, with its kind

A File can be given wherever a path can. Readers then use its mapping instead of mapping the file again.
"""

from __future__ import annotations

from enum import Enum

from caffe2torch.untrusted.mapped import HDF5, AnyPath, MappedFile, is_text, mapped

_TORCH = (b"PK\x03\x04", b"\x80\x02")
"""How torch.save's files begin: zips, and pickles before PyTorch 1.6."""
_BLOB = (b"\x08", b"\x10", b"\x2a", b"\x3a")
"""The tags of `num`, `channels`, `data` and `shape`, one of which comes first in a BlobProto."""


class Kind(Enum):
    """What a file holds, as far as its first bytes show."""

    CAFFEMODEL = "a binary caffemodel, or nothing we know"
    HDF5 = "HDF5: Caffe's blobs without a net, or Keras' weights"
    MEAN = "a BlobProto, such as a mean image"
    PROTOTXT = "text"
    SAFETENSORS = "safetensors"
    STATE_DICT = "what torch.save wrote"


class File(MappedFile):
    """A mapped file whose Kind is known."""

    def __init__(self, path: AnyPath) -> None:
        super().__init__(str(path), mapped(path, {}))
        self.kind = _kind(self)


def look(path: AnyPath) -> File:
    """The file at `path`, mapped; a File is returned as it is.

    Raises MissingData if there is no such file, ReadError for one that cannot be read.
    """
    return path if isinstance(path, File) else File(path)


def _kind(file: MappedFile) -> Kind:
    start = file.buffer[: len(HDF5) + 1]
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= len(file.buffer) - 8:
        return Kind.SAFETENSORS
    if start.startswith(HDF5):
        return Kind.HDF5
    if start.startswith(_TORCH):
        from caffe2torch.untrusted.pickles import is_pth  # Caffe's own files do not need it

        if is_pth(file):
            return Kind.STATE_DICT
    if start.startswith(_BLOB):
        return Kind.MEAN
    # Text named like a caffemodel is a mistake; reading it says so.
    if is_text(file.buffer) and not file.path.endswith((".caffemodel", ".h5")):
        return Kind.PROTOTXT
    return Kind.CAFFEMODEL
