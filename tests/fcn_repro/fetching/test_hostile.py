"""Small files that take long, or end in a bug, where nobody minds them: archives, answers, TOML."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from caffe2torch.errors import ReadError
from fcn_repro.fetching.archives import MAX_BYTES, MAX_MEMBERS, _Writer, extract
from fcn_repro.scoring.voc_server import MAX_ANSWER_BYTES
from fcn_repro.toml_records import load
from tests.limited import printed


class Counted(dict[str, str]):
    """A dictionary that counts how often it is asked for a key."""

    asked = 0

    def __getitem__(self, key: str) -> str:
        self.asked += 1
        return super().__getitem__(key)


def chained(count: int) -> list[tuple[str, str]]:
    """Links, each to the next, and the last to `a`."""
    return [(f"l{n}", f"l{n + 1}" if n + 1 < count else "a") for n in range(count)]


@pytest.mark.parametrize("backwards", [False, True])
def test_each_link_of_a_chain_is_followed_once(tmp_path: Path, backwards: bool) -> None:
    writer = _Writer(tmp_path / "a.tar", tmp_path, MAX_BYTES, MAX_MEMBERS)
    writer.links = Counted(writer.links)
    writer.add_file("a", io.BytesIO(b"abc"))
    for name, target in chained(500)[:: -1 if backwards else 1]:
        writer.add_link(name, target)
    writer.copy_links()
    assert all((tmp_path / f"l{n}").read_bytes() == b"abc" for n in range(500))
    assert writer.links.asked <= 1000


def packed(path: Path, links: list[tuple[str, str]]) -> Path:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("a")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
        for name, target in links:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    return path


@pytest.mark.parametrize(
    ("links", "problem"),
    [
        ([("b", "c"), ("c", "b")], "'b' is a link to 'c', which is not a file"),
        ([("b", "b")], "'b' is a link to 'b', which is not a file"),
        ([("b", "a"), ("./b", "a")], "'./b' comes twice"),
    ],
)
def test_links_to_nothing(tmp_path: Path, links: list[tuple[str, str]], problem: str) -> None:
    with pytest.raises(ReadError, match=problem):
        extract(packed(tmp_path / "a.tar", links), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_under_other_spellings(tmp_path: Path) -> None:
    links = [("./b", "./a"), ("d/c", "../b"), ("d/e", "./c")]
    extract(packed(tmp_path / "a.tar", links), tmp_path / "out")
    assert [(tmp_path / "out" / name).read_bytes() for name in ("b", "d/c", "d/e")] == [b"abc"] * 3


def test_a_member_without_a_name(tmp_path: Path, golden: Path) -> None:
    with pytest.raises(ReadError, match="'' is no name of a member; nothing was unpacked"):
        extract(golden / "hostile" / "emptyname.zip", tmp_path / "out")


ANSWERS = {
    "spaces": "a" + " " * (MAX_ANSWER_BYTES - 9),
    "letters": "a " * (MAX_ANSWER_BYTES // 2 - 9),
    "a number": "5" + " " * (MAX_ANSWER_BYTES - 9) + "x",
    "lines": " \n" * (MAX_ANSWER_BYTES // 2 - 9),
    "a cell in pieces": "<tr><td>" + "a<b>" * (MAX_ANSWER_BYTES // 4 - 9),
}
READS = """
import sys
from pathlib import Path
from caffe2torch.errors import ReadError
from fcn_repro.scoring.voc_server import read_answer
try:
    read_answer(Path(sys.argv[1]))
except ReadError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_largest_answer_is_read_within_seconds(tmp_path: Path, kind: str) -> None:
    """Of processor time, which a limit ends; cubic steps would take years."""
    answer = tmp_path / "answer.txt"
    answer.write_text(ANSWERS[kind])
    assert "no mean IU found" in printed(READS, answer)


@dataclass(frozen=True)
class Nothing:
    """A record without fields."""


def test_toml(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("a = " + "[" * 50_000)
    with pytest.raises(ReadError, match=r"my\.toml: not readable as TOML: .*recursion"):
        load(path, Nothing)
    path.write_text("#" * ((1 << 20) + 1))
    with pytest.raises(ReadError, match=r"my\.toml: is over 1048576 bytes"):
        load(path, Nothing)
