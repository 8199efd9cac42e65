"""`python benchmarks/guards.py [WORD...]`: each guard against strangers' files and faults has its test.

Takes one guard at a time out of a copy of the code, as guards.toml says, and runs the test that must fail
then. Prints a row for each, or for those whose entries hold one of the words; the exit code is 1 where a test
passes without the guard. With all of them in place the tests pass, which CI checks. A test that hangs without
one is ended after two minutes of processor time, which counts as failing: that is what some are against.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path

from fcn_repro.toml_records import load

ROOT = Path(__file__).parents[1]
SECONDS = 120
"""Of processor time for a test."""


@dataclass(frozen=True)
class Guard:
    """An entry of guards.toml."""

    against: str
    file: str
    text: str
    without: str
    test: str


@dataclass(frozen=True)
class Guards:
    """guards.toml."""

    guards: tuple[Guard, ...]


GUARDS = load(Path(__file__).with_suffix(".toml"), Guards).guards


def main() -> int:
    """Tries the guards that the command line chooses; 1 where a test does not need one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    words = parser.parse_args().words or [""]
    print("| guard against | in | test that fails without it |\n|---|---|---|")
    missed = 0
    with tempfile.TemporaryDirectory() as place:
        copy = _copy(Path(place) / "copy")
        for guard in GUARDS:
            if any(word in " ".join(astuple(guard)) for word in words):
                fails = _fails(guard, copy)
                missed += not fails
                file, _, test = guard.test.replace("::", " ").partition(" ")
                row = f"| {guard.against} | `{guard.file}` | `{file}` {test}".rstrip()
                print(f"{row}{'' if fails else ' PASSES'} |", flush=True)
    return min(missed, 1)


def _copy(copy: Path) -> Path:
    """The files that git knows or would, in a folder of their own."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def _fails(guard: Guard, copy: Path) -> bool:
    """Whether its test fails, or runs out of time, where the guard is taken out of the copy; puts it back."""
    path = copy / guard.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(guard.text) != 1:
        raise ValueError(f"{guard.file} holds {whole.count(guard.text)} times {guard.text!r}")
    path.write_text(whole.replace(guard.text, guard.without), encoding="utf-8")
    ours = ["-x", "-p", "no:cacheprovider", f"--basetemp={copy.parent / 'temporary'}"]
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", *ours, *guard.test.split()],
        cwd=copy,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)),
    )
    path.write_text(whole, encoding="utf-8")
    if done.returncode > 1:  # nothing was run; less than 0 is out of time
        raise ValueError(f"{guard.test} cannot be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode != 0


if __name__ == "__main__":
    raise SystemExit(main())
