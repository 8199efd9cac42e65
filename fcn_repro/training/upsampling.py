"""Frozen bilinear upsampling as two small matrix products, of which only what the crop keeps is computed.

A bilinear kernel is a column times a row, so upsampling multiplies by a matrix from either side:

    rows (H, h) @ scores (h, w) @ columns (w, W) ─→ (H, W)

They have the rows and columns of the image only, so that nothing is cropped afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import caffe2torch as c2t


@contextmanager
def upsampled_by_products(model: nn.Module) -> Iterator[None]:
    """Inside, FCNs whose last upsampling is bilinear and frozen compute the same up to rounding, in float32.

    The upsampling gives its bottom on, and its crop does both.
    """
    with ExitStack() as after:
        for upsampling, crop in _cropped_layers(model):
            if (profile := _profile(upsampling)) is not None:
                work = partial(_upsampled, profile, upsampling.stride[0], int(crop.offset))  # type: ignore[arg-type]
                for layer, forward in ((upsampling, _given_on), (crop, work)):
                    layer.forward = forward
                    after.callback(delattr, layer, "forward")
        yield


def _cropped_layers(model: nn.Module) -> Iterator[tuple[nn.ConvTranspose2d, nn.Module]]:
    """The deconvolutions that are only read by a crop, each with that."""
    layers = model.net().layers if isinstance(model, c2t.FCN) else ()
    writers = {layer.tops[0]: layer for layer in layers if layer.type == "Deconvolution"}
    for crop in layers:
        if crop.type == "Crop" and crop.bottoms[0] in writers:
            upsampling = model.get_submodule(writers[crop.bottoms[0]].name)
            if isinstance(upsampling, nn.ConvTranspose2d):
                yield upsampling, model.get_submodule(crop.name)


def _profile(layer: nn.ConvTranspose2d) -> Tensor | None:
    """The column (k,) that, times itself as a row, is the kernel of every channel; None if there is none."""
    weight = layer.weight.detach()
    if layer.weight.requires_grad or weight.shape[1] != 1 or layer.bias is not None:
        return None
    kernel, middle = weight[0, 0], weight.shape[2] // 2
    profile = kernel[:, middle] / kernel[middle, middle].sqrt()
    same = torch.equal(torch.outer(profile, profile).expand_as(weight), weight)
    return profile if same else None


def _given_on(scores: Tensor) -> Tensor:
    return scores


def _upsampled(profile: Tensor, stride: int, offset: int, scores: Tensor, image: Tensor) -> Tensor:
    """Scores (N, C, h, w) at the size of the image, (N, C, H, W); float32 where they are bfloat16.

    Raises RuntimeError if they end before the image does.
    """
    with torch.autocast(scores.device.type, enabled=False):
        exact = scores.float() if scores.dtype is torch.bfloat16 else scores
        rows, columns = (
            _interpolation(profile.to(exact.dtype), coarse, stride).narrow(0, offset, fine)
            for coarse, fine in zip(scores.shape[2:], image.shape[2:], strict=True)
        )
        return rows @ (exact @ columns.t())


def _interpolation(profile: Tensor, size: int, stride: int) -> Tensor:
    """The matrix that upsamples a column of `size` values, (stride * (size - 1) + k, size)."""
    each = torch.eye(size, dtype=profile.dtype, device=profile.device)
    return F.conv_transpose1d(each[:, None], profile[None, None], stride=stride)[:, 0].t()
