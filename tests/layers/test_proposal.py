"""Layers that propose regions, against loops and what py-faster-rcnn proposed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from caffe2torch.errors import UnsupportedLayer
from caffe2torch.layers.forks import proposal
from tests.boxes import iou
from tests.single_layer import assert_close, run

rng = np.random.default_rng(11)


def noise(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# generate_anchors.py prints these for its defaults: 3 ratios, each with the scales 8, 16 and 32.
ANCHORS = """
     -84 -40  99 55   -176 -88 191 103   -360 -184 375 199
     -56 -56  71 71   -120 -120 135 135  -248 -248 263 263
     -36 -80  51 95   -80 -168 95 183    -168 -344 183 359
"""


def proposed(scores, offsets, image, stride, limits):
    """py-faster-rcnn's steps, one box at a time: place, move, clip, drop small ones, sort, suppress."""
    boxes, confidences = [], []
    anchors = np.array(ANCHORS.split(), float).reshape(9, 4)
    for row, column, a in itertools.product(range(scores.shape[2]), range(scores.shape[3]), range(9)):
        left, top, right, bottom = anchors[a] + stride * np.array([column, row, column, row])
        dx, dy, dw, dh = offsets[0, 4 * a : 4 * a + 4, row, column]
        width, height = right - left + 1, bottom - top + 1
        x, y = left + width / 2 + dx * width, top + height / 2 + dy * height
        w, h = width * math.exp(dw), height * math.exp(dh)
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        box = np.clip(box, 0, [image[1] - 1, image[0] - 1] * 2)
        if min(box[2] - box[0], box[3] - box[1]) + 1 >= 16 * image[2]:
            boxes.append(box)
            confidences.append(scores[0, 9 + a, row, column])
    kept = []
    for i in np.argsort(-np.array(confidences), kind="stable")[: limits[0]]:
        if len(kept) < limits[1] and all(iou(boxes[i], boxes[j], 1) <= 0.7 for j in kept):
            kept.append(i)
    return np.array([[0, *boxes[i]] for i in kept]), np.array([[confidences[i]] for i in kept])


def proposal_layer(param_str):
    names = "module: 'rpn.proposal_layer' layer: 'ProposalLayer'"
    return f"type: 'Python' python_param {{ {names} param_str: \"{param_str}\" }}"


@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
def test_proposals(phase):
    scores = rng.permutation(18 * 5 * 7).reshape(1, 18, 5, 7).astype(np.float32) / 1000
    offsets, image = noise(1, 36, 5, 7) * 0.3, np.array([[150.0, 210, 1.6]])
    regions, confidences = proposed(scores, offsets, image[0], 32, (6000, 300))
    tops = run(proposal_layer("'feat_stride': 32"), scores, offsets, image, tops=2, phase=phase)
    assert 20 < len(regions) < 200
    assert_close(tops[0], regions)
    assert_close(tops[1], confidences)


@pytest.mark.parametrize("limits", [(40, 1000), (1000, 7)])
def test_the_number_of_proposals(limits, monkeypatch):
    scores = rng.permutation(18 * 5 * 7).reshape(1, 18, 5, 7).astype(np.float32) / 1000
    offsets, image = noise(1, 36, 5, 7) * 0.1, np.array([[150.0, 210, 1]])
    monkeypatch.setitem(proposal.LIMITS, "TEST", proposal.Limits(*limits))
    (ours,) = run(proposal_layer("'feat_stride': 32"), scores, offsets, image)
    expected, _ = proposed(scores, offsets, image[0], 32, limits)
    assert_close(ours, expected)
    assert len(expected) < len(proposed(scores, offsets, image[0], 32, (6000, 300))[0])


def test_the_numbers_of_py_faster_rcnn():
    assert proposal.LIMITS["TEST"] == proposal.Limits(6000, 300, 0.7, 16)
    assert proposal.LIMITS["TRAIN"] == proposal.Limits(12000, 2000, 0.7, 16)


def test_scales_of_anchors():
    scores = np.zeros((1, 12, 1, 1)) + np.arange(12).reshape(12, 1, 1)
    layer = proposal_layer(r"'feat_stride': 16\n'scales': !!python/tuple [2, 4]")
    (regions,) = run(layer, scores, np.zeros((1, 24, 1, 1)), [[400.0, 400, 1]])
    # 16 x 16 pixels at ratio 2 are 11 x 22, at scale 4 44 x 88, around 7.5; bbox_transform.py adds 1.
    assert_close(regions[0], [0, 0, 0, 7.5 + 21.5 + 1, 7.5 + 43.5 + 1])


def test_ratios_of_pvanets_anchors():
    scores = np.zeros((1, 12, 1, 1)) + np.arange(12).reshape(12, 1, 1)
    layer = proposal_layer("{'feat_stride': 16, 'ratios': [0.333, 1.5], 'scales': [2, 3, 4]}")
    (regions,) = run(layer, scores, np.zeros((1, 24, 1, 1)), [[400.0, 400, 1]])
    # 16 x 16 pixels at ratio 1.5 are 13 x 20, at scale 4 52 x 80, around 7.5; bbox_transform.py adds 1.
    assert_close(regions[0], [0, 0, 0, 7.5 + 25.5 + 1, 7.5 + 39.5 + 1])


