"""A program of a test in a process of its own, whose processor time is limited."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from tests.places import ROOT

SECONDS = 40


def printed(program: str, argument: Path) -> str:
    """What a Python program prints of its argument, without complaint, in SECONDS of processor time."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(argument)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
