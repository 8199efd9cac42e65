"""Trainings that are known to fail, each refused; and the published ones, which are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import caffe2torch as c2t
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.modules.fcn import FCN8s, FCN16s, FCN32s
from caffe2torch.modules.fcn_base import FCN
from caffe2torch.modules.fcn_general import FCNAlexNet
from fcn_repro import recipes
from fcn_repro.data.datasets import Dataset, dataset, open_dataset
from fcn_repro.recipes import DataSpec, Init, LossSpec, NetSpec, Recipe, Weights, recipe
from fcn_repro.training import known_mistakes
from fcn_repro.training.known_mistakes import RecipeError, refuse_mistakes
from tests.fcn_repro import miniatures

WIDTHS = (3, 4, 5, 6, 7, 9, 8)
PIXELS = {"voc2011": 500 * 375, "sbd": 500 * 375, "pascal-context": 500 * 375, "nyudv2": 425 * 560}
PIXELS |= {"sift-flow": 256 * 256}
"""Of an image, as published; VOC's differ, most are 500 x 375."""
PUBLISHED = [name for name in recipes.names() if recipe(name).source]


def made(
    net: str = "FCN32s", source: str = "voc-fcn32s", classes: tuple[int, ...] = (5,), **parts: object
) -> Recipe:
    solver = {"base_lr": 1e-10, "momentum": 0.99, "lr_policy": "fixed", "max_iter": 10}
    whole = {
        "data": DataSpec("folder/train", (104.0, 117.0, 123.0)),
        "net": NetSpec(net, classes, widths=WIDTHS),
        "init": Init((Weights(source),) if source else ()),
        "loss": LossSpec(normalize=False),
        "solver": solver,
    }
    return Recipe("a recipe", (), **{**whole, **parts})


def learning(base_lr: float, momentum: float = 0.9, **more: str) -> dict[str, str | int | float]:
    return {"base_lr": base_lr, "momentum": momentum, "lr_policy": "fixed", "max_iter": 10, **more}


def narrow(kind: type[FCN] = FCN32s, classes: int = 5, **parts: object) -> FCN:
    torch.manual_seed(3)
    return kind(classes, widths=WIDTHS, **parts)


# Rate and loss


def pixels(of: Recipe) -> int:
    return PIXELS[re.split("[+/]", of.data.train)[0]]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_rate_pairs_with_its_loss_and_not_with_the_other(name: str) -> None:
    published = recipe(name)
    known_mistakes.refuse_unpaired_rate(published, pixels(published))
    crossed = replace(published, loss=LossSpec(not published.loss.normalize))
    other = "summed" if crossed.loss.normalize else "mean"
    with pytest.raises(RecipeError, match=f"it looks like a rate for the {other} loss") as refused:
        known_mistakes.refuse_unpaired_rate(crossed, pixels(published))
    # The way out is one: with the rate that the message gives, the crossed recipe passes.
    paired = float(re.search(r"base_lr = (\S+), which pairs", str(refused.value))[1])
    known_mistakes.refuse_unpaired_rate(
        replace(crossed, solver={**published.solver, "base_lr": paired}), pixels(published)
    )
    factor = pixels(published) if crossed.loss.normalize else 1 / pixels(published)
    assert paired == pytest.approx(float(published.solver["base_lr"]) * factor, rel=0.05)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_rate_of_the_other_kind_is_refused_for_a_published_loss(name: str) -> None:
    published = recipe(name)
    factor = 1 / pixels(published) if published.loss.normalize else pixels(published)
    rate = float(published.solver["base_lr"]) * factor
    other = "summed" if published.loss.normalize else "mean"
    with pytest.raises(RecipeError, match=f"it looks like a rate for the {other} loss"):
        known_mistakes.refuse_unpaired_rate(
            replace(published, solver={**published.solver, "base_lr": rate}), pixels(published)
        )


def test_the_refusal_of_a_rate_gives_the_numbers() -> None:
    crossed = made(loss=LossSpec(normalize=True))
    with pytest.raises(RecipeError) as refused:
        known_mistakes.refuse_unpaired_rate(crossed, 375 * 500)
    assert str(refused.value) == (
        "base_lr 1e-10 is 1e-08 on the mean loss of an image (187500 pixels, momentum 0.99), and FCN32s "
        "learns between 1e-06 and 0.5; it looks like a rate for the summed loss: set loss.normalize = false, "
        "or base_lr = 1.9e-05, which pairs with the mean loss"
    )


