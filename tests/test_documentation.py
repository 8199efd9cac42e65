"""What the pages say holds: every block of code runs in order, every link and every name leads somewhere.

A comment right before a fence says what is special about a block:

    <!-- needs: a GPU -->    it needs what a reader may lack (NEEDS), and is not run; an extra is given to it
    <!-- exit: 1 -->         each of its lines is a command that ends with this exit code
    <!-- file: my.toml -->   it is saved under this name, and not run

A `text` block right after one that was run is what that printed; a line `...` stands for any lines, and times
and rounding errors may differ.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf import text_format
from PIL import Image

import caffe2torch as c2t
from caffe2torch import schema
from fcn_repro.data.datasets import open_dataset
from tests.field_reader import read
from tests.places import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/examples/*.md", "weights/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "layers.md"  # generated, and without blocks
)
EXTRAS: dict[str, set[str]] = {
    extra: {
        re.split(r"[^\w.-]", line)[0]
        for line in importlib.metadata.requires("caffe2torch") or ()
        if f'extra == "{extra}"' in line and not line.startswith("torch")  # a newer one, which is here
    }
    for extra in ("caffe", "hub", "leveldb", "onnx", "train")
}
"""The packages of each extra, which `make demo` does not install."""
NEEDS = {
    *("network", "published weights", "data sets", "a GPU", "several GPUs", "Caffe", "OpenCV"),
    *("half a minute", "minutes", "half an hour", "two hours"),
}
"""What a reader may lack, or have no time for."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its lines, and what the comment before it says."""

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]
    follows: bool
    """Whether nothing stands between the block before and this one."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def needs(self) -> set[str]:
        return set(filter(None, self.marks.get("needs", "").split(", ")))

    @property
    def runs(self) -> bool:
        """Whether it is run: it is a command or a program, and all that it needs is here."""
        return self.language in ("sh", "python") and "file" not in self.marks and self.needs <= EXTRAS.keys()


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = iter(enumerate((ROOT / page).read_text().splitlines(), start=1))
    marks: dict[str, str] = {}
    follows = False
    for number, line in lines:
        if line.startswith("```"):
            body = []
            for _, inside in lines:
                if inside == "```":
                    break
                body.append(inside)
            yield Block(page, number, line[3:], "\n".join(body) + "\n", marks, follows)
            marks, follows = {}, True
        elif mark := re.fullmatch(r"<!-- (needs|exit|file): (.+) -->", line):
            marks = {mark[1]: mark[2]}
        elif line:
            marks, follows = {}, False


def prose(page: str) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


ignored = shutil.ignore_patterns("golden")


@dataclass
class Workshop:
    """A clone after `make demo`, in which a page's blocks run one after another."""

    folder: Path
    printed: str = ""
    run: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("benchmarks", "caffe2torch", "docs", "fcn_repro", "tests", "weights"):
            shutil.copytree(ROOT / name, self.folder / name, symlinks=True, ignore=ignored)
        (self.folder / "tests" / "golden").symlink_to(ROOT / "tests" / "golden")
        for name in ("Makefile", "constraints.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        self.bin.parent.mkdir()
        for path in Path(sys.prefix).iterdir():
            if path.name not in ("made", "installed"):
                (self.folder / ".venv" / path.name).symlink_to(path)
        for stamp in ("made", "installed"):  # newer than pyproject.toml: make has nothing to install
            (self.folder / ".venv" / stamp).touch()
        (self.folder / "without").mkdir()

    @property
    def bin(self) -> Path:
        return self.folder / ".venv" / "bin"

    @property
    def environment(self) -> dict[str, str]:
        paths = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.folder / 'without'}:{self.folder}",
        }
        return {**os.environ, **paths, "OMP_NUM_THREADS": "1"}

    def do(self, block: Block) -> None:
        """Runs, saves or compares a block, or passes it over."""
        if "file" in block.marks:
            (self.folder / block.marks["file"]).write_text(block.text)
        elif block.language == "text":
            if block.follows and self.run and self.run[-1].runs:
                assert_printed(block, self.printed)
        elif block.runs:
            self.printed = self.shell(block) if block.language == "sh" else self.python(block)
        self.run.append(block)

    def shell(self, block: Block) -> str:
        """What a block of commands prints, its errors last."""
        (self.folder / "without" / "sitecustomize.py").write_text(
            f"import sys\nsys.modules.update(dict.fromkeys({sorted(withheld(block))}))\n"
        )
        expected = int(block.marks.get("exit", 0))
        printed = ""
        for script in block.text.splitlines() if expected else [block.text]:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == expected, f"{block}: {script}\n{done.stdout}{done.stderr}"
            printed += done.stdout + done.stderr
        return printed

    def python(self, block: Block) -> str:
        """What a block of Python prints."""
        code = compile("\n" * block.line + block.text, ROOT / block.page, "exec")
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
            patch.chdir(self.folder)
            for name in withheld(block):
                patch.setitem(sys.modules, name, None)
            exec(code, {"__name__": "__main__"})  # noqa: S102 (our own page)
        return printed.getvalue()


