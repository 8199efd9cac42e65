"""A user's own data and recipe, from the published net to its scores; the recipe is the one in the docs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import caffe2torch as c2t
from caffe2torch.errors import MissingData, WriteError
from caffe2torch.modules import fcn
from fcn_repro.recipes import digest
from fcn_repro.training.known_mistakes import RecipeError
from fcn_repro.training.loop import Options
from fcn_repro.training.run import adjusted, from_here, train
from fcn_repro.workspace import Workspace
from tests.fcn_repro.trainings import WIDTHS, Command, write_images

CLASSES = ("road", "sky", "tree", "a <b> & c")
MY = f"""\
title = "FCN-8s on my images, from the published one"
source = []

[data]
folder = "my-images"
train = "folder/train"
val = "folder/val"
mean_bgr = [104.00699, 116.66877, 122.67892]
order = "epochs"
mirror = true

[net]
name = "FCN8s"
widths = {list(WIDTHS)}

[init]
sources = [{{ weights = "voc-fcn8s" }}]
fresh = ["score_*"]

[loss]
normalize = true

[solver]
type = "SGD"
base_lr = 1e-4
lr_policy = "fixed"
momentum = 0.9
weight_decay = 5e-4
max_iter = 3
snapshot = 500
"""
"""The recipe of docs/training.md, from the published net and three steps long."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Images of four classes, a narrow FCN-8s of 21 under the published one's name, and my.toml."""
    folder = tmp_path_factory.mktemp("work")
    write_images(folder / "my-images", classes=CLASSES)
    torch.manual_seed(1)
    model = fcn.FCN8s(21, widths=WIDTHS)
    for name, blobs in model.blobs().items():
        for blob in blobs if not name.startswith("upscore") else ():
            torch.nn.init.normal_(blob, std=0.2)
    (folder / "home/models").mkdir(parents=True)
    c2t.export(model, folder / "home/models/voc-fcn8s.caffemodel")
    (folder / "my.toml").write_text(MY)
    return folder


@pytest.fixture(scope="module")
def trained(work):
    said = Command("--train", work / "my.toml", "--home", work / "home").done()
    return work / "home", said


def blobs_before_and_after(home):
    """Of the published net, and of what was trained."""
    models = (c2t.load(home / "models" / name) for name in ("voc-fcn8s.caffemodel", "my.safetensors"))
    return [
        {name: [blob.detach() for blob in blobs] for name, blobs in model.blobs().items()} for model in models
    ]


def test_before_its_first_step_all_but_the_scores_is_the_published_nets(work, tmp_path):
    """Bit for bit; the scores are new, zero, and of the user's classes."""
    shutil.copytree(work / "home/models", tmp_path / "models")
    recipe = adjusted(str(work / "my.toml"), solver={"max_iter": 0})
    train(str(work / "my.toml"), recipe, Workspace(tmp_path), options=Options())
    published, own = blobs_before_and_after(tmp_path)
    assert published.keys() == own.keys()
    for name, blobs in own.items():
        if name.startswith("score"):
            assert len(blobs[0]) == len(CLASSES)
            assert not any(blob.any() for blob in blobs)
        elif name.startswith("upscore"):
            assert all(torch.equal(channel, published[name][0][0]) for channel in blobs[0]), name
        else:
            assert all(map(torch.equal, blobs, published[name])), name


def test_it_trains_all_of_the_net_and_is_scored(trained):
    home, said = trained
    published, own = blobs_before_and_after(home)
    for name, blobs in own.items():
        if name.startswith("score"):
            assert any(blob.any() for blob in blobs), name
        elif not name.startswith("upscore"):
            assert not torch.equal(blobs[0], published[name][0]), name
    assert said.startswith("my on folder val: 2 images")
    result = json.loads((home / "results/my-folder-val.json").read_text())
    assert result["heads"]["sem"]["classes"] == list(CLASSES)
    assert (home / "training/my/my.html").read_text().count("<polyline") == 2


def test_the_result_is_evaluated_like_any_model(work, trained):
    home, _ = trained
    mean = ",".join(map(str, (104.00699, 116.66877, 122.67892)))
    said = Command(
        *("--evaluate", home / "models/my.safetensors", "--on", "folder/val", "--home", home, "--json"),
        *("--data", work / "my-images", "--mean", mean),
    ).done()
    stored = json.loads((home / "results/my-folder-val.json").read_text())
    assert json.loads(said)["heads"]["sem"]["confusion"] == stored["heads"]["sem"]["confusion"]


def test_it_goes_on_without_the_weights_that_it_started_from(work, trained, tmp_path):
    """To the very same end; but from no other weights, and with no other data."""
    home = tmp_path / "home"
    shutil.copytree(work / "home/models", home / "models", ignore=shutil.ignore_patterns("my.*"))
    Command("--train", work / "my.toml", "--home", home, "--iterations", 2).done()
    (home / "models/voc-fcn8s.caffemodel").unlink()
    resume = ("--train", work / "my.toml", "--home", home, "--resume")
    code, said = Command(*resume, "--init", "other").wait()
    assert code == 1
    assert re.search(r"my_iter_2\.json: recipe was .* another training", said)
    shutil.copytree(work / "my-images/train", tmp_path / "shared/val")
    shutil.copytree(work / "my-images/train", tmp_path / "shared/train")
    shutil.copy(work / "my-images/classes.txt", tmp_path / "shared")
    code, said = Command(*resume, "--data", tmp_path / "shared").wait()
    assert code == 1
    assert "5 of 5 images of folder/val are also in folder/train" in said
    Command(*resume).done()
    ours, undisturbed = (folder / "models/my.safetensors" for folder in (home, trained[0]))
    assert ours.read_bytes() == undisturbed.read_bytes()


