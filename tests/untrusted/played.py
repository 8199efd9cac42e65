"""What C libraries may do with a damaged file, without a library and without such a file."""

from __future__ import annotations

import os
from pathlib import Path

from caffe2torch.errors import ReadError


def ends(path: str) -> None:
    """Ends the process, as a failed assertion in C does."""
    os.abort()


def never_ends(path: str, *names: str) -> None:
    """Keeps the process busy."""
    while True:
        pass


def tells_and_never_ends(path: str) -> None:
    """Says in a file which process it keeps busy."""
    part = Path(f"{path}.part")
    part.write_text(str(os.getpid()))
    part.rename(path)
    never_ends(path)


def takes_all(path: str) -> int:
    """Asks for memory."""
    return len(bytearray(1 << 28))


def refuses(path: str) -> None:
    """Sees the damage."""
    raise ReadError("is damaged")


def answers(*arguments: object) -> list[object]:
    """What it was asked."""
    return [*arguments]


print("A library that greets whoever imports it.")  # noqa: T201 (some do)

layers = is_keras = keras = solver_state = read_rows = never_ends
"""In the place of hdf5_places."""
