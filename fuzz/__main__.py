"""`python -m fuzz MINUTES [NAME...]`: fuzzes the readers of strangers' files, one after the other.

Each gets its share of the time, with atheris, which follows what a file makes the code do. Prints for each
how many files it read and how many of them did something new. A file that ends in any but our own errors, or
takes over five seconds or two gigabytes, lies in fuzz/found/NAME afterwards, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.targets import TARGETS

FOUND = Path(__file__).parent / "found"
LIMITS = ("-timeout=5", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1", "-verbosity=1")


def main() -> int:
    """Fuzzes what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", type=float)
    parser.add_argument("names", nargs="*", choices=[*TARGETS, []], metavar="NAME", help=", ".join(TARGETS))
    options = parser.parse_args()
    names = options.names or list(TARGETS)
    print("| reader | files | new | ended otherwise |\n|---|---|---|---|", flush=True)
    results = [fuzz(name, max(1, round(60 * options.minutes / len(names)))) for name in names]
    print(f"| all | {sum(done for done, _ in results)} | | {sum(bad for _, bad in results)} |")
    return int(any(bad for _, bad in results))


def fuzz(name: str, seconds: int) -> tuple[int, int]:
    """How many files a reader read, and how many of them ended otherwise than they should: one at most."""
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    before = {*found.iterdir()}
    with tempfile.TemporaryDirectory() as corpus:
        TARGETS[name].seeds(Path(corpus))
        limits = (*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={found}/")
        command = [sys.executable, "-m", "fuzz.one", name, corpus, *limits]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    numbers = dict(re.findall(r"stat::(\w+): +(\d+)", done.stderr))
    bad = len({*found.iterdir()} - before) or int(done.returncode != 0)
    if bad:
        print(done.stderr[-3000:], file=sys.stderr)
    files, new = (int(numbers.get(key, 0)) for key in ("number_of_executed_units", "new_units_added"))
    print(f"| {name} | {files} | {new} | {bad} |", flush=True)
    return files, bad


if __name__ == "__main__":
    raise SystemExit(main())
