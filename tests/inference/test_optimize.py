"""`optimize` on a CPU: float32 to rounding, bf16 with its own; sizes, threads, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import caffe2torch as c2t
from caffe2torch.eliding.recent import Recent
from caffe2torch.errors import NetError
from tests.places import GOLDEN

NETS = sorted(path.name for path in (GOLDEN / "fcn").iterdir())
NARROW, EVEN = (8, 9, 12, 16, 16, 20, 24), (8, 10, 12, 16, 16, 20, 24)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def alike(model: nn.Module) -> nn.Module:
    """Weights that keep the scale of what passes them, as trained ones do, and biases."""
    for name, values in model.named_parameters():
        if values.ndim == 4 and "upscore" not in name:
            nn.init.kaiming_normal_(values)
        elif values.ndim == 1:
            nn.init.normal_(values, std=5)
    return model.eval()


@pytest.mark.parametrize("name", NETS)
def test_the_outputs_are_what_caffe_computed(name: str) -> None:
    folder = GOLDEN / "fcn" / name
    fast = c2t.optimize(c2t.load(folder / "weights.caffemodel"))
    with np.load(folder / "io.npz") as caffe:
        for i in range(2):
            images = {blob: torch.from_numpy(caffe[f"{i}.in.{blob}"]) for blob in fast.inputs}
            found = fast(**images)
            found = found if isinstance(found, dict) else {fast.outputs[0]: found}
            for output in fast.outputs:
                assert relative(found[output], torch.from_numpy(caffe[f"{i}.out.{output}"])) < 2e-6


@pytest.mark.parametrize("name", ["FCN32s", "FCN8s", "FCNAlexNet"])
def test_both_precisions_at_odd_sizes_and_batches(name: str) -> None:
    model = alike(c2t.fcn_of(c2t.Architecture(name, widths=EVEN)))
    exact, rounded = c2t.optimize(model), c2t.optimize(model, precision="bf16")
    images = [torch.randn(2, 3, 97, 61) * 70, torch.randn(1, 3, 5, 130) * 70]
    found = [(exact(image), rounded(image)) for image in images]
    model.double()
    for image, (fp32, bf16) in zip(images, found, strict=True):
        with torch.no_grad():
            wanted = model(image.double())
        assert relative(fp32, wanted) < 2e-6
        assert 1e-4 < relative(bf16, wanted) < 3e-2
        assert bf16.dtype is torch.float32


def test_labels_are_the_best_classes() -> None:
    model = alike(c2t.FCN8s(7, widths=NARROW))
    image = torch.randn(2, 3, 40, 50) * 70
    with torch.no_grad():
        wanted = np.argmax(model(image).numpy(), 1)
    found = c2t.optimize(model).labels(data=image)
    assert found.dtype is torch.uint8
    assert found.shape == (2, 40, 50)
    assert (found.numpy() == wanted).mean() > 0.999
    two = c2t.fcn_of(c2t.Architecture("FCN8s", (c2t.Head("_sem", 5), c2t.Head("_geo", 3)), widths=NARROW))
    assert c2t.optimize(alike(two)).labels(image)["score_geo"].max() < 3


def test_ties_go_to_the_lower_class() -> None:
    model = c2t.FCN32s(5, widths=NARROW).eval()  # scores start at 0, all of them
    assert not c2t.optimize(model).labels(torch.randn(1, 3, 9, 9)).any()


def test_a_caffe_net_gives_its_outputs_by_name(tmp_path: Path) -> None:
    net = c2t.build(c2t.read(weights=GOLDEN / "fcn" / "voc-fcn8s" / "weights.caffemodel"))
    image = torch.randn(1, 3, 33, 20) * 70
    with torch.no_grad():
        wanted = net(data=image)
    found = c2t.optimize(net)(data=image)
    assert found.keys() == wanted.keys() == {"score"}
    assert relative(found["score"], wanted["score"].double()) < 2e-6


def test_it_keeps_the_values_that_the_model_had() -> None:
    model = alike(c2t.FCN32s(5, widths=NARROW))
    fast, image = c2t.optimize(model, size=(20, 30)), torch.randn(1, 3, 20, 30) * 70
    before = fast(image)
    nn.init.zeros_(model.conv1_1.weight)
    nn.init.zeros_(model.score_fr.bias)
    assert torch.equal(fast(image), before)


def test_threads_share_one() -> None:
    model = alike(c2t.FCN8s(5, widths=NARROW))
    fast = c2t.optimize(model)
    images = [torch.randn(1, 3, 20 + i % 5, 30) * 70 for i in range(20)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fast, images))
    with torch.no_grad():
        for image, score in zip(images, found, strict=True):
            assert relative(score, model(image).double()) < 2e-6


def test_a_bounded_number_of_sizes_is_kept() -> None:
    fast = c2t.optimize(alike(c2t.FCN32s(3, widths=(2, 2, 2, 2, 2, 2, 2))))
    for height in range(1, 24):
        fast(torch.randn(1, 3, height, 9))
    assert len(fast.nets) == 16


def test_what_was_used_last_is_kept() -> None:
    kept, made = Recent[str, str](2), []
    for key in "abacab":
        kept.of(key, lambda key=key: made.append(key) or key)
    assert made == ["a", "b", "c", "b"]


def test_refusals() -> None:
    model = alike(c2t.FCN32s(5, widths=NARROW))
    with pytest.raises(NetError, match="precision 'fp16'"):
        c2t.optimize(model, precision="fp16")
    with pytest.raises(NetError, match="backend 'tpu'"):
        c2t.optimize(model, backend="tpu")
    fast = c2t.optimize(model)
    with pytest.raises(NetError, match="takes inputs data; given: image"):
        fast(image=torch.zeros(1, 3, 9, 9))
    with pytest.raises(NetError, match=r"data is \(1, 4, 9, 9\)"):
        fast(torch.zeros(1, 4, 9, 9))
    nn.init.constant_(model.score_fr.bias, torch.nan)
    with pytest.raises(NetError, match="not finite"):
        c2t.optimize(model).labels(torch.zeros(1, 3, 9, 9))
