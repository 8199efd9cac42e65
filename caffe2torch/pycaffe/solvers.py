"""Caffe's solvers as pycaffe gives them to scripts; the order of events is Solver::Step's and Solve's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from caffe2torch.blob import blob_of
from caffe2torch.errors import MissingData, NetError, WriteError
from caffe2torch.net.fields import Fields, freeze
from caffe2torch.pycaffe import mode
from caffe2torch.pycaffe.debug import debugged
from caffe2torch.pycaffe.definition import debug_string
from caffe2torch.pycaffe.interrupting import finishing_iterations
from caffe2torch.pycaffe.logs import WARNING, log
from caffe2torch.pycaffe.net import Net
from caffe2torch.pycaffe.outputs import Averages, log_outputs
from caffe2torch.pycaffe.own_mode import in_own_mode
from caffe2torch.pycaffe.solver_nets import read_solver, test_nets, train_net
from caffe2torch.pycaffe.updates import Updates
from caffe2torch.schema import Message
from caffe2torch.solving.solverstate import write_solverstate
from caffe2torch.untrusted.binary import SolverState, read_solverstate

STOP, SNAPSHOT, NONE = "stop", "snapshot", "none"
"""What a signal asks for, between two iterations."""


class SolverSettings:
    """What scripts read of a solver's parameters, and the rate that they may set."""

    def __init__(self, updates: Updates, p: Message) -> None:
        self._updates, self._p = updates, p

    @property
    def base_lr(self) -> float:
        """The rate that policies start from; what is set takes effect at the next step."""
        return float(self._updates.fields.base_lr)

    @base_lr.setter
    def base_lr(self, value: float) -> None:
        self._updates.fields = self._updates.fields.replace(base_lr=float(np.float32(value)))

    @property
    def max_iter(self) -> int:
        """Where `solve` ends."""
        return int(self._p.max_iter)

    @property
    def display(self) -> int:
        """How often the loss is logged."""
        return int(self._p.display)

    @property
    def layer_wise_reduce(self) -> bool:
        """For several GPUs, of which nothing is done here."""
        return bool(self._p.layer_wise_reduce)


