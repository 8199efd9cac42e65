"""BN: batch normalization with scale and shift in one layer, which three forks define in three ways.

SegNet, ENet,      Recognized by `bn_mode`, or by having two blobs: scale and shift. Normalizes by the
DeconvNet          batch, in phase TEST too, with an eps of 1e-9; with `bn_mode: INFERENCE` only scales and
                   shifts.
The first PSPNet   Recognized by `var_eps`, `moving_average` or `decay`. Mean and variance are two more
                   blobs, which phase TEST uses only with `moving_average`.
yjxiong/caffe,     Recognized by `slope_filler`, `bias_filler`, `momentum`, `eps` or `frozen`. Four blobs;
PSPNet, ICNet      phase TEST uses the stored mean and variance, and so does TRAIN when `frozen`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor

_MARKS = {
    "SegNet": {"bn_mode"},
    "the first PSPNet": {"var_eps", "moving_average", "decay", "axis"},
    "yjxiong/caffe": {"slope_filler", "bias_filler", "momentum", "eps", "frozen"},
}
"""The fields that only one of the forks has."""


def _fork(p: Fields, blobs: int) -> str:
    """Whose BN it is. Without fields it is SegNet's, which has defaults, unless there are four blobs."""
    given = {name for name, _ in p.given()}
    marked = [fork for fork, marks in _MARKS.items() if given & marks]
    if len(marked) > 1:
        raise ValueError(f"bn_param mixes the fields of {' and '.join(marked)}: {', '.join(sorted(given))}")
    if not marked and blobs == 4 and not given & {"scale_filler", "shift_filler"}:
        raise ValueError(
            "bn_param does not say whose BN this is: give eps (yjxiong/caffe) or var_eps (PSPNet)"
        )
    return marked[0] if marked else "the first PSPNet" if blobs == 4 else "SegNet"


@converts("BN")
class BN(Converter):
    """SegNet's, PSPNet's and yjxiong/caffe's: normalizes each channel, then scales and shifts it.

    Its fields show whose it is (layers/forks/bn.py). SegNet's layer, which is DeconvNet's too, gives the
    batch's mean and variance as a second and third top.
    """

    top_count = (1, 3)
    held_against = "NumPy loops"
    depends_on_phase = True
    fork_fields = frozenset({"bn_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.bn_param
        try:
            self.fork = _fork(self.p, len(layer.blobs))
        except ValueError as reason:
            raise self.refuse(str(reason)) from None
        if self.p.axis != 1:
            raise self.refuse(f"axis: {self.p.axis}; only channels on axis 1 are supported")
        by_batch = self.fork == "SegNet" and self.p.bn_mode == "LEARN"
        if len(layer.tops) > (3 if by_batch else 1):
            raise self.refuse(f"makes one top, or three where it normalizes by the batch; has {layer.tops}")
        self.eps = {"SegNet": 1e-9, "the first PSPNet": self.p.var_eps}.get(self.fork, self.p.eps)

    @property
    def _shape(self) -> Shape:
        return (1, None if self.bottoms[0] is None else self.bottoms[0][1], 1, 1)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return (self.bottoms[0], self._shape, self._shape)[: len(self.layer.tops)]

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        shape = self._shape
        xiong = self.fork == "yjxiong/caffe"
        weight = self.p.slope_filler if xiong else self.p.scale_filler
        bias = self.p.bias_filler if xiong else self.p.shift_filler
        learned = BlobSpec("weight", shape, weight), BlobSpec("bias", shape, bias)
        if self.fork == "SegNet":
            return learned
        # yjxiong/caffe lets a frozen layer without blobs divide by one.
        one = Fields("FillerParameter", {"value": 1.0}) if self.p.frozen else None
        statistics = BlobSpec("mean", shape, statistic=True), BlobSpec("variance", shape, one, statistic=True)
        return learned + statistics

    def look(self, view: View) -> View | None:
        only_scales = self.fork == "SegNet" and self.p.bn_mode == "INFERENCE"
        return view if only_scales or self._uses_stored(training=False) else view.whole()

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Tensor) -> tuple[Tensor, ...]:
        (x,) = bottoms
        shape = (1, -1, *(1,) * (x.ndim - 2))
        weight, bias = blobs["weight"].view(shape), blobs["bias"].view(shape)
        if self.fork == "SegNet" and self.p.bn_mode == "INFERENCE":
            return (x * weight + bias,)
        mean, variance = (s.view(shape) for s in self._statistics(x, training, blobs))
        y = (x - mean) * ((variance + self.eps).rsqrt() * weight) + bias
        # Caffe's backward pass knows the first top alone.
        return (y, *(s.detach().view(1, -1, 1, 1) for s in (mean, variance)))[: len(self.layer.tops)]

    def _uses_stored(self, training: bool) -> bool:
        stored = {"SegNet": False, "the first PSPNet": self.p.moving_average and not training}
        return stored.get(self.fork, self.p.frozen or not training)

    def _statistics(self, x: Tensor, training: bool, blobs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        if self._uses_stored(training):
            return blobs["mean"], blobs["variance"]
        variance, mean = torch.var_mean(x, [axis for axis in range(x.ndim) if axis != 1], correction=0)
        if training and self.fork != "SegNet":
            self._move(blobs["mean"], mean)
            self._move(blobs["variance"], variance)
        return mean, variance

    def _move(self, stored: Tensor, batch: Tensor) -> None:
        rate = self.p.decay if self.fork == "the first PSPNet" else 1 - self.p.momentum
        with torch.no_grad():
            stored.mul_(1 - rate).add_(batch.detach().view(stored.shape), alpha=rate)
