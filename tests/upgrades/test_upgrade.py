from __future__ import annotations

import csv
import difflib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from caffe2torch import schema
from caffe2torch.errors import NetError
from caffe2torch.upgrades import format_of, upgrade_net, upgrade_solver

NetParameter = schema.message("NetParameter")
SolverParameter = schema.message("SolverParameter")


def net(text: str) -> Any:
    return text_format.Parse(text, NetParameter())


def upgraded(text: str) -> Any:
    return upgrade_net(net(text), "test.prototxt")[0]


def notes(text: str) -> tuple[str, ...]:
    return upgrade_net(net(text), "test.prototxt")[1]


def difference(ours: Any, caffes: Any) -> str:
    """The lines in which two messages differ, ours with +; empty when they are equal."""
    if ours == caffes:
        return ""
    lines = difflib.unified_diff(str(caffes).splitlines(), str(ours).splitlines(), lineterm="", n=1)
    return "\n".join(lines) or "equal as text, different as messages"


# The corpus, and what Caffe's own tools made of it.


@pytest.fixture(scope="module")
def corpus(reference: Path) -> list[tuple[dict[str, str], Any]]:
    """Every file that Caffe upgrades or finds current: its row of index.tsv, and its message."""
    folder = reference / "corpus"
    with (folder / "index.tsv").open(newline="") as table:
        rows = [
            row for row in csv.DictReader(table, delimiter="\t") if row["caffe_upgrades"].startswith("yes")
        ]
    kinds = {"solver": SolverParameter}
    return [(row, parse(folder / row["path"], kinds.get(row["format"], NetParameter))) for row in rows]


def parse(path: Path, kind: type[Any]) -> Any:
    return text_format.Parse(path.read_text("utf-8", "surrogateescape"), kind())


def test_every_net_that_caffe_upgraded_upgrades_to_the_same_message(
    corpus: list[Any], reference: Path
) -> None:
    """Compared as messages, without any normalization."""
    compared, differing = 0, []
    for row, message in corpus:
        if row["caffe_upgraded_text"]:
            ours, _ = upgrade_net(message, row["path"])
            caffes = parse(reference / "corpus" / row["caffe_upgraded_text"], NetParameter)
            compared += 1
            if found := difference(ours, caffes):
                differing.append(f"{row['path']}\n{found}")
    assert not differing, "\n\n".join(differing)
    assert compared == 56


def test_every_net_that_caffe_accepts_becomes_current(corpus: list[Any]) -> None:
    for row, message in corpus:
        if row["format"] == "solver":
            continue
        assert format_of(message) == row["format"], row["path"]
        before = message.SerializeToString()
        ours, said = upgrade_net(message, row["path"])
        assert message.SerializeToString() == before, f"{row['path']}: upgrading changed its input"
        assert format_of(ours) == "current", row["path"]
        assert len(ours.input) == 0, row["path"]
        assert upgrade_net(ours, row["path"]) == (ours, ()), f"{row['path']}: upgraded twice"
        if row["caffe_upgrades"] == "yes (already latest)":
            assert (ours, said) == (message, ()), f"{row['path']}: Caffe finds nothing to upgrade"


def test_every_solver_that_caffe_accepts_becomes_current(corpus: list[Any]) -> None:
    rewritten = 0
    for row, message in corpus:
        if row["format"] == "solver":
            ours = upgrade_solver(message)
            assert not ours.HasField("solver_type"), row["path"]
            rewritten += ours != message
            assert (ours == message) == (row["caffe_upgrades"] == "yes (already latest)"), row["path"]
    assert rewritten == 3


@pytest.mark.parametrize(("name", "age"), [("v0", "V0"), ("v1", "V1")])
def test_a_legacy_caffemodel_becomes_the_one_that_caffe_wrote(golden: Path, name: str, age: str) -> None:
    """Normalized for what Caffe adds when it saves a loaded net: a `phase` in each layer, Split layers where
    a blob has several readers, and blob shapes of any rank in place of four axes (axes of length 1 left out).
    """
    legacy = NetParameter.FromString((golden / f"legacy/{name}.caffemodel").read_bytes())
    caffes = NetParameter.FromString((golden / f"legacy/{name}.upgraded.caffemodel").read_bytes())
    ours, _ = upgrade_net(legacy, name)
    assert (format_of(legacy), format_of(caffes)) == (age, "current")
    assert sum(len(layer.blobs) for layer in ours.layer) == {"v0": 6, "v1": 9}[name]
    assert not (found := difference(_plain_blobs(ours), _plain_blobs(_without_splits(caffes)))), found


