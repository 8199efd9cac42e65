"""`python benchmarks/covered.py`: what the tests run of each package, after `python -m coverage combine`.

Prints lines and branches apart, as docs/trust.md has them, and the modules of which less than 90 % is run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("caffe2torch", "fcn_repro")
LEAST = 90
"""In %, of lines and branches together."""


def main() -> int:
    """Prints both tables."""
    command = [sys.executable, "-m", "coverage", "json", "--quiet", "-o", "-"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    files = {file: Counter(counts_of(known)) for file, known in json.loads(done.stdout)["files"].items()}
    print("| package | lines | covered | branches | covered | both |\n|---|---|---|---|---|---|")
    for package in PACKAGES:
        n = sum((own for file, own in files.items() if file.startswith(f"{package}/")), Counter())
        lines, branches = percent(n, "lines"), percent(n, "branches")
        both = percent(n, "lines", "branches")
        print(
            f"| {package} | {n['all lines']:,} | {lines:.1f} % | {n['all branches']:,} | {branches:.1f} % "
            f"| {both:.1f} % |"
        )
    print("\n| module | both |\n|---|---|")
    for both, file in sorted((percent(n, "lines", "branches"), file) for file, n in files.items()):
        if both < LEAST:
            print(f"| `{file}` | {both:.0f} % |")
    return 0


def counts_of(known: Mapping[str, Any]) -> dict[str, int]:
    """How many lines and branches a file has, and how many of them are run."""
    n = known["summary"]
    lines = {"lines": n["covered_lines"], "all lines": n["num_statements"]}
    return {**lines, "branches": n["covered_branches"], "all branches": n["num_branches"]}


def percent(n: Counter[str], *kinds: str) -> float:
    """How much is run; all of a file that holds nothing."""
    whole = sum(n[f"all {kind}"] for kind in kinds)
    return 100 * sum(n[kind] for kind in kinds) / whole if whole else 100.0


if __name__ == "__main__":
    sys.exit(main())
