"""fcn-repro: what the FCN papers published, beside what was measured here.

Exit codes: 0 done, 1 refused, 2 usage, 3 data or weights missing. A table of which nothing was measured
leaves with 3.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from caffe2torch.errors import Caffe2TorchError, MissingData
from fcn_repro import report
from fcn_repro.papers import papers
from fcn_repro.zoo import zoo


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        code = _list(args.json) if args.list else _table(parser, args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough; the flush at exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Caffe2TorchError as error:
        if args.debug:
            raise
        print(f"fcn-repro: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fcn-repro",
        description="The tables of the FCN papers: ours, published, difference.",
        epilog="Exit codes: 0 done, 1 refused, 2 usage, 3 data or weights missing (nothing measured).",
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="the tables and the published models known")
    action.add_argument("--table", metavar="N", help="one table, by its number in the paper: 3, A")
    parser.add_argument("--paper", default="cvpr2015", help="cvpr2015 (default) or pami2017")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--debug", action="store_true", help="a traceback instead of a one-line error")
    return parser


def _table(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    known = papers()
    if args.paper not in known:
        parser.error(f"no paper {args.paper!r}; known are {', '.join(known)}")
    paper, number = known[args.paper], args.table.upper()
    if number not in paper.tables:
        parser.error(f"{args.paper} has no table {args.table!r}; its tables are {', '.join(paper.tables)}")
    if args.json:
        _print_json(report.as_data(paper, number))
    else:
        print(report.as_text(paper, number))
    print(f"fcn-repro: {report.summary(paper.tables[number])}", file=sys.stderr)
    return MissingData.exit_code


def _list(as_json: bool) -> int:
    if as_json:
        _print_json({"papers": {key: _tables(key) for key in papers()}, "models": list(zoo().models)})
        return 0
    for key, paper in papers().items():
        print(f"{key}: {paper.title} ({paper.venue})")
        for number, table in _tables(key).items():
            doubt = f", {table['unverified']} unverified" if table["unverified"] else ""
            print(f"  --table {number}  {table['title']} ({table['cells']} cells{doubt})")
        print()
    for family, meaning in zoo().families.items():
        print(f"{meaning}:")
        print("\n".join(f"  {name}" for name, model in zoo().models.items() if model.family == family))
    return 0


def _tables(key: str) -> dict[str, dict[str, Any]]:
    """Of each table of a paper: its title, how many cells it has, and how many of them are unverified."""
    return {
        number: {
            "title": table.title,
            "cells": len(table.cells),
            "unverified": sum(not cell.verified for cell in table.cells),
        }
        for number, table in papers()[key].tables.items()
    }


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    raise SystemExit(main())
