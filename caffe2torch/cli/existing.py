"""What already lies where fcn-convert is to write: replaced, which is said, or refused.

Ours to replace is what the same command makes again: a .safetensors file, or a folder in the hub's form,
whose metadata say that it was converted from a file of FILE's name. Trained weights, a .py that somebody
edited, and files of formats that do not say where they come from are replaced only with --force.
"""

from __future__ import annotations

from pathlib import Path

from caffe2torch.errors import Caffe2TorchError, WriteError
from caffe2torch.formats.hub import WEIGHTS
from caffe2torch.untrusted.safetensors import read_tensors


def replaced(target: Path, kind: str, source: Path, force: bool) -> tuple[str, ...]:
    """The files and folders that a conversion of `source` to `target` replaces.

    Raises WriteError for one that is `source` itself and, unless `force`, for one that is not ours.
    """
    existing = tuple(path for path in _written(target, kind) if path.exists() and not _is_empty(path))
    for path in existing:
        if path.samefile(source):
            keeps = f", and {target.name} keeps its weights under this name" if path != target else ""
            raise WriteError(f"{path}: is the file that is converted{keeps}; name another with -o")
        if not force and _source(path) != source.name:
            raise WriteError(
                f"{path}: exists, and does not say that it was converted from {source.name}; name another "
                f"with -o, or replace it with --force"
            )
    return tuple(map(str, existing))


def _written(target: Path, kind: str) -> tuple[Path, ...]:
    """The files, or the folder, that a conversion writes."""
    weights = target.with_suffix(".safetensors")
    return (target, weights) if kind == "py" and weights != target else (target,)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _source(path: Path) -> str:
    """The name of the file that another was converted from; empty where it does not say."""
    try:
        _, metadata = read_tensors(path / WEIGHTS if path.is_dir() else path)
    except (Caffe2TorchError, OSError):
        return ""
    return metadata.get("source", "") if "caffe2torch" in metadata else ""
