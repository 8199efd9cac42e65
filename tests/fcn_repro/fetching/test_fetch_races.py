"""Several fetches of one file at a time, and transfers of which nothing says that they are whole."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.fetching.http import fetch
from tests.fcn_repro.conftest import Pause

CONTENT = np.random.default_rng(8).bytes(300_007)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = 150_000
_PROGRAM = "import sys; from fcn_repro.fetching.http import fetch; fetch(*sys.argv[1:])"


def in_a_process(url: str, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, url, str(path)])


def waits(fetching: Future[Path]) -> bool:
    """Whether a fetch is not through; without a lock it would be long before."""
    return not wait([fetching], timeout=0.5).done


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {}], ids=["known hash", "no hash"])
def test_a_second_thread_takes_what_the_first_one_fetched(server, tmp_path, known):
    pause = Pause(HALF)
    url, path = server.serve("a.tar", CONTENT, pause=pause), tmp_path / "a.tar"
    with ThreadPoolExecutor() as threads:
        first = threads.submit(fetch, url, path, **known)
        pause.reached.wait()
        second = threads.submit(fetch, url, path, **known)
        waited = waits(second)
        pause.go.set()
        assert waited
        assert [first.result(), second.result()] == [path, path]
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked, _ in server.requests] == [""]
    assert left(tmp_path) == ["a.tar"] + ["a.tar.sha256"] * (not known)


def test_a_second_process_takes_what_the_first_one_fetched(server, tmp_path):
    pause = Pause(HALF)
    url, path = server.serve("a.tar", CONTENT, pause=pause), tmp_path / "a.tar"
    first = in_a_process(url, path)
    pause.reached.wait()
    threading.Timer(0.5, pause.go.set).start()
    assert fetch(url, path) == path
    assert first.wait() == 0
    assert path.read_bytes() == CONTENT
    assert (tmp_path / "a.tar.sha256").read_text() == f"{SHA256}  a.tar\n"
    assert [asked for _, asked, _ in server.requests] == [""]


@pytest.mark.fault(
    "kill -9 of a download",
    "fcn-repro --fetch",
    "the next goes on where it ended; the name comes with the right hash",
)
def test_who_waits_goes_on_where_a_killed_fetch_ended(server, tmp_path):
    content = np.random.default_rng(9).bytes(3 << 20)
    pause = Pause(2 << 20)  # pieces of a MiB are written
    url, path = server.serve("a.tar", content, pause=pause), tmp_path / "a.tar"
    part = tmp_path / "a.tar.part"
    first = in_a_process(url, path)
    pause.reached.wait()
    while part.stat().st_size < pause.after:
        time.sleep(0.01)
    with ThreadPoolExecutor() as threads:
        second = threads.submit(fetch, url, path)
        waited = waits(second)
        first.kill()
        first.wait()
        assert waited
        assert second.result().read_bytes() == content
    assert [asked for _, asked, _ in server.requests] == ["", f"bytes={pause.after}-"]
    assert not part.exists()


def test_a_fetch_that_waited_for_one_that_failed_starts_anew(server, tmp_path):
    pause = Pause(HALF)
    url, path = server.serve("a.tar", CONTENT, pause=pause), tmp_path / "a.tar"
    with ThreadPoolExecutor() as threads:
        first = threads.submit(fetch, url, path, sha256="0" * 64)  # it discards its part
        pause.reached.wait()
        second = threads.submit(fetch, url, path, sha256=SHA256)
        waited = waits(second)
        pause.go.set()
        assert waited
        with pytest.raises(ReadError, match="expected sha256 0000"):
            first.result()
        assert second.result().read_bytes() == CONTENT
    assert left(tmp_path) == ["a.tar"]


def test_a_program_without_locks_that_writes_to_the_part_is_noticed(server, tmp_path):
    def write(done: int, total: int | None) -> None:
        with (tmp_path / "a.tar.part").open("ab") as file:
            file.write(b"more")

    with pytest.raises(ReadError, match=r"a\.tar\.part: has 300011 bytes, not the 300007 that arrived"):
        fetch(server.serve("a.tar", CONTENT), tmp_path / "a.tar", sha256=SHA256, progress=write)
    assert left(tmp_path) == []


def test_where_nothing_tells_that_it_is_whole_it_is_refused(server, tmp_path):
    url = server.serve("a.tar", CONTENT, length=False, drops=[HALF])
    with pytest.raises(MissingData, match=r"a cut one would look whole\. .* --from FILE"):
        fetch(url, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize("known", [{"size": len(CONTENT)}, {"sha256": SHA256}], ids=["size", "hash"])
def test_without_a_length_a_known_size_or_hash_tells(server, tmp_path, known):
    url = server.serve("a.tar", CONTENT, length=False)
    assert fetch(url, tmp_path / "a.tar", **known).read_bytes() == CONTENT
    server.serve("a.tar", CONTENT, length=False, drops=[HALF])
    with pytest.raises(ReadError, match=r"got \w+; it was altered on the way"):
        fetch(url, tmp_path / "b.tar", **known)


def test_without_a_length_the_hash_on_record_tells(server, tmp_path):
    (tmp_path / "a.tar.sha256").write_text(f"{SHA256}  a.tar\n")
    url = server.serve("a.tar", CONTENT, length=False)
    assert fetch(url, tmp_path / "a.tar").read_bytes() == CONTENT


def test_chunks_tell_where_they_end(server, tmp_path):
    url = server.serve("a.tar", CONTENT, chunks=3)
    assert fetch(url, tmp_path / "a.tar").read_bytes() == CONTENT
    server.serve("a.tar", CONTENT, chunks=3, drops=[HALF])
    assert fetch(url, tmp_path / "b.tar", pause_s=0.001).read_bytes() == CONTENT
    assert len(server.requests) == 3
