"""The databases that Caffe's Data layer reads, LMDB and LevelDB: values in the order of the keys' bytes.

Their C libraries trust a file, so an LMDB is checked page by page before it is opened. A LevelDB is read once
by another process, which a damaged one may end. Neither is written to, though LevelDB locks its folder, notes
in LOG that it was opened, and makes a table of what its own log holds.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

from caffe2torch.errors import MissingData, ReadError
from caffe2torch.untrusted.apart import ask
from caffe2torch.untrusted.mapped import located, regular


class Database:
    """An open database; `values` may be asked for any number of times, also by several readers at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def values(self) -> Iterator[bytes]:
        """The values, once from the first key to the last. Raises ReadError where the database is damaged."""
        raise NotImplementedError


class Lmdb(Database):
    """A folder with a data.mdb, or such a file itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        lmdb = library("lmdb", f"{path}: reading an LMDB")
        _check_lmdb(path)
        try:
            # Without a lock file it can be read where nothing may be written, and locked by nobody.
            self._env = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, create=False)
        except lmdb.Error as error:
            raise ReadError(f"{path}: the LMDB library cannot open it: {error}") from None

    def values(self) -> Iterator[bytes]:
        """See Database."""
        with self._env.begin() as transaction:
            for _, value in transaction.cursor():
                yield value


class LevelDb(Database):
    """A folder of LevelDB's files."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        plyvel = self._plyvel = library("plyvel", f"{path}: reading a LevelDB")
        _check_leveldb(path)
        try:
            self._db = plyvel.DB(os.fsencode(path), create_if_missing=False, paranoid_checks=True)
        except plyvel.Error as error:
            raise ReadError(f"{path}: the LevelDB library cannot open it: {_said(error)}") from None

    def values(self) -> Iterator[bytes]:
        """See Database."""
        try:
            yield from _records(self._db)
        except self._plyvel.Error as error:
            raise ReadError(f"{self.path}: the LevelDB library cannot read it: {_said(error)}") from None


_WALK = "caffe2torch.untrusted.databases:walk_leveldb"
_BACKENDS: dict[str, type[Database]] = {"LMDB": Lmdb, "LEVELDB": LevelDb}
_OPEN: WeakValueDictionary[Path, Database] = WeakValueDictionary()
"""What is open: a process can open neither kind twice, but the nets of a solver may read the same one."""


def open_database(path: str, backend: str) -> Database:
    """The database at `path`, of the DataParameter's backend "LMDB" or "LEVELDB".

    Raises MissingData where nothing is, or without the library, ReadError for something else than such a
    database.
    """
    place = Path(path)
    if not place.exists():
        raise MissingData(f"{path}: no such database; a relative path counts from the current folder")
    if place.is_dir() and (place / "data.mdb").exists() != (backend == "LMDB"):
        there = "an LMDB" if backend == "LEVELDB" else "no data.mdb"
        raise ReadError(f"{path}: has {there}, and the net's backend is {backend}; correct its data_param")
    real = place.resolve()
    database = _OPEN.get(real)
    if database is None:
        database = _OPEN[real] = _BACKENDS[backend](real)
    return database


def library(name: str, doing: str) -> ModuleType:
    """The package `lmdb` or `plyvel`; MissingData says that `doing` needs it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        extra = {"lmdb": "caffe", "plyvel": "leveldb"}[name]
        raise MissingData(f"{doing} needs the package {name}: pip install 'caffe2torch[{extra}]'") from None


def _check_lmdb(path: Path) -> None:
    """Raises ReadError for a file on which the C library could crash; reading it needs no free pages."""
    verify: Any = importlib.import_module("lmdb.verify")
    _size(path / "data.mdb" if path.is_dir() else path)
    try:
        problems = [problem for problem in verify.verify(str(path)) if "freeDB" not in problem]
    except (verify.VerifyError, OSError) as error:
        raise ReadError(f"{path}: is not an LMDB that can be read here: {error}") from None
    if problems:
        raise ReadError(f"{path}: a damaged LMDB: {problems[0]}; make or copy it again")


def _check_leveldb(path: Path) -> None:
    """Raises ReadError for a folder that the C++ library cannot read, or whose files end its process."""
    size = sum(_size(file) for file in path.glob("*") if not file.is_dir())
    with located(path):
        ask(_WALK, str(path), library="LevelDB", size=size)


def _size(path: Path) -> int:
    """The size of a database's file. Raises ReadError for a pipe or a device, and for a link to nothing."""
    try:
        return regular(path)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None


def walk_leveldb(path: str) -> None:
    """Reads a LevelDB from the first key to the last. Raises ReadError where the library finds damage."""
    plyvel = importlib.import_module("plyvel")
    try:
        opened = plyvel.DB(os.fsencode(path), create_if_missing=False, paranoid_checks=True)
        with closing(opened) as database:
            for _ in _records(database):
                pass
    except plyvel.Error as error:
        raise ReadError(f"the LevelDB library cannot read it: {_said(error)}") from None


def _said(error: Exception) -> str:
    """What a plyvel.Error says; plyvel gives it as bytes."""
    said = error.args[0] if error.args else ""
    return os.fsdecode(said) if isinstance(said, bytes) else str(error)


def _records(database: Any) -> Iterator[bytes]:
    """The values; plyvel's raw iterator tells of a damaged block, where its other one just ends."""
    with database.raw_iterator(verify_checksums=True) as records:
        records.seek_to_first()
        while records.valid():
            yield records.value()
            records.next()
