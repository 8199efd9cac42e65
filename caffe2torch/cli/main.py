"""fcn-convert: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from caffe2torch import command_line
from caffe2torch.cli.options import parser
from caffe2torch.cli.verbs import VERBS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs fcn-convert with `argv`, or the process's arguments; returns its exit code."""
    return command_line.run("fcn-convert", argv, _act)


def _act(argv: Sequence[str]) -> int:
    asked = command_line.chosen(parser(), VERBS, argv)
    answer = asked.run()
    command_line.print_answer(answer, asked.options.json)
    for warning in answer.warnings:
        command_line.say("fcn-convert", f"warning: {warning}")
    return answer.code


if __name__ == "__main__":
    sys.exit(main())
