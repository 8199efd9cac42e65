"""What was trained in PyTorch, as Caffe reads it: the zoo's definitions, and bytes that others can read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from torch.nn import functional as F

import caffe2torch as c2t
from caffe2torch import schema
from caffe2torch.cli.main import main
from caffe2torch.errors import NetError
from caffe2torch.modules.fcn import FCN8s
from caffe2torch.net import from_message
from caffe2torch.plan import plan
from caffe2torch.zoo.fcn import Architecture, message
from caffe2torch.zoo.recognition import recognize
from tests.field_reader import read
from tests.nets import INPUT, net_of
from tests.places import GOLDEN, ROOT
from tests.zoo.test_recognition import ZOO as PUBLISHED
from tests.zoo.test_recognition import with_shapes

ZOO = sorted(folder.name for folder in (GOLDEN / "fcn").iterdir())
NARROW = (4, 6, 8, 10, 12, 14, 16)

# --- definitions: what real Caffe loaded, and ours


def message_of(text: str) -> Any:
    return text_format.Parse(text, schema.message("NetParameter")())


def plain(message: Any) -> dict[str, Any]:
    """A message's fields but those that say no more than the schema's default; one value per axis as one."""
    given = {}
    for field, value in message.ListFields():
        if field.is_repeated:
            values = [plain(v) if field.message_type else v for v in value]
            spatial = field.name in ("pad", "stride", "kernel_size", "dilation", "offset")
            values = values[:1] if spatial and len(set(values)) == 1 else values
            default = {"pad": [0], "stride": [1], "dilation": [1]}.get(field.name, [])
            if values != default:
                given[field.name] = values
        elif field.message_type:
            if inner := plain(value):
                given[field.name] = inner
        elif value != field.default_value or field.name == "phase":  # given, it holds in every phase
            given[field.name] = value
    return given


def normalized(layers: Any) -> list[dict[str, Any]]:
    """The layers, each blob called as the layer that makes it and the axes that it was last written by.

    What golden/fcn calls otherwise than the zoo is called as the zoo does: `score_pool4c_sem` is
    `score_pool4_semc`, `data_cat` is `data`. Names of the net, of data layers and of losses are left out.
    """
    makers: dict[str, str] = {}
    rows = []
    for layer in layers:
        row = plain(layer)
        name = row["name"] = zoo_name(layer)
        row["bottom"] = [makers[bottom] for bottom in layer.bottom]
        for top in layer.top:
            # In place, a blob keeps its maker's name.
            makers[top] = makers[top] if top in layer.bottom else name if len(layer.top) == 1 else top
        row["top"] = [makers[top] for top in layer.top]
        rows.append(row)
    return rows


def zoo_name(layer: Any) -> str:
    name = str(layer.name)
    for head in ("_sem", "_geo"):
        if layer.type == "Crop" and name.endswith(f"c{head}"):
            return f"{name.removesuffix(f'c{head}')}{head}c"
    if layer.type in ("Python", "Input"):
        return str(layer.top[0])
    if layer.type.endswith("Loss"):
        return f"loss of {layer.bottom[0]}"
    return "data" if name == "data_cat" else name


def architecture_of(folder: Path) -> Architecture:
    found = recognize(plan(c2t.read(folder / "deploy.prototxt")))
    assert found is not None
    return found


def python_param(message: Any) -> dict[str, str]:
    layer = next(layer for layer in message.layer if layer.type == "Python")
    p = layer.python_param
    return {"module": p.module, "layer": p.layer, "param_str": p.param_str}


def exported(model: Any, path: Path) -> Any:
    """The message of a prototxt that export wrote."""
    c2t.export(model, path)
    return message_of(path.read_text())


@pytest.mark.parametrize("name", ZOO)
def test_a_train_definition_is_the_one_that_caffe_trained(name: str, golden: Path, tmp_path: Path) -> None:
    wanted = message_of((golden / "fcn" / name / "train.prototxt").read_text())
    ours = c2t.training_net(
        from_message(message(architecture_of(golden / "fcn" / name), (49, 66))),
        normalize=wanted.layer[-1].loss_param.normalize,
        python_param=python_param(wanted),
    )
    found = exported(ours, tmp_path / "train.prototxt")
    assert normalized(found.layer) == normalized(wanted.layer)


@pytest.mark.parametrize("name", ZOO)
def test_a_deploy_definition_is_the_one_that_caffe_deployed(name: str, golden: Path, tmp_path: Path) -> None:
    """From the trained caffemodel alone, which says `phase: TRAIN` and has no size."""
    wanted = normalized(message_of((golden / "fcn" / name / "deploy.prototxt").read_text()).layer)
    for layer in wanted:
        if "input_param" in layer:
            layer["input_param"]["shape"][0]["dim"][2:] = [500, 500]
    weights = golden / "fcn" / name / "weights.caffemodel"
    for model in (plan(c2t.read(weights=weights)), c2t.load(weights)):
        assert normalized(exported(model, tmp_path / "deploy.prototxt").layer) == wanted, type(model)


def test_train_definitions_are_the_published_ones(reference: Path, tmp_path: Path) -> None:
    folder = reference / "corpus" / "prototxt" / "shelhamer__fcn.berkeleyvision.org"
    paths = sorted(folder.glob("*/train*.prototxt"))
    assert {path.parent.name for path in paths} == set(PUBLISHED)
    for path in paths:
        wanted = message_of(path.read_text())
        channels = dict(item for stream in PUBLISHED[path.parent.name][2] for item in stream.inputs)
        architecture = recognize(plan(with_shapes(c2t.read(path), channels)))
        assert architecture is not None
        ours = c2t.training_net(
            from_message(message(architecture)),
            normalize=wanted.layer[-1].loss_param.normalize,
            python_param=python_param(wanted),
        )
        rows = normalized(exported(ours, tmp_path / "train.prototxt").layer), normalized(wanted.layer)
        if path.parent.name == "voc-fcn-alexnet":  # its trunk has Caffe's learning rates, 1 for biases, too
            for row in (row for side in rows for row in side):
                row.pop("param", None)
        assert rows[0] == rows[1], path


def test_labels_are_inputs_of_the_scores_size_and_losses_follow_their_scores() -> None:
    net = c2t.define("FCN8s", classes=5, size=(70, 53))
    ours = c2t.training_net(net, {"score": "truth"}, normalize=True, ignore_label=None)
    types = [(layer.name, layer.type, layer.bottoms, layer.tops) for layer in ours.layers]
    assert types[:2] == [("data", "Input", (), ("data",)), ("truth", "Input", (), ("truth",))]
    assert types[-1] == ("loss", "SoftmaxWithLoss", ("score", "truth"), ("loss",))
    assert ours.layers[1].fields.input_param.shape[0].dim == (1, 1, 70, 53)
    p = ours.layers[-1].fields.loss_param
    assert (p.has("ignore_label"), p.normalize) == (False, True)
    planned = plan(ours, phase="TRAIN")
    assert (list(planned.inputs), planned.outputs) == (["data", "truth"], ("loss",))


def test_several_scores_have_labels_of_their_names() -> None:
    text = INPUT + "".join(
        f'layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}"'
        f" convolution_param {{ num_output: 4 kernel_size: 1 }} }}"
        for name in ("score_sem", "score_geo")
    )
    ours = c2t.training_net(net_of(text))
    names = [layer.name for layer in ours.layers]
    assert names == ["data", "sem", "geo", "score_sem", "loss_sem", "score_geo", "loss_geo"]
    assert [layer.bottoms for layer in ours.layers if layer.type == "SoftmaxWithLoss"] == [
        ("score_sem", "sem"), ("score_geo", "geo"),
    ]  # fmt: skip


def test_caffe_s_training_goes_on_from_its_own_caffemodel(golden: Path) -> None:
    """The losses of a trained net are replaced, its blobs kept."""
    net = c2t.read(weights=golden / "fcn" / "voc-fcn32s" / "weights.caffemodel")
    ours = c2t.training_net(net)
    assert [layer.type for layer in ours.layers].count("SoftmaxWithLoss") == 1
    assert not any(layer.fields.has("phase") for layer in ours.layers)
    kept = {layer.name: layer.blobs for layer in ours.layers if layer.blobs}
    assert kept == {layer.name: layer.blobs for layer in net.layers if layer.blobs}


@pytest.mark.parametrize(
    ("labels", "how", "problem"),
    [
        (
            {"score_fr": "label"},
            {},
            "output 'score' has no labels; name them, as in labels={'score': 'label'}",
        ),
        ({"score": "label", "pool5": "x"}, {}, "labels are given for 'pool5', but the outputs are score"),
        ({"score": "score"}, {}, "output 'score' has no labels"),
        (None, {"python_param": {"modul": "x"}}, "PythonParameter has no field 'modul'; is it 'module'?"),
        (None, {"ignore_label": 25.5}, "LossParameter: ignore_label cannot be 25.5: "),
    ],
)
def test_a_training_net_that_cannot_be_is_refused(labels: Any, how: Any, problem: str) -> None:
    with pytest.raises(NetError) as refused:
        c2t.training_net(c2t.define("FCN32s", size=(49, 66)), labels, **how)
    assert str(refused.value).startswith(problem)


def test_a_softmax_is_no_score() -> None:
    net = net_of(INPUT + 'layer { name: "prob" type: "Softmax" bottom: "data" top: "prob" }')
    with pytest.raises(
        NetError, match="output 'prob' is a softmax, and the loss takes scores; leave its Soft"
    ):
        c2t.training_net(net)


def test_an_unknown_size_is_refused_unless_a_layer_makes_the_data() -> None:
    dense = 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param {'
    text = 'layer { name: "data" type: "Input" top: "data" }' + dense + " num_output: 5 } }"
    net = net_of(text, fc=[np.ones((5, 3 * 7 * 11)), np.ones(5)])
    with pytest.raises(
        NetError, match="'label': the size of 'fc' is not known; give python_param, or give Input"
    ):
        c2t.training_net(net)
    made = c2t.training_net(net, python_param={"module": "layers", "layer": "Shapes", "param_str": "{}"})
    assert made.layers[0].tops == ("data", "label")


# --- a solver


def test_a_solver_is_the_published_one(reference: Path) -> None:
    folder = reference / "corpus" / "prototxt" / "shelhamer__fcn.berkeleyvision.org" / "voc-fcn8s"
    text = c2t.solver_prototxt(
        {
            "train_net": "train.prototxt", "test_net": ["val.prototxt"], "test_iter": [736],
            "test_interval": 999999999, "display": 20, "average_loss": 20, "lr_policy": "fixed",
            "base_lr": 1e-14, "momentum": 0.99, "iter_size": 1, "max_iter": 100000, "weight_decay": 0.0005,
            "snapshot": 4000, "snapshot_prefix": "snapshot/train", "test_initialization": False,
        }
    )  # fmt: skip
    kind = schema.message("SolverParameter")
    assert text_format.Parse(text, kind()) == text_format.Parse(
        (folder / "solver.prototxt").read_text(), kind()
    )


def test_a_solver_s_text_is_short() -> None:
    fields = {"base_lr": 1e-10, "momentum": 0.99, "solver_mode": "CPU", "stepvalue": (5, 70), "type": None}
    wanted = "base_lr: 1e-10\nmomentum: 0.99\nsolver_mode: CPU\nstepvalue: 5\nstepvalue: 70\n"
    assert c2t.solver_prototxt(fields) == wanted


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"lr": 1}, "SolverParameter has no field 'lr'"),
        ({"base_rl": 1}, "SolverParameter has no field 'base_rl'; is it 'base_lr'?"),
        ({"eval_type": "detection"}, "SolverParameter has no field 'eval_type'"),  # SSD's alone
        ({"base_lr": "small"}, "SolverParameter: base_lr cannot be 'small': "),
        ({"max_iter": 1.5}, "SolverParameter: max_iter cannot be 1.5: "),
        ({"solver_mode": "TPU"}, "SolverParameter: solver_mode cannot be 'TPU': "),
        ({"test_iter": 736}, "SolverParameter: test_iter cannot be 736: "),
    ],
)
def test_a_solver_that_caffe_does_not_know_is_refused(fields: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(NetError) as refused:
        c2t.solver_prototxt(fields)
    assert str(refused.value).startswith(problem)


# --- a net trained in PyTorch


@pytest.fixture(scope="module")
def trained() -> FCN8s:
    """An FCN-8s of five classes after two steps of SGD, its first stage frozen."""
    torch.manual_seed(0)
    model = FCN8s(classes=5, widths=NARROW)
    for name in ("conv1_1", "conv1_2"):
        model.get_submodule(name).requires_grad_(False)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1e-2, momentum=0.9)
    image, label = 50 * torch.randn(1, 3, 17, 29), torch.randint(5, (1, 17, 29))
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(data=image), label).backward()
        optimizer.step()
    assert model.score_pool3.weight.abs().max() > 0, "score layers begin at zero: it was trained"
    return model.eval()


def dense(weight: torch.Tensor) -> np.ndarray:
    """A weight (C, 1, k, k) as Caffe's (C, C, k, k), zero off the diagonal."""
    whole = np.zeros((weight.shape[0], *weight.shape[:1], *weight.shape[2:]), np.float32)
    for channel, kernel in enumerate(weight[:, 0]):
        whole[channel, channel] = kernel.numpy()
    return whole


