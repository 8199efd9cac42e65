"""Caffe's SolverParameter as Fields: from keywords or a solver.prototxt of any age, and checked.

Refuses what Caffe's solvers refuse (their constructors and sgd_solver.cpp), and numbers out of range, with
which Caffe would carry on and learn nothing, or nonsense.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from caffe2torch.errors import NetError
from caffe2torch.net.fields import Fields, freeze, thaw
from caffe2torch.solving.rate import POLICIES
from caffe2torch.solving.rules import RULES
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.untrusted.text import read_prototxt
from caffe2torch.upgrades import upgrade_solver

_LEAST = {"iter_size": 1} | dict.fromkeys(
    ("base_lr", "momentum", "momentum2", "rms_decay", "weight_decay", "delta", "gamma", "power"), 0
)
_NEEDED = {"step": "stepsize", "sigmoid": "stepsize", "poly": "max_iter"}
"""What a policy divides by or counts from."""
_FRACTIONS = {"RMSProp": ("rms_decay",), "AdaDelta": ("momentum",), "Adam": ("momentum", "momentum2")}
"""The decays of moving averages, which must be below 1."""


def solver_parameter(**fields: Any) -> Fields:
    """The SolverParameter with these fields, floats rounded to float32 as its message holds them.

    Raises NetError for an unknown field, type or policy, and for a value that no solver can use.
    """
    try:
        p = freeze(thaw(Fields("SolverParameter", {}).replace(**fields)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NetError(f"not a SolverParameter: {error}") from None
    _check_names(p)
    _check_numbers(p)
    return p


def read_solver(path: AnyPath) -> dict[str, Any]:
    """The fields of a solver.prototxt of any age, unchecked; its nets are left as they are.

    Raises ReadError, SyntaxRefused, and NetError if both an old and a new `type` are given.
    """
    return dict(freeze(upgrade_solver(read_prototxt(path, "SolverParameter"))).given())


def _check_names(p: Fields) -> None:
    known: dict[str, Collection[str]] = {
        "type": RULES,
        "lr_policy": POLICIES,
        "regularization_type": ("L1", "L2"),
    }
    for field, names in known.items():
        if getattr(p, field) not in names:
            raise NetError(f"{field} is {getattr(p, field)!r}; Caffe's are {', '.join(names)}")


def _check_numbers(p: Fields) -> None:
    if not p.has("base_lr"):
        raise NetError("base_lr is not given; nothing would be learned")
    for field, least in _LEAST.items():
        value = getattr(p, field)
        if p.lr_policy == "sigmoid" and field == "gamma" and math.isfinite(value):
            continue  # only with a negative one does that rate fall
        if not least <= value < math.inf:
            raise NetError(f"{field} is {value:g}; it must be a number of {least} or more")
    needed = _NEEDED.get(p.lr_policy)
    if needed and getattr(p, needed) < 1:
        raise NetError(f"{needed} is {getattr(p, needed)}; lr_policy {p.lr_policy!r} needs 1 or more")
    for field in _FRACTIONS.get(p.type, ()):
        if getattr(p, field) >= 1:
            raise NetError(f"{field} is {getattr(p, field):g}; {p.type} needs it below 1")
    if p.momentum and p.type in ("AdaGrad", "RMSProp"):
        raise NetError(f"momentum is {p.momentum:g}; {p.type} has none")
    if math.isnan(p.clip_gradients):
        raise NetError("clip_gradients is nan; a negative value turns clipping off")
