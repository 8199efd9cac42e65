"""What an evaluation has done so far, on disk, so that an interrupted one can continue.

A journal is a folder. Each process of each run adds its own file, part-XXXXXXXX.json, with the ids it did
and what it counted; the parts of all runs together, by however many processes, are what is done.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe2torch.errors import ReadError
from fcn_repro.files import write_json
from fcn_repro.scoring.metrics import Confusion
from fcn_repro.scoring.result import counts_of, read_json

EVERY_S = 5.0
"""Seconds between writes."""


@dataclass(frozen=True)
class Done:
    """Images that were scored, by id, what was counted on them by head, and the seconds it took."""

    ids: tuple[str, ...]
    heads: Mapping[str, Confusion]
    seconds: float = 0.0

    def merge(self, other: Done) -> Done:
        """Both. Raises ValueError if heads or classes differ."""
        if self.heads.keys() != other.heads.keys():
            raise ValueError(f"heads are {', '.join(other.heads)}, expected {', '.join(self.heads)}")
        heads = {name: confusion.merge(other.heads[name]) for name, confusion in self.heads.items()}
        return Done(self.ids + other.ids, heads, self.seconds + other.seconds)


class Journal:
    """The folder, and `key`: what identifies an evaluation. Does nothing without a folder."""

    def __init__(self, folder: Path | None, key: Mapping[str, str]) -> None:
        self.folder, self.key = folder, dict(key)
        self._name = f"part-{secrets.token_hex(4)}.json"
        self._written = time.monotonic()

    def read(self, nothing: Done, ids: Sequence[str]) -> Done:
        """What all runs before this one did. `nothing` has the heads; `ids` are all there are.

        Raises ReadError for a damaged part, one of another evaluation, or an image that was done twice.
        """
        done = nothing
        for path in sorted(self.folder.glob("part-*.json")) if self.folder else ():
            done = self._with(done, path, frozenset(ids))
        return done

    def write(self, done: Done, *, now: bool = False) -> None:
        """Writes what this process did in this run, over what it wrote before; at most every EVERY_S."""
        if self.folder and (now or time.monotonic() - self._written >= EVERY_S):
            heads = {name: confusion.counts.tolist() for name, confusion in done.heads.items()}
            content = {**self.key, "seconds": done.seconds, "ids": done.ids, "heads": heads}
            write_json(self.folder / self._name, content)
            self._written = time.monotonic()

    def _with(self, done: Done, path: Path, known: frozenset[str]) -> Done:
        content = read_json(path)
        for name, wanted in self.key.items():
            if (found := content.get(name)) != wanted:
                raise ReadError(
                    f"{path}: {name} was {found!r} and is {wanted!r} now, so the images done cannot be "
                    f"counted; delete {self.folder} to start anew"
                )
        try:
            part = _part(content, done)
            if wrong := [name for name in part.ids if name not in known]:
                raise ValueError(f"{wrong[0]!r} is not in the split")
            if twice := set(part.ids) & set(done.ids):
                raise ValueError(f"{min(twice)!r} was already done by another part")
            return done.merge(part)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReadError(f"{path}: {error}; delete {self.folder} to start anew") from error


def _part(content: Mapping[str, object], like: Done) -> Done:
    ids, heads, seconds = content["ids"], content["heads"], content["seconds"]
    if not isinstance(ids, list) or not isinstance(heads, dict) or not isinstance(seconds, float):
        raise TypeError("ids, heads or seconds are damaged")
    counts = {name: counts_of(rows, like.heads[name].classes) for name, rows in heads.items()}
    return Done(tuple(ids), counts, seconds)