def _without_splits(message: Any) -> Any:
    split_from: dict[str, str] = {}
    layers = list(message.layer)
    message.ClearField("layer")
    for layer in layers:
        if layer.type == "Split":
            split_from.update(dict.fromkeys(layer.top, layer.bottom[0]))
            continue
        layer.bottom[:] = [split_from.get(blob, blob) for blob in layer.bottom]
        layer.ClearField("phase")
        message.layer.append(layer)
    return message


def _plain_blobs(message: Any) -> Any:
    for layer in message.layer:
        for blob in layer.blobs:
            dims = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
            for field in ("num", "channels", "height", "width"):
                blob.ClearField(field)
            blob.shape.dim[:] = [dim for dim in dims if dim != 1]
    return message


# V0, field by field.

V0_FIELDS = [
    ("conv", "num_output: 7", "convolution_param { num_output: 7 }"),
    ("conv", "biasterm: false", "convolution_param { bias_term: false }"),
    ("conv", "weight_filler { std: 2 }", "convolution_param { weight_filler { std: 2 } }"),
    ("conv", "bias_filler { }", "convolution_param { bias_filler { } }"),
    ("conv", "pad: 1", "convolution_param { pad: 1 }"),
    ("conv", "kernelsize: 3", "convolution_param { kernel_size: 3 }"),
    ("conv", "group: 2", "convolution_param { group: 2 }"),
    ("conv", "stride: 4", "convolution_param { stride: 4 }"),
    ("innerproduct", "num_output: 7", "inner_product_param { num_output: 7 }"),
    ("innerproduct", "biasterm: true", "inner_product_param { bias_term: true }"),
    ("innerproduct", "weight_filler { std: 2 }", "inner_product_param { weight_filler { std: 2 } }"),
    ("innerproduct", "bias_filler { value: 1 }", "inner_product_param { bias_filler { value: 1 } }"),
    ("pool", "pad: 1", "pooling_param { pad: 1 }"),
    ("pool", "kernelsize: 3", "pooling_param { kernel_size: 3 }"),
    ("pool", "stride: 4", "pooling_param { stride: 4 }"),
    ("pool", "pool: MAX", "pooling_param { pool: MAX }"),
    ("pool", "pool: AVE", "pooling_param { pool: AVE }"),
    ("pool", "pool: STOCHASTIC", "pooling_param { pool: STOCHASTIC }"),
    ("dropout", "dropout_ratio: 0.3", "dropout_param { dropout_ratio: 0.3 }"),
    ("lrn", "local_size: 3", "lrn_param { local_size: 3 }"),
    ("lrn", "alpha: 0.1", "lrn_param { alpha: 0.1 }"),
    ("lrn", "beta: 0.2", "lrn_param { beta: 0.2 }"),
    ("lrn", "k: 2", "lrn_param { k: 2 }"),
    ("data", "source: 'a'", "data_param { source: 'a' }"),
    ("data", "batchsize: 5", "data_param { batch_size: 5 }"),
    ("data", "rand_skip: 6", "data_param { rand_skip: 6 }"),
    ("hdf5_data", "source: 'a'", "hdf5_data_param { source: 'a' }"),
    ("hdf5_data", "batchsize: 5", "hdf5_data_param { batch_size: 5 }"),
    ("images", "source: 'a'", "image_data_param { source: 'a' }"),
    ("images", "batchsize: 5", "image_data_param { batch_size: 5 }"),
    ("images", "rand_skip: 6", "image_data_param { rand_skip: 6 }"),
    ("images", "shuffle_images: true", "image_data_param { shuffle: true }"),
    ("images", "new_height: 8", "image_data_param { new_height: 8 }"),
    ("images", "new_width: 9", "image_data_param { new_width: 9 }"),
    ("window_data", "source: 'a'", "window_data_param { source: 'a' }"),
    ("window_data", "batchsize: 5", "window_data_param { batch_size: 5 }"),
    ("window_data", "det_fg_threshold: 0.6", "window_data_param { fg_threshold: 0.6 }"),
    ("window_data", "det_bg_threshold: 0.4", "window_data_param { bg_threshold: 0.4 }"),
    ("window_data", "det_fg_fraction: 0.3", "window_data_param { fg_fraction: 0.3 }"),
    ("window_data", "det_context_pad: 16", "window_data_param { context_pad: 16 }"),
    ("window_data", "det_crop_mode: 'square'", "window_data_param { crop_mode: 'square' }"),
    ("window_data", "context_pad: 16", "window_data_param { context_pad: 16 }"),
    ("window_data", "crop_mode: 'square'", "window_data_param { crop_mode: 'square' }"),
    ("relu", "can_clobber: false", ""),
    ("infogain_loss", "source: 'a'", "infogain_loss_param { source: 'a' }"),
    ("concat", "concat_dim: 0", "concat_param { concat_dim: 0 }"),
    ("hdf5_output", "hdf5_output_param { file_name: 'a' }", "hdf5_output_param { file_name: 'a' }"),
    ("data", "scale: 0.5", "transform_param { scale: 0.5 }"),
    ("data", "meanfile: 'm'", "transform_param { mean_file: 'm' }"),
    ("images", "cropsize: 227", "transform_param { crop_size: 227 }"),
    ("window_data", "mirror: true", "transform_param { mirror: true }"),
    ("relu", "scale: 0.5", "transform_param { scale: 0.5 }"),
    ("conv", "blobs { index: 4 } blobs { index: 2 }", "blobs { index: 4 } blobs { index: 2 }"),
    ("conv", "blobs_lr: 1 blobs_lr: 2", "param { lr_mult: 1 } param { lr_mult: 2 }"),
    ("conv", "weight_decay: 1 weight_decay: 0", "param { decay_mult: 1 } param { decay_mult: 0 }"),
]

