"""Appendix A's bounds: against FCN's own layers in torch, plain loops, and the published row."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from caffe2torch.errors import ReadError
from fcn_repro import cli
from fcn_repro.data.datasets import open_dataset
from fcn_repro.tables.bounds import FACTORS, tolerance, upper_bounds
from fcn_repro.tables.downsampling import PROTOCOLS, confusions, resized

PUBLISHED = dict(zip(FACTORS, (50.9, 73.3, 86.1, 92.8, 96.4, 98.5), strict=True))  # arXiv 1411.4038v2, App. A
MEASURED = {  # by other code, when the protocols were compared: mean IU, in %, on the 736 labels
    "bilinear": (51.53, 73.14, 86.22, 92.84, 96.45, 98.46),
    "area": (54.3, 75.3, 87.4, 93.4, 96.7, 98.6),
    "majority": (53.3, 69.7, 82.2, 90.4, 94.7, 96.8),
    "nearest": (55.4, 73.0, 86.9, 96.3, 99.8, 100.0),
}
MEASURED_PIXEL_ACCURACY = (87.55, 93.97, 97.30, 98.79, 99.45, 99.78)  # of "bilinear"


def blobs(height, width, classes, seed):
    """A label map with compact regions, void between some of them."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, classes + 1, (-(-height // 5), -(-width // 7)))
    label = np.kron(coarse, np.ones((5, 7), int))[:height, :width]
    return np.where(label == classes, 255, label).astype(np.uint8)


def by_layers(label, factor, classes):
    """Convolution with the bilinear filler, normalised by what lies inside, and the deconvolution with it."""
    height, width = label.shape
    inside = torch.from_numpy(label == np.arange(classes)[:, None, None]).double()[:, None]  # (K, 1, H, W)
    right, bottom = -width % factor, -height % factor
    one_d = 1 - (torch.arange(2 * factor).double() + 0.5 - factor).abs() / factor
    kernel = (one_d[:, None] * one_d)[None, None]

    def down(maps):
        return F.conv2d(F.pad(maps, (0, right, 0, bottom)), kernel, stride=factor, padding=factor // 2)

    cells = down(inside) / down(torch.ones_like(inside))
    return F.conv_transpose2d(cells, kernel, stride=factor, padding=factor // 2)[:, 0, :height, :width]


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 64])
@pytest.mark.parametrize(("height", "width"), [(37, 53), (64, 48), (5, 90)])
def test_bilinear_is_what_fcns_layers_do(factor, height, width):
    label = blobs(height, width, 4, seed=factor)
    kept = np.where(label == 255, 0, label).astype(np.uint8)
    maps = by_layers(kept, factor, 4)
    (back,) = resized(kept, [factor], PROTOCOLS["bilinear"])
    chosen = maps.gather(0, torch.from_numpy(back.astype(np.int64))[None])[0]
    short = (maps.amax(0) - chosen).max().item()
    assert short < 1e-12, f"the class kept falls {short:.3g} short of the largest"


