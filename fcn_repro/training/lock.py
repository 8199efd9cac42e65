"""One training at a time in a folder."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from caffe2torch.errors import WriteError
from fcn_repro.files import make_folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other training works in the folder; the system ends the lock of a process that ends.

    Raises WriteError while another one does, with its number.
    """
    make_folder(folder)
    path = folder / ".lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise WriteError(
                f"{folder}: another training works here ({file.read(200).strip() or 'just started'}); wait until "
                "it ends, or train under another name or in another --home"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield
