"""Nets arranged for training: the scores, gradients and losses that they have as they are."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import caffe2torch as c2t
from fcn_repro.training import products
from fcn_repro.training.arrangement import arranged
from fcn_repro.training.loss import softmax_loss

WIDTHS = (3, 4, 5, 5, 4, 40, 48)
"""fc6 and fc7 have more outputs than four for each place, as the papers' have."""
NETS = {
    "FCN32s": (c2t.Architecture("FCN32s", (c2t.Head(classes=4),), widths=WIDTHS)),
    "FCN16s": (c2t.Architecture("FCN16s", (c2t.Head(classes=4),), widths=WIDTHS)),
    "two heads": (c2t.Architecture("FCN8s", c2t.SIFT_FLOW, widths=WIDTHS)),
    "AlexNet": (c2t.Architecture("FCNAlexNet", (c2t.Head(classes=4),), widths=(4, 4, 4, 4, 4, 60, 60))),
    "learned": (
        c2t.Architecture("FCN8s", (c2t.Head(classes=4),), widths=WIDTHS, learned=frozenset({"upscore8"}))
    ),
}


def random_net(name: str) -> nn.Module:
    torch.manual_seed(3)
    net: nn.Module = c2t.fcn_of(NETS[name]).double().eval()
    for key, values in net.named_parameters():
        if values.requires_grad and "upscore" not in key:
            nn.init.normal_(values, std=0.2)
    return net


def scores_and_gradients(net: nn.Module, *images: Tensor) -> list[Tensor]:
    net.zero_grad()
    found = net(*images)
    scores = [*found.values()] if isinstance(found, dict) else [found]
    for score in scores:
        weights = torch.linspace(-1, 2, score.numel(), dtype=score.dtype).view_as(score)
        (score * weights).sum().backward(retain_graph=True)
    return [*(x.detach() for x in scores), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(2, 3, 41, 58), (1, 3, 70, 33)])
def test_scores_and_gradients_are_those_of_the_net_as_it_is(name: str, size: tuple[int, ...]) -> None:
    net, image = random_net(name), torch.randn(size, dtype=torch.float64)
    plain = scores_and_gradients(net, image)
    with arranged(net):
        fast = scores_and_gradients(net, image)
    assert len(plain) == len(fast) > 10
    for a, b in zip(plain, fast, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-10 * float(a.abs().max()))


def test_what_is_arranged(monkeypatch: pytest.MonkeyPatch) -> None:
    """fc6 is no convolution, nothing is upsampled beyond the image, and features have their channels last."""
    net, image, kernels, layouts = random_net("FCN32s").float(), torch.randn(1, 3, 41, 58), [], {}
    convolved = nn.functional.conv2d
    monkeypatch.setattr(
        nn.functional, "conv2d", lambda x, w, *a: kernels.append(w.shape) or convolved(x, w, *a)
    )
    deconvolved = nn.functional.conv_transpose2d
    monkeypatch.setattr(nn.functional, "conv_transpose2d", lambda *a: kernels.append("up") or deconvolved(*a))
    for name in ("conv1_1", "pool1", "pool3", "pool5"):
        layer = net.get_submodule(name)
        layer.register_forward_hook(
            lambda _, bottom, top, name=name: layouts.update(
                {name: top.is_contiguous(memory_format=torch.channels_last)}
            )
        )
    with arranged(net):
        net(image)
        assert net.conv1_2.weight.is_contiguous(memory_format=torch.channels_last)
    assert net.fc6.weight.shape not in kernels
    assert "up" not in kernels
    assert layouts == dict.fromkeys(layouts, True)
    net(image)
    assert net.fc6.weight.is_contiguous()


def test_the_net_is_left_as_it_was() -> None:
    net = random_net("FCN32s")
    before, image = copy.deepcopy(net), torch.randn(1, 3, 40, 50, dtype=torch.float64)
    with arranged(net):
        net(image)
    assert not any("forward" in vars(layer) for layer in net.modules())
    assert repr(net) == repr(before)
    torch.testing.assert_close(net(image), before(image))


