"""The rules that all commands share: options, exit codes, and what may reach the terminal.

A command is a set of verbs. Each `Verb` states the options it takes; any other option is refused, even when
it is given its default value. A mistake on the command line is answered in one line, and `run` turns
every other failure into one line and an exit code:

    0 done    1 refused    2 usage    3 missing    4 verification failed    130 interrupted    141 broken pipe
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, NoReturn, TextIO, TypedDict, TypeVar

from caffe2torch import cut_short
from caffe2torch.errors import Caffe2TorchError, VerificationFailed
from caffe2torch.interrupts import noticed
from caffe2torch.partial import PARTIALS
from caffe2torch.version import __version__

BROKEN_PIPE = 141
INTERRUPTED = 130
ALWAYS = ("--json", "--debug")
"""The options that every verb of every command takes; --version and --help need no verb."""
MAX_MEAN = 1e6
"""What files can hold of it."""

_STDERR = 2  # even while a library's output is kept from sys.stderr

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""

_T = TypeVar("_T")


class UsageError(Caffe2TorchError):
    """A command line that makes no sense; the message is one line and says what would."""

    exit_code = 2


@dataclass(frozen=True)
class Answer:
    """What a command found out: `text` for people, `data` for --json."""

    text: str
    data: dict[str, Any]
    code: int = 0
    warnings: tuple[str, ...] = ()
    """What is also said on stderr, a line each."""


class NotVerified(VerificationFailed):
    """Outputs that differ from their reference; `answer` shows by how much."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class Argument(TypedDict, total=False):
    """How argparse reads the option of a verb: whether it has a value, and of what kind."""

    action: str
    metavar: str
    type: Callable[[str], object]


@dataclass(frozen=True)
class Verb(Generic[_T]):
    """One thing that a command does, and the options it takes besides those that every verb takes.

    `option` selects it, such as "--table"; it is empty for the verb that runs when none is given, which
    messages call `name`. Options go by the first name they are declared with: "-o", not "--output".
    """

    option: str
    run: Callable[[argparse.Namespace], _T]
    takes: tuple[str, ...] = ()
    help: str = ""
    argument: Argument = field(default_factory=lambda: Argument(action="store_true"))
    name: str = ""

    def __str__(self) -> str:
        return self.option or self.name


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError, in one line, and knows which options were given."""

    def __init__(self, prog: str, usage: str, description: str, epilog: str) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(
            prog, usage, description, epilog, allow_abbrev=False, add_help=False, formatter_class=formatter
        )
        for action, once in (("store", _Once), (None, _Once), ("store_true", _OnceTrue)):
            self.register("action", action, once)

    def add_verbs(self, title: str, verbs: Iterable[Verb[_T]]) -> None:
        """A group with the option of each verb."""
        group = self.add_argument_group(title)
        for verb in verbs:
            if verb.option:
                group.add_argument(verb.option, help=verb.help, **verb.argument)

    def add_always(self) -> None:
        """The options that every verb takes, --help and --version."""
        group = self.add_argument_group("always")
        group.add_argument("-h", "--help", action="help", help="show this text")
        group.add_argument("--json", action="store_true", help="print one JSON object")
        group.add_argument("--debug", action="store_true", help="also print a traceback when something fails")
        group.add_argument(
            "--version", action="version", help="show the version", version=f"caffe2torch {__version__}"
        )

    def read(self, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """All options, and the names of those that were given, even with their default values."""
        defaults = {action: action.default for action in self._actions}
        try:
            for action in defaults:
                action.default = argparse.SUPPRESS
            options, left = self.parse_known_intermixed_args(argv)
        finally:
            for action, default in defaults.items():
                action.default = default
        if left:
            self.error(self._unrecognized(left))
        given = [named(action) for action in self._actions if hasattr(options, action.dest)]
        absent = {action.dest: default for action, default in defaults.items() if named(action) not in given}
        absent = {dest: default for dest, default in absent.items() if default is not argparse.SUPPRESS}
        return argparse.Namespace(**{**absent, **vars(options)}), given

    def actions(self) -> list[argparse.Action]:
        """All options and positional arguments."""
        return list(self._actions)

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message}; see {self.prog} --help")

    def _unrecognized(self, left: Sequence[str]) -> str:
        """Names the first option that does not exist, and the nearest one that does."""
        unknown = next((word for word in left if word.startswith("-")), left[0]).partition("=")[0]
        options = [option for action in self._actions for option in action.option_strings]
        return f"unrecognized arguments: {unknown}{_nearest(unknown, options)}"

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            message = f"invalid choice: {value!r} (choose from {', '.join(choices)})"
            raise argparse.ArgumentError(action, f"{message}{_nearest(str(value), choices)}")


def chosen(
    parser: Parser, verbs: Sequence[Verb[_T]], argv: Sequence[str], always: Collection[str] = ALWAYS
) -> Asked[_T]:
    """The verb that a command line asks for, with its options. Raises UsageError for any it does not take."""
    options, given = parser.read(argv)
    asked = [verb for verb in verbs if verb.option in given]
    if len(asked) > 1:
        parser.error(f"{listed(asked)} are different commands; give one of them")
    verb = next(iter(asked), None) or next((verb for verb in verbs if not verb.option), None)
    if verb is None:
        parser.error(f"nothing to do; give one of {', '.join(map(str, verbs))}")
    taken = (verb.option, *verb.takes, *always)
    if others := [name for name in given if name not in taken]:
        parser.error(_not_taken(verb, verbs, others))
    return Asked(verb, options)


@dataclass(frozen=True)
class Asked(Generic[_T]):
    """What a command line asks for."""

    verb: Verb[_T]
    options: argparse.Namespace

    def run(self) -> _T:
        """Runs the verb with its options."""
        return self.verb.run(self.options)


def run(
    program: str, argv: Sequence[str] | None, act: Callable[[Sequence[str]], int], interrupted: str = ""
) -> int:
    """Calls `act` with `argv` or the process's arguments; returns the exit code.

    A failure is one line on stderr. With --json among the arguments it is also an object on stdout: error,
    kind, exit_code, and the data of a NotVerified's answer. `interrupted` is advice to print after Ctrl-C, of
    a command that saves its work then; one that does not, and is the process's, ends at once.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    said = f"{program}: interrupted{interrupted}"
    with noticed(None if interrupted or argv is not None else partial(_end, said)) as came:
        try:
            try:
                with cut_short.handled(partial(_end_cut, program)) if argv is None else nullcontext():
                    return act(given)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # `| head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
            return BROKEN_PIPE
        except (KeyboardInterrupt, Exception) as error:
            if came() or isinstance(error, KeyboardInterrupt):  # a library may have made another error of it
                sys.stderr.write(_on_its_own(said))
                return INTERRUPTED
            if "--debug" in given:
                traceback.print_exc()
            return _refuse(program, error, "--json" in given)


