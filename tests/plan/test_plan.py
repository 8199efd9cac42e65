"""Planning: keys, shapes, blobs matched and checked, outputs, the alignment of CVPR 2015's Crop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from caffe2torch.blob import Blob
from caffe2torch.errors import NetError, UnsupportedLayer, WeightsError
from caffe2torch.net import to_message
from caffe2torch.plan import plan
from tests.nets import INPUT, net_of

CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
convolution_param { num_output: 4 kernel_h: 3 kernel_w: 5 } }"""
WEIGHT, BIAS = np.zeros((4, 3, 3, 5)), np.zeros(4)


def test_keys_shapes_and_outputs():
    planned = plan(net_of(INPUT + CONV, conv=[WEIGHT, BIAS]))
    assert [(p.key, p.shape) for p in planned.parameters()] == [
        ("conv.weight", (4, 3, 3, 5)),
        ("conv.bias", (4,)),
    ]
    assert planned.steps[1].tops == ((2, 4, 6, 7),)
    assert planned.outputs == ("conv",)


def test_an_input_takes_its_channels_from_the_first_convolution():
    planned = plan(net_of('layer { name: "data" type: "Input" top: "data" }' + CONV, conv=[WEIGHT, BIAS]))
    assert planned.inputs == {"data": (None, 3, None, None)}
    assert planned.steps[1].tops == ((None, 4, None, None),)


@pytest.mark.parametrize(
    ("blobs", "message"),
    [
        ([WEIGHT], "holds 1 blobs, its Convolution needs 2"),
        ([WEIGHT, BIAS, BIAS], "holds 3 blobs, its Convolution needs 2"),
        ([np.zeros((4, 3, 5, 3)), BIAS], r"blob 0 is \(4, 3, 5, 3\), its Convolution needs \(4, 3, 3, 5\)"),
        ([WEIGHT, np.zeros(5)], r"blob 1 is \(5,\), its Convolution needs \(4\)"),
        ([np.zeros((4, 45)), BIAS], r"blob 0 is \(4, 45\).*see --convolutionalize"),
        ([], "has no blobs for layer 'conv'.*--allow-missing"),
    ],
)
def test_blobs_that_do_not_fit_are_refused(blobs, message):
    net = replace(net_of(INPUT + CONV, conv=blobs), weights="net.caffemodel")
    with pytest.raises(WeightsError, match=f"^net.caffemodel: .*{message}"):
        plan(net)


def test_allow_missing_leaves_a_layer_at_its_filler():
    planned = plan(replace(net_of(INPUT + CONV), weights="net.caffemodel"), allow_missing=True)
    assert [(p.key, p.blob) for p in planned.parameters()] == [("conv.weight", None), ("conv.bias", None)]


def test_a_blob_without_data_is_named():
    net = net_of(INPUT + CONV, conv=[WEIGHT, BIAS])
    empty = Blob((4,), np.dtype(np.float32), None)
    layers = (net.layers[0], replace(net.layers[1], blobs=(net.layers[1].blobs[0], empty)))
    with pytest.raises(WeightsError, match=r"layer 'conv' blob 1 has a shape, \(4,\), and no data"):
        plan(replace(net, layers=layers))
    assert [p.blob is None for p in plan(replace(net, layers=layers), allow_missing=True).parameters()] == [
        False,
        True,
    ]


def test_a_statistic_and_a_parameter_share_no_blob():
    layers = """layer { name: "s" type: "Bias" bottom: "data" top: "s" param { name: "w" } }
                layer { name: "b" type: "BatchNorm" bottom: "s" top: "b" param { name: "w" } }"""
    message = "layer 'b' shares blob 'w' with 's.bias', but only one of the two is a statistic"
    with pytest.raises(NetError, match=message):
        plan(net_of(INPUT + layers))


def test_legacy_blobs_have_four_axes():
    text = INPUT + 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "y" '
    text += "inner_product_param { num_output: 5 } }"
    weight = np.arange(5 * 264).reshape(1, 1, 5, 264)
    planned = plan(net_of(text, fc=[weight, np.zeros((1, 1, 1, 5))]))
    assert [p.read().shape for p in planned.parameters()] == [(5, 264), (5,)]
    with pytest.raises(WeightsError, match="is this the net of these weights"):
        plan(net_of(text, fc=[weight.reshape(1, 5, 2, 132), np.zeros(5)]))


