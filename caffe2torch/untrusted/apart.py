"""Functions that give a stranger's file to a C library, each call in a process of its own.

Such libraries trust what a file says: a damaged one may end their process, or keep it busy for ever. That is
then not the process of whoever asked.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from caffe2torch.errors import ReadError

try:
    import resource
except ImportError:  # Windows, where nothing limits a process
    resource = None  # type: ignore[assignment]

MAX_SECONDS, MAX_MEMORY = 60, 1 << 30
"""Of processor time, and bytes, for a function that reads a small file."""
PACE, RATIO = 1 << 22, 4
"""For a large one: the bytes that a further second is for, and how many times its size there is more."""
_BEGUN = "\0begun\0"
"""What the process prints before it calls the function; its answer follows."""
_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that a process gets when the one that started it ends."""
_START = """
import json, sys
order = json.load(sys.stdin)
sys.path[:] = order["path"]
from caffe2torch.untrusted.apart import answer
answer(order)
"""


def ask(function: str, *arguments: object, library: str, size: int) -> Any:
    """What a "module:function" that reads `size` bytes returns for `arguments`; JSON can hold all of them.

    Raises ReadError as the function does, where the library ends its process, or takes too long, and where no
    such process can start.
    """
    seconds, memory = MAX_SECONDS + size // PACE, MAX_MEMORY + RATIO * size
    order = {
        "path": [place for place in sys.path if isinstance(place, str)],  # a Path there is left out by Python
        "function": function,
        "arguments": arguments,
        "limits": {"RLIMIT_CPU": seconds, "RLIMIT_DATA": memory, "RLIMIT_CORE": 0},
    }
    code, said, complaint = _run(json.dumps(order).encode(), library)
    _, begun, said = said.partition(_BEGUN.encode())
    if not begun:
        raise _not_started(library, complaint.decode(errors="replace").strip().rpartition("\n")[2])
    if code or not said:
        late = resource and code == -signal.SIGXCPU
        what = f"is still busy with it after {seconds} s" if late else "cannot read it, and ends on it"
        raise ReadError(f"the {library} library {what}; make or copy it again")
    answered = json.loads(said)
    if "refused" in answered:
        raise ReadError(answered["refused"])
    return answered["answer"]


def _run(order: bytes, library: str) -> tuple[int, bytes, bytes]:
    """The exit code of a process that is given an order, and what it wrote to stdout and stderr."""
    import subprocess  # loads slowly, and few files need it

    if not sys.executable:
        raise _not_started(library, "sys.executable does not say which Python this is")
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-c", _START],
            input=order,
            capture_output=True,
            check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # their stacks count
            start_new_session=True,  # Ctrl-C is for whoever asked
        )
    except OSError as error:
        raise _not_started(library, str(error)) from None
    return done.returncode, done.stdout, done.stderr


def _not_started(library: str, why: str) -> ReadError:
    why = why or "it says nothing"
    return ReadError(f"the {library} library reads it in a process of its own, which does not start: {why}")


def answer(order: Mapping[str, Any]) -> None:
    """Calls what is asked for, in the process that was started for it."""
    module, _, name = order["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever asked may end first, by Ctrl-C
    sys.stdout.write(_BEGUN)  # what modules print when they are imported comes before it
    sys.stdout.flush()
    for limit, value in order["limits"].items() if resource else ():
        _, hard = resource.getrlimit(getattr(resource, limit))
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(getattr(resource, limit), (value, hard))
    try:
        answered = {"answer": function(*order["arguments"])}
    except ReadError as refusal:
        answered = {"refused": str(refusal)}
    json.dump(answered, sys.stdout)
