"""Whole forward passes against the same net layer by layer, whatever a script does between two of them."""

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch import pycaffe as caffe
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.inference.passes import Passes
from caffe2torch.pycaffe import whole
from tests.places import GOLDEN
from tests.pycaffe.problem import net_of

IN = "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 3 dim: 9 dim: 8 } } }\n"
CONV = """layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param {
  num_output: 4 kernel_size: 3 pad: 20 weight_filler { type: 'xavier' } } }
layer { name: 'r' type: 'ReLU' bottom: 'c' top: 'c' }
"""
NET = (
    IN
    + CONV
    + """
layer { name: 'p' type: 'Pooling' bottom: 'c' top: 'p' pooling_param { kernel_size: 2 stride: 2 } }
layer { name: 'd' type: 'Convolution' bottom: 'p' top: 'd' convolution_param {
  num_output: 2 kernel_size: 3 weight_filler { type: 'xavier' } } }
layer { name: 'e' type: 'Convolution' bottom: 'p' top: 'e' convolution_param {
  num_output: 2 kernel_size: 3 weight_filler { type: 'xavier' } } }
layer { name: 's' type: 'Eltwise' bottom: 'd' bottom: 'e' top: 's' }
"""
)


@pytest.fixture(autouse=True)
def every_net_is_large(monkeypatch):
    monkeypatch.setattr(whole, "LARGE", 0)


@pytest.fixture
def passes(monkeypatch):
    """What was computed at once: "outputs", or the "blobs" between."""
    seen = []
    for name in ("outputs", "blobs"):
        own = getattr(Passes, name)

        def spy(self, *given, own=own, name=name):
            seen.append(name)
            return own(self, *given)

        monkeypatch.setattr(Passes, name, spy)
    return seen


class Twins:
    """A net, and the same layer by layer; `both` is done to either."""

    def __init__(self, folder, text=NET, seed=1):
        self.nets = [net_of(folder, text, caffe.TEST) for _ in range(2)]
        self.nets[1].before_forward(lambda layer: None)
        self.rng = np.random.default_rng(seed)
        for name, blobs in self.nets[0].params.items():
            for place, blob in enumerate(blobs):
                values = self.rng.normal(0, 0.3, blob.shape)
                self.both(lambda net, at=(name, place), v=values: put(net.params[at[0]][at[1]], v))
        self.feed()

    def both(self, act):
        return [act(net) for net in self.nets]

    def feed(self):
        values = self.rng.normal(0, 1, self.nets[0].blobs["x"].shape)
        self.both(lambda net: put(net.blobs["x"], values))

    def forward(self):
        self.both(lambda net: net.forward())
        self.same("s")

    def same(self, *names):
        for name in names:
            ours, theirs = self.both(lambda net, name=name: net.blobs[name].data)
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def put(blob, values):
    blob.data[...] = values


@pytest.fixture
def twins(tmp_path):
    return Twins(tmp_path)


def test_the_outputs_are_computed_and_what_is_between_when_somebody_looks(twins, passes):
    twins.forward()
    assert passes == ["outputs"]
    twins.same(*twins.nets[0].blobs)
    assert passes == ["outputs", "blobs"]


def test_a_whole_fcn(tmp_path):
    path, weights = tmp_path / "fcn.prototxt", tmp_path / "fcn.caffemodel"
    model = c2t.FCN8s(5, widths=(4, 4, 4, 4, 4, 8, 8))
    c2t.export(model, weights)
    c2t.export(model, path)
    nets = [caffe.Net(str(path), str(weights), caffe.TEST) for _ in range(2)]
    nets[1].before_forward(lambda layer: None)
    image = np.random.default_rng(0).normal(0, 50, (1, 3, 33, 47))
    for net in nets:
        net.blobs["data"].reshape(*image.shape)
        put(net.blobs["data"], image)
        net.forward()
    assert list(nets[0].blobs) == list(nets[1].blobs)
    for name, blob in nets[1].blobs.items():
        found, expected = nets[0].blobs[name].data, blob.data
        assert found.shape == expected.shape
        assert np.linalg.norm(found - expected) <= 2e-6 * np.linalg.norm(expected), name


