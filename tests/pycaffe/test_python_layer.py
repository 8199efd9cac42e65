"""Python layers: what is there when, whose exceptions come out, and gradients of their own."""

import numpy as np
import pytest

from caffe2torch import pycaffe as caffe
from caffe2torch.errors import NetError
from tests.pycaffe.problem import DATA, FC, net_of, solver_of, write

LAYERS = """
import caffe2torch.pycaffe as caffe
import numpy as np

EVENTS = []

class Scaled(caffe.Layer):
    def __init__(self, *given):
        super().__init__(*given)
        assert not hasattr(self, 'param_str') and not hasattr(self, 'phase')

    def setup(self, bottom, top):
        self.factor = float(self.param_str or 1)
        self.blobs.add_blob(3)
        self.blobs.add_blob(2, 2)
        EVENTS.append(('setup', self.phase, len(bottom), len(top)))

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)
        EVENTS.append('reshape')

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data
        EVENTS.append('forward')

    def backward(self, top, propagate_down, bottom):
        EVENTS.append(list(propagate_down))
        bottom[0].diff[...] = self.factor * top[0].diff
        self.blobs[0].diff[...] += 1

class Failing(Scaled):
    problem = KeyError('mine')
    def forward(self, bottom, top):
        raise self.problem

class NoForward(caffe.Layer):
    def reshape(self, bottom, top):
        pass

class NoReshape(caffe.Layer):
    def forward(self, bottom, top):
        pass

class Parameter(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 0

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] = top[0].diff

class Distance(caffe.Layer):
    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception('needs two')

    def reshape(self, bottom, top):
        self.difference = np.zeros_like(bottom[0].data)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.difference[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = (self.difference ** 2).sum() / bottom[0].num / 2

    def backward(self, top, propagate_down, bottom):
        for i, sign in ((0, 1), (1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = sign * self.difference / bottom[i].num
"""


def python(name, kind, bottoms="", tops="", more=""):
    ends = "".join(f" bottom: '{b}'" for b in bottoms) + "".join(f" top: '{t}'" for t in tops)
    param = f"python_param {{ module: 'users_layers' layer: '{kind}' {more} }}"
    return f"layer {{ name: '{name}' type: 'Python'{ends} {param} }}"


@pytest.fixture
def users(tmp_path, monkeypatch):
    """The module of the user's layers, fresh."""
    import importlib
    import sys

    write(tmp_path / "users_layers.py", LAYERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("users_layers", None)
    yield importlib.import_module("users_layers")
    sys.modules.pop("users_layers", None)


TWO = "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }"


@pytest.mark.parametrize(
    ("module", "layer"),
    [("os", "system"), ("builtins", "exec"), ("math", "pi"), ("collections", "OrderedDict"), ("../x", "L")],
)
def test_what_is_no_layer_is_not_called(tmp_path, module, layer):
    text = TWO + python("a", layer, "x", "s").replace("users_layers", module)
    with pytest.raises(NetError, match=rf"layer 'a' \(Python\): {module}.{layer} is no class derived from"):
        net_of(tmp_path, text)


def test_order_and_gradients(tmp_path, users):
    text = "force_backward: true " + TWO + python("a", "Scaled", "x", "s", "param_str: '3'")
    net = net_of(tmp_path, text, caffe.TEST)
    assert users.EVENTS == [("setup", 1, 1, 1), "reshape"]
    assert net.forward(x=np.ones((2, 3)))["s"].tolist() == [[3] * 3] * 2
    assert users.EVENTS[2:] == ["reshape", "forward"]
    net.reshape()
    assert users.EVENTS[4:] == ["reshape"]
    np.testing.assert_array_equal(net.backward(s=np.ones((2, 3)))["x"], 3)
    assert users.EVENTS[5:] == [[True]]
    assert isinstance(net.layers[1], users.Scaled)
    assert net.layer_dict["a"].factor == 3
    assert [list(blob.shape) for blob in net.params["a"]] == [[3], [2, 2]]
    assert net.params["a"][0].diff.tolist() == [1, 1, 1]


def test_the_net_follows_a_reshaped_input(tmp_path, users):
    net = net_of(tmp_path, TWO + python("a", "Scaled", "x", "s"), caffe.TEST)
    net.blobs["x"].reshape(4, 2)
    assert net.forward()["s"].shape == (4, 2)


def test_parameters_are_saved(tmp_path, users):
    net = net_of(tmp_path, TWO + python("a", "Scaled", "x", "s"), caffe.TEST)
    net.params["a"][1].data[...] = 7
    net.save(str(tmp_path / "a.caffemodel"))
    net.params["a"][1].data[...] = 0
    net.copy_from(str(tmp_path / "a.caffemodel"))
    np.testing.assert_array_equal(net.params["a"][1].data, 7)


def test_exceptions_come_out_as_they_are(tmp_path, users):
    net = net_of(tmp_path, TWO + python("a", "Failing", "x", "s"), caffe.TEST)
    with pytest.raises(KeyError) as caught:
        net.forward()
    assert caught.value is users.Failing.problem
    with pytest.raises(AttributeError):
        net_of(tmp_path, TWO + python("a", "NoForward", "x", "s")).forward()
    with pytest.raises(NetError, match="reshape"):
        net_of(tmp_path, TWO + python("a", "NoReshape", "x", "s"))
    with pytest.raises(AttributeError):
        net_of(tmp_path, TWO + python("a", "Missing", "x", "s"))
    with pytest.raises(ModuleNotFoundError):
        net_of(
            tmp_path, TWO + python("a", "Scaled", "x", "s").replace("users_layers", "no_such_module_at_all")
        )


def test_a_parameter_of_the_users_learns(tmp_path, users):
    loss = "layer { name: 't' type: 'DummyData' top: 't' "
    loss += "dummy_data_param { shape { dim: 1 } data_filler { value: 2 } } }"
    loss += python("p", "Parameter", "", "p")
    loss += "layer { name: 'loss' type: 'EuclideanLoss' bottom: 'p' bottom: 't' top: 'loss' }"
    solver = solver_of(tmp_path, "base_lr: 0.5 lr_policy: 'fixed'", loss)
    solver.step(1)
    assert solver.net.params["p"][0].data.tolist() == [1]
    assert solver.net.params["p"][0].diff.tolist() == [-1]


def test_a_loss_of_the_users_trains_as_caffes_own(tmp_path, users):
    own = (
        DATA + FC + python("loss", "Distance", ["fc", "y"], ["loss"]).replace("type:", "loss_weight: 1 type:")
    )
    solver = solver_of(tmp_path, "base_lr: 0.1 lr_policy: 'fixed' momentum: 0.9 weight_decay: 0.01", own)
    solver.step(2)
    np.testing.assert_allclose(solver.net.params["fc"][0].diff, -0.0341755, atol=1e-6)


def test_a_weighted_top_that_grows_after_setup_loses_its_weight(tmp_path, users):
    layer = python("a", "Scaled", "x", "s").replace("type:", "loss_weight: 2 type:")
    net = net_of(tmp_path, TWO + layer)
    np.testing.assert_array_equal(net.blobs["s"].diff, 2)
    net.blobs["x"].reshape(5, 3)
    net.forward()
    np.testing.assert_array_equal(net.blobs["s"].diff, 0)
