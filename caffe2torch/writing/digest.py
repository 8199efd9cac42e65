"""The SHA-256 of a file, computed while its content is converted: both leave Python's lock."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from threading import Thread

from caffe2torch.errors import ReadError
from caffe2torch.untrusted.mapped import AnyPath

PIECE = 1 << 18
"""Bytes read at a time: they stay in a processor's cache."""


class Digest:
    """A file and its SHA-256, which another thread computes from `begin` on."""

    def __init__(self, path: AnyPath) -> None:
        self.path = str(path)
        self._thread = Thread(target=self._run, daemon=True)
        self._hexadecimal, self._problem = "", ""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return os.fsencode(Path(self.path).name).decode(errors="replace")

    def begin(self) -> None:
        """Starts hashing, unless that was done."""
        if self._thread.ident is None:
            self._thread.start()

    def sha256(self) -> str:
        """The digest in hexadecimal, once it is there. Raises ReadError for a file that cannot be read."""
        self.begin()
        self._thread.join()
        if self._problem:
            raise ReadError(f"{self.path}: cannot be read: {self._problem}")
        return self._hexadecimal

    def _run(self) -> None:
        # Read, not mapped: the thread outlives a refusal, and cutting a mapped file short kills the process.
        digest, piece = hashlib.sha256(), memoryview(bytearray(PIECE))
        try:
            with Path(self.path).open("rb", buffering=0) as file:
                while count := file.readinto(piece):
                    digest.update(piece[:count])
        except OSError as error:
            self._problem = error.strerror or str(error)
        self._hexadecimal = digest.hexdigest()
