"""A recipe as Caffe's files, beside those that the reference implementation has."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from caffe2torch import schema
from fcn_repro import cli
from fcn_repro.recipes import FOLDER

ZOO = (
    "voc-fcn32s",
    "voc-fcn16s",
    "voc-fcn8s-atonce",
    "nyud-fcn32s-color-hha",
    "voc-fcn-alexnet",
)


def written(recipe: str, folder: Path) -> tuple[Any, Any]:
    assert cli.main(["--caffe", recipe, "-o", str(folder)]) == 0
    return tuple(
        text_format.Parse((folder / file).read_text(), schema.message(kind)())
        for file, kind in (("train.prototxt", "NetParameter"), ("solver.prototxt", "SolverParameter"))
    )


def wiring(net: Any) -> list[tuple[str, ...]]:
    """All but what is named freely: the data layer, the losses and their tops."""
    free = ("Python", "SoftmaxWithLoss")
    return [
        ("", x.type, *x.bottom, *(x.top if x.type == "Python" else ()))
        if x.type in free
        else (x.name, x.type, *x.bottom, *x.top)
        for x in net.layer
    ]


@pytest.mark.parametrize("name", ZOO)
def test_a_recipe_is_the_zoos_net(name: str, tmp_path: Path, golden: Path) -> None:
    ours, _ = written(name, tmp_path)
    theirs = text_format.Parse(
        (golden / "fcn" / name / "train.prototxt").read_text(), schema.message("NetParameter")()
    )
    assert wiring(ours) == wiring(theirs)
    for mine, other in zip(ours.layer, theirs.layer, strict=True):
        assert [p.lr_mult for p in mine.param] == [p.lr_mult for p in other.param], mine.name
        assert mine.python_param.module == other.python_param.module
        assert mine.python_param.layer == other.python_param.layer
        if other.python_param.param_str:
            param = ast.literal_eval(other.python_param.param_str)
            assert ast.literal_eval(mine.python_param.param_str).items() >= param.items()
        assert mine.loss_param.normalize == (name == "voc-fcn-alexnet" and mine.type == "SoftmaxWithLoss")


def test_the_solver_is_heavy_learnings(tmp_path: Path) -> None:
    _, solver = written("voc-fcn32s", tmp_path)
    assert (solver.net, solver.snapshot_prefix, solver.random_seed) == ("train.prototxt", "voc-fcn32s", 1337)
    assert (solver.base_lr, solver.momentum, solver.weight_decay) == pytest.approx((1e-10, 0.99, 5e-4))
    assert (solver.lr_policy, solver.iter_size, solver.max_iter) == ("fixed", 1, 100_000)


def test_a_multistep_keeps_its_steps(tmp_path: Path) -> None:
    recipe = tmp_path / "falling.toml"
    steps = 'lr_policy = "multistep"\ngamma = 0.1\nstepvalue = [3_000, 3_500]'
    recipe.write_text(
        (FOLDER / "shapes-classifier.toml").read_text().replace('lr_policy = "poly"\npower = 0.9', steps)
    )
    _, solver = written(str(recipe), tmp_path)
    assert (solver.lr_policy, list(solver.stepvalue)) == ("multistep", [3000, 3500])


@pytest.mark.parametrize("name", ["shapes-classifier", "cvpr-voc2011-fcn-googlenet"])
def test_dropout_and_what_is_frozen_are_the_recipes(tmp_path: Path, name: str) -> None:
    text = re.sub("dropout = .*\n", "", (FOLDER / f"{name}.toml").read_text())
    recipe = tmp_path / "mine.toml"
    recipe.write_text(text.replace("[net]\n", '[net]\ndropout = 0.3\nfrozen = ["conv[12]*"]\n'))
    net, _ = written(str(recipe), tmp_path)
    shares = [x.dropout_param.dropout_ratio for x in net.layer if x.type == "Dropout"]
    assert shares == pytest.approx([0.3] * len(shares))
    assert shares
    rates = {x.name: {p.lr_mult for p in x.param} for x in net.layer if x.type == "Convolution"}
    for layer, own in rates.items():
        assert own == ({0} if layer.startswith(("conv1", "conv2")) else {1, 2}), layer


@pytest.mark.parametrize("name", ["shapes-fcn8s", "cvpr-voc2011-fcn-googlenet"])
def test_nothing_drops_nothing(tmp_path: Path, name: str) -> None:
    """Caffe checks that a dropout_ratio is above 0 (dropout_layer.cpp)."""
    text = re.sub("dropout = .*\n", "", (FOLDER / f"{name}.toml").read_text())
    recipe = tmp_path / "mine.toml"
    recipe.write_text(text.replace("[net]\n", "[net]\ndropout = 0.0\n"))
    net, _ = written(str(recipe), tmp_path)
    assert "Dropout" not in {layer.type for layer in net.layer}
    tops = {top for layer in net.layer for top in layer.top}
    assert all(bottom in tops for layer in net.layer for bottom in layer.bottom)


def test_what_is_frozen_has_no_rate(tmp_path: Path) -> None:
    net, _ = written("shapes-fcn32s-fixed", tmp_path)
    rates = {x.name: [p.lr_mult for p in x.param] for x in net.layer if x.type == "Convolution"}
    assert {name for name, own in rates.items() if any(own)} == {"score_fr"}
    assert rates["score_fr"] == [1, 2]
    assert [x.type for x in net.layer][:2] == ["Input", "Input"]


def test_the_first_weights_are_a_snapshot_of_no_iterations(tmp_path: Path) -> None:
    recipe = tmp_path / "still.toml"
    recipe.write_text((FOLDER / "shapes-classifier.toml").read_text().replace('"poly"', '"fixed"'))
    assert cli.main(["--train", str(recipe), "--home", str(tmp_path), "--iterations", "0"]) == 0
    found = {path.name for path in (tmp_path / "training" / "still").iterdir()}
    assert {"still_iter_0.caffemodel", "still_iter_0.solverstate"} <= found


def test_it_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--caffe", "voc-fcn32s"]) == 2
    assert re.search("--caffe needs -o DIR", capsys.readouterr().err)
