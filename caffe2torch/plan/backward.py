"""What Caffe's Net::Backward computes: which bottoms get a gradient, and which parameters (net.cpp, Init).

`force_backward` overrides `propagate_down` and `lr_mult: 0`: a frozen parameter then has a gradient, which
`clip_gradients` counts and the histories of most solvers take in. Its rate stays 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.net import Layer

if TYPE_CHECKING:
    from caffe2torch.plan import Plan, Step


def propagated(plan: Plan, layer: Layer) -> tuple[bool, ...]:
    """Which bottoms a gradient may reach, as `propagate_down` says; () when it says nothing."""
    given: tuple[bool, ...] = layer.fields.propagate_down
    if not plan.net.force_backward:
        return given
    return tuple(wanted or can_be_forced(layer, position) for position, wanted in enumerate(given))


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