@pytest.mark.parametrize(
    ("solver", "mean"),
    [
        (learning(1e-3), True),  # CVPR's FCN-AlexNet, and DeepLab
        (learning(0.03), True),  # a narrow net from nothing
        (learning(1e-5, 0.99), True),
        (learning(1e-10, 0.9), False),
        (learning(1e-7, 0.0), False),
        (learning(1e-3, type="Adam"), False),  # feels no scale
        (learning(1e-12, type="RMSProp"), True),
        (learning(1e-3, type="Nesterov"), True),
    ],
)
def test_sane_rates_pass(solver: dict[str, str | int | float], mean: bool) -> None:
    known_mistakes.refuse_unpaired_rate(made(solver=solver, loss=LossSpec(mean)), 375 * 500)


@pytest.mark.parametrize(
    ("solver", "mean", "said"),
    [
        (learning(1e-4), False, "is 1.9e+02 on the mean loss"),  # wkentaro/pytorch-fcn, #17
        (learning(1e-10, 0.99, type="Nesterov"), True, "it looks like a rate for the summed loss"),
        (learning(1.0), True, "the papers use 1e-4 with the mean loss, 1e-10 with the sum"),
        (learning(1e-18), False, "the papers use 1e-4 with the mean loss, 1e-10 with the sum"),
        (learning(1e-4, 1.0), True, "momentum is 1; expected 0 to below 1"),
        (learning(float("nan")), True, "base_lr nan is nan"),
    ],
)
def test_other_rates_do_not(solver: dict[str, str | int | float], mean: bool, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        known_mistakes.refuse_unpaired_rate(made(solver=solver, loss=LossSpec(mean)), 375 * 500)


# Stages


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_stages_pass(name: str) -> None:
    known_mistakes.refuse_unstaged(recipe(name))


@pytest.mark.parametrize(("net", "coarser"), [("FCN16s", "FCN32s"), ("FCN8s", "FCN16s")])
def test_a_staged_net_straight_from_a_classifier(net: str, coarser: str) -> None:
    with pytest.raises(RecipeError, match=f"{net} .* from vgg16: start it from {coarser}'s weights"):
        known_mistakes.refuse_unstaged(made(net, "vgg16"))
    with pytest.raises(RecipeError, match=f"{net} .* from nothing: start it from {coarser}'s weights"):
        known_mistakes.refuse_unstaged(made(net, ""))
    known_mistakes.refuse_unstaged(made(f"{net}", "fcn-8s-pascal"))  # fine-tuning a published net
    known_mistakes.refuse_unstaged(made("FCN8sAtOnce", "vgg16"))
    known_mistakes.refuse_unstaged(made("FCN32s", "vgg16"))


def test_files_are_looked_into(tmp_path: Path) -> None:
    classifier = tmp_path / "classifier.prototxt"
    classifier.write_text(
        'name: "small" layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 '
        'dim: 8 dim: 9 } } } layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1" '
        'convolution_param { num_output: 4 kernel_size: 3 } } layer { name: "fc8" type: "InnerProduct" '
        'bottom: "conv1_1" top: "fc8" inner_product_param { num_output: 7 } }'
    )
    c2t.export(c2t.build(c2t.read(classifier)), tmp_path / "classifier.safetensors")
    c2t.export(narrow(FCN16s), tmp_path / "mine.safetensors")
    c2t.export(narrow(FCN16s), tmp_path / "mine.caffemodel")
    with pytest.raises(RecipeError, match=r"classifier\.safetensors: start it from FCN16s's"):
        known_mistakes.refuse_unstaged(made("FCN8s", str(tmp_path / "classifier.safetensors")))
    for own in ("mine.safetensors", "mine.caffemodel"):
        known_mistakes.refuse_unstaged(made("FCN8s", str(tmp_path / own)))


# Layers


def test_layers_that_nobody_filled() -> None:
    known_mistakes.refuse_unfilled(made(), ())
    with pytest.raises(RecipeError, match="not filled from vgg16: fc6, fc7; without fc6 and fc7 a net ends"):
        known_mistakes.refuse_unfilled(made(source="vgg16"), ("fc6", "fc7"))
    with pytest.raises(RecipeError, match=r"not filled from anything: conv1_1, conv1_2\. Name weights"):
        known_mistakes.refuse_unfilled(made(source=""), ("conv1_1", "conv1_2"))


def zeroed(model: FCN, *layers: str) -> FCN:
    for layer in layers:
        nn.init.zeros_(model.get_submodule(layer).weight)
    return model


def test_a_convolution_of_zeros() -> None:
    known_mistakes.refuse_zeros(narrow().blobs())  # its score is zero, as the papers have it
    with pytest.raises(
        RecipeError, match=r"'conv3_2' is all zeros.* give it weights, or name it in init\.fresh"
    ):
        known_mistakes.refuse_zeros(zeroed(narrow(), "conv3_2").blobs())


def test_a_deconvolution_of_zeros() -> None:
    with pytest.raises(RecipeError, match=r"'upscore' is all zeros.* give it the bilinear kernel"):
        known_mistakes.refuse_zeros(zeroed(narrow(), "upscore").blobs())


def test_the_nets_as_they_start_are_bilinear() -> None:
    """Even kernels and FCN-AlexNet's odd one; diagonal or dense; against a kernel written out."""
    nets = [narrow(), narrow(FCN8s), FCNAlexNet(4, widths=(2, 4, 6, 8, 4, 6, 5))]
    for net in [*nets, narrow(FCN16s, learned=["upscore2"])]:
        known_mistakes.refuse_mixed_upsampling(net.blobs())
        known_mistakes.refuse_other_upsampling(net.blobs())
    dense = torch.zeros(3, 3, 4, 4)
    row = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for channel in range(3):
        dense[channel, channel] = row[:, None] * row
    known_mistakes.refuse_other_upsampling({"upscore2": [dense]})
    dense[0, 2, 1, 3] = 1e-3
    with pytest.raises(RecipeError, match="'upscore2' is frozen but not bilinear"):
        known_mistakes.refuse_other_upsampling({"upscore2": [dense]})


def shifted(weight: torch.Tensor) -> None:
    weight.copy_(weight.roll(1, -1))


def halved(weight: torch.Tensor) -> None:
    weight.div_(2)


def one_channel(weight: torch.Tensor) -> None:
    weight[3, 0, 1, 2] += 0.01


@pytest.mark.parametrize("change", [shifted, halved, one_channel])
@pytest.mark.parametrize("layer", ["upscore2", "upscore_pool4", "upscore8"])
def test_frozen_upsampling_that_is_not_bilinear(change: Callable[[torch.Tensor], None], layer: str) -> None:
    net = narrow(FCN8s)
    with torch.no_grad():
        change(net.get_submodule(layer).weight)
    with pytest.raises(RecipeError, match=f"layer '{layer}' is frozen but not bilinear upsampling"):
        known_mistakes.refuse_other_upsampling(net.blobs())


def test_learned_upsampling_may_be_anything_but_frozen() -> None:
    net = narrow(FCN16s, learned=["upscore2"])
    with torch.no_grad():
        net.upscore2.weight.add_(torch.randn(5, 5, 4, 4) / 10)
    known_mistakes.refuse_other_upsampling(net.blobs())
    net.upscore2.weight.requires_grad_(False)
    with pytest.raises(RecipeError, match="'upscore2' is frozen but not bilinear"):
        known_mistakes.refuse_other_upsampling(net.blobs())


def test_upsampling_that_mixes_the_classes() -> None:
    """As Caffe's filler leaves it (filler.hpp)."""
    net = narrow(FCN16s, learned=["upscore2"])
    with torch.no_grad():
        net.upscore2.weight.copy_(net.upscore2.weight[0, 0].clone())
    with pytest.raises(RecipeError, match=r"'upscore2' \(5, 5, 4, 4\) has one kernel on every pair"):
        known_mistakes.refuse_mixed_upsampling(net.blobs())


# Images and classes


def voc_and_sbd(root: Path, *, shared: bool) -> tuple[Dataset, Dataset]:
    miniatures.sbd(root / "sbd")
    miniatures.pascal_voc(root / "voc", 2011, "val")
    sbd = root / "sbd" / "benchmark.tgz" / "benchmark_RELEASE" / "dataset"
    if shared:
        for folder, suffix in (("img", "jpg"), ("cls", "mat")):
            source = sbd / folder / f"2008_000002.{suffix}"
            (sbd / folder / f"2008_005049.{suffix}").write_bytes(source.read_bytes())
        miniatures.save_text(sbd / "train.txt", "2008_000002", "2008_005049")
    opened = open_dataset("sbd", sbd, "train", partial=True)
    return opened, open_dataset("voc2011", root / "voc" / "VOCtrainval_25-May-2011.tar", "val", partial=True)


def test_sbd_holds_images_of_vocs_val(tmp_path: Path) -> None:
    train, val = voc_and_sbd(tmp_path / "apart", shared=False)
    known_mistakes.refuse_shared_images(train, val)
    known_mistakes.refuse_shared_images(train, None)
    train, val = voc_and_sbd(tmp_path / "shared", shared=True)
    said = r"1 of 3 images of voc2011/val are also in sbd/train, as 2008_005049 is: .*voc2011/seg11valid"
    with pytest.raises(RecipeError, match=said):
        known_mistakes.refuse_shared_images(train, val)


def own_splits(root: Path, *, same: bool, classes: int = 5) -> tuple[Dataset, Dataset]:
    """A folder with train and val, whose images are 1 and 2 in both."""
    draw = np.random.default_rng(7)
    images = {name: draw.integers(0, 256, (31, 38, 3), np.uint8) for name in ("1", "2")}
    miniatures.save_text(root / "classes.txt", *(f"class {label}" for label in range(classes)))
    for split in ("train", "val"):
        for name, image in images.items():
            shown = image if same else np.roll(image, split == "val", 0)
            miniatures.save_png(root / split / "images" / f"{name}.png", shown)
            miniatures.save_png(root / split / "labels" / f"{name}.png", shown[:, :, 0] % classes)
    return open_dataset("folder", root, "train"), open_dataset("folder", root, "val")


def test_numbers_may_repeat_and_images_not(tmp_path: Path) -> None:
    known_mistakes.refuse_shared_images(*own_splits(tmp_path / "apart", same=False))
    rendered = open_dataset("shapes", tmp_path, "val")
    known_mistakes.refuse_shared_images(open_dataset("shapes", tmp_path, "train"), rendered)
    with pytest.raises(RecipeError, match="100 of 100 images of shapes/val are also in shapes/val"):
        known_mistakes.refuse_shared_images(rendered, rendered)
    with pytest.raises(RecipeError, match="2 of 2 images of folder/val are also in folder/train, as 1 is"):
        known_mistakes.refuse_shared_images(*own_splits(tmp_path / "same", same=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_nets_have_the_classes_of_their_data(name: str, tmp_path: Path) -> None:
    published = recipe(name)
    train, val = (unread(images, tmp_path) for images in (published.data.train, published.data.val))
    known_mistakes.refuse_wrong_classes(published, train, val)
    fewer = (published.net.classes[0] - 1, *published.net.classes[1:])
    said = f"the net scores {fewer[0]} classes, .* has {fewer[0] + 1}, .* set net.classes to {fewer[0] + 1}"
    with pytest.raises(RecipeError, match=said):
        known_mistakes.refuse_wrong_classes(
            replace(published, net=replace(published.net, classes=fewer)), train, val
        )


def unread(images: str, folder: Path) -> Dataset:
    """A data set of which nothing but its facts is looked at."""
    name, _, split = images.partition("/")
    return dataset(name)(folder, split)


def test_59_for_60_41_for_40_and_a_head_too_many(tmp_path: Path) -> None:
    context, nyud = unread("pascal-context/train", tmp_path), unread("nyudv2/trainval", tmp_path)
    with pytest.raises(
        RecipeError, match="scores 59 classes, PASCAL-Context, 59 classes and background has 60"
    ):
        known_mistakes.refuse_wrong_classes(made(classes=(59,)), context, None)
    with pytest.raises(RecipeError, match="scores 41 classes, NYUDv2 has 40, wall to otherprop"):
        known_mistakes.refuse_wrong_classes(made(classes=(41,)), nyud, None)
    two = replace(made(), net=NetSpec("FCN32s", (40, 3), ("sem", "geo")))
    with pytest.raises(RecipeError, match=r"net\.heads has 'geo'; the labellings of NYUDv2 are sem"):
        known_mistakes.refuse_wrong_classes(two, nyud, None)
    with pytest.raises(RecipeError, match="scores 60 classes, PASCAL-Context, 59 classes has 59"):
        known_mistakes.refuse_wrong_classes(
            made(classes=(60,)), context, unread("pascal-context-59/val", tmp_path)
        )


# All of them


def test_a_good_training_passes_and_every_mistake_is_looked_for(tmp_path: Path) -> None:
    train, val = own_splits(tmp_path / "mine", same=False)
    good = made(solver=learning(1e-8))
    refuse_mistakes(good, narrow(), (), train, val)
    refuse_mistakes(good, narrow(), (), train, None)
    mixed = narrow(FCN16s, learned=["upscore2"])
    with torch.no_grad():
        mixed.upscore2.weight.fill_(0.1)
        (bent := narrow()).upscore.weight.mul_(2)
    _, again = own_splits(tmp_path / "again", same=True)
    cases = [
        ("looks like a rate", (replace(good, loss=LossSpec(normalize=True)), narrow(), (), train, val)),
        ("trained in stages", (made("FCN8s", "vgg16", solver=learning(1e-9)), narrow(FCN8s), (), train, val)),
        ("not filled from", (good, narrow(), ("fc6",), train, val)),
        ("'fc7' is all zeros", (good, zeroed(narrow(), "fc7"), (), train, val)),
        ("'upscore' is all zeros", (good, zeroed(narrow(), "upscore"), (), train, val)),
        ("on every pair of channels", (good, mixed, (), train, val)),
        ("not bilinear", (good, bent, (), train, val)),
        ("2 of 2 images", (good, narrow(), (), again, again)),
        ("scores 6 classes", (made(classes=(6,), solver=learning(1e-8)), narrow(), (), train, val)),
    ]
    for said, training in cases:
        with pytest.raises(RecipeError, match=said) as refused:
            refuse_mistakes(*training)
        assert "\n" not in str(refused.value)
    assert issubclass(RecipeError, Caffe2TorchError)
    assert RecipeError.exit_code == 1