@pytest.mark.parametrize("block", [1 << 22, 700])
def test_a_product_in_bfloat16(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """What autocast's convolution gives, within bfloat16; gradients of weights stay float32."""
    monkeypatch.setattr(products, "_BLOCK", block)
    torch.manual_seed(1)
    layer, bottom = nn.Conv2d(6, 45, 3), torch.randn(2, 6, 4, 5, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = layer(bottom)
        with products.multiplied(layer):
            product = layer(bottom)
    assert product.dtype == plain.dtype == torch.bfloat16
    weights = torch.randn(plain.shape)
    torch.testing.assert_close(product, plain, rtol=1e-2, atol=1e-2)
    exact = torch.autograd.grad((layer(bottom) * weights).sum(), [*layer.parameters(), bottom])
    found = torch.autograd.grad((product.float() * weights).sum(), [*layer.parameters(), bottom])
    for a, b in zip(exact, found, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(b, a, rtol=3e-2, atol=3e-2 * float(a.abs().max()))


def test_the_gradients_of_large_weights_come_last() -> None:
    net, order = random_net("FCN32s"), []
    for name in ("conv1_1.weight", "fc6.weight", "fc7.weight"):
        net.get_parameter(name).register_hook(lambda _, name=name: order.append(name))
    with arranged(net):
        net(torch.randn(1, 3, 41, 58, dtype=torch.float64)).sum().backward()
    assert order[0] == "conv1_1.weight"
    assert len(order) == 3


def test_a_frozen_layer_costs_no_gradient() -> None:
    layer = nn.Conv2d(3, 40, 2).requires_grad_(False)
    bottom = torch.randn(1, 3, 3, 4, requires_grad=True)
    with products.multiplied(layer):
        layer(bottom).sum().backward()
    assert layer.weight.grad is None
    assert bottom.grad is not None


def test_a_kernel_larger_than_the_image_is_refused_as_ever() -> None:
    layer = nn.Conv2d(3, 40, 5)
    with products.multiplied(layer), pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        layer(torch.randn(1, 3, 4, 9))


def test_the_loss_has_its_gradient_once() -> None:
    scores, labels = torch.randn(1, 3, 2, 4, requires_grad=True), torch.ones(1, 2, 4, dtype=torch.int64)
    loss = softmax_loss({"sem": scores}, {"sem": labels}, normalize=True)
    loss.backward(retain_graph=True)
    with pytest.raises(AttributeError):
        loss.backward()


def plain_losses(net: nn.Module, images: list[tuple[Tensor, Tensor]], rate: float) -> list[float]:
    """The loop that everybody writes: an image at a time, torch's loss and optimizer."""
    weights, biases = (
        [p for p in net.parameters() if p.requires_grad and (p.ndim > 1) is w] for w in (True, False)
    )
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": 5e-4},
        {"params": biases, "lr": 2 * rate, "weight_decay": 0},
    ]
    optimizer, losses = torch.optim.SGD(groups, lr=rate, momentum=0.9), []
    for step, (image, label) in enumerate(images):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(image), label, ignore_index=255, reduction="sum")
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_twenty_steps_have_the_losses_of_a_plain_loop() -> None:
    torch.manual_seed(2)
    net = c2t.FCN32s(4, widths=WIDTHS).train()
    images = [
        (50 * torch.randn(1, 3, 30 + i, 50 - i), torch.randint(0, 4, (1, 30 + i, 50 - i))) for i in range(20)
    ]
    expected = plain_losses(copy.deepcopy(net), images, 1e-6)
    solver = c2t.Solver(net, base_lr=1e-6, lr_policy="fixed", momentum=0.9, weight_decay=5e-4)
    found = []
    with arranged(net):
        for step, (image, label) in enumerate(images):
            torch.manual_seed(step)
            solver.zero_grad()
            loss = softmax_loss({"sem": net(image)}, {"sem": label}, normalize=False)
            loss.backward()
            solver.step()
            found.append(loss.item())
    assert len(set(np.round(expected, 3))) == 20
    np.testing.assert_allclose(found, expected, rtol=2e-6)
