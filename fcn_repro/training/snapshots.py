"""A training's state as Caffe's own snapshots, so that Caffe can continue from them, too.

    NAME_iter_N.caffemodel       the weights
    NAME_iter_N.caffemodel.json  what the net knows: its mean, its classes
    NAME_iter_N.solverstate      the solver's iteration and history
    NAME_iter_N.json             written last: what they belong to, their hashes, and the losses so far;
                                 without it the others do not count

Examples and dropout follow from the iteration (examples.py), so this is all there is to a training's state.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import caffe2torch as c2t
from caffe2torch.errors import ReadError
from fcn_repro.files import write_json
from fcn_repro.scoring.result import read_json

FORMAT = "fcn-repro snapshot 2"
KEPT = 2
"""How many of the latest snapshots are kept; a new one is complete before an old one goes."""


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot: its iteration, its files, and the last losses."""

    iteration: int
    caffemodel: Path
    solverstate: Path
    losses: tuple[float, ...]


class Snapshots:
    """The snapshots of one training in a folder; `key` must match for it to continue."""

    def __init__(self, folder: Path, name: str, key: Mapping[str, str]) -> None:
        self.folder, self.name, self.key = folder, name, dict(key)

    def latest(self) -> Snapshot | None:
        """The last complete one, or None. Raises ReadError for another training's, or a damaged one."""
        iterations = sorted(self._iterations())
        return self._read(iterations[-1]) if iterations else None

    def save(self, solver: c2t.Solver, losses: Sequence[float]) -> Snapshot:
        """Writes the solver's state. Raises WriteError, and then keeps the snapshots before."""
        caffemodel, solverstate = map(Path, solver.snapshot(self.folder / self.name))
        files = {path.name: _sha256(path) for path in (caffemodel, solverstate)}
        content = {
            "format": FORMAT,
            **self.key,
            "iteration": solver.iter,
            "files": files,
            "losses": [*losses],
        }
        write_json(self._marker(solver.iter), content)
        self._clean(sorted(self._iterations())[-KEPT:][0])
        return Snapshot(solver.iter, caffemodel, solverstate, tuple(losses))

    def _iterations(self) -> list[int]:
        return [iteration for path, iteration in _files(self.folder, self.name) if _is_marker(path)]

    def _marker(self, iteration: int) -> Path:
        return self.folder / f"{self.name}_iter_{iteration}.json"

    def _read(self, iteration: int) -> Snapshot:
        marker = self._marker(iteration)
        back = f"delete {marker} to continue from the snapshot before"
        try:
            content = read_json(marker)
        except ReadError as error:
            raise ReadError(f"{error}; {back}") from error
        for name, wanted in {"format": FORMAT, **self.key}.items():
            if (found := content.get(name)) != wanted:
                raise ReadError(
                    f"{marker}: {name} was {found!r} and is {wanted!r} now: another training; keep the "
                    f"{name} it had, or delete {self.folder} to start anew"
                )
        try:
            files = {
                marker.with_name(Path(str(name)).name): str(sha256)
                for name, sha256 in content["files"].items()
            }
            caffemodel, solverstate = sorted(files)
            losses = tuple(float(loss) for loss in content["losses"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReadError(f"{marker}: damaged: {error!r}; {back}") from error
        for path, sha256 in files.items():
            if not path.is_file() or _sha256(path) != sha256:
                raise ReadError(f"{path}: missing or changed since it was written; {back}")
        return Snapshot(iteration, caffemodel, solverstate, losses)

    def _clean(self, oldest: int) -> None:
        """Removes older snapshots and a killed process's leftovers; markers go first."""
        old = [path for path, iteration in _files(self.folder, self.name) if iteration < oldest]
        for path in (*old, *self.folder.glob(".*.part")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def is_begun(folder: Path, name: str) -> bool:
    """Whether the folder has a snapshot, which may still turn out to be another training's."""
    return any(_is_marker(path) for path, _ in _files(folder, name))


def _is_marker(path: Path) -> bool:
    return path.suffix == ".json" and not path.stem.endswith(".caffemodel")


def _files(folder: Path, name: str) -> Iterator[tuple[Path, int]]:
    """Files of snapshots, with or without a marker, and their iteration; markers first."""
    pattern = re.compile(rf"{re.escape(name)}_iter_(\d+)\.(json|solverstate|caffemodel(\.json)?)")
    there = folder.iterdir() if folder.is_dir() else ()
    for path in sorted(there, key=lambda path: not _is_marker(path)):
        if match := pattern.fullmatch(path.name):
            yield path, int(match[1])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
