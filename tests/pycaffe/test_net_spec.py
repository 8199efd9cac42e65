"""NetSpec against pycaffe's, which wrote net_specs.txt of tests/golden/pycaffe with the script there."""

import copy
import importlib.util
import re

import pytest
from google.protobuf import text_format

from caffe2torch import pycaffe as caffe
from caffe2torch.pycaffe import NetSpec, to_proto
from caffe2torch.pycaffe import layers as L
from caffe2torch.pycaffe import params as P
from caffe2torch.pycaffe.proto import caffe_pb2
from tests.places import GOLDEN

FOLDER = GOLDEN / "pycaffe" / "scripts"
STORED = dict(re.findall(r"^# (\w+)\n(.*?)(?=^# |\Z)", (FOLDER / "net_specs.txt").read_text(), re.M | re.S))


def specs():
    spec = importlib.util.spec_from_file_location("net_specs", FOLDER / "net_specs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SPECS


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.__name__)
def test_specs(spec):
    assert spec(L, P, NetSpec) == text_format.Parse(STORED[spec.__name__], caffe_pb2.NetParameter())


def test_to_proto_of_tops():
    top = L.ReLU(L.Input(), ntop=1)
    both = to_proto(top, L.TanH(top))
    assert both == text_format.Parse(STORED["to_proto"], caffe_pb2.NetParameter())
    assert top.to_proto() == to_proto(top)


def test_a_net_is_built_of_it(tmp_path):
    n = NetSpec()
    n.data = L.Input(shape={"dim": [2, 3]})
    n.double = L.Power(n.data, scale=2)
    (tmp_path / "net.prototxt").write_text(str(n.to_proto()))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.blobs["data"].data[...] = 3
    assert (net.forward()["double"] == 6).all()


def test_tops_by_name():
    n = NetSpec()
    n["conv/1"] = L.Input()
    n.other = L.ReLU(n["conv/1"])
    assert list(n.tops) == ["conv/1", "other"]
    del n.other
    with pytest.raises(KeyError, match="other"):
        _ = n.other
    assert [layer.name for layer in n.to_proto().layer] == ["conv/1"]
    assert list(copy.deepcopy(n).tops) == ["conv/1"]


def test_the_last_of_two_names():
    n = NetSpec()
    n.a = L.Input()
    n.b = n.a
    assert n.to_proto().layer[0].top == ["b"]


def test_values_of_messages():
    n = NetSpec()
    n.a = L.Input(shape=caffe_pb2.BlobShape(dim=[1, 2]))
    n.b = L.Convolution(n.a, kernel_size=(3, 2), weight_filler=caffe_pb2.FillerParameter(type="msra"))
    _, conv = n.to_proto().layer
    assert list(conv.convolution_param.kernel_size) == [3, 2]
    assert conv.convolution_param.weight_filler.type == "msra"


def test_a_net_deeper_than_the_stack():
    top = L.Input()
    for _ in range(3000):
        top = L.ReLU(top)
    assert len(to_proto(top).layer) == 3001


@pytest.mark.parametrize(
    ("top", "error", "message"),
    [
        (lambda: L.ReLU(L.Input(), slope=1), AttributeError, r"'ReLU1' \(ReLU\) has no parameter 'slope'"),
        (lambda: L.Deconvolution(L.Input(), num_output=1), AttributeError, "takes them as a dict"),
        (lambda: L.Convolution(L.Input(), weight_filler={"kind": 1}), AttributeError, "'kind'"),
        (lambda: L.Convolution(L.Input(), weight_filler="xavier"), TypeError, "takes a dict, found str"),
        (lambda: L.Convolution(L.Input(), num_output="many"), TypeError, "str"),
    ],
)
def test_wrong_parameters_are_seen_by_to_proto(top, error, message):
    made = top()
    with pytest.raises(error, match=message):
        made.to_proto()


def test_a_bottom_that_is_none():
    with pytest.raises(TypeError, match=r"^Convolution input 0 is not a Top .type is <class 'int'>.$"):
        L.Convolution(5)


def test_params():
    assert P.Pooling.AVE == 1
    with pytest.raises(AttributeError, match="NoSuch"):
        _ = P.NoSuch.A


def test_caffe_pb2():
    assert (caffe_pb2.TRAIN, caffe_pb2.TEST, caffe_pb2.Phase.Name(1)) == (0, 1, "TEST")
    assert caffe_pb2.V1LayerParameter.LayerType.Value("POOLING") == 17
    net = text_format.Parse("name: 'n' layer { type: 'ReLU' }", caffe_pb2.NetParameter())
    assert caffe_pb2.NetParameter.FromString(net.SerializeToString()) == net
    assert isinstance(caffe_pb2.SolverParameter(base_lr=0.5).base_lr, float)
    assert isinstance(NetSpec().to_proto(), caffe_pb2.NetParameter)
