"""Getting a data set: what is published where, fetched, checked and unpacked.

Dataset.published ─ plan_fetch ─→ DataSource ─ obtain ─→ DIR/NAME/…           what open_dataset opens
                    nothing fetched       └────────→ DIR/archives/FILE    may be deleted afterwards
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from caffe2torch.errors import MissingData
from fcn_repro.data.datasets import dataset, names
from fcn_repro.data.published import Archive, DataSource
from fcn_repro.fetching.archives import extract
from fcn_repro.fetching.http import Expected, Progress, fetch, verify

__all__ = ["Archive", "DataSource", "extract", "fetch", "obtain", "plan_fetch", "sources"]


@cache
def sources() -> Mapping[str, DataSource]:
    """Every source by name, from the data sets that are published there."""
    return {name: source for kind in map(dataset, names()) for name, source in kind.published.items()}


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
            path = verify(by_hand[archive.file], _expected(archive), on_record=kept)
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
            return verify(kept, _expected(archive))
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


def _expected(archive: Archive) -> Expected:
    """What the file must be."""
    return Expected(archive.size, archive.sha256, archive.sha1, archive.md5)
