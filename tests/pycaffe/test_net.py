"""Nets as scripts see them: names, live blobs, forward and backward, by what real Caffe does."""

import copy
import pickle

import numpy as np
import pytest

from caffe2torch import pycaffe as caffe
from caffe2torch.errors import Caffe2TorchError, NetError
from tests.pycaffe.problem import DATA, FC, LOSS, NET, net_of, write

INPUT = "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }\n"
BRANCHED = NET + "layer { name: 'p' type: 'Power' bottom: 'fc' top: 'a' power_param { scale: 2 } }"


def test_splits_are_inserted_under_caffes_names(tmp_path):
    net = net_of(tmp_path, BRANCHED)
    assert net._layer_names == ["d", "fc", "fc_fc_0_split", "loss", "p"]
    assert list(net.blobs) == ["x", "y", "fc", "fc_fc_0_split_0", "fc_fc_0_split_1", "loss", "a"]
    assert net.bottom_names["loss"] == ["fc_fc_0_split_0", "y"]
    assert net.top_names["fc_fc_0_split"] == ["fc_fc_0_split_0", "fc_fc_0_split_1"]
    assert net.layer_dict["fc_fc_0_split"].type == "Split"
    assert net.outputs == ["a", "loss"]
    assert net.inputs == []
    assert net.blob_loss_weights["loss"] == 1


def test_the_writer_of_a_split_blob_is_the_last_in_place(tmp_path):
    layers = "layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'x' }"
    layers += "".join(f"layer {{ name: '{n}' type: 'Power' bottom: 'x' top: '{n}' }}" for n in "ab")
    assert "x_r_0_split_1" in net_of(tmp_path, INPUT + layers).blobs


def test_a_weighted_blob_that_is_read_is_split_and_its_first_copy_is_an_output(tmp_path):
    loss = LOSS.replace("top: 'loss'", "top: 'loss' loss_weight: 3")
    net = net_of(tmp_path, DATA + FC + loss + "layer { name: 'p' type: 'Power' bottom: 'loss' top: 'p' }")
    assert net.outputs == ["loss_loss_0_split_0", "p"]
    assert net.blob_loss_weights["loss_loss_0_split_0"] == 3
    # The loss has its default weight again, and so counts once more.
    assert net._forward(0, len(net.layers) - 1) == pytest.approx(4 * 0.03125)


def test_a_loss_without_top_is_no_output(tmp_path):
    net = net_of(tmp_path, DATA + FC + LOSS.replace("top: 'loss'", ""))
    assert "(automatic)" in net.blobs
    assert net.outputs == []
    net.save(tmp_path / "a.caffemodel")
    assert "(automatic)" not in str((tmp_path / "a.caffemodel").read_bytes())


def test_outputs_are_sorted_by_their_bytes(tmp_path):
    names = ["zz", "a", "A2", "B", "m", "A10"]
    tops = "".join(f"layer {{ name: 'l{n}' type: 'Power' bottom: 'x' top: '{n}' }}" for n in names)
    net = net_of(tmp_path, INPUT + tops)
    assert net.outputs == ["A10", "A2", "B", "a", "m", "zz"]


