"""YOLO's detections against loops written from MobileNet-YOLO's definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caffe2torch.errors import UnsupportedLayer
from tests.single_layer import assert_close, run

CLASSES = 3
BIASES = [10, 14, 23, 27, 37, 58, 81, 82]
"""Widths and heights of four anchors."""


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1.3, shape).astype(np.float32)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def fields(**values: object) -> str:
    each = ((name, value if isinstance(value, list) else [value]) for name, value in values.items())
    return " ".join(f"{name}: {one}" for name, several in each for one in several)


def box(numbers, row, column, map_size, anchor, unit):
    """Centre, width and height of one box, from an anchor measured as the `unit` (height, width) is."""
    x = (column + sigmoid(numbers[0])) / map_size[1]
    y = (row + sigmoid(numbers[1])) / map_size[0]
    return x, y, math.exp(numbers[2]) * anchor[0] / unit[1], math.exp(numbers[3]) * anchor[1] / unit[0]


def iou(a, b):
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    shared = width * height if width > 0 and height > 0 else 0
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def rows(found, threshold):
    """What stays of (score, label, box), best first, as the layer's rows."""
    found = sorted(found, key=lambda one: -one[0])
    kept: list = []
    for one in found:
        if all(iou(one[2], other[2]) < threshold for other in kept):
            kept.append(one)
    corners = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for _, _, (x, y, w, h) in kept]
    both = zip(kept, corners, strict=True)
    return np.array([(0, label + 1, score, *corner) for (score, label, _), corner in both])


class TestYolov3:
    """Two maps of two anchors each, the second finer than the first."""

    maps = noise(1, 1, 2 * 8, 3, 4), noise(2, 1, 2 * 8, 6, 8)
    mask, scales = [2, 3, 0, 1], [32, 16]

    def found(self, threshold):
        for position, (x, scale) in enumerate(zip(self.maps, self.scales, strict=True)):
            height, width = x.shape[2:]
            for row, column, anchor in np.ndindex(height, width, 2):
                numbers = x[0, anchor * 8 : anchor * 8 + 8, row, column]
                index = self.mask[2 * position + anchor]
                sizes = BIASES[2 * index], BIASES[2 * index + 1]
                placed = box(numbers, row, column, (height, width), sizes, (height * scale, width * scale))
                for label in range(CLASSES):
                    score = sigmoid(numbers[4]) * sigmoid(numbers[5 + label])
                    if score > threshold:
                        yield score, label, placed

    def detect(self, *maps, **given):
        settings = {"num_classes": CLASSES, "num_box": 2, "biases": BIASES, "mask": self.mask}
        settings |= {"anchors_scale": self.scales, "mask_group_num": 2} | given
        layer = f"type: 'Yolov3DetectionOutput' yolov3_detection_output_param {{ {fields(**settings)} }}"
        (y,) = run(layer, *(maps or self.maps))
        assert y.shape[:2] == (1, 1)
        return y[0, 0]

    @pytest.mark.parametrize(("confidence", "overlap"), [(0.01, 0.45), (0.3, 0.45), (0.2, 0.7)])
    def test_boxes(self, confidence, overlap):
        found = self.detect(confidence_threshold=confidence, nms_threshold=overlap)
        expected = rows(list(self.found(confidence)), overlap)
        assert_close(found, expected)
        assert 10 < len(expected) < len(list(self.found(confidence)))

    def test_defaults(self):
        assert_close(self.detect(), rows(list(self.found(0.01)), 0.45))

    def test_a_box_as_likely_as_the_threshold_is_not_one(self):
        x = np.zeros((1, 8, 1, 1), np.float32)  # every score is 0.25
        one = {"num_box": 1, "mask": [0], "anchors_scale": [32], "mask_group_num": 1}
        assert len(self.detect(x, **one, confidence_threshold=0.24)) == 1
        np.testing.assert_array_equal(
            self.detect(x, **one, confidence_threshold=0.25), [[0, -1, -1, -1, -1, -1, -1]]
        )

    def test_boxes_that_overlap_by_the_threshold_itself_suppress_each_other(self):
        x = np.zeros((1, 16, 1, 1), np.float32)
        x[0, 5], x[0, 8 + 5] = 2, 1  # the second anchor is twice as high: they share half
        two = {"num_box": 2, "mask": [0, 1], "anchors_scale": [32], "mask_group_num": 1}
        two |= {"biases": [16, 8, 16, 16], "confidence_threshold": 0.3}
        assert len(self.detect(x, **two, nms_threshold=0.5)) == 1
        assert len(self.detect(x, **two, nms_threshold=0.51)) == 2

    def test_refusals(self):
        with pytest.raises(UnsupportedLayer, match="gaussian_box"):
            self.detect(gaussian_box="true")
        with pytest.raises(UnsupportedLayer, match=r"mask_group_num bottoms; has 1"):
            self.detect(self.maps[0])
        with pytest.raises(UnsupportedLayer, match="mask"):
            self.detect(mask=[0, 1, 2])
        with pytest.raises(UnsupportedLayer, match="not among the 4"):
            self.detect(mask=[0, 1, 2, 4])
        with pytest.raises(UnsupportedLayer, match=r"it has 3 numbers"):
            self.detect(biases=[1, 2, 3])
        with pytest.raises(UnsupportedLayer, match=r"\(1, 15, 3, 4\).*\(1, 2 x 8, h, w\)"):
            self.detect(self.maps[0][:, :15], self.maps[1])
        with pytest.raises(UnsupportedLayer, match=r"several images.*has 2"):
            self.detect(*(np.concatenate([x, x]) for x in self.maps))


