"""What Caffe's Net::Backward computes: its losses, and which bottoms and parameters get a gradient (net.cpp).

`force_backward` overrides `propagate_down` and `lr_mult: 0`: a frozen parameter then has a gradient, which
`clip_gradients` counts and the histories of most solvers take in. Its rate stays 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from caffe2torch.errors import NetError
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from caffe2torch.plan import Plan, Step


def propagated(plan: Plan, layer: Layer) -> tuple[bool, ...]:
    """Which bottoms a gradient may reach, as `propagate_down` says; () when it says nothing."""
    given: tuple[bool, ...] = layer.fields.propagate_down
    return _forced(layer, given) if plan.net.force_backward else given


def _forced(layer: Layer, asked: Sequence[bool]) -> tuple[bool, ...]:
    """Which bottoms get a gradient with `force_backward`, if these are asked for one."""
    return tuple(wanted or can_be_forced(layer, position) for position, wanted in enumerate(asked))


def can_be_forced(layer: Layer, position: int) -> bool:
    """Caffe's AllowForceBackward: all but labels and what tells where sequences begin."""
    if layer.type == "ContrastiveLoss":
        return position != 2
    is_measured = layer.type.endswith("Loss") and layer.type not in ("EuclideanLoss", "SmoothL1Loss")
    return position != 1 or not (is_measured or layer.type in _WHOLE)


def with_gradient(plan: Plan) -> frozenset[str]:
    """The keys of the parameters for which Caffe computes a gradient, as far as a loss asks for one.

    Where layers share one, its gradient is the sum of those with a key here.
    """
    reached: dict[str, bool] = {}
    keys = set[str]()
    for step in plan.steps:
        learned = _learned(step)
        # Caffe takes BatchNorm's statistics for learned here, unless the net says lr_mult: 0.
        asked = any(learned) or any(reached[bottom] for bottom in step.layer.bottoms)
        reached |= dict.fromkeys(step.layer.tops, asked)
        whole = plan.net.force_backward or (asked and step.layer.type in _WHOLE)
        keys |= {p.key for p, own in zip(step.parameters, learned, strict=True) if own or whole}
    return frozenset(keys - {p.key for step in plan.steps for p in step.parameters if p.statistics})


_WHOLE = ("LSTM", "RNN")
"""Layers that go back through a net of their own, all of whose parameters have a gradient."""


def _learned(step: Step) -> list[bool]:
    """For each parameter of a layer, whether its own `lr_mult` is not 0."""
    return [step.layer.lr_mult(position) != 0 for position in range(len(step.parameters))]


@dataclass(frozen=True)
class LossTerm:
    """A top that counts as a loss."""

    blob: str
    weight: float
    learns: bool
    """Whether its weight has a gradient: in Caffe, a default weight has none if a layer reads the top."""


def loss_weights(layer: Layer) -> tuple[float, ...]:
    """The weights of the layer's first tops in the loss of the net."""
    given: tuple[float, ...] = layer.fields.loss_weight
    return given or ((1.0,) if layer.type.endswith("Loss") else ())


def loss_notes(plan: Plan) -> tuple[str, ...]:
    """A sentence for a net with losses that train nothing, though nobody may have meant that."""
    learned = {term.blob for term in plan.losses if term.learns}
    silent = dict.fromkeys(repr(term.blob) for term in plan.losses if term.blob not in learned)
    if not silent:
        return ()
    return (
        f"as in Caffe, {', '.join(silent)} trains nothing: a layer reads the loss, and its loss_weight is "
        f"not given; give one (docs/caffe.md)",
    )


