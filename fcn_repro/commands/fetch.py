"""--fetch: a data set or a model, from its publisher."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from caffe2torch.command_line import Answer, UsageError, Verb, print_answer, printable, show
from caffe2torch.errors import MissingData
from fcn_repro.commands.asked import workspace
from fcn_repro.fetching import weights
from fcn_repro.fetching.datasets import obtain, plan_fetch, sources
from fcn_repro.fetching.zoo import zoo


def fetch(args: argparse.Namespace) -> int:
    """Shows what fetching a data set or a model involves; with --yes, fetches it."""
    name, is_data = args.fetch, args.fetch in sources()
    if not is_data and name not in zoo().models:
        known = f"data: {', '.join(sources())}; models: {', '.join(zoo().models)}"
        raise MissingData(f"no source is known for {name!r}; known are {known}")
    if not is_data and len(args.given) > 1:
        raise UsageError("--from: a model is one file")
    place = workspace(args).data_sets if is_data else workspace(args).models
    plan = str(plan_fetch(name)) if is_data else weights.describe(name, zoo().models[name])
    _present(f"{plan}\n  into      {place}, {_free(place) / 1e9:.1f} GB free there", args.json)
    if not (args.yes or _agreed(args.json)):
        raise UsageError("nothing was fetched; add --yes")
    if is_data:
        found = obtain(name, place, given=args.given, progress=_bytes_so_far())
    else:
        given, progress = next(iter(args.given), None), _bytes_so_far()
        found = weights.obtain(name, zoo().models[name], place, given=given, progress=progress)
    print_answer(Answer(str(found), {"name": name, "place": str(found)}), args.json)
    return 0


def _present(plan: str, as_json: bool) -> None:
    """Shows what would be fetched; with --json on stderr, because stdout is for the object."""
    if as_json:
        sys.stderr.write(f"{printable(plan, sys.stderr)}\n")
    else:
        show(plan)


def _free(folder: Path) -> int:
    """Free bytes on the disk where a folder will be."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _agreed(as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        return False
    sys.stdout.write("Fetch it? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _bytes_so_far() -> Callable[[int, int | None], None]:
    """A line on stderr, in a terminal."""

    def progress(done: int, total: int | None) -> None:
        whole = f" of {total / 1e6:.1f}" if total else ""
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{done / 1e6:.1f}{whole} MB\x1b[K{end}")

    return progress if sys.stderr.isatty() else lambda done, total: None


VERB = Verb(
    "--fetch",
    fetch,
    ("--yes", "--from"),
    "a data set or a model: shown, then with --yes fetched",
    {"metavar": "NAME"},
)
