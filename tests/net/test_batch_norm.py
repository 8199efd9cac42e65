"""NVIDIA's BatchNorm, whose scale and shift are in the layer, against its formula written out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from caffe2torch.errors import WeightsError
from caffe2torch.modules.caffe_net import build
from caffe2torch.net import Net
from caffe2torch.net.reading import read, with_weights
from tests import wire_writer as w
from tests.places import GOLDEN

FOLDER = GOLDEN / "reports" / "nv_batchnorm"
MEAN, VARIANCE, SCALE, SHIFT = [1.0, 2.0, 3.0], [4.0, 1.0, 0.25], [2.0, 3.0, 4.0], [0.1, 0.2, 0.3]
INPUT = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 dim: 3 } } }\n"
X = np.array([[1.0, 2.0, -1.5], [0.0, 7.0, 0.25]], np.float32)


def normalized(mean: Sequence[float], variance: Sequence[float], eps: float = 1e-5) -> np.ndarray:
    return (X - np.array(mean)) / np.sqrt(np.array(variance) + eps)


def definition(param: str = "") -> str:
    return f"{INPUT}layer {{ name: 'bn' type: 'BatchNorm' bottom: 'data' top: 'bn' {param} }}"


def caffemodel(path: Path, *blobs: Sequence[float]) -> Path:
    """One BatchNorm with these blobs, each of one axis."""
    path.write_bytes(w.layer("bn", *(w.shape(len(b)) + w.packed(5, b) for b in blobs), type_name="BatchNorm"))
    return path


def trained(folder: Path, param: str, *blobs: Sequence[float]) -> Net:
    prototxt = folder / "net.prototxt"
    prototxt.write_text(definition(param))
    return read(prototxt, caffemodel(folder / "net.caffemodel", *blobs))


def output(net: Net) -> np.ndarray:
    with torch.no_grad():
        y: np.ndarray = build(net)(data=torch.from_numpy(X))["bn"].numpy()
    return y


def test_five_blobs_of_a_file_alone() -> None:
    net = read(weights=FOLDER / "nv5.caffemodel")
    with torch.no_grad():
        y = build(net)(data=torch.ones(1, 3, 6, 6))["bn"][0, :, 0, 0]
    np.testing.assert_allclose(y, [0.1, -2.8, -15.6997], rtol=1e-5)
    assert [(layer.name, layer.type, len(layer.blobs)) for layer in net.layers[1:]] == [
        ("bn", "BatchNorm", 3),
        ("bn_scale", "Scale", 2),
    ]
    assert net.notes == ("BatchNorm of NVIDIA's Caffe became BatchNorm and Scale: added 'bn_scale'",)


@pytest.mark.parametrize("param", ["", "batch_norm_param { scale_bias: true }"])
@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_a_prototxt_and_five_blobs(tmp_path: Path, param: str, factor: float) -> None:
    net = trained(tmp_path, param, MEAN, VARIANCE, [factor], SCALE, SHIFT)
    np.testing.assert_allclose(output(net), normalized(MEAN, VARIANCE) * SCALE + SHIFT, rtol=1e-5)


def test_the_order_of_nvidias_first_versions(tmp_path: Path) -> None:
    net = trained(tmp_path, "", SCALE, SHIFT, MEAN, VARIANCE, [0.0])
    np.testing.assert_allclose(output(net), normalized(MEAN, VARIANCE) * SCALE + SHIFT, rtol=1e-5)


def test_one_channel_could_be_in_either_order(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="five blobs of one value"):
        trained(tmp_path, "", *[[1.0]] * 5)


def test_weights_for_a_net_that_was_split_before(tmp_path: Path) -> None:
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(definition("batch_norm_param { scale_bias: true }"))
    assert [layer.name for layer in read(prototxt).layers] == ["data", "bn", "bn_scale"]
    net = with_weights(read(prototxt), caffemodel(tmp_path / "w", MEAN, VARIANCE, [1.0], SCALE, SHIFT))
    assert [layer.name for layer in net.layers] == ["data", "bn", "bn_scale"]
    np.testing.assert_allclose(output(net), normalized(MEAN, VARIANCE) * SCALE + SHIFT, rtol=1e-5)


def test_a_smaller_eps_and_the_batchs_own_statistics_are_bvlcs(tmp_path: Path) -> None:
    param = "batch_norm_param { eps: 1e-9 use_global_stats: false scale_filler { value: 3 } }"
    net = trained(tmp_path, param, MEAN, [1e-7] * 3, [1.0], SCALE, SHIFT)
    np.testing.assert_allclose(output(net), normalized(MEAN, [1e-7] * 3) * SCALE + SHIFT, rtol=1e-5)


def test_fillers_and_param_go_with_their_blobs(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    param = "".join(f"param {{ lr_mult: {i} }} " for i in range(5))
    path.write_text(
        definition(f"{param} batch_norm_param {{ scale_filler {{ value: 3 }} bias_filler {{ value: 4 }} }}")
    )
    norm, scale = read(path).layers[1:]
    assert [spec.lr_mult for spec in norm.fields.param] == [0, 1, 2]
    assert [spec.lr_mult for spec in scale.fields.param] == [3, 4]
    assert (scale.fields.scale_param.filler.value, scale.fields.scale_param.bias_filler.value) == (3, 4)
    assert list(norm.fields.fork_fields()) == []


def test_factor_0_leaves_statistics_as_they_are_if_they_are_not_0() -> None:
    net = read(weights=FOLDER / "nv3_0.caffemodel")
    with torch.no_grad():
        y = build(net)(data=torch.ones(1, 3, 6, 6))["bn"][0, :, 0, 0]
    np.testing.assert_allclose(y, [0, -1, -4], atol=1e-4)
    assert "BatchNorm with factor 0: 'bn'" in net.notes[0]


def test_an_untrained_batch_norm_is_left_alone(tmp_path: Path) -> None:
    net = trained(tmp_path, "", [0.0] * 3, [0.0] * 3, [0.0])
    assert net.notes == ()
    np.testing.assert_allclose(output(net), X / np.sqrt(1e-5), rtol=1e-5)
