"""A recipe's net, trained: in one process or torchrun's many, stopped and resumed at any point.

    Recipe ─ initial ──→ module ──┐
    Dataset ─ examples ─→ Example ─┴─ iteration by iteration ─→ snapshots, log, scores

An iteration is Caffe's: `iter_size` images, each a batch of one at its own size, then one step of the solver.
Each of N processes takes every N-th of these images, and their gradients are summed: the same iteration.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import caffe2torch as c2t
from caffe2torch.errors import Caffe2TorchError, WriteError
from fcn_repro.data.datasets import Dataset
from fcn_repro.data.examples import Example, Order, dropout_seed, examples
from fcn_repro.data.transforms import Preparation, prepared
from fcn_repro.recipes import Recipe, digest
from fcn_repro.scoring.device import Process, arithmetic, is_lost
from fcn_repro.scoring.evaluate import evaluate
from fcn_repro.scoring.predict import Predictor, by_head, inference
from fcn_repro.scoring.result import Evaluation
from fcn_repro.training.log import TrainingLog
from fcn_repro.training.loss import softmax_loss
from fcn_repro.training.pictures import Pictures
from fcn_repro.training.signals import Wish, wish_to_stop
from fcn_repro.training.snapshots import Snapshot, Snapshots

DISPLAY = 20
"""Iterations between rows of the log, unless a recipe says otherwise."""


class TrainingStopped(Caffe2TorchError):
    """A training that cannot continue or was asked to stop; the message names the last snapshot."""


class Interrupted(TrainingStopped):
    """By Ctrl-C or SIGTERM, after a snapshot; the exit code is that of any interruption."""

    exit_code = 130


@dataclass(frozen=True)
class Options:
    """How a recipe is run: precision, torch.compile, TensorBoard's events, resuming.

    `show` is called by the first process after each row of the log and each validation.
    """

    precision: str = "fp32"
    compiled: bool = False
    tensorboard: bool = False
    resume: bool = False
    show: Callable[[Training], None] | None = None


@dataclass(eq=False)
class Training:
    """A training in this process: a net in train mode on its device, its data, and where its files go."""

    name: str
    recipe: Recipe
    model: nn.Module
    train: Dataset
    val: Dataset | None
    folder: Path
    process: Process
    options: Options = Options()
    losses: list[float] = field(default_factory=list)
    """The last `average_loss` ones; the smoothed loss is their mean, as Caffe prints it (solver.cpp)."""
    evaluation: Evaluation | None = None
    """The last one on the validation split."""
    _pending: list[Tensor] = field(default_factory=list)
    snapshot: Snapshot | None = None
    """The last one."""
    _reported: tuple[int, float] = (0, 0.0)
    """The iteration and the time of the last row."""

    def run(self) -> None:
        """Trains until `max_iter`.

        Raises Interrupted after Ctrl-C or SIGTERM, TrainingStopped if a loss or weight is not finite, the
        recipe cannot be split among so many processes or one of these is gone, WriteError on a full disk.
        """
        self._begin()
        try:
            with closing(self.log), wish_to_stop() as wish:
                self._go_on(wish)
        except WriteError as error:
            raise WriteError(f"{error}; {self._way_on}") from error
        except RuntimeError as error:
            if not is_lost(error):
                raise
            at = self.solver.iter
            raise TrainingStopped(f"another process is gone, at iteration {at}; {self._way_on}") from error

    def _go_on(self, wish: Wish) -> None:
        if self.snapshot is not None:
            self._validate_if_due()  # the stop may have come before it was done
        elif self._is_last:
            self._save()  # no iteration at all: the first weights, for Caffe to start from
        while self.solver.iter < self.solver.fields.max_iter:
            self._iterate()
            self._report()
            told = self._agreed(bool(wish))
            if told or self._is_due("snapshot") or self._is_last:
                self._save()
            if told:
                by = wish.signal or "another process"
                raise Interrupted(f"stopped by {by} at iteration {self.solver.iter}; {self._way_on}")
            self._validate_if_due()

    @cached_property
    def solver(self) -> c2t.Solver:
        """Caffe's solver of the recipe, on the module."""
        return c2t.Solver(self.model, **self.recipe.solver)

    @cached_property
    def snapshots(self) -> Snapshots:
        """Where this training's state is kept."""
        key = {"recipe": digest(self.recipe), "precision": self.options.precision}
        return Snapshots(self.folder, self.name, key)

    @cached_property
    def log(self) -> TrainingLog:
        """Its log."""
        rank, events = self.process.rank, self.options.tensorboard
        return TrainingLog(self.folder, self.solver.iter, rank=rank, tensorboard=events)

    @cached_property
    def pictures(self) -> Pictures | None:
        """What it predicts for a few images at each validation; None without a validation split."""
        if self.val is None:
            return None
        heads = self.recipe.net.heads or tuple(self.val.heads)[:1]
        return Pictures(self.folder / "pictures", self.val, heads)

    @cached_property
    def _preparation(self) -> Preparation:
        """How the net sees an image."""
        return prepared(self.model.inputs, self.recipe.data.mean_bgr)  # type: ignore[arg-type]

    @cached_property
    def _forward(self) -> nn.Module:
        """The module as it is called: compiled, and with its gradients summed over the processes."""
        compiled: Any = torch.compile(self.model, dynamic=True) if self.options.compiled else self.model
        module: nn.Module = compiled  # torch says that it is any callable
        if self.process.world == 1:
            return module
        devices = [self.process.device] if self.process.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)

    @cached_property
    def _examples(self) -> Iterator[Example]:
        """The examples of this process, from the solver's iteration on."""
        begin, data = self.solver.iter * self.solver.iter_size, self.recipe.data
        return examples(
            self.train,
            count(begin + self.process.rank, self.process.world),
            Order(data.order, len(self.train), self.recipe.seed),
            blobs=self.model.inputs,  # type: ignore[arg-type]
            mean_bgr=data.mean_bgr,
            mirror=data.mirror,
        )

    def _begin(self) -> None:
        """Restores the last snapshot, if there is one and it is wanted."""
        if self.solver.iter_size % self.process.world:
            raise TrainingStopped(
                f"an iteration of {self.name} is {self.solver.iter_size} images, which {self.process.world} "
                "processes cannot share evenly; use a divisor of it, or a recipe with another iter_size"
            )
        self.snapshot = self.snapshots.latest()
        if self.snapshot is not None and not self.options.resume:
            raise TrainingStopped(
                f"{self.folder} holds a training, at iteration {self.snapshot.iteration}; {self._way_on}, or "
                "delete the folder to start anew"
            )
        if self.snapshot is not None:
            self.solver.restore(self.snapshot.solverstate, weights=self.snapshot.caffemodel)
            self.losses = list(self.snapshot.losses)
        self._reported = self.solver.iter, time.perf_counter()
        self.process.wait_for_all()  # no process writes before all have read
        if self.pictures is not None and self.process.rank == 0:
            self.pictures.drop_from(self.solver.iter)

    def _iterate(self) -> None:
        """Caffe's iteration: the gradients of `iter_size` images, one step."""
        own = self.solver.iter_size // self.process.world
        forward = self._forward
        self.solver.zero_grad()
        for left in reversed(range(own)):
            apart = (
                forward.no_sync() if left and isinstance(forward, DistributedDataParallel) else nullcontext()
            )
            with apart:  # the processes sum their gradients at the last image only
                loss = self._learn(next(self._examples).to(self.process.device))
            self._pending.append(loss / self.solver.iter_size)
        self.solver.step()

    def _learn(self, example: Example) -> Tensor:
        """Adds an image's gradients; its loss."""
        self._seed(dropout_seed(self.recipe.seed, example.number))
        # Autocast keeps its copies of the weights until it ends, so it must not outlive a step.
        with arithmetic(self.options.precision, self.process.device):
            loss = softmax_loss(
                by_head(self._forward(**example.inputs), tuple(self.train.heads)),
                example.labels,
                normalize=self.recipe.loss.normalize,
            )
            torch.autograd.backward(loss * self.process.world)  # DistributedDataParallel takes the mean
        return loss.detach()

    def _seed(self, seed: int) -> None:
        """Seeds torch; on a CPU nothing else, because torch formats a traceback for CUDA every time."""
        generator = torch.default_generator if self.process.device.type == "cpu" else torch
        generator.manual_seed(seed)

    def _report(self) -> None:
        """Checks the losses since the last time; writes a row of the log when one is due."""
        due = self.solver.iter % (self.solver.fields.display or DISPLAY) == 0 or self._is_last
        # Looking at a loss waits for it: harmless on a CPU, but on a GPU it stalls the queue.
        if due or (self.process.device.type == "cpu" and self.process.world == 1):
            self._look()
        if not due:
            return
        now, (iteration, then) = time.perf_counter(), self._reported
        done, seconds = max(1, self.solver.iter - iteration), now - then
        self._reported = self.solver.iter, now
        row = {
            "iteration": self.solver.iter,
            "loss": self.losses[-1],
            "smoothed_loss": sum(self.losses) / len(self.losses),
            "rate": self.solver.rate,
            "images_per_s": done * self.solver.iter_size / seconds,
        }
        self.log.train(row, self.solver.fields.max_iter, seconds / done)
        self._show()

    def _look(self) -> None:
        """Moves the pending losses to `losses`. Raises TrainingStopped if one is not finite."""
        if not self._pending:
            return
        own = self.solver.iter_size // self.process.world
        losses = torch.stack(self._pending).view(-1, own).sum(1).to(self.process.reduction_device)
        if self.process.world > 1:
            dist.all_reduce(losses)
        self._pending.clear()
        found = losses.tolist()
        if any(not math.isfinite(loss) for loss in found):
            raise self._diverged(f"the loss is {next(x for x in found if not math.isfinite(x))}")
        self.losses = [*self.losses, *found][-max(1, self.solver.fields.average_loss) :]

    def _save(self) -> None:
        """A snapshot, by the first process."""
        self._look()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters()):
            raise self._diverged("a weight is not finite")
        if self.process.rank == 0:
            self.snapshot = self.snapshots.save(self.solver, self.losses)
        self.process.wait_for_all()
        self.snapshot = self.snapshot if self.process.rank == 0 else self.snapshots.latest()

    def _validate_if_due(self) -> None:
        if self.val is None or not (self._is_due(self._validates) or self._is_last):
            return
        self.evaluation = evaluate(
            self.model,
            self.val,
            preparation=self._preparation,
            device=self.process.device,
            precision=self.options.precision,
            name=self.name,
        )
        self.log.val({"iteration": self.solver.iter, **self.evaluation.scores.percent()})
        if self.pictures is not None and self.process.rank == 0:
            self._picture(self.pictures)
        self._show()

    def _picture(self, pictures: Pictures) -> None:
        device = self.process.device
        with inference(self.model, self.options.precision, device):
            predictor = Predictor(self.model, pictures.val, self._preparation, device)
            pictures.save(self.solver.iter, predictor)

    def _show(self) -> None:
        if self.options.show is not None and self.process.rank == 0:
            self.options.show(self)

    def _agreed(self, wish: bool) -> bool:
        """Whether any process was asked to stop: then all do, at the same iteration."""
        if self.process.world == 1:
            return wish
        told = torch.tensor(int(wish), device=self.process.reduction_device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told)

    def _diverged(self, what: str) -> TrainingStopped:
        return TrainingStopped(
            f"{what} at iteration {self.solver.iter}; lower base_lr (the rate is {self.solver.rate:.3g}) and "
            f"start over; {self._last}"
        )

    @property
    def _last(self) -> str:
        """The last complete snapshot."""
        return f"{self.snapshot.caffemodel} is complete" if self.snapshot else "there is no snapshot yet"

    @property
    def _way_on(self) -> str:
        """The last complete snapshot, and how to continue from it."""
        return f"{self._last}; continue from it with --resume" if self.snapshot else self._last

    @property
    def _is_last(self) -> bool:
        return bool(self.solver.iter >= self.solver.fields.max_iter)

    @property
    def _validates(self) -> str:
        """The solver field with the interval between validations: by default that of the snapshots."""
        return "test_interval" if self.solver.fields.test_interval else "snapshot"

    def _is_due(self, interval: str) -> bool:
        every: int = getattr(self.solver.fields, interval)
        return every > 0 and self.solver.iter % every == 0
