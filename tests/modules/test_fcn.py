"""The ten golden FCNs by both roads: what Caffe computed, forward and backward, from the caffemodel alone."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

import caffe2torch as c2t
from caffe2torch.blob import Blob
from caffe2torch.errors import NetError, ReadError, WeightsError
from caffe2torch.modules.caffe_net import CaffeNet
from caffe2torch.modules.fcn import FCN8s, FCN16s, FCN32s
from caffe2torch.modules.fcn_general import (
    ColorDepthFCN,
    ColorFCN,
    FCN8sAtOnce,
    FCN32sLateFusion,
    FCNAlexNet,
    GeneralFCN,
    ImageFCN,
    fcn_of,
)
from caffe2torch.net.reading import read
from caffe2torch.opening.loading import load
from caffe2torch.plan import plan
from caffe2torch.zoo.fcn import COLOR_DEPTH, SIFT_FLOW, Architecture, Head, Stream
from tests.nets import INPUT, net_of

NETS = {
    "nyud-fcn32s-color-d": ColorDepthFCN,
    "nyud-fcn32s-color-hha": FCN32sLateFusion,
    "pascalcontext-fcn8s": FCN8s,
    "siftflow-fcn16s": ImageFCN,
    "siftflow-fcn8s": ImageFCN,
    "voc-fcn-alexnet": FCNAlexNet,
    "voc-fcn16s": FCN16s,
    "voc-fcn32s": FCN32s,
    "voc-fcn8s": FCN8s,
    "voc-fcn8s-atonce": FCN8sAtOnce,
}
ROADS = {"build": lambda path: c2t.build(read(None, path)), "load": load}
LOG_FLT_MIN = -87.33654475
"""Caffe's loss of a pixel is at most this, negated (softmax_loss_layer.cpp)."""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads cost these small nets more than they gain, most of all where tests run in parallel."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=NETS)
def folder(request, golden):
    return golden / "fcn" / request.param


@pytest.fixture
def weights(folder):
    return folder / "weights.caffemodel"


def arrays(folder, prefix):
    """The arrays whose names start so, by the rest of their names."""
    with np.load(folder / "io.npz") as stored:
        return {name[len(prefix) :]: stored[name] for name in stored if name.startswith(prefix)}


def tensors(values):
    return {name: torch.from_numpy(value) for name, value in values.items()}


def relative(ours, theirs):
    ours = ours.detach().numpy().astype(np.float64)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def check(errors, bound):
    worst = max(errors, key=errors.get)
    print(f"worst of {len(errors)}: {worst} {errors[worst]:.2e}")  # noqa: T201 (`pytest -s` shows the numbers)
    assert errors[worst] <= bound, {name: f"{error:.2e}" for name, error in errors.items() if error > bound}


@pytest.mark.parametrize("road", ROADS)
def test_every_blob_at_both_sizes(folder, weights, road):
    model, errors = ROADS[road](weights), {}
    assert not model.training
    for size in "01":
        with torch.no_grad():
            blobs = model.every_blob(**tensors(arrays(folder, f"{size}.in.")))
        for name, value in {**arrays(folder, f"{size}.out."), **arrays(folder, f"{size}.blob.")}.items():
            assert blobs[name].shape == value.shape
            errors[f"{size}.{name}"] = relative(blobs[name], value)
    assert len(errors) >= 6
    net = model.net() if road == "load" else model.plan.net
    assert blobs.keys() == {top for layer in net.layers for top in layer.tops}
    check(errors, 1e-5)


def test_outputs(folder, weights):
    """One head gives a tensor, two a dictionary; inputs go by name or in order."""
    model, expected = load(weights), arrays(folder, "0.out.")
    inputs = tensors(arrays(folder, "0.in."))
    assert model.inputs == tuple(inputs)
    with torch.no_grad():
        outputs, in_order = model(**inputs), model(*inputs.values())
    if len(expected) == 1:
        outputs, in_order = {"score": outputs}, {"score": in_order}
    assert outputs.keys() == expected.keys() == in_order.keys()
    check({name: relative(outputs[name], value) for name, value in expected.items()}, 1e-5)
    assert all(torch.equal(outputs[name], in_order[name]) for name in outputs)


