"""One training at a time in a folder."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from caffe2torch.errors import WriteError
from fcn_repro.files import make_folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other training works in the folder; a process that ends, however it does, has no lock.

    The lock is on .NAME.lock beside the folder, so that it outlives a folder that is deleted. Raises
    WriteError while another training has it, and names that one's process.
    """
    make_folder(folder.parent)
    with _taken(folder.with_name(f".{folder.name}.lock"), folder):
        yield


def _taken(path: Path, folder: Path) -> IO[str]:
    """The lock's file, which holds it until it is closed."""
    try:
        with ExitStack() as closing:
            file = closing.enter_context(path.open("a+", encoding="utf-8"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            closing.pop_all()
            return file
    except BlockingIOError as error:
        who = path.read_text(encoding="utf-8", errors="replace")[:200]
        raise WriteError(
            f"{folder}: another training works here{who and f', {who}'}; wait until it ends, or train under "
            "another name or in another --home"
        ) from error
    except OSError as error:
        raise WriteError(f"{path}: cannot be locked: {error.strerror or error}") from error
