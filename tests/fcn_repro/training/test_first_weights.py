"""A net before its first step: what comes from where, what starts anew, what is frozen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.errors import MissingData, NetError, WeightsError
from caffe2torch.modules import fcn
from fcn_repro.data.datasets import open_dataset
from fcn_repro.data.examples import Order
from fcn_repro.recipes import DataSpec, Init, LossSpec, NetSpec, Recipe, Weights
from fcn_repro.training.first_weights import initial, unfilled
from fcn_repro.training.known_mistakes import refuse_mixed_upsampling
from fcn_repro.workspace import Workspace
from tests.fcn_repro.trainings import CLASSES, MEAN_BGR, WIDTHS, write_images
from tests.nets import net_of

NEW = ("conv*", "fc6", "fc7", "score*")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("initial")
    write_images(folder / "mine")
    return folder


@pytest.fixture(scope="module")
def images(work):
    return open_dataset("folder", work / "mine", "train")


@pytest.fixture(scope="module")
def classifier(work):
    """A narrow VGG-16 as Caffe has it, fc6 and fc7 fully connected, of random numbers; its blobs by layer."""
    random, blobs, text, bottom, channels = np.random.default_rng(2), {}, [], "data", 3
    text.append(
        'layer { name: "data" type: "Input" top: "data" '
        "input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }"
    )
    for stage, (depth, width) in enumerate(zip((2, 2, 3, 3, 3), WIDTHS, strict=False), start=1):
        for i in range(1, depth + 1):
            name = f"conv{stage}_{i}"
            text.append(
                f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
                f"convolution_param {{ num_output: {width} pad: 1 kernel_size: 3 }} }}\n"
                f'layer {{ name: "relu{stage}_{i}" type: "ReLU" bottom: "{name}" top: "{name}" }}'
            )
            blobs[name] = [random.standard_normal((width, channels, 3, 3)), random.standard_normal(width)]
            bottom, channels = name, width
        text.append(
            f'layer {{ name: "pool{stage}" type: "Pooling" bottom: "{bottom}" top: "pool{stage}" '
            "pooling_param { pool: MAX kernel_size: 2 stride: 2 } }"
        )
        bottom = f"pool{stage}"
    sizes = [channels * 7 * 7, WIDTHS[5], WIDTHS[6], 10]
    for name, columns, rows in zip(("fc6", "fc7", "fc8"), sizes, sizes[1:], strict=False):
        text.append(
            f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
            f"inner_product_param {{ num_output: {rows} }} }}"
        )
        blobs[name], bottom = [random.standard_normal((rows, columns)), random.standard_normal(rows)], name
    path = work / "vgg.caffemodel"
    c2t.export(net_of("\n".join(text), **blobs), path)
    return path, {name: [blob.astype(np.float32) for blob in pair] for name, pair in blobs.items()}


def recipe(net="FCN32s", *, sources=(), fresh=(), depth=False, seed=3, fit=0, **architecture):
    facts = {"classes": (len(CLASSES),), "widths": WIDTHS, **architecture}
    starts = tuple(Weights(*map(str, source)) for source in sources)
    init = Init(starts, fresh, depth_from_color=depth, fit=fit)
    solver = {"base_lr": 0.1, "lr_policy": "fixed", "max_iter": 1}
    net = NetSpec(net, **facts)
    return Recipe("t", (), DataSpec("folder/train", MEAN_BGR), net, init, LossSpec(True), solver, seed=seed)


def saved(path, model, seed):
    """A caffemodel of the model with random numbers, bilinear kernels left; and its blobs."""
    torch.manual_seed(seed)
    for name, blobs in model.blobs().items():
        for blob in blobs if not name.startswith("upscore") else ():
            torch.nn.init.normal_(blob)
    c2t.export(model, path)
    return path, {name: [blob.detach().clone() for blob in blobs] for name, blobs in model.blobs().items()}


def test_a_classifiers_layers_become_convolutions(work, images, classifier):
    """Each blob as it lies, fc8 left out, and the new score layer at zero."""
    path, blobs = classifier
    start = initial(recipe(sources=[(path,)], fresh=("score_fr",)), Workspace(work), images)
    model, layers = start.model, start.model.blobs()
    assert start.unfilled == ()
    assert model.training
    for name in layers.keys() - {"score_fr", "upscore"}:
        for found, wanted in zip(layers[name], blobs[name], strict=True):
            assert found.flatten().tolist() == wanted.flatten().tolist(), name
    assert not any(blob.any() for blob in layers["score_fr"])
    assert tuple(model.fc6.weight.shape) == (WIDTHS[5], WIDTHS[4], 7, 7)
    assert tuple(model.fc7.weight.shape) == (WIDTHS[6], WIDTHS[5], 1, 1)


def test_layers_that_nothing_fills_are_told(work, images, classifier):
    start = initial(recipe(sources=[(classifier[0],)], widths=WIDTHS), Workspace(work), images)
    assert start.unfilled == ("score_fr",)
    start = initial(recipe("FCN8s", fresh=("conv*",)), Workspace(work), images)
    assert start.unfilled == ("fc6", "fc7", "score_fr", "score_pool4", "score_pool3")


def test_a_stage_takes_all_that_the_one_before_had(work, images):
    path, blobs = saved(work / "fcn16s.caffemodel", fcn.FCN16s(3, widths=WIDTHS), seed=4)
    start = initial(recipe("FCN8s", sources=[(path,)], fresh=("score_pool3",)), Workspace(work), images)
    layers = start.model.blobs()
    for name in blobs.keys() & layers.keys():
        assert all(map(torch.equal, layers[name], blobs[name])), name
    assert {"score_pool4", "score_fr", "upscore2"} <= blobs.keys() & layers.keys()
    assert not start.model.score_pool3.weight.any()
    assert start.unfilled == ()


def test_a_learned_deconvolution_can_start_anew(work, images, golden):
    """On each class the kernel that Caffe's bilinear filler wrote for one of this size, nothing between."""
    source = fcn.FCN16s(3, widths=WIDTHS, learned=("upscore2",))
    torch.nn.init.normal_(source.upscore2.weight)
    path, blobs = saved(work / "learned.caffemodel", source, seed=4)
    starts = {"sources": [(path,)], "learned": ("upscore2", "upscore_pool4")}
    taken = initial(recipe("FCN8s", fresh=("score_pool3",), **starts), Workspace(work), images)
    assert torch.equal(taken.model.upscore2.weight, blobs["upscore2"][0])
    anew = initial(recipe("FCN8s", fresh=("score_pool3", "upscore2"), **starts), Workspace(work), images)
    net = c2t.read(weights=golden / "layers/deconv_4s2_group.caffemodel")
    (filled,) = (layer.blobs[0].read().reshape(6, 4, 4) for layer in net.layers if layer.blobs)
    expected = np.zeros((3, 3, 4, 4), np.float32)
    expected[range(3), range(3)] = filled[:3]
    np.testing.assert_array_equal(anew.model.upscore2.weight.detach().numpy(), expected)
    assert anew.model.upscore2.weight.requires_grad
    assert anew.unfilled == ()
    assert torch.equal(anew.model.score_fr.weight, blobs["score_fr"][0])
    refuse_mixed_upsampling(anew.model.blobs())


