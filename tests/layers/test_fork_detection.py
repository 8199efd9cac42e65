"""Detectors' layers (SSD, Faster R-CNN, R-FCN) against loops written from the forks' definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from caffe2torch.errors import UnsupportedLayer
from tests.boxes import iou
from tests.single_layer import assert_close, run

rng = np.random.default_rng(11)


def noise(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("order", "axes"),
    [([0, 2, 3, 1], (0, 2, 3, 1)), ([3, 1], (3, 1, 0, 2)), ([], (0, 1, 2, 3)), ([2], (2, 0, 1, 3))],
)
def test_permute(order, axes):
    x = noise(2, 3, 4, 5)
    (y,) = run(f"type: 'Permute' permute_param {{ {' '.join(f'order: {axis}' for axis in order)} }}", x)
    np.testing.assert_array_equal(y, x.transpose(axes))


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_normalize(across, shared):
    x, weight = noise(2, 3, 4, 5), noise(*(() if shared else (3,)))
    y = np.empty_like(x)
    for n, c, i, j in np.ndindex(*x.shape):
        length = math.sqrt((x[n] ** 2 if across else x[n, :, i, j] ** 2).sum() + 0.5)
        y[n, c, i, j] = x[n, c, i, j] / length * (weight if shared else weight[c])
    param = f"across_spatial: {str(across).lower()} channel_shared: {str(shared).lower()} eps: 0.5"
    assert_close(run(f"type: 'Normalize' norm_param {{ {param} }}", x, blobs=[weight])[0], y)


class TestPriorBox:
    features, image = noise(2, 3, 2, 4), noise(2, 3, 60, 80)

    def priors(self, sizes, image=(60, 80), step=None, offset=0.5):
        """(height, width) of each box -> the priors of every pixel."""
        step = step or (image[0] / 2, image[1] / 4)
        rows = []
        for row, column, (height, width) in itertools.product(range(2), range(4), sizes):
            y, x = (row + offset) * step[0], (column + offset) * step[1]
            corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
            rows.append([value / image[1 - axis % 2] for axis, value in enumerate(corners)])
        return np.array(rows)

    def boxes(self, param, bottoms=2):
        inputs = [self.features, self.image][:bottoms]
        (y,) = run(f"type: 'PriorBox' prior_box_param {{ {param} }}", *inputs)
        assert y.shape[:2] == (1, 2)
        return y[0, 0].reshape(-1, 4), y[0, 1].reshape(-1, 4)

    def test_sizes_and_ratios(self):
        boxes, variances = self.boxes("min_size: 8 max_size: 18 aspect_ratio: 4 aspect_ratio: 1")
        assert_close(boxes, self.priors([(8, 8), (12, 12), (4, 16), (16, 4)]))
        np.testing.assert_array_equal(variances, np.full((32, 4), np.float32(0.1)))

    def test_several_sizes_each_with_its_ratios(self):
        boxes, _ = self.boxes("min_size: 9 min_size: 16 aspect_ratio: 4 flip: false")
        assert_close(boxes, self.priors([(9, 9), (4.5, 18), (16, 16), (8, 32)]))

    def test_sizes_lose_their_fractions(self):
        boxes, _ = self.boxes("min_size: 8.9 max_size: 18.7")
        assert_close(boxes, self.priors([(8, 8), (12, 12)]))

    def test_the_inverse_of_a_ratio_may_be_there_twice(self):
        boxes, _ = self.boxes("min_size: 8 aspect_ratio: 4 aspect_ratio: 0.25 aspect_ratio: 4")
        assert_close(boxes, self.priors([(8, 8), (4, 16), (16, 4)]))

    def test_clip_steps_and_offset(self):
        boxes, _ = self.boxes("min_size: 50 clip: true step_h: 20 step_w: 15 offset: 0.25")
        assert_close(boxes, self.priors([(50, 50)], step=(20, 15), offset=0.25).clip(0, 1))
        boxes, _ = self.boxes("min_size: 5 step: 7")
        assert_close(boxes, self.priors([(5, 5)], step=(7, 7)))

    def test_image_from_the_file(self):
        for bottoms in (1, 2):
            boxes, _ = self.boxes("min_size: 8 img_h: 30 img_w: 50", bottoms)
            assert_close(boxes, self.priors([(8, 8)], (30, 50)))
            boxes, _ = self.boxes("min_size: 8 img_size: 40", bottoms)
            assert_close(boxes, self.priors([(8, 8)], (40, 40)))

    def test_variances(self):
        each = "variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4"
        _, variances = self.boxes(f"min_size: 8 {each}")
        assert_close(variances, np.tile([0.1, 0.2, 0.3, 0.4], (8, 1)))
        _, variances = self.boxes("min_size: 8 variance: 0.7")
        assert_close(variances, np.full((8, 4), 0.7))

    def test_boxes_by_width_and_height(self):
        for layer_type, clip in (("PriorBoxClustered", ""), ("PriorBox", "clip: false")):
            sizes = "width: 9.4 height: 15 width: 25.1 height: 39.6"
            (y,) = run(
                f"type: '{layer_type}' prior_box_param {{ {sizes} step: 16 {clip} }}",
                self.features,
                self.image,
            )
            assert_close(y[0, 0].reshape(-1, 4), self.priors([(15, 9.4), (39.6, 25.1)], step=(16, 16)))

    def test_two_offsets_for_each_box(self):
        boxes, _ = self.boxes(
            "min_size: 8 max_size: 18 clip: false offset_h: 0.5 offset_h: 1 " + 2 * "offset_w: 0.25 "
        )
        expected = []
        for row, column, size, down in itertools.product(range(2), range(4), (8, 12), (0.5, 1)):
            y, x = (row + down) * 30, (column + 0.25) * 20
            expected.append(
                [(x - size / 2) / 80, (y - size / 2) / 60, (x + size / 2) / 80, (y + size / 2) / 60]
            )
        assert_close(boxes, expected)

    @pytest.mark.parametrize(
        ("param", "reason"),
        [
            ("min_size: 8 width: 3 height: 4 clip: true", "not both"),
            ("width: 3 clip: true", "as many width as height"),
            ("width: 3 height: 0 clip: true", "all positive"),
            ("width: 3 height: 4", "needs clip"),
            ("min_size: 8 offset_h: 1 offset_w: 1", "needs clip"),
            ("min_size: 8 clip: true offset_h: 1", "pairs of offset_h and offset_w"),
            ("min_size: 8 clip: true offset_h: 1 offset_w: 1 offset: 0.5", "takes offset, or"),
        ],
    )
    def test_refusals(self, param, reason):
        with pytest.raises(UnsupportedLayer, match=reason):
            self.boxes(param)


class TestDetectionOutput:
    """Two images, 30 priors, 4 classes, of which the first is the background."""

    def setup_method(self):
        generator = np.random.default_rng(3)
        low = generator.uniform(0, 0.6, (30, 2))
        self.priors = np.concatenate([low, low + generator.uniform(0.1, 0.4, (30, 2))], 1)
        self.variances = generator.uniform(0.1, 0.3, (30, 4))
        self.confidences = generator.uniform(0, 1, (2, 30, 4)).astype(np.float32)
        self.locations = generator.normal(0, 0.5, (2, 30, 4, 4)).astype(np.float32)

    def decoded(self, location, prior, variance, code, encoded):
        scale = np.ones(4) if encoded else variance
        width, height = prior[2] - prior[0], prior[3] - prior[1]
        if code == "CORNER":
            return prior + scale * location
        if code == "CORNER_SIZE":
            return prior + scale * location * [width, height, width, height]
        x = (prior[0] + prior[2]) / 2 + scale[0] * location[0] * width
        y = (prior[1] + prior[3]) / 2 + scale[1] * location[1] * height
        w, h = width * math.exp(scale[2] * location[2]), height * math.exp(scale[3] * location[3])
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])

    def suppressed(self, boxes, scores, least, top, threshold, eta):
        candidates = [i for i in np.argsort(-scores, kind="stable") if scores[i] > least][:top]
        kept = []
        for i in candidates:
            if all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
                kept.append(i)
                threshold *= eta if threshold > 0.5 else 1
        return kept

    def expected(
        self, *, code, shared=True, encoded=False, least=-1.0, top=30, threshold=0.3, eta=1.0, keep=-1
    ):
        rows = []
        for image in range(2):
            found = []
            for label in range(1, 4):
                offsets = self.locations[image, :, 0 if shared else label]
                each = zip(offsets, self.priors, self.variances, strict=True)
                boxes = [self.decoded(*one, code, encoded) for one in each]
                scores = self.confidences[image, :, label]
                kept = self.suppressed(boxes, scores, least, top, threshold, eta)
                found += [(image, label, scores[i], *boxes[i]) for i in kept]
            if -1 < keep < len(found):
                best = sorted(found, key=lambda row: -row[2])[:keep]
                found = [row for row in found if row in best]
            rows += found
        return np.array(rows)

    def detect(self, param, shared=True, more=()):
        locations = self.locations[:, :, :1] if shared else self.locations
        priors = np.stack([self.priors, self.variances]).reshape(1, 2, -1)
        bottoms = locations.reshape(2, -1), self.confidences.reshape(2, -1), priors
        layer = f"num_classes: 4 share_location: {str(shared).lower()} {param}"
        (y,) = run(f"type: 'DetectionOutput' detection_output_param {{ {layer} }}", *bottoms, *more)
        assert y.shape[:2] == (1, 1)
        return y[0, 0]

    @pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
    @pytest.mark.parametrize("encoded", [False, True])
    @pytest.mark.parametrize("shared", [True, False])
    def test_codes(self, code, encoded, shared):
        param = f"code_type: {code} variance_encoded_in_target: {str(encoded).lower()}"
        rows = self.detect(param, shared)
        assert_close(rows, self.expected(code=code, encoded=encoded, shared=shared))
        assert 30 < len(rows) < 2 * 3 * 30

    @pytest.mark.parametrize(
        ("param", "settings"),
        [
            ("confidence_threshold: 0.6", {"least": 0.6}),
            ("nms_param { nms_threshold: 0.1 }", {"threshold": 0.1}),
            ("nms_param { nms_threshold: 0.9 eta: 0.8 }", {"threshold": 0.9, "eta": 0.8}),
            ("nms_param { top_k: 7 }", {"top": 7}),
            ("keep_top_k: 9", {"keep": 9}),
            ("keep_top_k: 1000", {}),
        ],
    )
    def test_what_stays(self, param, settings):
        rows = self.detect(f"code_type: CENTER_SIZE {param}")
        assert_close(rows, self.expected(code="CENTER_SIZE", **settings))
        if settings:
            assert len(rows) != len(self.expected(code="CENTER_SIZE"))

    def test_another_background(self):
        labels = self.detect("background_label_id: 2")[:, 1]
        assert set(labels) == {0, 1, 3}

    @pytest.mark.parametrize("bottoms", [4, 5])
    def test_refinedets_easy_and_moved_priors(self, bottoms):
        generator = np.random.default_rng(5)
        objects = generator.uniform(0, 1, (2, 30, 2)).astype(np.float32)
        moves = generator.normal(0, 0.5, (2, 30, 4)).astype(np.float32)
        rows = []
        for image in range(2):
            priors, scores = [], self.confidences[image].copy()
            for i, prior in enumerate(self.priors):
                moved = self.decoded(moves[image, i], prior, self.variances[i], "CENTER_SIZE", encoded=False)
                priors.append(moved if bottoms == 5 else prior)
                if objects[image, i, 1] < 0.4:
                    scores[i] = [1, 0, 0, 0]
            each = zip(self.locations[image, :, 0], priors, self.variances, strict=True)
            boxes = [self.decoded(*one, "CENTER_SIZE", encoded=False) for one in each]
            for label in range(1, 4):
                kept = self.suppressed(boxes, scores[:, label], 0.1, 30, 0.3, 1)
                rows += [(image, label, scores[i, label], *boxes[i]) for i in kept]
        more = [objects.reshape(2, -1), moves.reshape(2, -1)][: bottoms - 3]
        param = "code_type: CENTER_SIZE confidence_threshold: 0.1 objectness_score: 0.4"
        assert_close(self.detect(param, more=more), rows)

    def test_a_fourth_bottom_is_an_image_unless_the_layer_is_refinedets(self):
        objects = [np.zeros((2, 60))]
        assert_close(self.detect("", more=objects), self.detect(""))
        assert not np.allclose(
            self.detect("objectness_score: 0.1", more=objects)[:, 2].max(), self.detect("")[:, 2].max()
        )

    def test_nothing_found(self):
        rows = self.detect("confidence_threshold: 2")
        np.testing.assert_array_equal(rows, [[0, *[-1] * 6], [1, *[-1] * 6]])

    def test_nothing_found_in_one_image(self):
        self.confidences[0] = 0
        assert set(self.detect("confidence_threshold: 0.5")[:, 0]) == {1}


def rounded(x):
    """C's round."""
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


