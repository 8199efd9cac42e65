"""What is being written: under a hidden name beside its place until it is whole.

.NAME.HEX.part   a file or folder, locked by who writes it; the next to write NAME removes what the dead left

A process that ends without unwinding calls `PARTIALS.discard` first.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caffe2torch.interrupts import put_off

try:
    import fcntl
except ImportError:  # Windows, where nothing tells what a dead process left
    fcntl = None  # type: ignore[assignment]


class Partials:
    """What this process is writing."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()
        self.is_finished = False
        """Whether something was written whole: then it is too late to leave nothing."""

    def discard(self) -> bool:
        """Removes all that is not whole; False, and removes nothing, where something was written whole."""
        if not self.is_finished:
            for path in [*self.paths]:  # another thread may change it
                _remove(path)
        return not self.is_finished


PARTIALS = Partials()


@contextmanager
def partial(target: Path, folder: bool = False) -> Iterator[Path]:
    """A new empty file or folder that stands for `target` meanwhile; what is left of it goes in the end.

    Raises OSError where there can be none.
    """
    _sweep(target)
    path, lock = target.with_name(f"{_stem(target)}{os.urandom(4).hex()}.part"), None
    PARTIALS.paths.add(path)
    try:
        lock = _made(path, folder)
        yield path
    finally:
        _remove(path)
        PARTIALS.paths.discard(path)
        if lock is not None:
            os.close(lock)


@contextmanager
def finishing() -> Iterator[None]:
    """Inside, files that belong together get their names, whatever Ctrl-C says; with that they are whole."""
    with put_off():
        yield
        PARTIALS.is_finished = True


def _stem(target: Path) -> str:
    return f".{target.name[:200]}."


def _sweep(target: Path) -> None:
    """Removes what writers of `target` left that were killed: nobody holds its lock."""
    pattern = re.compile(re.escape(_stem(target)) + r"[0-9a-f]{8}\.part")
    with suppress(OSError):  # whatever is wrong with the folder, writing to it says it better
        for path in target.parent.iterdir():
            if not pattern.fullmatch(path.name):
                continue
            with suppress(OSError):
                descriptor = _locked(path, waiting=False)
                _remove(path)
                os.close(descriptor)


def _made(path: Path, folder: bool) -> int:
    """Makes an empty file or folder; returns a descriptor that locks it until it is closed."""
    while True:
        path.mkdir() if folder else path.touch(exist_ok=False)
        with suppress(FileNotFoundError):  # somebody saw it before it was locked, and removed it
            lock = _locked(path)
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
            os.close(lock)


def _locked(path: Path, waiting: bool = True) -> int:
    """A descriptor of a file or folder, locked where the place knows locks.

    Without `waiting`, raises OSError where it does not, or where somebody else holds the lock.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if fcntl is None:
            raise OSError
        fcntl.flock(descriptor, fcntl.LOCK_EX if waiting else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if not waiting:
            os.close(descriptor)
            raise
    return descriptor


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
