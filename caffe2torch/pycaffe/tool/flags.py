"""Options as gflags reads them, as in Caffe's tool: -solver x, --solver=x, bool flags without value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from caffe2torch.command_line import UsageError
from caffe2torch.pycaffe.logs import init_log

Value = str | int | bool


@dataclass(frozen=True)
class Flag:
    """An option: its default, which gives its type, and what it is for."""

    default: Value
    help: str


FLAGS: Mapping[str, Flag] = {
    "gpu": Flag("", "(Optional; run in GPU mode on the given device ID.)"),
    "solver": Flag("", "(The solver definition protocol buffer text file.)"),
    "model": Flag("", "(The model definition protocol buffer text file.)"),
    "phase": Flag("", "(Optional; network phase (TRAIN or TEST). Only used for 'time'.)"),
    "level": Flag(0, "(Optional; network level.)"),
    "stage": Flag("", "(Optional; network stages (not to be confused with phase), separated by ','.)"),
    "snapshot": Flag("", "(Optional; the snapshot solver state to resume training.)"),
    "weights": Flag(
        "",
        "(Optional; the pretrained weights to initialize finetuning, separated by ','. Cannot be set "
        "simultaneously with snapshot.)",
    ),
    "iterations": Flag(50, "(The number of iterations to run.)"),
    "sigint_effect": Flag(
        "stop", "(Optional; action to take when a SIGINT is received: snapshot, stop or none.)"
    ),
    "sighup_effect": Flag(
        "snapshot", "(Optional; action to take when a SIGHUP is received: snapshot, stop or none.)"
    ),
}
"""Those of Caffe's tool."""
GLOG: Mapping[str, Flag] = {
    "logtostderr": Flag(True, "log to stderr, which is always done"),
    "alsologtostderr": Flag(False, "log to stderr, which is always done"),
    "minloglevel": Flag(0, "leave lower levels out of the log"),
    "stderrthreshold": Flag(0, "taken for old scripts; nothing is done"),
    "log_dir": Flag("", "taken for old scripts; nothing is done"),
    "debug": Flag(False, "also print a traceback when something fails"),
    "v": Flag(0, "taken for old scripts; nothing is done"),
}


def parse(argv: Sequence[str], flags: Mapping[str, Flag] = FLAGS) -> tuple[dict[str, Value], list[str]]:
    """The values of all flags, and the arguments that are none; the log obeys them from now on.

    Raises UsageError.
    """
    values, rest = _parsed(argv, flags)
    if level := values["minloglevel"]:
        init_log(int(level))
    return values, rest


def _parsed(argv: Sequence[str], flags: Mapping[str, Flag]) -> tuple[dict[str, Value], list[str]]:
    known = {**GLOG, **flags}
    values = {name: flag.default for name, flag in known.items()}
    rest: list[str] = []
    given = list(argv)
    while given:
        word = given.pop(0)
        if word == "--":
            return values, [*rest, *given]
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, text = word.lstrip("-").partition("=")
        if name.startswith("no") and name[2:] in known and isinstance(known[name[2:]].default, bool):
            name, equals, text = name[2:], "=", "false"
        if name not in known:
            raise UsageError(f"unknown command line flag {name!r}; c2t-caffe without arguments lists them")
        if isinstance(known[name].default, bool) and not equals:
            text = "true"
        elif not equals:
            if not given:
                raise UsageError(f"flag '--{name}' needs a value")
            text = given.pop(0)
        values[name] = _value(name, text, known[name].default)
    return values, rest


def _value(name: str, text: str, default: Value) -> Value:
    if isinstance(default, bool):
        if text.lower() not in _BOOLS:
            raise UsageError(f"flag '--{name}' is true or false, not {text!r}")
        return _BOOLS[text.lower()]
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"flag '--{name}' needs an int, not {text!r}") from None
    return text


_BOOLS = dict.fromkeys(("true", "t", "1", "yes", "y"), True) | dict.fromkeys(
    ("false", "f", "0", "no", "n"), False
)
