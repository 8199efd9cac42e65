"""A recipe's net before its first step: weights from the recipe's sources, the rest initialized as published.

Recipe ─ initial ─→ Initial: a module, and the layers left unfilled
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

import caffe2torch as c2t
from caffe2torch.errors import NetError, WeightsError
from fcn_repro import recipes
from fcn_repro.data.datasets import Dataset, Labelling
from fcn_repro.data.examples import Order, examples
from fcn_repro.recipes import Init, Recipe
from fcn_repro.workspace import Workspace, weights_file

_STREAMS = {
    "data": (c2t.Stream(),),
    "color": (c2t.Stream("", (("color", 3),)),),
    "hha": (c2t.Stream("", (("hha", 3),)),),
    "color-depth": c2t.COLOR_DEPTH,
    "color-hha": c2t.COLOR_HHA,
}

_AS_DEFINED = ("upscore", "scale_")
"""Bilinear kernels and the at-once net's factors are part of a net's definition and need no source."""
PADDING = 100
"""Of the first convolution, on each side (CVPR, Section 4.1)."""


@dataclass(frozen=True, eq=False)
class Initial:
    """A module to train, in train mode, and the names of the layers that nothing filled."""

    model: c2t.FCN | c2t.CaffeNet
    unfilled: tuple[str, ...]


def initial(recipe: Recipe, workspace: Workspace, train: Dataset) -> Initial:
    """A recipe's net with its first weights, the same every time; `train` is what it will learn from.

    Raises MissingData for weights that are not here, and what `c2t.load` and `c2t.transplant` raise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = blank(recipe.net)
        layers = model.blobs()
        fresh = matching(recipe.init.fresh, layers)
        kept = {*fresh, *_frozen_upsampling(model)}
        untouched = set(layers) - kept
        for source, suffix in _sources(recipe.init, workspace):
            untouched &= set(_copied(model, source, suffix, kept))
            if recipe.init.depth_from_color:
                untouched -= set(_fill_depth(model, source))
        drawn = [name for name in fresh if not name.startswith(_AS_DEFINED)]
        for name in drawn:
            _fill(name, model.get_submodule(name))
        fit(model, [name for name in drawn if not name.startswith("score")], _images(recipe, model, train))
    freeze(model, recipe.net)
    return Initial(
        model.train(), tuple(x for x in layers if x in untouched and not x.startswith(_AS_DEFINED))
    )


def _copied(model: nn.Module, source: nn.Module, suffix: str, kept: Collection[str]) -> Sequence[str]:
    """The layers that a source leaves untouched. Raises WeightsError for a shape that does not fit."""
    try:
        return c2t.transplant(model, source, suffix, leave=kept).untouched
    except WeightsError as error:
        way_out = "give net.widths those of the source, or name the layer in init.fresh to learn it anew"
        raise WeightsError(f"{error}; {way_out}") from error


def unfilled(recipe: Recipe) -> c2t.FCN | c2t.CaffeNet:
    """A recipe's net in train mode, for a snapshot to fill."""
    model = blank(recipe.net)
    freeze(model, recipe.net)
    return model.train()


def blank(net: recipes.NetSpec) -> c2t.FCN | c2t.CaffeNet:
    """A net without any source's weights: scores zero, deconvolutions bilinear, the rest random."""
    if net.name.startswith("FCNGoogLeNet"):
        return _googlenet(net)
    names = [f"_{head}" for head in net.heads] or [""]
    heads = tuple(c2t.Head(*head) for head in zip(names, net.classes, strict=True))
    architecture = c2t.Architecture(net.name, heads, _STREAMS[net.input], net.widths, frozenset(net.learned))
    model = c2t.fcn_of(architecture)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = net.dropout
    return model


def _googlenet(net: recipes.NetSpec) -> c2t.CaffeNet:
    """As defined, with its dense deconvolution filled, which the definition leaves empty."""
    model = c2t.build(dropping(c2t.define(net.name, net.classes[0]), net.dropout))
    (upscore,), each = model.blobs()["upscore"], range(net.classes[0])
    upscore.data[each, each] = torch.from_numpy(c2t.bilinear_kernel(upscore.shape[2]))
    return model


def dropping(net: c2t.Net, share: float) -> c2t.Net:
    """A Net whose Dropout layers drop that share."""
    share = torch.tensor(share, dtype=torch.float32).item()  # as Caffe's message holds it

    def changed(layer: c2t.Layer) -> c2t.Layer:
        param = layer.fields.dropout_param.replace(dropout_ratio=share)
        return replace(layer, fields=layer.fields.replace(dropout_param=param))

    return replace(net, layers=tuple(changed(x) if x.type == "Dropout" else x for x in net.layers))


