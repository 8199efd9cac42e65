"""ONNX in onnxruntime and pt2 in torch, at sizes at which they were not traced, against Caffe."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.fx.passes.utils.source_matcher_utils import get_source_partitions

import caffe2torch as c2t
from caffe2torch.errors import UnsupportedLayer, WriteError
from caffe2torch.formats import onnx as onnx_format
from caffe2torch.formats import write
from caffe2torch.formats.onnx.fitting import pooled
from caffe2torch.writing.model import Engine, Model, model_of
from tests.formats.test_export import small_net
from tests.nets import net_of

pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable")
"""torch 2.9 warns of what its torch.export.load reads."""

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]

FCNS = {
    "nyud-fcn32s-color-d": "two inputs as one",
    "siftflow-fcn16s": "two heads, two crops",
    "voc-fcn-alexnet": "groups, LRN, a kernel of 63",
}
LAYERS = (
    *("argmax_axis1", "batchnorm_scale", "crop_hw_offset", "deconv_4s2_dense", "deconv_hw", "im2col"),
    *("lrn_across", "lrn_within", "mvn", "pool_ave_3s2_ceil", "pool_ave_3s2_pad1", "pool_max_3s2_ceil"),
    *("pool_max_3s2_pad1", "slice_points"),
)
"""Caffe's quirks, and what computes with sizes."""


def loaded(path: Path, blobs: list[str]) -> Run:
    """A written file as a function, loaded without this package."""
    if path.suffix == ".pt2":
        program = torch.export.load(path).module()

        def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            with torch.no_grad():
                tops = program(**{blob: torch.from_numpy(array) for blob, array in inputs.items()})
            return {blob: tensor.numpy() for blob, tensor in tops.items()}

        return run
    session = onnxruntime.InferenceSession(path)
    return lambda inputs: dict(zip(blobs, session.run(blobs, dict(inputs)), strict=True))


