"""A training's page: its curves, what the net predicts at each validation, how far it is."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fcn_repro.data.datasets import open_dataset
from fcn_repro.data.png import label_png
from fcn_repro.report import training_page as module
from fcn_repro.report.curves import curve, ticks
from fcn_repro.report.training_page import TrainingPage, images_per_s, page_path, training_page
from fcn_repro.training.loop import Options
from fcn_repro.training.pictures import IMAGES, KEPT, Pictures
from tests.fcn_repro.pages import BROWSER_ITSELF, CHROMIUM, Page, browsed, decoded
from tests.fcn_repro.trainings import small_recipe, training, write_images

NAMES = ("<script>alert(1)</script>", 'a"b', "c&d<b>")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Of classes that would be markup."""
    return write_images(tmp_path_factory.mktemp("images") / "mine", classes=NAMES)


def started(images, folder, *, show=None, resume=False, **solver):
    recipe = small_recipe(**{"max_iter": 6, "snapshot": 3, **solver})
    return training(
        replace(recipe, title="<img src=x> & co"),
        images,
        folder,
        val=open_dataset("folder", images, "val"),
        options=Options(resume=resume, show=show),
    )


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    own = started(images, tmp_path_factory.mktemp("page") / "training")
    own.run()
    return own


def test_the_page_is_well_formed_and_runs_nothing(trained):
    text = training_page(trained)
    page = Page(text)
    assert "<script" not in text
    assert not [name for _, attributes, _ in page.elements for name in attributes if name.startswith("on")]
    assert all(attrs["src"].startswith("data:image/") for _, attrs in page.all("img"))
    texts = {text for tag in ("h1", "text", "li") for text, _ in page.all(tag)}
    assert {*NAMES, trained.recipe.title} <= texts, "as text"
    assert len(page.all("polyline")) == 2, "loss and mean IU"


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_chromium_opens_it_without_an_error_or_a_request(trained, tmp_path):
    document, said, initiators = browsed(tmp_path, training_page(trained))
    assert re.sub(r"\s", "", document).endswith("</main></body></html>")
    assert said == []
    assert initiators <= BROWSER_ITSELF


def test_each_validation_shows_photo_truth_and_prediction(trained):
    pictures = {attrs["alt"]: attrs["src"] for _, attrs in Page(training_page(trained)).all("img")}
    kinds = ("photo", "truth", "iteration 3", "iteration 6")
    assert pictures.keys() == {f"val{n}, {kind}" for n in range(2) for kind in kinds}
    dataset = open_dataset("folder", trained.train.folder, "val")
    colours = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)])  # PASCAL VOC's
    for number, sample in enumerate(dataset):
        predicted = np.asarray(Image.open(trained.folder / f"pictures/6/val{number}.png"))
        assert (rgb(pictures[f"val{number}, iteration 6"]) == colours[predicted]).all()
        labelled = rgb(pictures[f"val{number}, truth"])
        scored = sample.label != 255
        assert (labelled[scored] == colours[sample.label[scored]]).all()
        assert rgb(pictures[f"val{number}, photo"]).shape == sample.image_hwc.shape


def test_the_predictions_are_those_that_were_scored(trained):
    """The last ones, counted by hand, give the pixel accuracy of the last validation."""
    right = counted = 0
    for number, sample in enumerate(open_dataset("folder", trained.train.folder, "val")):
        predicted = np.asarray(Image.open(trained.folder / f"pictures/6/val{number}.png"))
        right += int(((predicted == sample.label) & (sample.label != 255)).sum())
        counted += int((sample.label != 255).sum())
    assert trained.evaluation.scores.pixel_accuracy == pytest.approx(right / counted)


def rgb(address):
    with Image.open(decoded(address)) as image:
        return np.asarray(image.convert("RGB"))


def test_the_page_is_there_from_the_first_validation_on_and_each_time_whole(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "EVERY_S", 1e9)  # but for the first row, only validations
    seen, write = [], TrainingPage()

    def show(own):
        write(own)
        text = page_path(own).read_text()
        assert text.endswith("</html>\n")
        Page(text)  # every tag closes
        seen.append((own.solver.iter, len(re.findall("<img", text)), len(re.findall("<circle", text))))

    own = started(images, tmp_path / "training", show=show)
    own.run()
    assert [*dict.fromkeys(seen)] == [
        *((1, 0, 1), (2, 0, 1), (3, 0, 1), (3, 2 * 3, 3 + 1)),
        *((4, 6, 4), (5, 6, 4), (6, 6, 4), (6, 2 * 4, 6 + 2)),
    ]
    assert not [*own.folder.glob(".*")], "no unfinished file"


def test_a_resumed_training_drops_later_pictures_and_shows_the_earlier_ones(images, tmp_path):
    started(images, tmp_path / "training", max_iter=3).run()
    (tmp_path / "training/pictures/4").mkdir()
    own = started(images, tmp_path / "training", resume=True)
    own.run()
    assert own.pictures.iterations() == [3, 6]
    assert "iteration 3" in training_page(own)


