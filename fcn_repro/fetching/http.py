"""One file from an address: resumed, retried, hashed as it arrives, under its name once it is right.

NAME.part      what has arrived, locked by who fetches it; NAME.part.json says of which version of the file
NAME           the whole file
NAME.sha256    its hash, where none was known: what it must have from then on
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import requests
import urllib3

from caffe2torch.errors import MissingData, ReadError, WriteError
from fcn_repro.files import make_folder, write

Progress = Callable[[int, "int | None"], None]
"""Called with how many bytes are there and how many there will be, None when the server does not say."""

ATTEMPTS = 6
ENOUGH = 1 << 16
"""Bytes that an attempt must bring, or it counts as failed: a server may close after every single one."""
TIMEOUT_S = (15, 60)  # to connect, and from one piece to the next
MAX_BYTES = 1 << 36

_PIECE = 1 << 20
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_FORBIDDEN = (401, 403, 407)
_BY_HAND = "A file fetched by hand goes in with --from FILE"
_DROPPED = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError, ConnectionError)


@dataclass(frozen=True)
class Expected:
    """What is known of a file: its size in bytes, and lower-case hexadecimal hashes, any one of a kind."""

    size: int | None = None
    sha256: tuple[str, ...] = ()
    sha1: tuple[str, ...] = ()
    md5: tuple[str, ...] = ()

    @property
    def hashes(self) -> dict[str, tuple[str, ...]]:
        """The hashes known, by algorithm."""
        known = {"sha256": self.sha256, "sha1": self.sha1, "md5": self.md5}
        return {algorithm: hashes for algorithm, hashes in known.items() if hashes}


def fetch(
    url: str,
    destination: str | Path,
    *,
    sha256: str | tuple[str, ...] | None = None,
    sha1: str | tuple[str, ...] | None = None,
    md5: str | tuple[str, ...] | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    pause_s: float = 1.0,
) -> Path:
    """The file at `url` as `destination`; one that is there already is checked and kept.

    A connection that breaks is taken up where it broke, after `pause_s` seconds and each time twice as long,
    and so is an interrupted fetch. Of two fetches of one file, the second waits for the first: it checks what
    that one got, or goes on where it ended. Raises MissingData when the server does not give the file,
    ReadError when it gives another one, WriteError when there is no room for it.
    """
    path = Path(destination)
    expected = Expected(size, _several(sha256), _several(sha1), _several(md5))
    if path.exists():
        return verify(path, expected)
    make_folder(path.parent)
    try:
        with _Part(url, path, expected) as part:
            if not path.exists():
                _fetch_new(part, path, progress, pause_s)
                return path
            part.discard()  # another fetch, for which this one waited, got the file
    except OSError as error:
        raise WriteError(f"{path}: {error}") from error
    return verify(path, expected)


def _fetch_new(part: _Part, path: Path, progress: Progress | None, pause_s: float) -> None:
    try:
        _receive(part, progress, pause_s)
        part.check_size()
        _check(path, part.expected, part.digests, f"it was altered on the way, or replaced at {part.url}")
    except ReadError:
        part.discard()
        raise
    part.keep_as(path)


def verify(path: Path, expected: Expected, on_record: Path | None = None) -> Path:
    """A file, once it has the size and a hash that are known of it, or the hash that was recorded of it.

    What nobody knew is recorded now, beside the file or beside the name `on_record`. Raises ReadError.
    """
    digests = _Digests(expected)
    try:
        digests.read(path)
    except OSError as error:
        raise ReadError(f"{path}: {error}") from error
    _check(on_record or path, expected, digests, f"{path} is incomplete, or another file: remove it")
    return path


def _several(hashes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(value.lower() for value in ([hashes] if isinstance(hashes, str) else hashes or ()))


class _Digests:
    """Of what has arrived: its size, its sha256 and the hashes that will be compared."""

    def __init__(self, expected: Expected) -> None:
        self.size = 0
        algorithms = {"sha256", *expected.hashes}
        self._hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def update(self, piece: bytes) -> None:
        self.size += len(piece)
        for hasher in self._hashers.values():
            hasher.update(piece)

    def read(self, path: Path) -> None:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                self.update(piece)

    def __getitem__(self, algorithm: str) -> str:
        return self._hashers[algorithm].hexdigest()


def _check(path: Path, expected: Expected, found: _Digests, cause: str) -> None:
    """Raises ReadError for a file that is not the expected one; records the hash of one that nobody knows."""
    if expected.size is not None and found.size != expected.size:
        raise ReadError(f"{path.name}: expected {expected.size} bytes, got {found.size}; {cause}")
    for algorithm, hashes in expected.hashes.items():
        if found[algorithm] not in hashes:
            raise ReadError(
                f"{path.name}: expected {algorithm} {' or '.join(hashes)}, got {found[algorithm]}; {cause}"
            )
    if expected.hashes:
        return
    record = _record(path)
    if not record.exists():
        write(record, f"{found['sha256']}  {path.name}\n")  # as sha256sum -c reads it
    elif (known := record.read_text(encoding="utf-8", errors="replace").split()[:1]) != [found["sha256"]]:
        raise ReadError(
            f"{path.name}: expected sha256 {''.join(known)} by {record}, got {found['sha256']}; {cause}"
        )


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


class _Part:
    """NAME.part: what has arrived, hashed. `version` is the validator to resume by, "" if there is none.

    It is locked until it is closed: what is written to it here is all that takes its name.
    """

    def __init__(self, url: str, destination: Path, expected: Expected) -> None:
        self.url, self.expected = url, expected
        self.path = destination.with_name(f"{destination.name}.part")
        self._file = _locked(self.path)
        self.is_known = bool(expected.size or expected.hashes) or _record(destination).exists()
        self._state = destination.with_name(f"{destination.name}.part.json")
        self.digests = _Digests(expected)
        self.version = self._version_left()
        if self.version:
            self.digests.read(self.path)
        else:
            self.start_again("")

    def __enter__(self) -> _Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()  # which unlocks it

    def _version_left(self) -> str:
        """Of an earlier call's part, if it came from the same address."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        same = isinstance(state, dict) and state.get("url") == self.url
        return str(state.get("version", "")) if same else ""

    @property
    def size(self) -> int:
        return self.digests.size

    def start_again(self, version: str) -> None:
        self.version, self.digests = version, _Digests(self.expected)
        self._file.truncate(0)
        self._state.write_text(json.dumps({"url": self.url, "version": version}), encoding="utf-8")

    def add(self, piece: bytes) -> None:
        self._file.write(piece)
        self._file.flush()
        self.digests.update(piece)

    def check_size(self) -> None:
        """Raises ReadError when the file is not what was hashed: a program without locks wrote to it."""
        found = os.fstat(self._file.fileno()).st_size
        if found != self.size:
            problem = f"has {found} bytes, not the {self.size} that arrived"
            raise ReadError(f"{self.path}: {problem}; something else writes to it, or did")

    # Once the part has lost its name, another fetch may make its own: the state goes first.

    def keep_as(self, path: Path) -> None:
        self._state.unlink(missing_ok=True)
        self.path.replace(path)

    def discard(self) -> None:
        self._state.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _locked(path: Path) -> IO[bytes]:
    """The file, to append to, once no other process or thread has it; the lock of a dead one is gone."""
    while True:
        with ExitStack() as closing:
            file = closing.enter_context(path.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
            if _has_name(file, path):
                closing.pop_all()
                return file


def _has_name(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has the name that it was opened by; who had it may have moved it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _receive(part: _Part, progress: Progress | None, pause_s: float) -> None:
    """Asks until everything has arrived. Raises MissingData after six that brought next to nothing."""
    best, failures = part.size, 0
    while True:
        try:
            return _ask(part, progress)
        except _DROPPED as error:
            failures = 0 if part.size >= best + ENOUGH else failures + 1
            best = max(best, part.size)
            if failures == ATTEMPTS:
                raise MissingData(
                    f"{part.url}: {failures} attempts brought next to nothing, the last ended with: {error}; "
                    f"{part.size} bytes are in {part.path}, and the same command goes on from there"
                ) from error
        except requests.RequestException as error:
            raise MissingData(f"{part.url}: cannot be fetched: {error}") from error
        time.sleep(min(pause_s * 2**failures, 60))


def _ask(part: _Part, progress: Progress | None) -> None:
    """One request, for what is missing if the server still has the same version, or else for everything."""
    headers = {"Accept-Encoding": "identity"}  # bytes as stored: hashes and ranges are of those
    if part.version and part.size:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.version}
    with requests.get(part.url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        total = _begin(response, part)
        most = part.expected.size or total or MAX_BYTES
        _need_room(part, (part.expected.size or total or part.size) - part.size)
        for piece in response.raw.stream(_PIECE, decode_content=False):
            if part.size + len(piece) > most:
                raise ReadError(f"{part.url}: expected {most} bytes, the server sends more")
            part.add(piece)
            if progress:
                progress(part.size, total)
    if total is not None and part.size < total:
        raise ConnectionError(f"closed after {part.size} of {total} bytes")


def _begin(response: requests.Response, part: _Part) -> int | None:
    """The whole size, None if unknown, once `part` stands where the response's bytes begin."""
    version = _version(response)
    if response.status_code == 206:
        span = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18})", response.headers.get("Content-Range", ""))
        if span and int(span[1]) == part.size and version == part.version:
            return int(span[2])
    if response.status_code in (206, 416):  # not what was asked for, or the file is shorter now
        part.start_again("")
        raise ConnectionError(f"the server's version is not the one that {part.path.name} began with")
    if response.status_code in _BUSY:
        raise ConnectionError(f"{response.status_code} {response.reason}")
    if response.status_code != 200:
        raise MissingData(_refusal(response))
    part.start_again(version)
    length = response.headers.get("Content-Length", "")
    if re.fullmatch(r"\d{1,18}", length):
        return int(length)
    # Chunks say which one is the last; without them a broken connection looks like the end.
    if response.headers.get("Transfer-Encoding", "").lower() != "chunked" and not part.is_known:
        problem = "the server does not say how long the file is, and neither a size nor a hash is known"
        raise MissingData(f"{part.url}: {problem}: a cut one would look whole. {_BY_HAND}")
    return None


def _version(response: requests.Response) -> str:
    """A validator that If-Range takes: a strong ETag, or the date."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _refusal(response: requests.Response) -> str:
    forbidden = response.status_code in _FORBIDDEN
    cause = "it asks for a registration" if forbidden else "the address may have moved"
    return f"{response.url}: the server says {response.status_code} {response.reason}; {cause}. {_BY_HAND}"


def _need_room(part: _Part, size: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if size > free:
        raise WriteError(f"{part.path.parent}: {size} bytes are needed, {free} are free")