def test_other_weights_of_the_wrong_shape_are_refused(work, images):
    path, _ = saved(work / "wide.caffemodel", fcn.FCN32s(3, widths=(5, *WIDTHS[1:])), seed=4)
    with pytest.raises(
        WeightsError, match=r"layer 'conv1_1' blob 0 is \(5, 3, 3, 3\) in the source, .*net\.widths"
    ):
        initial(recipe(sources=[(path,)]), Workspace(work), images)


@pytest.mark.parametrize(
    ("net", "kernels"),
    [
        ("FCN32s", {"upscore": 64}),
        ("FCN8s", {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16}),
        ("FCN8sAtOnce", {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16}),
    ],
)
def test_deconvolutions_are_bilinear_and_frozen(work, images, net, kernels):
    """As the papers have it: 1 - |distance to the centre| in units of the stride, along each axis."""
    model = initial(recipe(net, fresh=NEW), Workspace(work), images).model
    for name, size in kernels.items():
        weight, stride = model.get_submodule(name).weight, size // 2
        ramp = [1 - abs(x + 0.5 - size / 2) / stride for x in range(size)]
        kernel = np.array([[a * b for a in ramp] for b in ramp], np.float32)
        assert not weight.requires_grad
        for channel in range(len(CLASSES)):
            np.testing.assert_allclose(weight[channel, 0].numpy(), kernel, rtol=1e-6)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name in trained if name.startswith(("upscore", "scale"))]
    assert "score_fr.weight" in trained


