"""NaN and infinities: what Caffe's own loops make of them, layer by layer; finite numbers keep their bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffe2torch.layers.nonfinite import all_finite, relu
from caffe2torch.modules.caffe_net import build
from caffe2torch.net.reading import read
from tests.places import GOLDEN
from tests.single_layer import backward, one_layer, run

CASES = sorted((GOLDEN / "nonfinite").glob("*.prototxt"))
NAN, INF = np.nan, np.inf
FLT_MAX = np.float32(3.4028234663852886e38)
POOLING = "type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }"


def assert_as_caffe(ours, caffe, name="top"):
    """Equal up to rounding, NaN where Caffe has NaN, and the same infinities."""
    np.testing.assert_allclose(ours, caffe, rtol=2e-5, atol=1e-6, err_msg=name)


def arrays(stored, kind):
    return {key.partition(".")[2]: stored[key] for key in stored if key.startswith(f"{kind}.")}


def test_no_case_is_lost():
    assert len(CASES) >= 30
    assert all(path.with_suffix(".npz").exists() for path in CASES)


@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
@pytest.mark.parametrize("prototxt", CASES, ids=lambda path: path.stem)
def test_layer(prototxt, phase):
    stored = np.load(prototxt.with_suffix(".npz"))
    model = build(read(prototxt), phase)
    learned = phase == "TRAIN"
    inputs = {name: torch.tensor(x, requires_grad=learned) for name, x in arrays(stored, "in").items()}
    blobs = model.every_blob(**inputs)
    for name, caffe in arrays(stored, "out").items():
        assert_as_caffe(blobs[name].detach().numpy(), caffe, name)
    if learned and (heads := arrays(stored, "gout")):
        torch.autograd.backward([blobs[n] for n in heads], list(map(torch.tensor, heads.values())))
        for name, caffe in arrays(stored, "gin").items():
            assert_as_caffe(inputs[name].grad.numpy(), caffe, f"gradient of {name}")


def test_a_maximum_over_nothing_is_the_least_float_and_its_mask_minus_one():
    image = np.array([[[[NAN, NAN, -INF, NAN, 1, NAN], [NAN, NAN, -INF, -INF, NAN, 1]]]])
    y, mask = run(POOLING, image, tops=2)
    np.testing.assert_array_equal(y, [[[[-FLT_MAX, -FLT_MAX, 1]]]])
    np.testing.assert_array_equal(mask, [[[[-1, -1, 4]]]])


def test_a_maximum_over_nothing_has_no_gradient():
    image = np.array([[[[NAN, NAN, 2, NAN], [NAN, -INF, NAN, 1]]]])
    (gradient,), _ = backward(POOLING, image, gradients=[np.array([[[[5, 7]]]])])
    np.testing.assert_array_equal(gradient, [[[[0, 0, 7, 0], [0, 0, 0, 0]]]])


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.75), (0.75, -0.5)])
def test_clip_as_its_formula_says(low, high):
    x = np.array([NAN, INF, -INF, -1, 0, 0.6, 2], np.float32)
    expected = []
    for value in x:
        least = high if high < value else value  # std::min(value, high): value unless high is smaller
        expected.append(least if low < least else low)  # std::max(low, least): low unless it is smaller
    (y,) = run(f"type: 'Clip' clip_param {{ min: {low} max: {high} }}", x)
    np.testing.assert_array_equal(y, np.array(expected, np.float32))


def test_infogain_takes_no_logarithm_below_its_threshold():
    scores, matrix = np.array([[0, -INF, 0]]), np.eye(3).reshape(1, 1, 3, 3)
    matrix[0, 0, 1, 0] = 0.5
    layer = "type: 'InfogainLoss' loss_param { normalization: NONE }"
    (loss,) = run(layer, scores, np.array([1]), matrix, phase="TRAIN")
    np.testing.assert_allclose(loss, -np.log(1e-20) - 0.5 * np.log(0.5), rtol=1e-6)


def test_finite_numbers_keep_their_bits():
    x = torch.randn(2, 3, 6, 8, generator=torch.manual_seed(1))
    x.view(-1)[:3] = torch.tensor([0.0, 1e-45, -1e-45])
    f = torch.nn.functional
    assert torch.equal(bits(relu(x)), bits(f.relu(x)))
    assert torch.equal(bits(relu(x.requires_grad_())), bits(f.relu(x)))
    pooled = one_layer(POOLING, [x.shape])(x)["y0"]
    assert torch.equal(bits(pooled), bits(f.max_pool2d(x, 2)))


def bits(x):
    return x.detach().view(torch.int32)


def test_relu_keeps_its_top_alone_for_the_gradient():
    """Keeping the bottom, too, would double what a net in training takes."""
    x = torch.randn(5, requires_grad=True)
    bottom, kept = x * 2, []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda saved: kept.append(saved) or saved, lambda saved: saved
    ):
        top = relu(bottom)
    assert [saved.data_ptr() for saved in kept] == [top.data_ptr()]


def test_a_recorded_net_treats_nan_as_its_engine_does():
    image = torch.full((1, 1, 2, 2), NAN)
    model = one_layer(POOLING, [image.shape])
    with torch.no_grad():
        program = torch.export.export(model, (image,), strict=False)
        assert [node.target for node in program.graph.nodes if node.op == "call_function"] == [
            torch.ops.aten.pad.default,
            torch.ops.aten.max_pool2d.default,
        ]


def test_nets_run_under_vmap():
    images = torch.randn(3, 1, 2, 4, 4, generator=torch.manual_seed(1))
    model = one_layer(POOLING, [images.shape[1:]])
    many = torch.vmap(lambda x: model(x)["y0"])(images)
    assert torch.equal(many, torch.stack([model(x)["y0"] for x in images]))


def test_all_finite():
    assert all_finite(torch.ones(3))
    assert all_finite(torch.ones(0))
    assert all_finite(torch.empty(2, device="meta"))
    assert not any(all_finite(torch.tensor([1, wrong])) for wrong in (NAN, INF, -INF))
