"""Nets without what no image can change, in float64: the same numbers as all of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import caffe2torch as c2t
from caffe2torch.eliding import schedule as planning
from caffe2torch.eliding.background import Background
from caffe2torch.eliding.kernels import Converted
from caffe2torch.eliding.net import ElidedNet
from caffe2torch.eliding.schedule import Eliding, Schedule, fused
from caffe2torch.plan import Plan
from caffe2torch.writing.model import model_of
from tests.nets import net_of

WIDTHS = {"FCNAlexNet": (4, 6, 8, 6, 4, 7, 5)}
HEADS = (c2t.Head("_sem", 5), c2t.Head("_geo", 3))
ARCHITECTURES = [
    *(c2t.Architecture(name, widths=WIDTHS.get(name, (3, 4, 5, 6, 4, 7, 5))) for name in
      ("FCN32s", "FCN16s", "FCN8s", "FCNAlexNet")),
    c2t.Architecture("FCN8sAtOnce", HEADS, widths=(3, 4, 5, 6, 4, 7, 5)),
    c2t.Architecture("FCN32sLateFusion", streams=c2t.COLOR_HHA, widths=(3, 4, 5, 6, 4, 7, 5)),
    c2t.Architecture("FCN32s", streams=c2t.COLOR_DEPTH, widths=(3, 4, 5, 6, 4, 7, 5)),
    c2t.Architecture("FCNPool3", widths=(3, 4, 5)),
]  # fmt: skip
SIZES = [(53, 90), (30, 51), (1, 1)]


@pytest.fixture(autouse=True)
def frames_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one wherever a layer would compute what the image cannot reach."""
    monkeypatch.setattr(planning, "COPY", 0)


def random_net(net: nn.Module) -> nn.Module:
    """A net of random numbers, biases too: without these the background would be zeros."""
    for name, values in net.named_parameters():
        if "upscore" not in name:
            nn.init.normal_(values, std=0.3)
    return net.double().eval()


def elided(
    plan: Plan, net: nn.Module, size: tuple[int, int], before: tuple[int, int] | None
) -> tuple[Schedule, ElidedNet]:
    """The net at a size, and before at another one, as the modules of this project compute it otherwise."""
    state = net.state_dict()
    kernels = {
        step.key: Converted(step, {p.name: state[p.key] for p in step.parameters}) for step in plan.steps
    }
    eliding = Eliding(plan)
    found = fused(eliding.at(dict.fromkeys(plan.inputs, size)))
    background = Background(eliding, kernels, torch.empty(0, dtype=torch.float64))
    if before is not None:
        background.frames(fused(eliding.at(dict.fromkeys(plan.inputs, before))))
    return found, ElidedNet(found, kernels, background.frames(found))


def assert_same(net: nn.Module, size: tuple[int, int], before: tuple[int, int] | None = None) -> Schedule:
    plan = model_of(net).plan
    images = {
        blob: 100 * torch.randn(2, shape[1], *size, dtype=torch.float64)
        for blob, shape in plan.inputs.items()
    }
    with torch.no_grad():
        found, run = elided(plan, net, size, before)
        values, wanted = run(images), net(**images)
    wanted = dict.fromkeys(plan.outputs, wanted) if isinstance(wanted, torch.Tensor) else wanted
    for name, number in found.outputs.items():
        scale = float(wanted[name].abs().max())
        torch.testing.assert_close(values[number], wanted[name], rtol=0, atol=1e-12 * scale)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_the_scores_are_those_of_the_whole_net(architecture: c2t.Architecture) -> None:
    net = random_net(c2t.fcn_of(architecture))
    for size in SIZES:
        assert assert_same(net, size).framed


@pytest.mark.parametrize("extra", range(1, 32, 5))
def test_sizes_of_every_remainder(extra: int) -> None:
    net = random_net(c2t.FCN8s(3, widths=(2, 3, 3, 4, 3, 4, 4)))
    assert_same(net, (30 + extra, 71 - extra), before=(31 + extra, 70 - extra))


