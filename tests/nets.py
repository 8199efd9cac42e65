"""Small nets from prototxt text, for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from google.protobuf import text_format

from caffe2torch import schema
from caffe2torch.blob import Blob
from caffe2torch.net import Net, from_message


def net_of(text: str, **blobs: list[np.ndarray]) -> Net:
    """The net of a prototxt text; `conv1=[weight, bias]` gives a layer its blobs."""
    net = from_message(text_format.Parse(text, schema.message("NetParameter")()), read_from="net.prototxt")
    layers = tuple(
        replace(
            layer, blobs=tuple(Blob.of(np.asarray(array, np.float32)) for array in blobs.get(layer.name, []))
        )
        for layer in net.layers
    )
    return replace(net, layers=layers, weights="net.caffemodel" if blobs else "")


INPUT = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 11 } } }'
)