def losses_by_build(model, inputs, folder):
    return model(**inputs)


def losses_by_hand(model, inputs, folder):
    """The multinomial logistic loss of pixels that are not void: sum, or with `normalize` the mean."""
    labels = {name: value for name, value in inputs.items() if name not in model.inputs}
    scores = model(**{name: inputs[name] for name in model.inputs})
    scores = scores if isinstance(scores, dict) else {"score": scores}
    averaged = "normalize: true" in (folder / "train.prototxt").read_text()
    losses = {}
    for name, score in scores.items():
        head = name.removeprefix("score")
        label = labels[head.strip("_") or "label"][:, 0].long()  # (N, H, W)
        valid = label != 255
        logs = log_softmax(score, 1).movedim(1, -1)[valid]  # (valid pixels, classes)
        picked = logs[torch.arange(len(logs)), label[valid]]
        # The bound is on the loss alone, not on its gradient.
        picked = picked + (picked.clamp(min=LOG_FLT_MIN) - picked).detach()
        losses[f"loss{head}"] = -picked.sum() / (valid.sum() if averaged else len(label))
    return losses


TRAINING = {
    "build": (lambda path: c2t.build(read(None, path), phase="TRAIN").eval(), losses_by_build),
    "load": (load, losses_by_hand),
}


@pytest.mark.parametrize("road", TRAINING)
def test_losses_and_gradients_without_dropout(folder, weights, road):
    make, losses_of = TRAINING[road]
    model = make(weights)
    losses = losses_of(model, tensors(arrays(folder, "train.in.")), folder)
    expected = arrays(folder, "train.loss.")
    assert losses.keys() == expected.keys()
    check({name: relative(losses[name], value) for name, value in expected.items()}, 1e-5)
    sum(losses.values()).backward()
    blobs = {f"{layer}.{i}": blob for layer, own in model.blobs().items() for i, blob in enumerate(own)}
    gradients, norms = arrays(folder, "train.gparam."), arrays(folder, "train.gnorm.")
    assert norms.keys() == {name for name, blob in blobs.items() if blob.requires_grad}
    assert gradients.keys() <= norms.keys()
    errors = {name: relative(blobs[name].grad, value) for name, value in gradients.items()}
    for name, (norm, total) in norms.items():
        ours = blobs[name].grad.double()
        errors[f"|{name}|"] = abs(ours.norm().item() - norm) / norm
        errors[f"sum {name}"] = abs(ours.sum().item() - total) / norm
    check(errors, 1e-4)


def test_one_state_dict_by_both_roads_with_and_without_the_prototxt(folder, weights):
    by_hand, built = load(weights), ROADS["build"](weights)
    assert type(by_hand) is NETS[folder.name]
    twins = [
        by_hand,
        load(weights, folder / "deploy.prototxt"),
        c2t.build(read(folder / "deploy.prototxt", weights)),
    ]
    for twin in twins:
        assert list(twin.state_dict()) == list(built.state_dict())
        assert all(
            torch.equal(a, b)
            for a, b in zip(twin.state_dict().values(), built.state_dict().values(), strict=True)
        )
        assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in built.parameters()]
        assert twin.blobs().keys() == built.blobs().keys()
    frozen = {name for name, p in by_hand.named_parameters() if not p.requires_grad}
    assert frozen == {name for name in by_hand.state_dict() if name.startswith(("upscore", "scale_"))}


def test_a_net_gives_the_blobs_back_bit_for_bit(folder, weights):
    """Dense deconvolutions, too, though the module keeps their diagonals."""
    read_back = {layer.name: layer.blobs for layer in load(weights).net().layers if layer.blobs}
    stored = {layer.name: layer.blobs for layer in read(None, weights).layers if layer.blobs}
    assert read_back.keys() == stored.keys()
    for name, blobs in stored.items():
        for ours, theirs in zip(read_back[name], blobs, strict=True):
            assert ours.shape == theirs.read().shape
            assert ours.read().tobytes() == theirs.read().tobytes(), name


