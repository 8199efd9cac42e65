"""Corners of Caffe: whole nets, each with every blob and gradient that BVLC Caffe gave, or that it aborts.

tests/golden/corners/CASE holds `net.prototxt`, `in.npz` (`0.BLOB`, `1.BLOB`, ...: the inputs of each run) and
`caffe.npz` with what Caffe gave (`r0.BLOB`, and the gradients `g0.LAYER.INDEX` and `gi0.BLOB`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.cli.main import main
from caffe2torch.errors import Caffe2TorchError, NetError, UnsupportedLayer, WeightsError
from caffe2torch.modules.caffe_net import CaffeNet
from tests.nets import net_of
from tests.places import GOLDEN

CORNERS = GOLDEN / "corners"


def corner(case: str, phase: str = "TEST") -> CaffeNet:
    folder = CORNERS / case
    weights = folder / "weights.caffemodel"
    return c2t.build(c2t.read(folder / "net.prototxt", weights if weights.exists() else None), phase)


def inputs(case: str, run: int = 0) -> dict[str, torch.Tensor]:
    with np.load(CORNERS / case / "in.npz") as arrays:
        return {
            name.removeprefix(f"{run}."): torch.tensor(array)
            for name, array in arrays.items()
            if name.startswith(f"{run}.")
        }


def caffe(case: str) -> dict[str, np.ndarray]:
    with np.load(CORNERS / case / "caffe.npz") as arrays:
        return dict(arrays)


def assert_like_caffe(ours: np.ndarray, wanted: np.ndarray, what: str, allowed: float = 1e-5) -> None:
    assert ours.shape == wanted.shape, f"{what}: {ours.shape}, Caffe {wanted.shape}"
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(wanted), err_msg=what)
    both = np.isfinite(wanted)
    np.testing.assert_array_equal(ours[~both], wanted[~both], err_msg=what)
    error = np.linalg.norm(ours[both] - wanted[both]) / max(np.linalg.norm(wanted[both]), 1e-20)
    assert error <= allowed, f"{what}: relative error {error:.1e}"


def blobs_agree(case: str, net: CaffeNet, run: int = 0) -> None:
    """Every blob that both name; Caffe's copies for several readers have names of their own."""
    wanted, found = caffe(case), net.every_blob(**inputs(case, run))
    common = [blob for blob in found if f"r{run}.{blob}" in wanted]
    assert set(net.plan.outputs) <= set(common)
    for blob in common:
        assert_like_caffe(found[blob].detach().numpy(), wanted[f"r{run}.{blob}"], blob)


@pytest.mark.parametrize(
    "case",
    [
        "alias_reshape_softmax_inplace",
        "alias_two_heads_flatten_relu",
        "crash_scale_3axis_pool",
        "share_permissive_shape",
    ],
)
def test_a_deployed_net_gives_caffes_blobs(case: str) -> None:
    blobs_agree(case, corner(case))


@pytest.mark.parametrize(
    "case",
    ["bn_shared", "loss_read", "loss_read_forced", "lw_consumed", "rnet_1181", "two_losses_sum_shown"],
)
@pytest.mark.filterwarnings("ignore:as in Caffe, 'l' trains nothing")
def test_a_trained_net_gives_caffes_blobs_and_gradients(case: str) -> None:
    wanted, net = caffe(case), corner(case, "TRAIN")
    blobs_agree(case, net)
    net = corner(case, "TRAIN")
    fed = {blob: tensor.requires_grad_() for blob, tensor in inputs(case).items()}
    net.loss(net(**fed)).backward()
    for layer, blobs in net.blobs().items():
        for position, blob in enumerate(blobs):
            if f"g0.{layer}.{position}" in wanted and blob.requires_grad:
                ours = torch.zeros_like(blob) if blob.grad is None else blob.grad
                assert_like_caffe(ours.numpy(), wanted[f"g0.{layer}.{position}"], layer, 1e-4)
    for blob, tensor in fed.items():
        if f"gi0.{blob}" in wanted and tensor.grad is not None:
            assert_like_caffe(tensor.grad.numpy(), wanted[f"gi0.{blob}"], blob, 1e-4)


def test_a_loss_that_trains_nothing_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="as in Caffe, 'l' trains nothing: a layer reads the loss"):
        corner("loss_read", "TRAIN")


