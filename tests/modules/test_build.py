"""CaffeNet: names, inputs and outputs, in-place blobs, shared parameters, losses, fillers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffe2torch.errors import NetError
from caffe2torch.modules.caffe_net import build
from caffe2torch.modules.fillers import fill
from caffe2torch.net.fields import freeze
from caffe2torch.net.reading import read
from caffe2torch.schema import message
from tests.nets import INPUT, net_of
from tests.places import GOLDEN

CONV = """layer {{ name: "{0}" type: "Convolution" bottom: "data" top: "y"
convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "msra" }} }} }}"""


@pytest.mark.parametrize(
    "name", ["conv", "data2", "type", "forward", "train", "inception_3a/1x1", "a.b.c", "plan"]
)
def test_any_layer_name_is_a_state_dict_key(name):
    model = build(net_of(INPUT + CONV.format(name)))
    assert set(model.state_dict()) == {f"{name}.weight", f"{name}.bias"}
    twin = build(net_of(INPUT + CONV.format(name)))
    twin.load_state_dict(model.state_dict())
    data = torch.randn(1, 3, 8, 11)
    torch.testing.assert_close(twin(data=data)["y"], model(data=data)["y"], rtol=0, atol=0)


@pytest.mark.parametrize("names", [("a", "a.b", "a.b.c"), ("a.b.c", "a.b", "a"), ("a.b", "a.b.c", "a")])
def test_a_name_inside_another(names):
    tops = [f'top: "y{name}"' for name in names]
    convs = [CONV.format(name).replace('top: "y"', top) for name, top in zip(names, tops, strict=True)]
    model = build(net_of(INPUT + "".join(convs)))
    assert set(model.state_dict()) == {f"{name}.{blob}" for name in names for blob in ("weight", "bias")}
    assert list(model.blobs()) == list(names)
    assert model(data=torch.zeros(1, 3, 8, 11))["ya"].shape == (1, 4, 6, 9)


def test_any_input_size():
    model = build(net_of(INPUT + CONV.format("conv")))
    assert model(data=torch.zeros(5, 3, 21, 14))["y"].shape == (5, 4, 19, 12)


def test_inputs_by_name_or_in_order():
    model = build(net_of(INPUT + CONV.format("conv")))
    data = torch.randn(1, 3, 8, 11)
    torch.testing.assert_close(model(data)["y"], model(data=data)["y"], rtol=0, atol=0)
    for wrong in ((), (data, data)):
        with pytest.raises(NetError, match="takes inputs data; given: "):
            model(*wrong)
    with pytest.raises(NetError, match="given: image"):
        model(image=data)


def test_in_place_layers_do_not_reach_back():
    text = f"""{INPUT}
    layer {{ name: "before" type: "Split" bottom: "data" top: "before" }}
    layer {{ name: "relu" type: "ReLU" bottom: "data" top: "data" }}
    layer {{ name: "sum" type: "Eltwise" bottom: "data" bottom: "before" top: "sum" }}"""
    data = torch.tensor([-2.0, 3.0]).reshape(1, 1, 1, 2)
    with pytest.raises(NetError, match="'relu' computes in place on 'data', which layer 'before' reads too"):
        build(net_of(text))
    text = text.replace('bottom: "data" top: "data"', 'bottom: "before" top: "before"')
    blobs = build(net_of(text)).every_blob(data=data)
    assert blobs["sum"].flatten().tolist() == [0.0, 6.0]
    assert data.flatten().tolist() == [-2.0, 3.0]


def test_shared_parameters_are_one_tensor():
    conv = """layer {{ name: "{0}" type: "Convolution" bottom: "data" top: "{0}" param {{ name: "w" }}
    convolution_param {{ num_output: 3 kernel_size: 3 bias_term: false }} }}"""
    model = build(net_of(INPUT + conv.format("a") + conv.format("b")))
    assert model.blobs()["a"][0] is model.blobs()["b"][0]
    assert len(list(model.parameters())) == 1


def test_a_parameter_layer_gives_its_blob():
    text = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 } } }'
    model = build(net_of(text, p=[np.arange(6).reshape(2, 3)]))
    (top,) = model().values()
    assert top.tolist() == [[0, 1, 2], [3, 4, 5]]
    (top * top).sum().backward()
    assert model.blobs()["p"][0].grad.tolist() == [[0, 2, 4], [6, 8, 10]]


def test_frozen_parameters_take_no_gradient():
    conv = CONV.format("conv").replace('top: "y"', 'top: "y" param { lr_mult: 0 } param { lr_mult: 2 }')
    weight, bias = build(net_of(INPUT + conv)).blobs()["conv"]
    assert (weight.requires_grad, bias.requires_grad) == (False, True)


def test_the_loss_is_weighted():
    text = INPUT + INPUT.replace('"data"', '"label"').replace("dim: 3", "dim: 1")
    loss = 'layer {{ name: "{0}" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" top: "{0}" {1} }}'
    model = build(net_of(text + loss.format("a", "") + loss.format("b", "loss_weight: 0.25")), "TRAIN")
    tops = model(data=torch.randn(2, 3, 8, 11), label=torch.ones(2, 1, 8, 11))
    torch.testing.assert_close(model.loss(tops), tops["a"] * 1.25)
    with pytest.raises(NetError, match="has no loss"):
        build(net_of(INPUT)).loss({})


def test_phases_set_the_mode():
    assert build(net_of(INPUT), "TRAIN").training
    assert not build(net_of(INPUT), "TEST").training


def test_without_weights_and_shapes_nothing_is_guessed():
    with pytest.raises(NetError, match=r"'conv\.weight' has shape"):
        build(net_of('layer { name: "data" type: "Input" top: "data" }' + CONV.format("conv")))


def test_blobs_are_copied_not_aliased():
    weight, bias = np.ones((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)
    model = build(net_of(INPUT + CONV.format("conv"), conv=[weight, bias]))
    with torch.no_grad():
        model.blobs()["conv"][0].zero_()
    assert weight.all()


def filler(**fields):
    return freeze(message("FillerParameter")(**fields))


@pytest.mark.parametrize(
    ("fields", "mean", "std", "low", "high"),
    [
        ({"type": "constant", "value": 2.5}, 2.5, 0, 2.5, 2.5),
        ({"type": "uniform", "min": -1, "max": 3}, 1, 4 / 12**0.5, -1, 3),
        ({"type": "gaussian", "mean": 1, "std": 0.5}, 1, 0.5, -4, 6),
        ({"type": "xavier"}, 0, (1 / 150) ** 0.5, -((3 / 150) ** 0.5), (3 / 150) ** 0.5),
        ({"type": "xavier", "variance_norm": 1}, 0, (1 / 500) ** 0.5, -((3 / 500) ** 0.5), (3 / 500) ** 0.5),
        ({"type": "msra", "variance_norm": 2}, 0, (2 / 325) ** 0.5, -1, 1),
    ],
)
def test_fillers(fields, mean, std, low, high):
    values = fill((100, 30, 5, 1), filler(**fields), torch.Generator().manual_seed(0))
    assert values.mean().item() == pytest.approx(mean, abs=0.02 * max(std, 1e-6))
    assert values.std().item() == pytest.approx(std, rel=0.02, abs=1e-6)
    assert low <= values.min() <= values.max() <= high


def test_sparse_gaussian_keeps_that_many_per_output():
    values = fill((200, 50), filler(type="gaussian", sparse=20), torch.Generator().manual_seed(0))
    assert (values != 0).float().mean().item() == pytest.approx(20 / 200, rel=0.1)


def test_unitball_rows_sum_to_one():
    rows = fill((7, 3, 2), filler(type="positive_unitball"), torch.Generator().manual_seed(0)).view(7, -1)
    torch.testing.assert_close(rows.sum(1), torch.ones(7))
    assert (rows >= 0).all()


BILINEAR = {  # ramps whose outer product with themselves is the kernel; those of 1.0 as Caffe 1.0 filled it
    "1.0": ([1], [0.25, 0.75, 0.75], [0.25, 0.75, 0.75, 0.25], [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0]),
    "master": ([1], [0.5, 1, 0.5], [0.25, 0.75, 0.75, 0.25], [1 / 6, 0.5, 5 / 6, 5 / 6, 0.5, 1 / 6]),
}


@pytest.mark.parametrize(("version", "row"), [(name, row) for name, rows in BILINEAR.items() for row in rows])
def test_the_bilinear_filler_is_caffes(version, row):
    size = len(row)
    values = fill((2, 5, size, size), filler(type="bilinear"), bilinear=version)
    expected = torch.outer(torch.tensor(row), torch.tensor(row))
    torch.testing.assert_close(values, expected.expand(2, 5, size, size).float())


def test_the_bilinear_filler_is_master_s_unless_asked():
    net = read(GOLDEN / "corners" / "bilinear_filler_k3" / "net.prototxt")
    for version, row in (({}, [0.5, 1, 0.5]), ({"bilinear": "1.0"}, [0.25, 0.75, 0.75])):
        (weight,) = build(net, **version).blobs()["d"]
        torch.testing.assert_close(weight[1, 0], torch.outer(torch.tensor(row), torch.tensor(row)))
    with pytest.raises(NetError, match=r"bilinear is '2\.0'; it must be 'master' or '1\.0'"):
        build(net, bilinear="2.0")


@pytest.mark.parametrize(
    ("shape", "type_"), [((2, 3, 4, 5), "bilinear"), ((2, 3), "bilinear"), ((2,), "magic")]
)
def test_fillers_that_cannot_be_are_refused(shape, type_):
    with pytest.raises(NetError, match=f"filler type '{type_}'"):
        fill(shape, filler(type=type_))


def test_what_torch_cannot_compute_names_the_layer_and_its_bottoms():
    text = """
    layer { name: "a" type: "Input" top: "a" }
    layer { name: "b" type: "Input" top: "b" }
    layer { name: "c" type: "Concat" bottom: "a" bottom: "b" top: "c" }"""
    model = build(net_of(text))
    with pytest.raises(
        NetError, match=r"'c' \(Concat\): cannot compute on \[\(1, 3, 4, 5\), \(2, 3, 4, 5\)\]: Size"
    ):
        model(a=torch.zeros(1, 3, 4, 5), b=torch.zeros(2, 3, 4, 5))


@pytest.mark.parametrize(("filler", "problem"), [
    ('"gaussian" std: -1', "'gaussian' has std -1; it must be 0 or more"),
    ('"uniform" min: 2 max: 1', "'uniform' has min 2 above max 1"),
])  # fmt: skip
def test_a_filler_that_cannot_be_drawn_is_refused(filler, problem):
    with pytest.raises(NetError, match=problem):
        build(net_of(INPUT + CONV.format("conv").replace('"msra"', filler)))
