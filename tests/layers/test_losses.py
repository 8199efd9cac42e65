"""Losses and measures: values and gradients against loops written from Caffe's arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from caffe2torch.modules.caffe_net import build
from tests.nets import INPUT, net_of
from tests.single_layer import arrays, assert_close, axes_of, backward, few, ints, run, shapes

NORMALIZATIONS = {
    "": "",
    "FULL": "normalization: FULL",
    "VALID": "normalization: VALID",
    "BATCH_SIZE": "normalization: BATCH_SIZE",
    "NONE": "normalization: NONE",
    "normalize": "normalize: true",
    "not normalize": "normalize: false",
    "both": "normalize: true normalization: NONE",
}


def divisor(said, unsaid, count, valid, items):
    mode = {"": unsaid, "normalize": "VALID", "not normalize": "BATCH_SIZE", "both": "NONE"}.get(said, said)
    return max(1, {"FULL": count, "VALID": valid, "BATCH_SIZE": items, "NONE": 1}[mode])


def check_loss(layer, bottoms, loss, *gradients):
    """The loss, and its gradients at the first bottoms for a loss weight of 2."""
    (ours,) = run(layer, *bottoms)
    assert_close(ours, loss, name="loss")
    found, _ = backward(layer, *bottoms, gradients=[2.0])
    for i, gradient in enumerate(gradients):
        assert_close(found[i], 2 * np.asarray(gradient), 1e-4, f"gradient {i}")


@st.composite
def classified(draw):
    """Scores, an axis, labels of which some may be ignored, the ignored one or None, a normalization."""
    shape = draw(shapes(2, 4))
    axis, given_axis = draw(axes_of(shape))
    places = (*shape[:axis], *shape[axis + 1 :])
    labels = draw(st.lists(ints(0, shape[axis] - 1), min_size=math.prod(places), max_size=math.prod(places)))
    ignored = draw(st.sampled_from([None, 0, 255]))
    if ignored == 255:
        labels = [255 if draw(st.integers(0, 3)) == 0 else label for label in labels]
    return draw(arrays(shape)), axis, given_axis, np.array(labels).reshape(places), ignored


@few
@given(classified(), st.sampled_from(sorted(NORMALIZATIONS)), st.none() | ints(0, 99))
def test_softmax_losses(case, said, seed):
    """Infogain weighs each class by the label's row of a matrix; SoftmaxWithLoss has the unit matrix."""
    (x, axis, given_axis, labels, ignored), classes = case, case[0].shape[case[1]]
    assume(labels.shape[:1] == x.shape[:1])
    matrix = np.eye(classes) if seed is None else np.random.default_rng(seed).random((classes, classes))
    if seed is not None and "normalize:" in NORMALIZATIONS[said]:
        said = ""
    loss, valid, gradient = 0.0, 0, np.zeros(x.shape)
    for place in np.ndindex(labels.shape):
        line = (*place[:axis], slice(None), *place[axis:])
        if labels[place] == ignored:
            continue
        e = np.exp(x[line].astype(np.float64))
        row = matrix[labels[place]]
        loss -= (row * np.log(e / e.sum())).sum()
        gradient[line] = e / e.sum() * row.sum() - row
        valid += 1
    by = divisor(said, "VALID", labels.size, valid, math.prod(x.shape[:axis]))
    p = f"{NORMALIZATIONS[said]} {'' if ignored is None else f'ignore_label: {ignored}'}"
    name = "SoftmaxWithLoss' softmax_param" if seed is None else "InfogainLoss' infogain_loss_param"
    layer = f"type: '{name} {{ axis: {given_axis} }} loss_param {{ {p} }}"
    check_loss(layer, (x, labels) if seed is None else (x, labels, matrix), loss / by, gradient / by)