class TestYolov2:
    maps = noise(3, 1, 2 * 8, 5, 5), noise(4, 1, 2 * 8, 3, 3)
    biases = (1.5, 0.8, 2.5, 3)

    def found(self, threshold, maps):
        for x in maps:
            side = x.shape[2]
            for row, column, anchor in np.ndindex(side, side, 2):
                numbers = x[0, anchor * 8 : anchor * 8 + 8, row, column].astype(np.float64)
                sizes = self.biases[2 * anchor : 2 * anchor + 2]
                each = np.exp(numbers[5:]) / np.exp(numbers[5:]).sum()
                score = sigmoid(numbers[4]) * each.max()
                if score >= threshold:
                    yield score, each.argmax(), box(numbers, row, column, (side, side), sizes, (side, side))

    def detect(self, *maps, **given):
        settings = {"num_classes": CLASSES, "num_box": 2, "biases": list(self.biases)} | given
        layer = f"type: 'YoloDetectionOutput' yolo_detection_output_param {{ {fields(**settings)} }}"
        return run(layer, *maps)[0][0, 0]

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize(("confidence", "overlap"), [(0.01, 0.45), (0.3, 0.2)])
    def test_boxes(self, count, confidence, overlap):
        maps = self.maps[:count]
        expected = rows(list(self.found(confidence, maps)), overlap)
        assert_close(self.detect(*maps, confidence_threshold=confidence, nms_threshold=overlap), expected)
        assert 5 < len(expected) < len(list(self.found(confidence, maps)))

    def test_a_box_as_likely_as_the_threshold_is_one(self):
        x = np.zeros((1, 7, 1, 1), np.float32)  # two classes, each 0.5 x 0.5
        one = {"num_box": 1, "biases": [1, 1], "num_classes": 2}
        assert self.detect(x, **one, confidence_threshold=0.25)[0, 1:3].tolist() == [1, 0.25]

    def test_refusals(self):
        for field in ("visualize: true", "visualize_threshold: 0.3", "ssd_format: false"):
            name, value = field.split(": ")
            with pytest.raises(UnsupportedLayer, match=f"{name}: of Intel's Caffe"):
                self.detect(self.maps[0], **{name: value})
        with pytest.raises(UnsupportedLayer, match=r"square maps, its bottom is 5 x 4"):
            self.detect(self.maps[0][..., :4])
        with pytest.raises(UnsupportedLayer, match="two biases for each of 2 boxes, has 2"):
            self.detect(self.maps[0], biases=[1, 2])
