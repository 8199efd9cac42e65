"""What is not converted is refused, with the layer and the parameter by name; never run to a wrong number."""

from __future__ import annotations

import numpy as np
import pytest

from caffe2torch.errors import UnsupportedLayer
from tests.single_layer import one_layer, run

IMAGE = (2, 6, 5, 7)

# Not implemented, or without a meaning here: the layer, its bottoms, its tops, what the message names.
UNSUPPORTED = [
    ("type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 2 }", [IMAGE], 1, "pool: STOCHASTIC"),
    ("type: 'SPP' spp_param { pool: STOCHASTIC pyramid_height: 2 }", [IMAGE], 1, "pool: STOCHASTIC"),
    ("type: 'SPP' spp_param { pyramid_height: 2147483647 }", [IMAGE], 1, "pyramid_height"),
    (
        "type: 'Python' python_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' "
        f"param_str: '{'-' * 100_000}1' }}",
        [IMAGE],
        1,
        "param_str",
    ),
    ("type: 'Pooling' pooling_param { kernel_size: 2 }", [(2, 3, 4, 5, 6)], 1, "5 axes"),
    ("type: 'InfogainLoss' infogain_loss_param { source: 'H.bin' }", [(2, 3), (2,)], 1, "source: 'H.bin'"),
    (
        "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 1 axis: 2 }",
        [(2, 3)],
        1,
        "axis: 2",
    ),
    (
        "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 1 }",
        [(1, 2, 3, 4, 5, 6)],
        1,
        "axis: 1 leaves 4 axes",
    ),
    ("type: 'Python' python_param { module: 'rpn' layer: 'Anchors' }", [IMAGE], 1, "'rpn.Anchors'"),
    ("type: 'LSTM' recurrent_param { num_output: 3 }", [(5, 2, 4)], 1, "2 to 5 bottoms"),
    ("type: 'Eltwise' propagate_down: false", [IMAGE] * 2, 1, "1 propagate_down"),
    ("type: 'Slice' loss_weight: 1", [IMAGE], 2, "1 loss_weight"),
    ("type: 'EuclideanLoss' loss_weight: 1 loss_weight: 2", [IMAGE] * 2, 1, "2 loss_weight"),
    ("type: 'Nonesuch'", [IMAGE], 1, "no converter for this layer type"),
    (  # R-CNN's
        "type: 'SoftmaxWithLoss' loss_param { normalization: PRE_FIXED }",
        [(2, 3), (2,)],
        1,
        "normalization: PRE_FIXED",
    ),
    ("type: 'HDF5Data' hdf5_data_param { source: 'list.txt' }", [IMAGE], 1, "needs no bottoms"),
]

