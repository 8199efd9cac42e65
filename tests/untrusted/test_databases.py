"""LevelDBs are read by another process first, which their library may end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from caffe2torch.errors import ReadError
from caffe2torch.untrusted import databases
from tests.hostile.data import level_dbs
from tests.places import GOLDEN

pytest.importorskip("plyvel")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A LevelDB that is whole."""
    return shutil.copytree(GOLDEN / "pycaffe" / "feeding" / "raw_leveldb", tmp_path / "db")


@pytest.mark.parametrize(("name", "table"), list(level_dbs()))
def test_what_the_library_refuses(folder: Path, name: str, table: bytes) -> None:
    (folder / "000005.ldb").write_bytes(table)
    with pytest.raises(ReadError, match=f"{re.escape(str(folder))}: the LevelDB library cannot read it: .*"):
        databases.open_database(str(folder), "LEVELDB")


def test_what_the_library_does_not_survive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had ended the process that reads first."""
    monkeypatch.setattr(databases, "_WALK", "tests.untrusted.played:ends")
    with pytest.raises(ReadError, match=r"cannot read it, and ends on it; make or copy it again$"):
        databases.open_database(str(folder), "LEVELDB")
    monkeypatch.undo()
    assert list(databases.open_database(str(folder), "LEVELDB").values())


def test_what_the_library_says_is_told_as_text(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    with pytest.raises(ReadError, match="the LevelDB library cannot read it: Invalid argument: /"):
        databases.open_database(str(tmp_path / "db"), "LEVELDB")


def test_a_name_that_is_not_utf_8(folder: Path) -> None:
    place = folder.rename(folder.with_name("db\udcff"))
    assert list(databases.open_database(str(place), "LEVELDB").values())


def pipe(file: Path) -> None:
    os.mkfifo(file)


def link_to_nothing(file: Path) -> None:
    file.symlink_to("/no/such/file")


@pytest.mark.parametrize(
    ("put", "problem"), [(pipe, "is not a regular file"), (link_to_nothing, "cannot be read: No such file")]
)
def test_a_part_that_is_no_file_is_not_waited_for(
    folder: Path, put: Callable[[Path], None], problem: str
) -> None:
    part = folder / "000007.ldb"
    put(part)
    with pytest.raises(ReadError, match=f"^{re.escape(str(part))}: {problem}"):
        databases.open_database(str(folder), "LEVELDB")


@pytest.mark.parametrize("name", ["x.mdb", "data.mdb"])
def test_an_lmdb_that_is_no_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    pytest.importorskip("lmdb")
    pipe(tmp_path / name)
    path = tmp_path if name == "data.mdb" else tmp_path / name
    with pytest.raises(ReadError, match=f"^{re.escape(str(tmp_path / name))}: is not a regular file"):
        databases.open_database(str(path), "LMDB")


def test_a_library_outside_the_interpreters_own_packages(folder: Path) -> None:
    code = """
import sys
from caffe2torch.untrusted.databases import open_database
open_database(sys.argv[1], "LEVELDB")
"""
    command = [getattr(sys, "_base_executable", sys.executable), "-c", code, str(folder)]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(command, env={"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
