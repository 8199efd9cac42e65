"""`optimize` on a CPU: float32 to rounding, bf16 with its own; sizes, threads, and what is refused."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import caffe2torch as c2t
from caffe2torch.eliding.recent import Recent
from caffe2torch.errors import NetError
from caffe2torch.inference import bounds, packed, passes
from caffe2torch.writing.model import model_of
from tests.nets import net_of
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


@pytest.mark.parametrize("name", ["voc-fcn8s", "siftflow-fcn8s"])
def test_a_file_gives_what_its_model_gives(name: str) -> None:
    path = GOLDEN / "fcn" / name / "weights.caffemodel"
    direct, through = c2t.optimize(path), c2t.optimize(c2t.load(path))
    image = torch.randn(1, 3, 40, 31) * 70
    found, wanted = direct(image), through(image)
    assert type(found) is type(wanted)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert direct.preprocessing == through.preprocessing


def test_neither_the_model_nor_its_file_is_kept(tmp_path: Path) -> None:
    model = alike(c2t.FCN8s(5, widths=NARROW))
    path = tmp_path / "net.safetensors"
    c2t.export(model, path, check=False)
    weight = weakref.ref(model.fc6.weight)
    fast, direct = c2t.optimize(model), c2t.optimize(path)
    del model
    gc.collect()
    assert weight() is None
    if (maps := Path("/proc/self/maps")).is_file():
        assert path.name not in maps.read_text()
    image = torch.randn(1, 3, 9, 9)
    assert torch.equal(fast(image), direct(image))


def test_weights_that_are_packed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = alike(c2t.FCN32s(5, widths=NARROW))
    image = torch.randn(2, 3, 20, 30) * 70
    with torch.no_grad():
        wanted = model.double()(image.double())
    monkeypatch.setattr(packed, "PIECE", 1)
    monkeypatch.setattr(packed, "_CHANNELS", 7)  # of 20, in fc6
    fast = c2t.optimize(model.float())
    assert len(fast.kernels["fc6"].pieces) == 3
    assert relative(fast(image), wanted) < 2e-6


def test_kernels_of_48_channels_on_few_pixels() -> None:
    """oneDNN wants these weights in another layout."""
    model = alike(c2t.FCN32s(5, widths=(8, 8, 16, 32, 48, 48, 48)))
    fast = c2t.optimize(model)
    images = [torch.randn(1, 3, *size) * 70 for size in ((9, 200), (150, 150), (40, 30))]
    found = [fast(image) for image in images]
    assert len(fast.kernels["fc6"].small)
    model.double()
    with torch.no_grad():
        for image, score in zip(images, found, strict=True):
            assert relative(score, model(image.double())) < 2e-6


def test_large_images_of_a_batch_run_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = alike(c2t.FCN8s(5, widths=NARROW))
    fast, images = c2t.optimize(model), torch.randn(3, 3, 20, 31) * 70
    together = fast(images)
    monkeypatch.setattr(passes, "ALONE", 0)
    found = fast(images)
    for image, score in zip(images, found, strict=True):
        assert torch.equal(score[None], fast(image[None]))
    assert relative(found, together.double()) < 2e-6
    assert fast(images[:0]).shape == (0, 5, 20, 31)


def test_a_batch_whose_images_depend_on_each_other_runs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "ALONE", 0)
    net = c2t.build(net_of(
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 1 dim: 3 dim: 4 } } }"
        "layer { name: 'r' type: 'Reduction' bottom: 'x' top: 'r' }"
    ))  # fmt: skip
    images = torch.randn(2, 1, 3, 4)
    assert relative(c2t.optimize(net)(images)["r"], images.double().sum()) < 2e-6


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
    assert len(fast.passes.nets) == 16


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


def with_nan(layer: str, value: float = torch.nan) -> nn.Module:
    model = c2t.load(GOLDEN / "fcn" / "voc-fcn8s" / "weights.caffemodel").eval()
    if layer:
        nn.init.constant_(model.get_parameter(f"{layer}.weight")[-1:, :1, :1, :1], value)
    return model


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("layer", ["conv1_1", "conv3_2", "fc6", "score_fr", "score_pool3"])
def test_nan_in_a_weight_reaches_the_scores(layer: str, precision: str) -> None:
    """oneDNN's fused ReLU would make it 0."""
    model, image = with_nan(layer), torch.randn(1, 3, 64, 50) * 70
    same_nan(model, precision, image)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_pixel_that_is_not_finite_reaches_the_scores(value: float, precision: str) -> None:
    image = torch.randn(1, 3, 64, 50) * 70
    image[0, 1, 5, 6] = value
    same_nan(with_nan(""), precision, image)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_pixel_that_is_not_finite_reaches_part_of_a_large_image(value: float) -> None:
    """As in the same kernels without eliding: Caffe's max pooling makes NaN -3.4e38, and where sums of that
    overflow depends on their order."""
    fast, image = c2t.optimize(with_nan("")), torch.randn(1, 3, 300, 260) * 70
    image[0, 1, 5, 6] = value
    found = fast(image).isnan()
    assert 0 < found.sum() < found.numel()
    assert torch.equal(found, fast.passes.blobs({"data": image}, ["score"])["score"].isnan())
    with pytest.raises(NetError, match="not finite"):
        fast.labels(image)


