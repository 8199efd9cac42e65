"""The prototxt files that people publish: they parse and upgrade, and as nets they build and run.

Nets run on the meta device, which computes every shape and no number, on inputs of the sizes that their file
states; where it states none, of those in SIZES.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from caffe2torch.errors import Caffe2TorchError
from caffe2torch.modules.caffe_net import CaffeNet
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.net.reading import read
from caffe2torch.plan import plan
from caffe2torch.plan.phase import for_phase
from caffe2torch.untrusted.text import read_prototxt
from caffe2torch.upgrades import upgrade_solver

BROKEN = {
    "FlowNet2-S/FlowNet2-S-deploy-warp-loss.prototxt": "a template ($TARGET_HEIGHT$)",
    "FlowNet2-S/FlowNet2-S-test-warp-loss.prototxt": "a template ($TARGET_HEIGHT$)",
    "FlowNet2-S/FlowNet2-S_deploy.prototxt.template": "a template ($TARGET_HEIGHT$)",
    "FlowNet2-S/FlowNet2-S_test-warp-flow-loss.prototxt": "a template ($TARGET_HEIGHT$)",
    "FlowNet2-s-warp-flow-loss/test.prototxt": "a template ($TARGET_HEIGHT$)",
    "FlowNet2-ss/FlowNet2-ss_deploy.prototxt.template": "a template ($TARGET_HEIGHT$)",
    "FlowNet2/FlowNet2_deploy.prototxt.template": "a template ($TARGET_HEIGHT$)",
    "template/MobileNetSSD_deploy_template.prototxt": "a template (cls3x)",
    "template/MobileNetSSD_test_template.prototxt": "a template (cls3x)",
    "template/MobileNetSSD_train_template.prototxt": "a template (cls3x)",
    "2c9abcb8a938/src/caffe/test/test_data/module.prototxt": "a template (${num_output})",
    "e052c95e8a0f/examples/mnist/mnist_autoencoder.prototxt": "conflict markers",
    "e052c95e8a0f/examples/hdf5_classification/train_val.prototxt": "conflict markers",
    "8968ec97b81f/models/finetune_flickr_style/train_val.prototxt": "conflict markers",
    "e3ba6ef7c661/examples/crfasrnn_segmentation/TVG_CRFRNN_new_deploy.prototxt": "the foot of a web page",
    "22babdb4a70e/examples/segmentationcrfasrnn/TVG_CRFRNN_new_traintest.prototxt": "types of two formats",
    "6658a2cea2bc/models/jhlim_googlenet_bn/deploy.prototxt": "types of two formats",
    "ilsvrc_2012_mean.prototxt.gz": "a compressed mean image",
    ".lenet_jungwoo_train_test.prototxt.swp": "an editor's swap file",
    "create_lmdb/code/labelmap.prototxt": "a list of labels",
    "bvlc_alexnet/ps.prototxt": "settings of a parameter server",
}
"""How the paths end of the files that no Caffe reads as a net, and why."""

BUILT_BY_NO_CAFFE = {
    "proto/LightenedCNN_B_deploy.prototxt": "an Accuracy whose labels nothing makes",
    "models/nin/deploy.prototxt": "a SoftmaxWithLoss without labels",
    "muupan__dqn-in-the-caffe/dqn.prototxt": "an Eltwise of (32, 18) and (32, 18, 1, 1)",
    "FlowNet2/FlowNet2_train.prototxt.template": "a Concat of img0_b, which nothing makes",
    "2c9abcb8a938/examples/mnist/lenet_train_test.prototxt": "layers that it imports from a template",
    "1a688af235b2/models/gan/generator_mnist.prototxt": "a BatchNorm of deconv5, which nothing makes",
    "6949ea620d7a/models/gan/generator_mnist.prototxt": "a BatchNorm of deconv5, which nothing makes",
    "8025b8b9b7c2/src/caffe/proto/lenet.prototxt": "inputs in the form of a draft of Caffe",
}
"""How the paths end of nets that no Caffe builds, and why."""

SIZES = {
    ("", "im_info"): (1, 3),
    ("", "rois"): (5, 5),
    ("lrcn.vgg.buffer_50", "cont_sentence"): (20, 50),
    ("lrcn.vgg.buffer_50", "input_sentence"): (20, 50),
    ("", "cont_sentence"): (20, 100),
    ("", "input_sentence"): (20, 100),
    ("siamese", "pair_data"): (1, 2, 28, 28),
    ("l_train_val", "data"): (1, 15, 24, 24),
    ("cpm_architecture", "data"): (1, 4, 368, 368),
    ("crnn", "data"): (64, 1, 32, 128),
    ("spp_net_region_classifier", "feature_map_region"): (1, 256, 13, 13),
    ("dummy_lstm_net", "data"): (7, 40, 3),
    ("dummy_lstm_net", "seq_ind"): (7, 40),
}
"""Shapes of inputs that nothing in a file tells, by a part of its path and the input's name."""
IMAGE = (1, 3, 224, 224)
"""The shape of every other input, where the file does not tell."""
STAGES = {"coco_caption/lrcn": ("unfactored", "2-layer", "test-on-val")}
"""The stages that a net does not make sense without."""


