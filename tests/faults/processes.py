"""The four commands in processes of their own, in which something goes wrong at a moment of one's choice.

Each is forked from a process that has loaded torch and done nothing with it, so that it starts at once.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MAINS = {
    "fcn-convert": "caffe2torch.cli.main",
    "fcn-repro": "fcn_repro.cli",
    "fcn-segment": "fcn_repro.segmenting.cli",
    "c2t-caffe": "caffe2torch.pycaffe.tool.main",
}
PATIENCE_S = 100

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(
    [
        *("torch", "h5py", "lmdb", "scipy.ndimage", "fcn_repro.segmenting.run", "fcn_repro.training.run"),
        *(__name__, *MAINS.values()),
    ]
)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong."""

    limit: int | None = None
    """Bytes that a file may have: a full disk."""
    stdout_closed: bool = False
    """Nobody reads what is printed."""
    as_owner: bool = False
    """No right to write where a folder's mode says so, even for root."""
    signal: int = 0
    moment: int = 0
    """Calls of functions after which the process sends the signal to itself."""
    counting: bool = False
    """Writes the number of calls to stderr, at the end."""
    log_level: int = 3
    """Lower levels are left out of c2t-caffe's log."""
    patch: Callable[[], None] | None = None
    """Called before the command; a function of a module."""


@dataclass(frozen=True)
class Ended:
    """A process that is over: its exit code (negative: the signal that ended it), and what it printed."""

    code: int
    out: str
    err: str


def run(folder: Path, program: str, *words: object, trouble: Trouble = Trouble()) -> Ended:
    """A command in `folder`."""
    reads, writes = zip(*(_forking.Pipe(duplex=False) for _ in range(2)), strict=True)
    for end in reads:
        os.set_blocking(end.fileno(), False)
    given = [str(word) for word in words]
    process: Any = _forking.Process(target=_child, args=(str(folder), program, given, writes, trouble))
    process.start()
    for end in writes:
        end.close()
    said = [b"", b""]
    waited = 0.0
    while process.exitcode is None and waited < PATIENCE_S:
        process.join(0.05)
        waited += 0.05
        said = [text + _read(end) for text, end in zip(said, reads, strict=True)]
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"{program} {words} does not end: {said}")
    said = [text + _read(end) for text, end in zip(said, reads, strict=True)]
    for end in reads:
        end.close()
    return Ended(process.exitcode, *(text.decode() for text in said))


def _read(end: Connection) -> bytes:
    found = b""
    while True:
        try:
            piece = os.read(end.fileno(), 1 << 16)
        except BlockingIOError:
            return found
        if not piece:
            return found
        found += piece


def _child(
    folder: str, program: str, words: Sequence[str], writes: Sequence[Connection], trouble: Trouble
) -> None:
    for stream, end in zip((1, 2), writes, strict=True):
        os.dup2(end.fileno(), stream)
        end.close()
    os.chdir(folder)
    os.environ |= {"FCN_REPRO_HOME": folder, "GLOG_minloglevel": str(trouble.log_level)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [program, *words]
    if trouble.stdout_closed:
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
    if trouble.as_owner:
        _drop_capabilities()
    if trouble.limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.limit, trouble.limit))
    if trouble.patch is not None:
        trouble.patch()
    main = importlib.import_module(MAINS[program]).main
    calls = _Calls(trouble)
    try:
        sys.exit(main())
    finally:
        sys.setprofile(None)
        if trouble.counting:
            os.write(2, f"{calls.count}\n".encode())


class _Calls:
    """Counts calls of functions, and sends the signal when they are enough."""

    def __init__(self, trouble: Trouble) -> None:
        self.count, self.trouble = 0, trouble
        if trouble.moment or trouble.counting:
            sys.setprofile(self)

    def __call__(self, frame: object, event: str, argument: object) -> None:
        self.count += 1
        if self.count == self.trouble.moment:
            sys.setprofile(None)
            signal.raise_signal(self.trouble.signal)


def _drop_capabilities() -> None:
    """Lets the modes of files and folders count for root, too (capset of Linux)."""
    if os.geteuid() == 0:
        version, kept = 0x20080522, 0xFFFFFFFF & ~0b1110  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
        header = (ctypes.c_uint32 * 2)(version, 0)
        data = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.capget(header, data) == 0:
            data[0], data[1] = data[0] & kept, data[1] & kept  # effective, permitted
            libc.capset(header, data)