@pytest.mark.parametrize("case", ["lw_some_tops_read", "lw_split_tops_read"])
def test_of_a_layers_weighted_tops_those_count_that_are_read(case: str) -> None:
    """If any is; with `loss0`, the sum of all losses. A Split is no exception."""
    net, fed = corner(case, "TRAIN"), {b: tensor.requires_grad_() for b, tensor in inputs(case).items()}
    loss = net.loss(net(**fed))
    loss.backward()
    wanted = caffe(case)
    assert loss.item() == pytest.approx(float(wanted["loss0"]), rel=1e-6)
    for blob, tensor in fed.items():
        assert tensor.grad is not None
        assert_like_caffe(tensor.grad.numpy(), wanted[f"gi0.{blob}"], blob, 1e-6)


@pytest.mark.parametrize(
    ("case", "phase", "problem"),
    [
        ("extra_bottom_relu", "TEST", r"layer 'x' \(ReLU\): needs 1 bottom, has 2"),
        ("label_learned", "TRAIN", r"layer 'l' \(SoftmaxWithLoss\): has no gradient for its bottom 'f2'"),
        ("loss_inplace_power", "TRAIN", "layer 'l1': its loss 'l1' is computed on in place"),
        ("loss_shapes_differ_count_same", "TRAIN", r"first axes"),
        ("same_top_twice", "TEST", "layer 'sl' makes 'a' twice"),
        ("threshold_in_path", "TRAIN", r"layer 'am' \(Threshold\): has no gradient for its bottom 'fc'"),
        ("toomany_param", "TEST", "layer 'z'"),
        ("two_producers", "TEST", "layers 'f0' and 'f1' both make 'a'"),
    ],
)
def test_what_caffe_aborts_on_is_refused(case: str, phase: str, problem: str) -> None:
    with pytest.raises(Caffe2TorchError, match=problem):
        corner(case, phase)


def test_a_layers_own_phase() -> None:
    blobs_agree("layer_phase_test_bn", corner("layer_phase_test_bn", "TRAIN"))


def test_a_stage_of_an_all_in_one_net() -> None:
    net = c2t.build(c2t.read(CORNERS / "digits_deploy/net.prototxt"), stages=["deploy"])
    for position, blob in enumerate(net.blobs()["fc"]):
        blob.data = torch.tensor(caffe("digits_deploy")[f"p.fc.{position}"])
    blobs_agree("digits_deploy", net)


def test_a_stage_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(CORNERS / "digits_deploy/net.prototxt")
    assert main([file, "--inspect"]) == 0
    assert "- layers for stages (deploy, train, val) left out; choose with --stage" in capsys.readouterr().out
    assert main([file, "--inspect", "--stage", "deploy"]) == 0
    out = capsys.readouterr().out
    assert "fc -> prob" in out
    assert "left out" not in out


@pytest.mark.parametrize("weights", ["weights", "only_b"])
def test_of_shared_parameters_the_last_stored_copy_counts(weights: str) -> None:
    folder = CORNERS / "weights_shared_values_differ"
    net = c2t.build(c2t.read(folder / "net.prototxt", folder / f"{weights}.caffemodel"))
    with np.load(folder / "in.npz") as given, np.load(folder / f"caffe_{weights}.npz") as wanted:
        found = net(x=torch.tensor(given["x"]))
        for blob in ("a", "b"):
            assert_like_caffe(found[blob].detach().numpy(), wanted[blob], blob)


def test_of_two_layers_of_one_name_the_first_is_filled() -> None:
    folder = CORNERS / "two_layers_one_name"
    net = c2t.read(folder / "net.prototxt", folder / "weights.caffemodel")
    with pytest.raises(WeightsError, match="has no blobs for layer 'f'"):
        c2t.build(net)
    first, second = c2t.build(net, allow_missing=True).blobs().values()
    assert not torch.equal(first[0], torch.full((2, 3), 0.25))
    assert torch.equal(second[0], torch.full((2, 3), 0.25)), "Caffe leaves it at its filler"


@pytest.mark.parametrize("case", ["alias_two_heads_flatten_relu", "share_permissive_shape"])
@pytest.mark.parametrize("file", ["net.safetensors", "net.caffemodel", "net.pt2"])
def test_it_is_exported_as_it_is(case: str, file: str, tmp_path: Path) -> None:
    """Each file is run after it was written, against the module."""
    assert c2t.export(corner(case), tmp_path / file, run=True)
    with pytest.raises(UnsupportedLayer, match="has no readable Python form yet"):
        c2t.export(corner(case), tmp_path / "net.py")


