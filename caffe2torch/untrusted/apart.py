"""Functions that give a stranger's file to a C library, each call in a process of its own.

Such libraries trust what a file says: a damaged one may end their process, or keep it busy for ever. That is
then not the process of whoever asked.
"""

from __future__ import annotations

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
_START = """
import json, sys
order = json.load(sys.stdin)
sys.path[:] = order["path"]
from caffe2torch.untrusted.apart import answer
answer(order)
"""


def ask(function: str, *arguments: object, library: str, size: int) -> Any:
    """What a "module:function" that reads `size` bytes returns for `arguments`; JSON can hold all of them.

    Raises ReadError as the function does, and where the library ends its process, or takes too long.
    """
    import subprocess  # loads slowly, and few files need it

    seconds, memory = MAX_SECONDS + size // PACE, MAX_MEMORY + RATIO * size
    order = {
        "path": sys.path,
        "function": function,
        "arguments": arguments,
        "limits": {"RLIMIT_CPU": seconds, "RLIMIT_DATA": memory, "RLIMIT_CORE": 0},
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-c", _START],
        input=json.dumps(order).encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # their stacks count
        start_new_session=True,  # Ctrl-C is for whoever asked
    )
    if done.returncode:
        late = resource and done.returncode == -signal.SIGXCPU
        what = f"is still busy with it after {seconds} s" if late else "cannot read it, and ends on it"
        raise ReadError(f"the {library} library {what}; make or copy it again")
    answered = json.loads(done.stdout)
    if "refused" in answered:
        raise ReadError(answered["refused"])
    return answered["answer"]


def answer(order: Mapping[str, Any]) -> None:
    """Calls what is asked for, in the process that was started for it."""
    module, _, name = order["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    for limit, value in order["limits"].items() if resource else ():
        _, hard = resource.getrlimit(getattr(resource, limit))
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(getattr(resource, limit), (value, hard))
    try:
        answered = {"answer": function(*order["arguments"])}
    except ReadError as refusal:
        answered = {"refused": str(refusal)}
    json.dump(answered, sys.stdout)
