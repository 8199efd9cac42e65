"""Caffe's ApplyUpdate on the parameters of a net: what it leaves in their data, diffs and histories.

The order is clip, normalize, regularize, the rule, update (sgd_solver.cpp); the rules are `solving/`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from caffe2torch.blob import Array
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.net.fields import Fields
from caffe2torch.plan.parameters import fits
from caffe2torch.pycaffe.blob import Blob
from caffe2torch.pycaffe.building import Learnable
from caffe2torch.pycaffe.logs import log
from caffe2torch.pycaffe.memory import Changes, Memory
from caffe2torch.solving.rate import POLICIES, rate_by_policy, single, steps_made
from caffe2torch.solving.rules import RULES
from caffe2torch.untrusted.binary import SolverState

_DIVIDES = {"step": "stepsize", "sigmoid": "stepsize", "poly": "max_iter"}
"""What a policy divides by."""


FLAT = 1 << 17
"""Values of a small net's parameters, which are laid out as one: the calls cost more than the numbers."""


@dataclass(frozen=True)
class Group:
    """Parameters of the same multipliers; `flat` is all of them in one, if they are laid out so."""

    lr_mult: float
    decay_mult: float
    places: tuple[int, ...]
    flat: Flat | None = None


@dataclass(frozen=True)
class Flat:
    """The parameters of a group in one tensor each, of which those of the blobs are parts."""

    data: Tensor
    diff: Tensor
    history: tuple[Tensor, ...]
    arrays: tuple[Array, ...]
    """Data, diff, the first of the histories, and as much again for what comes in between."""
    parts: tuple[tuple[Blob, Tensor, Tensor], ...]
    """Each blob with the data and the diff that it has as long as they are parts of these."""

    def is_whole(self) -> bool:
        """Whether no blob has got other memory since."""
        for blob, data, diff in self.parts:
            if blob.data_memory.tensor is not data or blob.diff_memory.tensor is not diff:
                return False
        return True