class SGDSolver:
    """Stochastic gradient descent with momentum, and the base of the other solvers."""

    _kind: ClassVar[str] = "SGD"

    def __init__(self, solver_file: str) -> None:
        """The solver that a file describes, of this class whatever `type` the file names.

        Raises MissingData, ReadError, NetError and UnsupportedLayer where Caffe would abort.
        """
        if not isinstance(solver_file, str | os.PathLike):
            raise TypeError(f"{type(self).__name__} takes the path of a solver's file, not {solver_file!r}")
        self._start(read_solver(solver_file))

    @classmethod
    def of(cls, message: Message) -> SGDSolver:
        """The solver that a SolverParameter describes."""
        solver = cls.__new__(cls)
        solver._start(message)
        return solver

    @in_own_mode
    def _start(self, p: Message) -> None:
        log("solver.cpp:44", f"Initializing solver from parameters: \n{debug_string(p)}")
        self._p = p
        _check_folder(p)
        if p.random_seed >= 0:
            mode.set_random_seed(p.random_seed)
        self._net = train_net(p)
        self._test_nets = test_nets(p)
        fields: Fields = freeze(p)
        self._updates = Updates(self._kind, fields, self._net._running.made.learnable)
        self.param = SolverSettings(self._updates, p)
        self._iter = 0
        self._callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self._losses: list[float] = []
        self._smoothed = 0.0
        self._stopped = False
        self._asked: Callable[[], str] = lambda: NONE
        log("solver.cpp:56", "Solver scaffolding done.")

    @property
    def net(self) -> Net:
        """The net that is trained."""
        return self._net

    @property
    def test_nets(self) -> Sequence[Net]:
        """The nets that are tested."""
        return self._test_nets

    @property
    def iter(self) -> int:
        """How many iterations are done."""
        return self._iter

    @property
    def lr(self) -> float:
        """The rate of the next update."""
        return self._updates.rate(self._iter)

    def act_on(self, asked: Callable[[], str]) -> None:
        """Has `asked` called after each iteration and in tests: STOP, SNAPSHOT or NONE."""
        self._asked = asked

    def add_callback(self, on_start: Callable[[], object], on_gradients_ready: Callable[[], object]) -> None:
        """Has one called before each iteration's forward pass, the other before its update."""
        self._callbacks.append((on_start, on_gradients_ready))

    def step(self, iterations: int) -> None:
        """Runs iterations, also past `max_iter`."""
        with finishing_iterations() as interrupted:
            self._step(iterations, interrupted)

    def _step(self, iterations: int, interrupted: Callable[[], bool]) -> None:
        p, start = self._p, self._iter
        self._losses, self._smoothed = [], 0.0
        clock, shown = time.perf_counter(), start
        while self._iter < start + iterations:
            self._updates.clear()
            if p.test_interval and not self._iter % p.test_interval and (self._iter or p.test_initialization):
                self._test_all()
                if self._stopped:
                    return
            for on_start, _ in self._callbacks:
                on_start()
            is_shown = bool(p.display and not self._iter % p.display)
            self._smooth(self._passes(is_shown and p.debug_info), start)
            if is_shown:
                self._show(time.perf_counter() - clock, self._iter - shown)
                clock, shown = time.perf_counter(), self._iter
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.apply_update()
            if self._between() or interrupted():
                return

    def _passes(self, debug: bool) -> float:
        """The forward and backward passes of an iteration; returns their mean loss."""
        running, last, loss = self._net._running, len(self._net.layers) - 1, 0.0
        for _ in range(self._p.iter_size):
            if debug:
                loss += debugged(running)
            else:
                running.forward(0, last)
                loss += running.loss(0, last)
                running.backward(last, 0)
        return loss / int(self._p.iter_size)

    def _between(self) -> bool:
        """What happens after an iteration; whether to stop."""
        asked = self._asked()
        if (self._p.snapshot and not self._iter % self._p.snapshot) or asked == SNAPSHOT:
            self.snapshot()
        self._stopped = asked == STOP
        return self._stopped

    def _smooth(self, loss: float, start: int) -> None:
        """Takes a loss into the mean of the last `average_loss` since `start`."""
        size = max(1, self._p.average_loss)
        if len(self._losses) < size:
            self._losses.append(loss)
            self._smoothed += (loss - self._smoothed) / len(self._losses)
        else:
            place = (self._iter - start) % size
            self._smoothed += (loss - self._losses[place]) / size
            self._losses[place] = loss

    def _show(self, seconds: float, iterations: int) -> None:
        rate = f"({iterations / (seconds or 1):g} iter/s, {seconds:g}s/{self._p.display} iters)"
        log("solver.cpp:239", f"Iteration {self._iter} {rate}, loss = {self._smoothed:g}")
        log_outputs(self._net, "Train")

    @in_own_mode
    def apply_update(self) -> None:
        """Updates the parameters with the diffs they have, and counts an iteration."""
        rate = self._updates.rate(self._iter)
        if self._p.display and not self._iter % self._p.display:
            log("sgd_solver.cpp:112", f"Iteration {self._iter}, lr = {rate:g}")
        self._updates.apply(rate, self._iter)
        self._iter += 1

    def solve(self, resume_file: str | None = None) -> None:
        """Runs to `max_iter`, from a solver's state if one is given, then snapshots and tests as due."""
        log("solver.cpp:293", f"Solving {self._net._definition.name}")
        log("solver.cpp:294", f"Learning Rate Policy: {self._p.lr_policy}")
        self._stopped = False
        if resume_file:
            self.restore(resume_file)
        start, p = self._iter, self._p
        with finishing_iterations() as interrupted:
            self._step(p.max_iter - self._iter, interrupted)
            if interrupted():
                return
        if p.snapshot_after_train and (not p.snapshot or self._iter % p.snapshot):
            self.snapshot()
        if self._stopped:
            log("solver.cpp:311", "Optimization stopped early.")
            return
        if p.display and not self._iter % p.display:
            last = len(self._net.layers) - 1
            self._net._running.forward(0, last, record=False)
            self._smooth(self._net._running.loss(0, last), start)
            log("solver.cpp:327", f"Iteration {self._iter}, loss = {self._smoothed:g}")
        if p.test_interval and not self._iter % p.test_interval:
            self._test_all()
        log("solver.cpp:332", "Optimization Done.")

    def _test_all(self) -> None:
        for index in range(len(self._test_nets)):
            if self._stopped:
                return
            self._test(index)

    def _test(self, index: int) -> None:
        log("solver.cpp:347", f"Iteration {self._iter}, Testing net (#{index})")
        net, last = self._test_nets[index], len(self._test_nets[index].layers) - 1
        net.share_with(self._net)
        averages, loss = Averages(net), 0.0
        for _ in range(self._p.test_iter[index]):
            while (asked := self._asked()) != NONE:
                if asked == SNAPSHOT:
                    self.snapshot()
                else:
                    self._stopped = True
                    break
            if self._stopped:
                log("solver.cpp:366", "Test interrupted.")
                return
            net._running.forward(0, last, record=False)
            if self._p.test_compute_loss:
                loss += net._running.loss(0, last)
            averages.take()
        if self._p.test_compute_loss:
            log("solver.cpp:394", f"Test loss: {loss / self._p.test_iter[index]:g}")
        averages.log("solver.cpp:404", "    Test net output #{place}: {name} = {value:g}{weighted}")

    def share_weights(self, net: Net) -> None:
        """Has a net compute with the parameters of the one that is trained."""
        net.share_with(self._net)

    def snapshot(self) -> None:
        """Writes PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate, or with .h5 behind them HDF5."""
        is_hdf5 = self._p.snapshot_format == 0
        kind, twin = ("HDF5", ".h5") if is_hdf5 else ("binary proto", "")
        if self._p.snapshot_diff:
            log("solver.cpp:449", "snapshot_diff: diffs are not written", WARNING)
        stem = f"{self._p.snapshot_prefix}_iter_{self._iter}"
        weights, state = f"{stem}.caffemodel{twin}", f"{stem}.solverstate{twin}"
        log("solver.cpp:464", f"Snapshotting to {kind} file {weights}")
        (self._net.save_hdf5 if is_hdf5 else self._net.save)(weights)
        log("sgd_solver.cpp:284", f"Snapshotting solver state to {kind} file {state}")
        history = tuple(blob_of(values) for slot in self._updates.history for values in slot)
        write_solverstate(SolverState(self._iter, weights, history, self._updates.current_step), state)

    @in_own_mode
    def restore(self, state_file: str) -> None:
        """Goes on from a state: its iteration, its histories and the parameters in the file that it names.

        Raises MissingData, ReadError and WeightsError where Caffe would abort.
        """
        state = read_solverstate(state_file)
        if state.learned_net:
            if not Path(state.learned_net).is_file():
                raise MissingData(f"{state_file}: its weights, {state.learned_net}, are not there")
            self._net.copy_from(state.learned_net)
        log("sgd_solver.cpp:319", "SGDSolver: restoring history")
        self._updates.restore(state, state_file)
        self._iter = state.iter