V0_TYPES = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}


@pytest.mark.parametrize(("kind", "field", "current"), V0_FIELDS)
def test_a_v0_field_goes_to_its_place(kind: str, field: str, current: str) -> None:
    ours = upgraded(f"layers {{ layer {{ name: 'l' type: '{kind}' {field} }} top: 't' }}")
    assert ours == net(f"layer {{ name: 'l' type: '{V0_TYPES[kind]}' top: 't' {current} }}")


def test_the_v0_cases_cover_the_schema() -> None:
    """All fields but name and type, and new_num and new_channels, whose layer never had a V0 name."""
    cased = {field.split(":")[0].split()[0] for _, field, _ in V0_FIELDS}
    fields = {field.name for field in schema.descriptor("V0LayerParameter").fields}
    assert fields - cased == {"name", "type", "new_num", "new_channels"}


@pytest.mark.parametrize(("v0", "current"), V0_TYPES.items())
def test_a_v0_type_has_its_current_name(v0: str, current: str) -> None:
    ours = upgraded(f"layers {{ layer {{ name: 'l' type: '{v0}' }} top: 'a' top: 'b' }}")
    assert ours == net(f"layer {{ name: 'l' type: '{current}' top: 'a' top: 'b' }}")


def test_a_v0_field_of_another_type_is_refused() -> None:
    """Every pair of type and field that is not a case above."""
    allowed = {(kind, field.split(":")[0].split()[0]) for kind, field, _ in V0_FIELDS}
    allowed |= {(kind, field) for kind in V0_TYPES for field in ("name", "type", "blobs", "blobs_lr")}
    allowed |= {(kind, field) for kind in V0_TYPES for field in ("weight_decay", "scale", "meanfile")}
    allowed |= {(kind, field) for kind in V0_TYPES for field in ("cropsize", "mirror", "can_clobber")}
    fields = schema.descriptor("V0LayerParameter").fields
    refused = [(kind, field) for kind in V0_TYPES for field in fields if (kind, field.name) not in allowed]
    assert len(refused) > 600
    for kind, field in refused:
        message = net(f"layers {{ layer {{ name: 'l' type: '{kind}' }} }}")
        layer = message.layers[0].layer
        if field.message_type is not None:
            getattr(layer, field.name).SetInParent()
        else:
            setattr(layer, field.name, field.default_value)
        with pytest.raises(
            NetError, match=rf"^n: layer 'l': {field.name} is not a field of a V0 {kind} layer"
        ):
            upgrade_net(message, "n")


