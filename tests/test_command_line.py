"""The rules that fcn-convert and fcn-repro share: what a verb does not take is refused, in one line."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from caffe2torch.cli import main as fcn_convert
from caffe2torch.cli.options import parser as convert_parser
from caffe2torch.cli.verbs import VERBS as CONVERT
from caffe2torch.command_line import ALWAYS, Parser, UsageError, Verb, chosen, listed, named
from caffe2torch.version import __version__
from fcn_repro import cli as fcn_repro
from tests.places import ROOT


@dataclass(frozen=True)
class Command:
    """One of the two commands."""

    name: str
    main: Callable[[Sequence[str]], int]
    parser: Callable[[], Parser]
    verbs: Sequence[Verb[Any]]
    always: tuple[str, ...]

    def chosen(self, argv: Sequence[str]) -> argparse.Namespace:
        return chosen(self.parser(), self.verbs, argv, self.always).options

    def options(self) -> list[argparse.Action]:
        """All but verbs and what every verb takes."""
        apart = {*self.always, *(verb.option for verb in self.verbs), "-h", "--version"}
        return [action for action in self.parser().actions() if named(action) not in apart]


COMMANDS = {
    command.name: command
    for command in (
        Command("fcn-convert", fcn_convert.main, convert_parser, CONVERT, ALWAYS),
        Command("fcn-repro", fcn_repro.main, fcn_repro.parser, fcn_repro.VERBS, fcn_repro.EVERYWHERE),
    )
}


def _typical(metavar: str) -> str:
    """A value of an option, by what stands for it in its help."""
    typical = {"BLOB=N,C,H,W": "data=1,2,3", "HxW": "2x3"}
    return typical.get(metavar, "1,2,3" if "," in metavar else "1")


def typed(action: argparse.Action) -> list[str]:
    """An option as it is typed, with its default value where it has one."""
    if not action.option_strings:
        return ["file"]
    if action.nargs == 0:
        return [action.option_strings[-1]]
    values = [action.default, *(action.choices or ()), _typical(str(action.metavar))]
    return [action.option_strings[-1], next(str(value) for value in values if value)]


def asking(command: Command, verb: Verb[Any]) -> list[str]:
    """A command line with only the verb."""
    actions = [action for action in command.parser().actions() if named(action) == verb.option]
    return typed(actions[0]) if verb.option else []


PAIRS = [
    (command.name, verb, action)
    for command in COMMANDS.values()
    for verb in command.verbs
    for action in command.options()
]


def pairs(*, taken: bool) -> list[Any]:
    """Each option with each verb that takes it, or with each that does not."""
    return [
        pytest.param(name, verb, action, id=f"{name} {verb} {named(action)}")
        for name, verb, action in PAIRS
        if (named(action) in verb.takes) == taken
    ]


def refused(command: Command, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a usage error."""
    assert command.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert err.startswith(f"{command.name}: ")
    assert err.endswith(f"; see {command.name} --help\n")
    return err


