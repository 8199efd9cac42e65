"""`c2t-caffe train`, `test`, `time` and `device_query`, which log what Caffe's tool logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from caffe2torch.command_line import UsageError
from caffe2torch.pycaffe import mode
from caffe2torch.pycaffe.definition import PHASES, State, read_definition
from caffe2torch.pycaffe.logs import log
from caffe2torch.pycaffe.net import Net
from caffe2torch.pycaffe.outputs import Averages, log_batch
from caffe2torch.pycaffe.solver_nets import read_solver
from caffe2torch.pycaffe.solvers import solver_of
from caffe2torch.pycaffe.tool.flags import Value
from caffe2torch.pycaffe.tool.signals import EFFECTS, acting_on_signals
from caffe2torch.schema import Message

Flags = Mapping[str, Value]


def _text(flags: Flags, name: str) -> str:
    return str(flags[name])


def _stages(flags: Flags) -> tuple[str, ...]:
    """One empty stage where none is given, as the tool has it."""
    return tuple(_text(flags, "stage").split(","))


def _choose_device(gpu: str) -> None:
    if not gpu:
        log("caffe.cpp:217", "Use CPU.")
        mode.set_mode_cpu()
        return
    ids = [str(i) for i in range(torch.cuda.device_count())] if gpu == "all" else gpu.split(",")
    if len(ids) > 1:
        raise UsageError(f"--gpu {gpu}: training on several GPUs is not done here; give one, or fcn-repro")
    if not gpu.isdecimal() and gpu != "all":
        raise UsageError(f"--gpu {gpu}: give the number of a GPU")
    log("caffe.cpp:201", f"Using GPUs {', '.join(ids)}")
    mode.set_device(int(ids[0]) if ids else 0)
    mode.set_mode_gpu()


def _needed(flags: Flags, name: str, what: str) -> str:
    if not flags[name]:
        raise UsageError(f"need {what}: --{name}=FILE")
    return _text(flags, name)


def train(flags: Flags) -> int:
    """Trains a model or goes on with a training."""
    path = _needed(flags, "solver", "a solver definition to train")
    if flags["snapshot"] and flags["weights"]:
        raise UsageError("give a snapshot to resume training or weights to finetune, but not both")
    effects = {name: _text(flags, f"{name}_effect") for name in ("sigint", "sighup")}
    if odd := next((name for name, effect in effects.items() if effect not in EFFECTS), None):
        raise UsageError(f"--{odd}_effect is {effects[odd]!r}; it can be {', '.join(EFFECTS)}")
    p = read_solver(path)
    p.train_state.level = int(flags["level"])
    p.train_state.stage.extend(_stages(flags))
    if flags["weights"]:
        del p.weights[:]
        p.weights.append(_text(flags, "weights"))
    _choose_device(_text(flags, "gpu") or _gpu_of(p))
    _find_python_layers()
    solver = solver_of(p)
    with acting_on_signals(**effects) as asked:
        solver.act_on(asked)
        if flags["snapshot"]:
            log("caffe.cpp:241", f"Resuming from {flags['snapshot']}")
            solver.restore(_text(flags, "snapshot"))
        log("caffe.cpp:251", "Starting Optimization")
        solver.solve()
    log("caffe.cpp:254", "Optimization Done.")
    return 0


def _gpu_of(p: Message) -> str:
    """The GPU that a solver's file asks for, if this machine has any."""
    is_gpu = p.HasField("solver_mode") and p.solver_mode == p.GPU
    return str(p.device_id) if is_gpu else ""