@pytest.mark.parametrize("name", ["AlexNet", "8s"])
def test_nan_of_sums_that_overflow_reaches_the_scores(name: str) -> None:
    """Infinite less infinite, in a net whose weights are finite."""
    model = alike(c2t.fcn_of(c2t.Architecture(f"FCN{name}", widths=EVEN)))
    layer = model.get_parameter("conv3.weight" if name == "AlexNet" else "conv3_1.weight")
    with torch.no_grad():
        layer.mul_(1e37)
    same_nan(model, "fp32", torch.randn(1, 3, 40, 50) * 70)


def same_nan(model: nn.Module, precision: str, image: torch.Tensor) -> None:
    with torch.no_grad():
        wanted = model(image).isnan()
    assert wanted.any()
    fast = c2t.optimize(model, precision=precision)
    assert torch.equal(fast(image).isnan(), wanted)
    with pytest.raises(NetError, match="not finite"):
        fast.labels(image)


@pytest.mark.parametrize("name", NETS)
def test_relus_of_finite_nets_are_fused(name: str) -> None:
    fast = c2t.optimize(c2t.load(GOLDEN / "fcn" / name / "weights.caffemodel"))
    with np.load(GOLDEN / "fcn" / name / "io.npz") as caffe:
        images = {blob: torch.from_numpy(caffe[f"0.in.{blob}"]) for blob in fast.inputs}
    fast(**images)
    assert len(fast.passes.nets) == 1
    net = fast.passes.prepare(passes.sizes_of(images))
    assert any(part.relu for part in net.schedule.parts)


def deep(count: int, factor: float = 1) -> tuple[nn.Module, torch.Tensor]:
    """A net of residual blocks; one in the middle makes values larger by a factor. And an image for it."""
    layers = ['layer { name: "data" type: "Input" top: "b0" input_param { shape { dim: [1, 8, 9, 9] } } }']
    for i in range(count):
        layers.append(f"""
layer {{ name: "c{i}" type: "Convolution" bottom: "b{i}" top: "c{i}"
        convolution_param {{ num_output: 8 kernel_size: 3 pad: 1 }} }}
layer {{ name: "r{i}" type: "ReLU" bottom: "c{i}" top: "c{i}" }}
layer {{ name: "d{i}" type: "Convolution" bottom: "c{i}" top: "d{i}"
        convolution_param {{ num_output: 8 kernel_size: 3 pad: 1 }} }}
layer {{ name: "e{i}" type: "Eltwise" bottom: "b{i}" bottom: "d{i}" top: "b{i + 1}" }}""")
    torch.manual_seed(0)
    model = c2t.build(net_of("".join(layers))).eval()
    for name, values in model.named_parameters():
        nn.init.normal_(values, std=0.1 if name.endswith("weight") else 1)
    with torch.no_grad():
        model.get_parameter(f"d{count // 2}.weight").mul_(factor)
    return model, torch.randn(1, 8, 9, 9) * 70


def test_a_deep_net_checks_values_on_its_way() -> None:
    model, image = deep(30)
    fast = c2t.optimize(model)
    found, wanted = fast(b0=image), model(b0=image)
    assert relative(found["b30"], wanted["b30"].detach()) < 2e-6
    parts = fast.passes.prepare({"b0": (9, 9)}).schedule.parts
    assert len(fast.passes.nets) == 1
    assert sum(part.relu for part in parts) == 30
    assert 1 < sum(part.checks for part in parts) < 10


@pytest.mark.parametrize("factor", [1e7, 1e37])
def test_values_too_large_on_the_way_of_a_deep_net(factor: float) -> None:
    """Finite ones, and such that overflow."""
    model, image = deep(30, factor)
    fast = c2t.optimize(model)
    with torch.no_grad():
        wanted = model(b0=image)["b30"]
    found = fast(b0=image)["b30"]
    assert torch.equal(found.isnan(), wanted.isnan())
    assert wanted.isnan().any() == (factor > 1e30)
    assert factor > 1e30 or relative(found, wanted) < 2e-6
    assert len(fast.passes.nets) == 2


def test_a_bound_holds_for_the_values_of_each_layer() -> None:
    """The largest value of a layer that gets the image which is the worst for it."""
    weight, bias = torch.randn(4, 3, 3, 3), torch.randn(4)
    growth = bounds.Growth.of(weight, bias)
    worst = 7 * weight[(weight.abs().sum((1, 2, 3))).argmax()].sign()
    top = nn.functional.conv2d(worst[None], weight, bias)
    assert top.abs().max() <= 7 * growth.gain + growth.offset
    assert np.isclose(growth.gain, weight.abs().sum((1, 2, 3)).max())
    nan = bounds.Growth(torch.nan, 0)
    assert np.isnan(bounds.Growth.most([growth, nan, growth]).gain)


def test_a_file_that_does_not_tell_the_channels_of_its_inputs(golden: Path) -> None:
    """A net of colour and depth: only its architecture tells which has how many."""
    file = golden / "fcn" / "nyud-fcn32s-color-d" / "weights.caffemodel"
    drawn = torch.Generator().manual_seed(7)
    images = {name: torch.randn(1, n, 97, 131, generator=drawn) for name, n in (("color", 3), ("depth", 1))}
    expected = c2t.load(file)(**images)
    for model in (file, model_of(c2t.read(weights=file)).module):
        scores = c2t.optimize(model)(**images)
        scores = scores if isinstance(scores, torch.Tensor) else scores["score"]
        assert (scores - expected).norm() <= 2e-6 * expected.norm()
