"""The confusion matrix and the four scores, against the papers' formulas in plain loops and by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro.scoring.metrics import Confusion, Over


def counts_by_loops(classes, label, prediction, void=255):
    n = [[0] * classes for _ in range(classes)]
    for truth, guess in zip(np.ravel(label).tolist(), np.ravel(prediction).tolist(), strict=True):
        if truth != void:
            n[truth][guess] += 1
    return n


def scores_by_loops(n, labelled_only=False):
    """The formulas of the papers, in exact fractions; None for 0/0."""
    classes = range(len(n))
    t = [sum(n[i][j] for j in classes) for i in classes]
    predicted = [sum(n[j][i] for j in classes) for i in classes]
    union = [t[i] + predicted[i] - n[i][i] for i in classes]
    iu = [Fraction(n[i][i], union[i]) for i in classes if union[i] and (t[i] or not labelled_only)]
    accuracy = [Fraction(n[i][i], t[i]) for i in classes if t[i]]
    weighted = sum(Fraction(t[i] * n[i][i], union[i]) for i in classes if t[i])
    return {
        "pixel_accuracy": Fraction(sum(n[i][i] for i in classes), sum(t)) if sum(t) else None,
        "mean_accuracy": sum(accuracy) / len(accuracy) if accuracy else None,
        "mean_iu": sum(iu) / len(iu) if iu else None,
        "fw_iu": weighted / sum(t) if sum(t) else None,
    }


def check(confusion, over=Over.SEEN):
    expected = scores_by_loops(confusion.counts.tolist(), over is Over.LABELLED)
    for name, wanted in expected.items():
        got = getattr(confusion.scores(over), name)
        assert math.isnan(got) if wanted is None else got == pytest.approx(float(wanted), rel=1e-14), name


def confusion_of(classes, label, prediction):
    confusion = Confusion(classes)
    confusion.add(np.asarray(label), np.asarray(prediction))
    return confusion


def test_one_image_by_hand():
    label = [[0, 0, 0, 1, 255], [0, 2, 1, 1, 255]]
    prediction = [[0, 0, 1, 1, 0], [2, 2, 1, 0, 2]]
    confusion = confusion_of(3, label, prediction)
    assert confusion.counts.tolist() == [[2, 1, 1], [1, 2, 0], [0, 0, 1]]
    assert confusion.per_class_iu() == pytest.approx([2 / 5, 2 / 4, 1 / 2])
    scores = confusion.scores()
    assert scores.pixel_accuracy == pytest.approx(5 / 8)
    assert scores.mean_accuracy == pytest.approx((2 / 4 + 2 / 3 + 1) / 3)
    assert scores.mean_iu == pytest.approx((2 / 5 + 1 / 2 + 1 / 2) / 3)
    assert scores.fw_iu == pytest.approx((4 * 2 / 5 + 3 * 1 / 2 + 1 * 1 / 2) / 8)
    assert scores.percent()["pixel_accuracy"] == pytest.approx(62.5)


def test_a_class_in_neither_is_left_out_and_one_only_predicted_has_iu_0():
    confusion = confusion_of(4, [0, 0, 1, 1], [0, 0, 1, 3])
    assert confusion.per_class_iu() == pytest.approx([1, 1 / 2, np.nan, 0], nan_ok=True)
    assert confusion.scores().mean_iu == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert confusion.scores().mean_accuracy == pytest.approx((1 + 1 / 2) / 2)


def test_over_the_labelled_classes_one_only_predicted_is_left_out():
    confusion = confusion_of(4, [0, 0, 1, 1], [0, 0, 1, 3])
    assert confusion.per_class_iu(Over.LABELLED) == pytest.approx([1, 1 / 2, np.nan, np.nan], nan_ok=True)
    assert confusion.scores(Over.LABELLED).mean_iu == pytest.approx(3 / 4)
    assert confusion.scores(Over.LABELLED).fw_iu == confusion.scores().fw_iu


def test_all_wrong():
    scores = confusion_of(3, [0, 1, 2, 2], [1, 2, 0, 1]).scores()
    assert list(scores.percent().values()) == [0, 0, 0, 0]


def test_all_right():
    scores = confusion_of(3, [0, 1, 2, 255], [0, 1, 2, 2]).scores()
    assert list(scores.percent().values()) == [100, 100, 100, 100]


def test_all_void_scores_nothing():
    confusion = confusion_of(3, np.full((2, 5), 255), np.zeros((2, 5), int))
    assert not confusion.counts.any()
    assert all(math.isnan(score) for score in confusion.scores().percent().values())


def test_a_void_pixel_may_be_predicted_anything():
    assert confusion_of(3, [255, 2], [255, 2]).counts.sum() == 1


@pytest.mark.parametrize("over", Over)
@pytest.mark.parametrize(("classes", "void"), [(1, 255), (21, 255), (60, 255), (500, 65535), (500, -1)])
def test_against_loops(classes, void, over):
    random = np.random.default_rng(classes)
    label = random.integers(0, classes, (3, 17, 23))
    label[random.random(label.shape) < 0.2] = void
    prediction = random.integers(0, classes, label.shape)
    confusion = Confusion(classes, ignore_label=void)
    confusion.add(label, prediction)
    assert confusion.counts.tolist() == counts_by_loops(classes, label, prediction, void)
    check(confusion, over)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_matrix_against_loops(data):
    classes = data.draw(st.integers(1, 5))
    count = st.one_of(st.just(0), st.integers(0, 2**40))
    rows = st.lists(st.lists(count, min_size=classes, max_size=classes), min_size=classes, max_size=classes)
    confusion = Confusion(classes).with_counts(np.array(data.draw(rows), np.int64))
    check(confusion, Over.SEEN)
    check(confusion, Over.LABELLED)


def test_counts_are_exact_beyond_what_a_float_holds():
    confusion = Confusion(2).with_counts(np.array([[2**53, 0], [0, 1]]))
    confusion.add(np.zeros(3, np.uint8), np.zeros(3, np.uint8))
    assert confusion.counts[0, 0] == 2**53 + 3


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64"])
def test_every_integer_type_in_numpy_and_torch(dtype):
    label, prediction = np.array([[0, 1, 2]]).astype(dtype), np.array([[0, 2, 2]]).astype(dtype)
    label.flags.writeable = False  # as np.asarray(PIL image) is
    confusion = Confusion(3)
    confusion.add(label, prediction)
    confusion.add(torch.from_numpy(label.copy()), torch.from_numpy(prediction))
    assert confusion.counts.tolist() == [[2, 0, 0], [0, 0, 2], [0, 0, 2]]


def test_a_view_turned_around_is_read_in_its_own_order():
    label = np.arange(3)[::-1]
    assert confusion_of(3, label, [2, 1, 0]).counts.tolist() == np.eye(3).tolist()


def test_merging_adds_and_leaves_its_parts_alone():
    one, other = confusion_of(3, [0, 1], [0, 2]), confusion_of(3, [2, 1], [2, 2])
    assert one.merge(other).counts.tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 1]]
    assert one.counts.sum() == other.counts.sum() == 2


@pytest.mark.parametrize(
    ("label", "prediction", "message"),
    [
        ([0, 3], [0, 0], "label 3 is not a class: expected 0 to 2 or 255 for void"),
        ([0, -1], [0, 0], "label -1 is not a class"),
        ([0, 1], [0, 3], "prediction 3 is not a class: expected 0 to 2"),
        ([0, 1], [0, 255], "prediction 255 is not a class"),
        ([0, 1], [0, 1, 2], r"labels are \(2,\), predictions \(3,\)"),
        ([0.0, 1.0], [0, 1], "labels are float64, expected integers"),
        ([0, 1], [True, False], "predictions are bool, expected integers"),
    ],
)
def test_what_is_no_class_is_refused_and_nothing_counted(label, prediction, message):
    confusion = Confusion(3)
    with pytest.raises(ValueError, match=message):
        confusion.add(np.array(label), np.array(prediction))
    assert not confusion.counts.any()


def test_float_tensors_are_refused():
    with pytest.raises(ValueError, match=r"predictions are torch\.float32"):
        Confusion(3).add(torch.zeros(2, dtype=torch.int64), torch.zeros(2))


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="0 classes: at least one is needed"):
        Confusion(0)


def test_one_process_has_all_pixels():
    confusion = confusion_of(3, [[0, 1, 2]], [[0, 1, 1]])
    assert confusion.across_processes().counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_a_void_label_that_is_also_a_class_is_refused():
    with pytest.raises(ValueError, match="label 255 would be both void and one of 500 classes"):
        Confusion(500)
    assert Confusion(255).classes == 255


@pytest.mark.parametrize(
    "counts",
    [np.zeros((2, 2), int), np.zeros((3, 3)), np.full((3, 3), -1), np.full((3, 3), 2**63, np.uint64)],
)
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(ValueError, match=r"expected \(3, 3\) of integers from 0"):
        Confusion(3).with_counts(counts)


def test_matrices_of_other_shapes_are_not_merged():
    with pytest.raises(ValueError, match=r"\(2, 2\) of int64, expected \(3, 3\)"):
        Confusion(3).merge(Confusion(2))


@pytest.mark.parametrize("ignored", [255, -1, 300])
def test_bytes_are_counted_as_other_integers(ignored):
    random = np.random.default_rng(3)
    label, prediction = random.integers(0, 5, (2, 9, 7), np.uint8)
    if ignored == 255:
        label[0] = ignored
    found = []
    for kind in (np.uint8, np.int64):
        found.append(Confusion(5, ignored))
        found[-1].add(label.astype(kind), torch.from_numpy(prediction.astype(kind)))
    assert found[0].counts.sum() == (56 if ignored == 255 else 63)
    assert (found[0].counts == found[1].counts).all()
    with pytest.raises(ValueError, match="prediction 5 is not a class"):
        found[0].add(label, np.full_like(prediction, 5))
    assert (found[0].counts == found[1].counts).all()
