"""Files that mean harm, through every command that would read them: refused in a line, and nothing is left.

benchmarks/hostile.py runs them all as processes, and measures seconds and memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.commands import FAMILIES, all_files, filled_in, furnish, program
from tests.hostile.judging import problems


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    furnish(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    return list(all_files(tmp_path_factory.mktemp("files")))


def runs(files: list[tuple[str, Path]], name: str) -> Iterator[tuple[tuple[str, ...], Path]]:
    """For each file of a family, the first command, and one of the others in turn."""
    first, *others = FAMILIES[name].commands
    for number, path in enumerate(path for family, path in files if family == name):
        yield first, path
        if others:
            yield others[number % len(others)], path


def test_there_are_many_and_they_are_the_same_each_time(
    files: list[tuple[str, Path]], tmp_path: Path
) -> None:
    assert len(files) >= 300
    for name in ("caffemodel", "labels", "archives", "answers"):
        family = FAMILIES[name].files
        assert list(family()) == list(family())


@pytest.mark.parametrize("name", FAMILIES)
def test_each_is_read_or_refused_and_nothing_is_left(
    name: str,
    files: list[tuple[str, Path]],
    here: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FCN_REPRO_HOME", str(tmp_path / "home"))
    found = []
    for command, path in runs(files, name):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        given = FAMILIES[name].place(path, here)
        main, *arguments = filled_in(command, given, here, out)
        try:
            code = program(main)(arguments)
        except Exception as error:  # all are told of at once
            found.append(f"{path.name}: {' '.join(command)}: {type(error).__name__}: {error}")
            continue
        said = "".join(capfd.readouterr())
        found += [
            f"{path.name}: {' '.join(command)}: {problem}: {said[-300:]!r}"
            for problem in problems(main, code, said, out)
        ]
    assert not found, "\n".join([f"{len(found)} are wrong", *found])
