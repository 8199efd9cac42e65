"""Fields that forks added to Caffe's own layers: honoured, or refused, as a wrong number would be worse.

And what phase TEST makes of the nets that forks train.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from google.protobuf import text_format

from caffe2torch import schema
from caffe2torch.errors import UnsupportedLayer
from caffe2torch.modules.caffe_net import build
from caffe2torch.net import from_message
from caffe2torch.net.fields import freeze
from caffe2torch.plan import plan
from caffe2torch.plan.phase import for_phase
from caffe2torch.upgrades import upgrade_net
from tests.nets import INPUT, net_of
from tests.single_layer import assert_close, one_layer, run, within_channel

rng = np.random.default_rng(17)


def noise(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def test_pooling_fused_into_an_lrn():
    x = noise(2, 3, 6, 8)
    lrn = "norm_region: WITHIN_CHANNEL local_size: 3 alpha: 0.8 beta: 0.6"
    fused = "fuse_type: FUSED_POOL_MAX pooling_param { kernel_size: 3 stride: 2 }"
    (y,) = run(f"type: 'LRN' lrn_param {{ {lrn} {fused} }}", x)
    normalized = within_channel(x, 3, 0.8, 0.6)
    windows = [[normalized[:, :, i : i + 3, j : j + 3].max((2, 3)) for j in (0, 2, 4, 6)] for i in (0, 2, 4)]
    assert_close(y, np.moveaxis(np.array(windows), (0, 1), (2, 3)))


def test_pooling_never_read_its_norm_region():
    x = noise(2, 3, 4, 6)
    (y,) = run("type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 norm_region: WITHIN_CHANNEL }", x)
    assert_close(y, x.reshape(2, 3, 2, 2, 3, 2).max((3, 5)))


@pytest.mark.parametrize(
    ("param", "slope"),
    [
        ("fuse_type: FUSED_CONV_RELU", 0),
        ("fuse_type: FUSED_CONV_RELU relu_param { negative_slope: 0.25 }", 0.25),
        ("relu: true", 0),
        ("relu: true negative_slope: 0.25", 0.25),
        ("negative_slope: 0.25", 1),
        ("relu_param { negative_slope: 0.25 }", 1),
    ],
)
def test_relu_fused_into_a_convolution(param, slope):
    x, weight, bias = noise(2, 3, 4, 5), noise(6, 3, 1, 1), noise(6)
    layer = f"type: 'Convolution' convolution_param {{ num_output: 6 kernel_size: 1 {param} }}"
    (y,) = run(layer, x, blobs=[weight, bias])
    linear = np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias.reshape(6, 1, 1)
    assert_close(y, np.where(linear > 0, linear, slope * linear))


@pytest.mark.parametrize(("param", "holes"), [("hole: 2", (2, 2)), ("hole_h: 3 hole_w: 2", (3, 2))])
def test_hole_is_a_dilation(param, holes):
    x, weight = noise(2, 3, 9, 8), noise(4, 3, 3, 3)
    expected = np.zeros((2, 4, 9 - 2 * holes[0], 8 - 2 * holes[1]))
    for n, o, row, column in np.ndindex(*expected.shape):
        window = x[
            n, :, row : row + 2 * holes[0] + 1 : holes[0], column : column + 2 * holes[1] + 1 : holes[1]
        ]
        expected[n, o, row, column] = (weight[o] * window).sum()
    layer = f"convolution_param {{ num_output: 4 kernel_size: 3 bias_term: false {param} }}"
    for kind in ("Convolution", "HoleConvolution"):
        (y,) = run(f"type: '{kind}' {layer}", x, blobs=[weight])
        assert_close(y, expected)


@pytest.mark.parametrize(("param", "places"), [("", 3), ("ceil_mode: true", 3), ("ceil_mode: false", 2)])
def test_ceil_mode(param, places):
    x = noise(2, 3, 6, 6)
    (y,) = run(f"type: 'Pooling' pooling_param {{ kernel_size: 3 stride: 2 {param} }}", x)
    windows = [[x[:, :, i : i + 3, j : j + 3].max((2, 3)) for j in (0, 2, 4)] for i in (0, 2, 4)]
    assert_close(y, np.moveaxis(np.array(windows), (0, 1), (2, 3))[:, :, :places, :places])


def test_dropout_that_scales_where_it_drops_nothing():
    x, layer = (
        np.abs(noise(50, 60)) + 1,
        "type: 'Dropout' dropout_param { dropout_ratio: 0.25 scale_train: false }",
    )
    assert_close(run(layer, x)[0], 0.75 * x)
    (dropped,) = run(layer, x, phase="TRAIN")
    assert_close(dropped[dropped > 0], x[dropped > 0])
    assert 0.7 < (dropped > 0).mean() < 0.8


def test_batch_norm_with_intels_filler_and_three_param():
    x, mean, variance = noise(2, 3, 4, 5), noise(3), np.abs(noise(3)) + 0.5
    layer = "type: 'BatchNorm' batch_norm_param { filler { value: 1 } }" + " param { lr_mult: 0 }" * 3
    (y,) = run(layer, x, blobs=[mean, variance, np.ones(1)])
    assert_close(y, (x - mean.reshape(3, 1, 1)) / np.sqrt(variance.reshape(3, 1, 1) + 1e-5))


IMAGE, ROIS = (2, 6, 5, 7), (4, 5)
CONV = "type: 'Convolution' convolution_param { num_output: 4 kernel_size: 1 "

# A layer with a field of a fork, its bottoms, and what the message names.
UNHONOURED = [
    (CONV + "kernel_depth: 3 }", [IMAGE], "convolution_param.kernel_depth is a field of a fork"),
    (
        CONV + "weight_filler { diag_val: 1 } } quantization_param { bw_params: 8 }",
        [IMAGE],
        "quantization_param",
    ),
    (CONV + "} param_bottoms: 2", [IMAGE], "param_bottoms"),
    ("type: 'Deconvolution' convolution_param { num_output: 4 kernel_size: 1 relu: true }", [IMAGE], "relu"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 kernel_depth: 3 }", [IMAGE], "kernel_depth"),
    ("type: 'Softmax' convolution_param { hole: 2 }", [IMAGE], "convolution_param.hole"),
    (
        "type: 'InnerProduct' inner_product_param { num_output: 4 } roi_pooling_param { pooled_h: 2 }",
        [IMAGE],
        "roi_pooling_param",
    ),
    ("type: 'BatchNorm' batch_norm_param { filler { value: 1 } }", [IMAGE], "filler, bias_filler"),
    ("type: 'BatchNorm' batch_norm_param { relu: true }", [IMAGE], "batch_norm_param.relu"),
    ("type: 'LRN' lrn_param { fuse_type: FUSED_POOL_MAX pooling_param { pool: AVE } }", [IMAGE], "pool: AVE"),
    ("type: 'ReLU6' relu_param { negative_slope: 0.1 }", [IMAGE], "negative_slope"),
]

# What a fork's own layer does not do here, or does not allow itself.
UNSUPPORTED = [
    ("type: 'BN' bn_param { bn_mode: LEARN momentum: 0.9 }", [IMAGE], "SegNet and yjxiong/caffe"),
    ("type: 'BN' bn_param { var_eps: 1e-4 axis: 2 }", [IMAGE], "axis: 2"),
    (CONV + "hole: 2 dilation: 2 }", [IMAGE], "hole: (2, 2) must be positive"),
    ("type: 'Interp' interp_param { shrink_factor: 0 }", [IMAGE], "shrink_factor: 0 must be positive"),
    ("type: 'Interp' interp_param { zoom_factor: 2 pad_beg: -5 }", [IMAGE], "-1 pixels high"),
    ("type: 'Interp'", [IMAGE], "zoom_factor, shrink_factor, or height and width"),
    ("type: 'Interp' interp_param { zoom_factor: 2 interp_type: 'nearest' }", [IMAGE], "nearest"),
    ("type: 'Interp' interp_param { zoom_factor: 2 pad_beg: 1 }", [IMAGE], "pad_beg: 1"),
    ("type: 'Interp' interp_param { zoom_factor: 2 }", [IMAGE, IMAGE], "a second one"),
    ("type: 'Upsample' upsample_param { upsample_h: 5 }", [IMAGE, IMAGE], "upsample_h and upsample_w"),
    ("type: 'Upsample' upsample_param { scale: 3 pad_out_h: true }", [IMAGE, IMAGE], "pad_out_h"),
    ("type: 'Upsample' upsample_param { upsample_h: 5 upsample_w: 7 }", [IMAGE], "only scale"),
    ("type: 'Unpooling' pooling_param { pool: AVE kernel_size: 2 }", [IMAGE, IMAGE], "only pool: MAX"),
    ("type: 'Unpooling' pooling_param { pool: MAX kernel_size: 2 stride: 0 }", [IMAGE] * 2, "positive"),
    ("type: 'Upsample'", [(2, 6, 5)] * 2, "needs a bottom of 4 axes, it has 3"),
    ("type: 'Permute' permute_param { order: 1 order: 1 }", [IMAGE], "twice"),
    ("type: 'Permute' permute_param { order: 4 }", [IMAGE], "4 axes"),
    ("type: 'PriorBox' prior_box_param { }", [IMAGE, IMAGE], "min_size"),
    ("type: 'PriorBox' prior_box_param { min_size: 9 max_size: 8 }", [IMAGE, IMAGE], "max_size"),
    ("type: 'PriorBox' prior_box_param { min_size: 9 }", [IMAGE], "img_size"),
    (
        "type: 'PriorBox' prior_box_param { min_size: 9 variance: 1 variance: 2 }",
        [IMAGE] * 2,
        "1 or 4 variance",
    ),
    (
        "type: 'PriorBox' prior_box_param { min_size: 9 img_size: 9 img_h: 9 img_w: 9 }",
        [IMAGE] * 2,
        "takes img_size, or positive img_h and img_w",
    ),
    ("type: 'DetectionOutput'", [IMAGE] * 3, "num_classes"),
    (
        "type: 'DetectionOutput' detection_output_param { num_classes: 3 share_location: false }",
        [IMAGE] * 5,
        "only with share_location",
    ),
    (
        "type: 'DetectionOutput' detection_output_param { num_classes: 3 nms_param { eta: 0 } }",
        [IMAGE] * 3,
        "eta over 0",
    ),
    ("type: 'YoloDetectionOutput'", [IMAGE], "num_classes must be given"),
    ("type: 'ROIPooling' roi_pooling_param { pooled_h: 2 }", [IMAGE, ROIS], "pooled_w"),
    ("type: 'ROIPooling' roi_pooling_param { pooled_h: 2 pooled_w: 2 }", [IMAGE], "2 bottoms"),
    (
        "type: 'PSROIPooling' psroi_pooling_param { output_dim: 2 group_size: 2 }",
        [IMAGE, ROIS],
        "needs spatial_scale",
    ),
    (
        "type: 'PSROIPooling' psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 }",
        [IMAGE, ROIS],
        "8 channels",
    ),
    ("type: 'ShuffleChannel' shuffle_channel_param { group: 4 }", [IMAGE], "group: 4"),
    (
        "type: 'ConvolutionDepthwise' convolution_param { num_output: 4 kernel_size: 1 }",
        [IMAGE],
        "6 channels",
    ),
    (
        "type: 'Correlation' correlation_param { kernel_size: 2 max_displacement: 1 }",
        [IMAGE, IMAGE],
        "odd kernel_size",
    ),
    (
        "type: 'Correlation' correlation_param { kernel_size: 1 max_displacement: 1 do_abs: true }",
        [IMAGE, IMAGE],
        "do_abs",
    ),
    (
        "type: 'Correlation' correlation_param { kernel_size: 1 max_displacement: 4 }",
        [IMAGE, IMAGE],
        "do not fit a bottom of 5 pixels",
    ),
    ("type: 'Downsample' downsample_param { top_height: 3 }", [IMAGE], "top_height and top_width over 1"),
    ("type: 'Resample' resample_param { type: AREA height: 2 width: 2 }", [IMAGE], "AREA"),
    (
        "type: 'Resample' resample_param { type: LINEAR factor: 2 }",
        [IMAGE],
        "whole factor with type: NEAREST",
    ),
    ("type: 'Resample' resample_param { type: NEAREST factor: 1.5 }", [IMAGE], "whole factor"),
    ("type: 'Resample' resample_param { type: NEAREST factor: 2 }", [IMAGE, IMAGE], "no other size"),
    (
        "type: 'Resample' resample_param { type: NEAREST factor: 2 height: 2 width: 2 }",
        [IMAGE],
        "no other size",
    ),
    ("type: 'Resample' resample_param { factor: 1 }", [IMAGE], "needs height and width"),
    ("type: 'CropCenter' crop_center_param { crop_size: 1 }", [IMAGE], "4 axes"),
    (
        "type: 'CropCenter' crop_center_param { crop_size: 0 crop_size: 0 crop_size: 0 crop_size: 4 }",
        [IMAGE],
        "both ends of 7",
    ),
    ("type: 'SimpleCrop'", [IMAGE], "blob_name"),
    ("type: 'Local' local_param { num_output: 2 kernel_size: 6 }", [IMAGE], "does not fit"),
    ("type: 'SpatialPyramidPooling' spatial_pyramid_pooling_param { spatial_bin: 6 }", [IMAGE], "too small"),
    ("type: 'Local' local_param { num_output: 2 }", [IMAGE], "positive num_output, kernel_size"),
    (
        "type: 'SpatialPyramidPooling' spatial_pyramid_pooling_param { spatial_bin: 2 pool: AVE }",
        [IMAGE],
        "pool: MAX",
    ),
    ("type: 'CenterLoss'", [(2, 3), (2,)], "needs num_output"),
    (
        "type: 'Python' python_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' "
        "param_str: '{\"p\": 1}' }",
        [IMAGE],
        "p: 1.0 must be over 0 and under 1",
    ),
    ("type: 'ColorConv' color_conv_param { input: Lab }", [(2, 3, 5, 7)], "input: Lab"),
    ("type: 'TopK' topk_param { k: 3 }", [IMAGE], "positive k, a"),
    ("type: 'ContinuationIndicator' continuation_indicator_param { batch_size: 3 }", [], "time_step"),
    ("type: 'ColorConv' color_conv_param { input: RGB output: Lab }", [IMAGE], "3 channels"),
    ("type: 'Accum' accum_param { size_divisible_by: 64 }", [IMAGE], "size_divisible_by"),
    ("type: 'MultiBoxLoss'", [IMAGE], "does not train here"),
    ("type: 'Reorg'", [IMAGE], "caffe-yolo9000"),
    ("type: 'MultiStageMeanfield'", [IMAGE] * 3, "theta_alpha"),
]


@pytest.mark.parametrize(("layer", "bottoms", "names"), UNHONOURED + UNSUPPORTED)
def test_refusals(layer, bottoms, names):
    with pytest.raises(UnsupportedLayer) as refusal:
        one_layer(layer, bottoms)
    assert names in str(refusal.value)
    assert "layer 'l'" in str(refusal.value)


# Where only the arrays tell.
@pytest.mark.parametrize(
    ("layer", "bottoms", "names"),
    [
        ("type: 'Axpy'", [(2, 4), IMAGE, IMAGE], "(N, C)"),
        ("type: 'Accum'", [IMAGE, (2, 6, 4, 7)], "differ in size"),
        ("type: 'Downsample'", [IMAGE, IMAGE], "wanted size"),
        ("type: 'Resample' resample_param { height: 10 width: 7 }", [IMAGE], "differ"),
        ("type: 'Resample'", [(1, 2, 4, 4, 4)] * 2, "height and width"),
        ("type: 'FlowWarp'", [IMAGE, (2, 2, 5, 6)], "does not fit"),
        ("type: 'SimpleCrop'", [IMAGE, (2, 6, 5, 8)], "5 x 8"),
        ("type: 'TopK' topk_param { k: 6 a: 0.5 }", [(2, 5)], "6 values"),
        ("type: 'ROIPooling' roi_pooling_param { pooled_h: 2 pooled_w: 2 }", [IMAGE, (3, 4)], "5 numbers"),
        ("type: 'SmoothL1Loss'", [(2, 3), (2, 4)], "differ"),
    ],
)
def test_refusals_of_shapes(layer, bottoms, names):
    with pytest.raises(UnsupportedLayer) as refusal:
        run(layer, *(np.ones(shape) for shape in bottoms), phase="TRAIN")
    assert names in str(refusal.value)


def test_refusals_of_another_size_than_planned():
    local = "type: 'Local' local_param { num_output: 2 kernel_size: 3 }"
    net = one_layer(local, [(1, 3, 5, 7)], blobs=[noise(2, 1, 27, 15), noise(1, 1, 2, 15)])
    with pytest.raises(UnsupportedLayer, match="has weights for 15 places, its bottom has 3 x 6"):
        net(torch.ones(1, 3, 5, 8))
    net = one_layer("type: 'Upsample'", [IMAGE, IMAGE])
    with pytest.raises(UnsupportedLayer, match=r"\(2, 6, 5, 7\) and its mask \(2, 6, 5, 8\) differ"):
        net(torch.ones(IMAGE), torch.ones(2, 6, 5, 8))


def test_refusals_of_values():
    window = "roi_pooling_param { pooled_h: 2 pooled_w: 2 }"
    with pytest.raises(UnsupportedLayer, match="not among the 2"):
        run(f"type: 'ROIPooling' {window}", noise(*IMAGE), [[2, 0, 0, 4, 4]])
    with pytest.raises(UnsupportedLayer, match="the pooling saw a larger image"):
        run("type: 'Upsample'", noise(1, 1, 2, 2), [[[[0, 1], [2, 16]]]])


def test_fields_that_say_where_to_compute_change_nothing():
    layer = (
        CONV
        + "conv_algorithm: 'winograd' engine: MKLDNN weight_filler { diag_val: 1 } } device { type: GPU }"
    )
    x, weight, bias = noise(*IMAGE), noise(4, 6, 1, 1), noise(4)
    (y,) = run(layer, x, blobs=[weight, bias])
    assert_close(y, np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias.reshape(4, 1, 1))


def test_fields_of_forks_are_told_by_their_paths():
    text = """
        convolution_param { num_output: 4 hole: 2 relu: false weight_filler { diag_val: 3 } }
        pooling_param { ceil_mode: true kernel_size: 2 }
        permute_param { order: 1 }
        """
    fields = freeze(text_format.Parse(text, schema.message("LayerParameter")()))
    assert set(fields.fork_fields()) == {
        "convolution_param.hole",
        "convolution_param.weight_filler.diag_val",
        "permute_param",
    }


def derived(text: str) -> list[str]:
    """The names of the layers that phase TEST keeps, in a net that runs."""
    net = for_phase(net_of(text), "TEST")
    plan(net, "TEST")
    return [layer.name for layer in net.layers]


def layer(name: str, kind: str, bottoms: str, tops: str, param: str = "") -> str:
    ends = [f'bottom: "{bottom}"' for bottom in bottoms.split()] + [f'top: "{top}"' for top in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {param} }}\n'


CONV3 = "convolution_param { num_output: 3 kernel_size: 1 }"
DATA = layer("in", "Data", "", "data label", "data_param { batch_size: 2 }")


def test_r_fcn_takes_every_region_and_mines_no_hard_ones():
    targets = "python_param { module: 'rpn.proposal_target_layer' layer: 'ProposalTargetLayer' }"
    net = (
        layer("in", "Data", "", "data label", "data_param { batch_size: 2 }")
        + layer("rois", "Input", "", "rois")
        + layer("sample", "Python", "rois label", "sampled labels", targets)
        + layer("pool", "ROIPooling", "data sampled", "pool", "roi_pooling_param { pooled_h: 2 pooled_w: 2 }")
        + layer("box", "Convolution", "pool", "box", CONV3)
        + layer("each", "SmoothL1LossOHEM", "box labels", "each")
        + layer("other", "SoftmaxWithLossOHEM", "box labels", "other")
        + layer("both", "Eltwise", "each other", "both")
        + layer("ohem", "BoxAnnotatorOHEM", "rois both labels", "hard")
        + layer("loss", "SmoothL1Loss", "box hard", "loss")
    )
    assert derived(net) == ["data", "rois", "pool", "box"]
    assert for_phase(net_of(net), "TEST").layers[2].bottoms == ("data", "rois")


def test_the_losses_of_ssd_go():
    net = (
        DATA
        + layer("loc", "Convolution", "data", "loc", CONV3)
        + layer("prior", "PriorBox", "loc data", "prior", "prior_box_param { min_size: 4 }")
        + layer("loss", "MultiBoxLoss", "loc loc prior label", "loss")
        + layer("silence", "Silence", "loss", "")
    )
    assert derived(net) == ["data", "loc", "prior"]


def test_what_only_weighs_a_loss_goes_with_it():
    python = "python_param {{ module: 'caffe_traininglayers' layer: '{}' }}"
    net = (
        DATA
        + layer("score", "Convolution", "data", "score", CONV3)
        + layer("codes", "Python", "label", "codes", python.format("NNEncLayer"))
        + layer("mask", "Python", "label", "mask", python.format("NonGrayMaskLayer"))
        + layer("prior", "Python", "codes", "boost", python.format("PriorBoostLayer"))
        + layer("weigh", "Eltwise", "boost mask", "weight", "eltwise_param { operation: PROD }")
        + layer("rebalance", "Python", "score weight", "balanced", python.format("ClassRebalanceMultLayer"))
        + layer("loss", "SoftmaxCrossEntropyLoss", "balanced codes", "loss")
    )
    assert derived(net) == ["data", "score"]


def test_a_silence_keeps_what_is_left():
    net = (
        DATA
        + layer("score", "Convolution", "data", "score", CONV3)
        + layer("shown", "Convolution", "data", "hidden", CONV3)
        + layer("loss", "L1Loss", "score label", "loss")
        + layer("silence", "Silence", "loss hidden", "")
    )
    kept = for_phase(net_of(net), "TEST").layers
    assert [(x.name, x.bottoms) for x in kept][-1] == ("silence", ("hidden",))


def test_data_of_forks_becomes_inputs_of_the_shapes_that_it_tells():
    dense = "dense_image_data_param { batch_size: 2 new_height: 8 new_width: 9 }"
    net = layer("in", "DenseImageData", "", "data label", dense) + layer(
        "score", "Convolution", "data", "score", CONV3
    )
    planned = plan(net_of(net + layer("loss", "SoftmaxWithLoss", "score label", "loss")), "TEST")
    assert list(planned.inputs.items()) == [("data", (2, 3, 8, 9))]


@pytest.mark.parametrize(
    ("data", "param", "shape"),
    [
        (
            "CPMData",
            "data_param { batch_size: 2 } cpm_transform_param { crop_size_x: 9 crop_size_y: 8 }",
            (2, None, 8, 9),
        ),
        (
            "WindowSegData",
            "image_data_param { batch_size: 2 new_height: 9 new_width: 9 } transform_param { crop_size: 8 }",
            (2, 3, 8, 8),
        ),
        ("ImageLabelmapData", "image_data_param { batch_size: 2 }", (2, 3, None, None)),
        (
            "DenseImageData",
            "dense_image_data_param { batch_size: 2 new_height: 9 crop_height: 7 crop_width: 8 }",
            (2, 3, 7, 8),
        ),
        (
            "AnnotatedData",
            "data_param { batch_size: 2 } transform_param { resize_param { height: 8 width: 9 } }",
            (2, None, 8, 9),
        ),
        (
            "AnnotatedData",
            "transform_param { resize_param { height: 8 width: 9 } resize_param { height: 16 width: 9 } }",
            (None, None, None, None),
        ),
    ],
)
def test_what_data_layers_tell_of_their_images(data, param, shape):
    net = layer("in", data, "", "data label", param) + layer("copy", "Power", "data", "copy")
    (fed,) = (one for one in for_phase(net_of(net), "TEST").layers if one.type == "Input")
    (dim,) = fed.fields.input_param.shape
    assert tuple(None if size < 0 else size for size in dim.dim) == shape


def test_the_label_of_convolutional_pose_machines():
    pose = "cpm_transform_param { crop_size_x: 40 crop_size_y: 32 stride: 8 num_parts: 17 }"
    net = layer("in", "CPMData", "", "data label", f"data_param {{ batch_size: 2 }} {pose}")
    net += layer("maps", "Slice", "label", "weights heat", "slice_param { slice_point: 18 }")
    assert plan(net_of(net), "TEST").inputs == {"label": (2, 36, 4, 5)}


def test_a_simple_crop_gets_the_blob_that_it_names():
    text = (
        INPUT
        + layer("conv", "Convolution", "data", "conv", CONV3 + " ")
        + layer("crop", "SimpleCrop", "data", "crop", "crop_param { blob_name: 'conv' }")
    )
    net, notes = upgrade_net(text_format.Parse(text, schema.message("NetParameter")()), "net.prototxt")
    assert list(net.layer[2].bottom) == ["data", "conv"]
    assert not net.layer[2].HasField("crop_param")
    assert "SimpleCrop" in notes[0]
    assert upgrade_net(net, "net.prototxt") == (net, ())


@pytest.mark.parametrize(("kernel", "stride", "offset"), [(4, 2, 1), (8, 4, 2), (16, 8, 4)])
def test_rcfs_auto_crop_is_aligned_by_coordinates(kernel, stride, offset):
    window = f"kernel_size: {kernel} stride: {stride}"
    text = (
        INPUT
        + layer(
            "pool", "Pooling", "data", "pool", f"pooling_param {{ kernel_size: {stride} stride: {stride} }}"
        )
        + layer("up", "Deconvolution", "pool", "up", f"convolution_param {{ num_output: 3 {window} }}")
        + layer("crop", "AutoCrop", "up data", "crop")
    )
    net, notes = upgrade_net(text_format.Parse(text, schema.message("NetParameter")()), "net.prototxt")
    assert "AutoCrop" in notes[0]
    planned = plan(from_message(net, read_from="net.prototxt"), "TEST")
    # The middle of a pixel of `pool` is the middle of `stride` pixels of the image, and of `kernel` of `up`.
    assert planned.steps[-1].layer.fields.crop_param.offset == (offset,)


WITHOUT_SHAPES = {
    "Interp": ("interp_param { zoom_factor: 2 }", [IMAGE]),
    "Permute": ("permute_param { order: 0 order: 2 order: 3 order: 1 }", [IMAGE]),
    "CropCenter": ("crop_center_param { crop_size: [0, 1, 1, 2] }", [IMAGE]),
    "Correlation": ("correlation_param { kernel_size: 1 max_displacement: 1 pad: 1 }", [IMAGE, IMAGE]),
    "Resample": ("resample_param { type: LINEAR height: 10 width: 14 }", [IMAGE]),
    "Downsample": ("downsample_param { top_height: 3 top_width: 4 }", [IMAGE]),
    "Accum": ("", [IMAGE, IMAGE]),
    "Upsample": ("", [IMAGE, IMAGE]),
    "SimpleCrop": ("", [IMAGE, (2, 6, 3, 4)]),
    "ShuffleChannel": ("shuffle_channel_param { group: 3 }", [IMAGE]),
    "SpatialPyramidPooling": (
        "spatial_pyramid_pooling_param { spatial_bin: 1 spatial_bin: 2 }",
        [(2, 6, 8, 8)],
    ),
    "SpatialPyramidPooling at one scale": (
        "spatial_pyramid_pooling_param { spatial_bin: 2 }",
        [(2, 6, 8, 8)],
    ),
}
"""Types, their parameters, and bottoms."""


@pytest.mark.parametrize("case", WITHOUT_SHAPES)
def test_inputs_without_shapes(case):
    """As data layers leave them: what a layer computes depends only on what it gets."""
    param, shapes = WITHOUT_SHAPES[case]
    layer = f"type: '{case.split()[0]}' {param}"
    bottoms = [
        noise(*shape) if i == 0 or case != "Upsample" else np.zeros(shape) for i, shape in enumerate(shapes)
    ]
    ends = "".join(f" bottom: 'x{i}'" for i in range(len(shapes)))
    inputs = "".join(f"layer {{ name: 'x{i}' type: 'Input' top: 'x{i}' }}" for i in range(len(shapes)))
    model = build(net_of(f"{inputs} layer {{ name: 'l' {ends} top: 'y' {layer} }}"))
    with torch.no_grad():
        y = model(*(torch.tensor(x, dtype=torch.float32) for x in bottoms))["y"].numpy()
    np.testing.assert_array_equal(y, run(layer, *bottoms)[0])


@pytest.mark.parametrize(
    ("layer", "bottoms", "shapes"),
    [
        (
            "type: 'DetectionOutput' detection_output_param { num_classes: 3 }",
            [(2, 8), (2, 6), (2, 2, 8)],
            [(1, 1, 1, 7)],
        ),
        (
            "type: 'Python' python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' "
            "param_str: \"'feat_stride': 16\" }",
            [(1, 18, 3, 4), (1, 36, 3, 4), (1, 3)],
            [(1, 5)],
        ),
        (
            "type: 'YoloDetectionOutput' yolo_detection_output_param "
            "{ num_classes: 3 num_box: 1 biases: 1 biases: 2 }",
            [(1, 8, 5, 5)],
            [(1, 1, 1, 7)],
        ),
        (
            "type: 'PSROIPooling' psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 }",
            [(2, 8, 5, 7), (3, 5)],
            [(3, 2, 2, 2)],
        ),
    ],
)
def test_on_torchs_meta_device_layers_have_shapes_and_no_values(layer, bottoms, shapes):
    """Where how many there are depends on the values, there is one."""
    model = one_layer(layer, bottoms).to("meta")
    tops = model(*(torch.empty(shape, device="meta") for shape in bottoms))
    assert [tuple(top.shape) for top in tops.values()] == shapes
