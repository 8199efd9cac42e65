"""Whether a command ended as it should on a file that means harm."""

from __future__ import annotations

from pathlib import Path

EXIT_CODES = {
    "fcn-convert": {0, 1, 3, 4},
    "fcn-repro": {0, 1, 3},
    "fcn-segment": {0, 1, 3},
    "c2t-caffe": {0, 1, 3},
    "read": {0, 1},
}
"""Those that --help lists for what a file can cause; 2 is for a command line."""
UNEXPECTED = ("Traceback", "please report it", "terminate called")
"""What no refusal of ours says."""


def problems(program: str, code: int, said: str, out: Path) -> list[str]:
    """What is wrong with an exit code, the text on both streams, and what lies in the folder to write to.

    A training's lock stays: who removed it could remove another's.
    """
    odd = sorted({c for c in said if not c.isprintable() and c not in "\n\t\r"})
    left = sorted(
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.suffix != ".lock"
    )
    found = {
        f"exit code {code}": code not in EXIT_CODES[program],
        f"says {next((x for x in UNEXPECTED if x in said), '')!r}": any(x in said for x in UNEXPECTED),
        f"control characters {odd}": bool(odd),
        f"leaves {left}": bool(code and left),
        "says nothing": bool(code and not said.strip()),
    }
    return [problem for problem, there in found.items() if there]
