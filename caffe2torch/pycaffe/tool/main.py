"""c2t-caffe: Caffe's command line on torch.

Options and log lines are those of Caffe's tool; what it aborts on ends with one line and an exit code that
says why, as in the other commands.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from caffe2torch import command_line
from caffe2torch.command_line import UsageError
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.pycaffe.logs import ERROR, log
from caffe2torch.pycaffe.tool.flags import FLAGS, GLOG, parse
from caffe2torch.version import __version__

PROGRAM = "c2t-caffe"
_TOOL = "caffe2torch.pycaffe.tool"
_BREWING, _IMAGES = f"{_TOOL}.brewing", f"{_TOOL}.images"
ACTIONS: Mapping[str, tuple[str, str]] = {
    "train": (f"{_BREWING}:train", "train or finetune a model"),
    "test": (f"{_BREWING}:test", "score a model"),
    "device_query": (f"{_BREWING}:device_query", "show GPU diagnostic information"),
    "time": (f"{_BREWING}:measure", "benchmark model execution time"),
}
"""The actions of Caffe's tool, which take its flags: the function, and what it does."""
TOOLS: Mapping[str, tuple[str, str]] = {
    "python": ("caffe2torch.pycaffe.tool.scripts:run", "run a script with `import caffe` on torch"),
    "convert_imageset": (f"{_IMAGES}:convert_imageset", "make a database of images"),
    "compute_image_mean": (f"{_IMAGES}:compute_image_mean", "the mean image of a database"),
    "extract_features": (f"{_TOOL}.features:extract_features", "blobs of a net into databases"),
    "draw_net": (f"{_TOOL}.drawing:draw_net", "a picture of a net"),
    "upgrade_net_proto_text": (f"{_TOOL}.upgrading:net_text", "a prototxt in the current format"),
    "upgrade_net_proto_binary": (f"{_TOOL}.upgrading:net_binary", "a caffemodel in the current format"),
    "upgrade_solver_proto_text": (f"{_TOOL}.upgrading:solver_text", "a solver in the current format"),
}
"""Other commands of Caffe, which read their own arguments: a function of these, and what it does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs c2t-caffe with `argv`, or the process's arguments; returns its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] != ["python"]:
        return command_line.run(PROGRAM, argv, _act)
    try:
        return _act(given)  # what a script raises comes out, as from Python
    except Caffe2TorchError as error:
        command_line.say(PROGRAM, str(error))
        return int(error.exit_code)


def _act(argv: Sequence[str]) -> int:
    name, *rest = argv or [""]
    if name in TOOLS:
        run: Callable[[Sequence[str]], int] = _function(TOOLS[name][0])
        return run(rest)
    if name in ("--version", "-version"):
        print(f"{PROGRAM} version {__version__}, for Caffe 1.0.0")
        return 0
    if name in ("", "-h", "--help", "-help"):
        _print_usage()
        return 0
    flags, words = parse(argv)
    if len(words) != 1:
        raise UsageError(f"give one command, found {', '.join(words) or 'none'}; {PROGRAM} --help lists them")
    if words[0] not in ACTIONS:
        log("caffe.cpp:59", "Available caffe actions:", ERROR)
        for action in sorted((*ACTIONS, *TOOLS)):
            log("caffe.cpp:63", f"\t{action}", ERROR)
        raise UsageError(f"unknown action: {words[0]}")
    act: Callable[[Mapping[str, Any]], int] = _function(ACTIONS[words[0]][0])
    return act(flags)


def _function(place: str) -> Any:
    """Imported only now: --help needs no torch."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _print_usage() -> None:
    print(f"{PROGRAM}: command line brew\nusage: {PROGRAM} <command> <args>\n\ncommands:")
    for name, (_, what) in {**ACTIONS, **TOOLS}.items():
        print(f"  {name:<26} {what}")
    print("\n  Flags:")
    for name, flag in sorted({**FLAGS, **GLOG}.items()):
        kind = {bool: "bool", int: "int32", str: "string"}[type(flag.default)]
        default = f'"{flag.default}"' if kind == "string" else str(flag.default).lower()
        print(f"    -{name} {flag.help} type: {kind} default: {default}")
    print("\nexit codes: 0 done, 1 refused, 2 usage, 3 data or weights missing, 130 interrupted,")
    print("            141 broken pipe")


if __name__ == "__main__":
    sys.exit(main())
