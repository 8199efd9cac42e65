"""Fields, Blob, Net: the frozen representation."""

from __future__ import annotations

import numpy as np
import pytest

from caffe2torch import schema
from caffe2torch.blob import Blob
from caffe2torch.errors import NetError
from caffe2torch.net import to_message
from caffe2torch.net.fields import freeze, thaw
from tests.nets import INPUT, net_of


def test_fields_give_schema_defaults_and_know_what_was_given():
    fields = freeze(schema.message("PoolingParameter")(kernel_size=3))
    assert (fields.kernel_size, fields.stride, fields.pool, fields.pad_h) == (3, 1, "MAX", 0)
    assert fields.has("kernel_size")
    assert not fields.has("stride")


def test_fields_refuse_unknown_names_and_changes():
    fields = freeze(schema.message("PoolingParameter")())
    with pytest.raises(AttributeError, match="no field 'kernel'"):
        _ = fields.kernel
    with pytest.raises(AttributeError, match="no field 'kernel'"):
        fields.has("kernel")
    with pytest.raises(AttributeError, match="no field 'kernel'"):
        fields.replace(kernel=3)
    with pytest.raises(AttributeError, match="frozen"):
        fields.pad = 1


def test_thaw_undoes_freeze():
    message = schema.message("LayerParameter")(
        name="conv",
        bottom=["data"],
        param=[{"lr_mult": 0.25, "name": "w"}, {}],
        convolution_param={"num_output": 5, "kernel_size": [3, 7], "weight_filler": {"type": "msra"}},
        include=[{"phase": 0, "stage": ["a", "b"]}],
    )
    assert thaw(freeze(message)) == message


def test_fields_are_equal_by_what_they_give():
    pooling = schema.message("PoolingParameter")
    assert freeze(pooling(stride=1)) != freeze(pooling())
    assert freeze(pooling(stride=2)) == freeze(pooling(stride=2))
    assert hash(freeze(pooling(stride=2))) == hash(freeze(pooling(stride=2)))


def test_net_back_to_its_message():
    text = (
        INPUT
        + 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" relu_param { negative_slope: 0.5 } }'
    )
    net = net_of(text)
    message = to_message(net)
    assert [layer.type for layer in message.layer] == ["Input", "ReLU"]
    assert message.layer[1].relu_param.negative_slope == 0.5
    assert message.layer[1].bottom == message.layer[1].top == ["data"]


def test_a_blob_without_data_is_not_read():
    blob = Blob((2, 3), np.dtype(np.float32), None)
    assert blob.count == 6
    assert not blob.has_data
    with pytest.raises(NetError, match=r"\(2, 3\) has no data"):
        blob.read()
