"""Converting looks at each thing once: the bytes of the source, its wire format, the net's plan."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caffe2torch import plan
from caffe2torch.cli.main import main
from caffe2torch.untrusted import mapped, wire
from caffe2torch.untrusted.kinds import look
from caffe2torch.writing.digest import Digest


def counting(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a path was mapped, by its name, and how often plan and scan were called; filled later."""
    counts: Counter[str] = Counter()

    def count(function: Callable[..., Any], key: Callable[..., str]) -> None:
        def counted(*args: Any, **options: Any) -> Any:
            counts[key(*args)] += 1
            return function(*args, **options)

        for module in [m for name, m in sys.modules.items() if name.startswith("caffe2torch")]:
            if getattr(module, function.__name__, None) is function:
                monkeypatch.setattr(module, function.__name__, counted)

    count(mapped._map, lambda path: f"mapped {Path(path).name}")
    count(plan.plan, lambda *_: "plan")
    count(wire.scan, lambda *_: "scan")
    return counts


@pytest.mark.parametrize("verb", ["--inspect", "convert"])
def test_a_caffemodel_is_looked_at_once(
    verb: str, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = golden / "fcn" / "voc-fcn8s" / "weights.caffemodel"
    options = ["--inspect"] if verb == "--inspect" else ["-o", str(tmp_path / "net.safetensors")]
    assert main([str(source), *options]) == 0  # which imports what it needs
    counts = counting(monkeypatch)
    assert main([str(source), *options]) == 0
    assert (counts["mapped weights.caffemodel"], counts["scan"]) == (1, 1)
    # A second plan is that of the net as it was read back from the written file.
    assert counts["plan"] == (1 if verb == "--inspect" else 2)


def test_a_file_that_is_cut_while_it_is_hashed(tmp_path: Path) -> None:
    """The thread that hashes a refused file goes on; a mapped file cut short would kill the process."""
    path = tmp_path / "net.caffemodel"
    path.write_bytes(bytes(1 << 27))
    digest = Digest(look(path))
    digest.begin()
    os.truncate(path, 1)
    assert len(digest.sha256()) == 64
