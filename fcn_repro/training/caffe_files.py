"""A recipe in Caffe's own files: train.prototxt and solver.prototxt.

The data layer is the reference implementation's if it has one for the data set, else Input layers. The first
weights are the snapshot that `--train RECIPE --iterations 0` writes, NAME_iter_0.caffemodel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import caffe2torch as c2t
from fcn_repro.data.datasets import dataset
from fcn_repro.files import make_folder, refuse_existing, write
from fcn_repro.recipes import Recipe
from fcn_repro.training.first_weights import blank, counted, dropping, freeze
from fcn_repro.workspace import Workspace

_PYTHON = {
    "sbd": ("voc_layers", "SBDDSegDataLayer", {"sbdd_dir": "../data/sbdd/dataset"}),
    "nyudv2": ("nyud_layers", "NYUDSegDataLayer", {"nyud_dir": "../data/nyud"}),
    "sift-flow": ("siftflow_layers", "SIFTFlowSegDataLayer", {"siftflow_dir": "../data/sift-flow"}),
    "pascal-context": ("pascalcontext_layers", "PASCALContextSegDataLayer", {}),
}
"""By data set, as the nets of shelhamer/fcn.berkeleyvision.org at 1305c73 have them."""


def write_for_caffe(
    name: str, recipe: Recipe, workspace: Workspace, folder: Path, force: bool = False
) -> tuple[Path, Path]:
    """Writes a recipe's two files into a folder; returns their paths. Raises NetError, and WriteError.

    Files that are there are replaced only by `force`.

    A recipe that takes its number of classes from a folder of images needs that folder, else MissingData.
    """
    data = recipe.data
    heads = dataset(data.train.partition("/")[0]).labellings or workspace.open(data.train).heads
    recipe = counted(recipe, heads)
    net, solver = folder / "train.prototxt", folder / "solver.prototxt"
    refuse_existing((net, solver), force)
    make_folder(folder)
    normalize = recipe.loss.normalize
    trained = c2t.training_net(_net(recipe), normalize=normalize, python_param=python_param(recipe))
    c2t.export(trained, net)
    fields = {"net": net.name, **recipe.solver, "snapshot_prefix": name, "random_seed": recipe.seed}
    write(solver, c2t.solver_prototxt(fields))
    return net, solver


def python_param(recipe: Recipe) -> dict[str, str] | None:
    """The reference implementation's data layer for a recipe's training split; None if it has none."""
    name, _, split = recipe.data.train.partition("/")
    if name not in _PYTHON:
        return None
    module, layer, where = _PYTHON[name]
    param: dict[str, str | int | Sequence[str | float]] = {
        **where,
        "split": split,
        "seed": recipe.seed,
    }
    if name == "nyudv2":
        param["tops"] = [*recipe.net.input.replace("data", "color").split("-"), "label"]
    if name == "sbd":
        param["mean"] = recipe.data.mean_bgr
    return {"module": module, "layer": layer, "param_str": repr(param)}


def _net(recipe: Recipe) -> c2t.Net:
    """The deploy net with the recipe's dropout, and learning rates of zero for frozen layers."""
    model = blank(recipe.net)
    freeze(model, recipe.net)
    net = model.net() if isinstance(model, c2t.FCN) else c2t.define(recipe.net.name, recipe.net.classes[0])
    frozen = {name for name, (weight, *_) in model.blobs().items() if not weight.requires_grad}
    layers = [_still(layer) if layer.name in frozen else layer for layer in net.layers]
    if recipe.net.dropout == 0:
        # Caffe checks that a ratio is above 0 (dropout_layer.cpp); Dropout is in place, and leaves no gap.
        layers = [layer for layer in layers if layer.type != "Dropout"]
    return dropping(replace(net, layers=tuple(layers)), recipe.net.dropout)


def _still(layer: c2t.Layer) -> c2t.Layer:
    param = tuple(spec.replace(lr_mult=0.0) for spec in layer.fields.param)
    return replace(layer, fields=layer.fields.replace(param=param))