PADDED = """
    input: 'data'
    layers { layer { name: 'pad1' type: 'padding' pad: 2 } bottom: 'data' top: 'padded' }
    layers { layer { name: 'conv1' type: 'conv' pad: 1 } bottom: 'padded' top: 'conv1' }
    layers { layer { name: 'pool1' type: 'pool' } bottom: 'padded' top: 'pool1' }
    layers { layer { name: 'relu1' type: 'relu' } bottom: 'pool1' top: 'padded' }
    layers { layer { name: 'conv2' type: 'conv' } bottom: 'padded' top: 'conv2' }
"""


def test_padding_layers_fold_into_every_conv_and_pool_that_reads_them() -> None:
    """Also into two readers; a pad of their own is lost; a later maker of the blob's name ends it."""
    assert upgraded(PADDED) == net("""
        layer { name: 'conv1' type: 'Convolution' bottom: 'data' top: 'conv1' convolution_param { pad: 2 } }
        layer { name: 'pool1' type: 'Pooling' bottom: 'data' top: 'pool1' pooling_param { pad: 2 } }
        layer { name: 'relu1' type: 'ReLU' bottom: 'pool1' top: 'padded' }
        layer { name: 'conv2' type: 'Convolution' bottom: 'padded' top: 'conv2' }
    """)
    assert notes(PADDED)[:3] == (
        "upgraded from V0 (2013) to V1 (2014)",
        "padding layer 'pad1' folded into 'conv1', whose own pad 1 is lost as in Caffe",
        "padding layer 'pad1' folded into 'pool1'",
    )


# V1.

CURRENT_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BN": "BN",
    "BNLL": "BNLL",
    "CONVOLUTION3D": "Convolution3D",
    "DECONVOLUTION3D": "Deconvolution3D",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "LRN_MAP": "LRNMap",
    "MVN": "MVN",
    "NONE": "",
    "POOLING3D": "Pooling3D",
    "RELU": "ReLU",
    "ROI_POOLING": "ROIPooling",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
    "TOPK": "TopK",
}
"""The names that are not the enum value in camel case."""


@pytest.mark.parametrize(
    "v1", [v.name for v in schema.descriptor("V1LayerParameter").enum_types_by_name["LayerType"].values]
)
def test_a_v1_type_has_its_current_name(v1: str) -> None:
    camel = "".join(word.capitalize() for word in v1.split("_"))
    assert upgraded(f"layers {{ type: {v1} }}").layer[0].type == CURRENT_NAMES.get(v1, camel)


def test_the_crop_of_the_cvpr_2015_models_aligns_its_bottoms() -> None:
    ours = upgraded("layers { type: CROP name: 'c' bottom: 'a' bottom: 'b' top: 'c' }")
    assert ours == net("""
        layer { type: 'Crop' name: 'c' bottom: 'a' bottom: 'b' top: 'c' crop_param { align: true } }
    """)


def test_every_other_v1_field_is_kept() -> None:
    """Each field that V1 shares with the current format, given a value, is there afterwards."""
    message = net("layers { type: RELU }")
    layer = message.layers[0]
    own = {"layer", "type", "blobs_lr", "weight_decay", "param", "blob_share_mode"}
    shared = {f.name: f for f in layer.DESCRIPTOR.fields if f.name not in own}
    for name, field in shared.items():
        value = getattr(layer, name)
        if hasattr(value, "add"):
            value.add()
        elif hasattr(value, "SetInParent"):
            value.SetInParent()
        elif hasattr(value, "append"):
            value.append("x" if field.type == field.TYPE_STRING else 0.5)
        else:
            setattr(layer, name, "x")
    ours = upgrade_net(message, "n")[0].layer[0]
    assert {f.name for f, _ in ours.ListFields()} == {*shared, "type"}
    for name in shared:
        assert getattr(ours, name) == getattr(layer, name), name


def test_v1_lists_for_each_blob_become_param_specs() -> None:
    """Lists of different lengths: what a list does not reach stays unset."""
    ours = upgraded("""
        layers { type: CONVOLUTION param: 'w' blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
                 weight_decay: 3 blob_share_mode: STRICT blob_share_mode: PERMISSIVE }
    """)
    assert ours == net("""
        layer { type: 'Convolution'
                param { name: 'w' share_mode: STRICT lr_mult: 1 decay_mult: 1 }
                param { share_mode: PERMISSIVE lr_mult: 2 decay_mult: 0 }
                param { decay_mult: 3 } }
    """)