def withheld(block: Block) -> set[str]:
    """The packages of the extras that a block does not say it needs."""
    return {name for extra, packages in EXTRAS.items() if extra not in block.needs for name in packages}


def assert_printed(block: Block, printed: str) -> None:
    """The block's lines, in which `...` is any lines; spaces, times and rounding errors do not count."""
    expected = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in comparable(block.text)
    )
    found = "".join(f"{line}\n" for line in comparable(printed))
    assert re.fullmatch(expected, found), f"{block}: expected\n{block.text}\nfound\n{printed}"


def comparable(text: str) -> list[str]:
    text = re.sub(r"\d\.\d+e[+-]\d\d", "<error>", text)
    text = re.sub(r"\d+(\.\d+)? s\b", "<seconds> s", text)
    return [re.sub(r" +", " ", line.strip()) for line in text.strip().splitlines()]


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in blocks(page))])
def test_every_block_runs(page: str, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    for block in blocks(page):
        workshop.do(block)
    if check := AFTERWARDS.get(page):
        check(tmp_path, workshop)


@pytest.mark.skipif("SLOW_TESTS" not in os.environ, reason="takes half a minute; set SLOW_TESTS to run it")
def test_make_demo_ends_with_pictures(tmp_path: Path) -> None:
    """The README's first block."""
    demo = next(blocks("README.md"))
    assert demo.text == "make demo\n"
    printed = Workshop(tmp_path).shell(demo)
    assert "all 14 blobs pass" in printed
    assert "fcn-repro: 16 of 16 cells measured" in printed
    page = re.findall(r"\S+\.html", printed)[-1]
    assert (tmp_path / page).read_text().count("<figure") == 32
    for name in ("voc-fcn8s.safetensors", "models/shapes-fcn8s.safetensors"):
        c2t.from_safetensors(tmp_path / "demo" / name)
    shows_what_the_readme_shows(tmp_path / "demo/results/shapes-fcn8s-shapes-test-predictions/test-00062.png")
    assert "\nwrote demo/picture/image-labels.png and demo/picture/image-overlay.jpg\n" in printed
    shows_what_the_readme_shows(tmp_path / "demo/picture/image-labels.png")


def the_readmes_pictures(folder: Path, workshop: Workshop) -> None:
    """docs/street is image 62 of the test split, its labels, and what a block makes of it."""
    scene = open_dataset("shapes", ".", "test")[62]
    np.testing.assert_array_equal(pixels(STREET / "image.png"), scene.image_hwc)
    np.testing.assert_array_equal(pixels(STREET / "labels.png"), scene.label)
    shows_what_the_readme_shows(folder / "picture/image-labels.png")
    shown, made = (
        pixels(path).astype(int) for path in (STREET / "overlay.jpg", folder / "picture/image-overlay.jpg")
    )
    assert abs(shown - made).mean() < 1
    assert pixels(folder / "picture.png").shape[1] == made.shape[1]
    assert "<figure" in (folder / "street/shapes-fcn8s-shapes-val.html").read_text()


STREET = ROOT / "docs" / "street"


def shows_what_the_readme_shows(prediction: Path) -> None:
    """Another processor may decide a few pixels differently."""
    assert (pixels(prediction) == pixels(STREET / "prediction.png")).mean() > 0.995
    palettes = [Image.open(path).getpalette() for path in (prediction, STREET / "prediction.png")]
    assert palettes[0][:33] == palettes[1][:33]


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def caffes_files(folder: Path, workshop: Workshop) -> None:
    """docs/caffe.md leaves what Caffe takes, read here by a reader of plain protobuf."""

    def definition(name: str) -> Any:
        return text_format.Parse((folder / name).read_text(), schema.message("NetParameter")())

    for weights, prototxt in {
        "fcn.caffemodel": "deploy.prototxt",
        "module.caffemodel": "module.prototxt",
    }.items():
        names = [layer["name"] for layer in read("NetParameter", (folder / weights).read_bytes())["layer"]]
        assert names == [layer.name for layer in definition(prototxt).layer]
    assert definition("train.prototxt").layer[-1].type == "SoftmaxWithLoss"
    assert "base_lr: 1e-10\n" in (folder / "solver.prototxt").read_text()
    losses = re.findall(r"(\d+): loss (\S+), Caffe's (\S+)", workshop.printed)
    assert [int(step) for step, _, _ in losses] == [7, 8, 9, 10, 11, 12]
    assert all(abs(float(ours) - float(caffes)) <= 2e-6 for _, ours, caffes in losses)
    assert {path.name for path in folder.glob("snap*")} == {
        "snap_iter_12.caffemodel",
        "snap_iter_12.solverstate",
    }


def a_picture_of_each_new_photo(folder: Path, workshop: Workshop) -> None:
    """docs/your-own-images.md leaves a model that knows its classes, and pages with pictures."""
    names = [line.split()[0] for line in (folder / "scenes/classes.txt").read_text().splitlines()]
    assert list(c2t.load(folder / "models/my.safetensors").labellings["score"].classes) == names
    for made in ("pictures", "earlier"):
        assert len(list((folder / made).glob("val-*-overlay.jpg"))) == 10
        assert (folder / made / "index.html").is_file()
    for page in ("training/my/my.html", "scores/my-folder-val.html"):
        assert "<img" in (folder / page).read_text()


AFTERWARDS = {
    "README.md": the_readmes_pictures,
    "docs/your-own-images.md": a_picture_of_each_new_photo,
    "docs/caffe.md": caffes_files,
}


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_one_that_this_test_knows(page: str) -> None:
    for block in blocks(page):
        assert block.language in ("sh", "python", "toml", "text"), f"{block}: ```{block.language}"
        assert block.needs <= NEEDS | EXTRAS.keys(), f"{block}: needs {block.needs}"
        assert block.language != "toml" or "file" in block.marks, f"{block}: saved under which name?"
        assert not re.search(r"^\s*\$ ", block.text, re.MULTILINE), f"{block}: a prompt"
    indented = re.findall(r"\n\n    .*", prose(page))
    assert not indented, f"{page}: code without a fence: {indented[0].strip()}"


@pytest.mark.parametrize("page", [*PAGES, "docs/layers.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", prose(page))
    for target in filter(None, sum(targets, ())):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: ({target})"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{page}: ({target})"


FOLDERS = ("benchmarks", "caffe2torch", "docs", "fcn_repro", "tests", "weights")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_name_in_backticks_exists(page: str) -> None:
    words = [word for code in re.findall(r"`([^`\n]+)`", prose(page)) for word in code.split()]
    for word in words:
        path = word.rstrip(".,;:)")
        if path.partition("/")[0] in FOLDERS and "/" in path:
            pattern = re.sub(r"\b[A-Z]{2,}\b", "*", path)  # NAME stands for any name
            assert list(ROOT.glob(pattern)), f"{page}: `{word}`"
        elif name := re.match(r"(?:c2t|caffe2torch|fcn_repro)(?:\.[A-Za-z_]\w*)+", path):
            assert resolved(name[0].replace("c2t.", "caffe2torch.", 1)), f"{page}: `{word}`"


def resolved(name: str) -> bool:
    """Whether a dotted name is a module's, or of something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError):
            found = importlib.import_module(".".join(parts[:length]))
            for part in parts[length:]:
                found = getattr(found, part, None)
            return found is not None
    return False