REGIONS = np.array(
    [
        [0, 0, 0, 31, 23],
        [1, 4, 6, 17, 21],
        [1, 12.4, 2.6, 13, 3],  # less than a pixel of the features
        [0, -20, -9, 9, 8],  # partly outside
        [1, 60, 50, 90, 70],  # wholly outside
        [0, 20, 12, 6, 4],  # ends before it begins
    ]
)


def test_roi_pooling():
    x = noise(2, 3, 12, 16)
    expected = np.zeros((6, 3, 3, 2))
    for r, (image, *corners) in enumerate(REGIONS):
        left, top, right, bottom = (rounded(corner * 0.5) for corner in corners)
        height, width = max(bottom - top + 1, 1) / 3, max(right - left + 1, 1) / 2
        for i, j in np.ndindex(3, 2):
            rows = range(max(math.floor(i * height) + top, 0), min(math.ceil((i + 1) * height) + top, 12))
            columns = range(max(math.floor(j * width) + left, 0), min(math.ceil((j + 1) * width) + left, 16))
            values = [x[int(image), :, row, column] for row in rows for column in columns]
            expected[r, :, i, j] = np.max(values, 0) if values else 0
    (y,) = run(
        "type: 'ROIPooling' roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }", x, REGIONS
    )
    assert_close(y, expected)
    assert not y[4].any()