@pytest.mark.parametrize(
    ("kind", "current"), [("data", "Data"), ("image_data", "ImageData"), ("window_data", "WindowData")]
)
def test_transformation_fields_of_v1_data_layers_move(kind: str, current: str) -> None:
    """One that needs it gives every data layer both messages, as in Caffe."""
    text = f"""
        layers {{ name: 'd' type: {kind.upper()} transform_param {{ scale: 9 mean_value: 3 }}
                 {kind}_param {{ source: 's' scale: 0.5 mean_file: 'm' crop_size: 227 mirror: true }} }}
        layers {{ name: 'e' type: IMAGE_DATA }}
        layers {{ name: 'r' type: RELU data_param {{ scale: 2 }} }}
    """
    assert upgraded(text) == net(f"""
        layer {{ name: 'd' type: '{current}' {kind}_param {{ source: 's' }}
                transform_param {{ scale: 0.5 mean_file: 'm' crop_size: 227 mirror: true mean_value: 3 }} }}
        layer {{ name: 'e' type: 'ImageData' image_data_param {{ }} transform_param {{ }} }}
        layer {{ name: 'r' type: 'ReLU' data_param {{ scale: 2 }} }}
    """)
    moved = "scale, mean_file, crop_size, mirror of data layer 'd' moved to its transform_param"
    assert notes(text) == (moved, "upgraded from V1 (2014) to the current format")


@pytest.mark.parametrize("kind", ["data", "image_data"])
def test_a_transform_param_inside_a_v1_data_layer_moves(kind: str) -> None:
    """From before Caffe's release; Caffe itself does not know it any more."""
    v1 = (
        f"layers {{ type: {kind.upper()} {kind}_param {{ transform_param {{ scale: 0.5 mean_value: 3 }} }} }}"
    )
    (layer,) = upgraded(v1).layer
    assert (
        layer.transform_param
        == net("layer { transform_param { scale: 0.5 mean_value: 3 } }").layer[0].transform_param
    )
    assert not getattr(layer, f"{kind}_param").HasField("transform_param")


# Inputs and BatchNorm, in nets of any age.

TWO_SHAPES = "shape { dim: 1 dim: 3 dim: 5 dim: 7 } shape { dim: 2 dim: 1 dim: 4 dim: 6 }"


@pytest.mark.parametrize(
    "shapes",
    [
        "input_dim: [1, 3, 5, 7, 2, 1, 4, 6]",
        "input_shape { dim: [1, 3, 5, 7] } input_shape { dim: [2, 1, 4, 6] }",
        "input_shape { dim: [1, 3, 5, 7] } input_shape { dim: [2, 1, 4, 6] } input_dim: [9, 9, 9, 9]",
    ],
)
def test_inputs_become_one_input_layer_in_front(shapes: str) -> None:
    text = f"name: 'n' input: 'data' input: 'label' {shapes} layer {{ name: 'r' type: 'ReLU' }}"
    assert upgraded(text) == net(f"""
        name: 'n'
        layer {{ name: 'input' type: 'Input' top: 'data' top: 'label' input_param {{ {TWO_SHAPES} }} }}
        layer {{ name: 'r' type: 'ReLU' }}
    """)
    assert notes(text) == ("inputs turned into an Input layer: data, label",)


def test_an_input_without_shape_disappears_as_in_caffe() -> None:
    text = "input: 'data' layer { name: 'r' type: 'ReLU' bottom: 'data' }"
    assert upgraded(text) == net("layer { name: 'r' type: 'ReLU' bottom: 'data' }")
    assert notes(text) == ("inputs without a shape, which Caffe leaves undefined: data",)


def test_batch_norm_with_three_params_stops_learning() -> None:
    """Names and share modes stay; other counts of `param`, and other types, are left alone."""
    text = """
        layer { name: 'a' type: 'BatchNorm'
                param { name: 'm' lr_mult: 1 } param { share_mode: STRICT } param { } }
        layer { name: 'b' type: 'BatchNorm' param { lr_mult: 1 } param { } }
        layer { name: 'c' type: 'Scale' param { lr_mult: 1 } param { } param { } }
    """
    off = "lr_mult: 0 decay_mult: 0"
    assert upgraded(text) == net(f"""
        layer {{ name: 'a' type: 'BatchNorm'
                param {{ name: 'm' {off} }} param {{ share_mode: STRICT {off} }} param {{ {off} }} }}
        layer {{ name: 'b' type: 'BatchNorm' param {{ lr_mult: 1 }} param {{ }} }}
        layer {{ name: 'c' type: 'Scale' param {{ lr_mult: 1 }} param {{ }} param {{ }} }}
    """)
    assert notes(text) == ("BatchNorm layers whose lr_mult and decay_mult were set to 0: 1",)


