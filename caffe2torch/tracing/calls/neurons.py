"""Activations, softmax, dropout and other elementwise functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caffe2torch.tracing.calls import says
from caffe2torch.tracing.drawing import Call, Top


@says(nn.ReLU, F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")
def relu(call: Call, x: Top, inplace: bool = False) -> Top:
    """ReLU."""
    return call.layer("ReLU", x)


@says(nn.LeakyReLU, F.leaky_relu, F.leaky_relu_)
def leaky_relu(call: Call, x: Top, negative_slope: float = 0.01, inplace: bool = False) -> Top:
    """ReLU with a slope."""
    return call.layer("ReLU", x, relu_param={"negative_slope": negative_slope})


@says(nn.PReLU, F.prelu, torch.prelu)
def prelu(call: Call, x: Top, weight: Tensor) -> Top:
    """PReLU; one slope for all channels is a blob without axes."""
    shared = weight.numel() == 1 != x.shape[1]
    return call.layer("PReLU", x, blobs=[weight], prelu_param={"channel_shared": shared})


@says(nn.ELU, F.elu, F.elu_)
def elu(call: Call, x: Top, alpha: float = 1.0, inplace: bool = False) -> Top:
    """ELU."""
    return call.layer("ELU", x, elu_param={"alpha": alpha})


@says(nn.Sigmoid, F.sigmoid, torch.sigmoid, torch.sigmoid_, "sigmoid", "sigmoid_")
def sigmoid(call: Call, x: Top) -> Top:
    """Sigmoid."""
    return call.layer("Sigmoid", x)


@says(nn.Tanh, F.tanh, torch.tanh, torch.tanh_, "tanh", "tanh_")
def tanh(call: Call, x: Top) -> Top:
    """TanH."""
    return call.layer("TanH", x)


@says(nn.SiLU, F.silu)
def silu(call: Call, x: Top, inplace: bool = False) -> Top:
    """Swish, in Caffe since 2018."""
    return call.layer("Swish", x)


@says(nn.ReLU6, F.relu6)
def relu6(call: Call, x: Top, inplace: bool = False) -> Top:
    """Clip, in Caffe since 2018."""
    return call.layer("Clip", x, clip_param={"min": 0, "max": 6})


@says(nn.Hardtanh, F.hardtanh)
def hardtanh(call: Call, x: Top, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Top:
    """Clip."""
    return call.layer("Clip", x, clip_param={"min": min_val, "max": max_val})


@says(torch.clamp, torch.clip, "clamp", "clamp_", "clip")
def clamp(call: Call, x: Top, min: float | None = None, max: float | None = None) -> Top:  # noqa: A002
    """Clip between two numbers; ReLU from 0 up."""
    if isinstance(min, (int, float)) and isinstance(max, (int, float)):
        return call.layer("Clip", x, clip_param={"min": min, "max": max})
    if min == 0 and max is None:
        return call.layer("ReLU", x)
    return call.refuse(f"from {min} to {max}; Caffe's Clip needs two numbers")


@says(nn.Softplus, F.softplus)
def softplus(call: Call, x: Top, beta: float = 1.0, threshold: float = 20.0) -> Top:
    """BNLL."""
    if beta != 1:
        call.refuse(f"beta is {beta}; Caffe's BNLL has 1")
    return call.layer("BNLL", x)


@says(torch.abs, "abs")
def absolute(call: Call, x: Top) -> Top:
    """AbsVal."""
    return call.layer("AbsVal", x)


@says(torch.exp, "exp")
def exponential(call: Call, x: Top) -> Top:
    """Exp."""
    return call.layer("Exp", x)


@says(torch.log, "log")
def logarithm(call: Call, x: Top) -> Top:
    """Log."""
    return call.layer("Log", x)


@says(nn.Dropout, F.dropout, torch.dropout)
def dropout(call: Call, x: Top, p: float = 0.5, training: bool = False, inplace: bool = False) -> Top:
    """Dropout; the identity when deployed."""
    return call.layer("Dropout", x, dropout_param={"dropout_ratio": p})


@says(nn.Dropout2d, F.dropout2d, nn.AlphaDropout, F.alpha_dropout)
def other_dropout(call: Call, x: Top, *how: object, **settings: object) -> Top:
    """Refused: Caffe's Dropout would train differently."""
    return call.refuse("Caffe's Dropout zeroes single values; put an nn.Identity here to deploy")


@says(nn.Softmax, F.softmax, torch.softmax, "softmax")
def softmax(call: Call, x: Top, dim: int | None = None) -> Top:
    """Softmax over an axis."""
    if dim is None:
        call.refuse("dim is not given")
    return call.layer("Softmax", x, softmax_param={"axis": dim % len(x.shape)})


@says(nn.Softmax2d)
def softmax_of_channels(call: Call, x: Top) -> Top:
    """Softmax over the channels."""
    return softmax(call, x, dim=1)


@says(nn.LogSoftmax, F.log_softmax, torch.log_softmax, "log_softmax")
def log_softmax(call: Call, x: Top, *how: object, **settings: object) -> Top:
    """Refused: Caffe has a softmax and its loss, but not its logarithm."""
    return call.refuse("Caffe has no logarithm of a softmax; end with the scores, or with their softmax")


@says(nn.Identity, "contiguous", "detach", "clone", torch.clone)
def identity(call: Call, x: Top) -> Top:
    """No layer."""
    return x