def ending(path: str) -> str:
    return next((end for end in BROKEN if path.endswith(end)), "")


@pytest.fixture(scope="module")
def index(reference: Path) -> dict[str, dict[str, str]]:
    """What Caffe says of each file, by path."""
    with (reference / "corpus" / "index.tsv").open() as table:
        return {row["path"]: row for row in csv.DictReader(table, delimiter="\t")}


@pytest.fixture(scope="module")
def nets(reference: Path, index: dict[str, dict[str, str]]) -> dict[str, Net | Caffe2TorchError]:
    """Every file that is no solver and not broken: its upgraded net, or why there is none."""
    files: dict[str, Net | Caffe2TorchError] = {}
    for path, row in index.items():
        if row["format"] == "solver" or ending(path):
            continue
        try:
            files[path] = read(reference / "corpus" / path)
        except Caffe2TorchError as refusal:
            files[path] = refusal
    return files


def refusals(results: dict[str, Net | Caffe2TorchError]) -> Iterator[str]:
    return (f"{path}: {why}" for path, why in results.items() if isinstance(why, Caffe2TorchError))


def test_the_broken_files_are_there_and_refused(reference: Path, index: dict[str, dict[str, str]]) -> None:
    broken = [path for path in index if ending(path)]
    assert sorted(map(ending, broken)) == sorted(BROKEN)
    for path in broken:
        with pytest.raises(Caffe2TorchError):
            read_prototxt(reference / "corpus" / path)


def test_what_caffe_parses_parses_and_upgrades(index: dict[str, dict[str, str]], nets: dict) -> None:
    caffes = [path for path, row in index.items() if row["caffe_upgrades"].startswith("yes") and path in nets]
    assert len(caffes) > 150
    assert not list(refusals({path: nets[path] for path in caffes}))


def test_every_solver_upgrades(reference: Path, index: dict[str, dict[str, str]]) -> None:
    solvers = [path for path, row in index.items() if row["format"] == "solver"]
    for path in solvers:
        upgrade_solver(read_prototxt(reference / "corpus" / path, "SolverParameter"))
    assert len(solvers) > 50


def test_98_percent_parse_and_upgrade(nets: dict) -> None:
    refused = list(refusals(nets))
    assert len(refused) <= 0.02 * len(nets), "\n".join([f"{len(refused)} of {len(nets)}", *refused])


def test_93_percent_build_and_run(nets: dict) -> None:
    buildable = {path: net for path, net in nets.items() if not path.endswith(tuple(BUILT_BY_NO_CAFFE))}
    assert len(buildable) == len(nets) - len(BUILT_BY_NO_CAFFE)
    refused = list(refusals({path: tried(path, net) for path, net in buildable.items()}))
    assert len(refused) <= 0.07 * len(buildable), "\n".join([f"{len(refused)} of {len(buildable)}", *refused])


def tried(path: str, net: Net | Caffe2TorchError) -> Net | Caffe2TorchError:
    """Builds and runs a net in phase TEST."""
    if isinstance(net, Caffe2TorchError):
        return net
    stages = next((stages for part, stages in STAGES.items() if part in path), ())
    try:
        deployed = for_phase(net, "TEST", stages=stages)
        sized = replace(deployed, layers=tuple(with_size(path, layer) for layer in deployed.layers))
        planned = plan(sized, "TEST")
        with torch.device("meta"), torch.no_grad():
            tops = CaffeNet(planned)(**{name: torch.empty(shape) for name, shape in planned.inputs.items()})
    except Caffe2TorchError as refusal:
        return refusal
    except RuntimeError as crash:  # torch's: a converter let something pass
        return Caffe2TorchError(f"crash: {crash}")
    assert set(tops) == set(planned.outputs), path
    return net


def with_size(path: str, layer: Layer) -> Layer:
    """An Input whose shape is whole."""
    if layer.type != "Input":
        return layer
    given = layer.fields.input_param.shape or (None,) * len(layer.tops)
    shapes = [
        sized(told and told.dim, shape_of(path, top)) for told, top in zip(given, layer.tops, strict=False)
    ]
    shape = tuple(Fields("BlobShape", {"dim": tuple(dim)}) for dim in shapes)
    return replace(layer, fields=layer.fields.replace(input_param=Fields("InputParameter", {"shape": shape})))


def sized(told: tuple[int, ...] | None, size: tuple[int, ...]) -> tuple[int, ...]:
    """What the file tells, with the rest from `size`."""
    if told is None:
        return size
    return tuple(size[axis] if dim < 0 else dim for axis, dim in enumerate(told))


def shape_of(path: str, top: str) -> tuple[int, ...]:
    return next((shape for (part, name), shape in SIZES.items() if part in path and name == top), IMAGE)