def test_fields_of_the_net_itself_survive_both_upgrades() -> None:
    kept = "name: 'n' force_backward: true state { phase: TRAIN stage: 's' } debug_info: true"
    assert upgraded(f"{kept} layers {{ layer {{ type: 'relu' }} }}") == net(
        f"{kept} layer {{ type: 'ReLU' }}"
    )


def test_a_v0_source_of_a_branch_is_a_data_layer() -> None:
    """The first MemoryData, of a branch of 2013, in the nets that its author published."""
    text = "layers { layer { name: 'd' type: 'memory_data' batchsize: 5 cropsize: 27 } top: 'x' top: 'y' }"
    assert upgraded(text) == net(
        "layer { name: 'd' type: 'Data' top: 'x' top: 'y' "
        "data_param { batch_size: 5 } transform_param { crop_size: 27 } }"
    )
    assert "layer 'd' (memory_data, which Caffe does not know) taken for a data layer" in notes(text)


def test_parameters_that_came_in_through_bottoms() -> None:
    """cn-1x.prototxt's form; two readers of a weight share it by its name."""
    parameters = """
        layer { name: 'w' type: 'Parameter' top: 'w' blobs { data: 2 } param { lr_mult: 3 } }
        layer { name: 'v' type: 'Parameter' top: 'v' }
    """
    readers = """
        layer { name: 'a' type: 'InnerProduct' bottom: 'x' bottom: 'w' bottom: 'v' top: 'a' param_bottoms: 2 }
        layer { name: 'b' type: 'InnerProduct' bottom: 'a' bottom: 'w' top: 'b' param_bottoms: 1 }
    """
    assert upgraded(parameters + readers) == net("""
        layer { name: 'a' type: 'InnerProduct' bottom: 'x' top: 'a'
            blobs { data: 2 } param { name: 'w' lr_mult: 3 } param { name: 'v' } }
        layer { name: 'b' type: 'InnerProduct' bottom: 'a' top: 'b'
            blobs { data: 2 } param { name: 'w' lr_mult: 3 } }
    """)
    # Without a Parameter layer, or with another reader of its top, the field stays, and is refused later.
    for rest in (readers, parameters + readers + "layer { name: 'c' type: 'ReLU' bottom: 'w' top: 'c' }"):
        assert upgraded(rest) == net(rest)


# What is refused.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers { type: RELU } layer { type: 'ReLU' }", r"has `layers` \(V0, V1\) and `layer` \(current\)"),
        ("layers { layer { type: 'relu' } } layers { name: 'b' type: RELU }", "layer 'b' is V1 in a V0 net"),
        (
            "layers { layer { name: 'l' type: 'images' new_height: -2 } }",
            "layer 'l': new_height is -2; it must",
        ),
        (
            "layers { layer { name: 'a' type: 'relu' } include { } }",
            "layer 'a' has V1's include next to V0's `layer`",
        ),
        (
            "layers { layer { name: 'a' type: 'local' } }",
            "layer 'a' has the V0 type 'local'; Caffe knows accuracy, bnll",
        ),
        (
            "input: 'x' layers { layer { name: 'a' type: 'local' } bottom: 'x' top: 'y' }",
            "layer 'a' has the V0 type 'local'",
        ),
        ("layers { layer { name: 'a' } top: 'x' }", "layer 'a' has the V0 type ''"),
        ("layers { name: 'a' }", "layer 'a' has no type"),
        (
            "layers { layer { name: 'a' type: 'relu' } bottom: 'x' }",
            "layer 'a' needs blob 'x', which nothing makes",
        ),
        (
            "input: 'x' layers { layer { name: 'p' type: 'padding' } bottom: 'x' top: 'y' }"
            "layers { layer { name: 'a' type: 'relu' } bottom: 'y' }",
            r"layer 'a' \(relu\) after padding layer 'p': only conv and pool",
        ),
        (
            "input: 'x' layers { layer { name: 'p' type: 'padding' } bottom: 'x' top: 'y' }"
            "layers { layer { name: 'a' type: 'conv' } bottom: 'y' bottom: 'x' }",
            r"layer 'a' \(conv\) after padding layer 'p': needs one bottom",
        ),
        (
            "input: 'x' layers { layer { name: 'p' type: 'padding' } bottom: 'x' top: 'y' top: 'z' }"
            "layers { layer { name: 'a' type: 'conv' } bottom: 'y' }",
            r"layer 'a' \(conv\) after padding layer 'p': needs one bottom",
        ),
        (
            "input: 'a' input: 'b' input_dim: [1, 2, 3, 4]",
            "4 input_dim for input a, b; expected 2 input_shape or 8 input_dim",
        ),
        ("input: 'a' input_dim: [1, 2, 3]", "3 input_dim for input a; expected"),
        ("input: 'a' input_dim: [1, 2, 3, 4, 5, 6, 7, 8]", "8 input_dim for input a; expected"),
        ("input: 'a' input_shape { dim: 3 } input_shape { dim: 3 }", "2 input_shape for input a; expected 1"),
        ("input: 'a' input: 'b' input_shape { dim: 3 }", "1 input_shape for input a, b; expected 2"),
    ],
)
def test_contradictions_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=f"^test.prototxt: {message}"):
        upgraded(text)


