"""What already lies where fcn-convert is to write: replaced, which is said, or refused.

Ours to replace is what the same command makes again: a file that says, or beside which it is said, that it
was converted from a file of FILE's name. Trained weights, a .py, which somebody may have edited, and files
that do not say where they come from are replaced only with --force.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from caffe2torch.errors import Caffe2TorchError, WriteError
from caffe2torch.formats import formats


def replaced(target: Path, kind: str, inputs: Sequence[str], force: bool) -> tuple[str, ...]:
    """The files and folders that a conversion to `target` replaces, of `inputs`: FILE, perhaps its prototxt.

    Raises WriteError for one of `inputs` itself and, unless `force`, for one that is not ours.
    """
    source = Path(inputs[0])
    # A name that no file can have, as os.path knows, is refused where it is written.
    written = _written(target, kind).items()
    existing = {path: form for path, form in written if os.path.exists(path) and not _is_empty(path)}  # noqa: PTH110
    for path, form in existing.items():
        if any(os.path.exists(name) and path.samefile(name) for name in inputs):  # noqa: PTH110
            keeps = f", and {target.name} keeps its weights under this name" if path != target else ""
            raise WriteError(f"{path}: is the file that is converted{keeps}; name another with -o")
        if not force and _source(path, form) != source.name:
            raise WriteError(
                f"{path}: exists, and does not say that it was converted from {source.name}; name another "
                f"with -o, or replace it with --force"
            )
    return tuple(map(str, existing))


def _written(target: Path, kind: str) -> dict[Path, str]:
    """The files, or the folder, that a conversion writes, each with its format."""
    weights = target.with_suffix(".safetensors")
    return {target: kind} | ({weights: "safetensors"} if kind == "py" and weights != target else {})


def _is_empty(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _source(path: Path, kind: str) -> str:
    """The name of the file that another was converted from; empty where it does not say."""
    source = formats()[kind].source
    try:
        return "" if source is None else source(path)
    except (Caffe2TorchError, OSError):
        return ""