class Backward:
    """Which layers of a net learn from its losses."""

    def __init__(self, steps: Sequence[Step], forced: bool) -> None:
        """`forced` is the net's `force_backward`."""
        self._steps, self._layers = steps, [step.layer for step in steps]
        self._readers = _readers(self._layers)
        self._flows = _flows(steps, forced)
        self._under_loss = self._leads_to_loss()

    def _leads_to_loss(self) -> list[bool]:
        under = [any(loss_weights(layer)) for layer in self._layers]
        for place in reversed(range(len(self._layers))):
            readers = chain.from_iterable(self._readers[place])
            under[place] |= any(under[reader] and self._flows[reader][bottom] for reader, bottom in readers)
        return under

    def check(self) -> None:
        """Raises UnsupportedLayer for a learned bottom that can have no gradient, on which Caffe aborts.

        Raises NetError for a loss on which a layer computes in place: Caffe scales its weight at every step.
        So it does if the layer is in place on another blob of its memory: Caffe has counted it by then.
        """
        overwritten = {
            blob: (step.layer, top) for step in self._steps for blob, top in step.overwrites.items()
        }
        for layer, top, _, readers in self._losses():
            if any(top in self._layers[reader].tops for reader in readers):
                raise NetError(f"layer {layer.name!r}: its loss {top!r} is computed on in place; rename it")
            if top in overwritten:
                by, through = overwritten[top]
                raise NetError(
                    f"loss {top!r} is computed on in place, by layer {by.name!r} on {through!r} in the same "
                    f"memory; give that top another name"
                )
        for step, flows, under in zip(self._steps, self._flows, self._under_loss, strict=True):
            for bottom in sorted(step.converter.no_gradient):
                if under and any(flows[bottom : bottom + 1]):
                    name = step.layer.bottoms[bottom]
                    raise step.converter.refuse(f"has no gradient for its bottom {name!r}, which needs one")

    def terms(self) -> tuple[LossTerm, ...]:
        """The tops that count as losses, in the net's order."""
        terms = []
        for layer, top, weight, readers in self._losses():
            given = bool(layer.fields.loss_weight)
            terms.append(LossTerm(top, weight, given or not readers))
            if given and readers and layer.type.endswith("Loss"):
                # The weight goes to a copy of the top (insert_splits.cpp), and the layer takes its default.
                terms.append(LossTerm(top, 1, False))
        return tuple(terms)

    def _losses(self) -> Iterator[tuple[Layer, str, float, list[int]]]:
        """Each top with a weight in the loss, with its layer and the layers that read it.

        Where one that is read has a weight of its own, Caffe moves it to a copy of that top and clears all
        weights of the layer, also those of tops that nothing reads (insert_splits.cpp).
        """
        for layer, readers in zip(self._layers, self._readers, strict=True):
            weighted = [x for x in zip(layer.tops, loss_weights(layer), readers, strict=False) if x[1]]
            cleared = bool(layer.fields.loss_weight) and any(by for _, _, by in weighted)
            for top, weight, by in weighted:
                if by or not cleared:
                    yield layer, top, weight, [reader for reader, _ in by]


def _readers(layers: Sequence[Layer]) -> list[list[list[tuple[int, int]]]]:
    """By layer and top: the layers, and which of their bottoms, that read the blob as that layer made it."""
    readers: list[list[list[tuple[int, int]]]] = []
    current: dict[str, list[tuple[int, int]]] = {}
    for place, layer in enumerate(layers):
        for position, bottom in enumerate(layer.bottoms):
            current[bottom].append((place, position))
        readers.append([[] for _ in layer.tops])
        current |= zip(layer.tops, readers[-1], strict=True)
    return readers


def _flows(steps: Sequence[Step], forced: bool) -> list[tuple[bool, ...]]:
    """By step and bottom: whether Caffe computes a gradient there, as far as a loss asks for one."""
    reached: dict[str, bool] = {}
    flows = []
    for step in steps:
        asked = step.layer.fields.propagate_down or [reached[bottom] for bottom in step.layer.bottoms]
        flows.append(_forced(step.layer, asked) if forced else tuple(asked))
        reached |= dict.fromkeys(step.layer.tops, any(_learned(step)) or any(flows[-1]))
    return flows