def test_a_type_number_of_a_fork_is_refused_by_its_number() -> None:
    layer = b"\x22\x01a" + b"\x28\x63"  # name: "a", type: 99
    with pytest.raises(NetError, match="layer 'a' has the type number 99, which only a fork of Caffe knows"):
        upgrade_net(NetParameter.FromString(b"\x12" + bytes([len(layer)]) + layer), "n")


# Solvers.


@pytest.mark.parametrize(
    ("old", "current"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
    ],
)
def test_solver_type_becomes_a_string(old: str, current: str) -> None:
    solver = text_format.Parse(f"base_lr: 0.1 solver_type: {old}", SolverParameter())
    assert upgrade_solver(solver) == text_format.Parse(f"base_lr: 0.1 type: '{current}'", SolverParameter())
    assert solver.HasField("solver_type"), "upgrading changed its input"


def test_a_solver_with_both_types_is_refused() -> None:
    with pytest.raises(NetError, match="has solver_type"):
        upgrade_solver(SolverParameter(solver_type="SGD", type="Adam"))


# Forks


def test_fields_that_say_how_fast_to_compute_are_left_out() -> None:
    text = """
        default_forward_type: FLOAT16 default_backward_math: FLOAT global_grad_scale: 1000 name: "n"
        layer { name: "a" type: "Convolution" forward_type: FLOAT16 cudnn_math_override: 1 engine: "MKLDNN"
                convolution_param { num_output: 3 cudnn_convolution_algo_seeker: GET engine: CAFFE } }
        layer { name: "b" type: "Data" data_param { threads: 2 cache: true source: "x" } }
    """
    upgraded, notes = upgrade_net(text_format.Parse(text, NetParameter()), "n.prototxt")
    kept = """
        name: "n"
        layer { name: "a" type: "Convolution" convolution_param { num_output: 3 engine: CAFFE } }
        layer { name: "b" type: "Data" data_param { source: "x" } }
    """
    assert upgraded == text_format.Parse(kept, NetParameter())
    (note,) = notes
    for name in ("default_forward_type", "global_grad_scale", "cudnn_convolution_algo_seeker", "cache"):
        assert name in note


@pytest.mark.parametrize(("given", "wanted"), [("true", "CEIL"), ("false", "FLOOR")])
def test_ceil_mode_becomes_round_mode(given: str, wanted: str) -> None:
    text = "layer {{ name: 'p' type: 'Pooling' pooling_param {{ kernel_size: 2 {} }} }}"
    message = text_format.Parse(text.format(f"ceil_mode: {given}"), NetParameter())
    upgraded, notes = upgrade_net(message, "n.prototxt")
    assert upgraded == text_format.Parse(text.format(f"round_mode: {wanted}"), NetParameter())
    assert notes == ("ceil_mode of Pooling layers became round_mode",)


def test_ceil_mode_and_another_round_mode_are_refused() -> None:
    text = "layer { name: 'p' type: 'Pooling' pooling_param { ceil_mode: true round_mode: FLOOR } }"
    with pytest.raises(NetError, match="layer 'p' has a round_mode and another ceil_mode"):
        upgrade_net(text_format.Parse(text, NetParameter()), "n.prototxt")
