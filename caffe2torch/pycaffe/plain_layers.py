"""Layers whose backward pass is written out, as torch.autograd takes longer than they do."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2torch.net import Layer
from caffe2torch.pycaffe.blob import Blob
from caffe2torch.pycaffe.net_layers import TorchLayer


def torch_layer(layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob], phase: str) -> TorchLayer:
    """The fastest class for a layer."""
    return TorchLayer(layer, bottoms, tops, phase)
