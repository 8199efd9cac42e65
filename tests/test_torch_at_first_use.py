"""torch is imported when something of it is first asked for, and is then torch itself everywhere."""

from __future__ import annotations

import subprocess
import sys

from tests.places import ROOT

PROGRAM = """
import sys
import caffe2torch._torch as own
from caffe2torch.layers.caffe import concat
assert "torch" not in sys.modules and own.torch is concat.torch
assert own.torch.zeros(3).shape == (3,)
assert own.torch is concat.torch is sys.modules["torch"]
from caffe2torch._torch import torch
assert torch is own.torch
"""


def test_torch_at_first_use() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, check=True)
