"""--server-result: what the evaluation server answered."""

from __future__ import annotations

import argparse
from pathlib import Path

from caffe2torch.command_line import Answer, UsageError, Verb, print_answer
from fcn_repro.commands.asked import images, typed, workspace
from fcn_repro.tables.papers import papers


def server_result(args: argparse.Namespace) -> int:
    """Keeps what the evaluation server answered, for the tables."""
    from fcn_repro.scoring.run import keep_answer

    if not args.name:
        raise UsageError("--server-result needs --name MODEL: whose predictions did the server score?")
    split = images(args)
    tables = [table for paper in papers().values() for table in paper.tables.values()]
    shown = [column for table in tables for column in table.columns.values() if column.on == split]
    if not any(column.measure == "server" for column in shown):
        raise UsageError(f"--on {split}: the server scores voc2011/test and voc2012/test")
    path = keep_answer(workspace(args), args.server_result, args.name, split, typed())
    said = f"{path}: kept; fcn-repro --table 3 and --paper pami2017 --table 4 show it"
    print_answer(Answer(said, {"file": str(path)}), args.json)
    return 0


VERB = Verb(
    "--server-result",
    server_result,
    ("--name", "--on"),
    "the server's answer for --name MODEL",
    {"metavar": "FILE", "type": Path},
)
