"""MultiStageMeanfield: the conditional random field of CRF-RNN (Zheng et al., ICCV 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.forks.permutohedral import Lattice, lattice
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("MultiStageMeanfield")
class MultiStageMeanfield(Converter):
    """CRF-RNN's: `num_iterations` of mean-field inference, in which near and similar pixels come to agree.

    Bottoms: scores, the scores to start from, and the image as the net takes it; one image at a time. The
    weights come from the caffemodel: CRF-RNN reads initial values from files; here they would be zero.
    """

    bottom_count = (3, 3)
    held_against = "NumPy loops"
    fork_fields = frozenset({"multi_stage_meanfield_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.multi_stage_meanfield_param
        if p.num_iterations < 2 or min(p.theta_alpha, p.theta_beta, p.theta_gamma) <= 0:
            raise self.refuse(
                "needs positive theta_alpha, theta_beta, theta_gamma and 2 or more num_iterations"
            )

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        labels = None if self.bottoms[0] is None else self.bottoms[0][1]
        return tuple(
            BlobSpec(name, (1, 1, labels, labels)) for name in ("spatial", "bilateral", "compatibility")
        )

    def look(self, view: View) -> View | None:
        return view.whole()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        unary, start, image = bottoms
        if len(unary) != 1 or image.shape[1] != 3 or unary.shape[2:] != image.shape[2:]:
            shapes = f"{tuple(unary.shape)} and {tuple(image.shape)}"
            raise self.refuse(f"takes one image of 3 channels and scores of its size, not {shapes}")
        if unary.device.type == "meta":
            return torch.empty_like(unary)
        filters = [(blobs["spatial"], self._spatial(image)), (blobs["bilateral"], self._bilateral(image))]
        norms = [
            1 / (known.filtered(torch.ones_like(image[0, :1]).flatten(1)) + 1e-20) for _, known in filters
        ]
        scores = start
        for _ in range(self.p.num_iterations):
            labels = scores[0].softmax(0).flatten(1)
            heard = [
                w[0, 0] @ (f.filtered(labels) * norm) for (w, f), norm in zip(filters, norms, strict=True)
            ]
            scores = unary - (blobs["compatibility"][0, 0] @ (heard[0] + heard[1])).view(unary.shape)
        return scores

    def _spatial(self, image: Tensor) -> Lattice:
        return lattice(_places(image) / self.p.theta_gamma)

    def _bilateral(self, image: Tensor) -> Lattice:
        colors = image[0].detach().flatten(1).t()
        return lattice(torch.cat([_places(image) / self.p.theta_alpha, colors / self.p.theta_beta], 1))


def _places(image: Tensor) -> Tensor:
    """The coordinates (x, y) of each pixel, (H * W, 2)."""
    y, x = (torch.arange(size, device=image.device, dtype=image.dtype) for size in image.shape[2:])
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).view(-1, 2)
