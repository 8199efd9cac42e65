"""The recipes against numbers typed apart from them, the tables and the nets they name."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import caffe2torch as c2t
from caffe2torch.errors import MissingData, NetError, ReadError, WriteError
from fcn_repro import recipes
from fcn_repro.data.datasets import dataset, open_dataset
from fcn_repro.fetching.zoo import zoo
from fcn_repro.recipes import NetSpec, Recipe, recipe
from fcn_repro.tables.papers import SCORES, papers
from fcn_repro.training import known_mistakes
from fcn_repro.training.first_weights import blank, counted, initial
from fcn_repro.training.loop import Options
from fcn_repro.training.run import adjusted, train
from fcn_repro.workspace import Workspace
from tests.fcn_repro.trainings import RECIPE

HEAVY = {
    # base_lr, iterations, evaluated every, init from (suffix), net
    "voc-fcn32s": (1e-10, 100_000, 4000, "vgg16", "FCN32s"),
    "voc-fcn16s": (1e-12, 100_000, 4000, "voc-fcn32s", "FCN16s"),
    "voc-fcn8s": (1e-14, 100_000, 4000, "voc-fcn16s", "FCN8s"),
    "voc-fcn8s-atonce": (1e-10, 300_000, 4000, "vgg16", "FCN8sAtOnce"),
    "nyud-fcn32s-color": (1e-10, 100_000, 2000, "vgg16", "FCN32s"),
    "nyud-fcn32s-hha": (1e-10, 100_000, 2000, "vgg16", "FCN32s"),
    "nyud-fcn32s-color-d": (1e-10, 100_000, 2000, "vgg16", "FCN32s"),
    "nyud-fcn32s-color-hha": (
        *(1e-12, 100_000, 2000),
        *("nyud-fcn32s-color (color), nyud-fcn32s-hha (hha)", "FCN32sLateFusion"),
    ),
    "siftflow-fcn32s": (1e-10, 100_000, 2000, "vgg16", "FCN32s"),
    "siftflow-fcn16s": (1e-12, 100_000, 2000, "siftflow-fcn32s", "FCN16s"),
    "siftflow-fcn8s": (1e-12, 100_000, 2000, "siftflow-fcn16s", "FCN8s"),
    "pascalcontext-fcn32s": (1e-10, 400_000, 8000, "vgg16", "FCN32s"),
    "pascalcontext-fcn16s": (1e-12, 400_000, 8000, "pascalcontext-fcn32s", "FCN16s"),
    "pascalcontext-fcn8s": (1e-14, 400_000, 8000, "pascalcontext-fcn16s", "FCN8s"),
    "voc-fcn32s-fixed": (1e-10, 100_000, 4000, "vgg16", "FCN32s"),
    "voc-fcn-pool5": (1e-10, 100_000, 4000, "vgg16", "FCNPool5"),
    "voc-fcn-pool4": (1e-12, 100_000, 4000, "vgg16", "FCNPool4"),
    "voc-fcn-pool3": (1e-14, 100_000, 4000, "vgg16", "FCNPool3"),
    "voc-fcn32s-foreground": (1e-10, 100_000, 4000, "vgg16", "FCN32s"),
    "voc-fcn32s-background": (1e-10, 100_000, 4000, "vgg16", "FCN32s"),
    "voc-fcn32s-shape": (1e-10, 100_000, 4000, "vgg16", "FCN32s"),
}
MASKED = ("foreground", "background", "shape")
LIGHT = {
    # base_lr, iter_size, momentum, mean loss, iterations
    "voc-fcn-alexnet": (1e-4, 20, 0.9, True, 100_000),
    "voc-fcn32s-accum": (2e-9, 20, 0.9, False, 5000),
    "voc-fcn32s-online": (1e-10, 1, 0.9, False, 100_000),
}
CONFERENCE = {
    # base_lr, init from, net
    "cvpr-voc2011-fcn-alexnet": (1e-3, "caffenet", "FCNAlexNet"),
    "cvpr-voc2011-fcn32s": (1e-4, "vgg16", "FCN32s"),
    "cvpr-voc2011-fcn-googlenet": (5e-5, "googlenet", "FCNGoogLeNet"),
    "cvpr-voc-fcn32s-fixed": (1e-4, "vgg16", "FCN32s"),
    "cvpr-voc-fcn32s": (1e-4, "vgg16", "FCN32s"),
    "cvpr-voc-fcn16s": (1e-6, "cvpr-voc-fcn32s", "FCN16s"),
    "cvpr-voc-fcn8s": (1e-8, "cvpr-voc-fcn16s", "FCN8s"),
    "cvpr-nyud-fcn32s-color": (1e-4, "vgg16", "FCN32s"),
    "cvpr-nyud-fcn32s-hha": (1e-4, "vgg16", "FCN32s"),
    "cvpr-nyud-fcn32s-color-d": (1e-4, "vgg16", "FCN32s"),
    "cvpr-nyud-fcn32s-color-hha": (
        *(1e-6, "cvpr-nyud-fcn32s-color (color), cvpr-nyud-fcn32s-hha (hha)"),
        "FCN32sLateFusion",
    ),
    "cvpr-siftflow-fcn32s": (1e-4, "vgg16", "FCN32s"),
    "cvpr-siftflow-fcn16s": (1e-6, "cvpr-siftflow-fcn32s", "FCN16s"),
    "cvpr-pascalcontext-fcn32s": (1e-4, "vgg16", "FCN32s"),
    "cvpr-pascalcontext-fcn16s": (1e-6, "cvpr-pascalcontext-fcn32s", "FCN16s"),
    "cvpr-pascalcontext-fcn8s": (1e-8, "cvpr-pascalcontext-fcn16s", "FCN8s"),
}
PUBLISHED = sorted({*HEAVY, *LIGHT, *CONFERENCE})
DATA = {
    # train, val, classes, mean of blue, green, red
    "cvpr-voc2011": ("voc2011/train", "voc2011/val", (21,), (104.00699, 116.66877, 122.67892)),
    "voc": ("sbd/train", "voc2011/seg11valid", (21,), (104.00699, 116.66877, 122.67892)),
    "pascalcontext": ("pascal-context/train", "pascal-context/val", (60,), (104.00699, 116.66877, 122.67892)),
    "nyud": ("nyudv2/trainval", "nyudv2/test", (40,), (116.190, 97.203, 92.318)),
    "siftflow": ("sift-flow/trainval", "sift-flow/test", (33, 3), (114.578, 115.294, 108.353)),
}
INPUTS = {"color": "color", "hha": "hha", "color-d": "color-depth", "color-hha": "color-hha"}


def start(found: Recipe) -> str:
    return ", ".join(f"{s.weights} ({s.suffix})" if s.suffix else s.weights for s in found.init.sources)


def shown(solver: dict, *names: str) -> tuple:
    return tuple(solver[name] for name in names)


def test_the_recipes_are_these() -> None:
    assert [name for name in recipes.names() if recipe(name).source] == PUBLISHED
    assert len(PUBLISHED) == 40
    assert {name.partition("-")[0] for name in recipes.names() if not recipe(name).source} == {
        "camvid",
        "shapes",
    }


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_learning(name: str) -> None:
    found = recipe(name)
    base_lr, iterations, every, source, net = HEAVY[name]
    assert shown(found.solver, "base_lr", "max_iter", "snapshot") == (base_lr, iterations, every)
    assert shown(found.solver, "iter_size", "momentum", "average_loss", "display") == (1, 0.99, 20, 20)
    assert (found.loss.normalize, found.data.order, found.data.mirror) == (False, "random", False)
    assert (start(found), found.net.name, found.net.learned) == (source, net, ())


@pytest.mark.parametrize("name", LIGHT)
def test_lighter_learning(name: str) -> None:
    found = recipe(name)
    base_lr, iter_size, momentum, mean, iterations = LIGHT[name]
    assert shown(found.solver, "base_lr", "iter_size", "momentum") == (base_lr, iter_size, momentum)
    assert (found.loss.normalize, found.solver["max_iter"]) == (mean, iterations)


def test_table_2_compares_trainings_on_100_000_images() -> None:
    rows = ["voc-fcn32s-accum", "voc-fcn32s-online", "voc-fcn32s"]
    images = [math.prod(shown(recipe(name).solver, "max_iter", "iter_size")) for name in rows]
    scored = [math.prod(shown(recipe(name).solver, "snapshot", "iter_size")) for name in rows]
    assert (images, scored) == ([100_000] * 3, [4000] * 3)
    # Caffe divides the gradients of an iteration by iter_size, the paper sums them.
    rates = [recipe(name).solver["base_lr"] / recipe(name).solver["iter_size"] for name in rows]
    assert rates == pytest.approx([1e-10] * 3)


@pytest.mark.parametrize("name", CONFERENCE)
def test_the_conference_papers_learning(name: str) -> None:
    found = recipe(name)
    base_lr, source, net = CONFERENCE[name]
    assert shown(found.solver, "base_lr", "momentum", "iter_size") == (base_lr, 0.9, 20)
    assert (found.loss.normalize, start(found), found.net.name) == (True, source, net)
    # The last deconvolution is fixed, those before are learned.
    learned = {"FCN16s": ["upscore2"], "FCN8s": ["upscore2", "upscore_pool4"]}.get(net, [])
    heads = [f"_{head}" for head in found.net.heads] or [""]
    assert list(found.net.learned) == [f"{layer}{head}" for layer in learned for head in heads]


def test_table_1_is_175_passes_over_1112_images() -> None:
    table_1 = [name for name in CONFERENCE if name.startswith("cvpr-voc2011")]
    assert [recipe(name).solver["max_iter"] * 20 for name in table_1] == [175 * 1112] * 3


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_data_and_what_all_share(name: str) -> None:
    found = recipe(name)
    kind = next(kind for kind in DATA if name.removeprefix("cvpr-").startswith(kind) or name.startswith(kind))
    images, val, classes, mean = DATA[kind]
    if (kept := name.rpartition("-")[2]) in MASKED:
        images, val = (place.replace("/", f"+{kept}/") for place in (images, val))
    assert (found.data.train, found.data.val, found.net.classes) == (images, val, classes)
    assert (found.data.mean_bgr, found.seed) == (mean, 1337)
    for place in (images, val):
        data, _, split = place.partition("/")
        assert split in dataset(data).splits
        known = dataset(data).labellings
        assert found.net.classes == tuple(len(known[head].classes) for head in found.net.heads or ["sem"])
    assert shown(found.solver, "lr_policy", "weight_decay") == ("fixed", 0.0005)
    assert found.net.input == (INPUTS[name.partition("fcn32s-")[2]] if kind == "nyud" else "data")
    assert found.init.depth_from_color == name.endswith("-color-d")
    assert found.net.trained == (("score_fr",) if name.endswith("-fixed") else ())


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_starts_from_what_is_there_and_says_what_is_new(name: str) -> None:
    """The scores that no source has, by the layers of the nets as `define` makes them."""
    found = recipe(name)
    own = score_layers(found)
    given: set[str] = set()
    for source in found.init.sources:
        assert source.weights in recipes.names() or zoo().models[source.weights].family == "base"
        if source.weights in recipes.names():
            given |= {layer + source.suffix for layer in score_layers(recipe(source.weights))}
    assert sorted(matched(found.init.fresh, own)) == sorted(own - given)


def score_layers(found: Recipe) -> set[str]:
    layers = {row.layer for row in c2t.table_of(c2t.define(found.net.name)).rows if row.parameters}
    suffixes = [f"_{head}" for head in found.net.heads] or [""]
    return {layer + suffix for layer in layers if layer.startswith("score") for suffix in suffixes}


def matched(patterns: tuple[str, ...], names: set[str]) -> set[str]:
    """By a star at the end, which is all that these patterns have."""
    stars = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return {name for name in names if name in patterns or (stars and name.startswith(stars))}


NARROW = {
    "FCNAlexNet": (2, 4, 6, 8, 4, 6, 5),
    "FCNGoogLeNet": (),
    "FCNPool5": (3, 4, 5, 6, 7),
    "FCNPool4": (3, 4, 5, 6),
    "FCNPool3": (3, 4, 5),
}
"""Channels of the other nets are these:"""
VGG = (3, 4, 5, 6, 7, 9, 8)


def narrowed(found: Recipe) -> Recipe:
    return replace(found, net=replace(found.net, widths=NARROW.get(found.net.name, VGG)))


def lay(name: str, workspace: Workspace, net: str) -> None:
    """Weights of a narrow net by the name of a recipe, or of the base for `net`, all of them random."""
    found = recipe(name) if name in PUBLISHED else replace(recipe("voc-fcn32s"), net=NetSpec(net, (21,)))
    model = blank(narrowed(found).net)
    torch.manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    workspace.models.mkdir(exist_ok=True)
    c2t.export(model, workspace.models / f"{name}.safetensors")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_net_it_makes_is_one_to_train(name: str, tmp_path: Path) -> None:
    """From narrow sources: nothing is left unfilled, and no mistake is found in its layers."""
    found, workspace = narrowed(recipe(name)), Workspace(tmp_path)
    base = {"FCNAlexNet": "FCNAlexNet", "FCNGoogLeNet": "FCNGoogLeNet"}.get(found.net.name, "FCN32s")
    for source in found.init.sources:
        lay(source.weights, workspace, base)
    first = initial(found, workspace, open_dataset("shapes", tmp_path, "train"))  # none of which is looked at
    assert first.unfilled == ()
    layers = first.model.blobs()
    known_mistakes.refuse_zeros(layers)
    known_mistakes.refuse_mixed_upsampling(layers)
    known_mistakes.refuse_other_upsampling(layers)
    learning = {layer for layer, (weight, *_) in layers.items() if weight.requires_grad}
    frozen = {layer for layer in layers if layer.startswith(("upscore", "scale_"))} - {*found.net.learned}
    assert learning == ({*found.net.trained} or layers.keys() - frozen)


def test_published_weights_of_the_same_name_stay(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    lay("voc-fcn32s", workspace, "FCN32s")
    (workspace.models / "voc-fcn32s.caffemodel.sha256").write_text("as a fetch leaves it")
    with pytest.raises(WriteError, match=r"voc-fcn32s\.safetensors: holds the published weights"):
        train("voc-fcn32s", recipe("voc-fcn32s"), workspace, options=Options())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("momentun = 0.9", "solver: SolverParameter has no field 'momentun'; is it 'momentum'?"),
        ("stepvalues = [2]", "solver: SolverParameter has no field 'stepvalues'; is it 'stepvalue'?"),
        ("stepvalue = 200", "solver.stepvalue is 200; Caffe's field takes an array, because it is repeated"),
        ('weights = "abc"', "solver.weights is 'abc'; Caffe's field takes an array, because it is repeated"),
        ("momentum = [0.9, 0.8]", "solver.momentum is [0.9, 0.8]; Caffe's field takes one value"),
        ("momentum = []", "solver.momentum is []; Caffe's field takes one value"),
        (
            "stepvalue = [1.5]",
            "stepvalue cannot be [1.5]: 'float' object cannot be interpreted as an integer",
        ),
        ("stepvalue = [true]", "solver.stepvalue[0]: expected str or int or float, found True"),
        ("gamma = true", "solver.gamma: expected str or int or float or an array, found True"),
        ('lr_policy = "multistep"', "solver has no stepvalue, the iterations at which lr_policy 'multistep'"),
        ('lr_policy = "multistep"\nstepvalue = []', "solver has no stepvalue, the iterations"),
    ],
)
def test_a_solvers_fields_are_caffes(tmp_path: Path, line: str, message: str) -> None:
    own, fixed = tmp_path / "my.toml", "" if "lr_policy" in line else 'lr_policy = "fixed"\n'
    facts = RECIPE.partition("[solver]")[0]
    own.write_text(f"{facts}[solver]\nbase_lr = 0.1\nmax_iter = 9\n{fixed}{line}\n")
    with pytest.raises(ReadError) as refused:
        recipe(str(own))
    assert str(refused.value).startswith("my.toml")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dropout = 1.0", "net: dropout is 1, expected 0 to below 1"),
        ("dropout = -0.5", "net: dropout is -0.5, expected 0 to below 1"),
        ("widths = [1, 2, 3, 4, 5, 6, 7]", "net: FCNGoogLeNet exists only as published; leave out widths"),
        ('learned = ["upscore"]', "net: FCNGoogLeNet exists only as published; leave out learned"),
        ('heads = ["sem"]', "net: FCNGoogLeNet exists only as published; leave out heads"),
        ('input = "hha"', "net: FCNGoogLeNet exists only as published; leave out input"),
    ],
)
def test_what_a_net_does_not_do_is_refused(tmp_path: Path, line: str, message: str) -> None:
    own, text = tmp_path / "my.toml", (recipes.FOLDER / "cvpr-voc2011-fcn-googlenet.toml").read_text()
    own.write_text(text.replace("[net]\n", f"[net]\n{line}\n"))
    with pytest.raises(ReadError) as refused:
        recipe(str(own))
    assert str(refused.value) == f"my.toml: {message}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('name = "FCN8"', "name is 'FCN8'; known are FCN32s, FCN16s, FCN8s, FCN8sAtOnce, FCN32sLateFusion, "
            "FCNAlexNet, FCNPool5, FCNPool4, FCNPool3, FCNGoogLeNet, FCNGoogLeNetPooled"),
        ('name = "FCN8s"\nclasses = [0]', "classes are [0]; labels of 8 bits name 1 to 255"),
        (
            'name = "FCN8s"\ninput = "thermal"',
            "input is 'thermal'; known are data, color, hha, color-depth, color-hha",
        ),
        ('name = "FCN8s"\nclasses = [3, 4]', "2 numbers of classes for 1 heads"),
        ('name = "FCN8s"\nheads = ["sem", "geo"]\nclasses = [3]', "1 numbers of classes for 2 heads"),
        (
            'name = "FCN8s"\nfrozen = ["conv1_1"]\ntrained = ["score_fr"]',
            "give the frozen layers or the trained ones, not both",
        ),
        ('name = "FCN8s"\nclasses = [256]', "classes are [256]; labels of 8 bits name 1 to 255"),
    ],
)  # fmt: skip
def test_a_net_that_there_is_not(tmp_path: Path, line: str, message: str) -> None:
    own = tmp_path / "my.toml"
    own.write_text(RECIPE.replace('name = "FCN32s"', line))
    with pytest.raises(ReadError) as refused:
        recipe(str(own))
    assert str(refused.value) == f"my.toml: net: {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('order = "epochs"', 'order = "sorted"', "data: order is 'sorted'; known are random, epochs"),
        (
            "mean_bgr = [104.0, 117.0, 123.0]",
            "mean_bgr = [104.0, 117.0]",
            "data: mean_bgr has 2 values, expected 3: blue, green, red",
        ),
        ("seed = 5", "seed = -1", "seed is -1, expected 0 or more"),
        ("base_lr = 0.004\n", "", "solver has no base_lr"),
    ],
)
def test_a_recipe_that_cannot_be(tmp_path: Path, old: str, new: str, message: str) -> None:
    own = tmp_path / "my.toml"
    assert old in RECIPE
    own.write_text(f"{RECIPE.replace(old, new)}max_iter = 9\n")
    with pytest.raises(ReadError) as refused:
        recipe(str(own))
    assert str(refused.value) == f"my.toml: {message}"


def test_a_recipe_that_there_is_not() -> None:
    with pytest.raises(MissingData, match=r"^no recipe is called 'fcn8'; known are .*voc-fcn8s.* my\.toml$"):
        recipe("fcn8")


def test_heads_that_the_images_have_no_labels_for() -> None:
    spec = replace(recipe("voc-fcn32s").net, heads=("sem", "geo"), classes=())
    labels = dataset("sbd").labellings
    with pytest.raises(NetError, match=r"^no labels are called 'geo'; sbd/train has sem$"):
        counted(replace(recipe("voc-fcn32s"), net=spec), labels)


def test_a_number_that_is_too_large_for_caffe_is_refused_by_the_recipes_name() -> None:
    with pytest.raises(
        ReadError, match=r"^voc-fcn32s: solver: .*max_iter cannot be 9999999999: Value out of"
    ):
        adjusted("voc-fcn32s", solver={"max_iter": 9_999_999_999})


def test_what_is_expected_is_what_the_tables_print() -> None:
    """Verified where one of the tables that print a score is; AlexNet's 48.0 stands in a text instead."""
    printed: dict[tuple[str, str, str], set[tuple[float, bool]]] = {}
    tables = [table for paper in papers().values() for table in paper.tables.values()]
    for columns, row in [(table.columns, row) for table in tables for row in table.rows]:
        for key, cell in row.cells.items():
            column = columns[key]
            metric = "mean_iu" if column.measure == "server" else column.measure
            if cell and metric in SCORES and row.recipe in recipes.names() and "-33/" not in column.on:
                printed.setdefault((row.recipe, metric, column.on), set()).add((cell.value, cell.verified))
    ours = {
        (name, score.metric, score.on): score for name in recipes.names() for score in recipe(name).expected
    }
    assert ours.pop(("voc-fcn-alexnet", "mean_iu", "voc2011/seg11valid")).percent == 48.0
    assert {place: {score.percent} for place, score in ours.items()} == {
        place: {value for value, _ in cells} for place, cells in printed.items()
    }
    assert {place: score.verified for place, score in ours.items()} == {
        place: any(verified for _, verified in cells) for place, cells in printed.items()
    }


def test_every_score_was_seen_in_a_source_that_is_explained() -> None:
    known = {*zoo().sources, *(code for paper in papers().values() for code in paper.sources)}
    for name in recipes.names():
        assert {*recipe(name).source} <= known, name
        for score in recipe(name).expected:
            assert {*score.source} <= known, (name, score)
            assert score.verified, (name, score)
