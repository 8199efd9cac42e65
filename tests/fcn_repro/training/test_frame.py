"""The frame around an image, computed once: the same scores and gradients as all of it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import caffe2torch as c2t
from fcn_repro.training.frame import narrowed
from tests.places import GOLDEN

WIDTHS = (3, 4, 5, 5, 4, 6, 6)


def random_net(name: str) -> nn.Module:
    """A narrow net of random numbers, biases too: without these the frame would hold zeros."""
    torch.manual_seed(3)
    net: nn.Module = getattr(c2t, name)(4, widths=WIDTHS).double().eval()
    for key, values in net.named_parameters():
        if "upscore" not in key:
            nn.init.normal_(values, std=0.3)
    return net


def scores_and_gradients(net: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    net.zero_grad()
    scores = net(image)
    (scores * torch.linspace(-1, 2, scores.numel(), dtype=scores.dtype).view_as(scores)).sum().backward()
    return [scores.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


@pytest.mark.parametrize("extra", range(16))
def test_scores_and_gradients_are_those_of_the_whole_frame(extra: int) -> None:
    """Sizes of every remainder that pooling by 16 can leave, in both directions."""
    net = random_net("FCN8s")
    image = torch.randn(1, 3, 30 + extra, 51 - extra, dtype=torch.float64)
    whole = scores_and_gradients(net, image)
    with narrowed(net):
        narrow = scores_and_gradients(net, image)
    assert len(whole) == len(narrow) > 30
    for a, b in zip(whole, narrow, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10 * float(a.abs().max()))


@pytest.mark.parametrize("name", ["FCN32s", "FCN16s", "FCN8s"])
def test_an_image_of_one_pixel(name: str) -> None:
    net = random_net(name)
    image = torch.randn(1, 3, 1, 1, dtype=torch.float64)
    whole = net(image)
    with narrowed(net):
        torch.testing.assert_close(net(image), whole)


def test_it_does_less_work_and_leaves_the_net_as_it_was() -> None:
    net, seen = random_net("FCN8s"), []
    before = copy.deepcopy(net)
    hook = net.conv1_2.register_forward_hook(lambda layer, bottoms, top: seen.append(top.shape[2:]))
    image = torch.randn(1, 3, 96, 128, dtype=torch.float64)
    with narrowed(net):
        net(image)
    after = net(image)
    hook.remove()
    assert seen == [(96 + 14, 128 + 14), (96 + 198, 128 + 198)]
    assert repr(net) == repr(before)
    assert torch.equal(after, before(image))


@pytest.mark.parametrize("name", ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"])
def test_the_blobs_are_what_caffe_computed(name: str) -> None:
    """Down to pool4, whose frame nothing leaves out."""
    folder = GOLDEN / "fcn" / name
    net = c2t.load(folder / "weights.caffemodel").eval()
    with np.load(folder / "io.npz") as caffe, torch.no_grad(), narrowed(net):
        for i in range(2):
            blobs = net.every_blob(data=torch.from_numpy(caffe[f"{i}.in.data"]))
            for key in ("pool4", "pool5", "score_fr"):
                wanted = caffe[f"{i}.blob.{key}"]
                np.testing.assert_allclose(blobs[key], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
            wanted = caffe[f"{i}.out.score"]
            np.testing.assert_allclose(blobs["score"], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_other_nets_are_left_as_they_are() -> None:
    net = c2t.fcn_of(c2t.Architecture("FCNAlexNet", (c2t.Head(classes=4),), widths=(4, 4, 4, 4, 4, 6, 6)))
    before = repr(net)
    with narrowed(net):
        assert repr(net) == before
