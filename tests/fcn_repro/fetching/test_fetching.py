"""Fetching from a real server that misbehaves, and unpacking archives that mean harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from caffe2torch.errors import Caffe2TorchError, MissingData, ReadError, WriteError
from fcn_repro.data.published import Archive
from fcn_repro.fetching import http
from fcn_repro.fetching.datasets import extract, fetch, obtain, plan_fetch, sources

CONTENT = np.random.default_rng(7).bytes(300_007)
SHA1 = hashlib.sha1(CONTENT).hexdigest()  # noqa: S324
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAUSE = {"pause_s": 0.001}


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_under_its_name_alone(server, tmp_path):
    seen = []
    path = fetch(
        server.serve("a.tar", CONTENT),
        tmp_path / "new" / "a.tar",
        sha1=SHA1,
        size=len(CONTENT),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == ["a.tar"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_dropped_connection_goes_on_where_it_broke(server, tmp_path):
    url = server.serve("a.tar", CONTENT, drops=[100_000, 50_000])
    path = fetch(url, tmp_path / "a.tar", sha256=SHA256, **PAUSE)
    assert path.read_bytes() == CONTENT
    assert [(asked, sent) for _, asked, sent in server.requests] == [
        ("", 100_000),
        ("bytes=100000-", 50_000),
        ("bytes=150000-", 150_007),
    ]
    assert server.if_range == [None, '"v1"', '"v1"']


def test_a_server_may_give_a_range_in_pieces(server, tmp_path):
    url = server.serve("a.tar", CONTENT, drops=[100_000], piece=90_000)
    assert fetch(url, tmp_path / "a.tar", **PAUSE).read_bytes() == CONTENT
    assert [sent for _, _, sent in server.requests] == [100_000, 90_000, 90_000, 20_007]


def test_an_interrupted_fetch_goes_on_in_the_next_call(server, tmp_path, monkeypatch):
    url = server.serve("a.tar", CONTENT, drops=[100_000])

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(http.time, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(url, tmp_path / "a.tar", sha1=SHA1)
    assert left(tmp_path) == ["a.tar.part", "a.tar.part.json"]
    assert fetch(url, tmp_path / "a.tar", sha1=SHA1).read_bytes() == CONTENT
    assert server.requests[-1] == ("a.tar", "bytes=100000-", 200_007)
    assert left(tmp_path) == ["a.tar"]


@pytest.mark.parametrize(
    "faults",
    [
        {"ignores_range": True},
        {"etag": 'W/"weak"'},
        {"etag": ""},
        {"shift": 5},
    ],
    ids=["Range ignored", "weak ETag", "no ETag", "another range sent"],
)
def test_where_nothing_can_be_resumed_it_starts_again_cleanly(server, tmp_path, faults):
    url = server.serve("a.tar", CONTENT, drops=[100_000], **faults)
    assert fetch(url, tmp_path / "a.tar", sha1=SHA1, **PAUSE).read_bytes() == CONTENT
    assert server.requests[-1][2] == len(CONTENT)


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_file_replaced_meanwhile_is_not_mixed_with_the_old_one(server, tmp_path, ignores_if_range):
    url = server.serve("a.tar", bytes(len(CONTENT)), etag='"old"', drops=[100_000])

    def replace(done: int, total: int | None) -> None:
        server.serve("a.tar", CONTENT, etag='"new"', ignores_if_range=ignores_if_range)

    path = fetch(
        url, tmp_path / "a.tar", progress=replace, **PAUSE
    )  # no hash is known: nothing else would tell
    assert path.read_bytes() == CONTENT


def test_a_file_that_became_shorter_than_what_arrived_starts_again(server, tmp_path):
    url = server.serve("a.tar", bytes(200_000), drops=[150_000])

    def replace(done: int, total: int | None) -> None:
        server.serve("a.tar", CONTENT[:1000])

    assert fetch(url, tmp_path / "a.tar", progress=replace, **PAUSE).read_bytes() == CONTENT[:1000]


def test_a_part_from_another_address_is_not_used(server, tmp_path):
    (tmp_path / "a.tar.part").write_bytes(bytes(1000))
    (tmp_path / "a.tar.part.json").write_text(
        json.dumps({"url": "http://elsewhere/a.tar", "version": '"v1"'})
    )
    url = server.serve("a.tar", CONTENT)
    assert fetch(url, tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.requests == [("a.tar", "", len(CONTENT))]


def test_a_server_that_gives_nothing_is_left_after_six_attempts(server, tmp_path):
    url = server.serve("a.tar", CONTENT, drops=[100_000] + [0] * 20)
    with pytest.raises(
        MissingData, match=r"6 attempts brought next to nothing.*100000 bytes are in .*a\.tar\.part"
    ):
        fetch(url, tmp_path / "a.tar", **PAUSE)
    assert len(server.requests) == 7


def test_a_server_that_gives_a_few_bytes_at_a_time_is_left_too(server, tmp_path):
    url = server.serve("a.tar", CONTENT, drops=[1] * 1000)
    with pytest.raises(MissingData, match=r"next to nothing.*; 6 bytes are in"):
        fetch(url, tmp_path / "a.tar", **PAUSE)
    assert len(server.requests) == http.ATTEMPTS


def test_a_busy_server_is_asked_again(server, tmp_path):
    url = server.serve("a.tar", CONTENT, status=503)
    with pytest.raises(MissingData, match="503"):
        fetch(url, tmp_path / "a.tar", **PAUSE)
    assert len(server.requests) == http.ATTEMPTS


def test_nobody_listens(tmp_path):
    with pytest.raises(MissingData, match="attempts brought next to nothing"):
        fetch("http://127.0.0.1:9/a.tar", tmp_path / "a.tar", **PAUSE)


@pytest.mark.parametrize(
    ("status", "cause"),
    [(404, "address may have moved"), (410, "address may"), (403, "asks for a registration")],
)
def test_a_refusal_says_what_and_what_to_do_at_once(server, tmp_path, status, cause):
    url = server.serve("a.tar", b"no", status=status)
    with pytest.raises(MissingData, match=rf"{url}: the server says {status} .*{cause}.*--from FILE"):
        fetch(url, tmp_path / "a.tar")
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "nonsense", "http://"])
def test_what_is_no_address_is_refused(tmp_path, url):
    with pytest.raises(MissingData, match="cannot be fetched"):
        fetch(url, tmp_path / "a.tar")


def test_another_file_is_refused_and_not_kept(server, tmp_path):
    url = server.serve("a.tar", CONTENT[:-1] + b"!")
    with pytest.raises(
        ReadError, match=rf"a\.tar: expected sha1 {SHA1}, got [0-9a-f]{{40}}; it was altered on the way"
    ):
        fetch(url, tmp_path / "a.tar", sha1=SHA1)
    assert left(tmp_path) == []


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_size_is_refused(server, tmp_path, size):
    url = server.serve("a.tar", CONTENT, length=False)
    with pytest.raises(ReadError, match=f"expected {size} bytes"):
        fetch(url, tmp_path / "a.tar", size=size)
    assert left(tmp_path) == []


def test_a_server_that_never_ends_is_cut_off(server, tmp_path):
    arrived = []
    url = server.serve("a.tar", bytes(9_000_000), length=False)
    with pytest.raises(ReadError, match="expected 2000000 bytes, the server sends more"):
        fetch(url, tmp_path / "a.tar", size=2_000_000, progress=lambda done, total: arrived.append(done))
    assert max(arrived) <= 2_000_000
    assert left(tmp_path) == []


def test_without_any_size_there_is_an_end(server, tmp_path, monkeypatch):
    url = server.serve("a.tar", CONTENT, length=False)
    monkeypatch.setattr(http, "MAX_BYTES", len(CONTENT))
    fetch(url, tmp_path / "a.tar", sha256=SHA256)
    monkeypatch.setattr(http, "MAX_BYTES", len(CONTENT) - 1)
    with pytest.raises(ReadError, match="expected 300006 bytes, the server sends more"):
        fetch(url, tmp_path / "b.tar", sha256=SHA256)


def test_any_of_several_hashes_will_do(server, tmp_path):
    fetch(server.serve("a.tar", CONTENT), tmp_path / "a.tar", sha1=("0" * 40, SHA1.upper()))


def test_a_transfer_that_the_server_packs_is_stored_as_sent(server, tmp_path):
    packed = gzip.compress(CONTENT)
    url = server.serve("a.tgz", packed, encoding="gzip", drops=[1000])
    assert fetch(url, tmp_path / "a.tgz", **PAUSE).read_bytes() == packed


def test_the_first_hash_is_recorded_and_holds(server, tmp_path):
    url = server.serve("a.tar", CONTENT)
    fetch(url, tmp_path / "a.tar")
    assert (tmp_path / "a.tar.sha256").read_text() == f"{SHA256}  a.tar\n"
    assert fetch(url, tmp_path / "a.tar").read_bytes() == CONTENT
    (tmp_path / "a.tar").write_bytes(b"damaged")
    with pytest.raises(ReadError, match=f"expected sha256 {SHA256} by .*remove it"):
        fetch(url, tmp_path / "a.tar")
    (tmp_path / "a.tar").unlink()
    server.serve("a.tar", b"replaced")
    with pytest.raises(ReadError, match=f"expected sha256 {SHA256} by .* or replaced at"):
        fetch(url, tmp_path / "a.tar")


def test_a_file_that_is_there_is_checked_and_not_fetched(server, tmp_path):
    (tmp_path / "a.tar").write_bytes(CONTENT)
    url = server.serve("a.tar", CONTENT)
    fetch(url, tmp_path / "a.tar", sha1=SHA1)
    with pytest.raises(ReadError, match="expected sha1 0"):
        fetch(url, tmp_path / "a.tar", sha1="0" * 40)
    assert server.requests == []


def test_no_room_is_said_before_anything_is_written(server, tmp_path, monkeypatch):
    monkeypatch.setattr(http.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 2, 7))
    with pytest.raises(WriteError, match="300007 bytes are needed, 7 are free"):
        fetch(server.serve("a.tar", CONTENT), tmp_path / "a.tar")
    assert (tmp_path / "a.tar.part").read_bytes() == b""


def tar_of(path: Path, mode: str, **members: bytes | tarfile.TarInfo) -> Path:
    """A tar with files by name, or with members as they are."""
    with tarfile.open(path, mode) as tar:
        for name, member in members.items():
            if isinstance(member, bytes):
                info = tarfile.TarInfo(name)
                info.size = len(member)
                tar.addfile(info, io.BytesIO(member))
            else:
                tar.addfile(member)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


FILES = {"a/one.txt": b"1" * 700, "a/b/two.txt": b"", "three.txt": b"3" * 5000}


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tar", "w"), ("tgz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
)
def test_a_tar_comes_out_as_it_went_in(tmp_path, suffix, mode):
    folder = extract(tar_of(tmp_path / f"x.{suffix}", mode, **FILES), tmp_path / "out")
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.txt")} == FILES
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder / "a").stat().st_mode)


def test_a_zip_comes_out_as_it_went_in(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("empty/", b"")
        for name, content in FILES.items():
            zipped.writestr(name, content)
    folder = extract(tmp_path / "x.zip", tmp_path / "out")
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.txt")} == FILES
    assert (folder / "empty").is_dir()


def test_a_plain_tar_under_the_name_of_a_packed_one_opens(tmp_path):
    assert (
        extract(tar_of(tmp_path / "benchmark.tgz", "w", **FILES), tmp_path / "out") / "three.txt"
    ).is_file()


@pytest.mark.parametrize(
    "name", ["/abs", "../up", "a/../../up", "a\\..\\..\\up", "C:\\x", "C:x", "\\\\host\\x"]
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_no_path_leaves_the_folder(tmp_path, name, kind):
    if kind == "tar":
        archive = tar_of(tmp_path / "x.tar", "w", **{"fine": b"fine", name: b"evil"})
    else:
        archive = tmp_path / "x.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            info = zipfile.ZipInfo("x")
            info.filename = name
            zipped.writestr(info, b"evil")
    with pytest.raises(ReadError, match="leaves the folder; nothing was unpacked"):
        extract(archive, tmp_path / "in" / "out")
    assert left(tmp_path / "in") == []
    assert left(tmp_path) == ["in", archive.name]


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("link", tarfile.SYMTYPE, "../secret"),
        special("a/link", tarfile.SYMTYPE, "../../secret"),
        special("link", tarfile.SYMTYPE, "a"),
        special("link", tarfile.SYMTYPE, "link"),
        special("link", tarfile.SYMTYPE, "missing"),
        special("link", tarfile.LNKTYPE, "../secret"),
        special("pipe", tarfile.FIFOTYPE),
        special("disk", tarfile.BLKTYPE),
        special("tty", tarfile.CHRTYPE),
    ],
    ids=lambda member: f"{member.type.decode()} {member.name} {member.linkname}",
)
def test_links_out_and_devices_are_refused(tmp_path, member):
    (tmp_path / "secret").write_text("secret")
    archive = tar_of(tmp_path / "x.tar", "w", **{"a/one.txt": b"1", "member": member})
    with pytest.raises(ReadError, match=r"is a link to|is neither a file"):
        extract(archive, tmp_path / "in" / "out")
    assert left(tmp_path / "in") == []


def test_nothing_is_written_through_a_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    trap = {"x": special("trap", tarfile.SYMTYPE, str(outside)), "trap/evil": b"evil"}
    with pytest.raises(ReadError):
        extract(tar_of(tmp_path / "x.tar", "w", **trap), tmp_path / "out")
    assert left(outside) == []


def test_links_within_become_copies(tmp_path):
    members = {
        "early": special("early", tarfile.SYMTYPE, "a/second"),  # before its target, and to a link
        "a/one.txt": b"1",
        "second": special("a/second", tarfile.SYMTYPE, "./one.txt"),
        "hard": special("hard", tarfile.LNKTYPE, "a/one.txt"),
    }
    folder = extract(tar_of(tmp_path / "x.tar", "w", **members), tmp_path / "out")
    for name in ("early", "a/second", "hard"):
        assert (folder / name).read_bytes() == b"1"
        assert not (folder / name).is_symlink()


def test_a_zip_link_out_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(info, "../../etc/passwd")
    with pytest.raises(ReadError, match=r"is a link to .*etc/passwd"):
        extract(tmp_path / "x.zip", tmp_path / "out")


@pytest.mark.parametrize("limit", [{"max_bytes": 5699}, {"max_members": 2}])
def test_bombs_go_off_early(tmp_path, limit):
    archive = tar_of(tmp_path / "x.tgz", "w:gz", **FILES)  # 5700 bytes in 3 members
    with pytest.raises(ReadError, match="allowed"):
        extract(archive, tmp_path / "in" / "out", **limit)
    assert left(tmp_path / "in") == []
    extract(archive, tmp_path / "out", max_bytes=5700, max_members=3)


def test_a_header_of_gigabytes_is_not_read(tmp_path):
    header = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 32
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ReadError, match="a header of 4294967296 bytes"):
        extract(tmp_path / "x.tar", tmp_path / "out")


def test_a_name_that_comes_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for content in (b"1", b"2"):
            info = tarfile.TarInfo("same")
            info.size = 1
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(ReadError, match="'same' comes twice"):
        extract(tmp_path / "x.tar", tmp_path / "out")


@pytest.mark.parametrize("suffix", ["tar", "tgz", "tar.bz2", "tar.xz", "zip"])
def test_damaged_archives_are_refused_whole(tmp_path, suffix):
    if suffix == "zip":
        with zipfile.ZipFile(tmp_path / "good.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("a", CONTENT)
    else:
        modes = {"tar": "w", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
        tar_of(tmp_path / f"good.{suffix}", modes[suffix], a=CONTENT)
    good = (tmp_path / f"good.{suffix}").read_bytes()
    draw, refused = np.random.default_rng(3), 0
    for cut in range(20):
        damaged = bytearray(good[: draw.integers(len(good) - 20_000)] if cut % 2 else good)
        for _ in range(0 if cut % 2 else 50):
            damaged[draw.integers(len(damaged))] ^= 1 << draw.integers(8)
        path = tmp_path / f"bad{cut}.{suffix}"
        path.write_bytes(damaged)
        try:
            extract(path, tmp_path / f"out{cut}")
        except Caffe2TorchError:
            refused += 1
            assert not (tmp_path / f"out{cut}").exists()
    assert refused >= 10, refused  # bits of a plain tar's content may flip unseen
    assert not list(tmp_path.glob(".out*"))


def test_a_place_that_cannot_be_written_is_said(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match="file"):
        fetch(server.serve("a.tar", CONTENT), tmp_path / "file" / "a.tar")
    with pytest.raises(WriteError, match="file"):
        extract(tar_of(tmp_path / "x.tar", "w", **FILES), tmp_path / "file" / "out")


def test_nothing_is_unpacked_over_a_folder(tmp_path):
    archive = tar_of(tmp_path / "x.tar", "w", **FILES)
    with pytest.raises(WriteError, match="already exists; nothing is unpacked"):
        extract(archive, tmp_path)
    with pytest.raises(MissingData, match="no such file"):
        extract(tmp_path / "y.tar", tmp_path / "out")


def test_the_published_sources_are_complete():
    for name, source in sources().items():
        described = str(plan_fetch(name))
        for archive in source.archives:
            assert (archive.address or "by hand") in described
            assert archive.file in described
        assert source.licence in described
    assert "2.0 GB (1999639040 bytes)" in str(plan_fetch("voc2012"))
    assert "md5 6cd6e144f989b92b3379bac3b3de84fd" in str(plan_fetch("voc2012"))
    with pytest.raises(MissingData, match=r"known are .*voc2011, voc2012"):
        plan_fetch("imagenet")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"address": "ftp://example.org/a.tar"}, "address 'ftp://example.org/a.tar' is not http"),
        ({"address": "https://example.org"}, "is not http"),
        ({"sha256": ("0" * 40,)}, "sha256 '0{40}' is not 64 hexadecimal digits"),
        ({"md5": ("G" * 32,)}, "md5 'G{32}' is not 32 hexadecimal digits"),
    ],
)
def test_an_archive_that_is_described_wrongly(facts, message):
    with pytest.raises(ValueError, match=message):
        Archive("a.tar", **{"address": None, **facts})


def test_what_only_the_user_can_fetch_is_said_and_taken_by_hand(tmp_path):
    with pytest.raises(MissingData, match=r"registered users: fetch it by hand.*--from VOC2012test\.tar"):
        obtain("voc2012-test", tmp_path)
    by_hand = tar_of(tmp_path / "downloaded (1).tar", "w", **FILES)
    folder = obtain("voc2012-test", tmp_path, given=[by_hand])
    assert (folder / "three.txt").is_file()
    assert (tmp_path / "archives" / "VOC2012test.tar.sha256").is_file()


def test_a_file_given_by_hand_is_checked(tmp_path):
    with pytest.raises(ReadError, match="expected 1999639040 bytes, got"):
        obtain("voc2012", tmp_path, given=[tar_of(tmp_path / "VOCtrainval_11-May-2012.tar", "w", **FILES)])
    assert not (tmp_path / "voc2012").exists()
    with pytest.raises(MissingData, match=r"comes as VOCtrainval_03-May-2010\.tar, trainval\.tar\.gz"):
        obtain("pascal-context", tmp_path, given=[tmp_path / "x.tar"])
    with pytest.raises(MissingData, match="no such file"):
        obtain("sbd", tmp_path, given=[tmp_path / "x.tar"])