class Updates:
    """The histories of a net's parameters, the rate, and the rule of a solver type."""

    def __init__(self, kind: str, fields: Fields, learnable: Sequence[Learnable]) -> None:
        """`fields` is the SolverParameter, `kind` its type."""
        _check(kind, fields)
        self.kind, self.fields, self.learnable = kind, fields, learnable
        self.current_step = 0
        self._is_l2 = fields.regularization_type == "L2"
        self._decay, self._part = fields.weight_decay, single(1 / fields.iter_size)
        self._momentum = np.float32(fields.momentum)
        self._limit = fields.clip_gradients
        self.history: list[list[Tensor]] = [
            [torch.zeros(own.blob.sizes) for own in learnable] for _ in range(RULES[kind].slots)
        ]
        """A list for each slot."""
        by_multipliers: dict[tuple[float, float], list[int]] = {}
        for place, own in enumerate(learnable):
            by_multipliers.setdefault((own.lr_mult, own.decay_mult), []).append(place)
        self._groups = [Group(*key, tuple(places)) for key, places in by_multipliers.items()]
        self._flats: list[Flat | None] = []
        self._changes = -1
        if sum(own.blob.count for own in learnable) <= FLAT:
            self._groups = [replace(group, flat=self._flattened(group.places)) for group in self._groups]

    def _flattened(self, places: Sequence[int]) -> Flat:
        """Lays the parameters of a group out as one, data, diffs and histories."""
        blobs = [self.learnable[place].blob for place in places]
        data = _laid_out([blob.data_memory for blob in blobs])
        diff = _laid_out([blob.fit_diff() for blob in blobs])
        history = []
        for slot in self.history:
            history.append(torch.zeros_like(data))
            parts = torch.split(history[-1], [blob.count for blob in blobs])
            for place, blob, values in zip(places, blobs, parts, strict=True):
                slot[place] = values.view(blob.sizes)
        own = tuple((blob, blob.data_memory.tensor, blob.diff_memory.tensor) for blob in blobs)
        arrays = tuple(x.numpy() for x in (data, diff, history[0], torch.empty_like(data)))
        return Flat(data, diff, tuple(history), arrays, own)

    def rate(self, iteration: int) -> float:
        """The rate at an iteration; each look moves "multistep" on by one step at most."""
        p = self.fields
        if p.lr_policy == "fixed":
            return float(p.base_lr)
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
        self._clip()
        self._look()
        for group, flat in zip(self._groups, self._flats, strict=True):
            self._update(group, flat, rate, iteration)

    def _look(self) -> None:
        """Finds which groups are still laid out as one, if any memory has moved."""
        if self._changes != Changes.count:
            flats = [group.flat for group in self._groups]
            self._flats = [flat if flat is not None and flat.is_whole() else None for flat in flats]
            self._changes = Changes.count

    def clear(self) -> None:
        """Sets the diffs to 0."""
        self._look()
        for group, flat in zip(self._groups, self._flats, strict=True):
            if flat is not None:
                flat.arrays[1].fill(0)
                for blob, _, _ in flat.parts:
                    blob.diff_memory.is_zero = not blob.diff_memory.is_seen
            else:
                for place in group.places:
                    self.learnable[place].blob.diff_memory.zero()

    def _diff(self, place: int) -> Tensor:
        memory = self.learnable[place].blob.fit_diff()
        memory.to(self.learnable[place].blob.data_memory.tensor.device)
        return memory.tensor

    def _clip(self) -> None:
        limit = self._limit
        if limit < 0:
            return
        diffs = [self._diff(place) for place in range(len(self.learnable))]
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(diffs)))) if diffs else 0.0
        if norm > limit:
            said = f"Gradient clipping: scaling down gradients (L2 norm {norm:g} > {limit:g})"
            log("sgd_solver.cpp:92", f"{said} by scale factor {limit / norm:g}")
            torch._foreach_mul_(diffs, limit / norm)

    def _update(self, group: Group, flat: Flat | None, rate: float, iteration: int) -> None:
        if not group.lr_mult and self.kind in ("SGD", "Nesterov"):
            for place in group.places:  # the rate of 0 multiplies all that enters the history
                self.learnable[place].blob.diff_memory.zero()
            return
        decay = single(self._decay * group.decay_mult)
        if flat is not None and self.kind == "SGD" and self._is_l2:
            self._descend(flat, single(rate * group.lr_mult), decay)
            return
        own = [self.learnable[place] for place in group.places]
        if flat is not None:
            data, diff, history = [flat.data], [flat.diff], [[x] for x in flat.history]
        else:
            data = [learnable.blob.data_memory.tensor for learnable in own]
            diff = [self._diff(place) for place in group.places]
            history = [self._slot(slot, group, data) for slot in self.history]
        if self._part != 1:
            torch._foreach_mul_(diff, self._part)
        if decay:
            torch._foreach_add_(diff, data if self._is_l2 else torch._foreach_sign(data), alpha=decay)
        value = RULES[self.kind].update(
            self.fields, data, diff, history, single(rate * group.lr_mult), iteration + 1
        )
        if value is not diff:
            torch._foreach_copy_(diff, value)
        for learnable in own:
            learnable.blob.diff_memory.is_zero = False

    def _descend(self, flat: Flat, rate: float, decay: float) -> None:
        """SGD, L2 and all, by NumPy: what torch's calls take is more than a small net's whole step."""
        data, diff, velocity, spare = flat.arrays
        if self._part != 1:
            np.multiply(diff, self._part, diff)
        if decay:
            np.multiply(data, np.float32(decay), spare)
            np.add(diff, spare, diff)
        np.multiply(velocity, self._momentum, velocity)
        np.multiply(diff, np.float32(rate), spare)
        np.add(velocity, spare, velocity)
        np.subtract(data, velocity, data)
        np.copyto(diff, velocity)
        for blob, _, _ in flat.parts:
            blob.diff_memory.is_zero = False

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
                slot[place].copy_(values[start * count + place].reshape(own.blob.sizes))
        self.current_step = state.current_step


def _laid_out(memories: Sequence[Memory]) -> Tensor:
    """The values of some memories in one tensor, of which each is a part from now on."""
    flat = torch.cat([memory.tensor.reshape(-1) for memory in memories])
    parts = torch.split(flat, [memory.tensor.numel() for memory in memories])
    for memory, values in zip(memories, parts, strict=True):
        memory.move(values.view(memory.tensor.shape))
        memory.stays = True
    return flat


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
