"""Getting a data set: what is published where, fetched, checked and unpacked.

sources.toml ─ plan_fetch ─→ DataSource ─ obtain ─→ DIR/NAME/…           what open_dataset opens
               nothing fetched       └────────→ DIR/archives/FILE    may be deleted afterwards
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from caffe2torch.errors import MissingData
from fcn_repro.fetching.archives import extract
from fcn_repro.fetching.http import Expected, Progress, fetch, verify
from fcn_repro.toml_records import load

__all__ = ["Archive", "DataSource", "extract", "fetch", "obtain", "plan_fetch", "sources"]


@dataclass(frozen=True)
class Archive:
    """One published file, unpacked into the folder `into`.

    `address` is None if only the user can fetch it; the size is None and hashes are () if nobody states them;
    `about` is a rough size in bytes.
    """

    file: str
    address: str | None
    into: str = "."
    size: int | None = None
    about: int | None = None
    md5: tuple[str, ...] = ()
    sha1: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.address is not None and not re.fullmatch(r"https?://\S+/\S+", self.address):
            raise ValueError(f"address {self.address!r} is not http(s)")
        digits = {"md5": 32, "sha1": 40, "sha256": 64}
        for algorithm, hashes in self.expected.hashes.items():
            for value in hashes:
                if not re.fullmatch(rf"[0-9a-f]{{{digits[algorithm]}}}", value):
                    raise ValueError(f"{algorithm} {value!r} is not {digits[algorithm]} hexadecimal digits")

    @property
    def expected(self) -> Expected:
        """What the file must be."""
        return Expected(self.size, self.sha256, self.sha1, self.md5)


@dataclass(frozen=True)
class DataSource:
    """Where a data set is published: its page, its licence as stated there, its files."""

    title: str
    page: str
    licence: str
    archives: tuple[Archive, ...]
    note: str = ""

    @property
    def disk_bytes(self) -> int | None:
        """Roughly the disk space that fetching and unpacking take: twice the archives, None if not known.

        Images are already compressed, so they unpack to about the size of their archive.
        """
        sizes = [archive.size or archive.about for archive in self.archives]
        return None if None in sizes else 2 * sum(filter(None, sizes))

    def __str__(self) -> str:
        room = f"about {_human(self.disk_bytes)}" if self.disk_bytes else "unknown"
        lines = [self.title, f"  page      {self.page}", f"  licence   {self.licence}", f"  disk      {room}"]
        lines += [f"  note      {self.note}"] if self.note else []
        return "\n".join([*lines, *map(_describe, self.archives)])


@dataclass(frozen=True)
class _Sources:
    sources: Mapping[str, DataSource]


@cache
def sources() -> Mapping[str, DataSource]:
    """Every source by name. Raises ReadError or MissingData (see toml_records.py)."""
    return load(Path(__file__).parents[1] / "data" / "datasets" / "sources.toml", _Sources).sources


def plan_fetch(name: str) -> DataSource:
    """What `obtain` would fetch: addresses, sizes, hashes, licence. Raises MissingData for other names."""
    if name not in sources():
        raise MissingData(f"no source is known for {name!r}; known are {', '.join(sources())}")
    return sources()[name]


def obtain(
    name: str,
    folder: str | Path,
    *,
    given: Iterable[str | Path] = (),
    source: DataSource | None = None,
    progress: Progress | None = None,
    pause_s: float = 1.0,
) -> Path:
    """The data set in `folder`/NAME, fetched into `folder`/archives and unpacked; what exists is kept.

    `given` are files fetched by hand, identified by their names; they are checked and stay where they are.
    `source` replaces the published one. Raises what `fetch` and `extract` raise, and MissingData for a
    file that only the user can fetch.
    """
    source = source or plan_fetch(name)
    by_hand = _by_file(source, [Path(path) for path in given])
    target = Path(folder) / name
    for archive in source.archives:
        if (target / archive.into).exists():
            continue
        kept = Path(folder) / "archives" / archive.file
        if archive.file in by_hand:
            path = verify(by_hand[archive.file], archive.expected, on_record=kept)
        else:
            path = _fetch(archive, kept, source, progress, pause_s)
        extract(path, target / archive.into)
    return target


def _by_file(source: DataSource, given: list[Path]) -> dict[str, Path]:
    """Files by the archive that each is. Raises MissingData for one that is not an archive, or is missing."""
    files = [archive.file for archive in source.archives]
    found = {files[0]: given[0]} if len(given) == len(files) == 1 else {path.name: path for path in given}
    for file, path in found.items():
        if file not in files:
            raise MissingData(
                f"{path}: {source.title} comes as {', '.join(files)}; rename it if it is one of them"
            )
        if not path.is_file():
            raise MissingData(f"{path}: no such file")
    return found


def _fetch(
    archive: Archive, kept: Path, source: DataSource, progress: Progress | None, pause_s: float
) -> Path:
    if archive.address is None:
        if kept.is_file():
            return verify(kept, archive.expected)
        raise MissingData(
            f"{archive.file}: {source.note} See {source.page}, then name the file with --from {archive.file}"
        )
    return fetch(
        archive.address,
        kept,
        sha256=archive.sha256,
        sha1=archive.sha1,
        md5=archive.md5,
        size=archive.size,
        progress=progress,
        pause_s=pause_s,
    )


def _describe(archive: Archive) -> str:
    about = f"about {_human(archive.about)}" if archive.about else "unknown"
    hashes = [f"{name} {value}" for name, values in archive.expected.hashes.items() for value in values]
    facts = {
        "address": archive.address or "none: fetch it by hand, then --from FILE",
        "size": f"{_human(archive.size)} ({archive.size} bytes)" if archive.size else about,
        "hash": " or ".join(hashes) or "unknown: recorded at the first fetch",
    }
    return "\n".join([f"  {archive.file}", *(f"    {name:8}{fact}" for name, fact in facts.items())])


def _human(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
