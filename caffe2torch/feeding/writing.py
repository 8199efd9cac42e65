"""New databases of Datums, LMDB or LevelDB, which appear whole or not at all."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from caffe2torch.errors import MissingData, WriteError
from caffe2torch.writing.output import create

BACKENDS = ("lmdb", "leveldb")
COMMIT = 1000
"""Records between two commits, as in Caffe's tools."""


class DatabaseWriter:
    """Takes records; a key that is there already is replaced."""

    def put(self, key: bytes, value: bytes) -> None:
        """Adds a record."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what is left."""
        raise NotImplementedError


class _Lmdb(DatabaseWriter):
    def __init__(self, path: Path) -> None:
        self._lmdb = _library("lmdb", path)
        self._env = self._lmdb.open(str(path), map_size=1 << 26)
        self._records: list[tuple[bytes, bytes]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self._records.append((key, value))
        if len(self._records) >= COMMIT:
            self._commit()

    def _commit(self) -> None:
        """Writes the records of now; the map grows until they fit."""
        while self._records:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in self._records:
                        transaction.put(key, value)
                self._records = []
            except self._lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])

    def close(self) -> None:
        self._commit()
        self._env.close()


class _LevelDb(DatabaseWriter):
    def __init__(self, path: Path) -> None:
        self._db = _library("plyvel", path).DB(str(path), create_if_missing=True)
        self._batch, self._count = self._db.write_batch(), 0

    def put(self, key: bytes, value: bytes) -> None:
        self._batch.put(key, value)
        self._count += 1
        if self._count % COMMIT == 0:
            self._batch.write()
            self._batch.clear()

    def close(self) -> None:
        self._batch.write()
        self._db.close()


@contextmanager
def new_database(path: str, backend: str) -> Iterator[DatabaseWriter]:
    """A database of a kind of BACKENDS at `path`, where nothing may be yet.

    Raises WriteError where it cannot be written, MissingData without the library.
    """
    if Path(path).exists():
        raise WriteError(f"{path}: is there already; remove it, or name another database")
    with create(path, folder=True) as output:
        writer = (_Lmdb if backend == "lmdb" else _LevelDb)(output.path)
        try:
            yield writer
        finally:
            writer.close()


def _library(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        extra = "caffe" if name == "lmdb" else "leveldb"
        raise MissingData(
            f"{path.name}: writing it needs the package {name}: pip install 'caffe2torch[{extra}]'"
        ) from None