def test_ways_to_build(tmp_path):
    net = net_of(tmp_path, NET)
    net.params["fc"][0].data[...] = 7
    weights, file = str(tmp_path / "w.caffemodel"), str(tmp_path / "net.prototxt")
    net.save(weights)
    for other in (
        caffe.Net(file, weights, caffe.TEST),
        caffe.Net(file, caffe.TEST, weights=weights),
        caffe.Net(network_file=file, phase=1, level=0, stages=None, weights=weights),
        caffe.Net(file, 1, 0, ["s"], weights),
    ):
        np.testing.assert_array_equal(other.params["fc"][0].data, 7)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        *[((), {}), (("f",), {}), (("f", "TEST"), {}), (("f", 2), {}), ((3, 1), {})],
        *[(("f", 1), {"level_": 1}), (("f", 1), {"stages": 3}), (("f", 1), {"stages": [1]})],
    ],
)
def test_other_arguments_are_a_type_error(given, named):
    with pytest.raises(TypeError):
        caffe.Net(*given, **named)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "layer { name: 'c' type: 'Bias' bottom: 'x' top: 'c' blobs { shape { dim: 3 } } }",
            "layer 'c': has blobs in its definition; give them in a caffemodel",
        ),
        (
            "layer { name: 'i' type: 'Input' top: 'a' top: 'b' top: 'c' "
            "input_param { shape { dim: 2 } shape { dim: 3 } } }",
            r"layer 'i' \(Input\): 2 shapes for 3 tops; give one, or one per top",
        ),
        (
            "layer { name: 'p' type: 'Power' bottom: 'x' top: 'p' loss_weight: [1, 2] }",
            r"layer 'p' \(Power\): 2 loss_weight; give none, or one per top",
        ),
        (
            "layer { name: 'r' type: 'ROIPooling' bottom: 'x' bottom: 'x' top: 'r' "
            "roi_pooling_param { pooled_h: 1 pooled_w: 1 } }",
            r"layer 'r' \(ROIPooling\)",
        ),
    ],
)
def test_definitions_that_caffe_refuses(tmp_path, text, message):
    with pytest.raises(Caffe2TorchError, match=message):
        net_of(tmp_path, INPUT + text)


def test_a_missing_file_is_a_runtime_error(tmp_path):
    with pytest.raises(RuntimeError, match="none"):
        caffe.Net("none.prototxt", caffe.TEST)
    file = write(tmp_path / "net.prototxt", NET)
    with pytest.raises(RuntimeError, match="a,b"):
        caffe.Net(file, caffe.TEST, weights="a,b")
    with pytest.raises(Caffe2TorchError):
        caffe.Net(file, caffe.TEST).copy_from("none.caffemodel")


def test_a_files_own_state_keeps_its_stages(tmp_path):
    rule = "layer {{ name: '{0}' type: 'Power' bottom: 'x' top: '{0}' include {{ {1} }} }}"
    layers = (
        rule.format("a", "stage: 'own'")
        + rule.format("b", "stage: 'given'")
        + rule.format("c", "phase: TEST")
    )
    text = "state { phase: TEST level: 5 stage: 'own' }" + INPUT + layers
    assert net_of(tmp_path, text).outputs == ["a"]
    assert net_of(tmp_path, text, stages=["given"]).outputs == ["a", "b"]
    assert net_of(tmp_path, text, caffe.TEST).outputs == ["a", "c"]


def test_blobs_are_live_views(tmp_path):
    net = net_of(tmp_path, INPUT + FC)
    x = net.blobs["x"]
    x.data[...] = 1
    kept = net.forward()["fc"]
    np.testing.assert_array_equal(kept, 1.75)
    x.data[...] = 2
    net.forward()
    np.testing.assert_array_equal(kept, 3.25)
    net.params["fc"][1].data[...] = 0
    assert net.forward()["fc"] is not None
    np.testing.assert_array_equal(kept, 3)
    with pytest.raises(AttributeError):
        x.data = kept


def test_shapes(tmp_path):
    net = net_of(tmp_path, INPUT + FC)
    x = net.blobs["x"]
    assert list(x.shape) == [2, 3]
    assert x.shape != (2, 3)
    assert (x.num, x.channels, x.height, x.width, x.count) == (2, 3, 1, 1, 6)
    assert x.data.shape == (2, 3)
    for wrong in ((2, 3), [2], 2.0, np.int64(2)):
        with pytest.raises(TypeError):
            x.reshape(wrong)
    with pytest.raises(NetError):
        x.reshape(2, -1)
    x.reshape()
    assert x.shape == []
    x.reshape(1, 2, 3, 4, 5)
    with pytest.raises(NetError):
        _ = x.num


