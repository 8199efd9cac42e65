"""The report: what its page says, in cells, bars, squares and pixels; and that it loads nothing."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from fcn_repro.data.datasets import open_dataset
from fcn_repro.data.png import label_png
from fcn_repro.report.files import publish
from fcn_repro.report.html import Markup, element
from fcn_repro.report.markdown import as_markdown
from fcn_repro.report.page import page
from fcn_repro.report.panels import Panel
from fcn_repro.report.report import Section, TableReport, sections_of
from fcn_repro.scoring.metrics import Confusion, Over
from fcn_repro.scoring.result import Evaluation, HeadScores
from fcn_repro.tables.compare import BASELINE, Compared, How, Measured, Missing
from fcn_repro.tables.papers import Cell, Column, Paper, PaperTable, Row
from tests.fcn_repro.pages import BROWSER_ITSELF, CHROMIUM, Page, browsed, decoded

HOSTILE = "<script>alert('x')</script> & \"quoted\" | *bold*"
CLASSES = ("ground", "sky & sea", "tree", HOSTILE)
COLOURS = ("#000000", "#800000", "#00c040", "#1234ab")
COUNTS = [[60, 20, 0, 20], [10, 30, 0, 0], [0, 0, 0, 0], [0, 0, 7, 3]]


def cell(value, verified=True, printed=""):
    return Cell(value, ("CVPR",) if verified else ("memory",), verified, printed)


COLUMNS = {
    "mean_iu": Column("mean IU", "%", "seg11valid", "mean_iu", "voc2011/seg11valid"),
    "time": Column("forward time", "ms", "-", "time"),
}
ROWS = (
    Row("others", {"mean_iu": cell(48.5), "time": None}, baseline=True),
    Row("FCN-32s", {"mean_iu": cell(63.6), "time": cell(210)}, model="m", net="FCN32s", note="A note on it."),
    Row("FCN-16s", {"mean_iu": cell(65.0), "time": cell(99, False)}, model="m", net="FCN16s"),
    Row(HOSTILE, {"mean_iu": cell(62.4, False), "time": cell(175, printed="~175")}, model="m", net="FCN8s"),
)
PAPER = Paper(
    "A paper",
    "CVPR 2015",
    {"CVPR": "the camera-ready", "memory": "from memory"},
    {"7": PaperTable("Skips", COLUMNS, ROWS, "Trained on SBD.")},
)
RUN = "m, 736 images, fp32, a device, 2026-01-02: fcn-repro --evaluate m"
AWAY = Missing("not here: the weights m", "fcn-repro --fetch m\nfcn-repro --table 7")
FINDINGS = [
    BASELINE,
    *(Measured(63.63, How.STORED, RUN, 0.1), Measured(21, How.COMPUTED, "a device")),
    *(Measured(64.2, How.STORED, RUN, 0.1), AWAY),
    *(AWAY, Missing(f"because {HOSTILE}")),
]


def head(over=Over.SEEN):
    return HeadScores(CLASSES, COLOURS, Confusion(4).with_counts(np.array(COUNTS)), over)


def label(seed):
    return np.random.default_rng(seed).choice([0, 1, 3, 255], (13, 17)).astype(np.uint8)


def report():
    places = [
        (row, column, row.cells[key]) for row in ROWS for key, column in COLUMNS.items() if row.cells[key]
    ]
    compared = [Compared(*place, finding) for place, finding in zip(places, FINDINGS, strict=True)]
    image = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
    shown = [Panel("2007_000033", image, label(1), label(2)), Panel(HOSTILE, image, None, label(3))]
    section = Section(f"m on {HOSTILE}", "736 images", head(), shown)
    return TableReport(PAPER, "7", compared, [f"Our note: {HOSTILE}"], [section])


@pytest.fixture(scope="module")
def shown():
    return Page(page(report()))


def test_cells_have_ours_published_and_the_difference(shown):
    cells = [(text, attrs.get("class")) for text, attrs in shown.all("td")][1:]
    assert cells == [
        *(("baseline48.5", None), ("–", "none")),
        *(("+0.0363.63163.6", "within"), ("−189212210", None)),
        *(("!−0.8064.20165.0", "outside"), ("not measured399?", None)),
        *(("not measured362.4?", None), ("not measured4~175", None)),
    ]


def test_each_footnote_that_is_cited_is_there(shown):
    cited = {attrs["href"] for _, attrs in shown.all("a")}
    notes = {f"#{attrs['id']}": text for text, attrs in shown.all("li") if "id" in attrs}
    assert cited == notes.keys() == {"#note-1", "#note-2", "#note-3", "#note-4"}
    assert notes["#note-1"] == RUN
    assert [text for text, _ in shown.all("code")] == ["fcn-repro --fetch m", "fcn-repro --table 7"]


def test_unverified_cells_are_marked_and_the_marks_explained(shown):
    (key,) = (text for text, _ in shown.all("div", class_="key"))
    assert "? not verified: quoted from memory" in key
    assert "difference outside the tolerance" in key


def test_what_files_say_is_never_markup(shown):
    assert "<script" not in page(report()).lower()
    assert shown.all("script") == []
    assert HOSTILE in [text for text, _ in shown.all("th")]
    assert f"m on {HOSTILE}" in [text for text, _ in shown.all("h2")]
    assert element("a", "<b>", Markup("<i></i>"), href='"<') == '<a href="&quot;&lt;">&lt;b&gt;<i></i></a>'


def test_the_page_loads_nothing(shown):
    names = ("src", "href", "srcset", "action", "data", "poster", "background", "xlink:href")
    addresses = [attrs[name] for _, attrs, _ in shown.elements for name in names if name in attrs]
    assert len(addresses) == 5 + 6, "five pictures, six footnotes"
    assert all(address.startswith(("data:image/", "#note-")) for address in addresses)
    (style,) = (text for text, _ in shown.all("style"))
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = (attrs["content"] for _, attrs in shown.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; img-src data:")


def test_the_same_report_gives_the_same_bytes():
    assert page(report()) == page(report())


def test_bars_are_as_long_as_the_iu(shown):
    bars = [float(attrs["width"]) for _, attrs in shown.all("rect", class_="bar")]
    iu = [60 / 110, 30 / 60, 0 / 7, 3 / 30]
    assert bars == pytest.approx([240 * value for value in iu], abs=0.06)
    values = [text for text, _ in shown.all("text") if re.fullmatch(r"[\d.]+", text)]
    assert values[-4:] == ["54.5", "50.0", "0.0", "10.0"]
    (mean,) = shown.all("line", class_="mean")
    left = float(shown.all("rect", class_="bar")[0][1]["x"])
    assert float(mean[1]["x1"]) == pytest.approx(left + 240 * np.mean(iu), abs=0.06)


def test_a_class_that_is_left_out_has_no_value():
    absent = Page(page(TableReport(PAPER, "7", [], sections=[Section("m", "", head(Over.LABELLED))])))
    assert [text for text, _ in absent.all("text", class_="axis")][-1] == "not in this set"


def test_squares_are_the_shares_of_the_labelled_pixels(shown):
    squares = {}
    for title, attrs in (s for kind in ("hit", "miss") for s in shown.all("rect", class_=kind)):
        place = int(attrs["y"]) // 20, int(attrs["x"]) // 20
        squares[place] = (float(attrs["fill-opacity"]) ** 2, attrs["class"], title)
    assert squares.keys() == {(i, j) for i in range(4) for j in range(4) if COUNTS[i][j]}
    for (i, j), (share, kind, title) in squares.items():
        expected = COUNTS[i][j] / sum(COUNTS[i])
        assert share == pytest.approx(expected, abs=0.01)
        assert kind == ("hit" if i == j else "miss")
        assert title.startswith(f"{CLASSES[i]} predicted as {CLASSES[j]}: {100 * expected:.1f} %")


def test_hundreds_of_classes_have_a_picture_without_names():
    counts = np.diag(np.arange(1, 201))
    many = HeadScores(
        tuple(f"class {k}" for k in range(200)), ("#123456",) * 200, Confusion(200).with_counts(counts)
    )
    picture = Page(page(TableReport(PAPER, "7", [], sections=[Section("m", "", many)])))
    assert len(picture.all("rect", class_="hit")) == 200
    assert sum(text == "class 7" for text, _ in picture.all("text")) == 1, "in the bars only"


def test_panels_have_the_pixels_in_the_data_sets_colours(shown):
    pictures = {attrs["alt"]: attrs["src"] for _, attrs in shown.all("img")}
    assert len(pictures) == 2 * 3 - 1
    rgb = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS] + [(224, 224, 192)]
    for name, seed in (
        ("2007_000033, truth", 1),
        ("2007_000033, prediction", 2),
        (f"{HOSTILE}, prediction", 3),
    ):
        with Image.open(decoded(pictures[name])) as image:
            colours = np.asarray(image.convert("RGB"))
        expected = np.array(rgb)[np.minimum(label(seed), 4)]
        assert (colours == expected).all(), name
    with Image.open(decoded(pictures["2007_000033, image"])) as photo:
        assert photo.size == (17, 13)
    assert "the labels are secret" in [text for text, _ in shown.all("span")]


def test_the_legend_has_the_colours_that_are_shown(shown):
    named = [text for text, attrs in shown.all("li") if "id" not in attrs]
    assert named[-4:] == ["ground", "sky & sea", HOSTILE, "void, not scored"]


def test_large_images_are_shown_smaller():
    large = np.zeros((1300, 900, 3), np.uint8)
    panel = Panel("x", large, large[:, :, 0], large[:, :, 0])
    pictures = Page(page(TableReport(PAPER, "7", [], sections=[Section("m", "", head(), [panel])]))).all(
        "img"
    )
    sizes = set()
    for _, attrs in pictures:
        with Image.open(decoded(attrs["src"])) as image:
            sizes.add(image.size)
    assert sizes == {(443, 640)}


def test_markdown_is_a_table_that_no_name_breaks():
    lines = as_markdown(report()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)\|", line)) - 1 for line in table]
    assert columns == [3] * (2 + 4) + [3] * (2 + 4) + [2] * (2 + 4)
    assert "| FCN-32s | **63.63** \\| 63.6 \\| +0.03 [1] | **21** \\| 210 \\| -189 [2] |" in table
    assert "| others | 48.5 |  |" in table
    assert not [line for line in lines if "<script" in line.replace("\\<script", "")]
    assert "3. not here: the weights m `fcn-repro --fetch m` `fcn-repro --table 7`" in lines


def test_publish_writes_all_three(tmp_path):
    paths = publish(report(), tmp_path / "out", "cvpr2015-7")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("cvpr2015-7.html", "cvpr2015-7.json", "cvpr2015-7.md")
    ]
    data = json.loads(paths[2].read_text())
    assert [entry["ours"] for entry in data["cells"]] == [None, 63.63, 21, 64.2, None, None, None]
    assert data["results"][0]["confusion"] == COUNTS
    assert data["results"][0]["iu_percent"] == pytest.approx([100 * 60 / 110, 50, 0, 10])


def test_an_evaluation_is_shown_with_its_images(tmp_path):
    mine = tmp_path / "mine"
    for folder in ("images", "labels"):
        (mine / folder).mkdir(parents=True)
    (mine / "classes.txt").write_text("ground\nsky\ntree\nroad\n")
    for number in range(9):
        Image.new("RGB", (17, 13)).save(mine / "images" / f"im{number}.png")
        Image.fromarray(label(number)).save(mine / "labels" / f"im{number}.png")
        (tmp_path / f"im{number}.png").write_bytes(label_png(label(90 + number), np.zeros((4, 3), np.uint8)))
    facts = ("m", "0" * 64, "folder", "all", 9, "fp32", "a device", 2, 3.4, "2026-01-02", "fcn-repro -e m")
    evaluation = Evaluation(*facts, heads={"sem": head()}, predictions=str(tmp_path))
    (section,) = sections_of(evaluation, open_dataset("folder", mine, "all"))
    assert section.title == "m on folder all"
    assert section.about == "9 images in 3 s, fp32, a device, 2 processes, 2026-01-02: fcn-repro -e m"
    assert [panel.id for panel in section.panels] == ["im0", "im2", "im3", "im5", "im6", "im8"]
    assert (section.panels[1].truth == label(2)).all()
    assert (section.panels[1].prediction == label(92)).all()
    assert sections_of(evaluation)[0].panels == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_chromium_opens_it_without_an_error_or_a_request(tmp_path):
    document, said, initiators = browsed(tmp_path, page(report()))
    assert re.sub(r"\s", "", document).endswith("</main></body></html>")
    assert said == []
    assert initiators <= BROWSER_ITSELF


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_test_before_sees_what_a_page_loads(tmp_path):
    *_, initiators = browsed(tmp_path, "<img src='http://127.0.0.1:9/x.png'>")
    assert initiators - BROWSER_ITSELF
    _, said, initiators = browsed(
        tmp_path, page(report()).replace("<h1>", "<img src='http://127.0.0.1:9/'><h1>")
    )
    assert "violates the following Content Security Policy" in said[0]
    assert initiators <= BROWSER_ITSELF