def counted(recipe: Recipe, heads: Mapping[str, Labelling]) -> Recipe:
    """The recipe with its numbers of classes, by default those of the data set's labellings.

    Raises NetError for a head that the data set does not label.
    """
    named = recipe.net.heads or tuple(heads)[:1]
    if unknown := [head for head in named if head not in heads]:
        raise NetError(f"no labels are called {unknown[0]!r}; {recipe.data.train} has {', '.join(heads)}")
    counts = recipe.net.classes or tuple(len(heads[head].classes) for head in named)
    return replace(recipe, net=replace(recipe.net, classes=counts))


def matching(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names that match a pattern, such as `conv1_*`. Raises NetError for a pattern without a match."""
    patterns, names = tuple(patterns), tuple(names)
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise NetError(f"no layer is called {pattern!r}; those with weights are {', '.join(names)}")
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def _sources(init: Init, workspace: Workspace) -> Iterator[tuple[nn.Module, str]]:
    for source in init.sources:
        yield c2t.load(weights_file(source.weights, workspace)), source.suffix


def _frozen_upsampling(model: nn.Module) -> list[str]:
    """Bilinear kernels follow from the net; a source's may be for a different number of classes."""
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.ConvTranspose2d) and not layer.weight.requires_grad
    ]


def _fill_depth(model: nn.Module, source: nn.Module) -> Sequence[str]:
    """The first layer of early fusion is the source's; depth gets the mean over its colours (solve.py)."""
    (stem,) = (name for name in model._modules if name.startswith("conv1_1"))
    weight = source.get_parameter("conv1_1.weight")
    with torch.no_grad():
        depth = weight.mean(1, keepdim=True)
        model.get_parameter(f"{stem}.weight").copy_(torch.cat([weight, depth], 1))
        model.get_parameter(f"{stem}.bias").copy_(source.get_parameter("conv1_1.bias"))
    return [stem]


def _fill(name: str, layer: nn.Module) -> None:
    """A fresh layer: scores start at zero (CVPR, Section 4.3), others as He et al. (2015) do."""
    with torch.no_grad():
        for key, values in layer.named_parameters():
            if key == "bias" or name.startswith("score"):
                values.zero_()
            else:
                nn.init.kaiming_normal_(values, nonlinearity="relu")


def fit(model: nn.Module, names: Sequence[str], images: Sequence[Mapping[str, Tensor]]) -> None:
    """Scales and shifts convolutions, in order, so that each channel has mean 0 and variance 1 over images.

    `images` are inputs by blob, (1, C, H, W). Without any, layers are left as they are.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        for name in names if images else ():
            layer = model.get_submodule(name)
            values = torch.cat([_seen(model, layer, inputs) for inputs in images], 1)  # (C, positions)
            scale = 1 / values.std(1).clamp(min=1e-6)
            layer.get_parameter("weight").mul_(scale[:, None, None, None])
            layer.get_parameter("bias").sub_(values.mean(1)).mul_(scale)
    model.train(training)


class _Seen(Exception):
    """Carries a layer's output out of a forward pass that need not continue."""


def _seen(model: nn.Module, layer: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """A layer's output (C, positions) for an image, without what conv1_1's padding adds around it."""

    def stop(layer: nn.Module, bottoms: tuple[Tensor, ...], top: Tensor) -> None:
        raise _Seen(top)

    hook = layer.register_forward_hook(stop)
    try:
        model(**inputs)
    except _Seen as seen:
        top: Tensor = seen.args[0]
    finally:
        hook.remove()
    size = next(iter(inputs.values())).shape[2:]
    for axis, pixels in enumerate(size, start=2):
        stride = (pixels + 2 * PADDING) / top.shape[axis]
        first, count = round(PADDING / stride), max(1, round(pixels / stride))
        top = top.narrow(axis, first, min(count, top.shape[axis] - first))
    return top[0].flatten(1)


def _images(recipe: Recipe, model: c2t.FCN | c2t.CaffeNet, train: Dataset) -> list[Mapping[str, Tensor]]:
    """The images that fresh layers are fitted to, drawn as in training."""
    order = Order("random", len(train), recipe.seed)
    numbers = range(recipe.init.fit)
    drawn = examples(train, numbers, order, blobs=model.inputs, mean_bgr=recipe.data.mean_bgr)
    return [example.inputs for example in drawn]


def freeze(model: c2t.FCN | c2t.CaffeNet, net: recipes.NetSpec) -> None:
    """Freezes the layers that the recipe does not train."""
    layers = model.blobs()
    frozen = matching(net.frozen, layers)
    if net.trained:
        frozen = [name for name in layers if name not in matching(net.trained, layers)]
    for name in frozen:
        for parameter in layers[name]:
            parameter.requires_grad_(False)