# Caffe stops at these, too: its CHECKs, not torch's ideas of the same parameters.
ILLEGAL = [
    ("type: 'Pooling' pooling_param { pool: AVE kernel_size: 2 }", [IMAGE], 2, "only pool: MAX"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 pad: 2 }", [IMAGE], 1, "pad"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 kernel_h: 3 }", [IMAGE], 1, "kernel_size and kernel_h"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 pad_h: 1 }", [IMAGE], 1, "pad_h and pad_w go together"),
    ("type: 'Pooling' pooling_param { kernel_h: 2 }", [IMAGE], 1, "kernel_h and kernel_w go together"),
    ("type: 'Pooling' pooling_param { global_pooling: true kernel_size: 5 }", [IMAGE], 1, "and a kernel are"),
    ("type: 'Pooling' pooling_param { global_pooling: true pad: 1 }", [IMAGE], 1, "global_pooling"),
    ("type: 'Pooling' pooling_param { }", [IMAGE], 1, "kernel"),
    ("type: 'LRN' lrn_param { local_size: 4 }", [IMAGE], 1, "local_size: 4"),
    ("type: 'Dropout' dropout_param { dropout_ratio: 1 }", [IMAGE], 1, "dropout_ratio: 1"),
    ("type: 'Eltwise' eltwise_param { operation: PROD coeff: 1 coeff: 2 }", [IMAGE] * 2, 1, "coeff"),
    ("type: 'Eltwise' eltwise_param { operation: MAX }", [IMAGE], 1, "operation: MAX"),
    ("type: 'Eltwise' eltwise_param { coeff: 1 }", [IMAGE] * 2, 1, "1 coeff for 2 bottoms"),
    ("type: 'Eltwise'", [IMAGE, (2, 1, 5, 7)], 1, "differ"),
    ("type: 'Concat' concat_param { axis: 4 }", [IMAGE] * 2, 1, "axis: 4"),
    ("type: 'Concat'", [IMAGE, (3, 6, 5, 7)], 1, "differ on axes other than 1"),
    ("type: 'Slice' slice_param { axis: 1 slice_dim: 1 }", [IMAGE], 2, "axis and slice_dim"),
    ("type: 'Slice' slice_param { slice_point: 2 }", [IMAGE], 3, "slice_point"),
    ("type: 'Slice' slice_param { slice_point: 4 slice_point: 2 }", [IMAGE], 3, "slice_point"),
    ("type: 'Slice' slice_param { slice_point: 6 }", [IMAGE], 2, "slice_point: 6"),
    ("type: 'Slice' slice_param { axis: 2 }", [IMAGE], 2, "axis 2"),
    ("type: 'Crop' crop_param { axis: 2 offset: 1 offset: 1 offset: 1 }", [IMAGE] * 2, 1, "3 offsets"),
    ("type: 'Reshape' reshape_param { shape { dim: -1 dim: -1 } }", [IMAGE], 1, "shape: (-1, -1)"),
    ("type: 'Reshape' reshape_param { shape { dim: 4 dim: -1 } }", [(3, 5)], 1, "shape: (4, -1)"),
    ("type: 'Reshape' reshape_param { axis: 2 num_axes: 3 }", [IMAGE], 1, "num_axes: 3"),
    ("type: 'Flatten' flatten_param { axis: 2 end_axis: 1 }", [IMAGE], 1, "end_axis: 1"),
    ("type: 'Softmax' softmax_param { axis: 4 }", [IMAGE], 1, "axis: 4"),
    ("type: 'Reduction' reduction_param { axis: -5 }", [IMAGE], 1, "axis: -5"),
    ("type: 'Tile'", [IMAGE], 1, "tiles"),
    ("type: 'ArgMax' argmax_param { axis: 1 top_k: 7 }", [IMAGE], 1, "top_k: 7"),
    ("type: 'Accuracy' accuracy_param { top_k: 7 }", [(2, 6), (2,)], 1, "top_k: 7"),
    ("type: 'Clip' clip_param { min: 1 }", [IMAGE], 1, "max"),
    ("type: 'Exp' exp_param { base: -2 }", [IMAGE], 1, "base: -2"),
    ("type: 'Embed' embed_param { num_output: 3 }", [(4,)], 1, "input_dim"),
    ("type: 'Scale' scale_param { axis: 3 num_axes: 2 }", [IMAGE], 1, "num_axes: 2"),
    ("type: 'PReLU'", [(5,)], 1, "axis 1"),
    ("type: 'InnerProduct'", [IMAGE], 1, "num_output"),
    (
        "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 2 kernel_h: 3 }",
        [IMAGE],
        1,
        "kernel_size",
    ),
    (
        "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 1 stride: 0 }",
        [IMAGE],
        1,
        "stride",
    ),
    (
        "type: 'Deconvolution' convolution_param { num_output: 4 group: 4 kernel_size: 1 }",
        [IMAGE],
        1,
        "group: 4",
    ),
    ("type: 'Convolution' convolution_param { num_output: 4 kernel_size: 9 }", [IMAGE], 1, "too small"),
    ("type: 'Convolution' convolution_param { kernel_size: 1 }", [IMAGE], 1, "num_output"),
    (
        "type: 'Convolution' convolution_param { num_output: 5 group: 2 kernel_size: 1 }",
        [IMAGE],
        1,
        "num_output: 5 is not a multiple of group: 2",
    ),
    ("type: 'Im2col' convolution_param { kernel_size: 1 axis: 3 }", [IMAGE], 1, "axis: 3 leaves no axes"),
    ("type: 'Pooling' pooling_param { kernel_size: 9 }", [IMAGE], 1, "too small for the kernel (9, 9)"),
    ("type: 'SPP' spp_param { }", [IMAGE], 1, "pyramid_height must be given"),
    ("type: 'Log' log_param { base: 1 }", [IMAGE], 1, "base: 1"),
    ("type: 'Filter'", [IMAGE, (2,)], 2, "2 tops need as many bottoms"),
    ("type: 'Reshape' reshape_param { num_axes: -2 }", [IMAGE], 1, "num_axes: -2"),
    ("type: 'Reshape' reshape_param { shape { dim: 0 dim: 3 dim: 0 } }", [(2, 3)], 1, "has a 0 for an axis"),
    (
        "type: 'Input' input_param { shape { dim: 2 } shape { dim: 3 } }",
        [],
        3,
        "2 shapes for 3 tops",
    ),
    ("type: 'RNN' recurrent_param { }", [(5, 2, 4), (5, 2)], 1, "num_output"),
    ("type: 'RNN' recurrent_param { num_output: 3 }", [(5, 2), (5, 2)], 1, "(5, 2) must be (time, items"),
    (
        "type: 'LSTM' recurrent_param { num_output: 3 expose_hidden: true }",
        [(5, 2, 4), (5, 2)],
        3,
        "needs 4 bottoms, or one more with a static input; has 2",
    ),
    ("type: 'SoftmaxWithLoss'", [IMAGE], 1, "2 bottoms"),
    (
        "type: 'InfogainLoss' loss_param { normalize: true }",
        [(2, 3), (2,), (3, 3)],
        1,
        "normalize",
    ),
]