@pytest.mark.parametrize(
    "layer", ["pool: MAX kernel_size: 2 stride: 2", "pool: MAX kernel_size: 3 stride: 2"]
)
def test_answers_that_are_kept_for_other_sizes(layer: str) -> None:
    """Whose last windows lie otherwise."""
    text = (
        INPUT
        + FIRST
        + CONV.format("b", "a", 4, "kernel_size: 3 pad: 1")
        + POOL.format("p", "b", layer)
        + CONV.format("c", "p", 4, "kernel_size: 3 pad: 1")
        + POOL.format("q", "c", layer)
        + CONV.format("d", "q", 3, "kernel_size: 3 pad: 1")
    )
    net = random_net(c2t.build(net_of(text)))
    for more in range(5):
        for less in range(5):
            assert assert_same(net, (40 + more, 60 + less), before=(42, 64)).framed


def test_it_multiplies_less() -> None:
    """The numbers were counted by hand, layer by layer."""
    plan = model_of(c2t.FCN8s(3, widths=(2, 3, 3, 4, 3, 4, 4))).plan
    sizes = {"data": (96, 128)}
    whole, part = Eliding(plan).whole(sizes), Eliding(plan).at(sizes)
    first = next(place for place, step in enumerate(plan.steps) if step.key == "conv1_1")
    rows, columns = whole.parts[first].computes or ()
    assert (rows.length, columns.length) == (96 + 198, 128 + 198)
    rows, columns = part.parts[first].computes or ()
    assert rows.length <= 96 + 6
    assert columns.length <= 128 + 6
    assert part.multiplications < 0.5 * whole.multiplications


def test_frames_that_cost_more_than_they_save_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_net(c2t.FCN8s(3, widths=(2, 3, 3, 4, 3, 4, 4)))
    few = []
    for cost in (0, 20, 10**9):
        monkeypatch.setattr(planning, "COPY", cost)
        few.append(len(assert_same(net, (40, 50)).framed))
    assert few == sorted(few, reverse=True)
    assert few[0] > few[1] > few[2] == 0


INPUT = "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 dim: 9 dim: 14 } } }"
CONV = """layer {{ name: '{0}' type: 'Convolution' bottom: '{1}' top: '{0}' convolution_param {{
  num_output: {2} {3} }} }}"""
FIRST = CONV.format("a", "x", 4, "kernel_h: 3 kernel_w: 5 pad_h: 31 pad_w: 40 stride_h: 1 stride_w: 2")
POOL = "layer {{ name: '{0}' type: 'Pooling' bottom: '{1}' top: '{0}' pooling_param {{ {2} }} }}"
RELU = "layer { name: 'r' type: 'ReLU' bottom: 'a' top: 'a' }"


