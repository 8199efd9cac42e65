"""fcn-repro: what the FCN papers published beside what is measured here.

Exit codes: 0 done, every measured cell within its tolerance; 1 refused, or a cell outside; 2 usage; 3 data or
weights missing; 130 interrupted; 141 broken pipe.
"""

from __future__ import annotations

import argparse
from argparse import _ArgumentGroup as Group
from collections.abc import Sequence
from pathlib import Path

from caffe2torch import command_line
from caffe2torch.command_line import ALWAYS, Parser, mean_bgr
from fcn_repro.commands import (
    caffe,
    evaluate,
    fetch,
    listing,
    predict,
    render,
    server_result,
    table,
    train,
)
from fcn_repro.tables.measure import DEFAULT_PROTOCOL

VERBS = (
    listing.VERB,
    table.VERB,
    evaluate.VERB,
    train.VERB,
    caffe.VERB,
    predict.VERB,
    server_result.VERB,
    fetch.VERB,
    render.VERB,
)
EVERYWHERE = (*ALWAYS, "--home")
"""The options that every verb takes."""
PROTOCOLS = (DEFAULT_PROTOCOL, "area", "majority", "nearest", "nearest-top-left")
_EPILOG = """\
exit codes: 0 done, 1 refused or a cell outside its tolerance, 2 usage, 3 data or weights missing,
            130 interrupted, 141 broken pipe
"""
_OUTPUT = "--table, --evaluate: a report; --predict: the archive; --render, --caffe: the folder"
_FORCE = "with -o of --table, --evaluate, --predict, --caffe: replace what is there"
_DATA = "--list, --table, --evaluate, --predict, --train, --caffe: where your copy of the data set is"
_ON = "seg11valid, or DATASET/SPLIT: nyudv2/test (also --server-result, and --table 8 of pami2017)"
_DEVICE = "--table, --evaluate, --predict, --train: cpu (default), cuda, cuda:1"
_PRECISION = "with --device; default: fp32; to train on a GPU that has it, bf16"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs fcn-repro with `argv`, or the process's arguments; returns its exit code."""
    return command_line.run("fcn-repro", argv, _act, "; the same command continues where it stopped")


def _act(argv: Sequence[str]) -> int:
    return command_line.chosen(parser(), VERBS, argv, EVERYWHERE).run()


def parser() -> Parser:
    """Every option of the command."""
    parser = Parser(
        "fcn-repro",
        usage="fcn-repro --table N [options], or another of the commands below",
        description="The tables of the FCN papers: ours, published, difference.",
        epilog=_EPILOG,
    )
    parser.add_verbs("commands, of which you give one", VERBS)
    _table_options(parser.add_argument_group("--table"))
    _shared_options(parser.add_argument_group("several commands"))
    _run_options(parser.add_argument_group("--evaluate and --predict"))
    _train_options(parser.add_argument_group("--train"))
    _fetch_options(parser.add_argument_group("--fetch"))
    parser.add_always()
    return parser


def _table_options(group: Group) -> None:
    add = group.add_argument
    add("--paper", metavar="P", default="cvpr2015", help="see --list (default: cvpr2015)")
    add("--stored", action="store_true", help="evaluate nothing, only read stored runs")
    add("--time", action="store_true", help="measure forward times, with random weights")
    add("--protocol", default=DEFAULT_PROTOCOL, choices=PROTOCOLS, help="for the upper bounds")
    add("--fill", choices=("black", "white"), help="for masked pixels (default: the mean colour)")


def _shared_options(group: Group) -> None:
    add = group.add_argument
    add("--home", metavar="DIR", type=Path, help="all: where data, models and results are (default: .)")
    add("-o", "--report", metavar="PATH", type=Path, dest="output", help=_OUTPUT)
    add("--force", action="store_true", help=_FORCE)
    add("--data", metavar="DIR", type=Path, help=_DATA)
    add("--partial", action="store_true", help="with --data: accept an incomplete copy")
    add("--device", metavar="D", default="cpu", help=_DEVICE)
    add("--precision", choices=("fp32", "tf32", "bf16"), help=_PRECISION)


def _run_options(group: Group) -> None:
    add = group.add_argument
    add("--on", metavar="SPLIT", help=_ON)
    add("--name", metavar="NAME", help="the model's name in results and tables (also --server-result)")
    add("--mean", metavar="B,G,R", type=mean_bgr, help="what the net subtracts, if it does not know it")
    add("--save-predictions", metavar="DIR", type=Path, help="a palette PNG for each image")


def _train_options(group: Group) -> None:
    add = group.add_argument
    add("--resume", action="store_true", help="continue from the last snapshot, if any")
    add("--init", metavar="FILE", help="start from these weights, not the recipe's")
    add("--iterations", metavar="N", type=_natural, help="stop after N iterations")
    add("--snapshot", metavar="N", type=_natural, help="a snapshot every N iterations")
    add("--seed", metavar="N", type=_natural, help="for the images drawn, fresh weights and dropout")
    add("--compile", action="store_true", help="run the net through torch.compile")
    add("--tensorboard", action="store_true", help="also write events for TensorBoard")


def _fetch_options(group: Group) -> None:
    add = group.add_argument
    add("--yes", action="store_true", help="fetch without asking")
    add("--from", metavar="FILE", type=Path, action="append", dest="given", default=[],
        help="a file you fetched by hand; may be repeated")  # fmt: skip


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
