"""Layers that work value by value: their formulas and derivatives, at ordinary and at awkward values."""

from __future__ import annotations

import numpy as np
import pytest

from tests.single_layer import assert_close, backward, one_layer, run

X = np.array([[-2.5, -1.0, -0.125], [0.5, 1.0, 3.25]])
POSITIVE = np.array([[0.125, 1.0, 7.5], [0.5, 2.0, 30.0]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


CASES = {
    "AbsVal": ("", X, np.abs, np.sign),
    "BNLL": ("", X, lambda x: np.logaddexp(x, 0), sigmoid),
    "BNLL far from 0": ("", 40 * X, lambda x: np.logaddexp(x, 0), sigmoid),
    "Clip": (
        "clip_param { min: -1 max: 0.75 }",
        X,
        lambda x: np.clip(x, -1, 0.75),
        lambda x: (x >= -1) & (x < 0.75),
    ),
    "ELU": (
        "elu_param { alpha: 0.5 }",
        X,
        lambda x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1)),
        lambda x: np.where(x > 0, 1, 0.5 * np.exp(x)),
    ),
    "Exp": (
        "exp_param { base: 2 scale: -0.5 shift: 3 }",
        X,
        lambda x: 2 ** (3 - 0.5 * x),
        lambda x: -0.5 * np.log(2) * 2 ** (3 - 0.5 * x),
    ),
    "Exp of e": (
        "exp_param { scale: 0.5 shift: -1 }",
        X,
        lambda x: np.exp(0.5 * x - 1),
        lambda x: 0.5 * np.exp(0.5 * x - 1),
    ),
    "Log": (
        "log_param { base: 10 scale: 0.5 shift: 3 }",
        POSITIVE,
        lambda x: np.log10(0.5 * x + 3),
        lambda x: 0.5 / (0.5 * x + 3) / np.log(10),
    ),
    "Log to e": ("log_param { scale: 2 }", POSITIVE, lambda x: np.log(2 * x), lambda x: 1 / x),
    "Power": (
        "power_param { power: 3 scale: -2 shift: 0.5 }",
        X,
        lambda x: (0.5 - 2 * x) ** 3,
        lambda x: -6 * (0.5 - 2 * x) ** 2,
    ),
    "Power 1": ("power_param { scale: -2 shift: 0.5 }", X, lambda x: 0.5 - 2 * x, lambda x: -2 + 0 * x),
    "Power 2": ("power_param { power: 2 scale: 3 }", X, lambda x: (3 * x) ** 2, lambda x: 18 * x),
    "Power of a root": (
        "power_param { power: 0.5 shift: 1 }",
        POSITIVE,
        lambda x: np.sqrt(x + 1),
        lambda x: 0.5 / np.sqrt(x + 1),
    ),
    "Power 0": ("power_param { power: 0 scale: 3 shift: 1 }", X, np.ones_like, np.zeros_like),
    "ReLU": (
        "relu_param { negative_slope: 0.25 }",
        X,
        lambda x: np.where(x > 0, x, x / 4),
        lambda x: np.where(x > 0, 1, 0.25),
    ),
    "Sigmoid": ("", X, sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "Swish": (
        "swish_param { beta: 1.5 }",
        X,
        lambda x: x * sigmoid(1.5 * x),
        lambda x: sigmoid(1.5 * x) * (1 + 1.5 * x * (1 - sigmoid(1.5 * x))),
    ),
    "TanH": ("", X, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
}


@pytest.mark.parametrize("case", CASES)
def test_value_and_derivative(case):
    parameters, x, value, derivative = CASES[case]
    layer, head = f"type: '{case.split()[0]}' {parameters}", np.arange(1.0, 7.0).reshape(2, 3)
    assert_close(run(layer, x)[0], value(x))
    (gradient,), _ = backward(layer, x, gradients=[head])
    assert_close(gradient, head * derivative(x), 1e-5, "gradient")


@pytest.mark.parametrize("shared", [False, True])
def test_prelu_per_channel_and_for_all(shared):
    slope = np.array(0.5) if shared else np.array([0.5, -0.25, 2.0])
    x = np.stack([X, -X, 2 * X], 1)  # (2, 3, 3), the channels on axis 1
    spread = slope if shared else slope[:, None]
    layer = f"type: 'PReLU' prelu_param {{ channel_shared: {str(shared).lower()} }}"
    assert_close(run(layer, x, blobs=[slope])[0], np.where(x > 0, x, spread * x))
    (gradient,), (of_slope,) = backward(layer, x, gradients=[np.ones(x.shape)], blobs=[slope])
    assert_close(gradient, np.where(x > 0, 1, np.broadcast_to(spread, x.shape)), name="gradient")
    assert_close(of_slope, np.minimum(x, 0).sum(None if shared else (0, 2)), name="gradient of the slope")


def test_a_constant_power_does_not_look_at_its_bottom():
    """With scale 0 even NaN becomes shift ** power (power_layer.cpp)."""
    (y,) = run("type: 'Power' power_param { scale: 0 shift: 3 power: 2 }", np.array([np.nan, 1.0]))
    assert y.tolist() == [9.0, 9.0]


def test_threshold_is_strict_and_passes_no_gradient():
    layer = "type: 'Threshold' threshold_param { threshold: 0.5 }"
    assert run(layer, X)[0].tolist() == [[0, 0, 0], [0, 1, 1]]
    assert not one_layer(layer, [(2, 3)])(*_tensors(X))["y0"].requires_grad


def test_of_equals_a_maximum_gives_all_of_the_gradient_to_one():
    """To the second of the first two bottoms, and then to whoever was there first (eltwise_layer.cpp)."""
    bottoms = np.array([[1.0, 2, 0]]), np.array([[1.0, 2, 0]]), np.array([[1.0, 0, 0]])
    gradients, _ = backward(
        "type: 'Eltwise' eltwise_param { operation: MAX }", *bottoms, gradients=[np.array([[3.0, 4, 5]])]
    )
    assert [g.tolist() for g in gradients] == [[[0, 0, 0]], [[3, 4, 5]], [[0, 0, 0]]]


def test_normalizing_a_constant_gives_zeros_and_a_finite_gradient():
    (gradient,), _ = backward("type: 'MVN'", np.full((1, 2, 3), 7.0), gradients=[np.ones((1, 2, 3))])
    assert np.isfinite(gradient).all()


def _tensors(*arrays):
    import torch

    return [torch.tensor(array, dtype=torch.float32, requires_grad=True) for array in arrays]