@pytest.mark.parametrize("protocol", ["majority", "nearest"])
@pytest.mark.parametrize("factor", [1, 3, 4, 8])
def test_majority_and_nearest_by_loops(protocol, factor):
    label = blobs(19, 26, 3, seed=factor)
    (back,) = resized(label, [factor], PROTOCOLS[protocol])
    for top in range(0, 19, factor):
        for left in range(0, 26, factor):
            cell = label[top : top + factor, left : left + factor]
            if protocol == "nearest":
                wanted = {label[min(top + factor // 2, 18), min(left + factor // 2, 25)]}
            else:
                votes = Counter(cell.ravel().tolist())
                wanted = {k for k, count in votes.items() if count == max(votes.values())}
            assert set(back[top : top + factor, left : left + factor].ravel().tolist()) <= wanted


@pytest.mark.parametrize(
    ("protocol", "mode"), [("nearest", "nearest-exact"), ("nearest-top-left", "nearest")]
)
@pytest.mark.parametrize("factor", [2, 3, 8])
def test_each_nearest_is_the_library_function_that_its_text_names(protocol, mode, factor):
    label = np.random.default_rng(factor).integers(0, 9, (5 * factor, 7 * factor), np.uint8)
    maps = torch.from_numpy(label)[None, None].double()
    back = F.interpolate(F.interpolate(maps, (5, 7), mode=mode), label.shape, mode=mode)
    (ours,) = resized(label, [factor], PROTOCOLS[protocol])
    assert f"torch's {mode}," in PROTOCOLS[protocol].text
    assert (ours == back[0, 0].numpy()).all()
    if protocol == "nearest":
        small = Image.fromarray(label).resize((7, 5), Image.Resampling.NEAREST)
        assert (ours == np.asarray(small.resize(label.shape[::-1], Image.Resampling.NEAREST))).all()


def test_the_command_takes_every_protocol():
    assert set(cli.PROTOCOLS) == PROTOCOLS.keys()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_factor_1_changes_nothing(protocol):
    label = blobs(11, 23, 5, seed=1)
    (counts,) = confusions(label, 5, [1], PROTOCOLS[protocol])
    expected = np.bincount(label[label != 255], minlength=5)
    assert (counts == np.diag(expected)).all()


def test_void_is_background_while_resizing_and_is_never_scored():
    label = np.full((8, 8), 255, np.uint8)
    label[:, 6:] = 3  # a quarter of each cell; the rest is void
    (counts,) = confusions(label, 4, [8], PROTOCOLS["area"])
    assert counts.sum() == counts[3, 0] == 16
    (counts,) = confusions(label, 4, [8], PROTOCOLS["nearest"])
    assert counts.sum() == 0, "its one cell comes back as void, which is left out"


def test_ties_go_to_the_lower_class():
    label = np.repeat([[2, 1]], 2, axis=1).repeat(4, axis=0).astype(np.uint8)  # half 2, half 1
    (back,) = resized(label, [4], PROTOCOLS["majority"])
    assert (back == 1).all()


def test_a_factor_below_1_is_refused(tmp_path):
    with pytest.raises(ValueError, match="factor 0: expected 1 or more"):
        upper_bounds(open_dataset("shapes", tmp_path, "val"), [4, 0])


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="label 21 is not a class: expected 0 to 20 or 255"):
        confusions(np.array([[0, 21]], np.uint8), 21, [4], PROTOCOLS["bilinear"])


def label_folder(folder, *labels):
    for number, label in enumerate(labels):
        Image.fromarray(label).save(folder / f"2007_{number:06}.png")
    return folder


def test_a_bad_label_in_a_folder_is_named(tmp_path, monkeypatch):
    label_folder(tmp_path, np.zeros((4, 6), np.uint8), np.full((4, 6), 77, np.uint8))
    monkeypatch.setattr("fcn_repro.data.splits.read", lambda name: ("2007_000000", "2007_000001"))
    dataset = open_dataset("voc2012", tmp_path, "seg11valid", expected_count=2)
    with pytest.raises(ReadError, match=r"2007_000001\S*: label 77"):
        upper_bounds(dataset)


@pytest.fixture(scope="module")
def seg11valid(data):
    return open_dataset("voc2011", data / "seg11valid-labels", "seg11valid")


def test_the_published_row(seg11valid):
    bounds = upper_bounds(seg11valid)
    assert (bounds.protocol, bounds.images) == ("bilinear", 736)
    for factor, scores in bounds.scores.items():
        difference = abs(scores.percent()["mean_iu"] - PUBLISHED[factor])
        assert difference < tolerance(factor), f"factor {factor}: {difference:.2f} from the published bound"
    for name, measured in (("mean_iu", MEASURED["bilinear"]), ("pixel_accuracy", MEASURED_PIXEL_ACCURACY)):
        ours = [scores.percent()[name] for scores in bounds.scores.values()]
        assert ours == pytest.approx(measured, abs=0.005), name


@pytest.mark.parametrize("protocol", ["area", "majority", "nearest"])
def test_the_other_protocols(seg11valid, protocol):
    bounds = upper_bounds(seg11valid, [32], protocol)
    assert bounds.scores[32].percent()["mean_iu"] == pytest.approx(MEASURED[protocol][2], abs=0.051)


def test_fifty_four_images_of_a_devkit(data):
    dataset = open_dataset("voc2012", data / "voc100", "seg11valid", partial=True)
    seen = []
    bounds = upper_bounds(dataset, workers=2, progress=lambda done, total: seen.append((done, total)))
    ours = [scores.percent()["mean_iu"] for scores in bounds.scores.values()]
    assert ours == pytest.approx([40.92, 61.70, 80.87, 90.46, 95.12, 98.13], abs=0.005)
    assert seen == [(n, 54) for n in range(1, 55)]
