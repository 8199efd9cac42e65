"""Gaussian filters over many dimensions by the permutohedral lattice (Adams et al., Eurographics 2010).

Each point of d features lies in a simplex of d + 1 lattice points. Its values are spread over them, every
lattice point is mixed with its neighbours along d + 1 directions, and each point gathers from its simplex.
Only lattice points of some point's simplex exist. Where a point lies on a border, rounding decides on the
simplex, and so on what exists; hence float32, in CRF-RNN's order (modified_permutohedral.cpp).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch._torch import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lattice:
    """The lattice of n points: their simplices and the neighbours of each."""

    corners: Tensor
    """(n, d + 1), the lattice points of each point's simplex."""
    shares: Tensor
    """(n, d + 1), the weight of each corner: a point's barycentric coordinates."""
    neighbours: Tensor
    """(d + 1, 2, m), both neighbours of each of m lattice points in each direction; m stands for none."""

    def filtered(self, values: Tensor) -> Tensor:
        """Values (c, n) after the filter: sums with weights near exp(-|difference of the features|^2 / 2)."""
        points, ends = self.corners.shape
        spread = (values.t()[:, None] * self.shares[..., None]).reshape(points * ends, -1)
        # One more row, of zeros, for missing neighbours.
        grid = values.new_zeros(self.neighbours.shape[2] + 1, len(values))
        grid = grid.index_add(0, self.corners.reshape(-1), spread)
        for one, other in self.neighbours:
            grid = torch.cat([grid[:-1] + (grid[one] + grid[other]) / 2, grid[-1:]])
        gathered = (grid[self.corners] * self.shares[..., None]).sum(1)
        return gathered.t() / (1 + 2.0 ** (1 - ends))


def lattice(features: Tensor) -> Lattice:
    """The lattice for the features (n, d) of n points, float32."""
    dimensions = features.shape[1]
    ends = dimensions + 1
    place = _elevated(features)
    origin = (place * _float32(1 / ends)).round()
    # A coordinate's rank is its position by descending distance; the excess of the sum rotates the ranks.
    order = (place - origin * ends).sort(stable=True, dim=1, descending=True).indices
    rank = order.argsort(1) + origin.sum(1, keepdim=True).long()
    turn = (rank < 0).long() - (rank > dimensions).long()
    rank, origin = rank + turn * ends, (origin.long() + turn) * ends
    corner = torch.arange(ends, device=features.device)[:, None, None]
    shift = corner - ends * (rank > dimensions - corner)  # (d + 1, n, d + 1)
    corners, neighbours = _numbered((origin + shift)[..., :dimensions].transpose(0, 1))
    return Lattice(corners, _shares((place - origin) / ends, rank), neighbours)


def _elevated(features: Tensor) -> Tensor:
    """The points (n, d + 1) in the plane of the lattice, where its spacing suits a deviation of 1."""
    dimensions = features.shape[1]
    deviation = _float32(math.sqrt(2 / 3) * (dimensions + 1))
    scales = [deviation / math.sqrt(axis * (axis + 1)) for axis in range(1, dimensions + 1)]
    scaled = features * torch.tensor(scales, device=features.device)
    sums = scaled.flip(1).cumsum(1).flip(1)
    nothing = torch.zeros_like(sums[:, :1])
    axis = torch.arange(1, dimensions + 1, device=features.device)
    return torch.cat([sums, nothing], 1) - torch.cat([nothing, axis * scaled], 1)


def _float32(x: float) -> float:
    return float(torch.tensor(x, dtype=torch.float32))


def _shares(distance: Tensor, rank: Tensor) -> Tensor:
    """Barycentric coordinates: the steps between the distances in the order of their ranks."""
    ends = rank.shape[1]
    steps = distance.new_zeros(len(distance), ends + 1)
    steps = steps.scatter_add(1, ends - 1 - rank, distance).scatter_add(1, ends - rank, -distance)
    return torch.cat([steps[:, :1] + 1 + steps[:, -1:], steps[:, 1:-1]], 1)


def _numbered(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Lattice points by their first d coordinates (n, d + 1, d) -> their numbers, and their neighbours'."""
    dimensions = keys.shape[2]
    flat = keys.reshape(-1, dimensions)
    # Coordinates as the digits of one number, with room for the neighbours of the outermost: up to d further.
    low = flat.amin(0)
    size = flat.amax(0) + dimensions + 1 - low
    digit = torch.cat([torch.ones_like(size[:1]), size[:-1].cumprod(0)])
    if math.prod(size.tolist()) >= 2**63:
        raise OverflowError(f"a lattice of {' x '.join(map(str, size.tolist()))} points is too large")
    known, numbers = torch.unique(((flat - low) * digit).sum(1), return_inverse=True)
    # Direction j: d up along coordinate j, 1 down along the others; the last coordinate is not stored.
    steps = (dimensions + 1) * torch.cat([digit, torch.zeros_like(digit[:1])]) - digit.sum()
    wanted = known + torch.stack([steps, -steps], 1)[..., None]
    found = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    return numbers.view(keys.shape[:2]), found.where(
        known[found] == wanted, torch.full_like(found, len(known))
    )