def test_the_same_seed_gives_the_same_numbers(work, images):
    """Whatever was drawn before, and without a trace in what is drawn after."""

    def start(seed):
        return initial(recipe(fresh=NEW, seed=seed), Workspace(work), images).model.state_dict()

    first = start(3)
    torch.manual_seed(99)
    expected = torch.rand(5)
    torch.manual_seed(99)
    again, other = start(3), start(4)
    assert torch.equal(torch.rand(5), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fc6.weight"], other["fc6.weight"])


def test_new_layers_have_the_variance_of_he(work, images):
    """2 / (channels times kernel), and biases at zero; scores are all zero (CVPR, Section 4.3)."""
    model = initial(recipe(fresh=NEW, widths=(4, 4, 6, 6, 16, 48, 40)), Workspace(work), images).model
    for layer in (model.fc6, model.conv5_2):
        inputs = layer.weight[0].numel()
        assert layer.weight.var().item() == pytest.approx(2 / inputs, rel=0.1)
        assert abs(layer.weight.mean().item()) < 0.05 * (2 / inputs) ** 0.5
        assert not layer.bias.any()
    assert not model.score_fr.weight.any()


def test_new_layers_can_be_fitted_to_images(work, images):
    """Over the pixels of three images that the seed draws, each channel has mean 0 and variance 1."""
    facts = recipe(fresh=NEW, fit=3)
    model = initial(facts, Workspace(work), images).model.eval()
    order, seen = Order("random", len(images), facts.seed), {"conv1_1": [], "conv1_2": []}
    for number in range(3):
        rgb = images[order.index(number)].image_hwc.astype(np.float32)
        image = torch.from_numpy((rgb[:, :, ::-1] - np.float32(MEAN_BGR)).transpose(2, 0, 1).copy())[None]
        height, width = image.shape[2:]
        x = model.conv1_1(image)
        seen["conv1_1"].append(x[0, :, 99 : 99 + height, 99 : 99 + width].flatten(1))
        x = model.conv1_2(x.relu())
        seen["conv1_2"].append(x[0, :, 99 : 99 + height, 99 : 99 + width].flatten(1))
    for name in ("conv1_1", "conv1_2"):
        values = torch.cat(seen[name], 1).detach()
        torch.testing.assert_close(values.mean(1), torch.zeros(4), rtol=0, atol=1e-4)
        torch.testing.assert_close(values.std(1), torch.ones(4), rtol=0, atol=1e-4)
    assert not model.score_fr.weight.any()


def patterns(work, images, **architecture):
    model = initial(recipe("FCN8s", fresh=NEW, **architecture), Workspace(work), images).model
    return {name for name, blobs in model.blobs().items() if all(blob.requires_grad for blob in blobs)}


def test_layers_are_frozen_or_trained_by_patterns(work, images):
    every = patterns(work, images)
    assert every == {name for name in every if not name.startswith("upscore")}
    assert patterns(work, images, frozen=("conv1_*", "fc[67]")) == {
        name for name in every if not name.startswith(("conv1_", "fc"))
    }
    assert patterns(work, images, trained=("score_pool?",)) == {"score_pool4", "score_pool3"}
    assert patterns(work, images, learned=("upscore2",)) == {*every, "upscore2"}


def test_what_a_snapshot_fills_is_trained_and_dropped_as_from_the_start(work, images):
    facts = recipe("FCN8s", fresh=NEW, frozen=("conv1_*",), learned=("upscore2",), dropout=0.3)
    first, other = initial(facts, Workspace(work), images).model, unfilled(facts)
    learning = [
        {name: (parameter.requires_grad, parameter.shape) for name, parameter in model.named_parameters()}
        for model in (first, other)
    ]
    assert learning[0] == learning[1]
    assert {trained for trained, _ in learning[0].values()} == {True, False}
    assert (other.training, other.drop6.p) == (True, 0.3)


@pytest.mark.parametrize(
    "facts", [{"fresh": (*NEW, "fc8")}, {"frozen": ("fc8",)}, {"trained": ("fc6", "fc8")}]
)
def test_a_pattern_that_no_layer_has_is_refused(work, images, facts):
    with pytest.raises(NetError, match="no layer is called 'fc8'; those with weights are conv1_1, conv1_2"):
        initial(recipe("FCN8s", **{"fresh": NEW, **facts}), Workspace(work), images)


def test_early_fusion_gives_depth_the_mean_of_the_colours(work, images):
    path, blobs = saved(work / "color.caffemodel", fcn.FCN32s(3, widths=WIDTHS), seed=6)
    start = initial(recipe(sources=[(path,)], depth=True, input="color-depth"), Workspace(work), images)
    weight, bias = start.model.blobs()["conv1_1_bgrd"]
    assert start.unfilled == ()
    assert torch.equal(weight[:, :3], blobs["conv1_1"][0])
    assert torch.allclose(weight[:, 3], blobs["conv1_1"][0].sum(1) / 3, rtol=1e-6)
    assert torch.equal(bias, blobs["conv1_1"][1])
    assert all(map(torch.equal, start.model.blobs()["conv1_2"], blobs["conv1_2"]))


def test_late_fusion_takes_each_stream_from_its_own_net(work, images):
    (color, of_color), (hha, of_hha) = (
        saved(work / f"{name}.caffemodel", fcn.FCN32s(3, widths=WIDTHS), seed)
        for name, seed in (("c", 7), ("h", 8))
    )
    start = initial(
        recipe("FCN32sLateFusion", sources=[(color, "color"), (hha, "hha")], input="color-hha"),
        Workspace(work),
        images,
    )
    layers = start.model.blobs()
    assert start.unfilled == ()
    for name in of_color:
        if not name.startswith("upscore"):
            assert all(map(torch.equal, layers[f"{name}color"], of_color[name])), name
            assert all(map(torch.equal, layers[f"{name}hha"], of_hha[name])), name


def test_several_heads_have_scores_of_their_own(work, images):
    facts = recipe("FCN16s", fresh=NEW, classes=(5, 3), heads=("sem", "geo"))
    model = initial(facts, Workspace(work), images).model
    shapes = {
        name: tuple(blobs[0].shape[:1]) for name, blobs in model.blobs().items() if name.startswith("score")
    }
    assert shapes == {
        f"score_{what}_{head}": (n,) for what in ("fr", "pool4") for head, n in (("sem", 5), ("geo", 3))
    }


def test_dropout_is_as_the_recipe_says(work, images):
    model = initial(recipe(fresh=NEW, dropout=0.25), Workspace(work), images).model
    assert (model.drop6.p, model.drop7.p) == (0.25, 0.25)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_dropout_reaches_googlenet(share):
    """So many values become zero and the others larger, in training alone."""
    model = unfilled(recipe("FCNGoogLeNet", widths=(), dropout=share))
    layer, ones = model.get_submodule("pool5/drop"), torch.ones(1, 40_000, 1, 1)
    torch.manual_seed(1)
    (dropped,) = layer(ones.clone())
    assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=0.01)
    torch.testing.assert_close(dropped[dropped != 0].unique(), torch.tensor([1 / (1 - share)]))
    assert torch.equal(layer.eval()(ones.clone())[0], ones)