def show(text: str) -> None:
    """Prints text on stdout."""
    if text:
        sys.stdout.write(f"{printable(text, sys.stdout)}\n")
        sys.stdout.flush()


def print_answer(answer: Answer, as_json: bool) -> None:
    """Prints an answer on stdout, as text or as JSON."""
    if as_json:
        show_json(answer.data)
    else:
        show(answer.text)


def show_json(data: Any) -> None:
    """Prints data on stdout, as JSON."""
    sys.stdout.write(f"{json.dumps(data, indent=2)}\n")
    sys.stdout.flush()


def say(program: str, text: str) -> None:
    """Prints one line on stderr, after the name of the command."""
    sys.stderr.write(f"{program}: {printable(' '.join(text.split()), sys.stderr)}\n")


def printable(text: str, stream: TextIO) -> str:
    """The text, made safe for a terminal: names in it come from files and may hold escape sequences."""
    encoding = stream.encoding or "utf-8"
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


class ProgressLine:
    """How far a long task is, on one line of a terminal; `unit` is what it counts, `size` at a time.

    `rest` says what else there is to do, before and after what is counted. A `quiet` one shows nothing.
    """

    def __init__(self, unit: str, size: float = 1, rest: str = "", *, quiet: bool = False) -> None:
        self.unit, self.size, self.rest, self.quiet = unit, size, rest, quiet
        self.start = self.shown = time.perf_counter()
        self.is_shown = False
        self._show(rest)

    def __call__(self, done: int, expected: int) -> None:
        """Shows `done` of `expected`, once a second at most."""
        now = time.perf_counter()
        if done >= expected:
            self._show(self.rest)
        elif done and now - self.shown >= 1:
            self.shown, rate = now, done / (now - self.start)
            speed, left = rate / self.size, clock((expected - done) / rate)
            shown = f"{done / self.size:.0f} of {expected / self.size:.0f} {self.unit}"
            self._show(f"{shown}, {speed:.{0 if speed >= 10 else 1}f} {self.unit}/s, {left} left")

    def wipe(self) -> None:
        """Makes room for what is printed next."""
        self._show("")

    def _show(self, text: str) -> None:
        if not self.quiet and sys.stderr.isatty() and (text or self.is_shown):
            sys.stderr.write(f"\r{text:70}" + ("" if text else "\r"))
            sys.stderr.flush()
            self.is_shown = bool(text)


