"""A solver's file, and the nets that it names (Solver::InitTrainNet, InitTestNets)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from caffe2torch import schema
from caffe2torch.errors import NetError
from caffe2torch.pycaffe.definition import State, definition_of, read_definition
from caffe2torch.pycaffe.logs import log
from caffe2torch.pycaffe.net import Net
from caffe2torch.schema import Message
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.untrusted.text import read_prototxt
from caffe2torch.upgrades import upgrade_solver

_TRAIN = ("net", "net_param", "train_net", "train_net_param")


def read_solver(path: AnyPath) -> Message:
    """The SolverParameter in a file, with its snapshot_prefix: by default the file's path without suffix."""
    message = upgrade_solver(read_prototxt(path, "SolverParameter"))
    stem = str(Path(path).with_suffix(""))
    if not message.HasField("snapshot_prefix"):
        message.snapshot_prefix = stem
        log("upgrade_proto.cpp:1113", f"snapshot_prefix was not specified and is set to {stem}")
    elif message.snapshot_prefix and Path(message.snapshot_prefix).is_dir():
        message.snapshot_prefix = str(Path(message.snapshot_prefix, Path(stem).name))
    return message


def train_net(p: Message) -> Net:
    """The net that a solver trains."""
    given = [name for name in _TRAIN if p.HasField(name)]
    if len(given) != 1:
        problem = f"names {len(given)} training nets ({', '.join(given)})"
        raise NetError(f"solver: {problem}; give exactly one of {', '.join(_TRAIN)}")
    (name,) = given
    value = getattr(p, name)
    where = f"net file: {value}" if isinstance(value, str) else name
    log("solver.cpp:87", f"Creating training net from {where}")
    net, own = read_definition(value) if isinstance(value, str) else definition_of(value, f"solver's {name}")
    state = State.of(p.train_state).over(own.over(State("TRAIN", None)))
    return _with_weights(Net.of(net, state), p)


def test_nets(p: Message) -> list[Net]:
    """The nets on which a solver tests. Raises NetError where Caffe aborts."""
    asked = [(name, value) for name in ("test_net_param", "test_net") for value in getattr(p, name)]
    count = len(p.test_iter)
    for name in ("net_param", "net"):
        if p.HasField(name):
            asked += [(name, getattr(p, name))] * (count - len(asked))
    if len(asked) != count:
        raise NetError(f"solver: {len(asked)} test nets and {count} test_iter; give one test_iter for each")
    if count and p.test_interval < 1:
        raise NetError("solver: has test_iter, but no test_interval")
    if p.test_state and len(p.test_state) != count:
        raise NetError(f"solver: {len(p.test_state)} test_state for {count} test nets; give one for each")
    states = list(p.test_state) or [schema.message("NetState")() for _ in range(count)]
    return [_test_net(p, i, *each, states[i]) for i, each in enumerate(asked)]


def _test_net(p: Message, index: int, name: str, value: str | Message, given: Message) -> Net:
    where = f"{name} file: {value}" if isinstance(value, str) else name
    log("solver.cpp:172", f"Creating test net (#{index}) specified by {where}")
    net, own = read_definition(value) if isinstance(value, str) else definition_of(value, f"solver's {name}")
    return _with_weights(Net.of(net, State.of(given).over(own.over(State("TEST", None)))), p)


def _with_weights(net: Net, p: Message) -> Net:
    for path in weight_files(p):
        log("solver.cpp:70", f"Finetuning from {path}")
        net.copy_from(path)
    return net


def weight_files(p: Message) -> Iterator[str]:
    """The files of the field `weights`: several values, or several in one with commas between."""
    for value in p.weights:
        yield from (path.strip() for path in value.split(",") if path.strip())