TWO_NAMES = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
        convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "f" type: "Flatten" bottom: "c" top: "f" }
layer { name: "r" type: "ReLU" bottom: "f" top: "f" }
layer { name: "l" type: "Reduction" bottom: "c" top: "l" loss_weight: 1 }"""


def test_to_train_a_net_whose_blobs_share_memory_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"'r' \(ReLU\) also changes 'c', in the same memory"):
        c2t.build(net_of(TWO_NAMES), "TRAIN")
    weighed = TWO_NAMES.replace('top: "c"\n', 'top: "c" loss_weight: 2\n')
    with pytest.raises(NetError, match="loss 'c' is computed on in place, by layer 'r' on 'f'"):
        c2t.build(net_of(weighed), "TRAIN")


def test_another_size_in_place_is_refused_where_the_old_one_is_still_read() -> None:
    scored = TWO_NAMES.replace('type: "ReLU"', 'type: "Reduction" reduction_param { axis: 1 }')
    with pytest.raises(
        NetError, match="'r': gives 'f' another size in place, but 'c', which is still read, is"
    ):
        c2t.build(net_of(scored))
    open_ = scored.replace("shape { dim: 2 dim: 3 dim: 4 dim: 5 }", "").replace(
        'type: "Convolution"', 'type: "ReLU"'
    )
    with pytest.raises(NetError, match="'r': gives 'f' another size in place"):
        c2t.build(net_of(open_), allow_missing=True)(torch.zeros(2, 3, 4, 5))


def test_a_loss_with_a_weight_that_something_reads_counts_once_more() -> None:
    """Caffe moves the weight to a copy of the top, and the layer takes its default, 1."""
    net = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "l" type: "EuclideanLoss" bottom: "x" bottom: "y" top: "l" loss_weight: 0.5 }
    layer { name: "p" type: "Power" bottom: "l" top: "p" power_param { scale: 2 } }"""
    model, x, y = c2t.build(net_of(net), "TRAIN"), torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3)
    loss = model.loss(model(x=x, y=y))
    loss.backward()
    assert loss.item() == 1.5 * 1.5  # the distance, 6 / 4, by 1 and by 0.5
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((2, 3), 0.25))  # by 0.5 alone


def test_weight_and_bias_of_one_layer_may_be_shared() -> None:
    net = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 1 dim: 4 dim: 5 } } }
    layer { name: "c" type: "Convolution" bottom: "x" top: "y" param { name: "p" }
            param { name: "p" share_mode: PERMISSIVE }
            convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "msra" } } }"""
    model, x = c2t.build(net_of(net)), torch.rand(2, 1, 4, 5)
    weight, bias = model.blobs()["c"]
    assert bias is weight
    values = weight.detach().reshape(1, 3, 1, 1)
    torch.testing.assert_close(model(x)["y"], x * values + values)


def test_a_layers_own_phase_survives_every_file(tmp_path: Path) -> None:
    folder = CORNERS / "layer_phase_test_bn"
    for name in ("net.safetensors", "net.caffemodel"):
        written = str(tmp_path / name)
        assert main([str(folder / "net.prototxt"), str(folder / "weights.caffemodel"), "-o", written]) == 0
        blobs_agree("layer_phase_test_bn", c2t.build(_read(tmp_path / name), "TRAIN"))


def _read(path: Path) -> c2t.Net:
    return c2t.read(weights=path) if path.suffix == ".caffemodel" else c2t.read_safetensors(path)


def test_a_stage_that_no_rule_names_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    path = CORNERS / "digits_deploy/net.prototxt"
    problem = "no layer has a rule for stage 'deplo'; the net's rules name deploy, train, val"
    with pytest.raises(NetError, match=problem):
        c2t.build(c2t.read(path), stages=["deplo"])
    assert main([str(path), "--inspect", "--stage", "deplo"]) == 1
    assert problem in capsys.readouterr().err


def test_names_for_one_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    c2t.build(net_of(TWO_NAMES))
    monkeypatch.setattr("caffe2torch.plan.flow.MAX_CHANGES", 0)
    with pytest.raises(
        NetError, match="layer 'r': in place, the net's layers change more than 0 other blobs"
    ):
        c2t.build(net_of(TWO_NAMES))
