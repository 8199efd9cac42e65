"""Python layers: plugged in by `module.layer`, refused while nobody did."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffe2torch.errors import UnsupportedLayer
from caffe2torch.layers.caffe import python
from caffe2torch.modules.caffe_net import build
from tests.nets import INPUT, net_of
from tests.single_layer import one_layer, run


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(python, "_PYTHON_LAYERS", dict(python._PYTHON_LAYERS))


def test_a_class_takes_param_str_and_its_parameters_are_the_nets():
    @python.python_layer("my_layers.Times")
    class Times(torch.nn.Module):
        def __init__(self, param_str):
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor(float(param_str)))

        def forward(self, x, y):
            return x * self.factor, x + y

    layer = "type: 'Python' python_param { module: 'my_layers' layer: 'Times' param_str: '2.5' }"
    first, second = run(layer, [[1.0, 2.0]], [[3.0, 4.0]], tops=2)
    assert first.tolist() == [[2.5, 5.0]]
    assert second.tolist() == [[4.0, 6.0]]
    model = one_layer(layer, [(1, 2), (1, 2)], tops=2)
    assert list(model.state_dict()) == ["l.module.factor"]
    assert [name for name, _ in model.named_parameters()] == ["l.module.factor"]


def test_two_nets_do_not_share_a_module():
    python.python_layer("my_layers.Linear")(lambda param_str: torch.nn.Linear(2, 2))
    layer = "type: 'Python' python_param { module: 'my_layers' layer: 'Linear' }"
    a, b = one_layer(layer, [(1, 2)]), one_layer(layer, [(1, 2)])
    assert dict(a.named_parameters())["l.module.weight"] is not dict(b.named_parameters())["l.module.weight"]


def test_an_unknown_one_says_how_to_plug_it_in():
    with pytest.raises(UnsupportedLayer, match=r"layer 'l' \(Python\).*'their\.Layer'.*python_layer"):
        one_layer("type: 'Python' python_param { module: 'their' layer: 'Layer' }", [(1, 2)])


def test_without_bottoms_it_is_a_source_of_data():
    net = net_of(
        "layer { name: 'd' type: 'Python' top: 'data' python_param { module: 'voc_layers' layer: 'X' } }"
        "layer { name: 'r' type: 'ReLU' bottom: 'data' top: 'y' }"
    )
    assert build(net).inputs == ("data",)


def test_spatial_dropout_of_enet():
    """In TRAIN whole channels go; in TEST, too, the fork divides by the part it keeps."""
    layer = (
        "type: 'Python' python_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' "
        "param_str: \"{'phase': 'TEST', 'p': '0.2'}\" }"
    )
    x = np.ones((2, 50, 3, 4), np.float32)
    (tested,) = run(layer, x)
    np.testing.assert_allclose(tested, x / 0.8, rtol=1e-6)
    torch.manual_seed(0)
    (trained,) = run(layer, x, phase="TRAIN")
    channels = trained.reshape(100, 12)
    assert (channels == channels[:, :1]).all()
    np.testing.assert_allclose(np.unique(channels), [0, 1.25], rtol=1e-6)


def test_a_parameter_layer_is_a_learned_top():
    text = (
        "layer { name: 'w' type: 'Parameter' top: 'w' parameter_param { shape { dim: 3 } } }"
        "layer { name: 's' type: 'Scale' bottom: 'data' bottom: 'w' top: 'y' scale_param { axis: 1 } }"
    )
    model = build(net_of(INPUT + text, w=[np.array([1.0, 2.0, 3.0])]))
    y = model(data=torch.ones(2, 3, 8, 11))["y"]
    assert y[0, :, 0, 0].tolist() == [1, 2, 3]
    y.sum().backward()
    assert model.blobs()["w"][0].grad.tolist() == [176, 176, 176]
