"""VGG-16 with torchvision's keys: whose images it was trained on, by evidence, or asked for.

`vgg_from_caffe_pth` holds one narrow VGG-16 of Caffe's with the keys that two published files have, and what
Caffe computed with it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import caffe2torch as c2t
from caffe2torch.cli.main import main
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.net import Net
from caffe2torch.net.preprocessing import preprocessing
from caffe2torch.weights import TRAINED_ON
from caffe2torch.weights.trained_on import named
from tests.places import SHARED
from tests.weights.test_vgg16 import Torchvision

MEANS = {  # BGR
    "torchvision": (103.53, 116.28, 123.675),
    "caffe": (104.00699, 116.66877, 122.67892),
    "caffe-rgb": (0.40784 * 255, 0.45882 * 255, 0.48235 * 255),
}
# Of conv1_1 of Caffe's VGG-16, kernels 0 to 2 at the upper left, B, G and R; keras.applications prints them.
CAFFES = [[0.429470569, 0.550379455, 0.480015397], [0.117273867, 0.0208774377, -0.172696680]]
CAFFES += [[0.0340129584, 0.0988311544, 0.0375577137]]


@pytest.fixture
def case(golden: Path) -> Path:
    return golden / "reports" / "vgg_from_caffe_pth"


def state(deviation: float = 0.2) -> dict[str, Tensor]:
    """A narrow VGG-16 of torchvision's, with that deviation of its conv1_1's weights."""
    torch.manual_seed(2)
    tensors: dict[str, Tensor] = Torchvision().state_dict()
    weight = tensors["features.0.weight"]
    weight *= deviation / weight.std(correction=0)
    return tensors


def with_caffes_kernels(rgb: bool = False, drift: float = 0.0) -> dict[str, Tensor]:
    tensors = state()
    noise = drift * torch.randn(3, 3, generator=torch.Generator().manual_seed(4))
    tensors["features.0.weight"][:3, :, 0, 0] = (torch.tensor(CAFFES) + noise).flip(1)
    if not rgb:
        tensors["features.0.weight"] = tensors["features.0.weight"].flip(1)
    return tensors


def kernel(net: Net) -> np.ndarray:
    layer = next(layer for layer in net.layers if layer.name == "conv1_1")
    return layer.blobs[0].read().reshape(-1, 3, 3, 3)


def note(net: Net) -> str:
    return next((note for note in net.notes if note.startswith("taken as trained on")), "")


def mean(net: Net) -> tuple[float, ...]:
    return preprocessing(net)["data"].mean


@pytest.mark.parametrize("name", ["vgg16_from_caffe.pth", "vgg16-00b39a1b.pth"])
@pytest.mark.parametrize("trained_on", [None, "caffe"])
def test_caffes_weights_with_torchvisions_keys_give_caffes_numbers(
    case: Path, name: str, trained_on: str | None
) -> None:
    net = c2t.vgg16_from(case / name, trained_on=trained_on)
    stored = torch.load(case / name, weights_only=True)["features.0.weight"].numpy()
    np.testing.assert_array_equal(kernel(net), stored)
    assert mean(net) == pytest.approx(MEANS["caffe"])
    known = np.load(case / "vgg_from_caffe.npz")
    with torch.no_grad():
        found = c2t.build(net).every_blob(data=torch.from_numpy(known["in.data"]))["fc8"].numpy()
    wanted = known["out.fc8"]
    assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted)


@pytest.mark.parametrize(
    ("tensors", "images", "evidence"),
    [
        (state(0.06), "torchvision", "a standard deviation of 0.06, as for normalized images"),
        (state(0.009), "caffe", "a standard deviation of 0.009, as for images from 0 to 255"),
        (with_caffes_kernels(), "caffe", "its conv1_1 is that of Caffe's VGG-16"),
        (with_caffes_kernels(drift=0.02), "caffe", "its conv1_1 is that of Caffe's VGG-16"),
        (with_caffes_kernels(rgb=True), "caffe-rgb", "its conv1_1 is that of Caffe's VGG-16"),
    ],
    ids=["large", "small", "Caffe's", "Caffe's fine-tuned", "Caffe's in RGB"],
)
def test_conv1_1_tells(tensors: dict[str, Tensor], images: str, evidence: str) -> None:
    net = c2t.vgg16_from(tensors)
    assert evidence in note(net)
    assert note(net).startswith(f"taken as trained on {images} images: ")
    assert mean(net) == pytest.approx(MEANS[images])
    scales = np.array([0.225, 0.224, 0.229]) * 255 if images == "torchvision" else np.ones(3)
    stored = tensors["features.0.weight"].numpy()
    wanted = (stored if images == "caffe" else stored[:, ::-1]) / scales[:, None, None]
    np.testing.assert_allclose(kernel(net), wanted, rtol=1e-6)


def test_a_fine_tuned_net_of_caffes_is_known_by_its_values() -> None:
    """HED's trunk, which began as Caffe's VGG-16."""
    path = SHARED / "reference" / "weights" / "vgg16-trunk-hed.caffemodel"
    if not path.is_file():
        pytest.skip(f"no fine-tuned VGG-16 at {path}")
    trained = torch.from_numpy(kernel(c2t.read(weights=path)).copy())
    for weight, images in ((trained, "caffe"), (trained.flip(1), "caffe-rgb")):
        tensors = state()
        tensors["features.0.weight"][:] = weight[:4]
        assert note(c2t.vgg16_from(tensors)).startswith(f"taken as trained on {images} images: ")


def test_a_classifier_of_nan_is_torchvisions_features() -> None:
    tensors = state()
    for key, tensor in tensors.items():
        if key.startswith("classifier"):
            tensor[:] = float("nan")
    net = c2t.vgg16_from(tensors)
    assert note(net).startswith("taken as trained on caffe-rgb images: its classifier is NaN")
    assert "fc6, fc7 and fc8 left out: they hold nothing but NaN" in net.notes
    assert [layer.name for layer in net.layers][-1] == "pool5"

    # As torchvision documents it: RGB, 0 to 1, less the mean, by 1/255.
    rgb = np.random.default_rng(7).integers(0, 256, (33, 41, 3)).astype(np.float64)
    seen = (rgb / 255 - (0.48235, 0.45882, 0.40784)) * 255
    weight, bias = tensors["features.0.weight"].double(), tensors["features.0.bias"].double()
    wanted = F.relu(F.conv2d(torch.from_numpy(seen.transpose(2, 0, 1)[None]), weight, bias, padding=1))
    ours = torch.from_numpy((rgb[:, :, ::-1] - MEANS["caffe-rgb"]).transpose(2, 0, 1)[None].copy())
    with torch.no_grad():
        found = c2t.build(net).double().every_blob(data=ours)["conv1_1"]
    assert float((found - wanted).norm() / wanted.norm()) < 1e-6


def test_where_the_evidence_is_thin_it_asks() -> None:
    tensors = state(0.025)
    with pytest.raises(
        WeightsError,
        match=r"may have been trained on either kind of images.* deviation of 0.025.* --trained-on",
    ):
        c2t.vgg16_from(tensors)
    assert mean(c2t.vgg16_from(tensors, trained_on="caffe-rgb")) == pytest.approx(MEANS["caffe-rgb"])


@pytest.mark.parametrize("images", MEANS)
def test_what_is_asked_for_beats_the_evidence(images: str) -> None:
    net = c2t.vgg16_from(with_caffes_kernels(), trained_on=images)
    assert mean(net) == pytest.approx(MEANS[images])
    assert note(net) == ""
    with pytest.raises(NetError, match="trained_on is 'keras'; it can be torchvision, caffe, caffe-rgb"):
        c2t.vgg16_from(state(), trained_on="keras")


def test_the_command_asks_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(state(0.025), "thin.pth")
    assert main(["thin.pth"]) == 1
    assert capsys.readouterr().err.startswith(
        "fcn-convert: thin.pth: may have been trained on either kind of images"
    )
    assert main(["thin.pth", "--trained-on", "caffe", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["preprocessing"]["data"]["mean"] == pytest.approx(MEANS["caffe"])
    assert facts["notes"] == ["conv1_1 is as it was: it took BGR from 0 to 255"]
    assert main(["thin.pth", "--trained-on", "caffe", "-o", "thin.pt"]) == 0
    out = capsys.readouterr().out
    assert "c2t.vgg16_from('thin.pth', trained_on='caffe')" in out
    c2t.export(c2t.vgg16_from(state(0.025), trained_on="caffe"), "a.caffemodel", check=False)
    assert main(["a.caffemodel", "--trained-on", "caffe"]) == 2
    assert "--trained-on is for weights with torchvision's keys" in capsys.readouterr().err
    assert main(["a.caffemodel", "--diff", "thin.pth", "--trained-on", "caffe"]) == 0


@pytest.mark.parametrize("name", TRAINED_ON)
def test_each_name_is_known(name: str) -> None:
    assert named(name).name == name