def clock(seconds: float) -> str:
    """A duration: "42 s", or from a minute on minutes:seconds or hours:minutes:seconds."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minute:02}:{second:02}"
    return f"{minute}:{second:02}" if minute else f"{second} s"


def mean(text: str) -> tuple[float, ...]:
    """The value of --mean: a number for each channel."""
    values = tuple(map(float, text.split(",")))
    if not all(abs(value) <= MAX_MEAN for value in values):  # nor is NaN
        raise argparse.ArgumentTypeError(f"{text!r} is no mean of pixels")
    return values


def mean_bgr(text: str) -> tuple[float, ...]:
    """The same for an image of three channels."""
    values = mean(text)
    if len(values) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers, such as 104,117,123")
    return values


def named(action: argparse.Action) -> str:
    """The name of an option or positional argument, as people and `Verb.takes` write it."""
    return action.option_strings[0] if action.option_strings else str(action.metavar)


def listed(things: Sequence[object]) -> str:
    """A, B and C."""
    *first, last = map(str, things)
    return f"{', '.join(first)} and {last}" if first else last


class _OnlyOnce(argparse.Action):
    """An option that may be given only once: of two values, which one is meant?"""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        if self.option_strings and hasattr(namespace, self.dest):
            raise argparse.ArgumentError(self, "is given twice")
        super().__call__(parser, namespace, values, option_string)


class _Once(_OnlyOnce, argparse._StoreAction):
    """One with a value."""


class _OnceTrue(_OnlyOnce, argparse._StoreTrueAction):
    """A flag."""


def _end(said: str) -> None:
    """Ends the process and leaves nothing, unless all is written but for the answer."""
    if PARTIALS.discard():
        os.write(_STDERR, _on_its_own(said).encode())
        os._exit(INTERRUPTED)


def _end_cut(program: str) -> None:
    """Ends the process, whose files are not what they were."""
    try:
        PARTIALS.discard()
        os.write(_STDERR, _on_its_own(f"{program}: {cut_short.CUT_SHORT}").encode())
    finally:  # whatever goes wrong: to return would be to read again, for ever
        os._exit(1)


def _on_its_own(line: str) -> str:
    """A line for stderr, where a terminal shows ^C or a progress line."""
    return f"\n{line}\n" if os.isatty(_STDERR) else f"{line}\n"


def _refuse(program: str, error: Exception, as_json: bool) -> int:
    """Says in one line what went wrong; returns the exit code."""
    message, code = str(error), getattr(error, "exit_code", 1)
    if isinstance(error, MemoryError):
        message = f"there is not enough memory: {message or 'a smaller model or image may do'}"
    elif not isinstance(error, Caffe2TorchError):
        message = f"unexpected {type(error).__name__}: {error}; --debug shows where, please report it"
    answer = error.answer if isinstance(error, NotVerified) else Answer("", {})
    problem = {"error": message, "kind": type(error).__name__, "exit_code": code}
    print_answer(replace(answer, data={**answer.data, **problem}), as_json)
    say(program, message)
    return int(code)


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def _not_taken(verb: Verb[_T], verbs: Sequence[Verb[_T]], others: Sequence[str]) -> str:
    """--seed belongs to --train, --on to --evaluate and --predict; --table takes neither"""
    owners = [(name, listed([owner for owner in verbs if name in owner.takes])) for name in others]
    (first, whose), *more = owners
    message = ", ".join([f"{first} belongs to {whose}", *(f"{name} to {whose}" for name, whose in more)])
    end = {1: "does not take it", 2: "takes neither"}.get(len(others), "takes none of them")
    return f"{message}; {verb} {end}"
