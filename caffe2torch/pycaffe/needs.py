"""Which layers a net runs backward, and to which bottoms and parameters (Net::Init)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2torch.net import Layer
from caffe2torch.plan.backward import can_be_forced


@dataclass
class Needs:
    """What the backward pass of one layer computes."""

    backward: bool
    bottoms: list[bool]
    parameters: list[bool]


def needs_of(
    layers: Sequence[Layer], counts: Sequence[int], weighted: Sequence[Sequence[float]], forced: bool
) -> list[Needs]:
    """For each layer of a net with its Splits, given how many parameters it has and its tops' loss weights.

    `forced` is the net's `force_backward`.
    """
    needs, blobs = [], dict[str, bool]()
    for layer, count in zip(layers, counts, strict=True):
        parameters = [layer.lr_mult(place) != 0 for place in range(count)]
        reached = [blobs[bottom] for bottom in layer.bottoms]
        own = Needs(any(parameters) or any(reached), _asked(layer, reached), parameters)
        if own.backward:
            blobs |= dict.fromkeys(layer.tops, True)
        blobs |= {top: blobs.get(top, False) for top in layer.tops}
        needs.append(own)
    _without_losses(layers, weighted, needs)
    if forced:
        for layer, own in zip(layers, needs, strict=True):
            own.backward = True
            own.bottoms = [asked or can_be_forced(layer, i) for i, asked in enumerate(own.bottoms)]
            own.parameters = [True] * len(own.parameters)
    return needs


def _asked(layer: Layer, reached: list[bool]) -> list[bool]:
    return list(layer.fields.propagate_down) or reached


def _without_losses(
    layers: Sequence[Layer], weighted: Sequence[Sequence[float]], needs: Sequence[Needs]
) -> None:
    """Takes away what no loss asks for: above the losses, and below what passes nothing down."""
    under, skipped = set[str](), set[str]()
    for layer, weights, own in zip(*map(reversed, (layers, weighted, needs)), strict=True):
        contributes = any(weights) or any(top in under for top in layer.tops)
        passed = any(top not in skipped for top in layer.tops)
        if own.backward and not passed:
            own.bottoms = [False] * len(own.bottoms)
        own.backward &= contributes and passed
        if contributes:
            under |= set(layer.bottoms)
        else:
            own.bottoms = [False] * len(own.bottoms)
        skipped |= {bottom for bottom, asked in zip(layer.bottoms, own.bottoms, strict=True) if not asked}
