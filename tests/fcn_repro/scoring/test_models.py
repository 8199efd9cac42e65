"""How --evaluate prepares images for a model: as its file says, or its name, or the user."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import caffe2torch as c2t
from caffe2torch.errors import NetError
from fcn_repro.data.knowledge import know, labellings_of
from fcn_repro.scoring.models import load, preparation
from fcn_repro.workspace import Workspace
from tests.nets import INPUT, net_of


def told(
    tmp_path: Path, model: nn.Module, mean_bgr: tuple[float, ...] | None = None
) -> dict[str, c2t.Preprocessing]:
    """What --evaluate has a model in a file see."""
    c2t.export(model, tmp_path / "m.safetensors")
    file = str(tmp_path / "m.safetensors")
    return dict(preparation(load(Workspace(tmp_path), file), file, mean_bgr))


def test_outputs_have_the_labellings_of_their_heads() -> None:
    sem, geo = c2t.Labelling.numbered(4), c2t.Labelling.numbered(3)
    heads = {"sem": sem, "geo": geo}
    assert labellings_of(["score_geo", "sem", "loss"], heads) == {"score_geo": geo, "sem": sem}
    assert labellings_of(["anything"], heads) == {"anything": sem}


def test_an_fcn_of_other_classes_gets_no_labelling_and_another_net_does() -> None:
    heads = {"sem": c2t.Labelling.numbered(4)}
    for classes, known in ((4, {"score": heads["sem"]}), (5, {})):
        fcn = c2t.FCN32s(classes, widths=(2,) * 7)
        know(fcn, (1, 2, 3), heads)
        assert fcn.labellings == known
    net = c2t.build(net_of(f"{INPUT} layer {{ name: 'r' type: 'ReLU' bottom: 'data' top: 'y' }}"))
    know(net, (1, 2, 3), heads)
    assert net.labellings == {"y": heads["sem"]}
    assert net.preprocessing == {"data": c2t.Preprocessing((1, 2, 3), channels="BGR")}


def test_a_net_gets_its_own_mean_or_the_one_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = c2t.FCN32s(2, widths=(2,) * 7)
    with pytest.raises(NetError, match=r"m\.safetensors: the mean of its images is unknown; .* --mean B,G,R"):
        told(tmp_path, model)
    bgr = c2t.Preprocessing((1, 2, 3), channels="BGR")
    assert told(tmp_path, model, mean_bgr=(1, 2, 3)) == {"data": bgr}
    assert capsys.readouterr().err == ""
    model.preprocessing = {"data": bgr}
    assert told(tmp_path, model) == {"data": bgr}
    other = c2t.Preprocessing((4, 5, 6), channels="BGR")
    assert told(tmp_path, model, mean_bgr=(4, 5, 6)) == {"data": other}
    assert "m.safetensors: its own mean is 1, 2, 3; --mean is 4, 5, 6" in capsys.readouterr().err
    model.preprocessing = {"data": c2t.Preprocessing((3, 2, 1), scale=0.5, channels="RGB")}
    own = c2t.Preprocessing((6, 5, 4), scale=0.5, channels="RGB")
    assert told(tmp_path, model, mean_bgr=(4, 5, 6)) == {"data": own}
    for unsaid in (c2t.Preprocessing((1, 2, 3)), c2t.Preprocessing(mean_file="m", channels="BGR")):
        model.preprocessing = {"data": unsaid}
        with pytest.raises(NetError, match="of its images is unknown"):
            told(tmp_path, model)


@pytest.mark.parametrize(
    ("name", "mean", "classes"),
    [
        ("fcn-32s-nyudv2", (116.190, 97.203, 92.318), "wall"),  # only in the zoo
        ("voc-fcn32s", (104.00699, 116.66877, 122.67892), "background"),
        ("camvid-fcn32s", (104.00699, 116.66877, 122.67892), "sky"),  # only a recipe
        ("mine", None, None),
    ],
)
def test_a_name_tells_what_a_file_does_not(
    name: str, mean: tuple[float, ...] | None, classes: str | None, tmp_path: Path
) -> None:
    counts = {"fcn-32s-nyudv2": 40, "voc-fcn32s": 21, "camvid-fcn32s": 11}
    workspace = Workspace(tmp_path)
    workspace.models.mkdir()
    model = c2t.FCN32s(counts.get(name, 2), widths=(2,) * 7)
    c2t.export(model, workspace.models / f"{name}.safetensors")
    found = load(workspace, name)
    assert {blob: known.mean for blob, known in found.preprocessing.items()} == (
        {"data": mean} if mean else {}
    )
    assert [known.classes[0].lower() for known in found.labellings.values()] == ([classes] if classes else [])
    by_path = load(workspace, str(workspace.models / f"{name}.safetensors"))
    assert (by_path.preprocessing, by_path.labellings) == ({}, {}), (
        "the name of a stranger's file tells nothing"
    )
