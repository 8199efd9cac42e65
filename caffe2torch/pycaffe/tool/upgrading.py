"""`c2t-caffe upgrade_net_proto_text`, `upgrade_net_proto_binary` and `upgrade_solver_proto_text`."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2torch.command_line import UsageError
from caffe2torch.formats.caffemodel import write_net
from caffe2torch.formats.prototxt import text
from caffe2torch.net.reading import read
from caffe2torch.pycaffe.logs import ERROR, log
from caffe2torch.untrusted.text import read_prototxt
from caffe2torch.upgrades import upgrade_net, upgrade_solver
from caffe2torch.writing.output import create


def net_text(argv: Sequence[str]) -> int:
    """A net's definition of any age in the current format."""
    source, target = _files("upgrade_net_proto_text", argv)
    net, notes = upgrade_net(read_prototxt(source), source)
    _tell(source, notes)
    _write(target, text(net), "NetParameter")
    return 0


def net_binary(argv: Sequence[str]) -> int:
    """A caffemodel of any age in the current format."""
    source, target = _files("upgrade_net_proto_binary", argv)
    net = read(weights=source)
    _tell(source, net.notes)
    with create(target, [source]) as output:
        write_net(net, output)
    log("upgrade_net_proto_binary.cpp:44", f"Wrote upgraded NetParameter binary proto to {target}", ERROR)
    return 0


def solver_text(argv: Sequence[str]) -> int:
    """A solver of any age in the current format."""
    source, target = _files("upgrade_solver_proto_text", argv)
    solver = read_prototxt(source, "SolverParameter")
    upgraded = upgrade_solver(solver)
    _tell(source, () if upgraded == solver else ("solver_type became type",))
    _write(target, text(upgraded), "SolverParameter")
    return 0


def _files(tool: str, argv: Sequence[str]) -> tuple[str, str]:
    if len(argv) != 2:
        raise UsageError(f"{tool} takes FILE_IN FILE_OUT")
    source, target = argv
    return source, target


def _tell(source: str, notes: Sequence[str]) -> None:
    for note in notes or (f"File already in latest proto format: {source}",):
        log("upgrade_proto.cpp:79", note, ERROR)


def _write(target: str, definition: str, kind: str) -> None:
    with create(target) as output:
        output.write(definition.encode())
    log("upgrade_net_proto_text.cpp:44", f"Wrote upgraded {kind} text proto to {target}", ERROR)