def test_a_training_that_has_no_snapshot_needs_them(work, tmp_path):
    recipe = adjusted(str(work / "my.toml"))
    with pytest.raises(MissingData, match="voc-fcn8s is not in"):
        train(str(work / "my.toml"), recipe, Workspace(tmp_path), options=Options(resume=True))


def test_published_weights_are_not_written_over(work, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(work / "home/models", models)
    (models / "voc-fcn8s.caffemodel.sha256").write_text("recorded when it was fetched")
    own = str(shutil.copy(work / "my.toml", work / "voc-fcn8s.toml"))
    with pytest.raises(WriteError, match=r"voc-fcn8s\.caffemodel: holds the published weights of that name"):
        train(own, adjusted(own), Workspace(tmp_path), options=Options())


def test_another_number_of_classes_is_refused(work, tmp_path):
    own = work / "classes.toml"
    own.write_text((work / "my.toml").read_text().replace("[init]", "classes = [21]\n[init]"))
    with pytest.raises(RecipeError, match=r"the net scores 21 classes, .* has 4, road to a <b> & c"):
        train(str(own), adjusted(str(own)), Workspace(work / "home"), options=Options())


def test_other_weights_seeds_and_numbers_may_be_given(work):
    recipe = adjusted(str(work / "my.toml"), init="other.caffemodel", seed=8, solver={"max_iter": 2})
    assert [source.weights for source in recipe.init.sources] == ["other.caffemodel"]
    assert (recipe.seed, recipe.solver["max_iter"], recipe.solver["snapshot"]) == (8, 2, 500)
    assert adjusted(str(work / "my.toml")).seed != 8


@pytest.fixture
def own(work, tmp_path, monkeypatch):
    """here/ is the current folder, there/my.toml a recipe that names start.caffemodel."""
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    text = (work / "my.toml").read_text().replace('"voc-fcn8s"', '"start.caffemodel"')
    assert "start.caffemodel" in text
    (tmp_path / "there/my.toml").write_text(text.replace('"my-images"', f'"{work}/my-images"'))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def weights_of(folder, **how):
    """The file that there/my.toml starts from, as a path in `folder`."""
    (source,) = from_here("../there/my.toml", adjusted("../there/my.toml", **how)).init.sources
    return (Path.cwd() / source.weights).resolve().relative_to(folder).as_posix()


@pytest.mark.parametrize("files", [("there",), ("here",), ("here", "there")])
def test_a_recipes_file_of_weights_is_seen_from_the_recipe(own, files):
    for folder in files:
        (own / folder / "start.caffemodel").touch()
    assert weights_of(own) == "there/start.caffemodel"


@pytest.mark.parametrize("files", [("there",), ("here",), ("here", "there")])
def test_a_file_on_the_command_line_is_seen_from_the_current_folder(own, files):
    for folder in files:
        (own / folder / "other.caffemodel").touch()
    for init in ("other.caffemodel", str(own / "here/other.caffemodel")):
        assert weights_of(own, init=init) == "here/other.caffemodel"


def test_it_starts_from_that_file_or_from_none(own, work):
    """Not from the one of its name in the current folder."""
    recipe = adjusted("../there/my.toml", solver={"max_iter": 0})
    shutil.copy(work / "home/models/voc-fcn8s.caffemodel", own / "here/start.caffemodel")
    with pytest.raises(MissingData, match=r"^\.\./there/start\.caffemodel: neither a file"):
        train("../there/my.toml", recipe, Workspace(own), options=Options())
    shutil.move(own / "here/start.caffemodel", own / "there")
    train("../there/my.toml", recipe, Workspace(own), options=Options())
    start, first = (c2t.load(own / name) for name in ("there/start.caffemodel", "models/my.safetensors"))
    assert torch.equal(start.fc6.weight, first.fc6.weight)


def test_names_of_models_stay_names():
    for name in ("voc-fcn8s", "nyud-fcn32s-color-hha"):
        assert from_here(name, adjusted(name)) == adjusted(name)
    (source,) = from_here("my/voc-fcn16s.toml", adjusted("voc-fcn16s", init="voc-fcn32s")).init.sources
    assert source.weights == "voc-fcn32s"


def test_snapshots_do_not_depend_on_the_current_folder(own, monkeypatch):
    for file in ("there/start.caffemodel", "here/other.caffemodel"):
        (own / file).touch()
    from_one = [digest(adjusted("../there/my.toml", init=init)) for init in (None, "other.caffemodel")]
    monkeypatch.chdir(own / "there")
    assert [digest(adjusted("my.toml", init=init)) for init in (None, "../here/other.caffemodel")] == from_one
    assert len(set(from_one)) == 2
    whole = str(own / "here/other.caffemodel")
    assert adjusted("voc-fcn16s", init=whole).init.sources[0].weights == whole