def test_safetensors_and_caffemodel_there_and_back(folder, weights, tmp_path):
    model = load(weights)
    for name in ("there.safetensors", "there.caffemodel"):
        c2t.export(model, tmp_path / name)
        back = load(tmp_path / name)
        assert (type(back), back.architecture, back.training) == (type(model), model.architecture, False)
        assert all(
            torch.equal(a, b)
            for a, b in zip(model.state_dict().values(), back.state_dict().values(), strict=True)
        )
        assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in model.parameters()]
    assert type(c2t.from_safetensors(tmp_path / "there.safetensors")) is type(model)
    with pytest.raises(ReadError, match="holds its own net"):
        load(tmp_path / "there.safetensors", folder / "deploy.prototxt")


def test_what_is_frozen_stays_frozen(golden, tmp_path):
    """FCN-32s-fixed (CVPR 2015, Table 2) trains its last layer alone."""
    model = load(golden / "fcn" / "voc-fcn32s" / "weights.caffemodel")
    model.requires_grad_(False).score_fr.requires_grad_(True)
    c2t.export(model, tmp_path / "fixed.caffemodel")
    back = load(tmp_path / "fixed.caffemodel")
    assert {name for name, p in back.named_parameters() if p.requires_grad} == {
        "score_fr.weight",
        "score_fr.bias",
    }


def test_structure_tells_not_the_name(golden, tmp_path):
    misnamed = tmp_path / "voc-fcn32s.h5"
    shutil.copy(golden / "fcn" / "voc-fcn8s" / "weights.caffemodel", misnamed)
    assert type(load(misnamed)) is FCN8s


def test_upsampling_without_its_zeros(golden, tmp_path):
    """A group per channel in each deconvolution: the module, and the numbers, of the dense ones."""
    folder = golden / "fcn" / "voc-fcn8s"
    net = read(None, folder / "weights.caffemodel")
    c2t.export(replace(net, layers=tuple(map(channelwise, net.layers))), tmp_path / "grouped.caffemodel")
    model = load(tmp_path / "grouped.caffemodel")
    assert type(model) is FCN8s
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {
        "upscore2.weight",
        "upscore_pool4.weight",
        "upscore8.weight",
    }
    with np.load(folder / "io.npz") as caffe, torch.no_grad():
        score = model(torch.from_numpy(caffe["0.in.data"]))
        np.testing.assert_allclose(score, caffe["0.out.score"], rtol=1e-4, atol=1e-4)


def channelwise(layer):
    if layer.type != "Deconvolution":
        return layer
    dense, p = layer.blobs[0].read(), layer.fields.convolution_param
    diagonal = np.stack([dense[i, i : i + 1] for i in range(len(dense))])
    fields = layer.fields.replace(convolution_param=p.replace(group=p.num_output))
    return replace(layer, blobs=(Blob.of(diagonal),), fields=fields)


def test_insisting(golden):
    path = golden / "fcn" / "voc-fcn8s" / "weights.caffemodel"
    assert type(load(path, arch="FCN8s")) is FCN8s
    with pytest.raises(
        NetError, match=r"weights.caffemodel: is not FCN16s: has layer 'upscore_pool4' .* in FCN16s"
    ):
        load(path, arch="FCN16s")
    with pytest.raises(NetError, match="no architecture is called 'fcn8s'"):
        load(path, arch="fcn8s")


def test_another_net_is_built(tmp_path):
    text = (
        'layer { name: "c" type: "InnerProduct" bottom: "data" top: "c" inner_product_param {num_output: 1}}'
    )
    net = net_of(INPUT + text, c=[np.ones((1, 3 * 8 * 11)), np.zeros(1)])
    c2t.export(net, tmp_path / "fcn8s.caffemodel")
    model = load(tmp_path / "fcn8s.caffemodel")
    assert type(model) is CaffeNet
    assert not model.training
    with pytest.raises(NetError, match="is not FCN8s: 0 convolutions read the inputs"):
        load(tmp_path / "fcn8s.caffemodel", arch="FCN8s")


def rewritten(path, change, target):
    """Another caffemodel of a net whose layers `change` changes."""
    net = read(None, path)
    c2t.export(type(net)(net.name, tuple(map(change, plan(net).net.layers)), weights="changed"), target)
    return target


