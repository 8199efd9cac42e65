"""Net -> CaffeNet(nn.Module): every blob used or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.net import Net
from caffe2torch.plan import plan

if TYPE_CHECKING:
    from caffe2torch.modules.caffe_net import CaffeNet


def build(net: Net, phase: str = "TEST", *, allow_missing: bool = False) -> CaffeNet:
    """The net as a torch module that takes any input size.

    Phase "TEST" gives the net that one deploys, in eval mode; "TRAIN" keeps losses and train-only layers, in
    train mode. A net read without weights gets Caffe's fillers, with torch's random numbers. Raises
    UnsupportedLayer, NetError, WeightsError (see plan.py).
    """
    from caffe2torch.modules.caffe_net import CaffeNet

    return CaffeNet(plan(net, phase, allow_missing=allow_missing))
