"""A recipe's net as it is before its first step: weights from where the recipe says, the rest as published.

Recipe ─ initial ─→ Initial: a module, and the layers that nothing filled
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import nn

import caffe2torch as c2t
from caffe2torch import fcn
from caffe2torch.errors import MissingData
from fcn_repro import recipes
from fcn_repro.disk import Disk
from fcn_repro.recipes import Init, Recipe
from fcn_repro.zoo import zoo

_STREAMS = {
    "data": (fcn.Stream(),),
    "color": (fcn.Stream("", (("color", 3),)),),
    "hha": (fcn.Stream("", (("hha", 3),)),),
    "color-depth": fcn.COLOR_DEPTH,
    "color-hha": fcn.COLOR_HHA,
}

_AS_DEFINED = ("upscore", "scale_")
"""Bilinear kernels and the at-once net's factors are part of a net's definition: nothing has to fill them."""

PIXEL_SPREAD = 64
"""How far pixels lie from their mean; He's rule is for inputs that lie 1 from theirs."""


@dataclass(frozen=True, eq=False)
class Initial:
    """A module to train, in train mode, and the names of the layers that neither a source nor we filled."""

    model: nn.Module
    unfilled: tuple[str, ...]


def initial(recipe: Recipe, disk: Disk) -> Initial:
    """The net of a recipe with its first weights, the same every time.

    Raises MissingData for weights that are not here, and what `c2t.load` and `c2t.transplant` raise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model: Any = blank(recipe.net)
        layers = model.blobs()
        learned = [name for name in layers if not name.startswith(_AS_DEFINED)]
        fresh = matching(recipe.init.fresh, learned)
        kept = {*fresh, *_frozen_upsampling(model)}
        untouched = set(layers) - kept
        for source, suffix in _sources(recipe.init, disk):
            untouched &= set(c2t.transplant(model, source, suffix, leave=kept).untouched)
            if recipe.init.depth_from_color:
                untouched -= set(_fill_depth(model, source))
        for name in fresh:
            _fill(name, model.get_submodule(name))
    _freeze(model, recipe.net)
    return Initial(model.train(), tuple(name for name in learned if name in untouched))


def blank(net: recipes.Architecture) -> nn.Module:
    """A net without weights from anywhere: scores at zero, deconvolutions bilinear, the rest random."""
    if net.name.startswith("FCNGoogLeNet"):
        return _googlenet(net)
    names = [f"_{head}" for head in net.heads] or [""]
    heads = tuple(fcn.Head(*head) for head in zip(names, net.classes, strict=True))
    widths = net.widths or (fcn.CAFFENET if net.name == "FCNAlexNet" else fcn.VGG16)
    architecture = fcn.Architecture(net.name, heads, _STREAMS[net.input], widths, frozenset(net.learned))
    model = fcn.module(architecture)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = net.dropout
    return model


def _googlenet(net: recipes.Architecture) -> nn.Module:
    """As its definition says, but that leaves the dense deconvolution empty."""
    model = c2t.build(c2t.define(net.name, net.classes[0]))
    (upscore,), each = model.blobs()["upscore"], range(net.classes[0])
    upscore.data[each, each] = fcn.bilinear(len(each), upscore.shape[2], 32).weight[:, 0]
    return model


def matching(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names that one of the patterns, such as `conv1_*`, matches."""
    patterns = tuple(patterns)
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def weights_file(name: str, disk: Disk) -> Path:
    """The file of a zoo model, of a recipe's result, or that is itself named. Raises MissingData."""
    if Path(name).is_file():
        return Path(name)
    if found := disk.model(name):
        return found
    if name in recipes.names():
        raise MissingData(f"{name} is not trained yet; train it with: fcn-repro --train {name}")
    if name in zoo().models:
        raise MissingData(f"{name} is not in {disk.models}; get it with: fcn-repro --fetch {name}")
    raise MissingData(f"{name}: neither a file, nor a recipe, nor a model of the zoo; --list has both")


def _sources(init: Init, disk: Disk) -> Iterator[tuple[nn.Module, str]]:
    for source in init.sources:
        yield c2t.load(weights_file(source.weights, disk)), source.suffix


def _frozen_upsampling(model: nn.Module) -> list[str]:
    """Bilinear kernels follow from the net; a source's may be for another number of classes."""
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.ConvTranspose2d) and not layer.weight.requires_grad
    ]


def _fill_depth(model: nn.Module, source: Any) -> Sequence[str]:
    """The first layer of early fusion: the source's; depth gets the mean over its colours (solve.py)."""
    (stem,) = (name for name in model._modules if name.startswith("conv1_1"))
    layer: Any = model.get_submodule(stem)
    weight, bias = source.blobs()["conv1_1"]
    with torch.no_grad():
        layer.weight.copy_(torch.cat([weight, weight.mean(1, keepdim=True)], 1))
        layer.bias.copy_(bias)
    return [stem]


def _fill(name: str, layer: Any) -> None:
    """A fresh layer: scores start at zero (CVPR, Section 4.3), others as He et al. (2015) do."""
    with torch.no_grad():
        if name.startswith("score"):
            layer.weight.zero_()
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if name.startswith("conv1_1") or name == "conv1":
            layer.weight.div_(PIXEL_SPREAD)
        if getattr(layer, "bias", None) is not None:
            layer.bias.zero_()


def _freeze(model: Any, net: recipes.Architecture) -> None:
    """Takes from training the layers that the recipe does not train."""
    layers: dict[str, list[nn.Parameter]] = model.blobs()
    frozen = matching(net.frozen, layers)
    if net.trained:
        frozen = [name for name in layers if name not in matching(net.trained, layers)]
    for name in frozen:
        for parameter in layers[name]:
            parameter.requires_grad_(False)
