"""`python -m fuzz.one NAME CORPUS [libFuzzer's options]`: fuzzes one reader."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["caffe2torch", "fcn_repro"]):
    from caffe2torch.errors import Caffe2TorchError
    from fuzz.targets import TARGETS


def main() -> None:
    """Reads mutated files until libFuzzer ends the process, at the first one that ends otherwise."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{target.suffix}"

        def once(data: bytes) -> None:
            path.write_bytes(data)
            with contextlib.suppress(Caffe2TorchError):
                target.read(path)

        atheris.Setup([sys.argv[0], *options], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
