"""`python benchmarks/hostile.py [FAMILY...]`: files that mean harm, through every command that reads them.

Makes the files of tests/hostile, gives each to all commands of its family, and prints by family how many runs
there were, how many were refused, and the most seconds of processor time and megabytes that one took: 2 s and
300 MB and three times the file are allowed. What ends otherwise than it should is printed below. A run is a
process, forked from one that has imported everything: time and memory are its own.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.hostile.commands import FAMILIES, MODEL, Command, all_files, filled_in, furnish, program  # noqa: E402
from tests.hostile.judging import problems  # noqa: E402

WHOLE = (
    *MODEL,
    ("c2t-caffe", "time", "-model", "HERE/good.prototxt", "-iterations", "1"),
    ("fcn-repro", "--table", "1", "--home", "OUT/home"),
)
SECONDS, MEGABYTES = 2.0, 300
"""Allowed for a run, beside three times the file."""


@dataclass(frozen=True)
class Run:
    """What a command did with a file."""

    code: int
    seconds: float
    megabytes: float
    wrong: tuple[str, ...]


def main() -> int:
    """Runs what the command line names; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], metavar="FAMILY")
    families = parser.parse_args().families or list(FAMILIES)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        here, folder = Path(place) / "here", Path(place) / "files"
        here.mkdir()
        folder.mkdir()
        os.environ["FCN_REPRO_HOME"] = str(Path(place) / "home")
        furnish(here)
        files = list(all_files(folder))
        _import_everything(here)
        print(
            "| files of | files | runs | refused | most s | most MB | wrong |\n|---|---|---|---|---|---|---|"
        )
        wrong = [
            problem
            for name in families
            for problem in _family(name, [path for family, path in files if family == name], here)
        ]
    print("\n".join(wrong))
    return int(bool(wrong))


def _import_everything(here: Path) -> None:
    """Runs each program once on whole files: what is imported now is not imported in each run."""
    good = here / "good.caffemodel"
    out = here / "whole"
    out.mkdir()
    with tempfile.TemporaryFile() as said, contextlib.redirect_stdout(io.StringIO()):
        kept = os.dup(sys.stderr.fileno())
        os.dup2(said.fileno(), sys.stderr.fileno())
        for command in WHOLE:
            program(command[0])(filled_in(command, good, here, out)[1:])
        os.dup2(kept, sys.stderr.fileno())


def _family(name: str, paths: Sequence[Path], here: Path) -> list[str]:
    """Runs all commands of a family on its files and prints its row; what is wrong."""
    runs, wrong = [], []
    for path in paths:
        for command in FAMILIES[name].commands:
            run = _forked(command, path, FAMILIES[name].place(path, here), here)
            runs.append(run)
            wrong += [f"{name}: {path.name}: {' '.join(command)}: {problem}" for problem in run.wrong]
    most = [f"{max(getattr(run, what) for run in runs):.1f}" for what in ("seconds", "megabytes")]
    refused = sum(bool(run.code) for run in runs)
    row = (name, len(paths), len(runs), refused, *most, len(wrong))
    print(f"| {' | '.join(map(str, row))} |", flush=True)
    return wrong


def _forked(command: Command, file: Path, given: Path, here: Path) -> Run:
    """One run, in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as said:
        out = Path(scratch) / "out"
        out.mkdir()
        process = os.fork()
        if not process:
            before = _status("RssAnon")
            os.chdir(scratch)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(said.fileno(), stream.fileno())
            code = _run(filled_in(command, given, here, out))
            # Libraries' own code is mapped as it is first run, and is not memory taken for the file.
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - _status("RssFile")
            Path(scratch, "megabytes").write_text(str(max(most - before, 0.0)))
            os._exit(code)
        _, status, used = os.wait4(process, 0)
        said.seek(0)
        text = said.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(status)
        told = Path(scratch, "megabytes")
        megabytes = float(told.read_text()) if told.exists() else 0.0
        seconds = used.ru_utime + used.ru_stime
        wrong = problems(command[0], code, text, out)
        shutil.rmtree(out)
    if seconds > SECONDS:
        wrong.append(f"{seconds:.1f} s")
    if megabytes > MEGABYTES + 3 * file.stat().st_size / (1 << 20):
        wrong.append(f"{megabytes:.0f} MB")
    return Run(code, seconds, megabytes, tuple(wrong))


def _run(words: Sequence[str]) -> int:
    """Runs a command in this process; 70 for a traceback."""
    main, *arguments = words
    try:
        code = program(main)(arguments)
    except BaseException:  # whatever comes is told of
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _status(name: str) -> float:
    """Megabytes of a kind that this process holds now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    raise SystemExit(main())
