"""The known ways to get 30 mean IU instead of 63, refused before training starts.

One function per mistake, with the thread where somebody made it; `refuse_mistakes` calls them all.
"""

from __future__ import annotations

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

import caffe2torch as c2t
from caffe2torch.errors import Caffe2TorchError
from fcn_repro.data.datasets import Dataset
from fcn_repro.fetching.zoo import zoo
from fcn_repro.recipes import Recipe

COARSER = {"FCN16s": "FCN32s", "FCN8s": "FCN16s"}
"""The nets trained in stages, and whose weights each starts from (CVPR 2015, Section 4.2)."""
FINE = {*COARSER, "FCNPool4", "FCNPool3"}
"""The nets that learn to score pool4 or pool3, whose features are large: their rates are lower."""

SLOWEST, FASTEST = 3e-9, 0.5
"""Rates on an image's mean loss, with momentum, between which these nets learn."""
SLOWEST_MEAN, FASTEST_SUMMED = 1e-6, 1e-2
"""Narrower bounds: for the mean loss in nets that are not fine, and the summed loss in those that are.

The published rates go from 1e-7 (FCN-8s) to 1e-2 (FCN-AlexNet). With the other loss they would be below 1e-8
or above 90, and for fine nets below 1e-9 or above 1.8e-2.
"""

Layers = Mapping[str, Sequence[Tensor]]
"""The blobs of each layer with any, in Caffe's order: weight (out, in, height, width), then bias."""


class RecipeError(Caffe2TorchError):
    """A recipe that would train but not learn; the message says why, and what to do."""


def refuse_mistakes(
    recipe: Recipe,
    model: c2t.FCN | c2t.CaffeNet,
    unfilled: Sequence[str],
    train: Dataset,
    val: Dataset | None,
) -> None:
    """Raises RecipeError for a training that is known to fail, or whose scores would be too good.

    `model` is the net before its first step; `unfilled` are its layers that no source filled and that are
    not fresh.
    """
    layers: Layers = model.blobs()
    height, width = train[0].image_hwc.shape[:2]
    refuse_other_data(recipe, train, val)
    refuse_unpaired_rate(recipe, height * width)
    refuse_unstaged(recipe)
    refuse_unfilled(recipe, unfilled)
    refuse_zeros(layers)
    refuse_mixed_upsampling(layers)
    refuse_other_upsampling(layers)


def refuse_other_data(recipe: Recipe, train: Dataset, val: Dataset | None) -> None:
    """Images that do not fit the recipe or each other; they may have changed since training began."""
    refuse_wrong_classes(recipe, train, val)
    refuse_shared_images(train, val)


def refuse_unpaired_rate(recipe: Recipe, pixels: int) -> None:
    """A rate for the loss summed over an image's pixels used with their mean, or the reverse.

    1e-10 belongs to the sum, 1e-4 to the mean (wkentaro/pytorch-fcn, #17 and #54; apache/mxnet, #1517). Only
    SGD and Nesterov are checked: the other solvers do not depend on the loss's scale.
    """
    mean = recipe.loss.normalize
    if recipe.solver.get("type", "SGD") not in ("SGD", "Nesterov"):
        return
    base_lr, momentum = _number(recipe, "base_lr"), _number(recipe, "momentum")
    if not 0 <= momentum < 1:
        raise RecipeError(f"momentum is {momentum:g}; expected 0 to below 1, such as 0.9 or 0.99")
    # Momentum makes each gradient count 1 / (1 - momentum) times.
    on_mean, on_sum = (base_lr * scale / (1 - momentum) for scale in (1, pixels))
    rate, crossed = (on_mean, on_sum) if mean else (on_sum, on_mean)
    slowest, fastest = _learning_rates(recipe.net.name in FINE, mean)
    if slowest <= rate <= fastest:
        return
    way_out = "the papers use 1e-4 with the mean loss, 1e-10 with the sum"
    least, most = _learning_rates(recipe.net.name in FINE, not mean)
    if least <= crossed <= most:
        own, other = ("mean", "summed") if mean else ("summed", "mean")
        paired = base_lr * pixels if mean else base_lr / pixels
        way_out = (
            f"it looks like a rate for the {other} loss: set loss.normalize = {str(not mean).lower()}, or "
            f"base_lr = {paired:.1e}, which pairs with the {own} loss"
        )
    raise RecipeError(
        f"base_lr {base_lr:g} is {rate:.2g} on the mean loss of an image ({pixels} pixels, momentum "
        f"{momentum:g}), and {recipe.net.name} learns between {slowest:g} and {fastest:g}; {way_out}"
    )


def _number(recipe: Recipe, field: str) -> float:
    """A field of the solver; 0 where the recipe leaves it out."""
    value = recipe.solver.get(field, 0)
    if not isinstance(value, int | float):
        raise RecipeError(f"solver.{field} is {value!r}, expected a number")
    return value


def _learning_rates(fine: bool, mean: bool) -> tuple[float, float]:
    slowest = SLOWEST_MEAN if mean and not fine else SLOWEST
    return slowest, FASTEST_SUMMED if fine and not mean else FASTEST


def refuse_unstaged(recipe: Recipe) -> None:
    """FCN-16s or FCN-8s straight from a classifier (wkentaro/pytorch-fcn, #68).

    Their streams have gradients of very different sizes; the at-once net is made for that, with scaled pools.
    """
    net, sources = recipe.net.name, [source.weights for source in recipe.init.sources]
    if net in COARSER and all(map(_is_classifier, sources)):
        raise RecipeError(
            f"{net} is trained in stages and would start from {' and '.join(sources) or 'nothing'}: start it "
            f"from {COARSER[net]}'s weights, as voc-fcn8s does from voc-fcn16s, or train FCN8sAtOnce instead"
        )