@few
@given(st.data(), shapes(1, 4), st.sampled_from(sorted(NORMALIZATIONS)), st.sampled_from([None, -1, 255]))
def test_sigmoid_cross_entropy(data, shape, said, ignored):
    x, size = data.draw(arrays(shape)), math.prod(shape)
    options = [0.0, 1.0, 0.25] + ([] if ignored is None else [ignored])
    target = np.array(data.draw(st.lists(st.sampled_from(options), min_size=size, max_size=size)))
    target = target.reshape(shape)
    loss, valid, gradient = 0.0, 0, np.zeros(shape)
    for index in np.ndindex(shape):
        if target[index] == ignored:
            continue
        sigmoid = 1 / (1 + math.exp(-x[index]))
        loss -= target[index] * math.log(sigmoid) + (1 - target[index]) * math.log(1 - sigmoid)
        gradient[index] = sigmoid - target[index]
        valid += 1
    by = divisor(said, "BATCH_SIZE", size, valid, shape[0])
    p = f"{NORMALIZATIONS[said]} {'' if ignored is None else f'ignore_label: {ignored}'}"
    layer = f"type: 'SigmoidCrossEntropyLoss' loss_param {{ {p} }}"
    check_loss(layer, (x, target), loss / by, gradient / by)


@few
@given(st.data(), shapes(2, 4), st.sampled_from(["L1", "L2"]))
def test_hinge(data, shape, norm):
    x = data.draw(arrays(shape))
    rows = x.reshape(shape[0], -1)
    labels = data.draw(st.lists(ints(0, rows.shape[1] - 1), min_size=shape[0], max_size=shape[0]))
    loss, gradient = 0.0, np.zeros(rows.shape)
    for n, k in np.ndindex(rows.shape):
        sign = -1 if labels[n] == k else 1
        margin = max(0.0, 1 + sign * float(rows[n, k]))
        loss += margin if norm == "L1" else margin**2
        gradient[n, k] = sign * (margin > 0 if norm == "L1" else 2 * margin)
    layer = f"type: 'HingeLoss' hinge_loss_param {{ norm: {norm} }}"
    check_loss(layer, (x, labels), loss / shape[0], gradient.reshape(shape) / shape[0])


@few
@given(st.data(), shapes(1, 4))
def test_euclidean(data, shape):
    a, b = data.draw(arrays(shape)), data.draw(arrays(shape))
    delta = a.astype(np.float64) - b
    gradient = delta / shape[0]
    check_loss("type: 'EuclideanLoss'", (a, b), sum(delta.ravel() ** 2) / shape[0] / 2, gradient, -gradient)


@few
@given(st.data(), st.booleans(), ints(1, 5), ints(1, 4))
def test_contrastive(data, legacy, items, channels):
    a, b = data.draw(arrays((items, channels))), data.draw(arrays((items, channels)))
    similar = data.draw(st.lists(ints(0, 1), min_size=items, max_size=items))
    margin, loss, gradient = 1.75, 0.0, np.zeros(a.shape)
    for n in range(items):
        delta = a[n].astype(np.float64) - b[n]
        squared = (delta**2).sum()
        gap = max(margin - (squared if legacy else math.sqrt(squared)), 0)
        if similar[n]:
            loss, gradient[n] = loss + squared, delta
        elif legacy:
            loss, gradient[n] = loss + gap, -delta * (gap > 0)
        else:
            loss, gradient[n] = loss + gap**2, -gap / (math.sqrt(squared) + 1e-4) * delta
    p = f"margin: {margin} legacy_version: {str(legacy).lower()}"
    layer = f"type: 'ContrastiveLoss' contrastive_loss_param {{ {p} }}"
    check_loss(layer, (a, b, similar), loss / items / 2, gradient / items, -gradient / items)


def test_contrastive_of_equal_items_has_a_gradient():
    layer = "type: 'ContrastiveLoss' contrastive_loss_param { margin: 2 }"
    check_loss(layer, (np.ones((1, 3)), np.ones((1, 3)), [0]), 2.0, np.zeros((1, 3)))