def named(arrays: Any, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz that begin with a prefix, by the rest of their names."""
    return {name[len(prefix) :]: arrays[name] for name in arrays if name.startswith(prefix)}


def assert_near(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], what: object) -> None:
    for blob, array in wanted.items():
        assert found[blob].shape == array.shape, (what, blob)
        error = np.linalg.norm(found[blob] - array) / max(np.linalg.norm(array), 1e-30)
        assert error <= 1e-5, f"{what}: {blob}: relative error {error:.1e}"


@pytest.fixture(scope="module")
def exported(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each FCN's file, without its suffix."""
    folder = tmp_path_factory.mktemp("graphs")
    for name in FCNS:
        converted = model_of(c2t.read(weights=golden / "fcn" / name / "weights.caffemodel"))
        for suffix in ("pt2", "onnx"):
            check = write(converted, folder / f"{name}.{suffix}")
            assert check is not None
            assert len(set(check.sizes)) == 2
    return {name: folder / name for name in FCNS}


def test_a_pt2_says_what_it_was_traced_on_but_does_not_hold_it(exported: dict[str, Path]) -> None:
    path = exported["siftflow-fcn16s"].with_suffix(".pt2")
    with zipfile.ZipFile(path) as archive:
        (samples,) = (info for info in archive.infolist() if "sample_inputs" in info.filename)
    ((), inputs) = torch.export.load(path).example_inputs
    (image,) = inputs.values()
    assert image.shape[:2] == (2, 3)
    assert image.numel() * 4 > 100_000  # as pixels
    assert samples.file_size < 10_000


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
@pytest.mark.parametrize("name", FCNS)
def test_an_fcn_gives_caffes_scores_at_three_sizes(
    name: str, suffix: str, golden: Path, exported: dict[str, Path]
) -> None:
    caffe = np.load(golden / "fcn" / name / "io.npz")
    run = loaded(exported[name].with_suffix(f".{suffix}"), list(named(caffe, "0.out.")))
    for i in (0, 1):
        inputs = named(caffe, f"{i}.in.")
        assert_near(run(inputs), named(caffe, f"{i}.out."), {blob: x.shape for blob, x in inputs.items()})
    # An image smaller than what the net sees of one, and two at once.
    rng = np.random.default_rng(0)
    images = {b: rng.standard_normal((2, x.shape[1], 31, 9), np.float32) for b, x in inputs.items()}
    model = c2t.build(c2t.read(weights=golden / "fcn" / name / "weights.caffemodel"))
    with torch.no_grad():
        wanted = model(**{blob: torch.from_numpy(image) for blob, image in images.items()})
    assert_near(run(images), {blob: value.numpy() for blob, value in wanted.items()}, "two at once")


def test_onnx_has_caffes_names_and_says_what_is_free(exported: dict[str, Path]) -> None:
    path = exported["siftflow-fcn16s"].with_suffix(".onnx")
    model = onnx.load(path)
    assert [(x.domain, x.version) for x in model.opset_import] == [("", 17)]
    assert (model.producer_name, model.producer_version) == ("caffe2torch", c2t.__version__)
    assert model.graph.name == "siftflow-fcn16s"
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "data": ["batch", 3, "height", "width"],
        "score_sem": ["batch", 9, "height", "width"],
        "score_geo": ["batch", 3, "height", "width"],
    }
    initializers = {x.name for x in model.graph.initializer}
    assert {"conv1_1.weight", "conv1_1.bias", "upscore2_sem.weight", "score_fr_geo.bias"} <= initializers
    nodes = {node.name: node.op_type for node in model.graph.node}
    assert {nodes[n] for n in ("conv1_1", "relu1_1", "pool1")} == {"Conv", "Relu", "MaxPool"}
    assert nodes["upscore2_sem"] == "ConvTranspose"
    assert nodes["score_sem/Slice"] == nodes["score_sem/Slice_2"] == "Slice"
    assert len(nodes) == len(model.graph.node), "two nodes of one name"
    assert b"site-packages" not in path.read_bytes(), "the exporter's notes"
    assert b"caffe_net" not in path.read_bytes(), "the exporter's notes"


def test_what_was_done_to_an_image_is_in_the_file(exported: dict[str, Path]) -> None:
    model = onnx.load(exported["voc-fcn-alexnet"].with_suffix(".onnx"))
    (known,) = [p.value for p in model.metadata_props if p.key == "preprocessing"]
    assert '"mean": [104.00699' in known


def test_pt2_runs_where_this_package_cannot_be_imported(exported: dict[str, Path]) -> None:
    code = """
import sys
sys.modules["caffe2torch"] = None
import torch
tops = torch.export.load(sys.argv[1]).module()(data=torch.zeros(1, 3, 21, 34))
print({blob: tuple(top.shape) for blob, top in tops.items()})
"""
    path = exported["siftflow-fcn16s"].with_suffix(".pt2")
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert run.stdout == "{'score_sem': (1, 9, 21, 34), 'score_geo': (1, 3, 21, 34)}\n"


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_gives_what_caffe_gave(case: str, golden: Path, tmp_path: Path) -> None:
    prototxt = golden / "layers" / f"{case}.prototxt"
    weights, stored = prototxt.with_suffix(".caffemodel"), np.load(prototxt.with_suffix(".npz"))
    converted = model_of(c2t.read(prototxt, weights if weights.exists() else None))
    inputs, outputs = named(stored, "in."), named(stored, "out.")
    for suffix in ("pt2", "onnx"):
        write(converted, tmp_path / f"net.{suffix}")
        run = loaded(tmp_path / f"net.{suffix}", list(outputs))
        assert_near(run(inputs), outputs, suffix)


WINDOWS = [("MAX", 3, 3, 1), ("AVE", 2, 2, 1), ("MAX", 2, 3, 0), ("AVE", 5, 4, 3)]
"""Pooling that drops its last window at some sizes and not at others, and what torch has no name for."""


def bounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Without the lowest float, which Caffe gives for a window that sees nothing, and what becomes of it."""
    return np.where(np.abs(values) < 1e30, values, 0)


@pytest.mark.parametrize(("pool", "kernel", "stride", "pad"), WINDOWS)
def test_a_window_that_some_sizes_drop(pool: str, kernel: int, stride: int, pad: int, tmp_path: Path) -> None:
    up = 2 * stride + pad + 1
    net = net_of(
        f"""layer {{ name: "data" type: "Input" top: "data"
                 input_param {{ shape {{ dim: 1 dim: 2 dim: 24 dim: 25 }} }} }}
        layer {{ name: "p" type: "Pooling" bottom: "data" top: "p"
                 pooling_param {{ pool: {pool} kernel_size: {kernel} stride: {stride} pad: {pad} }} }}
        layer {{ name: "u" type: "Deconvolution" bottom: "p" top: "u" convolution_param {{
                 num_output: 2 group: 2 bias_term: false kernel_size: {up} stride: {stride} }} }}
        layer {{ name: "c" type: "Crop" bottom: "u" bottom: "data" top: "c" crop_param {{ offset: 1 }} }}""",
        u=[np.random.default_rng(0).standard_normal((2, 1, up, up))],
    )
    model = c2t.build(net)
    runs, converted = {}, model_of(net)
    for suffix in ("pt2", "onnx"):
        write(converted, tmp_path / f"net.{suffix}")
        runs[suffix] = loaded(tmp_path / f"net.{suffix}", ["c"])
    for height in range(11, 11 + 2 * stride):
        image = np.random.default_rng(height).standard_normal((1, 2, height, height + 1), np.float32)
        with torch.no_grad():
            wanted = model(data=torch.from_numpy(image))["c"].numpy()
        for suffix, run in runs.items():
            assert_near({"c": bounded(run({"data": image})["c"])}, {"c": bounded(wanted)}, (suffix, height))


@pytest.fixture(scope="module")
def alexnet(golden: Path) -> Model:
    """LRN, pooling that rounds up, a deconvolution in groups, a crop."""
    return model_of(c2t.read(weights=golden / "fcn" / "voc-fcn-alexnet" / "weights.caffemodel"))


def nodes(path: Path) -> list[onnx.NodeProto]:
    return list(onnx.load(path).graph.node)


def attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((onnx.helper.get_attribute_value(x) for x in node.attribute if x.name == name), None)


def test_no_operator_that_engines_get_wrong(exported: dict[str, Path]) -> None:
    written = nodes(exported["voc-fcn-alexnet"].with_suffix(".onnx"))
    pools = [node for node in written if node.op_type == "MaxPool"]
    # Caffe rounds up: one more row and column at the end, so that no engine has to.
    assert [attribute(pool, "pads") for pool in pools] == [[0, 0, 1, 1]] * 3
    assert not any(attribute(pool, "ceil_mode") for pool in pools)
    # LRN: a convolution over channels in place of a pool in 5-D, which MNN and OpenCV 4 compute wrongly.
    assert {node.op_type for node in written} <= {
        *("Conv", "Relu", "MaxPool", "Mul", "Add", "Pow", "ConvTranspose"),
        *("Shape", "Squeeze", "Reshape", "Slice"),
    }


def test_a_pad_takes_only_its_own_constants_with_it() -> None:
    """A constant may also be what a graph gives, and no node reads it."""
    name = onnx.helper.make_tensor_value_info
    pool = onnx.helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2], pads=[0, 0, 0, 0])
    constants = {
        "pads": np.int64([0, 0, 0, 0, 0, 0, 1, 1]),
        "lowest": np.float32(-3.4028234663852886e38),
        "given": np.zeros(3, np.float32),
    }
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Pad", ["x", "pads", "lowest"], ["padded"]), pool],
        "pools",
        [name("x", 1, [1, 1, 4, 4])],
        [name("y", 1, None), name("given", 1, [3])],
        [onnx.numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    found = pooled(onnx.helper.make_model(graph)).graph
    assert [node.op_type for node in found.node] == ["MaxPool"]
    assert attribute(found.node[0], "pads") == [0, 0, 1, 1]
    assert [stored.name for stored in found.initializer] == ["given"]


def test_a_pad_of_zeros_stays_before_its_pool() -> None:
    """Without a value, ONNX's Pad adds zeros, which a pool of negative values would find."""
    name = onnx.helper.make_tensor_value_info
    pool = onnx.helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2], pads=[0, 0, 0, 0])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Pad", ["x", "pads"], ["padded"]), pool],
        "pools",
        [name("x", 1, [1, 1, 4, 4])],
        [name("y", 1, None)],
        [onnx.numpy_helper.from_array(np.int64([0, 0, 0, 0, 0, 0, 1, 1]), "pads")],
    )
    assert [node.op_type for node in pooled(onnx.helper.make_model(graph)).graph.node] == ["Pad", "MaxPool"]