def test_a_reader_of_plain_protobuf_reads_the_trained_values(trained: FCN8s, tmp_path: Path) -> None:
    c2t.export(trained, tmp_path / "fcn.caffemodel")
    net = read("NetParameter", (tmp_path / "fcn.caffemodel").read_bytes())
    assert net.keys() == {"name", "layer"}
    assert "double_data" not in str(net)
    state = {key: value.detach() for key, value in trained.state_dict().items()}
    wanted = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        wanted.setdefault(layer, {})[kind] = dense(value) if "upscore" in key else value.numpy()
    found = {layer["name"]: layer["blobs"] for layer in net["layer"] if "blobs" in layer}
    assert list(found) == [name for name in TRAINED_LAYERS if name in found] == list(wanted)
    for name, blobs in found.items():
        for blob, value in zip(blobs, wanted[name].values(), strict=True):
            assert blob.keys() == {"shape", "data"}
            assert tuple(blob["shape"]["dim"]) == value.shape, name
            assert np.array(blob["data"], np.float32).tobytes() == value.tobytes(), name
    assert [layer["name"] for layer in net["layer"]] == TRAINED_LAYERS
    rates = {
        layer["name"]: [p["lr_mult"] for p in layer["param"]] for layer in net["layer"] if "param" in layer
    }
    assert rates["conv1_1"] == rates["conv1_2"] == [0, 0], "they are frozen"
    assert rates["conv2_1"] == [1, 2]
    assert rates["upscore8"] == [0]


