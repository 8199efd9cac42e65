"""Files from strangers, memory-mapped, and what is often mistaken for Caffe's."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import MissingData, ReadError

AnyPath = str | PathLike[str]
Buffer = bytes | mmap.mmap
HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE = "a Python pickle, perhaps PyTorch's, which is not opened; give the Caffe file"
_PAGE = "a web page, not the file itself; download that (GitHub calls it raw)"
MISTAKEN = {
    **{bytes((0x80, protocol)): _PICKLE for protocol in range(2, 6)},
    b"version https://git-lfs": "a git-LFS pointer, not the file itself; fetch it with `git lfs pull`",
    b"\x00\x05\x16\x07": "AppleDouble metadata, which macOS keeps next to a file; give the file itself",
    b"PK\x03\x04": "a zip archive, perhaps PyTorch's; unpack it or give the Caffe file",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"\x93NUMPY": "a NumPy array; give the Caffe file",
    **dict.fromkeys((b"<!", b"<html", b"<HTML"), _PAGE),
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
}
"""What files that are often mistaken for Caffe's start with, and what to do about them."""
_TEXT = b"\t\n\f\r" + bytes(range(0x20, 0x100))


class MappedFile(PathLike[str]):
    """A path whose file is already mapped: `mapped` returns its buffer."""

    def __init__(self, path: str, buffer: mmap.mmap) -> None:
        self.path, self.buffer = path, buffer

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


@contextmanager
def located(path: AnyPath) -> Iterator[None]:
    """Puts the file's name in front of a ReadError's message."""
    try:
        yield
    except ReadError as error:
        raise ReadError(f"{path}: {error}") from None


def mapped(path: AnyPath, mistaken: Mapping[bytes, str] = MISTAKEN) -> mmap.mmap:
    """The file's bytes, memory-mapped; arrays that view them keep the mapping alive.

    Raises MissingData if there is no such file, ReadError for a path that is not a file, or for a file that
    starts like one of `mistaken`.
    """
    buffer = path.buffer if isinstance(path, MappedFile) else _map(path)
    text = buffer[:256].lstrip()
    for start, what in mistaken.items():
        if buffer[: len(start)] == start or (what == _PAGE and text.startswith(start)):
            raise ReadError(f"{path}: is {what}")
    return buffer


def regular(path: AnyPath) -> int:
    """The size of a file. Raises ReadError for a folder, and for a pipe or a device, which may never end.

    Raises OSError where nothing is, or nobody may look.
    """
    status = Path(path).stat()
    if S_ISDIR(status.st_mode):
        raise ReadError(f"{path}: is a folder; give a file in it")
    if not S_ISREG(status.st_mode):
        raise ReadError(f"{path}: is not a regular file")
    return status.st_size


def _map(path: AnyPath) -> mmap.mmap:
    try:
        if regular(path) == 0:
            raise ReadError(f"{path}: is empty; did the download or the copy fail?")
        with Path(path).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise MissingData(f"{path}: no such file") from None
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ReadError(f"{path}: cannot be read: {error}") from None


def release(array: Array) -> None:
    """Takes the pages of the mapped file that an array views out of this process's memory.

    Whoever reads them again gets them from the system's cache, or the file. An array of another kind is left.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        # All of them: it costs no more, and what is mapped to be read loses nothing.
        base.madvise(mmap.MADV_DONTNEED)


def is_text(buffer: Buffer) -> bool:
    """Whether the start has no control characters except white space.

    A binary net begins with the tag of its name, a newline, and then the name's length. One of over 127 has a
    first byte that is not ASCII, with which no line of a prototxt begins.
    """
    start = buffer[:512]
    return not start.translate(None, _TEXT) and not (start[:1] == b"\n" and start[1:2] >= b"\x80")
