"""`apart.ask` by a fork, which has imported all already, and so starts in milliseconds."""

from __future__ import annotations

import importlib
import os
import resource
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from caffe2torch.errors import ReadError

SECONDS = 10
"""Of processor time."""


def ask(function: str, *arguments: object, library: str, size: int) -> Any:
    """What the fork survives is read again here, where the fuzzer sees which lines it reaches."""
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    process = os.fork()
    if not process:
        _call_and_end(call, arguments)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        raise ReadError(f"the {library} library ends on it")
    return call(*arguments)


def _call_and_end(call: Callable[..., object], arguments: tuple[object, ...]) -> NoReturn:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # libFuzzer would keep the file
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        call(*arguments)
    finally:
        os._exit(0)