def test_reshaping_keeps_values_that_fit_the_memory(tmp_path):
    x = net_of(tmp_path, INPUT + FC).blobs["x"]
    x.data[...] = np.arange(6).reshape(2, 3)
    before = x.data
    x.reshape(1, 2)
    np.testing.assert_array_equal(x.data, [[0, 1]])
    x.reshape(3, 2)
    np.testing.assert_array_equal(x.data, np.arange(6).reshape(3, 2))
    x.reshape(3, 3)
    np.testing.assert_array_equal(x.data, 0)
    np.testing.assert_array_equal(before, np.arange(6).reshape(2, 3))


def test_an_input_reshapes_the_net_when_it_runs_or_is_told_to(tmp_path):
    net = net_of(tmp_path, INPUT + FC)
    net.blobs["x"].reshape(5, 3)
    assert list(net.blobs["fc"].shape) == [2, 1]
    net.reshape()
    assert list(net.blobs["fc"].shape) == [5, 1]
    assert net.blobs["fc"].diff.shape == (5, 1)
    net.blobs["x"].reshape(4, 3)
    net.blobs["fc"].reshape(1)
    assert net.forward()["fc"].shape == (4, 1)


def test_parts_of_a_forward(tmp_path):
    net = net_of(tmp_path, INPUT + FC + "layer { name: 'p' type: 'Power' bottom: 'fc' top: 'p' }")
    net.blobs["x"].data[...] = 1
    assert set(net.forward(end="fc")) == {"fc"}
    assert set(net.forward(blobs=["x"])) == {"x", "p"}
    net.blobs["fc"].data[...] = 9
    np.testing.assert_array_equal(net.forward(start="p")["p"], 9)
    net.blobs["fc"].data[...] = 8
    np.testing.assert_array_equal(net.forward(start="p", end="in")["x"], 1)
    np.testing.assert_array_equal(net.blobs["p"].data, 9)
    with pytest.raises(ValueError, match="nothing"):
        net.forward(end="nothing")
    with pytest.raises(KeyError):
        net.forward(blobs=["nothing"])


def test_inputs_of_a_forward(tmp_path):
    net = net_of(tmp_path, INPUT + FC)
    np.testing.assert_array_equal(net.forward(x=np.full((2, 3), 2.0))["fc"], 3.25)
    np.testing.assert_array_equal(net.forward(x=np.full((2, 1), 1.0))["fc"], 1.75)
    for wrong, error in (
        ({"y": np.zeros((2, 3))}, Exception),
        ({"x": np.zeros((1, 3))}, Exception),
        ({"x": np.zeros((2, 4))}, ValueError),
        ({"x": [[1, 2, 3]] * 2}, AttributeError),
    ):
        with pytest.raises(error):
            net.forward(**wrong)
    with pytest.raises(Exception, match="inputs"):
        net_of(tmp_path, NET).forward(x=np.zeros((2, 3)))


def test_all_in_batches(tmp_path):
    net = net_of(tmp_path, INPUT + FC)
    rows = np.arange(15.0).reshape(5, 3)
    out = net.forward_all(x=rows)["fc"]
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, rows.sum(1, keepdims=True) / 2 + 0.25)
    with pytest.raises(RuntimeError):
        net.forward_all()


def test_all_in_batches_there_and_back(tmp_path):
    net = net_of(tmp_path, "force_backward: true " + INPUT + FC)
    rows, tops = np.arange(15.0).reshape(5, 3), np.arange(5.0).reshape(5, 1)
    outs, diffs = net.forward_backward_all(blobs=["fc"], diffs=["x"], x=rows, fc=tops)
    np.testing.assert_allclose(outs["fc"], rows.sum(1, keepdims=True) / 2 + 0.25)
    np.testing.assert_allclose(diffs["x"], tops / 2 * np.ones((1, 3)))