def test_two_layers_of_one_name_get_two_keys():
    relu = 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }'
    assert [step.key for step in plan(net_of(INPUT + relu + relu)).steps] == ["data", "r", "r#2"]


def test_an_unknown_bottom_is_refused():
    with pytest.raises(NetError, match="layer 'r': no layer before it makes its bottom 'missing'"):
        plan(net_of(INPUT + 'layer { name: "r" type: "ReLU" bottom: "missing" top: "x" }'))


def test_an_unknown_layer_type_is_refused():
    with pytest.raises(UnsupportedLayer, match=r"layer 'q' \(Quantum\): no converter"):
        plan(net_of(INPUT + 'layer { name: "q" type: "Quantum" bottom: "data" top: "x" }'))


def test_a_forks_unnamed_fields_are_refused_where_they_matter():
    net = net_of(INPUT + CONV, conv=[WEIGHT, BIAS])
    marked = replace(net, layers=(net.layers[0], replace(net.layers[1], unknown=("it has #149",))))
    with pytest.raises(UnsupportedLayer, match=r"'conv' \(.*it has #149; --ignore-unknown-fields leaves"):
        plan(marked)
    with pytest.raises(NetError, match=r"'conv' \(.*it has #149; --ignore-unknown-fields leaves"):
        to_message(marked)


def test_a_forks_unnamed_fields_do_not_matter_where_they_are_not_run():
    text = """
        layer { name: 'd' type: 'Data' top: 'data' top: 'label' data_param { batch_size: 2 } }
        layer { name: 'c' type: 'Convolution' bottom: 'data' top: 'y'
                convolution_param { num_output: 1 kernel_size: 1 } }
        layer { name: 'l' type: 'EuclideanLoss' bottom: 'y' bottom: 'label' }
    """
    net = net_of(text)
    marked = replace(net, layers=tuple(replace(layer, unknown=(f"of {layer.name}",)) for layer in net.layers))
    conv = replace(marked, layers=(marked.layers[0], net.layers[1], marked.layers[2]))
    assert plan(conv).net.notes[-2:] == (
        "'d' (Data) is not run, so its unknown fields do not matter: of d",
        "'l' (EuclideanLoss) is not run, so its unknown fields do not matter: of l",
    )
    with pytest.raises(UnsupportedLayer, match="of c"):
        plan(marked)
    with pytest.raises(UnsupportedLayer, match="of l"):
        plan(conv, "TRAIN")


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_data_layer_of_an_unknown_type_becomes_inputs(phase):
    net = net_of("""
        layer { name: 'd' type: 'FooData' top: 'data' top: 'unread' }
        layer { name: 'r' type: 'ReLU' bottom: 'data' top: 'y' }
    """)
    planned = plan(net, phase)
    assert dict(planned.inputs) == {"data": None}
    assert planned.net.notes == ("inputs in place of data: 'data' (from a FooData layer)",)


def test_a_top_too_many_is_refused():
    with pytest.raises(NetError, match=r"layer 'c' \(Concat\): needs 1 top, has 2"):
        plan(
            net_of(
                INPUT + 'layer { name: "c" type: "Concat" bottom: "data" bottom: "data" top: "x" top: "y" }'
            )
        )


def test_the_phase_must_be_one():
    with pytest.raises(NetError, match="'test'; it must be 'TRAIN' or 'TEST'"):
        plan(net_of(INPUT), "test")


SHARED = """layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" param {{ name: "w" }}
convolution_param {{ num_output: {2} kernel_size: 3 bias_term: false }} }}"""


def test_shared_parameters_have_one_owner():
    text = INPUT + SHARED.format("a", "data", 3) + SHARED.format("b", "a", 3)
    planned = plan(net_of(text))
    assert [p.key for p in planned.parameters()] == ["a.weight"]
    assert [step.parameters[0].owner for step in planned.steps[1:]] == ["a.weight", "a.weight"]


def test_shared_parameters_must_agree():
    text = INPUT + SHARED.format("a", "data", 5) + SHARED.format("b", "data", 4)
    with pytest.raises(
        NetError, match=r"'b' shares blob 'w' with 'a.weight', but .*\(4, 3, 3, 3\) and \(5, 3, 3, 3\)"
    ):
        plan(net_of(text))


DECONV = """layer {{ name: "up" type: "Deconvolution" bottom: "data" top: "up" param {{ lr_mult: {0} }}
convolution_param {{ num_output: 3 kernel_size: 4 stride: 2 bias_term: false }} }}"""


