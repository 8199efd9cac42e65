"""Caffe's ApplyUpdate on the parameters of a net: what it leaves in their data, diffs and histories.

The order is clip, normalize, regularize, the rule, update (sgd_solver.cpp); the rules are `solving/`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from caffe2torch.errors import NetError, WeightsError
from caffe2torch.net.fields import Fields
from caffe2torch.plan.parameters import fits
from caffe2torch.pycaffe.building import Learnable
from caffe2torch.pycaffe.logs import log
from caffe2torch.solving.rate import POLICIES, rate_by_policy, single, steps_made
from caffe2torch.solving.rules import RULES
from caffe2torch.untrusted.binary import SolverState

_DIVIDES = {"step": "stepsize", "sigmoid": "stepsize", "poly": "max_iter"}
"""What a policy divides by."""


@dataclass(frozen=True)
class Group:
    """Parameters of the same multipliers."""

    lr_mult: float
    decay_mult: float
    places: tuple[int, ...]


class Updates:
    """The histories of a net's parameters, the rate, and the rule of a solver type."""

    def __init__(self, kind: str, fields: Fields, learnable: Sequence[Learnable]) -> None:
        """`fields` is the SolverParameter, `kind` its type."""
        _check(kind, fields)
        self.kind, self.fields, self.learnable = kind, fields, learnable
        self.current_step = 0
        self.history: list[list[Tensor]] = [
            [torch.zeros(own.blob.sizes) for own in learnable] for _ in range(RULES[kind].slots)
        ]
        """A list for each slot."""
        by_multipliers: dict[tuple[float, float], list[int]] = {}
        for place, own in enumerate(learnable):
            by_multipliers.setdefault((own.lr_mult, own.decay_mult), []).append(place)
        self._groups = [Group(*key, tuple(places)) for key, places in by_multipliers.items()]

    def rate(self, iteration: int) -> float:
        """The rate at an iteration; each look moves "multistep" on by one step at most."""
        p = self.fields
        if p.lr_policy not in POLICIES:
            raise NetError(f"lr_policy is {p.lr_policy!r}; Caffe's are {', '.join(POLICIES)}")
        if (needed := _DIVIDES.get(p.lr_policy)) and getattr(p, needed) < 1:
            raise NetError(f"lr_policy {p.lr_policy!r} needs {needed} of 1 or more")
        before, self.current_step = self.current_step, steps_made(p, iteration, self.current_step)
        if p.lr_policy == "multistep" and before != self.current_step:
            log("sgd_solver.cpp:50", f"MultiStep Status: Iteration {iteration}, step = {self.current_step}")
        return rate_by_policy(p, iteration, self.current_step)

    def apply(self, rate: float, iteration: int) -> None:
        """Changes the parameters; their diffs are then what was subtracted."""
        with torch.no_grad():
            self._clip()
            for group in self._groups:
                self._update(group, rate, iteration)

    def _diff(self, place: int) -> Tensor:
        memory = self.learnable[place].blob.fit_diff()
        memory.to(self.learnable[place].blob.data_memory.tensor.device)
        return memory.tensor

    def _clip(self) -> None:
        limit = self.fields.clip_gradients
        if limit < 0:
            return
        diffs = [self._diff(place) for place in range(len(self.learnable))]
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(diffs)))) if diffs else 0.0
        if norm > limit:
            said = f"Gradient clipping: scaling down gradients (L2 norm {norm:g} > {limit:g})"
            log("sgd_solver.cpp:92", f"{said} by scale factor {limit / norm:g}")
            torch._foreach_mul_(diffs, limit / norm)

    def _update(self, group: Group, rate: float, iteration: int) -> None:
        p, own = self.fields, [self.learnable[place] for place in group.places]
        if not group.lr_mult and self.kind in ("SGD", "Nesterov"):
            for learnable in own:  # the rate of 0 multiplies all that enters the history
                learnable.blob.diff_memory.zero()
            return
        data = [learnable.blob.data_memory.tensor for learnable in own]
        diff = [self._diff(place) for place in group.places]
        history = [self._slot(slot, group, data) for slot in self.history]
        if p.iter_size != 1:
            torch._foreach_mul_(diff, single(1 / p.iter_size))
        decay = single(p.weight_decay * group.decay_mult)
        if decay:
            is_l1 = p.regularization_type == "L1"
            torch._foreach_add_(diff, torch._foreach_sign(data) if is_l1 else data, alpha=decay)
        value = RULES[self.kind].update(p, data, diff, history, single(rate * group.lr_mult), iteration + 1)
        if value is not diff:
            torch._foreach_copy_(diff, value)
        for learnable in own:
            learnable.blob.diff_memory.is_zero = False

    def _slot(self, slot: list[Tensor], group: Group, data: Sequence[Tensor]) -> list[Tensor]:
        """A group's history, where its parameters are."""
        for place, values in zip(group.places, data, strict=True):
            slot[place] = slot[place].to(values.device)
        return [slot[place] for place in group.places]

    def restore(self, state: SolverState, path: str) -> None:
        """Takes the history of a state; WeightsError where it is not of this net and type."""
        blobs = [blob for _ in self.history for blob in self.learnable]
        if len(state.history) != len(blobs):
            raise WeightsError(
                f"{path}: holds {len(state.history)} history blobs, {self.kind} needs {len(blobs)} for this "
                f"net; is it from this net and solver type?"
            )
        for place, (stored, own) in enumerate(zip(state.history, blobs, strict=True)):
            if not fits(own.blob.sizes, stored.shape):
                raise WeightsError(f"{path}: history blob {place} is {stored.shape}, not {own.blob.sizes}")
        values = [torch.from_numpy(stored.read().astype("float32")) for stored in state.history]
        count = len(self.learnable)
        for start, slot in enumerate(self.history):
            for place, own in enumerate(self.learnable):
                slot[place] = values[start * count + place].reshape(own.blob.sizes)
        self.current_step = state.current_step


def _check(kind: str, p: Fields) -> None:
    """What the solvers' constructors refuse."""
    if kind not in RULES:
        raise NetError(f"solver type is {kind!r}; Caffe's are {', '.join(RULES)}")
    if kind in ("AdaGrad", "RMSProp") and p.momentum:
        raise NetError(f"momentum is {p.momentum:g}; {kind} has none")
    if kind == "RMSProp" and not 0 <= p.rms_decay < 1:
        raise NetError(f"rms_decay is {p.rms_decay:g}; it must be at least 0 and below 1")
    if p.regularization_type not in ("L1", "L2"):
        raise NetError(f"regularization_type is {p.regularization_type!r}; Caffe's are L1 and L2")