@pytest.mark.parametrize("is_learned", [True, False])
def test_a_deconvolution_that_mixes_classes_is_dense(golden, tmp_path, is_learned):
    """It is learned, or frozen with a blob that is not diagonal."""
    source = golden / "fcn" / "voc-fcn8s" / "weights.caffemodel"
    dense = np.random.default_rng(0).standard_normal((21, 21, 4, 4)).astype(np.float32)

    def change(layer):
        if layer.name != "upscore2":
            return layer
        param = (layer.fields.param[0].replace(lr_mult=float(is_learned)),)
        fields = layer.fields.replace(param=param)
        return type(layer)(layer.name, layer.type, layer.bottoms, layer.tops, fields, (Blob.of(dense),))

    path = rewritten(source, change, tmp_path / "dense.caffemodel")
    model, built = load(path), ROADS["build"](path)
    assert type(model) is FCN8s
    assert model.architecture.learned == {"upscore2"}
    assert torch.equal(model.upscore2.weight, torch.from_numpy(dense))
    assert model.upscore2.weight.requires_grad is is_learned
    assert not model.upscore8.weight.requires_grad
    image = torch.randn(2, 3, 45, 61)
    with torch.no_grad():
        assert relative(model(image), built(image)["score"].numpy()) < 1e-6


def test_missing_blobs_are_left_at_the_filler_if_allowed(golden, tmp_path):
    def change(layer):
        if layer.name not in ("score_fr", "upscore2"):
            return layer
        return type(layer)(layer.name, layer.type, layer.bottoms, layer.tops, layer.fields)

    path = rewritten(golden / "fcn" / "voc-fcn8s" / "weights.caffemodel", change, tmp_path / "cut.caffemodel")
    with pytest.raises(WeightsError, match="no blobs for layer 'score_fr'"):
        load(path)
    model = load(path, allow_missing=True)
    assert type(model) is FCN8s
    assert not model.score_fr.weight.any()
    assert not model.upscore2.weight.any(), "Caffe's filler is zero"


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (FCN32s, 136_152_917),
        (FCN16s, 134_815_994),
        (FCN8s, 134_489_759),
        (FCNAlexNet, 56_954_261 + 21 * 21 * 63 * 63),
    ],
)
def test_full_size_parameters(make, count):
    with torch.device("meta"):
        model = make()
    assert sum(blob.count for layer in model.net().layers for blob in layer.blobs) == count


