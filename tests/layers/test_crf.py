"""CRF-RNN's layer and its filter, against loops over points and lattice points, and against Gaussians."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from caffe2torch.errors import UnsupportedLayer
from caffe2torch.layers.forks.permutohedral import lattice
from tests.single_layer import assert_close, run

rng = np.random.default_rng(19)


def simplex(features):
    """The corners of a point's simplex, each d + 1 integers that add up to 0, and the point's shares.

    In float32, as a point on a border of simplices belongs to the one that rounding chooses.
    """
    d = len(features)
    f32 = np.float32
    unit = f32(math.sqrt(2 / 3) * (d + 1))
    scaled = [f32(f) * f32(1 / math.sqrt((i + 1) * (i + 2)) * float(unit)) for i, f in enumerate(features)]
    point = [sum(scaled[:j:-1], f32(0)) + (scaled[j] if j < d else 0) for j in range(d + 1)]
    point = [f32(x) - (f32(j) * scaled[j - 1] if j else f32(0)) for j, x in enumerate(point)]
    # The corner of remainder 0 is the nearest point whose coordinates are multiples of d + 1 and add up to 0.
    origin = [round(float(x * f32(1 / (d + 1)))) * (d + 1) for x in point]
    while sum(origin):
        down = sum(origin) > 0
        gaps = [x - f32(o) for x, o in zip(point, origin, strict=True)]
        chosen = max(i for i in range(d + 1) if gaps[i] == min(gaps)) if down else gaps.index(max(gaps))
        origin[chosen] -= (d + 1) * (1 if down else -1)
    # The others lower the coordinates with the smallest distances one after the other, and raise all by one.
    rest = [x - f32(o) for x, o in zip(point, origin, strict=True)]
    order = sorted(range(d + 1), key=lambda i: (rest[i], -i))
    corners = []
    for remainder in range(d + 1):
        lowered = set(order[:remainder])
        corners.append(tuple(o + remainder - (d + 1) * (i in lowered) for i, o in enumerate(origin)))
    matrix = np.array([*np.transpose(corners), [1] * (d + 1)], float)
    shares = np.linalg.lstsq(matrix, np.array([*point, 1]), rcond=None)[0]
    assert (shares > -1e-5).all(), "the point is not in the simplex"
    assert np.allclose(matrix @ shares, [*point, 1], atol=1e-5), "the point is not in the plane"
    return corners, shares


def filtered(features, values):
    """Values (c, n) of points with features (n, d): spread, mixed along d + 1 directions, gathered."""
    d = features.shape[1]
    simplices = [simplex(point) for point in features]
    grid = defaultdict(lambda: np.zeros(len(values)))
    for n, (corners, shares) in enumerate(simplices):
        for corner, share in zip(corners, shares, strict=True):
            grid[corner] = grid[corner] + share * values[:, n]
    for j in range(d + 1):
        nothing = np.zeros(len(values))
        mixed = {}
        for corner, value in grid.items():
            step = np.array([d if i == j else -1 for i in range(d + 1)])
            ends = [grid.get(tuple(np.array(corner) + sign * step), nothing) for sign in (1, -1)]
            mixed[corner] = value + sum(ends) / 2
        grid = mixed
    sums = [sum(s * grid[c] for c, s in zip(*one, strict=True)) for one in simplices]
    return np.transpose(sums) / (1 + 2**-d)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_filter(dimensions):
    features, values = rng.normal(0, 2, (60, dimensions)), rng.standard_normal((4, 60))
    features[:20] = features[20:40] + rng.normal(0, 0.3, (20, dimensions))
    ours = lattice(torch.tensor(features).float()).filtered(torch.tensor(values))
    assert_close(ours.numpy(), filtered(features, values))


def test_lattices_of_all_widths_have_no_neighbours_across_their_edges():
    for width in np.arange(0.5, 6, 0.5):
        features, values = rng.uniform(0, width, (40, 2)), rng.standard_normal((3, 40))
        ours = lattice(torch.tensor(features).float()).filtered(torch.tensor(values))
        assert_close(ours.numpy(), filtered(features, values))


def test_filter_is_nearly_gaussian():
    y, x = np.mgrid[:24, :30]
    features = np.stack([x.ravel(), y.ravel()], 1) / 3
    values = np.sin(features[:, :1] * 0.9).T + 2
    weights = np.exp(-((features[:, None] - features) ** 2).sum(2) / 2)
    known = lattice(torch.tensor(features).float())
    ours = known.filtered(torch.tensor(values)) / known.filtered(
        torch.ones(1, len(features), dtype=torch.double)
    )
    assert_close(ours.numpy(), values @ weights / weights.sum(0), 0.02)
    assert np.abs(values - values @ weights / weights.sum(0)).max() > 0.2


def test_filter_too_wide_for_its_numbers_is_refused():
    with pytest.raises(OverflowError, match="too large"):
        lattice(torch.full((2, 5), 1e6) * torch.tensor([[1.0], [-1.0]]))


class TestMultiStageMeanfield:
    layer = (
        "type: 'MultiStageMeanfield' multi_stage_meanfield_param "
        "{ num_iterations: 3 theta_alpha: 4 theta_beta: 60 theta_gamma: 1.5 }"
    )
    unary, start = (rng.standard_normal((1, 4, 5, 7)).astype(np.float32) for _ in range(2))
    image = rng.uniform(-120, 130, (1, 3, 5, 7)).astype(np.float32)
    spatial, bilateral, compatibility = (rng.standard_normal((1, 1, 4, 4)) for _ in range(3))

    def expected(self):
        pixels = list(itertools.product(range(5), range(7)))
        places = np.array([[x / 1.5, y / 1.5] for y, x in pixels])
        alike = np.array([[x / 4, y / 4, *self.image[0, :, y, x] / 60] for y, x in pixels])
        ones = np.ones((1, 35))
        scores = self.start[0].reshape(4, 35).astype(float)
        for _ in range(3):
            labels = np.exp(scores) / np.exp(scores).sum(0)
            near = filtered(places, labels) / filtered(places, ones)
            similar = filtered(alike, labels) / filtered(alike, ones)
            heard = self.spatial[0, 0] @ near + self.bilateral[0, 0] @ similar
            scores = self.unary[0].reshape(4, 35) - self.compatibility[0, 0] @ heard
        return scores.reshape(1, 4, 5, 7)

    def test_inference(self):
        blobs = self.spatial, self.bilateral, self.compatibility
        (y,) = run(self.layer, self.unary, self.start, self.image, blobs=blobs)
        assert_close(y, self.expected())

    @pytest.mark.parametrize(
        ("shapes", "names"),
        [
            ([(2, 4, 5, 7), (2, 4, 5, 7), (2, 3, 5, 7)], "one image"),
            ([(1, 4, 5, 7), (1, 4, 5, 7), (1, 3, 5, 8)], "of its size"),
            ([(1, 4, 5, 7), (1, 4, 5, 7), (1, 1, 5, 7)], "3 channels"),
        ],
    )
    def test_refusals_of_shapes(self, shapes, names):
        with pytest.raises(UnsupportedLayer, match=names):
            run(self.layer, *(np.ones(shape) for shape in shapes))

    def test_refusals(self):
        bottoms = self.unary, self.start, self.image
        with pytest.raises(UnsupportedLayer, match="theta_alpha"):
            run("type: 'MultiStageMeanfield' multi_stage_meanfield_param { num_iterations: 3 }", *bottoms)
        with pytest.raises(UnsupportedLayer, match="3 bottoms"):
            run(self.layer, *bottoms[:2])