def test_loss_and_gradients(tmp_path):
    net = net_of(tmp_path, NET)
    assert net._forward(0, 2) == 0.03125
    assert float(net.blobs["loss"].data) == 0.03125
    assert net.blobs["loss"].data.shape == ()
    net.backward()
    weight, bias = net.params["fc"]
    np.testing.assert_array_equal(weight.diff, -0.25)
    np.testing.assert_array_equal(bias.diff, -0.25)
    np.testing.assert_array_equal(net.blobs["x"].diff, 0)
    net.backward()
    np.testing.assert_array_equal(weight.diff, -0.5)
    net.blobs["loss"].diff[...] = 10
    net.clear_param_diffs()
    net.backward()
    np.testing.assert_array_equal(weight.diff, -2.5)
    net.forward()
    net.backward()
    np.testing.assert_array_equal(weight.diff, -5)


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_without_a_loss_nothing_goes_back(tmp_path, phase):
    net = net_of(tmp_path, INPUT + FC, phase)
    net.forward()
    net.blobs["fc"].diff[...] = 1
    np.testing.assert_array_equal(net.backward()["x"], 0)
    np.testing.assert_array_equal(net.params["fc"][0].diff, 0)


def test_force_backward_goes_back_from_the_diffs_of_the_tops(tmp_path):
    net = net_of(tmp_path, "force_backward: true " + INPUT + FC)
    net.forward(x=np.full((2, 3), 3.0))
    np.testing.assert_array_equal(net.backward(fc=np.ones((2, 1)))["x"], 0.5)
    np.testing.assert_array_equal(net.params["fc"][0].diff, 6)
    with pytest.raises(Exception, match="outputs"):
        net.backward(x=np.ones((2, 3)))
    with pytest.raises(Exception, match="items"):
        net.backward(fc=np.ones((1, 1)))


def test_part_of_a_backward(tmp_path):
    text = "force_backward: true " + INPUT + FC
    text += "layer { name: 'p' type: 'Power' bottom: 'fc' top: 'p' power_param { scale: 2 } }"
    net = net_of(tmp_path, text)
    net.forward()
    net.blobs["p"].diff[...] = 1
    np.testing.assert_array_equal(net.backward(end="p")["fc"], 2)
    net.blobs["fc"].diff[...] = 4
    found = net.backward(start="fc", diffs=["p"])
    np.testing.assert_array_equal(found["x"], 2)
    np.testing.assert_array_equal(found["p"], 1)


def test_in_place_layers_go_back_through_their_own_values(tmp_path):
    layers = "layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'x' }"
    layers += "layer { name: 's' type: 'Sigmoid' bottom: 'x' top: 'x' }"
    net = net_of(
        tmp_path,
        "force_backward: true "
        + INPUT
        + "layer { name: 'p' type: 'Power' bottom: 'x' top: 'q' }"
        + layers.replace("'x'", "'q'"),
    )
    held = net.blobs["q"].data
    x = np.float32([[-1, 0.5, 2], [1, -3, 0]])
    net.forward(x=x)
    net.blobs["q"].diff[...] = 1
    sigmoid = 1 / (1 + np.exp(-np.maximum(x, 0)))
    np.testing.assert_allclose(held, sigmoid, rtol=1e-6)
    np.testing.assert_allclose(net.backward()["x"], sigmoid * (1 - sigmoid) * (x > 0), rtol=1e-6)


def test_memory_that_tops_share_with_their_bottom(tmp_path):
    layers = "layer { name: 'f' type: 'Flatten' bottom: 'x' top: 'f' }"
    layers += "layer { name: 'w' type: 'Power' bottom: 'f' top: 'w' }"
    layers += "layer { name: 'd' type: 'Dropout' bottom: 'w' top: 'dr' }"
    net = net_of(tmp_path, INPUT + layers, caffe.TEST)
    net.forward()
    net.blobs["x"].data[...] = 3
    np.testing.assert_array_equal(net.blobs["f"].data, 3)
    net.blobs["dr"].data[...] = 5
    np.testing.assert_array_equal(net.blobs["w"].data, 0)