WIDTHS = (4, 6, 8, 10, 12, 14, 16)


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        (FCN32s(5, 4, WIDTHS), {"score": 5}),
        (fcn_of(Architecture("FCN16s", SIFT_FLOW, widths=WIDTHS)), {"score_sem": 33, "score_geo": 3}),
        (FCN8s(1, 3, WIDTHS), {"score": 1}),
        (FCN8sAtOnce(widths=WIDTHS, heads=SIFT_FLOW), {"score_sem": 33, "score_geo": 3}),
        (fcn_of(Architecture("FCN32s", (Head("", 40),), COLOR_DEPTH, WIDTHS)), {"score": 40}),
        (FCN32sLateFusion(widths=WIDTHS), {"score": 40}),
        (FCNAlexNet(2, 1, WIDTHS), {"score": 2}),
        (fcn_of(Architecture("FCNPool4", (Head("", 2),), widths=WIDTHS[:4])), {"score": 2}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
@pytest.mark.parametrize("size", [(1, 1), (37, 64), (97, 32)])
def test_new_nets_start_with_zero_scores_of_the_image_s_size(model, outputs, size):
    channels = {blob: count for stream in model.architecture.streams for blob, count in stream.inputs}
    scores = model(**{blob: torch.randn(2, count, *size) for blob, count in channels.items()})
    scores = scores if isinstance(scores, dict) else {"score": scores}
    assert {name: tuple(score.shape) for name, score in scores.items()} == {
        name: (2, classes, *size) for name, classes in outputs.items()
    }
    assert not any(score.any() for score in scores.values())
    assert plan(model.net()).net.layers[0].type == "Input"


def test_new_upsampling_is_the_zoo_s(golden):
    for name, make in (("voc-fcn8s", FCN8s), ("voc-fcn32s", FCN32s), ("voc-fcn-alexnet", FCNAlexNet)):
        zoo = load(golden / "fcn" / name / "weights.caffemodel")
        new = make(zoo.architecture.heads[0].classes, widths=WIDTHS)
        for layer in (layer for layer in zoo.blobs() if layer.startswith("upscore")):
            ours, theirs = new.get_submodule(layer).weight, zoo.get_submodule(layer).weight
            assert torch.equal(ours, theirs), (name, layer)
            assert not ours.requires_grad


@pytest.mark.parametrize("layer", ["upscore16", "conv1_1", "forward"])
def test_what_cannot_be_learned(layer):
    problem = f"FCN8s has no deconvolution '{layer}' to learn; it has upscore2, upscore_pool4, upscore8"
    with pytest.raises(NetError, match=problem):
        FCN8s(3, widths=WIDTHS, learned=[layer])


def test_learned_upsampling_starts_bilinear():
    frozen, learned = FCN8s(3, widths=WIDTHS), FCN8s(3, widths=WIDTHS, learned=["upscore2"])
    learned.load_state_dict(frozen.state_dict() | {"upscore2.weight": learned.upscore2.weight})
    for model in (frozen, learned):
        torch.nn.init.normal_(model.score_fr.weight, generator=torch.Generator().manual_seed(0))
    image = torch.randn(1, 3, 30, 41)
    frozen.eval(), learned.eval()
    torch.testing.assert_close(learned(image), frozen(image))
    assert learned.upscore2.weight.shape == (3, 3, 4, 4)
    assert learned.upscore2.weight.requires_grad


def test_dropout_is_on_in_training_alone():
    model = FCN32s(3, widths=WIDTHS)
    torch.nn.init.normal_(model.score_fr.weight)
    image = torch.randn(1, 3, 20, 30)
    assert not torch.equal(model(image), model(image))
    model.eval()
    assert torch.equal(model(image), model(image))


RGB_THERMAL = (Stream("", (("rgb", 3), ("thermal", 2)), "conv1_1_five"),)


def test_wrong_inputs_are_told():
    model = fcn_of(Architecture("FCN32s", (Head("", 3),), RGB_THERMAL, WIDTHS))
    rgb, thermal = torch.zeros(1, 3, 20, 20), torch.zeros(1, 2, 20, 20)
    assert type(model) is GeneralFCN
    assert model(rgb, thermal).shape == model(thermal=thermal, rgb=rgb).shape == (1, 3, 20, 20)
    for images, inputs in (
        ((), {}),
        ((rgb,), {}),
        ((), {"rgb": rgb}),
        ((rgb,), {"rgb": rgb, "thermal": thermal}),
    ):
        with pytest.raises(NetError, match="FCN32s takes inputs rgb, thermal; given: "):
            model(*images, **inputs)
    with pytest.raises(NetError, match="FCN32s takes inputs rgb, thermal; given: rgb"):
        model.every_blob(rgb=rgb)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        (Architecture("FCN8s", (Head("", 2),), widths=WIDTHS), FCN8s),
        (Architecture("FCN8s", (Head("", 2),), (Stream("", (("color", 3),)),), WIDTHS), ColorFCN),
        (Architecture("FCN8s", (Head("_x", 2),), widths=WIDTHS), ImageFCN),
        (
            Architecture("FCN32s", (Head("", 2),), (Stream("", (("data", 3),), "conv1_1_rgb"),), WIDTHS),
            ImageFCN,
        ),
        (Architecture("FCN32s", (Head("", 2),), COLOR_DEPTH, WIDTHS), ColorDepthFCN),
        (FCN8sAtOnce(2, 5, WIDTHS).architecture, FCN8sAtOnce),
        (FCNAlexNet(2, widths=WIDTHS).architecture, FCNAlexNet),
        (FCN32sLateFusion(2, WIDTHS).architecture, FCN32sLateFusion),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_forward_names_its_inputs(architecture, kind):
    """Tools that look at signatures need it: torch.jit.trace, torch.export, torch.compile."""
    model = fcn_of(architecture).eval()
    assert type(model) is kind
    assert model.architecture == architecture
    assert tuple(inspect.signature(model.forward).parameters) == model.inputs == tuple(architecture.channels)
    images = {blob: torch.randn(2, n, 40, 51) for blob, n in architecture.channels.items()}
    assert model(**images).shape == model(*images.values()).shape == (2, 2, 40, 51)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "architecture",
    [
        Architecture("FCN8s", (Head("", 2),), widths=WIDTHS),
        Architecture("FCN32s", (Head("", 2),), COLOR_DEPTH, WIDTHS),
    ],
)
def test_traces_scale_with_the_image(architecture):
    """By name, with no warning of an input check that became part of the trace."""
    model = fcn_of(architecture).eval()
    torch.nn.init.normal_(model.score_fr.weight)

    def images(height, width):
        return {blob: torch.randn(2, n, height, width) for blob, n in architecture.channels.items()}

    with torch.no_grad():
        traced = torch.jit.trace(model, example_kwarg_inputs=images(30, 41))
        other = images(53, 37)
        assert torch.equal(traced(**other), model(**other))