def test_weights_are_found_by_name(work, images, tmp_path):
    """Converted, as fetched, or what a recipe gave, in models/."""
    for name, suffix in (("a", ".safetensors"), ("b", ".caffemodel")):
        (tmp_path / "models").mkdir(exist_ok=True)
        path, blobs = saved(tmp_path / f"models/{name}{suffix}", fcn.FCN32s(3, widths=WIDTHS), seed=9)
        model = initial(recipe(sources=[(name,)]), Workspace(tmp_path), images).model
        assert all(map(torch.equal, model.blobs()["fc6"], blobs["fc6"])), path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg16", r"vgg16 is not in .*models; get it with: fcn-repro --fetch vgg16"),
        ("camvid-fcn32s", "train it with: fcn-repro --train camvid-fcn32s"),
        ("voc-fcn16s", "fcn-repro --train voc-fcn16s.*fcn-repro --fetch voc-fcn16s"),
        ("nobodys", "nobodys: neither a file, nor a recipe, nor a model of the zoo"),
    ],
)
def test_weights_that_are_not_here_are_named_with_the_way_to_them(tmp_path, images, name, message):
    with pytest.raises(MissingData, match=message) as missing:
        initial(recipe(sources=[(name,)]), Workspace(tmp_path), images)
    assert missing.value.exit_code == 3
