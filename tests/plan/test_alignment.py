"""Crops without crop_param: noted where the branch that aligned them cuts elsewhere, aligned on request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caffe2torch.cli.main import main
from caffe2torch.errors import NetError
from caffe2torch.net.reading import read
from caffe2torch.opening.loading import load
from caffe2torch.plan import Plan, plan
from tests.nets import INPUT, net_of
from tests.places import GOLDEN

HED = GOLDEN / "reports" / "hed_crop"
NOTE = (
    "Crop without crop_param: cut at 0, as BVLC's Caffe does; a branch before it, HED's, aligned them: "
    "'crop' at 34, 'crop' at 35 (--align-crops)"
)
WEIGHTS = HED / "hedlike.caffemodel"


def offsets(planned: Plan) -> list[tuple[int, ...]]:
    return [tuple(x.layer.fields.crop_param.offset) for x in planned.steps if x.layer.type == "Crop"]


@pytest.mark.parametrize("files", [{"prototxt": HED / "hedlike.prototxt"}, {"weights": WEIGHTS}])
def test_a_crop_without_crop_param_is_noted_and_can_be_aligned(files: dict[str, Any]) -> None:
    planned = plan(read(**files))
    assert offsets(planned) == [(), ()]
    assert planned.net.notes[-1] == NOTE
    aligned = plan(read(**files, align_crops=True))
    assert offsets(aligned) == [(34,), (35,)]  # what the V1 net, which always aligns, gets
    assert offsets(plan(read(HED / "hedlike_v1.prototxt"))) == [(34,), (35,)]
    assert not any("align" in note for note in aligned.net.notes)


def test_the_command_and_load_align_too(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    assert main(["--inspect", str(WEIGHTS)]) == 0
    assert NOTE in capsys.readouterr().out
    arguments = [str(WEIGHTS), "--align-crops", "--json", "-o", str(tmp_path / "hed.safetensors")]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert not any("align" in note for note in answer["notes"])
    assert offsets(load(tmp_path / "hed.safetensors").plan) == [(34,), (35,)]
    assert offsets(load(WEIGHTS, align_crops=True).plan) == [(34,), (35,)]


CROP = 'layer { name: "c" type: "Crop" bottom: "data" bottom: "%s" top: "c" %s }'
POOL = (
    'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 3 stride: %s } }'
)


@pytest.mark.parametrize(
    ("stride", "param", "noted"),
    [
        ("1", "", True),
        ("1 pad: 1", "", False),  # aligned at 0
        ("1", "crop_param { }", False),
        ("1", "crop_param { axis: 2 }", False),
        ("2", "", False),
    ],
)
def test_only_what_alignment_would_move_is_noted(stride: str, param: str, noted: bool) -> None:
    planned = plan(net_of(INPUT + POOL % stride + CROP % ("p", param)))
    found = [note for note in planned.net.notes if "--align-crops" in note]
    assert [note.endswith("'c' at 1 (--align-crops)") for note in found] == [True] * noted


def test_a_crop_that_cannot_be_aligned_is_named() -> None:
    with pytest.raises(NetError, match=r"layer 'c' \(Crop\): cannot align blobs of strides 1x1 and 2x2"):
        plan(net_of(INPUT + POOL % 2 + CROP % ("p", "crop_param { align: true }")))