class NesterovSolver(SGDSolver):
    """Nesterov's accelerated gradient."""

    _kind = "Nesterov"


class AdaGradSolver(SGDSolver):
    """AdaGrad."""

    _kind = "AdaGrad"


class RMSPropSolver(SGDSolver):
    """RMSProp."""

    _kind = "RMSProp"


class AdaDeltaSolver(SGDSolver):
    """AdaDelta."""

    _kind = "AdaDelta"


class AdamSolver(SGDSolver):
    """Adam."""

    _kind = "Adam"


SOLVERS: dict[str, type[SGDSolver]] = {
    "SGD": SGDSolver,
    "Nesterov": NesterovSolver,
    "AdaGrad": AdaGradSolver,
    "RMSProp": RMSPropSolver,
    "AdaDelta": AdaDeltaSolver,
    "Adam": AdamSolver,
}
"""By `type`."""


def get_solver(solver_file: str) -> SGDSolver:
    """The solver of the type that its file names."""
    return solver_of(read_solver(solver_file))


def solver_of(message: Message) -> SGDSolver:
    """The solver of the type that a SolverParameter names."""
    if message.type not in SOLVERS:
        raise NetError(f"solver type is {message.type!r}; Caffe's are {', '.join(SOLVERS)}")
    return SOLVERS[message.type].of(message)


def _check_folder(p: Message) -> None:
    """Refuses a folder for snapshots that cannot be written, before anything is trained."""
    folder = Path(p.snapshot_prefix).parent
    if p.snapshot and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise WriteError(
            f"snapshot_prefix {p.snapshot_prefix!r}: its folder cannot be written; make it first"
        )
