"""New databases of Datums, LMDB or LevelDB, which appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType

from caffe2torch.errors import WriteError
from caffe2torch.untrusted.databases import library
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
    def __init__(self, lmdb: ModuleType, path: Path) -> None:
        self._lmdb = lmdb
        self._env = lmdb.open(str(path), map_size=1 << 26)
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
    def __init__(self, plyvel: ModuleType, path: Path) -> None:
        self._db = plyvel.DB(str(path), create_if_missing=True)
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
    package, writer = ("lmdb", _Lmdb) if backend == "lmdb" else ("plyvel", _LevelDb)
    module = library(package, f"{Path(path).name}: writing it")
    with create(path, folder=True) as output:
        try:
            with closing(writer(module, output.path)) as database:
                yield database
        except module.Error as error:  # a full disk; its text names the hidden folder first
            problem = str(error).rpartition(": ")[2].rstrip("'")
            raise WriteError(f"{path}: cannot be written: {problem}") from None
