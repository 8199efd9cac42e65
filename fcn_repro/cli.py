"""fcn-repro: what the FCN papers published, beside what is measured here.

Exit codes: 0 done, every measured cell within its tolerance; 1 refused, or a cell outside; 2 usage; 3 data or
weights missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from caffe2torch.errors import Caffe2TorchError
from fcn_repro import commands
from fcn_repro.tables.measure import DEFAULT_PROTOCOL

COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": commands.list_all,
    "table": commands.table,
    "evaluate": commands.evaluate,
    "train": commands.train,
    "caffe": commands.for_caffe,
    "predict": commands.predict,
    "server_result": commands.server_result,
    "fetch": commands.fetch,
    "render": commands.render,
}
PROTOCOLS = (DEFAULT_PROTOCOL, "area", "majority", "nearest")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    asked = parser()
    args = asked.parse_args(argv)
    command = next(COMMANDS[name] for name in COMMANDS if getattr(args, name))
    try:
        code = command(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough; the flush at exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nfcn-repro: interrupted; the same command goes on from what was done", file=sys.stderr)
        return 130
    except commands.Usage as error:
        asked.error(str(error))
    except Exception as error:
        if args.debug:
            raise
        return _refuse(error)


def _refuse(error: Exception) -> int:
    """One line for what went wrong; its exit code."""
    message, code = str(error), getattr(error, "exit_code", 1)
    if not isinstance(error, Caffe2TorchError):
        message = f"unexpected {type(error).__name__}: {error}; --debug shows where, please report it"
    print(f"fcn-repro: {' '.join(message.split())}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    """Every option of the command."""
    parser = argparse.ArgumentParser(
        prog="fcn-repro",
        description="The tables of the FCN papers: ours, published, difference.",
        epilog="Exit codes: 0 done, 1 refused or a cell outside, 2 usage, 3 data or weights missing.",
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="tables, models, data sets, and what is here")
    action.add_argument("--table", metavar="N", help="one table, by its number in the paper: 3, A")
    action.add_argument(
        "--evaluate", metavar="MODEL", help="the scores of a zoo model, or of a file's, --on SPLIT"
    )
    action.add_argument("--train", metavar="RECIPE", help="a net by its recipe, or by one of yours, my.toml")
    action.add_argument(
        "--caffe", metavar="RECIPE", help="its train.prototxt and solver.prototxt, into -o DIR"
    )
    action.add_argument("--predict", metavar="MODEL", help="a VOC test set, packed for its evaluation server")
    action.add_argument(
        "--server-result", metavar="FILE", type=Path, help="the server's answer for --name MODEL"
    )
    action.add_argument(
        "--fetch", metavar="NAME", help="a data set or a model: shown, then with --yes fetched"
    )
    action.add_argument(
        "--render", metavar="SPLIT", help="a split of shapes, as a folder of PNGs: shapes/val"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--home", metavar="DIR", type=Path, help="where data, models and results are (default: .)"
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="the data set that is there already")
    parser.add_argument("--debug", action="store_true", help="a traceback instead of a one-line error")
    _table_options(parser.add_argument_group("tables"))
    _run_options(parser.add_argument_group("models on data"))
    _train_options(parser.add_argument_group("training"))
    _fetch_options(parser.add_argument_group("fetching"))
    return parser


def _table_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--paper", default="cvpr2015", help="cvpr2015 (default) or pami2017")
    group.add_argument("--stored", action="store_true", help="evaluate nothing now, read what was stored")
    group.add_argument("--time", action="store_true", help="measure forward times, with random weights")
    group.add_argument("--protocol", default=DEFAULT_PROTOCOL, choices=PROTOCOLS, help="of the upper bounds")
    group.add_argument(
        "-o", "--report", metavar="PATH", type=Path, help="a report, --predict's archive, --render's folder"
    )


def _run_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--on", metavar="SPLIT", help="seg11valid, or DATASET/SPLIT: nyudv2/test")
    group.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1")
    group.add_argument(
        "--precision",
        choices=("fp32", "tf32", "bf16"),
        help="default: fp32; to train on a GPU that has it, bf16",
    )
    group.add_argument("--partial", action="store_true", help="take what is there of an incomplete copy")
    group.add_argument("--save-predictions", metavar="DIR", type=Path, help="a palette PNG for each image")
    group.add_argument("--name", metavar="NAME", help="what the model is called in results and tables")
    group.add_argument(
        "--mean", metavar="B,G,R", type=_mean, help="what the net subtracts (default: its data's)"
    )


def _train_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--resume", action="store_true", help="go on from the last snapshot, if there is one")
    group.add_argument("--init", metavar="FILE", help="start from these weights, not from the recipe's")
    group.add_argument("--iterations", metavar="N", type=_natural, help="end after N iterations")
    group.add_argument("--snapshot", metavar="N", type=_natural, help="a snapshot every N iterations")
    group.add_argument(
        "--seed", metavar="N", type=_natural, help="draw other images, fresh weights and dropout"
    )
    group.add_argument("--compile", action="store_true", help="run the net through torch.compile")
    group.add_argument("--tensorboard", action="store_true", help="write events for TensorBoard, too")


def _fetch_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--yes", action="store_true", help="fetch without asking")
    group.add_argument("--from", dest="given", metavar="FILE", type=Path, action="append", default=[],
                       help="a file fetched by hand; may be given several times")  # fmt: skip


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _mean(text: str) -> tuple[float, ...]:
    values = tuple(float(value) for value in text.split(","))
    if len(values) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers")
    return values


if __name__ == "__main__":
    raise SystemExit(main())
