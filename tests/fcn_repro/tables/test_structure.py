"""Table 1's structural columns against the papers, and FCN-GoogLeNet against sums made apart from it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import caffe2torch as c2t
from caffe2torch.errors import NetError
from fcn_repro.tables.structure import about, structure
from tests.places import ROOT


@pytest.mark.parametrize(
    ("net", "layers", "parameters", "millions", "receptive_field"),
    [
        ("FCNAlexNet", 8, 56_954_261, 57, 355),
        ("FCN32s", 16, 134_346_581, 134, 404),
        ("FCNGoogLeNet", 22, 5_995_077, 6, 907),
    ],
)
def test_table_1(net: str, layers: int, parameters: int, millions: int, receptive_field: int) -> None:
    found = structure(net)
    assert tuple(found) == (layers, parameters, receptive_field, 32)
    assert round(found.parameters / 1e6) == millions


def test_googlenet_has_the_published_trunk_and_a_score() -> None:
    """BVLC's GoogLeNet has 6,998,552 parameters (main branch), 1,025,000 of them in its classifier."""
    assert structure("FCNGoogLeNet").parameters == 6_998_552 - 1_025_000 + 21 * (1024 + 1)
    modules = [row for row in c2t.table_of(c2t.define("FCNGoogLeNet")).rows if row.type == "Concat"]
    assert len(modules) == 9


def test_what_the_average_pool_adds_to_the_field_is_said() -> None:
    # 6 more cells of the 7 x 7 window, 32 pixels apart: 907 - 192
    assert "sees 715 pixels" in about("FCNGoogLeNet", "receptive_field")
    assert about("FCNGoogLeNet", "parameters") == "exactly 5,995,077 parameters"
    assert about("FCN32s", "receptive_field") == about("FCNGoogLeNet", "stride") == ""


@pytest.mark.parametrize("size", [(65, 97), (96, 64)])
def test_fcn_googlenet_scores_each_pixel(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = c2t.build(c2t.define("FCNGoogLeNet", classes=5))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.05 if name.endswith("weight") else 0))
        (score,) = model(data=torch.randn(1, 3, *size)).values()
    assert score.shape == (1, 5, *size)
    assert score.std() > 0


def test_an_unknown_net_is_refused() -> None:
    with pytest.raises(NetError, match=r"no net is called 'FCN4s'; known are FCN32s, .*, FCNGoogLeNet,"):
        c2t.define("FCN4s")


def test_torch_is_not_loaded() -> None:
    code = (
        "import sys, fcn_repro.tables.structure as s; s.structure('FCN32s'); print('torch._C' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