def test_logarithms_are_clamped_and_their_gradients_are_not():
    """Caffe reports at most 87.34 where a softmax underflows, 46.05 for a probability of 0 (1e-20)."""
    softmax = "type: 'SoftmaxWithLoss'"
    check_loss(softmax, ([[0.0, 200.0]], [0]), 87.3365447, [[-1.0, 1.0]])
    gradient = [[-1e20 / 2, 0.0], [0.0, -1 / 0.75 / 2]]
    check_loss(
        "type: 'MultinomialLogisticLoss'",
        ([[0.0, 1.0], [0.25, 0.75]], [0, 1]),
        (-math.log(1e-20) - math.log(0.75)) / 2,
        gradient,
    )
    infogain = "type: 'InfogainLoss'"
    check_loss(infogain, ([[0.0, 200.0]], [0], np.eye(2)), -math.log(1e-20), [[-1.0, 1.0]])


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "InfogainLoss"])
def test_a_second_top_is_the_softmax(kind):
    x = np.array([[0.5, -1.0, 2.0], [0.0, 1.0, 0.25]])
    more = [np.eye(3)] if kind == "InfogainLoss" else []
    _, softmax = run(f"type: '{kind}'", x, [2, 0], *more, tops=2)
    assert_close(softmax, np.exp(x) / np.exp(x).sum(1, keepdims=True))


@few
@given(classified(), st.data())
def test_accuracy(case, data):
    (x, axis, given_axis, labels, ignored), classes = case, case[0].shape[case[1]]
    x, top_k = np.round(2 * x), data.draw(ints(1, classes))  # with equals
    right, seen = np.zeros(classes), np.zeros(classes)
    for place in np.ndindex(labels.shape):
        if labels[place] == ignored:
            continue
        line = x[(*place[:axis], slice(None), *place[axis:])]
        before = sum(score >= line[labels[place]] for score in line) - 1
        right[labels[place]] += before < top_k
        seen[labels[place]] += 1
    p = f"top_k: {top_k} axis: {given_axis} {'' if ignored is None else f'ignore_label: {ignored}'}"
    whole, per_class = run(f"type: 'Accuracy' accuracy_param {{ {p} }}", x, labels, tops=2)
    assert_close(whole, right.sum() / max(1, seen.sum()), 1e-7)
    assert_close(per_class, right / np.maximum(seen, 1), 1e-7)
    assert run(f"type: 'Accuracy' accuracy_param {{ {p} }}", x, labels)[0] == whole


def test_propagate_down_stops_gradients():
    bottoms, layer = ([[1.0, 2.0]], [[3.0, 5.0]]), "type: 'EuclideanLoss' propagate_down:"
    (a, b), _ = backward(f"{layer} true propagate_down: false", *bottoms, gradients=[1.0])
    assert a.tolist() == [[-2, -3]]
    assert b is None


def test_a_loss_without_a_top_trains():
    """Caffe gives it one; many old nets end like this."""
    text = "layer { name: 'data' type: 'Softmax' bottom: 'data' top: 's' }"
    loss = "layer { name: 's' type: 'EuclideanLoss' bottom: 's' bottom: 'data' }"
    model = build(net_of(INPUT + text + loss), "TRAIN")
    tops = model(data=torch.ones(2, 3, 8, 11))
    assert list(tops) == ["s#2"]
    assert model.loss(tops) == tops["s#2"] > 0


@pytest.mark.parametrize("weight", [1, 0.25])
def test_center_loss(weight):
    generator = np.random.default_rng(5)
    x, centers = (generator.standard_normal(shape).astype(np.float32) for shape in ((6, 2, 3), (4, 6)))
    labels = np.array([2, 0, 2, 2, 3, 0])
    loss, pulled, pushed = 0.0, np.zeros((6, 6)), np.zeros((4, 6))
    for item, label in enumerate(labels):
        distance = x[item].ravel().astype(np.float64) - centers[label]
        loss += (distance**2).sum() / 6 / 2
        pulled[item] = weight * distance / 6
        pushed[label] -= distance / (1 + np.count_nonzero(labels == label))
    layer = "type: 'CenterLoss' center_loss_param { num_output: 4 }"
    assert_close(run(layer, x, labels, blobs=[centers])[0], loss)
    (of_x, _), (of_centers,) = backward(layer, x, labels, gradients=[weight], blobs=[centers], phase="TRAIN")
    assert_close(of_x, pulled.reshape(x.shape))
    assert_close(of_centers, pushed)