@pytest.mark.parametrize("place", ["data", "conv1_1", "conv3_2", "fc6", "score_fr"])
def test_nan_of_a_whole_fcn(place, passes):
    """A ReLU that is computed by the convolution before it would make it 0."""
    folder = GOLDEN / "fcn" / "voc-fcn8s"
    paths = str(folder / "deploy.prototxt"), str(folder / "weights.caffemodel")
    nets = [caffe.Net(*paths, caffe.TEST) for _ in range(2)]
    nets[1].before_forward(lambda layer: None)
    image = np.random.default_rng(0).normal(0, 50, (1, 3, 64, 50))
    for net in nets:
        net.blobs["data"].reshape(*image.shape)
        put(net.blobs["data"], image)
        blob = net.blobs["data"] if place == "data" else net.params[place][0]
        blob.data[0, 0, -1, -1] = np.nan
        net.forward()
    ours, theirs = (net.blobs["score"].data for net in nets)
    assert passes == ["outputs"]
    assert np.isnan(theirs).any()
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))


def test_a_look_shows_the_last_pass_whatever_was_changed_since(twins):
    twins.forward()
    twins.feed()
    twins.both(lambda net: put(net.params["c"][0], 0.25))
    twins.same("c", "p", "d")
    twins.forward()
    twins.same("c")


def test_copies_of_a_split_share_their_memory(twins):
    twins.forward()
    twins.both(lambda net: put(net.blobs["p_p_0_split_0"], 3))
    twins.same("p_p_0_split_1", "p")


def test_changed_weights_count(twins, passes, tmp_path):
    twins.forward()
    twins.both(lambda net: put(net.params["d"][1], 2))
    twins.forward()
    twins.nets[0].save(tmp_path / "w.caffemodel")
    twins.both(lambda net: put(net.params["d"][1], 5))
    twins.forward()
    twins.both(lambda net: net.copy_from(tmp_path / "w.caffemodel"))
    twins.forward()
    assert passes == ["outputs"] * 4


def test_weights_that_are_another_nets_count(twins, passes, tmp_path):
    twins.forward()
    for net, source in zip(twins.nets, Twins(tmp_path, seed=2).nets, strict=True):
        net.share_with(source)
    twins.forward()
    assert passes == ["outputs"] * 2


def test_shared_weights_of_another_shape_count(tmp_path, passes):
    text = IN + "".join(
        f"layer {{ name: '{name}' type: 'Convolution' bottom: 'x' top: '{name}' convolution_param {{ "
        f"num_output: 2 kernel_h: {h} kernel_w: {w} bias_term: false }} "
        "param { name: 'w' share_mode: PERMISSIVE } }"
        for name, h, w in (("s", 2, 3), ("e", 3, 2))
    )
    twins = Twins(tmp_path, text)
    twins.forward()
    twins.both(lambda net: put(net.params["e"][0], 0.5))
    twins.forward()
    twins.same("e")
    held = twins.both(lambda net: net.params["e"][0].data)
    for array in held:
        array[0] = 2
    twins.forward()
    assert passes == ["outputs"] * 2


def test_an_array_of_weights_that_is_held_counts(twins, passes):
    held = twins.both(lambda net: net.params["c"][0].data[1:])
    twins.forward()
    for array in held:
        array[...] = 0.5
    twins.forward()
    assert passes == []
    del held, array
    twins.forward()
    assert passes == ["outputs"]


def test_an_array_between_that_is_held_shows_each_pass(twins):
    held = twins.both(lambda net: net.blobs["p"].data)
    for _ in range(2):
        twins.feed()
        twins.forward()
        np.testing.assert_allclose(*held, rtol=1e-5, atol=1e-6)


def test_who_looks_once_gets_the_next_pass_layer_by_layer(twins, passes):
    twins.forward()
    twins.same("d")
    twins.feed()
    twins.forward()
    assert passes == ["outputs", "blobs"]
    twins.same("e")  # there already
    twins.forward()
    twins.forward()
    assert passes == ["outputs", "blobs", "outputs"]