TRAINED_LAYERS = [
    "data", "conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1", "relu2_1", "conv2_2", "relu2_2",
    "pool2", "conv3_1", "relu3_1", "conv3_2", "relu3_2", "conv3_3", "relu3_3", "pool3", "conv4_1",
    "relu4_1", "conv4_2", "relu4_2", "conv4_3", "relu4_3", "pool4", "conv5_1", "relu5_1", "conv5_2",
    "relu5_2", "conv5_3", "relu5_3", "pool5", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "score_fr",
    "upscore2", "score_pool4", "score_pool4c", "fuse_pool4", "upscore_pool4", "score_pool3", "score_pool3c",
    "fuse_pool3", "upscore8", "score",
]  # fmt: skip


def test_its_bytes_are_the_same_each_time_and_in_another_process(trained: FCN8s, tmp_path: Path) -> None:
    for name in ("1.caffemodel", "2.caffemodel", "fcn.safetensors"):
        c2t.export(trained, tmp_path / name)
    first = (tmp_path / "1.caffemodel").read_bytes()
    assert first == (tmp_path / "2.caffemodel").read_bytes()
    command = [sys.executable, "-m", "caffe2torch.cli.main", "fcn.safetensors", "-o", "other.caffemodel"]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert first == (tmp_path / "other.caffemodel").read_bytes()


