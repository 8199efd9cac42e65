"""Normalization."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caffe2torch.tracing.calls import says
from caffe2torch.tracing.drawing import Call, Top


@says(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, F.batch_norm)
def batch_norm(
    call: Call,
    x: Top,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> Top:
    """BatchNorm with the running statistics, then Scale: Caffe's BatchNorm learns nothing."""
    if running_mean is None or running_var is None or training:
        call.refuse("normalizes by the batch, which a deploy net cannot; set track_running_stats")
    # The third blob divides the other two, which Caffe sums over iterations (batch_norm_layer.cpp).
    statistics = [running_mean, running_var, torch.ones(1)]
    y = call.layer("BatchNorm", x, blobs=statistics, batch_norm_param={"eps": eps})
    if weight is None:
        return y
    p = {"bias_term": bias is not None}
    return call.layer("Scale", y, blobs=(weight, bias), suffix=".scale", scale_param=p)


@says(nn.LocalResponseNorm, F.local_response_norm)
def local_response_norm(
    call: Call, x: Top, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Top:
    """LRN across channels."""
    if size % 2 == 0:
        call.refuse(f"size is {size}; Caffe's LRN needs an odd one")
    return call.layer("LRN", x, lrn_param={"local_size": size, "alpha": alpha, "beta": beta, "k": k})