@pytest.mark.parametrize(("name", "verb", "action"), pairs(taken=False))
def test_an_option_that_a_verb_does_not_take_is_refused(
    name: str, verb: Verb[Any], action: argparse.Action, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[name]
    for arguments in (
        [*asking(command, verb), *typed(action)],
        [*typed(action), *asking(command, verb)],
    ):
        said = refused(command, arguments, capsys)
        owners = listed([owner for owner in command.verbs if named(action) in owner.takes])
        assert f"{named(action)} belongs to {owners}; {verb} does not take it" in said


@pytest.mark.parametrize(("name", "verb", "action"), pairs(taken=True))
def test_an_option_that_a_verb_takes_is_read(name: str, verb: Verb[Any], action: argparse.Action) -> None:
    command = COMMANDS[name]
    options = command.chosen([*asking(command, verb), *typed(action)])
    assert hasattr(options, action.dest)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_verbs_and_options_agree(command: Command) -> None:
    known = {named(action) for action in command.options()}
    taken = {option for verb in command.verbs for option in verb.takes}
    assert taken == known, "an option that no verb takes, or one that does not exist"


def test_several_options_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    repro, convert = COMMANDS["fcn-repro"], COMMANDS["fcn-convert"]
    arguments = ["--table", "1", "--seed", "5", "--name", "nonsense", "--yes"]
    assert refused(repro, arguments, capsys) == (
        "fcn-repro: --name belongs to --evaluate, --predict and --server-result, --seed to --train, "
        "--yes to --fetch; --table takes none of them; see fcn-repro --help\n"
    )
    assert "--table takes neither" in refused(repro, arguments[:-1], capsys)
    assert refused(convert, ["f.caffemodel", "--run"], capsys) == (
        "fcn-convert: --run belongs to --diff and --survey; converting does not take it; "
        "see fcn-convert --help\n"
    )


MISTAKES = [
    ("fcn-convert", ["f", "--inpsect"], "unrecognized arguments: --inpsect; did you mean --inspect?"),
    ("fcn-convert", ["f", "--tolerence=1"], "unrecognized arguments: --tolerence; did you mean --tolerance?"),
    ("fcn-convert", ["f", "--xyzzy"], "unrecognized arguments: --xyzzy; see"),
    ("fcn-convert", ["f", "--format", "safetensor"], "did you mean safetensors?"),
    ("fcn-convert", ["f", "--dtype", "float8"], "argument --dtype: invalid choice: 'float8' (choose from "),
    ("fcn-convert", ["f", "-o"], "argument -o/--output: expected one argument"),
    ("fcn-convert", ["f", "-o", "a", "--output", "b"], "argument -o/--output: is given twice"),
    ("fcn-convert", ["f", "--inspect", "--inspect"], "argument --inspect: is given twice"),
    ("fcn-convert", ["f", "--inspect", "--diff", "g"], "--inspect and --diff are different commands"),
    ("fcn-convert", [], "give a FILE"),
    ("fcn-convert", ["--inspect"], "give a FILE"),
    ("fcn-convert", ["a", "b", "c"], "3 files were given; give a model, and its prototxt if needed"),
    ("fcn-convert", ["a", "b", "--survey"], "2 files were given; --survey takes one folder"),
    ("fcn-repro", ["--tabel", "1"], "unrecognized arguments: --tabel; did you mean --table?"),
    ("fcn-repro", ["--train", "r", "--sede", "5"], "unrecognized arguments: --sede; did you mean --seed?"),
    ("fcn-repro", ["table"], "unrecognized arguments: table; did you mean --table?"),
    ("fcn-repro", ["--tab", "1"], "unrecognized arguments: --tab; did you mean --table?"),
    ("fcn-repro", ["--table", "A", "--protocol", "neerest"], "did you mean nearest?"),
    ("fcn-repro", ["--table"], "argument --table: expected one argument"),
    ("fcn-repro", ["--table", "1", "--table", "2"], "argument --table: is given twice"),
    ("fcn-repro", ["--table", "1", "--data", "a", "--data", "a"], "argument --data: is given twice"),
    ("fcn-repro", ["--train", "r", "--seed", "-1"], "argument --seed: "),
    ("fcn-repro", ["--list", "--table", "1", "--fetch", "x"], "--list, --table and --fetch are different"),
    ("fcn-repro", [], "nothing to do; give one of --list, --table, "),
]


@pytest.mark.parametrize(("name", "arguments", "message"), MISTAKES)
def test_a_mistake_is_answered_in_one_line(
    name: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[name]
    said = refused(command, arguments, capsys)
    assert message in said
    assert command.main([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "error": err.removeprefix(f"{name}: ").rstrip("\n"),
        "kind": "UsageError",
        "exit_code": 2,
    }


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_version_and_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    for argument, said in (("--version", f"caffe2torch {__version__}\n"), ("--help", "")):
        with pytest.raises(SystemExit) as left:
            command.main([argument])
        assert left.value.code == 0
        assert said in capsys.readouterr().out
    text = command.parser().format_help()
    assert all(option in text for action in command.parser().actions() for option in action.option_strings)


def test_a_parser_reads_the_same_twice() -> None:
    parser = fcn_repro.parser()
    for _ in range(2):
        options, given = parser.read(["--table", "1", "--paper", "cvpr2015"])
        assert (options.device, options.given, given) == ("cpu", [], ["--table", "--paper"])


def written_commands() -> Iterator[tuple[str, str]]:
    """The commands that the pages show: (page, command)."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("weights/*.md"), ROOT / "Makefile"]
    prompt = r"^\s*(\$ |\$\(BIN\)/|[A-Z_]+=\S+ )*"
    for page in pages:
        for line in page.read_text().splitlines():
            for text in re.findall(r"`([^`]+)`", line) or [re.sub(prompt, "", line)]:
                for command in map(str.strip, re.split(r" && | \| |  #|;", text)):
                    if re.match(r"fcn-(convert|repro) (?!--help)", command):
                        yield str(page.relative_to(ROOT)), command


@pytest.mark.parametrize(("page", "written"), sorted(set(written_commands())))
def test_the_commands_on_the_pages_parse(page: str, written: str) -> None:
    name, *arguments = shlex.split(written, comments=True)
    if arguments in ([verb.option] for verb in COMMANDS[name].verbs):
        return  # a verb called by its name, without its value
    try:
        COMMANDS[name].chosen(arguments)
    except UsageError as error:
        pytest.fail(f"{page}: {written}: {error}")


def test_there_are_commands_on_the_pages() -> None:
    assert len({command for _, command in written_commands()}) > 20
