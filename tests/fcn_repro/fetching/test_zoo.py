"""The list of published weights, and the refusals of a faulty one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from caffe2torch.errors import ReadError
from fcn_repro.fetching.zoo import UNKNOWN, Zoo, folder, zoo
from fcn_repro.toml_records import load

HOST = "http://dl.caffe.berkeleyvision.org"
KNOWN_SHA1 = {
    "fcn-32s-pascal": "9ef2dbc22768bd562ba5eec2ad6cae3f499141d0",
    "fcn-32s-pascalcontext": "adbbd504c280e2b8966fc32e32ada2a2ecf13603",
    "fcn-8s-pascalcontext": "591e7d8bbc1c55ff151b6984bde85ff5160aee31",
    "caffenet": "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
    "alexnet": "9116a64c0fbe4459d18f4bb6b56d647b63920377",
    "googlenet": "405fc5acd08a3bb12de8ee5e23a96bec22f08204",
}
NO_KNOWN_FILE = {"fcn-16s-siftflow", "fcn-32s-nyudv2", "fcn-16s-nyudv2", "fcn-16s-pascalcontext"}
OF_2016 = {
    "voc-fcn32s": "/fcn32s-heavy-pascal.caffemodel",
    "voc-fcn16s": "/fcn16s-heavy-pascal.caffemodel",
    "voc-fcn8s": "/fcn8s-heavy-pascal.caffemodel",
    "voc-fcn8s-atonce": "/fcn8s-atonce-pascal.caffemodel",
    "voc-fcn-alexnet": "/fcn-alexnet-pascal.caffemodel",
    "nyud-fcn32s-color": "/nyud-fcn32s-color-heavy.caffemodel",
    "nyud-fcn32s-hha": "/nyud-fcn32s-hha-heavy.caffemodel",
    "nyud-fcn32s-color-hha": "/nyud-fcn32s-color-hha-heavy.caffemodel",
    "siftflow-fcn32s": "/siftflow-fcn32s-heavy.caffemodel",
    "siftflow-fcn16s": "/siftflow-fcn16s-heavy.caffemodel",
    "siftflow-fcn8s": "/siftflow-fcn8s-heavy.caffemodel",
    "pascalcontext-fcn32s": "/pascalcontext-fcn32s-heavy.caffemodel",
    "pascalcontext-fcn16s": "/pascalcontext-fcn16s-heavy.caffemodel",
    "pascalcontext-fcn8s": "/pascalcontext-fcn8s-heavy.caffemodel",
    "clockwork-nets": "/clockwork-nets.tar.gz",
}


def test_families_are_complete() -> None:
    families = Counter(model.family for model in zoo().models.values())
    assert families == {"cvpr2015": 10, "pami2017": 15, "base": 4}


def test_what_is_known_is_there_and_what_is_not_is_unknown() -> None:
    models = zoo().models
    assert {name: m.sha1 for name, m in models.items() if m.sha1 != UNKNOWN} == KNOWN_SHA1
    assert {name for name, m in models.items() if m.address == UNKNOWN} == NO_KNOWN_FILE
    assert {name: m.address for name, m in models.items() if m.family == "pami2017"} == {
        name: HOST + file for name, file in OF_2016.items()
    }


def test_the_gists_of_2015_are_all_different() -> None:
    gists = [m.gist for m in zoo().models.values() if m.family == "cvpr2015"]
    assert len(set(gists)) == len(gists) == 10


def test_every_fcn_has_the_data_set_that_tells_its_mean_and_classes() -> None:
    for name, model in zoo().models.items():
        of = {"nyud": "nyudv2", "siftflow": "sift-flow", "pascalcontext": "pascal-context"}
        told = next((data for word, data in of.items() if word in name), "voc2011")
        assert model.dataset == ("" if model.family == "base" or name == "clockwork-nets" else told), name


@pytest.mark.parametrize(
    ("name", "metric", "split", "scores"),
    [
        ("voc-fcn32s", "mean IU", "seg11valid", {"REPO": 63.6, "WKF": 63.6261}),
        ("voc-fcn16s", "mean IU", "seg11valid", {"REPO": 65.0, "WKF": 65.0050}),
        ("voc-fcn8s", "mean IU", "seg11valid", {"REPO": 65.5, "WKF": 65.5126}),
        ("voc-fcn8s", "mean IU", "PASCAL VOC 2012 test", {"REPO": 67.2}),
        ("voc-fcn8s", "pixel acc.", "seg11valid", {"WKF": 91.2212}),
        ("voc-fcn8s-atonce", "f.w. IU", "seg11valid", {"WKF": 84.4326}),
        ("voc-fcn-alexnet", "mean IU", "seg11valid", {"REPO": 48.0}),
        ("fcn-32s-pascal", "mean IU", "seg11valid", {"MCN": 59.43}),
        ("fcn-8s-pascal", "mean acc.", "seg11valid", {"MCN": 75.86}),
        ("fcn-8s-pascalcontext", "mean IU", "PASCAL-Context val, 59 classes", {"GC8": 37.8}),
    ],
)
def test_expected_scores(name: str, metric: str, split: str, scores: dict[str, float]) -> None:
    stated = [s for s in zoo().models[name].scores if (s.metric, s.split) == (metric, split)]
    assert {s.source: s.percent for s in stated} == scores


def test_sizes_are_those_of_the_parameters() -> None:
    """FP32 payloads of 544.6, 539.3 and 538.0 MB (136,152,917, 134,815,994 and 134,489,759 parameters)."""
    about = {name: model.about for name, model in zoo().models.items() if model.about}
    assert [about[f"voc-fcn{k}"] for k in ("32s", "16s", "8s")] == [544_600_000, 539_300_000, 538_000_000]
    assert set(zoo().models) - set(about) == {
        *("fcn-32s-nyudv2", "fcn-16s-nyudv2", "clockwork-nets"),
        *("caffenet", "alexnet", "googlenet", "vgg16"),
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('family = "base"', 'family = "bass"', "zoo.toml: models.caffenet is of an unknown family 'bass'"),
        (KNOWN_SHA1["caffenet"], "4c8d", "zoo.toml: models.caffenet: sha1 '4c8d' is neither 40 hexadecimal"),
        (
            f"{HOST}/bvlc_alexnet",
            "file:///bvlc_alexnet",
            "zoo.toml: models.alexnet: address 'file:///bvlc_alexnet",
        ),
        (
            f'sha1 = "{KNOWN_SHA1["caffenet"]}"',
            'sha1 = "unknown"\nsha256 = "4c8d"',
            "models.caffenet: sha256 '4c8d' is neither 64 hexadecimal digits",
        ),
        ('source = "G32" }', 'source = "G33" }', "zoo.toml: models.fcn-32s-pascal cites 'G33'"),
        (
            "percent = 64.0",
            "percent = 64",
            "fcn-32s-pascal.scores[0].percent: expected float, found 64",
        ),
    ],
)
def test_a_faulty_zoo_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (folder() / "zoo.toml").read_text()
    assert old in text
    (tmp_path / "zoo.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ReadError) as refused:
        load(tmp_path / "zoo.toml", Zoo)
    assert message in str(refused.value)