@pytest.mark.parametrize("heads", [(Head("", 2),), SIFT_FLOW], ids=["flat", "general"])
def test_input_checks_leave_no_guards_on_sizes(heads):
    """One graph serves images of every size in torch.compile."""
    from torch._dynamo.testing import CompileCounter

    model, counter = fcn_of(Architecture("FCN8s", heads, widths=WIDTHS)).eval(), CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    for size in ((2, 3, 40, 51), (3, 3, 61, 33), (4, 3, 99, 200)):
        compiled(torch.randn(size))
    assert counter.frame_count == 1


@pytest.mark.skipif(torch.__version__ < (2, 10), reason="torch 2.9 checks guards that no layer needs")
@pytest.mark.parametrize("heads", [(Head("", 2),), SIFT_FLOW], ids=["flat", "general"])
def test_input_checks_leave_no_guards_in_an_export(heads):
    """One graph serves images of every size in torch.export."""
    model = fcn_of(Architecture("FCN8s", heads, widths=WIDTHS)).eval()
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(
        model, (), {"data": torch.randn(2, 3, 40, 51)}, dynamic_shapes={"data": free}
    )
    scores = exported.module()(data=torch.randn(3, 3, 61, 99))
    score = scores["score_geo"] if isinstance(scores, dict) else scores
    assert score.shape[2:] == (61, 99)


def test_torch_fx_traces_it():
    model = FCN8s(2, widths=WIDTHS).eval()
    torch.nn.init.normal_(model.score_fr.weight)
    image = torch.randn(2, 3, 30, 41)
    with torch.no_grad():
        assert torch.equal(torch.fx.symbolic_trace(model)(image), model(image))


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (
            torch.zeros(3, 30, 41),
            r"data is (3, 30, 41); give (N, 3, H, W): it lacks a batch axis, image[None]",
        ),
        (torch.zeros(30, 41, 3), "(30, 41, 3); .*: channels come first, image.permute(2, 0, 1)[None]"),
        (torch.zeros(1, 30, 41, 3), "(1, 30, 41, 3); .*: channels come first, image.permute(0, 3, 1, 2)"),
        (torch.zeros(2, 4, 30, 41), "data is (2, 4, 30, 41); give (N, 3, H, W), with 3 channels, not 4"),
        (torch.zeros(30, 41), "data is (30, 41); give (N, 3, H, W)"),
        (torch.zeros(1, 3, 30, 41, dtype=torch.uint8), "data is uint8; give floats: image.float(), minus"),
        (torch.zeros(1, 3, 30, 41, dtype=torch.int64), "data is int64; give floats"),
        (np.zeros((1, 3, 30, 41), np.float32), "data is of type ndarray; give a torch.Tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_image_is_answered_by_a_sentence(image, problem):
    flat = FCN8s(2, widths=WIDTHS)
    general = fcn_of(Architecture("FCN8s", SIFT_FLOW, widths=WIDTHS))
    for name, model in (("FCN8s", flat), ("FCN8s", general), ("net 'FCN8s'", c2t.build(flat.net()))):
        pattern = re.escape(f"{name}: ") + ".*" + re.escape(problem).replace(r"\.\*", ".*")
        with pytest.raises(NetError, match=pattern):
            model(image)
        with pytest.raises(NetError, match=pattern):
            model(data=image)


@pytest.mark.parametrize("parts", [{"heads": SIFT_FLOW}, {"streams": COLOR_DEPTH}])
@pytest.mark.parametrize("kind", [FCN32s, FCN16s, FCN8s])
def test_the_flat_nets_name_the_way_to_several_heads(kind, parts):
    name = kind.__name__
    with pytest.raises(NetError, match=rf"{name} has one head and .* fcn_of\(Architecture\('{name}', heads"):
        kind(widths=WIDTHS, **parts)
    with pytest.raises(NetError, match=r"FCN8sAtOnce takes data, not color, depth; fcn_of\("):
        FCN8sAtOnce(widths=WIDTHS, streams=COLOR_DEPTH)


@pytest.mark.parametrize("name", ["FCN32s", "FCN16s", "FCN8s"])
def test_flat_and_general_are_one_net(name):
    """The same layers in the same order, and the same numbers."""
    architecture = Architecture(name, (Head("", 2),), widths=WIDTHS, learned=frozenset())
    flat, general = fcn_of(architecture).eval(), GeneralFCN(architecture).eval()
    assert [key for key, _ in flat.named_children()] == [key for key, _ in general.named_children()]
    for key, parameter in flat.named_parameters():
        if key.startswith("score"):  # which start at zero
            torch.nn.init.normal_(parameter)
    general.load_state_dict(flat.state_dict())
    image = torch.randn(2, 3, 30, 41)
    with torch.no_grad():
        ours, theirs = flat.every_blob(data=image), general.every_blob(data=image)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[blob], theirs[blob]) for blob in ours)