@pytest.mark.parametrize(
    "layers",
    [
        # A leaky ReLU, pools that overlap, dilation, and two branches of other reach that meet.
        """layer { name: 'r' type: 'ReLU' bottom: 'a' top: 'a' relu_param { negative_slope: 0.1 } }"""
        + POOL.format("p", "a", "pool: MAX kernel_size: 3 stride: 2")
        + CONV.format("b", "p", 4, "kernel_size: 3 pad: 4 dilation: 4")
        + CONV.format("c", "p", 4, "kernel_size: 1")
        + "layer { name: 'e' type: 'Eltwise' bottom: 'b' bottom: 'c' top: 'e' }"
        + CONV.format("d", "e", 3, "kernel_size: 5 pad: 2 group: 1"),
        # Layers of which no part is computed alone: pools that average, or pad.
        RELU
        + POOL.format("p", "a", "pool: AVE kernel_size: 3 stride: 2")
        + CONV.format("b", "p", 4, "kernel_size: 3")
        + POOL.format("q", "b", "pool: MAX kernel_size: 3 stride: 2 pad: 1")
        + CONV.format("d", "q", 3, "kernel_size: 3 pad: 1"),
        # Of what is computed whole, and of the image itself, a crop reads a part.
        POOL.format("p", "a", "pool: MAX kernel_size: 3 stride: 2 pad: 1")
        + CONV.format("k", "x", 2, "kernel_size: 5 stride: 3 pad: 2")
        + """layer { name: 'c' type: 'Crop' bottom: 'p' bottom: 'k' top: 'c'
               crop_param { offset: 5 axis: 2 } }
             layer { name: 'i' type: 'Crop' bottom: 'x' bottom: 'k' top: 'i'
               crop_param { offset: 3 axis: 2 } }""",
        # Normalized over the image, and then over channels.
        RELU
        + "layer { name: 'm' type: 'MVN' bottom: 'a' top: 'm' }"
        + CONV.format("b", "m", 4, "kernel_size: 3 pad: 20 stride: 3")
        + "layer { name: 'n' type: 'LRN' bottom: 'b' top: 'n' lrn_param { local_size: 3 alpha: 2 } }"
        + CONV.format("d", "n", 3, "kernel_size: 3 pad: 1"),
        # Read twice: before the ReLU in place and after it, and concatenated.
        CONV.format("b", "a", 4, "kernel_size: 3 pad: 1")
        + "layer { name: 'r' type: 'ReLU' bottom: 'b' top: 'b2' }"
        + "layer { name: 't' type: 'Concat' bottom: 'b2' bottom: 'b' top: 't' }"
        + CONV.format("d", "t", 3, "kernel_size: 3 pad: 1")
        + """layer { name: 'u' type: 'Deconvolution' bottom: 'd' top: 'u' convolution_param {
               num_output: 3 kernel_size: 5 stride: 2 pad: 1 } }""",
        # A classifier at the end.
        RELU
        + CONV.format("b", "a", 4, "kernel_size: 3 pad: 1")
        + """layer { name: 'i' type: 'InnerProduct' bottom: 'b' top: 'i'
               inner_product_param { num_output: 3 } }""",
    ],
    ids=["branches", "averages", "crops", "normalizations", "twice", "classifier"],
)  # fmt: skip
def test_any_net_that_pads_its_image(layers: str) -> None:
    net = random_net(c2t.build(net_of(INPUT + FIRST + layers)))
    for size in [(9, 14)] if "InnerProduct" in layers else [(9, 14), (16, 5), (60, 60)]:
        assert_same(net, size)


def test_a_net_without_a_border_is_left_whole() -> None:
    text = (
        INPUT + CONV.format("a", "x", 4, "kernel_size: 3 pad: 1") + CONV.format("b", "a", 3, "kernel_size: 3")
    )
    found = assert_same(random_net(c2t.build(net_of(text))), (9, 14))
    assert not found.framed
    assert found.multiplications == 2 * 9 * 4 * 9 * 14 + 4 * 9 * 3 * 7 * 12


def test_a_size_that_the_net_does_not_take() -> None:
    plan = model_of(c2t.build(net_of(INPUT + CONV.format("a", "x", 4, "kernel_size: 7")))).plan
    with pytest.raises(c2t.UnsupportedLayer, match="too small for the kernel"):
        Eliding(plan).at({"x": (5, 9)})


def test_a_crop_of_more_than_there_is() -> None:
    crop = "layer { name: 'c' type: 'Crop' bottom: 'a' bottom: 'x' top: 'c' crop_param { offset: 1 } }"
    plan = model_of(c2t.build(net_of(INPUT + CONV.format("a", "x", 4, "kernel_size: 3 pad: 1") + crop))).plan
    with pytest.raises(c2t.UnsupportedLayer, match=r"offset 1 \+ size 5 exceeds 5 on axis 2"):
        Eliding(plan).at({"x": (5, 9)})