def _is_classifier(weights: str) -> bool:
    """Whether weights, given by file or by name, are of a net without a score for each pixel."""
    if Path(weights).is_file():
        return not any(key.startswith("score") for key in c2t.load(weights).state_dict())
    return weights in zoo().models and zoo().models[weights].family == "base"


def refuse_unfilled(recipe: Recipe, unfilled: Sequence[str]) -> None:
    """Layers that nothing filled: without fc6 and fc7 copied, 30 mean IU (wkentaro/fcn, #79, PR #87)."""
    if not unfilled:
        return
    sources = " or ".join(source.weights for source in recipe.init.sources) or "anything"
    costly = any(layer.startswith(("fc6", "fc7")) for layer in unfilled)
    harm = "; without fc6 and fc7 a net ends at half its score" if costly else ""
    raise RecipeError(
        f"not filled from {sources}: {', '.join(unfilled)}{harm}. Name weights that have these layers in "
        "init.sources (fcn-convert FILE --inspect lists them), or in init.fresh what to learn from scratch"
    )


def refuse_zeros(layers: Layers) -> None:
    """A layer of zeros that no gradient passes: a convolution that is not a score, or a deconvolution.

    Below a frozen deconvolution that was never filled all gradients are zero (BVLC/caffe, #4446).
    """
    for name, (weight, *_) in layers.items():
        if weight.ndim == 4 and not name.startswith("score") and not weight.any():
            fill = "the bilinear kernel" if _is_upsampling(name) else "weights, or name it in init.fresh"
            raise RecipeError(f"layer {name!r} is all zeros, so nothing below it would learn: give it {fill}")


def refuse_mixed_upsampling(layers: Layers) -> None:
    """A deconvolution with its kernel on every pair of channels, as Caffe fills it (BVLC/caffe, #3906)."""
    for name, (weight, *_) in layers.items():
        if _is_upsampling(name) and weight.shape[1] > 1 and bool((weight == weight[:1, :1]).all()):
            raise RecipeError(
                f"layer {name!r} {tuple(weight.shape)} has one kernel on every pair of channels, as Caffe's "
                "bilinear filler leaves it, and adds up all classes in each: fill only the diagonal"
            )


def refuse_other_upsampling(layers: Layers) -> None:
    """A deconvolution that is frozen and does not interpolate bilinearly, each class by itself."""
    for name, (weight, *_) in layers.items():
        if _is_upsampling(name) and not weight.requires_grad and not _is_bilinear(weight.detach()):
            raise RecipeError(
                f"layer {name!r} is frozen but not bilinear upsampling: fill it with the bilinear kernel, or "
                "name it in net.learned"
            )


def _is_upsampling(layer: str) -> bool:
    return layer.startswith("upscore")


def _is_bilinear(weight: Tensor) -> bool:
    """For a weight (C, C, k, k) that is zero off its diagonal, or (C, 1, k, k)."""
    channels, each, size, _ = weight.shape
    own = weight[range(channels), range(channels) if each > 1 else 0].cpu()  # (C, k, k)
    apart = weight.count_nonzero() == own.count_nonzero()
    kernel = torch.from_numpy(c2t.bilinear_kernel(size))
    return bool(apart) and torch.allclose(own, kernel.expand_as(own), atol=1e-6)


def refuse_shared_images(train: Dataset, val: Dataset | None) -> None:
    """Validation on training images: SBD's train has most of VOC's val (meetps/pytorch-semseg, #120)."""
    if val is None:
        return
    ids = set(train.ids)
    shared = [image for image in val.ids if image in ids and _is_same(train, val, image)]
    if shared:
        raise RecipeError(
            f"{len(shared)} of {len(val)} images of {val.name}/{val.split} are also in "
            f"{train.name}/{train.split}, as {shared[0]} is: their scores would be too good. Take others "
            "(voc2011/seg11valid has those of VOC's val that are not in SBD's train), or leave data.val out"
        )


def _is_same(train: Dataset, val: Dataset, image: str) -> bool:
    """Whether an id in two splits is one image: two folders of a data set may both count from 1."""
    if train.name != val.name or train.split == val.split:
        return True
    return filecmp.cmp(train.image_path(image), val.image_path(image), shallow=False)


def refuse_wrong_classes(recipe: Recipe, train: Dataset, val: Dataset | None) -> None:
    """A net whose classes differ from its data's: 59 for PASCAL-Context's 60, 41 for NYUDv2's 40.

    (open-mmlab/mmsegmentation, #517; laughtervv/DepthAwareCNN, #39.)
    """
    heads = recipe.net.heads or tuple(train.heads)[:1]
    counts = recipe.net.classes or tuple(len(train.heads[head].classes) for head in heads)
    for data in (train, *([] if val is None else [val])):
        for head, count in zip(heads, counts, strict=True):
            if head not in data.heads:
                known = ", ".join(data.heads)
                raise RecipeError(f"net.heads has {head!r}; the labellings of {data.title} are {known}")
            classes = data.heads[head].classes
            if len(classes) != count:
                raise RecipeError(
                    f"the net scores {count} classes, {data.title} has {len(classes)}, {classes[0]} to "
                    f"{classes[-1]} (background counts where it is labelled, void never does): set "
                    f"net.classes to {len(classes)}, or name other data"
                )