@pytest.mark.parametrize(("stage", "stride", "offset"), [(5, 32, 115), (4, 16, 107), (3, 8, 103)])
def test_a_net_cut_at_a_pool_scores_that_pool(stage, stride, offset):
    """Against the same trunk in FCN-8s, and a score and an upsampling written out in NumPy."""
    torch.manual_seed(6)
    cut = fcn_of(Architecture(f"FCNPool{stage}", (Head("", 2),), widths=WIDTHS[:stage])).eval()
    torch.nn.init.normal_(cut.score_fr.weight)
    torch.nn.init.normal_(cut.score_fr.bias)
    whole, image = FCN8s(2, widths=WIDTHS).eval(), torch.randn(1, 3, 37, 52)
    whole.load_state_dict({k: v for k, v in cut.state_dict().items() if k.startswith("conv")}, strict=False)
    with torch.no_grad():
        pool = whole.every_blob(data=image)[f"pool{stage}"][0].double().numpy()
        ours = cut(image)[0].numpy()
    weight, bias = (blob.detach().double().numpy() for blob in cut.score_fr.parameters())
    score = np.einsum("kc,chw->khw", weight[:, :, 0, 0], pool) + bias[:, None, None]
    ramp = 1 - np.abs(np.arange(2 * stride) - stride + 0.5) / stride
    _, rows, columns = score.shape
    large = np.zeros((2, (rows + 1) * stride, (columns + 1) * stride))
    for i in range(rows):
        for j in range(columns):
            cell = score[:, i, j, None, None] * np.outer(ramp, ramp)
            large[:, i * stride : (i + 2) * stride, j * stride : (j + 2) * stride] += cell
    np.testing.assert_allclose(ours, large[:, offset : offset + 37, offset : offset + 52], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("FCN8s", "give 7, for five stages, fc6 and fc7"), ("FCNPool4", "give 4, one for each stage")],
)
def test_there_is_a_width_for_each_stage(name, expected):
    with pytest.raises(NetError, match=rf"{name}: widths are \(64, 128, 256\); {expected}"):
        Architecture(name, widths=(64, 128, 256))


def test_copies_are_independent():
    for model in (FCN8s(3, widths=WIDTHS), FCN8sAtOnce(3, widths=WIDTHS)):
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 (ours)
            torch.nn.init.ones_(twin.score_fr.bias)  # random weights may give zeros
            assert twin(torch.ones(1, 3, 9, 9)).any()
            assert not model(torch.ones(1, 3, 9, 9)).any()


def test_parameters_come_in_the_net_s_order(weights):
    """A solver's history has this order."""
    model = load(weights)
    keys = [f"{layer}.{key}" for layer in model.blobs() for key in ("weight", "bias")]
    assert [key for key in keys if key in model.state_dict()] == list(model.state_dict())
    stored = [layer.name for layer in read(None, weights).layers if layer.blobs]
    assert list(model.blobs()) == stored
