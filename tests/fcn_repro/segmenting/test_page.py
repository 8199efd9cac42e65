"""The page of fcn-segment: what it holds, that it loads nothing, and that its code runs."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

import caffe2torch as c2t
from fcn_repro.segmenting import cli
from tests.nets import net_of

HOSTILE = "<img src=x onerror=alert(1)> & \"'"
NET = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: 'score_sem' type: 'Convolution' bottom: 'data' top: 'score_sem'
        convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: 'score_geo' type: 'Convolution' bottom: 'data' top: 'score_geo'
        convolution_param { num_output: 2 kernel_size: 1 } }
"""
SEM = c2t.Labelling(("background", HOSTILE, "never"), ((0, 0, 0), (0, 200, 0), (255, 0, 0)))
GEO = c2t.Labelling(("flat", "up"), ((1, 2, 3), (250, 240, 230)))


class Page(HTMLParser):
    """Every tag with its attributes, and every text with the tag that it follows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.last = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        self.last = tag

    def handle_endtag(self, tag: str) -> None:
        self.last = ""

    def handle_data(self, data: str) -> None:
        self.texts.append((self.last, data))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A page of two photos, by a model with two heads, and the pixels of the one with a hostile name."""
    place = tmp_path_factory.mktemp("page")
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    (place / "photos").mkdir()
    Image.fromarray(pixels).save(place / "photos" / f"{HOSTILE}.png")
    Image.fromarray(pixels[::-1].repeat(400, axis=0)).save(place / "photos" / "tall.png")
    kernels = [np.eye(3)[:, :, None, None] * [[[[1]]], [[[1]]], [[[0]]]], np.array([0, 0, -999])]
    other = [random.normal(0, 0.02, (2, 3, 1, 1)), np.zeros(2)]
    model = c2t.build(net_of(NET, score_sem=kernels, score_geo=other))
    model.preprocessing = {"data": c2t.Preprocessing((0.0, 0.0, 0.0), channels="BGR")}
    model.labellings = {"score_sem": SEM, "score_geo": GEO}
    c2t.export(model, place / "two.safetensors")
    arguments = [str(place / "photos"), "--model", str(place / "two.safetensors"), "-o", str(place / "out")]
    assert cli.main([*arguments, "--json"]) == 0
    return place / "out" / "index.html", pixels


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_it_loads_nothing(made: tuple[Path, np.ndarray]) -> None:
    page = read(made[0])
    addresses = [value for _, given in page.tags for name, value in given.items() if name in ("src", "href")]
    assert len(addresses) == 2 + 2 * 4
    assert all(address.startswith(("data:image/jpeg;base64,", "./")) for address in addresses)
    assert not re.search(r"https?:|@import|url\(|fetch|XMLHttp|import\b", _code(page))
    policy = next(given["content"] for given in page.of("meta") if given.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(_script(page).encode()).digest()).decode()
    assert (
        policy
        == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def _script(page: Page) -> str:
    return "".join(text for tag, text in page.texts if tag == "script")


def _code(page: Page) -> str:
    """The script and the style, without the comments."""
    code = "".join(text for tag, text in page.texts if tag in ("script", "style"))
    return re.sub(r"^\s*//.*|\s// .*", "", code, flags=re.MULTILINE)


def test_hostile_names_are_text(made: tuple[Path, np.ndarray]) -> None:
    page = read(made[0])
    assert {tag for tag, _ in page.tags} <= {
        *(
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "main",
            "div",
            "h1",
            "h2",
            "noscript",
            "p",
            "aside",
        ),
        *(
            "fieldset",
            "legend",
            "label",
            "input",
            "span",
            "button",
            "section",
            "img",
            "canvas",
            "output",
            "a",
        ),
        *("footer", "script"),
    }
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    assert len(page.of("img")) == 2
    assert HOSTILE in "".join(text for tag, text in page.texts if tag == "span")
    assert sum(HOSTILE in given.get("aria-label", "") for _, given in page.tags) == 2


def test_links_lead_to_the_files_beside_it(made: tuple[Path, np.ndarray]) -> None:
    for given in read(made[0]).of("a"):
        assert (made[0].parent / unquote(given["href"])).is_file()


def test_it_holds_labels_and_certainty(made: tuple[Path, np.ndarray]) -> None:
    path, pixels = made
    (stage, tall) = (given for given in read(path).of("div") if given.get("class") == "stage")
    maps = [
        np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
        for text in stage["data-maps"].split()
    ]
    sem, geo = (packed.reshape(2, 6, 9) for packed in maps)
    blue, green = pixels[:, :, 2].astype(int), pixels[:, :, 1].astype(int)
    np.testing.assert_array_equal(sem[0], green > blue)
    certain = 100 / (1 + np.exp(-abs(green - blue)))
    assert abs(sem[1] - certain).max() <= 0.51
    assert set(np.unique(geo[0])) == {0, 1}
    sizes = [(given["width"], given["height"]) for given in read(path).of("canvas")]
    assert sizes == [("9", "6"), ("4", "1024")]  # a tall photo is shrunk
    assert len(zlib.decompress(base64.b64decode(tall["data-maps"].split()[0]))) == 2 * 4 * 1024


def test_classes_that_occur_can_be_switched(made: tuple[Path, np.ndarray]) -> None:
    page = read(made[0])
    boxes = [given for given in page.of("input") if given["type"] == "checkbox"]
    shown = {(given["value"], given["data-colour"]): "checked" in given for given in boxes}
    assert shown == {
        ("0", "#000000"): False,  # the background
        ("1", "#00c800"): True,
        **{("0", "#010203"): True, ("1", "#faf0e6"): True},
    }
    sets = [given for given in page.of("fieldset") if "data-head" in given]
    assert [("hidden" in given) for given in sets] == [False, True]
    assert [given["value"] for given in page.of("input") if given["type"] == "radio"] == ["0", "1"]


def test_everything_is_reached_with_a_keyboard(made: tuple[Path, np.ndarray]) -> None:
    page = read(made[0])
    stages = [given for given in page.of("div") if given.get("class") == "stage"]
    assert all(given["tabindex"] == "0" and given["aria-label"] for given in stages)
    sliders = [given for given in page.of("input") if given["type"] == "range"]
    assert len(sliders) == len(stages) == 2
    assert all(given["aria-label"] for given in sliders)
    assert all(given["aria-live"] == "polite" for given in page.of("output"))


def test_its_code_runs(made: tuple[Path, np.ndarray]) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    command = [chromium, *options, f"--user-data-dir={made[0].parent / 'profile'}", made[0].as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    page = Page(done.stdout)
    assert [given["aria-valuetext"] for given in page.of("input") if given["type"] == "range"] == [
        "50 % photo"
    ] * 2
    assert [given["style"] for given in page.of("div") if given.get("class") == "stage"] == ["--at: 50%;"] * 2
    assert (
        "output",
        "Point at the picture, or use the arrow keys on it, to see a pixel's class.",
    ) in page.texts
