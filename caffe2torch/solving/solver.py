"""Caffe's solvers as a torch optimizer, to the last digit.

    solver.prototxt ─→ fields ─ learning_rate ─→ rate ┐
    model ─ learnable ─→ parameters, gradients ───────┴─ rules ─→ weights, history
                                               snapshot ─→ .caffemodel and .solverstate ─→ restore

One step is Caffe's ApplyUpdate (sgd_solver.cpp): clip, normalize, regularize, compute the update, update.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from os import fsencode
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from torch import Tensor, nn

from caffe2torch.errors import NetError, WeightsError
from caffe2torch.formats import export
from caffe2torch.net import Net
from caffe2torch.net.reading import with_weights
from caffe2torch.plan import plan
from caffe2torch.solving.learnable import Learnable, learnable_params, plan_of
from caffe2torch.solving.parameter import read_solver, solver_parameter
from caffe2torch.solving.pieces import in_pieces
from caffe2torch.solving.rate import learning_rate, single, steps_made
from caffe2torch.solving.rules import RULES
from caffe2torch.solving.solverstate import write_solverstate
from caffe2torch.untrusted.binary import SolverState, read_solverstate
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.weights.surgery import transplant

Loss = TypeVar("Loss")


class Solver(torch.optim.Optimizer):
    """Trains a CaffeNet or an FCN of this package like Caffe's solver with the same fields.

    `fields` are those of Caffe's SolverParameter; the others have the schema's defaults. Rate and decay are
    multiplied by the multipliers in the net's `param` (for a hand-written FCN, in the zoo's net).

        solver = Solver(model, base_lr=1e-3, momentum=0.9, lr_policy="step", gamma=0.1, stepsize=5000)
        solver.zero_grad()
        for _ in range(solver.iter_size):
            model.loss(model(data=image, label=label)).backward()
        solver.step()

    A step uses up the gradients, as in Caffe: do not use `.grad` after it. A parameter that does not require
    a gradient is treated like one with lr_mult 0. Weights stay float32; for bf16, use torch.autocast. Pass
    the module inside a DistributedDataParallel, and a model that is already on its device.

    Raises NetError for fields that Caffe's solvers refuse or that would learn nothing; TypeError for other
    models.
    """

    def __init__(self, model: nn.Module, **fields: Any) -> None:
        self.fields = solver_parameter(**fields)
        self.model = model
        self.iter = self.current_step = 0
        self.learnable_params = learnable_params(model)
        if odd := next((p for p in self.learnable_params if p.tensor.dtype not in _DTYPES), None):
            raise NetError(f"'{odd.key}' is {odd.tensor.dtype}; train float32 weights, with torch.autocast")
        if not self.learnable_params:
            raise NetError(f"net '{plan_of(model).net.name}' has no parameters to train")
        super().__init__(_groups(self.learnable_params), {})

    @classmethod
    def from_prototxt(cls, path: AnyPath, model: nn.Module) -> Solver:
        """The solver that a solver.prototxt of any age describes, for `model`; its nets are not read.

        Raises ReadError, SyntaxRefused for a file that does not parse; NetError as the constructor does.
        """
        try:
            return cls(model, **read_solver(path))
        except NetError as error:
            raise NetError(f"{path}: {error}") from None

    @property
    def iter_size(self) -> int:
        """How many backward passes make one step."""
        return int(self.fields.iter_size)

    @property
    def rate(self) -> float:
        """The learning rate of the next step, before any lr_mult."""
        return learning_rate(self.fields, self.iter, self._steps_made())

    def _steps_made(self) -> int:
        return steps_made(self.fields, self.iter, self.current_step)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], Loss]) -> Loss: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """Caffe's ApplyUpdate with the gradients that `iter_size` backward passes have summed up.

        Returns what `closure` returned, if there is one. Raises NetError past the end of a "poly" policy.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        rate = self.rate
        self._clip()
        for group in self.param_groups:
            decay = single(self.fields.weight_decay * group["decay_mult"])
            trained, frozen = _parted(group["params"], group["lr_mult"])
            self._update(trained, [_gradient(p) for p in trained], single(rate * group["lr_mult"]), decay)
            changing = [p for p in frozen if self._changes(p, decay)]
            self._update(changing, [_gradient(p) for p in changing], 0.0, decay)
        self.current_step, self.iter = self._steps_made(), self.iter + 1
        return loss

    def _clip(self) -> None:
        """ClipGradients: by the norm of what the passes summed up, before the division by iter_size.

        The gradients of frozen parameters count, where there are any (plan/backward.py).
        """
        limit = self.fields.clip_gradients
        if limit < 0:
            return
        parameters = [p for group in self.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if _has_gradient(p)]
        if gradients:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            # Compared on the device, so that the host need not wait for the norm.
            torch._foreach_mul_(gradients, torch.where(norm > limit, limit / norm, torch.ones_like(norm)))

    def _changes(self, frozen: Tensor, decay: float) -> bool:
        """Whether a step does anything to a frozen parameter or its history.

        In SGD and Nesterov, the rate of 0 multiplies what enters the history. In the others it does not, so
        the gradient and the weight decay change the history.
        """
        fed = decay != 0 or _has_gradient(frozen)
        return frozen in self.state or (fed and self.fields.type not in ("SGD", "Nesterov"))

    def _update(self, data: list[Tensor], diff: list[Tensor], rate: float, decay: float) -> None:
        """Normalize, Regularize, ComputeUpdateValue and Update, all in place."""
        if data:
            history = (list(slot) for slot in zip(*map(self._history, data), strict=True))
            for piece in in_pieces((data, diff, *history)):
                self._update_piece(*piece, rate=rate, decay=decay)

    def _update_piece(
        self, data: list[Tensor], diff: list[Tensor], *history: list[Tensor], rate: float, decay: float
    ) -> None:
        if self.iter_size != 1:
            torch._foreach_mul_(diff, single(1 / self.iter_size))
        if decay:
            l1 = self.fields.regularization_type == "L1"
            torch._foreach_add_(diff, torch._foreach_sign(data) if l1 else data, alpha=decay)
        RULES[self.fields.type].update(self.fields, data, diff, history, rate, self.iter + 1)

    def _history(self, parameter: Tensor) -> tuple[Tensor, ...]:
        state: dict[str, tuple[Tensor, ...]] = self.state[parameter]
        if not state:
            state["history"] = tuple(torch.zeros_like(parameter) for _ in range(self._slots))
        return state["history"]

    @property
    def _slots(self) -> int:
        return RULES[self.fields.type].slots

    def snapshot(self, prefix: AnyPath, hdf5: bool = False) -> tuple[Path, Path]:
        """Writes PREFIX_iter_N.caffemodel and .solverstate (with `hdf5`, .caffemodel.h5 and .solverstate.h5).

        Each appears complete or not at all, the state last, so that a state always has its weights. Caffe and
        `restore` resume from them. Returns the two paths; raises WriteError.
        """
        stem, twin = f"{prefix}_iter_{self.iter}", ".h5" if hdf5 else ""
        weights, state = Path(f"{stem}.caffemodel{twin}"), Path(f"{stem}.solverstate{twin}")
        export(self.model, weights)
        write_solverstate(self._state(fsencode(weights).decode(errors="replace")), state)
        return weights, state

    def _state(self, learned_net: str) -> SolverState:
        kept = [
            (p, self.state[p.tensor]["history"] if p.tensor in self.state else None)
            for p in self.learnable_params
        ]
        history = tuple(
            p.blob(None if tensors is None else tensors[slot])
            for slot in range(self._slots)
            for p, tensors in kept
        )
        return SolverState(self.iter, learned_net, history, self.current_step)

    def restore(self, path: AnyPath, weights: AnyPath | None = None) -> None:
        """Resumes from a .solverstate or .solverstate.h5: iteration, history and steps made.

        `weights` is a caffemodel that must have all of the model's blobs; without it the model is left as it
        is. The path in the state, which Caffe follows, is ignored: it may point anywhere, and a UserWarning
        names it. If anything does not fit, nothing is changed. Raises ReadError, WeightsError, MissingData.
        """
        state = read_solverstate(path)
        history = self._fitted(state, str(path))
        if weights is not None:
            transplant(self.model, _trained(self.model, weights))
        elif state.learned_net:
            problem = f"{path}: its weights, {state.learned_net!r}, are not restored: the model keeps its own"
            warnings.warn(f"{problem}; give weights=", stacklevel=2)
        self.iter, self.current_step = state.iter, state.current_step
        self.state.clear()
        for parameter, tensors in zip(self.learnable_params, history, strict=True):
            if any(tensor.any() for tensor in tensors):
                self.state[parameter.tensor]["history"] = tensors

    def _fitted(self, state: SolverState, path: str) -> list[tuple[Tensor, ...]]:
        """The history of each parameter, checked."""
        count = len(self.learnable_params)
        if len(state.history) != count * self._slots:
            raise WeightsError(
                f"{path}: holds {len(state.history)} history blobs, {self.fields.type} needs {self._slots} "
                f"for each of the {count} blobs of this net; is it from this net and solver type?"
            )
        if min(state.iter, state.current_step) < 0:
            raise WeightsError(
                f"{path}: iter {state.iter}, current_step {state.current_step}; is it damaged?"
            )
        return [
            tuple(
                p.values(state.history[i], f"{path}: history blob {i}")
                for i in range(k, len(state.history), count)
            )
            for k, p in enumerate(self.learnable_params)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Like any optimizer's, with `type`, `iter` and `current_step`."""
        own = {"type": self.fields.type, "iter": self.iter, "current_step": self.current_step}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what `state_dict` returned; NetError if that was from a solver of another type."""
        if state_dict.get("type") != self.fields.type:
            raise NetError(
                f"the state is of type {state_dict.get('type')!r}, the solver is {self.fields.type!r}"
            )
        super().load_state_dict(state_dict)
        self.iter, self.current_step = state_dict["iter"], state_dict["current_step"]


def _parted(parameters: list[Tensor], lr_mult: float) -> tuple[list[Tensor], list[Tensor]]:
    """The trained and the frozen parameters of a group."""
    trained = [p for p in parameters if p.requires_grad and lr_mult]
    if len(trained) == len(parameters):
        return trained, []
    return trained, [p for p in parameters if not (p.requires_grad and lr_mult)]


def _has_gradient(parameter: Tensor) -> bool:
    return parameter.requires_grad and parameter.grad is not None


def _gradient(parameter: Tensor) -> Tensor:
    given = parameter.grad if parameter.requires_grad else None
    return torch.zeros_like(parameter) if given is None else given


_DTYPES = (torch.float32, torch.float64)


def _groups(parameters: Iterable[Learnable]) -> list[dict[str, list[Tensor] | float]]:
    """One parameter group per lr_mult and decay_mult."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for p in parameters:
        groups.setdefault((p.lr_mult, p.decay_mult), []).append(p.tensor)
    return [
        {"params": tensors, "lr_mult": lr_mult, "decay_mult": decay_mult}
        for (lr_mult, decay_mult), tensors in groups.items()
    ]


def _trained(model: nn.Module, weights: AnyPath) -> Net:
    """The model's net with the blobs of a caffemodel, checked as `build` does."""
    own = plan_of(model)
    net = with_weights(own.net, weights)
    plan(net, own.phase)
    return net
