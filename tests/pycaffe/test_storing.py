"""Saved nets, and nets that share parameters."""

import h5py
import numpy as np
import pytest

import caffe2torch as c2t
from caffe2torch import pycaffe as caffe
from caffe2torch.errors import WeightsError, WriteError
from caffe2torch.pycaffe.proto import caffe_pb2
from tests.pycaffe.problem import DATA, FC, LOSS, NET, net_of

SECOND = FC.replace("'fc'", "'fc2'").replace("inner_product_param", "inner_product_param")


@pytest.mark.parametrize("name", ["w.caffemodel", "w.caffemodel.h5"])
def test_there_and_back(tmp_path, name):
    net, path = net_of(tmp_path, NET), str(tmp_path / name)
    net.params["fc"][0].data[...] = [[1, 2, 3]]
    held = net.params["fc"][0].data
    (net.save_hdf5 if name.endswith("h5") else net.save)(path)
    held[...] = 0
    net.copy_from(path)
    np.testing.assert_array_equal(held, [[1, 2, 3]])
    held[...] = 0
    if name.endswith("h5"):
        net.load_hdf5(path)
        np.testing.assert_array_equal(held, [[1, 2, 3]])


def test_a_saved_net_holds_every_layer_with_its_phase(tmp_path):
    net = net_of(tmp_path, NET + "layer { name: 'p' type: 'Power' bottom: 'fc' top: 'p' }")
    net.save(str(tmp_path / "w.caffemodel"))
    stored = c2t.read(weights=tmp_path / "w.caffemodel")
    assert [layer.name for layer in stored.layers] == ["d", "fc", "fc_fc_0_split", "loss", "p"]
    assert {layer.fields.phase for layer in stored.layers} == {"TRAIN"}
    assert [blob.shape for blob in stored.layers[1].blobs] == [(1, 3), (1,)]


def test_hdf5_has_a_group_for_each_layer(tmp_path):
    net = net_of(tmp_path, NET)
    net.save_hdf5(str(tmp_path / "w.h5"))
    with h5py.File(tmp_path / "w.h5") as file:
        assert {name: list(group) for name, group in file["data"].items()} == {
            "d": [],
            "fc": ["0", "1"],
            "loss": [],
        }
    with pytest.raises(WriteError, match="a/b"):
        net_of(tmp_path, NET.replace("'fc' type", "'a/b' type")).save_hdf5(str(tmp_path / "w.h5"))


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    other = NET.replace("num_output: 1", "num_output: 2").replace("dim: 2 dim: 1", "dim: 2 dim: 2")
    net_of(tmp_path, other).save(str(tmp_path / "w.caffemodel"))
    net = net_of(tmp_path, NET)
    with pytest.raises(WeightsError, match="rename the layer"):
        net.copy_from(str(tmp_path / "w.caffemodel"))
    np.testing.assert_array_equal(net.params["fc"][0].data, 0.5)


def test_what_is_not_the_nets_is_refused(tmp_path):
    """Another number of blobs, a shape without data, and names that HDF5 cannot tell apart."""
    net, without_bias = net_of(tmp_path, NET), NET.replace("num_output: 1", "num_output: 1 bias_term: false")
    without_bias = without_bias.replace("param { lr_mult: 2 decay_mult: 0 }", "")
    other = net_of(tmp_path, without_bias)
    for name in ("w.caffemodel", "w.caffemodel.h5"):
        (other.save_hdf5 if name.endswith("h5") else other.save)(str(tmp_path / name))
        with pytest.raises(WeightsError, match=r"layer 'fc' holds 1 blobs, the net's 2; is it"):
            net.copy_from(str(tmp_path / name))
    with pytest.raises(WeightsError, match=r"layer 'fc' has 1 blobs, here 2; is it the same"):
        net.share_with(other)
    message = caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    (blob,) = (blob for layer in message.layer for blob in layer.blobs)
    blob.ClearField("data")
    (tmp_path / "w.caffemodel").write_bytes(message.SerializeToString())
    with pytest.raises(WeightsError, match="layer 'fc' blob 0 has a shape and no data"):
        other.copy_from(str(tmp_path / "w.caffemodel"))
    twins = "".join(f"layer {{ name: 'p' type: 'Power' bottom: 'fc' top: '{top}' }}" for top in "ab")
    with pytest.raises(WriteError, match="two layers have one name"):
        net_of(tmp_path, NET + twins).save_hdf5(str(tmp_path / "twins.h5"))
    assert not (tmp_path / "twins.h5").exists()


def test_a_layer_of_one_phase_is_saved_with_it(tmp_path):
    text = NET + "layer { name: 'p' type: 'Power' bottom: 'fc' top: 'p' phase: TEST }"
    net_of(tmp_path, text).save(str(tmp_path / "w.caffemodel"))
    stored = c2t.read(weights=tmp_path / "w.caffemodel")
    assert {layer.name: layer.fields.phase for layer in stored.layers if layer.name in ("fc", "p")} == {
        "fc": "TRAIN",
        "p": "TEST",
    }


def test_sharing_data_but_not_diffs(tmp_path):
    net, other = net_of(tmp_path, NET), net_of(tmp_path, NET)
    before = net.params["fc"][0].data
    net.share_with(other)
    other.params["fc"][0].data[...] = 3
    np.testing.assert_array_equal(net.params["fc"][0].data, 3)
    np.testing.assert_array_equal(before, 0.5)
    other.forward()
    other.backward()
    np.testing.assert_array_equal(net.params["fc"][0].diff, 0)
    smaller = NET.replace("dim: 2 dim: 3", "dim: 2 dim: 4")
    with pytest.raises(WeightsError):
        net.share_with(net_of(tmp_path, smaller))


def test_parameters_shared_by_name_are_one(tmp_path):
    named = FC.replace("lr_mult: 1", "name: 'w' lr_mult: 1")
    second = named.replace("'fc'", "'fc2'").replace("top: 'fc'", "top: 'fc2'")
    text = DATA + named + second + LOSS + LOSS.replace("'loss'", "'loss2'").replace("'fc'", "'fc2'")
    net = net_of(tmp_path, text)
    assert list(net.params) == ["fc", "fc2"]
    net.params["fc"][0].data[...] = 2
    np.testing.assert_array_equal(net.params["fc2"][0].data, 2)
    net.params["fc"][0].data[...] = 0.5
    net.forward()
    net.backward()
    np.testing.assert_array_equal(net.params["fc2"][0].diff, -0.5)
    np.testing.assert_array_equal(net.params["fc2"][1].diff, -0.25)
    net.save_hdf5(str(tmp_path / "w.h5"))
    with h5py.File(tmp_path / "w.h5") as file:
        assert list(file["data/fc2"]) == ["1"]
    net.params["fc"][0].data[...] = 9
    net.copy_from(str(tmp_path / "w.h5"))
    np.testing.assert_array_equal(net.params["fc2"][0].data, 0.5)


def test_arrays_outlive_the_net(tmp_path):
    solver_net = net_of(tmp_path, NET)
    weight = solver_net.params["fc"][0].data
    del solver_net
    np.testing.assert_array_equal(weight, 0.5)
    assert caffe.TEST == 1