def test_who_looks_each_time_keeps_no_packed_weights(twins):
    own = twins.nets[0]._running._whole
    packed = []
    for _ in range(4):
        twins.feed()
        twins.forward()
        packed.append(own._passes is not None)
        twins.same("d")
    assert packed == [True, True, False, False]
    for _ in range(2):
        twins.forward()
    assert own._passes is not None


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_look_is_made_up_for(twins, monkeypatch, error):
    def interrupted(self, *given):
        raise error

    twins.forward()
    with monkeypatch.context() as patch:
        patch.setattr(Passes, "blobs", interrupted)
        with pytest.raises(error):
            _ = twins.nets[0].blobs["p"].data
    twins.same("p", "c")
    twins.feed()
    twins.forward()
    twins.same("p")


@pytest.mark.parametrize(
    "around",
    [torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["inference", "autocast"],
)
def test_what_a_script_has_set_in_torch_changes_nothing(tmp_path, around):
    expected = Twins(tmp_path)
    with around():
        twins = Twins(tmp_path)
        for _ in range(2):  # at once, and layer by layer
            twins.forward()
            twins.same("d")
        twins.both(lambda net: net.blobs["x"].reshape(2, 3, 30, 30))
        twins.feed()
        twins.forward()
        twins.both(lambda net: net.blobs["x"].reshape(*expected.nets[0].blobs["x"].shape))
        twins.both(lambda net: put(net.blobs["x"], expected.nets[0].blobs["x"].data))
    for _ in range(2):
        twins.both(lambda net: net.forward())
        expected.forward()
        for name in ("s", "d"):
            ours, theirs = (own.nets[0].blobs[name].data for own in (twins, expected))
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_parts_of_the_net_go_on_from_a_whole_pass(twins):
    twins.forward()
    twins.feed()
    twins.both(lambda net: net.forward(start="d"))
    twins.same("s", "c")
    twins.forward()
    twins.both(lambda net: net.forward(end="p"))
    twins.same("c", "p", "d", "s")


def test_sizes_follow(twins, passes):
    twins.forward()
    twins.both(lambda net: net.blobs["x"].reshape(2, 3, 15, 7))
    twins.feed()
    twins.forward()
    assert twins.nets[0].blobs["p"].shape == [2, 4, 27, 23]
    twins.same("p", "d")
    twins.both(lambda net: net.blobs["x"].reshape(1, 3, 5, 5))
    twins.both(lambda net: net.reshape())
    twins.feed()
    twins.forward()
    twins.forward()
    twins.both(lambda net: net.blobs["c"].reshape(1, 2, 3, 4))
    twins.forward()
    twins.same("c")
    assert passes.count("outputs") > 2


def test_hooks_see_each_layer(twins, passes):
    seen = []
    twins.nets[0].after_forward(seen.append)
    twins.forward()
    assert seen == list(range(8))
    assert passes == []


def test_an_image_that_does_not_fit_has_the_message_of_its_layer(twins):
    twins.both(lambda net: net.blobs["x"].reshape(1, 2, 9, 8))
    messages = []
    for net in twins.nets:
        with pytest.raises(Caffe2TorchError) as error:
            net.forward()
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "text",
    [
        f"force_backward: true {NET}",
        IN + "layer { name: 'f' type: 'Flatten' bottom: 'x' top: 'f' }",
        IN + "layer { name: 'f' type: 'Reshape' bottom: 'x' top: 'f' reshape_param { shape { dim: 0 dim: 3 "
        "dim: 8 dim: 9 } } } layer { name: 'r' type: 'ReLU' bottom: 'f' top: 'f' }"
        + CONV.replace("'x'", "'f'"),
        f"{IN} layer {{ name: 'w' type: 'Power' bottom: 'x' top: 'x' power_param {{ scale: 0.5 }} }} {CONV}",
        CONV.join(
            (
                "layer { name: 'in' type: 'DummyData' top: 'x' dummy_data_param { shape { dim: 1 dim: 3 "
                "dim: 9 dim: 8 } } }",
                "",
            )
        ),
    ],
    ids=["backward", "no convolution", "shared memory", "an input in place", "data"],
)
def test_other_nets_run_layer_by_layer(tmp_path, passes, text):
    net_of(tmp_path, text, caffe.TEST).forward()
    assert passes == []