def test_the_squares_of_lrn_fit_half_precision(exported: dict[str, Path]) -> None:
    model = onnx.load(exported["voc-fcn-alexnet"].with_suffix(".onnx"))
    total = next(x for x in model.graph.node if x.name.startswith("norm1") and x.op_type == "Conv")
    model.graph.output.append(onnx.helper.make_tensor_value_info(total.input[0], 1, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = np.random.default_rng(0).uniform(-125, 150, (1, 3, 61, 83)).astype(np.float32)
    (squares,) = session.run([total.input[0]], {"data": 20 * image})
    assert 65504 / 64**2 < squares.max() < 65504, "too large if they were not divided by 64"


def test_a_graph_of_torch_has_only_what_other_engines_know(exported: dict[str, Path]) -> None:
    program = torch.export.load(exported["voc-fcn-alexnet"].with_suffix(".pt2"))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not {name for name in called if "assert" in name or "sym_m" in name or "narrow" in name}
    assert "aten.avg_pool3d.default" not in called
    for node in program.graph.nodes:
        if str(node.target) == "aten.max_pool2d.default":
            assert node.args[1:] in (([3, 3], [2, 2]), ([2, 2], [2, 2])), "a pool that rounds up"
        if str(node.target) == "aten.conv2d.default" and "norm" not in str(node.meta["nn_module_stack"]):
            *_, (_, kind) = node.meta["nn_module_stack"].values()
            assert kind == "torch.nn.modules.conv.Conv2d", "torchao's quantizers look for it"


@pytest.mark.skipif(torch.__version__ < (2, 10), reason="torch 2.9 cannot")
def test_a_convolution_is_known_by_torchs_own_search(exported: dict[str, Path]) -> None:
    program = torch.export.load(exported["siftflow-fcn16s"].with_suffix(".pt2"))
    # What torchao's quantizers call; sizes that a layer needs must not count as its outputs.
    partitions = get_source_partitions(program.graph, [torch.nn.Conv2d])[torch.nn.Conv2d]
    called = [node for node in program.graph.nodes if str(node.target) == "aten.conv2d.default"]
    assert [partition.output_nodes for partition in partitions] == [[node] for node in called]


def test_an_opset_that_is_asked_for(alexnet: Model, tmp_path: Path) -> None:
    c2t.export(alexnet.net, tmp_path / "net.onnx", opset=20)
    assert onnx.load(tmp_path / "net.onnx").opset_import[0].version == 20
    for opset, problem in ((13, "has no Shape as .* needs it; 15 has"), (9, "13 to 20 can be written")):
        with pytest.raises(WriteError, match=f"opset {opset}: {problem}"):
            c2t.export(alexnet.net, tmp_path / "net.onnx", opset=opset)


def test_the_oldest_opset_has_what_a_net_of_one_size_needs(alexnet: Model, tmp_path: Path) -> None:
    c2t.export(alexnet.net, tmp_path / "net.onnx", opset=13, size=(61, 83))
    written = onnx.load(tmp_path / "net.onnx")
    assert written.opset_import[0].version == 13
    onnx.checker.check_model(written, full_check=True)  # the types of that opset, too
    assert "Relu" in {node.op_type for node in written.graph.node}, "which 14 gave to integers"


def test_an_operator_of_a_later_opset_raises_it(tmp_path: Path) -> None:
    net = net_of(
        """layer { name: "data" type: "Input" top: "data"
                input_param { shape { dim: 2 dim: 3 dim: 8 dim: 9 } } }
        layer { name: "m" type: "MVN" bottom: "data" top: "m" }"""
    )
    c2t.export(net, tmp_path / "net.onnx")
    assert onnx.load(tmp_path / "net.onnx").opset_import[0].version == 18, "ReduceMean with computed axes"


def test_a_size_that_an_engine_insists_on(alexnet: Model, tmp_path: Path) -> None:
    fixed = replace(alexnet, engine=Engine(size=(61, 83), batch=2, upsampling="dense"))
    check = write(fixed, tmp_path / "net.onnx")
    assert check is not None
    assert set(check.sizes) == {"data (2, 3, 61, 83)"}
    written = onnx.load(tmp_path / "net.onnx")
    (image,) = written.graph.input
    assert [dim.dim_value for dim in image.type.tensor_type.shape.dim] == [2, 3, 61, 83]
    assert not {"Shape", "Reshape"} & {node.op_type for node in written.graph.node}, "sizes are computed"
    (up,) = [node for node in written.graph.node if node.op_type == "ConvTranspose"]
    assert attribute(up, "group") == 1
    weight = next(x for x in written.graph.initializer if x.name == up.input[1])
    assert list(weight.dims[:2]) == [7, 7]
    write(replace(fixed, engine=Engine(size=(61, 83))), tmp_path / "net.pt2")
    with pytest.raises(Exception, match=r"83|85"):
        torch.export.load(tmp_path / "net.pt2").module()(data=torch.zeros(1, 3, 61, 85))


def test_equal_deconvolutions_share_a_weight_also_without_groups(tmp_path: Path) -> None:
    up = """type: "Deconvolution" convolution_param {
            num_output: 3 group: 3 bias_term: false kernel_size: 4 stride: 2 }"""
    net = net_of(
        f"""layer {{ name: "data" type: "Input" top: "data"
                 input_param {{ shape {{ dim: 1 dim: 3 dim: 8 dim: 9 }} }} }}
        layer {{ name: "a" {up} bottom: "data" top: "a" }}
        layer {{ name: "b" {up} bottom: "a" top: "b" }}""",
        **{layer: [np.random.default_rng(0).standard_normal((3, 1, 4, 4))] for layer in "ab"},
    )
    assert c2t.export(net, tmp_path / "net.onnx", upsampling="dense") is not None
    written = onnx.load(tmp_path / "net.onnx")
    assert [attribute(node, "group") for node in written.graph.node] == [1, 1]
    assert [list(weight.dims) for weight in written.graph.initializer] == [[3, 3, 4, 4]], "one for both"


POOL = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"


@pytest.mark.skipif(torch.__version__ < (2, 10), reason="torch 2.9 cannot")
@pytest.mark.parametrize(
    "up",
    ['type: "Upsample" upsample_param { scale: 2 }', f'type: "Unpooling" {POOL}'],
)
def test_unpooling_at_any_size(up: str, tmp_path: Path) -> None:
    """SegNet's, ENet's and DeconvNet's, against loops."""
    net = net_of(
        f"""layer {{ name: "data" type: "Input" top: "data"
                 input_param {{ shape {{ dim: 1 dim: 2 dim: 12 dim: 14 }} }} }}
        layer {{ name: "pool" type: "Pooling" bottom: "data" top: "p" top: "mask" {POOL} }}
        layer {{ name: "up" {up} bottom: "p" bottom: "mask" top: "u" }}"""
    )
    image = np.random.default_rng(0).standard_normal((2, 2, 8, 10), np.float32)
    wanted = np.zeros((2, 2, 8, 10), np.float32)
    for n, c, row, column in np.ndindex(2, 2, 4, 5):
        window = image[n, c, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        down, right = np.unravel_index(window.argmax(), (2, 2))
        wanted[n, c, 2 * row + down, 2 * column + right] = window.max()
    for suffix in ("onnx", "pt2"):
        c2t.export(net, tmp_path / f"net.{suffix}")
        np.testing.assert_array_equal(loaded(tmp_path / f"net.{suffix}", ["u"])({"data": image})["u"], wanted)


@pytest.mark.parametrize(
    ("suffix", "wish", "problem"),
    [
        ("safetensors", {"opset": 17}, "safetensors cannot choose the opset; onnx can"),
        ("pt2", {"upsampling": "dense"}, "pt2 cannot choose the upsampling; onnx can"),
        ("py", {"size": (8, 8)}, "py cannot choose the size; onnx, pt2 can"),
        ("onnx", {"upsampling": "nearest"}, "'nearest': it is grouped or dense"),
        ("onnx", {"size": (0, 8)}, "none can be below 1"),
        ("onnx", {"batch": 2}, "batch 2 goes with a size"),
    ],
)
def test_wishes_that_cannot_be(suffix: str, wish: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=problem):
        c2t.export(small_net(), tmp_path / f"net.{suffix}", **wish)
    assert list(tmp_path.iterdir()) == []


def test_of_equal_values_the_last_is_the_largest(tmp_path: Path) -> None:
    net = net_of(
        """layer { name: "data" type: "Input" top: "data"
                input_param { shape { dim: 2 dim: 7 dim: 3 dim: 5 } } }
        layer { name: "a" type: "ArgMax" bottom: "data" top: "a" argmax_param { axis: 1 top_k: 3 } }"""
    )
    c2t.export(net, tmp_path / "net.onnx")
    image = np.random.default_rng(0).integers(0, 3, (2, 7, 3, 5)).astype(np.float32)
    order = np.lexsort((-np.arange(7).reshape(1, 7, 1, 1) + 0 * image, -image), axis=1)
    found = loaded(tmp_path / "net.onnx", ["a"])({"data": image})["a"]
    np.testing.assert_array_equal(found, order[:, :3])


def test_a_layer_that_no_graph_can_hold_is_refused_by_name(golden: Path, tmp_path: Path) -> None:
    case = golden / "layers" / "lstm"
    net = c2t.read(case.with_suffix(".prototxt"), case.with_suffix(".caffemodel"))
    for suffix in ("pt2", "onnx"):
        with pytest.raises(UnsupportedLayer, match=r"^layer 'l' \(LSTM\): no graph can hold it: "):
            c2t.export(net, tmp_path / f"net.{suffix}")
        with pytest.raises(WriteError, match=f"{suffix} holds float32, not float16"):
            c2t.export(small_net(), tmp_path / f"net.{suffix}", dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_more_than_onnx_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_format, "MAX_BYTES", 1000)
    with pytest.raises(WriteError, match=r"net\.onnx: would take \d+ bytes, ONNX allows 1000$"):
        c2t.export(small_net(), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_names_that_python_has_no_argument_for(tmp_path: Path) -> None:
    def named(blob: str) -> Any:
        return net_of(
            f"""layer {{ name: "in" type: "Input" top: "{blob}" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
            layer {{ name: "ip 1/2" type: "InnerProduct" bottom: "{blob}" top: "ip 1/2"
                     inner_product_param {{ num_output: 4 }} }}"""
        )

    for blob in ("data/1", "class", "1"):
        for suffix in ("pt2", "onnx"):
            assert c2t.export(c2t.build(named(blob)), tmp_path / f"net.{suffix}") is not None
        assert onnx.load(tmp_path / "net.onnx").graph.input[0].name == blob
