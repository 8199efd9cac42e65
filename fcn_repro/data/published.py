"""Where a data set is published: its page, its licence, its archives with what is known of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One published file, unpacked into the folder `into`.

    `address` is None if only the user can fetch it; the size is None and hashes are () if no source states
    them: then the hash found at the first fetch is written down beside the archive, and checked from then on.
    Two md5 are of the same archive in two wrappings; `about` is a rough size in bytes.
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
        for algorithm, hashes in self.hashes.items():
            for value in hashes:
                if not re.fullmatch(rf"[0-9a-f]{{{digits[algorithm]}}}", value):
                    raise ValueError(f"{algorithm} {value!r} is not {digits[algorithm]} hexadecimal digits")

    @property
    def hashes(self) -> Mapping[str, tuple[str, ...]]:
        """The hashes known, by algorithm."""
        known = {"sha256": self.sha256, "sha1": self.sha1, "md5": self.md5}
        return {algorithm: hashes for algorithm, hashes in known.items() if hashes}


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


def _describe(archive: Archive) -> str:
    about = f"about {_human(archive.about)}" if archive.about else "unknown"
    hashes = [f"{name} {value}" for name, values in archive.hashes.items() for value in values]
    facts = {
        "address": archive.address or "none: fetch it by hand, then --from FILE",
        "size": f"{_human(archive.size)} ({archive.size} bytes)" if archive.size else about,
        "hash": " or ".join(hashes) or "unknown: recorded at the first fetch",
    }
    return "\n".join([f"  {archive.file}", *(f"    {name:8}{fact}" for name, fact in facts.items())])


def _human(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