@pytest.mark.parametrize(("layer", "bottoms", "tops", "parameter"), UNSUPPORTED + ILLEGAL)
def test_refused_when_the_net_is_built(layer, bottoms, tops, parameter):
    with pytest.raises(UnsupportedLayer) as refusal:
        one_layer(layer, bottoms, tops)
    assert str(refusal.value).startswith(f"layer 'l' ({layer.split(chr(39))[1]}): ")
    assert parameter in str(refusal.value)


@pytest.mark.parametrize(
    ("layer", "stated", "given", "parameter"),
    [
        ("type: 'Eltwise'", [(2, 3), (2, 3)], [(2, 3), (2, 1)], "(2, 1)"),
        ("type: 'Scale' scale_param { axis: 0 }", [(2, 3), (2,)], [(2, 3), (1,)], "(1,)"),
        ("type: 'Reshape' reshape_param { shape { dim: 6 } }", [(2, 3)], [(2, 4)], "shape: (6,)"),
        ("type: 'Slice'", [(2, 4)], [(2, 5)], "5 values on axis 1"),
        ("type: 'Crop' crop_param { axis: 1 offset: 2 }", [(2, 5), (2, 3)], [(2, 4), (2, 3)], "offset 2"),
        ("type: 'SoftmaxWithLoss'", [(2, 3), (2,)], [(2, 3), (3,)], "(3,)"),
        ("type: 'EuclideanLoss'", [(2, 3), (2, 3)], [(2, 3), (2, 1)], "(2, 1)"),
        ("type: 'HingeLoss'", [(2, 3), (2,)], [(2, 3), (1,)], "(1,)"),
        ("type: 'HingeLoss'", [(2, 3), (2,)], [(2, 3), (2, 2)], "2 items need as many labels, found (2, 2)"),
        ("type: 'SoftmaxWithLoss'", [(2, 3), (2,)], [(2, 3), (2, 2)], "need (2, 1) labels, found (2, 2)"),
        ("type: 'InfogainLoss'", [(2, 3), (2,), (3, 3)], [(2, 3), (2,), (3, 2)], "must hold 3 x 3 values"),
        ("type: 'Accuracy'", [(2, 3), (2,)], [(2, 3), (3,)], "2 labels are needed, found (3,)"),
        ("type: 'Filter'", [(2, 3), (2,)], [(2, 3), (1,)], "(1,)"),
        ("type: 'SPP' spp_param { pyramid_height: 3 }", [(1, 2, 8, 8)], [(1, 2, 5, 8)], "pad"),
    ],
)
def test_refused_when_it_meets_an_input(layer, stated, given, parameter):
    """A net runs at any size, so some sizes are only seen then; torch would broadcast most of these."""
    import torch

    model = one_layer(layer, stated, 2 if layer == "type: 'Slice'" else 1)
    with pytest.raises(UnsupportedLayer) as refusal:
        model(*(torch.ones(shape) for shape in given))
    assert str(refusal.value).startswith("layer 'l' (")
    assert parameter in str(refusal.value)


def test_what_is_legal_beside_the_refused_runs():
    """The refusals are not blanket: the nearest legal parameters work."""
    x = np.ones(IMAGE, np.float32)
    assert run("type: 'Slice' slice_param { slice_point: 5 }", x, tops=2)[1].shape == (2, 1, 5, 7)
    assert run("type: 'ArgMax' argmax_param { axis: 1 top_k: 6 }", x)[0].shape == IMAGE
    assert run("type: 'Reduction' reduction_param { axis: -4 }", x)[0].shape == ()
    assert run("type: 'Pooling' pooling_param { kernel_size: 2 pad: 1 }", x)[0].shape == (2, 6, 6, 8)
    assert run("type: 'LRN' lrn_param { local_size: 3 }", x)[0].shape == IMAGE