@pytest.mark.parametrize(
    "param_str",
    [
        "{'feat_stride': 16",
        "{16}",
        "'feat_stride': 0",
        "'feat_stride': 16\\n'scales': ['a']",
        "'scales': [8]",
        "'feat_stride': 16\\n'scales': 8",
        "'feat_stride': [16]",
        "'feat_stride': 16\\n'base': 9",
    ],
)
def test_other_parameters_are_refused(param_str):
    bottoms = np.ones((1, 18, 2, 2)), np.zeros((1, 36, 2, 2)), np.array([[400.0, 400, 1]])
    with pytest.raises(UnsupportedLayer, match="param_str"):
        run(proposal_layer(param_str), *bottoms)


class TestProposal:
    """PVANet's layer; the files are py-faster-rcnn's answer for its net, and OpenCV's as well."""

    param = "ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32"

    def regions(self, param, *bottoms, tops=2):
        return run(f"type: 'Proposal' proposal_param {{ {self.param} {param} }}", *bottoms, tops=tops)

    def test_what_py_faster_rcnn_proposed(self, golden):
        scores, offsets, regions, confidences = (
            np.load(golden / "wild" / f"faster_rcnn_proposal.{name}.npy")
            for name in ("scores", "deltas", "out_rois", "out_scores")
        )
        ours = self.regions("feat_stride: 9", scores, offsets, np.array([[600.0, 800, 1.6]]))
        assert_close(ours[0], regions)
        assert_close(ours[1], confidences.ravel())

    @pytest.mark.parametrize(("before", "after"), [(6000, 300), (40, 1000), (1000, 7)])
    def test_boxes_that_are_too_small_come_last(self, before, after):
        scores = rng.permutation(18 * 5 * 7).reshape(1, 18, 5, 7).astype(np.float32) / 1000
        offsets, image = noise(1, 36, 5, 7) * 0.3, np.array([[150.0, 210, 3, 5]])
        boxes, large = [], []
        anchors = np.array(ANCHORS.split(), float).reshape(9, 4)
        for row, column, a in itertools.product(range(5), range(7), range(9)):
            left, top, right, bottom = anchors[a] + 32 * np.array([column, row, column, row])
            dx, dy, dw, dh = offsets[0, 4 * a : 4 * a + 4, row, column]
            width, height = right - left + 1, bottom - top + 1
            x, y = left + width / 2 + dx * width, top + height / 2 + dy * height
            w, h = width * math.exp(dw), height * math.exp(dh)
            box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [209, 149, 209, 149])
            boxes.append(box)
            is_large = box[3] - box[1] + 1 >= 20 * 3 and box[2] - box[0] + 1 >= 20 * 5
            large.append(scores[0, 9 + a, row, column] if is_large else 0)
        kept = []
        for i in np.argsort(-np.array(large), kind="stable")[:before]:
            if len(kept) < after and all(iou(boxes[i], boxes[j], 1) <= 0.6 for j in kept):
                kept.append(i)
        limits = f"min_size: 20 nms_thresh: 0.6 pre_nms_topn: {before} post_nms_topn: {after}"
        regions, confidences = self.regions(f"feat_stride: 32 {limits}", scores, offsets, image)
        assert_close(regions, [[0, *boxes[i]] for i in kept])
        assert_close(confidences, [large[i] for i in kept])
        assert (before, after) != (6000, 300) or 0 < np.count_nonzero(confidences) < len(confidences)

    def test_half_a_pixel_is_rounded_up(self):
        # 23 x 23 pixels at ratio 0.5 are 33 x 16.5.
        bottoms = np.ones((1, 2, 1, 1)), np.zeros((1, 4, 1, 1)), np.array([[400.0, 400, 1]])
        layer = "type: 'Proposal' proposal_param { base_size: 23 ratio: 0.5 scale: 2 }"
        assert_close(run(layer, *bottoms)[0], [[0, 0, 0, 11 + 32.5 + 1, 11 + 16.5 + 1]])

    def test_refusals(self):
        bottoms = np.ones((1, 18, 2, 2)), np.zeros((1, 36, 2, 2)), np.array([[400.0, 400, 1]])
        with pytest.raises(UnsupportedLayer, match="needs ratio and scale"):
            run("type: 'Proposal' proposal_param { ratio: 1 }", *bottoms)
        with pytest.raises(UnsupportedLayer, match="height, width and scale"):
            self.regions("", *bottoms[:2], np.array([[400.0, 400]]))
        with pytest.raises(UnsupportedLayer, match=r"\(1, 32, 2, 2\) offsets do not fit 9 anchors"):
            self.regions("", bottoms[0], np.zeros((1, 32, 2, 2)), bottoms[2])