def test_no_region_at_all():
    x = np.ones((1, 2, 5, 7), np.float32)
    layer = "type: 'ROIPooling' roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }"
    (top,) = run(layer, x, np.zeros((0, 5), np.float32))
    assert top.shape == (0, 2, 3, 2)


def test_psroi_pooling():
    x = noise(2, 18, 12, 16)  # 2 channels of the top, 3 x 3 parts
    expected = np.zeros((6, 2, 3, 3))
    for r, (image, *corners) in enumerate(REGIONS):
        left, top = rounded(corners[0]) * 0.5, rounded(corners[1]) * 0.5
        right, bottom = (rounded(corners[2]) + 1) * 0.5, (rounded(corners[3]) + 1) * 0.5
        height, width = max(bottom - top, 0.1) / 3, max(right - left, 0.1) / 3
        for c, i, j in np.ndindex(2, 3, 3):
            rows = range(max(math.floor(i * height + top), 0), min(math.ceil((i + 1) * height + top), 12))
            columns = range(max(math.floor(j * width + left), 0), min(math.ceil((j + 1) * width + left), 16))
            values = [x[int(image), 9 * c + 3 * i + j, row, column] for row in rows for column in columns]
            expected[r, c, i, j] = np.mean(values) if values else 0
    layer = "type: 'PSROIPooling' psroi_pooling_param { spatial_scale: 0.5 output_dim: 2 group_size: 3 }"
    (y,) = run(layer, x, REGIONS)
    assert_close(y, expected)
    assert np.count_nonzero(y[4]) == 0