class Always:
    """A model's place: it predicts nothing but class 0."""

    def predictions(self, indices):
        return ((self.val[index], {"sem": _Zeros(self.val[index].label.shape)}) for index in indices)

    def __init__(self, val):
        self.val = val


class _Zeros:
    def __init__(self, shape):
        self.array = np.zeros(shape, np.uint8)

    def cpu(self):
        return self

    def numpy(self):
        return self.array


def test_pictures_are_of_a_few_images_and_of_few_validations(tmp_path):
    """The first and the last, the others spread between them: no gap is over three times the smallest."""
    folder = tmp_path / "mine"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    (folder / "classes.txt").write_text("ground\nsky\n")
    for number in range(9):
        Image.new("RGB", (5, 4)).save(folder / f"images/im{number}.png")
        (folder / f"labels/im{number}.png").write_bytes(
            label_png(np.zeros((4, 5), np.uint8), np.zeros((2, 3)))
        )
    val = open_dataset("folder", folder, "all")
    pictures = Pictures(tmp_path / "pictures", val, ("sem",))
    assert pictures.indices == [0, 3, 5, 8]
    assert len(pictures.indices) == IMAGES
    for iteration in range(10, 1000, 10):
        pictures.save(iteration, Always(val))
        kept = pictures.iterations()
        assert len(kept) == min(iteration // 10, KEPT)
        assert (kept[0], kept[-1]) == (10, iteration)
    gaps = np.diff(kept)
    assert gaps.max() <= 3 * gaps.min(), kept
    assert len([*(tmp_path / "pictures").rglob("*.png")]) == KEPT * IMAGES


def test_how_far_it_is_and_the_time_left(images, tmp_path):
    own = started(images, tmp_path / "training", max_iter=300, iter_size=5)
    own.folder.mkdir()
    own.solver.iter = 60
    rows = ["iteration,loss,smoothed_loss,rate,images_per_s", "20,1,1.5,0.1,10", "60,1,1.25,0.1,5"]
    (own.folder / "train.csv").write_text("\n".join(rows) + "\n")
    page = Page(training_page(own))
    facts = [(name, fact) for (fact, _), (name, _) in zip(page.all("b"), page.all("span"), strict=True)]
    # 100 images in 10 s, then 200 in 40 s: 6 a second; 240 iterations of 5 are left
    assert facts == [
        ("of 300 iterations", "60"),
        ("training loss, smoothed", "1.25"),
        ("images/s, with validation", "6"),
        ("left, about", "3:20"),
    ]


def test_the_speed_is_that_of_the_last_rows(monkeypatch):
    monkeypatch.setattr(module, "PACE_ROWS", 2)
    rows = [{"iteration": 10, "images_per_s": 1}, {"iteration": 20, "images_per_s": 4}]
    rows += [{"iteration": 40, "images_per_s": 2}]
    assert images_per_s(rows, 3) == pytest.approx(3 * (10 + 20) / (30 / 4 + 60 / 2))


def line_of(svg):
    ((_, attributes),) = Page(svg).all("polyline")
    return attributes["points"]


def texts_of(svg):
    return [text for text, _ in Page(svg).all("text")]


def test_the_curve_is_where_its_numbers_are():
    """Along x from 64 to 480 and, upside down, along y from 8 to 192, as its axes say."""
    svg = curve([(10, 4.0), (20, float("nan")), (30, 1.0), (40, 2.5)], "loss")
    assert line_of(svg) == "168.0,8.0 376.0,192.0 480.0,100.0"
    assert texts_of(svg) == ["1", "2", "3", "4", "0", "10", "20", "30", "40"]


def test_a_single_point_is_seen():
    svg = Page(curve([(20, 33.3)], "mean IU", until=80))
    ((_, dot),) = svg.all("circle")
    assert float(dot["cx"]) == pytest.approx(64 + 416 / 4, abs=0.06)
    assert 8 <= float(dot["cy"]) <= 192
    levels = [float(text) for text, attrs in svg.all("text") if attrs["text-anchor"] == "end"]
    assert levels[0] <= 33.3 <= levels[-1]


def test_a_long_curve_is_drawn_by_means():
    svg = curve([(n, float(n % 2)) for n in range(1, 4001)], "loss")
    assert len(line_of(svg).split()) == 400
    assert {point.split(",")[1] for point in line_of(svg).split()} == {"100.0"}, "all pieces have one mean"
    assert "<circle" not in svg


def test_a_curve_of_nothing_says_so():
    assert "nothing yet" in curve([(1, float("inf"))], "loss")


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.41, 0.96, [0.4, 0.6, 0.8, 1.0]),
        (16.9, 26.6, [15, 17.5, 20, 22.5, 25, 27.5]),
        (0, 100, [0, 25, 50, 75, 100]),
        (-3, 5, [-4, -2, 0, 2, 4, 6]),
        (7, 7, [6, 8]),
        (0, 0, [0, 0.25]),
    ],
)
def test_axes_have_round_numbers(low, high, marks):
    assert ticks(low, high) == pytest.approx(marks)