def test_a_checkpoint_becomes_the_pair_of_files_that_caffe_deploys(trained: FCN8s, tmp_path: Path) -> None:
    c2t.export(trained, tmp_path / "checkpoint.safetensors")
    for suffix in ("caffemodel", "prototxt"):
        assert main([str(tmp_path / "checkpoint.safetensors"), "-o", str(tmp_path / f"net.{suffix}")]) == 0
    model = c2t.build(c2t.read(tmp_path / "net.prototxt", tmp_path / "net.caffemodel"))
    for shape in ((1, 3, 45, 32), (2, 3, 23, 71)):
        image = 50 * torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(model(data=image)["score"], trained(data=image), rtol=1e-5, atol=1e-4)
    text = (tmp_path / "net.prototxt").read_text()
    data = message_of(text).layer[0]
    assert (data.type, list(data.input_param.shape[0].dim)) == ("Input", [1, 3, 500, 500])
    assert "blobs" not in text


def test_a_net_that_does_not_run_at_the_usual_size_keeps_its_input_open(tmp_path: Path) -> None:
    dense = 'layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param {'
    pool = (
        'layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 } }'
    )
    conv = 'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {'
    data = 'layer { name: "data" type: "Input" top: "data" }'
    text = f"{data} {conv} num_output: 4 kernel_size: 3 }} }} {pool} {dense} num_output: 5 }} }}"
    blobs = {"conv": [np.ones((4, 3, 3, 3)), np.ones(4)], "fc": [np.ones((5, 60)), np.ones(5)]}
    message = exported(plan(net_of(text, **blobs)), tmp_path / "net.prototxt")
    assert not message.layer[0].HasField("input_param")


def test_the_reader_of_fields_is_no_copy_of_ours() -> None:
    source = (ROOT / "tests" / "field_reader.py").read_text()
    assert "caffe2torch" not in source
    assert "google" not in source