def _find_python_layers() -> None:
    """Lets nets name modules beside the working folder, where scripts around Caffe's tool set PYTHONPATH."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def test(flags: Flags) -> int:
    """Scores a model."""
    path = _needed(flags, "model", "a model definition to score")
    weights = _needed(flags, "weights", "model weights to score")
    iterations = _iterations(flags)
    _choose_device(_text(flags, "gpu"))
    net = _net(path, "TEST", flags)
    net.copy_from(weights)
    last = len(net.layers) - 1
    log("caffe.cpp:285", f"Running for {iterations} iterations.")
    averages, loss = Averages(net), np.float32(0)
    for batch in range(iterations):
        net._running.forward(0, last, record=False)
        loss += np.float32(net._running.loss(0, last))
        averages.take()
        log_batch(net, batch)
    log("caffe.cpp:313", f"Loss: {loss / iterations:g}")
    averages.log("caffe.cpp:325", "{name} = {value:g}{weighted}")
    return 0


def _iterations(flags: Flags) -> int:
    """How many iterations to run: at least one, as averages of none, which Caffe prints, say nothing."""
    if (iterations := int(flags["iterations"])) < 1:
        raise UsageError(f"--iterations is {iterations}; give 1 or more")
    return iterations


def _net(path: str, phase: str, flags: Flags) -> Net:
    _find_python_layers()
    definition, own = read_definition(path)
    return Net.of(definition, State(phase, int(flags["level"]), (*own.stages, *_stages(flags))))


def measure(flags: Flags) -> int:
    """Times a model, layer by layer."""
    path = _needed(flags, "model", "a model definition to time")
    iterations = _iterations(flags)
    phase = _text(flags, "phase") or "TRAIN"
    if phase not in PHASES:
        raise UsageError(f"--phase is {phase!r}; it can be TRAIN or TEST")
    _choose_device(_text(flags, "gpu"))
    net = _net(path, phase, flags)
    running, count = net._running, len(net.layers)
    log("caffe.cpp:352", "Performing Forward")
    log("caffe.cpp:357", f"Initial loss: {net._forward(0, count - 1):g}")
    log("caffe.cpp:358", "Performing Backward")
    running.backward(count - 1, 0)
    log("caffe.cpp:365", "*** Benchmark begins ***")
    log("caffe.cpp:366", f"Testing for {iterations} iterations.")
    forward, backward, whole = [0.0] * count, [0.0] * count, 0.0
    for iteration in range(1, iterations + 1):
        start = time.perf_counter()
        for index in range(count):
            forward[index] += _milliseconds(partial(running.forward, index, index))
        for index in reversed(range(count)):
            backward[index] += _milliseconds(partial(running.backward, index, index))
        took = 1000 * (time.perf_counter() - start)
        whole += took
        log("caffe.cpp:394", f"Iteration: {iteration} forward-backward time: {took:g} ms.")
    _log_times(net, [x / iterations for x in forward], [x / iterations for x in backward])
    log("caffe.cpp:412", f"Average Forward-Backward: {whole / iterations:g} ms.")
    log("caffe.cpp:414", f"Total Time: {whole:g} ms.")
    log("caffe.cpp:415", "*** Benchmark ends ***")
    return 0


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if mode.device().type == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def _log_times(net: Net, forward: list[float], backward: list[float]) -> None:
    log("caffe.cpp:397", "Average time per layer: ")
    for name, down, up in zip(net._layer_names, forward, backward, strict=True):
        log("caffe.cpp:400", f"{name:>10}\tforward: {down:g} ms.")
        log("caffe.cpp:403", f"{name:>10}\tbackward: {up:g} ms.")
    log("caffe.cpp:408", f"Average Forward pass: {sum(forward):g} ms.")
    log("caffe.cpp:410", f"Average Backward pass: {sum(backward):g} ms.")


def device_query(flags: Flags) -> int:
    """Says what GPUs torch finds."""
    gpu = _text(flags, "gpu")
    log("caffe.cpp:138", f"Querying GPUs {gpu}")
    count = torch.cuda.device_count()
    ids = range(count) if gpu == "all" else [int(i) for i in gpu.split(",") if i]
    for index in ids:
        if index >= count:
            raise UsageError(f"--gpu {gpu}: torch finds {count} GPUs")
        found = torch.cuda.get_device_properties(index)
        log("common.cpp:190", f"Device id:                     {index}")
        log("common.cpp:192", f"Major revision number:         {found.major}")
        log("common.cpp:194", f"Minor revision number:         {found.minor}")
        log("common.cpp:196", f"Name:                          {found.name}")
        log("common.cpp:198", f"Total global memory:           {found.total_memory}")
        log("common.cpp:217", f"Number of multiprocessors:     {found.multi_processor_count}")
    return 0