def _bilinear(off_diagonal: float) -> np.ndarray:
    dense = np.zeros((3, 3, 4, 4), np.float32)
    dense[np.arange(3), np.arange(3)] = np.arange(48).reshape(3, 4, 4)
    dense[0, 2, 3, 3] = off_diagonal
    return dense


@pytest.mark.parametrize(
    ("lr_mult", "off_diagonal", "diagonal"),
    [(0, 0.0, True), (1, 0.0, False), (0, 1e-30, False), (0, -0.0, False)],
)
def test_only_a_frozen_kernel_that_is_zero_to_the_bit_is_kept_as_its_diagonal(
    lr_mult, off_diagonal, diagonal
):
    dense = _bilinear(off_diagonal)
    (parameter,) = plan(net_of(INPUT + DECONV.format(lr_mult), up=[dense])).parameters()
    assert parameter.diagonal is diagonal
    expected = np.stack([dense[c, c][None] for c in range(3)]) if diagonal else dense
    np.testing.assert_array_equal(parameter.read(), expected)


def test_a_crop_of_the_cvpr_nets_is_aligned():
    pool = 'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param {' + (
        " kernel_size: 4 stride: 2 pad: 3 } }"
    )
    up = DECONV.format(0).replace('bottom: "data"', 'bottom: "pool"')
    crop = (
        'layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "y" crop_param { align: true } }'
    )
    crop = plan(net_of(INPUT + pool + up + crop)).steps[-1].layer.fields.crop_param
    assert (crop.axis, crop.offset, crop.align) == (2, (3,), False)


def test_a_plan_of_a_stages_net_can_be_planned_again():
    net = net_of(INPUT + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a" include { stage: "x" } }')
    planned = plan(net, stages=["x"])
    assert plan(planned.net).outputs == planned.outputs == ("a",)


@pytest.mark.parametrize(("multipliers", "problem"), [
    ("lr_mult: 2|lr_mult: 0", r"layers share 'a.weight' and give it lr_mult 0, 2; Caffe wants one value"),
    ("decay_mult: 1|decay_mult: 3", r"layers share 'a.weight' and give it decay_mult 1, 3; Caffe wants one"),
])  # fmt: skip
def test_sharers_with_other_multipliers(multipliers, problem):
    prelu = """layer {{ name: "{0}" type: "PReLU" bottom: "data" top: "{0}" param {{ name: "p" {1} }} }}"""
    first, second = multipliers.split("|")
    with pytest.raises(NetError, match=problem):
        plan(net_of(INPUT + prelu.format("a", first) + prelu.format("b", second)))
    plan(net_of(INPUT + prelu.format("a", first) + prelu.format("b", "")))


def test_a_bottom_without_the_axes_that_its_layer_needs():
    box = """layer { name: "p" type: "PriorBox" bottom: "x" bottom: "x" top: "p"
    prior_box_param { min_size: 3 } }"""
    net = net_of('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }' + box)
    with pytest.raises(
        UnsupportedLayer, match=r"'p' \(PriorBox\): its bottoms \(2, 3\), \(2, 3\) have fewer"
    ):
        plan(net)


def test_force_backward_asks_for_gradients_that_propagate_down_would_not():
    layers = (
        f'{INPUT} layer {{ name: "f" type: "Power" bottom: "data" top: "f" }}'
        'layer { name: "a" type: "Threshold" bottom: "f" top: "a" propagate_down: false }'
        'layer { name: "l" type: "EuclideanLoss" bottom: "a" bottom: "data" top: "l" }'
    )
    assert plan(net_of(layers), "TRAIN").losses
    with pytest.raises(UnsupportedLayer, match="has no gradient for its bottom 'f'"):
        plan(net_of(f"force_backward: true {layers}"), "TRAIN")


def test_a_number_that_must_not_be_0():
    box = """layer { name: "p" type: "PriorBox" bottom: "data" bottom: "data" top: "p"
    prior_box_param { min_size: 3 aspect_ratio: 0 } }"""
    with pytest.raises(UnsupportedLayer, match=r"'p' \(PriorBox\): one of its numbers is 0 or too large"):
        plan(net_of(INPUT + box))


def test_a_split_of_nothing():
    with pytest.raises(UnsupportedLayer, match=r"'s' \(Split\): needs 1 bottom, has 0"):
        plan(net_of(INPUT + 'layer { name: "s" type: "Split" top: "s" }'))