def test_hooks(tmp_path):
    net, seen = net_of(tmp_path, BRANCHED), []
    for name in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, name)(lambda index, name=name: seen.append((name, index)))
    net.forward()
    net.backward()
    assert seen[:4] == [
        ("before_forward", 0),
        ("after_forward", 0),
        ("before_forward", 1),
        ("after_forward", 1),
    ]
    assert [index for name, index in seen if name == "before_backward"] == [4, 3, 2, 1, 0]
    net.before_forward(lambda index: 1 // (2 - index))
    with pytest.raises(ZeroDivisionError):
        net.forward()


def test_layers_are_a_list(tmp_path):
    net = net_of(tmp_path, NET)
    assert [layer.type for layer in net.layers] == ["DummyData", "InnerProduct", "EuclideanLoss"]
    assert [len(layer.blobs) for layer in net.layers] == [0, 2, 0]
    assert net.layers[-1].type == "EuclideanLoss"
    assert list(net.params) == ["fc"]
    with pytest.raises(TypeError):
        net.layers["fc"]
    with pytest.raises(IndexError):
        net.layers[3]


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_nets_and_blobs_are_not_copied(tmp_path, copied):
    net = net_of(tmp_path, NET)
    with pytest.raises(RuntimeError):
        copied(net)
    with pytest.raises(RuntimeError):
        copied(net.blobs["x"])


def test_what_caffe_aborts_on_is_an_error(tmp_path):
    for layers in (
        "layer { name: 'p' type: 'Power' bottom: 'none' top: 'p' }",
        "layer { name: 'p' type: 'Nothing' bottom: 'x' top: 'p' }",
        "layer { name: 'p' type: 'Power' bottom: 'x' top: 'p' }" * 2,
        "layer { name: 'p' type: 'Power' bottom: 'x' top: 'p' include {} exclude {} }",
        "layer {",
    ):
        with pytest.raises(Caffe2TorchError):
            net_of(tmp_path, INPUT + layers)


def test_old_inputs_become_an_input_layer(tmp_path):
    net = net_of(tmp_path, "input: 'x' input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5" + FC)
    assert net._layer_names == ["input", "fc"]
    assert net.layers[0].type == "Input"
    assert net.inputs == ["x"]


def test_dummy_constants_that_a_script_changes_stay(tmp_path):
    net = net_of(tmp_path, NET)
    net.blobs["y"].data[...] = 1.75
    net.forward()
    assert net.forward()["loss"] == 0


def test_small_layers_and_large_ones_compute_alike(tmp_path, monkeypatch):
    """What NumPy computes of small layers is what torch computes of them, forward and backward."""
    from caffe2torch.pycaffe import plain_layers

    layer = "layer {{ name: '{0}' type: '{1}' bottom: '{2}' top: '{3}' {4} }}"
    ip = "inner_product_param {{ num_output: {} weight_filler {{ type: 'xavier' }} }}".format
    text = INPUT.replace("dim: 2 dim: 3", "dim: 1 dim: 3") + "".join(
        [
            layer.format("a", "InnerProduct", "x", "a", ip(5)),
            layer.format("b", "ReLU", "a", "a", ""),
            layer.format("c", "TanH", "a", "c", ""),
            layer.format("d", "Sigmoid", "c", "c", ""),
            layer.format("e", "InnerProduct", "c", "e", ip(4)),
            "layer { name: 'in2' type: 'Input' top: 'label' input_param { shape { dim: 1 } } }",
            "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'e' bottom: 'label' top: 'loss' }",
        ]
    )
    small = net_of(tmp_path, "force_backward: true " + text)
    assert all(type(x).__name__.startswith("Plain") for x in small.layers if "Input" not in type(x).__name__)
    monkeypatch.setattr(plain_layers, "PLAIN", {})
    large = net_of(tmp_path, "force_backward: true " + text)
    large.copy_from(_saved(small, tmp_path))
    for row, label in (([1, -2, 3], 2), ([-1, 0, 0.5], 0)):
        for net in (small, large):
            net.forward(x=np.float32([row]), label=np.float32([label]))
            net.backward()
        for name in small.blobs:
            np.testing.assert_allclose(small.blobs[name].data, large.blobs[name].data, rtol=2e-6, atol=1e-6)
            np.testing.assert_allclose(small.blobs[name].diff, large.blobs[name].diff, rtol=2e-5, atol=1e-6)
    for name, blobs in small.params.items():
        for mine, other in zip(blobs, large.params[name], strict=True):
            np.testing.assert_allclose(mine.diff, other.diff, rtol=2e-5, atol=1e-6)
    with pytest.raises(NetError, match="label 7"):
        small.forward(x=np.float32([row]), label=np.float32([7]))


def _saved(net, folder):
    net.save(folder / "saved.caffemodel")
    return folder / "saved.caffemodel"


def test_passes_that_repeat_notice_what_moves(tmp_path):
    """The calls of small layers are kept: not beyond another shape, other weights or other layers."""
    head = "layer { name: 'r' type: 'ReLU' bottom: 'fc' top: 'r' }"
    nets = [net_of(tmp_path, f"force_backward: true {INPUT}{FC}{head}") for _ in range(2)]
    rng = np.random.default_rng(3)
    for net in nets:
        for blob in net.params["fc"]:
            blob.data[...] = rng.normal(size=blob.shape)
    net, other = nets

    def check(rows):
        net.blobs["x"].reshape(rows, 3)
        x, top = (rng.normal(size=shape).astype(np.float32) for shape in ((rows, 3), (rows, 1)))
        w, b = (blob.data for blob in net.params["fc"])
        found = net.forward(x=x)["r"]
        np.testing.assert_allclose(found, np.maximum(x @ w.T + b, 0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(net.backward(r=top)["x"], top * (found > 0) * w, rtol=1e-5, atol=1e-6)

    for rows in (2, 2, 2, 4, 4, 1, 1, 1):
        check(rows)
    net.share_with(other)
    check(1)
    check(1)
    net.blobs["fc"].data[...] = 5
    assert net.forward(start="r")["r"] == 5
    check(1)


def test_a_large_layer_in_place_writes_where_arrays_look(tmp_path):
    layer = "layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'x' }"
    net = net_of(tmp_path, INPUT.replace("dim: 2 dim: 3", "dim: 50 dim: 100") + layer, caffe.TEST)
    x = np.random.default_rng(0).standard_normal((50, 100)).astype(np.float32)
    held = net.blobs["x"].data
    net.forward(x=x)
    np.testing.assert_array_equal(held, np.maximum(x, 0))
    assert not np.signbit(held).any()


@pytest.mark.parametrize("size", [6, 7])
def test_pools_that_tile_give_the_gradient_to_the_first_maximum(tmp_path, size):
    shape = f"shape {{ dim: 1 dim: 2 dim: {size} dim: 6 }}"
    text = f"force_backward: true layer {{ name: 'in' type: 'Input' top: 'x' input_param {{ {shape} }} }}"
    text += (
        "layer { name: 'p' type: 'Pooling' bottom: 'x' top: 'p' pooling_param { kernel_size: 2 stride: 2 } }"
    )
    net = net_of(tmp_path, text, caffe.TEST)
    x = np.float32(np.random.default_rng(0).integers(0, 3, (1, 2, size, 6)))  # with ties
    top = net.forward(x=x)["p"].copy()
    diff = np.arange(1, top.size + 1, dtype=np.float32).reshape(top.shape)
    expected = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*top.shape):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        assert top[n, c, i, j] == window.max()
        down, right = np.unravel_index(window.argmax(), window.shape)
        expected[n, c, 2 * i + down, 2 * j + right] += diff[n, c, i, j]
    np.testing.assert_array_equal(net.backward(p=diff)["x"], expected)


def test_memory_data_goes_round_the_arrays_it_was_given(tmp_path):
    memory = "memory_data_param { batch_size: 2 channels: 1 height: 1 width: 3 }"
    text = f"layer {{ name: 'd' type: 'MemoryData' top: 'x' top: 'label' {memory} }}" + FC
    net = net_of(tmp_path, text)
    assert list(net.blobs["label"].shape) == [2]
    with pytest.raises(NetError, match="set_input_arrays"):
        net.forward()
    data, labels = np.arange(12, dtype=np.float32).reshape(4, 1, 1, 3), np.arange(4, dtype=np.float32)
    net.set_input_arrays(data, labels)
    sums = data.sum((1, 2, 3))[:, None] / 2 + 0.25
    for rows in (slice(0, 2), slice(2, 4), slice(0, 2)):
        np.testing.assert_allclose(net.forward()["fc"], sums[rows])
        np.testing.assert_array_equal(net.blobs["label"].data.ravel(), labels[rows])
    assert net.blobs["label"].data.shape == (2, 1, 1, 1)
    data[2:] = 1
    np.testing.assert_allclose(net.forward()["fc"], 1.75)
    for wrong in (data.astype(float), data[:3], data[::2], data[:, :, :, :2]):
        with pytest.raises(RuntimeError):
            net.set_input_arrays(wrong, labels[: len(wrong)])
    with pytest.raises(RuntimeError, match="MemoryData"):
        net_of(tmp_path, NET).set_input_arrays(data, labels)


PERMISSIVE = """
name: 'permissive' force_backward: true
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: [2, 4, 1, 1] } } }
layer { name: 'b' type: 'Convolution' bottom: 'data' top: 'b' param { name: 'w' share_mode: PERMISSIVE }
        convolution_param { num_output: 3 kernel_size: 1 bias_term: false } }
layer { name: 'flat' type: 'Flatten' bottom: 'b' top: 'bf' }
layer { name: 'a' type: 'InnerProduct' bottom: 'data' top: 'a' param { name: 'w' share_mode: PERMISSIVE }
        inner_product_param { num_output: 3 bias_term: false } }
layer { name: 'c' type: 'InnerProduct' bottom: 'a' top: 'c' param { name: 'w' share_mode: PERMISSIVE }
        inner_product_param { num_output: 4 bias_term: false } }
layer { name: 'l2' type: 'Reduction' bottom: 'c' top: 'l2' loss_weight: 2 }
layer { name: 'l3' type: 'Reduction' bottom: 'bf' top: 'l3' loss_weight: 3 }
"""


def test_a_parameter_in_three_shapes(tmp_path):
    """Numbers of real Caffe."""
    (tmp_path / "net.prototxt").write_text(PERMISSIVE)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    b, a, c = (net.params[name][0] for name in "bac")
    a.data[...] = np.arange(12).reshape(3, 4) * 0.1
    net.blobs["data"].data.flat = np.arange(8)
    for _ in range(2):  # diffs of parameters add up
        net.forward()
        net.backward()
    assert [tuple(x.shape) for x in (b, a, c)] == [(3, 4, 1, 1), (3, 4), (4, 3)]
    assert [x.data.shape for x in (b, a, c)] == [x.diff.shape for x in (b, a, c)]
    expected = 2 * np.array([36.8, 72.4, 108, 76.4, 62.4, 99.6, 69.6, 106.8, 88, 59.6, 98.4, 137.2])
    for blob in (b, a, c):
        assert np.abs(blob.diff.ravel() - expected).max() < 1e-3
    with pytest.raises(NetError, match=r"a shared blob of \(4, 3\) cannot become \(4, 4\)"):
        c.reshape(4, 4)
    for save, load, name in ((net.save, net.copy_from, "w"), (net.save_hdf5, net.load_hdf5, "w.h5")):
        save(str(tmp_path / name))
        b.data[...] = 0
        load(str(tmp_path / name))
        assert np.allclose(c.data.ravel(), np.arange(12) * 0.1)


def test_a_crop_of_cvpr_2015_is_aligned(tmp_path):
    """Its CROP has no offset: 19 in FCN-32s, as the journal's nets say it."""
    text = """
    input: 'data' input_dim: [1, 1, 64, 64]
    layers { name: 'c' type: CONVOLUTION bottom: 'data' top: 'c'
             convolution_param { num_output: 1 kernel_size: 3 pad: 100 } }
    layers { name: 'p' type: POOLING bottom: 'c' top: 'p'
             pooling_param { pool: MAX kernel_size: 32 stride: 32 } }
    layers { name: 'f' type: CONVOLUTION bottom: 'p' top: 'f'
             convolution_param { num_output: 1 kernel_size: 7 } }
    layers { name: 'u' type: DECONVOLUTION bottom: 'f' top: 'u'
             convolution_param { num_output: 1 kernel_size: 64 stride: 32 bias_term: false } }
    layers { name: 'crop' type: CROP bottom: 'u' bottom: 'data' top: 'score' }
    """
    net = net_of(tmp_path, text, caffe.TEST)
    net.params["u"][0].data[...] = np.random.default_rng(1).random((1, 1, 64, 64))
    net.blobs["data"].data[...] = np.random.default_rng(2).random((1, 1, 64, 64))
    net.params["c"][0].data[...] = net.params["f"][0].data[...] = 1
    net.forward()
    offset = 99 - 16 - 3 * 32 + 32  # of the pixels before: padding, half a pool, half a kernel, half a filter
    np.testing.assert_array_equal(
        net.blobs["score"].data, net.blobs["u"].data[:, :, offset : offset + 64, offset : offset + 64]
    )


def test_a_crop_that_nothing_aligns(tmp_path):
    text = INPUT.replace("dim: 2 dim: 3", "dim: [1, 1, 4, 4]")
    text += text.replace("'in'", "'other'").replace("'x'", "'y'")
    text += "layer { name: 'c' type: 'AutoCrop' bottom: 'x' bottom: 'y' top: 'z' }"
    with pytest.raises(NetError, match=r"layer 'c' \(Crop\): its bottoms see no common input"):
        net_of(tmp_path, text)


@pytest.mark.parametrize(
    "sharing",
    [
        "type: 'Flatten'",
        "type: 'Reshape' reshape_param { shape { dim: 0 dim: -1 } }",
        "type: 'Split' top: 'g'",
        "type: 'Flatten' } layer { name: 'r' type: 'ReLU' bottom: 'f' top: 'f'",
    ],
)
def test_an_array_behind_a_layer_that_shares_memory_is_live(tmp_path, sharing):
    """As real Caffe printed, on more values than are copied anyway."""
    net = net_of(
        tmp_path,
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 3 dim: 50 dim: 50 } } }"
        "layer { name: 'c' type: 'Power' bottom: 'x' top: 'c' power_param { scale: 2 } }"
        f"layer {{ name: 'f' bottom: 'c' top: 'f' {sharing} }}",
        caffe.TEST,
    )
    net.blobs["x"].data[...] = 1
    held = net.forward(blobs=["f"])["f"]
    for value in (2, 3):
        net.blobs["x"].data[...] = value
        net.forward()
        assert np.all(held == 2 * value)
        assert np.all(net.blobs["f"].data == 2 * value)
    if "ReLU" not in sharing:
        held[...] = 7
        assert np.all(net.blobs["c"].data == 7)
