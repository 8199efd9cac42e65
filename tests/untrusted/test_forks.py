"""Fields of forks in binary files; the numbers are typed from the forks' own schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caffe2torch import schema
from caffe2torch.errors import NetError
from caffe2torch.net.reading import read
from caffe2torch.untrusted.binary import Caffemodel, read_caffemodel
from caffe2torch.untrusted.forks import numbered
from tests import wire_writer as w


def stored(folder: Path, *layers: bytes) -> Caffemodel:
    path = folder / "net.caffemodel"
    path.write_bytes(b"".join(layers))
    return read_caffemodel(path)


def layer(kind: str, number: int, content: bytes) -> bytes:
    return w.layer(kind.lower(), type_name=kind, more=w.delimited(number, content))


def single(number: int, value: float) -> bytes:
    return w.unpacked(number, [value])


# Of one type each: its number in a fork's LayerParameter, and what is in it.
SSD_PRIORS = (
    w.packed(1, [30, 60]) + w.unpacked(3, [2]) + w.integer(4, 0) + w.unpacked(6, [0.1]) + single(13, 0.25)
)
SSD_OUTPUT = w.integer(1, 21) + w.delimited(4, single(1, 0.45) + w.integer(2, 400)) + w.integer(6, 2)
CASES: list[tuple[str, int, bytes, str, dict[str, Any]]] = [
    (
        "Permute",
        202,
        w.unpacked(1, []) + w.delimited(1, bytes([0, 2, 3, 1])),
        "permute_param",
        {"order": [0, 2, 3, 1]},
    ),
    ("PriorBox", 203, SSD_PRIORS, "prior_box_param", {"min_size": [30, 60], "flip": False, "offset": 0.25}),
    ("DetectionOutput", 204, SSD_OUTPUT, "detection_output_param", {"num_classes": 21}),
    ("Normalize", 206, w.integer(1, 0) + w.integer(3, 0), "norm_param", {"across_spatial": False}),
    ("ROIPooling", 8266711, w.integer(1, 7) + single(3, 0.0625), "roi_pooling_param", {"pooled_h": 7}),
    ("PSROIPooling", 10001, w.integer(2, 21) + w.integer(3, 7), "psroi_pooling_param", {"output_dim": 21}),
    # SegNet's is Caffe's embed_param, in which 3 is a bool; yjxiong's BN too.
    ("Upsample", 137, w.integer(3, 5) + w.integer(6, 23), "upsample_param", {"scale_w": 5, "upsample_h": 23}),
    ("BN", 45, w.integer(3, 1), "bn_param", {"bn_mode": 1}),
    ("BN", 137, single(3, 0.5) + w.integer(5, 1), "bn_param", {"momentum": 0.5, "frozen": True}),
    # 149 is Intel's engine, NVIDIA's debug, FlowNet's augmentation_param and waifu2x's crop_center_param.
    (
        "CropCenter",
        149,
        w.delimited(2, bytes([0, 0, 2, 2])),
        "crop_center_param",
        {"crop_size": [0, 0, 2, 2]},
    ),
    ("Interp", 143, w.integer(3, 8), "interp_param", {"zoom_factor": 8}),
    ("HoleConvolution", 106, w.integer(1, 3) + w.integer(17, 2), "convolution_param", {"hole": 2}),
]


@pytest.mark.parametrize(("kind", "number", "content", "param", "wanted"), CASES)
def test_the_layers_type_tells_which_forks_field_a_number_is(
    tmp_path: Path, kind: str, number: int, content: bytes, param: str, wanted: dict[str, Any]
) -> None:
    found = stored(tmp_path, layer(kind, number, content))
    assert found.unknown == ()
    told = getattr(found.message.layer[0], param)
    assert {name: getattr(told, name) for name in wanted} == wanted
    assert [field.name for field, _ in found.message.layer[0].ListFields()] in (
        ["name", "type", param],
        ["name", "type", "convolution_param"],
    )


def test_what_a_fork_gives_to_layers_of_every_type(tmp_path: Path) -> None:
    found = stored(
        tmp_path, layer("ReLU", 149, b"MKLDNN"), w.layer("p", type_name="Pooling", more=w.integer(145, 2))
    )
    assert found.unknown == ()
    assert found.message.layer[0].engine == "MKLDNN"
    assert found.message.layer[1].forward_type == 2  # NVIDIA's FLOAT16; 145 is Caffe's parameter_param


def test_a_number_in_the_place_of_a_layer_is_none(tmp_path: Path) -> None:
    """protobuf keeps it as an unknown field, which is no layer whose fields a fork could know."""
    found = stored(tmp_path, w.integer(100, 30) + layer("Interp", 143, w.integer(3, 8)))
    assert [each.type for each in found.message.layer] == ["Interp"]


def test_a_message_is_not_taken_for_the_name_of_an_engine(tmp_path: Path) -> None:
    found = stored(tmp_path, layer("Quantum", 149, w.integer(1, 4)))
    assert found.unknown == ("layer 'quantum'.#149",)


def test_the_upsampling_of_a_yolo_face_detector(tmp_path: Path) -> None:
    found = stored(tmp_path, layer("Upsample", 149, w.integer(1, 4)))
    assert found.message.layer[0].upsample_param.scale == 4


DROPOUT = layer("Dropout", 108, w.integer(2, 0))


@pytest.mark.parametrize(
    ("others", "field"),
    [
        ([], ""),
        ([layer("PSROIPooling", 10001, w.integer(2, 21))], "scale_train"),
        ([layer("Upsample", 137, w.integer(1, 2))], "sample_weights_test"),
    ],
)
def test_where_two_forks_could_have_written_a_layer_the_net_decides(
    tmp_path: Path, others: list[bytes], field: str
) -> None:
    found = stored(tmp_path, DROPOUT, *others)
    dropout = found.message.layer[0].dropout_param
    assert found.unknown == (() if field else ("layer 'dropout'.dropout_param.#2",))
    assert [name for name in ("scale_train", "sample_weights_test") if dropout.HasField(name)] == [field][
        : bool(field)
    ]


def test_private_numbers_are_not_believed_beside_a_forks_own(tmp_path: Path) -> None:
    private = schema.descriptor("PermuteParameter").fields_by_name["order"].number
    found = stored(tmp_path, layer("Permute", 202, w.integer(1, 2) + w.integer(private, 3)))
    assert found.unknown == ("layer 'permute'.#202",)


def test_a_private_number_in_a_blob_is_not_believed_either(tmp_path: Path) -> None:
    order = w.delimited(202, w.delimited(1, bytes([0, 2, 3, 1])))
    found = stored(tmp_path, w.layer("p", w.integer(schema.PRIVATE + 7, 1), type_name="Permute", more=order))
    assert found.unknown == ("layer 'p'.#202", f"layer 'p'.blobs[0].#{schema.PRIVATE + 7}")


def test_fields_of_the_net_itself(tmp_path: Path) -> None:
    relu, nvidias = w.layer("r", type_name="ReLU"), w.integer(20, 0)
    found = stored(tmp_path, relu, nvidias)
    assert found.unknown == ()
    assert found.message.HasField("eltwise_mem_sharing")
    private = schema.descriptor("NetParameter").fields_by_name["eltwise_mem_sharing"].number
    assert stored(tmp_path, relu, nvidias, w.integer(private, 0)).unknown == (f"#{private}",)


def test_numbers_that_no_fork_is_known_for_stay_unknown(tmp_path: Path) -> None:
    found = stored(tmp_path, layer("Permute", 202, w.integer(9, 2)), layer("ReLU", 9999, b"x"))
    assert found.unknown == ("layer 'permute'.#202", "layer 'relu'.#9999")


def test_layers_are_written_with_their_forks_numbers() -> None:
    net = schema.message("NetParameter")()
    net.layer.add(name="upsample", type="Upsample").upsample_param.scale_w = 5
    net.layer.add(name="relu", type="ReLU").relu_param.negative_slope = 0.5
    net.layer.add(name="bn", type="BN").bn_param.bn_mode = 1
    written = [w.delimited(100, data) for data in numbered(net.layer)]
    assert written == [
        layer("Upsample", 137, w.integer(3, 5)),
        layer("ReLU", 123, single(1, 0.5)),
        layer("BN", 45, w.integer(3, 1)),
    ]


def test_a_field_whose_number_nobody_knows_is_not_written() -> None:
    net = schema.message("NetParameter")()
    net.layer.add(name="conv", type="Convolution").convolution_param.fuse_type = 1
    with pytest.raises(
        NetError, match=r"layer 'conv' \(Convolution\): .*numbers in a caffemodel are not known"
    ):
        list(numbered(net.layer))


@pytest.mark.parametrize(
    ("folder", "layers"),
    [
        ("11-opencv_3rdparty-detect", 16),
        ("47-mobilenet-yolo-yoloface-500k-v2", 2),
        ("64-waifu2x-caffe-scale2.0x_model.json", 6),
    ],
)
def test_a_published_file_alone_says_what_its_prototxt_says(
    reference: Path, folder: str, layers: int
) -> None:
    (weights,) = (reference / "models" / folder).glob("*.caffemodel")
    alone = {layer.name: layer.fields for layer in read(weights=weights).layers}
    published = read(reference / "models" / folder / "published.prototxt").layers
    params = [(x.name, path.split(".")[0]) for x in published for path in x.fields.fork_fields()]
    assert len({name for name, _ in params}) == layers
    fields = {x.name: x.fields for x in published}
    assert [getattr(alone[x], p) for x, p in params] == [getattr(fields[x], p) for x, p in params]
