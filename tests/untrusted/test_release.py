"""Pages of a mapped file that leave memory, and come back with the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from caffe2torch.untrusted.mapped import mapped, release

SMAPS = Path("/proc/self/smaps")


def in_memory(path: Path) -> int:
    """The kilobytes of a mapped file that this process has in memory."""
    after = SMAPS.read_text().split(str(path))[1]
    return int(re.search(r"^Rss: +(\d+) kB", after, re.MULTILINE)[1])


@pytest.mark.skipif(not SMAPS.is_file(), reason="only Linux tells")
def test_what_was_read_leaves_memory(tmp_path: Path) -> None:
    path = tmp_path / "values"
    values = np.random.default_rng(0).standard_normal(1 << 18, np.float32)
    path.write_bytes(b"xyz" + values.tobytes())
    view = np.frombuffer(memoryview(mapped(path, {}))[3:], np.float32)[:-7].reshape(3, -1)
    assert view[0, 0] == values[0]
    view.sum()
    assert in_memory(path) > 1000
    release(view)
    assert in_memory(path) == 0
    np.testing.assert_array_equal(view.reshape(-1), values[:-7])


def test_other_arrays_are_left() -> None:
    values = np.arange(6)
    release(values[1:].reshape(5, 1))
    assert values.tolist() == [0, 1, 2, 3, 4, 5]
