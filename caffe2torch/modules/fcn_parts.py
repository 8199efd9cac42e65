"""The layers of the FCNs that PyTorch does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Crop(nn.Module):
    """A view of (N, C, H, W) from `offset` on, with the height and width of `reference`."""

    def __init__(self, offset: int) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        """`x`, cropped. Raises RuntimeError if it ends before the reference does."""
        height, width = reference.shape[2:]
        return x.narrow(2, self.offset, height).narrow(3, self.offset, width)

    def extra_repr(self) -> str:
        """The offset, the same on both axes."""
        return f"offset={self.offset}"


class Sum(nn.Module):
    """The sum of two tensors of the same shape: the fusion of scores (CVPR, Section 4.2)."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum, of the same shape."""
        return x + y


class Mean(nn.Module):
    """The mean of tensors of the same shape: late fusion (CVPR, Section 5, NYUDv2)."""

    def forward(self, *xs: Tensor) -> Tensor:
        """The mean, of the same shape."""
        return torch.stack(xs).mean(0)


class Concat(nn.Module):
    """Images of the same size, their channels concatenated: early fusion (CVPR, Section 5, NYUDv2)."""

    def forward(self, *xs: Tensor) -> Tensor:
        """(N, the sum of the channels, H, W)."""
        return torch.cat(xs, 1)


class Scale(nn.Module):
    """Multiplication by a constant per channel, `weight` (C,), which is not trained."""

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), value), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The scaled features, of the same shape."""
        return x * self.weight[:, None, None]
