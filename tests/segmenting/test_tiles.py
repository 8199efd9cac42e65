"""Labels by tiles, against the same net on the whole photo.

The nets have integers as weights, and few of them, so that float32 is exact and no rounding can differ.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.errors import NetError
from caffe2torch.plan import plan
from caffe2torch.segmenting.tiles import Reach, footprint_of, reach_of, strips, tiles
from caffe2torch.writing.model import model_of
from tests.nets import net_of

MEAN = (104, 117, 123)
WIDTHS = (4, 4, 4, 4, 4, 6, 6)
DATA = (
    "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 64 dim: 64 } } }"
)


def whole_numbers(module: torch.nn.Module) -> torch.nn.Module:
    """The module with 1 or -1 at one or two corners of each kernel, and all over a deconvolution's 1/8."""
    random = np.random.default_rng(7)
    for name, layer in module.named_modules():
        for parameter in layer.parameters(recurse=False):
            value = np.zeros(parameter.shape)
            if value.ndim == 1:
                value[:] = random.integers(0, 4, value.shape)
            elif "up" in name:
                value += random.choice([-1, 1], (*value.shape[:2], 1, 1)) / 8
            else:
                for kernels in value:
                    signs = (1, -1) if "score" in name or random.random() < 0.3 else (1,)
                    for sign, channel in zip(signs, random.permutation(len(kernels)), strict=False):
                        kernels[(channel, *random.choice([0, -1], 2))] = sign
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(value))
    return module


def photo(height: int, width: int) -> np.ndarray:
    """Blocks of 24 pixels with noise, so that pooling leaves differences."""
    random = np.random.default_rng(3)
    blocks = random.integers(0, 236, (height // 24 + 1, width // 24 + 1, 3))
    blocks = blocks.repeat(24, axis=0).repeat(24, axis=1)[:height, :width]
    return (blocks + random.integers(0, 20, (height, width, 3))).astype(np.uint8)


def check(module: torch.nn.Module, size: tuple[int, int], side: int, at_least: int) -> None:
    """Tiles of about `side` pixels give the labels, and the certainty, that the whole photo gives."""
    planned = model_of(module).plan
    (blob,) = planned.inputs
    memory = footprint_of(planned, blob).of(*(min(side, length) for length in size))
    assert len(tiles(size, planned, blob, memory)) >= at_least
    whole = c2t.Segmenter(module, MEAN, memory=1e12)(photo(*size))
    cut = c2t.Segmenter(module, MEAN, memory=memory)(photo(*size))
    for head, expected in whole.items():
        assert len(np.unique(expected.labels)) > 1
        assert len(np.unique(expected.certainty)) > 10, "a net that tells little apart proves little"
        np.testing.assert_array_equal(cut[head].labels, expected.labels)
        np.testing.assert_array_equal(cut[head].certainty, expected.certainty)


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("FCN32s", (597, 301), 2),
        ("FCN16s", (301, 597), 2),
        ("FCN8s", (581, 597), 4),
        ("FCN8sAtOnce", (597, 301), 2),
        ("FCNAlexNet", (581, 597), 4),
    ],
)
def test_tiles_of_the_papers_nets_are_the_whole(name: str, size: tuple[int, int], count: int) -> None:
    """With their pad of 100 and their crop offsets."""
    check(whole_numbers(getattr(c2t, name)(classes=5, widths=WIDTHS).eval()), size, 512, count)


def test_both_heads_are_the_whole() -> None:
    heads = [c2t.Head("_sem", 5), c2t.Head("_geo", 3)]
    module = c2t.fcn_of(c2t.Architecture("FCN16s", tuple(heads), widths=WIDTHS)).eval()
    check(whole_numbers(module), (597, 301), 512, 2)


POOLED = f"""{DATA}
layer {{ name: 'a' type: 'Convolution' bottom: 'data' top: 'a' convolution_param {{
  num_output: 4 kernel_h: 3 kernel_w: 5 dilation: 2 pad: 7 }} }}
layer {{ name: 'max' type: 'Pooling' bottom: 'a' top: 'max' pooling_param {{
  pool: MAX kernel_size: 3 stride: 2 pad: 1 }} }}
"""
AVERAGED = (
    POOLED
    + """
layer { name: 'ave' type: 'Pooling' bottom: 'max' top: 'ave' pooling_param {
  pool: AVE kernel_h: 2 kernel_w: 4 stride_h: 1 stride_w: 3 } }
"""
)
UP = """
layer {{ name: 'upscore' type: 'Deconvolution' bottom: '{bottom}' top: 'up' convolution_param {{
  num_output: 3 {window} }} }}
layer {{ name: 'score' type: 'Crop' bottom: 'up' bottom: 'data' top: 'score' crop_param {{
  axis: 2 offset: {offset} }} }}
"""


@pytest.mark.parametrize(
    ("bottom", "window", "offset"),
    [
        ("ave", "kernel_h: 5 kernel_w: 12 stride_h: 2 stride_w: 6", 1),
        ("ave", "kernel_h: 7 kernel_w: 9 stride_h: 2 stride_w: 6 pad: 1", 0),
        ("max", "kernel_size: 4 stride: 2 pad: 1", 0),
        ("max", "kernel_size: 2 stride: 2", 3),
    ],
)
def test_tiles_of_other_windows_are_the_whole(bottom: str, window: str, offset: int) -> None:
    """Axes that differ, dilation, pooling with padding and without, crops that keep more of one side."""
    text = (AVERAGED if bottom == "ave" else POOLED) + UP.format(bottom=bottom, window=window, offset=offset)
    check(whole_numbers(c2t.build(net_of(text))), (150, 177), 60, 6)


CONVOLUTION = """
layer {{ name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{name}' convolution_param {{
  num_output: 3 kernel_size: {kernel} pad: {pad} }} }}
"""


def test_tiles_of_branches_are_the_whole() -> None:
    """One sees farther than the other."""
    branches = [
        CONVOLUTION.format(name=f"score{kernel}", bottom="data", kernel=kernel, pad=kernel // 2)
        for kernel in (15, 3)
    ]
    total = "layer { name: 'sum' type: 'Eltwise' bottom: 'score3' bottom: 'score15' top: 'sum' }"
    check(whole_numbers(c2t.build(net_of(DATA + "".join(branches) + total))), (90, 97), 50, 4)


def test_what_a_tile_lacks_beyond_a_crop_is_not_zero() -> None:
    """A last convolution reads beyond the crop: a tile's zeros there are not the photo's pixels."""
    text = POOLED + UP.format(bottom="max", window="kernel_size: 4 stride: 2 pad: 1", offset=0)
    text += CONVOLUTION.format(name="last", bottom="score", kernel=5, pad=2)
    check(whole_numbers(c2t.build(net_of(text))), (150, 177), 70, 6)


def test_what_a_tile_lacks_beyond_a_short_kernel_is_not_zero() -> None:
    """The same of a deconvolution whose kernel ends before the next pixel's begins."""
    text = f"""{DATA}
    layer {{ name: 'max' type: 'Pooling' bottom: 'data' top: 'max' pooling_param {{
      pool: MAX kernel_size: 4 stride: 4 }} }}
    layer {{ name: 'upscore' type: 'Deconvolution' bottom: 'max' top: 'up' convolution_param {{
      num_output: 3 kernel_size: 3 stride: 4 pad: 1 }} }}
    {CONVOLUTION.format(name="last", bottom="up", kernel=7, pad=5)}
    layer {{ name: 'score' type: 'Crop' bottom: 'last' bottom: 'data' top: 'score' crop_param {{ axis: 2 }} }}
    """
    check(whole_numbers(c2t.build(net_of(text))), (150, 177), 70, 6)


@pytest.mark.parametrize(
    ("layer", "seen"),
    [
        ("type: 'MVN'", True),
        ("type: 'Pooling' pooling_param { pool: AVE global_pooling: true }", True),
        ("type: 'BN' bn_param { bn_mode: LEARN }", True),  # SegNet's normalizes by the batch
        ("type: 'BN' bn_param { bn_mode: INFERENCE }", False),
        ("type: 'BatchNorm' batch_norm_param { use_global_stats: false }", True),
        ("type: 'BatchNorm'", False),
        ("type: 'Normalize' norm_param { across_spatial: true }", True),
        ("type: 'Normalize' norm_param { across_spatial: false }", False),
        ("type: 'Softmax' softmax_param { axis: 2 }", True),
        ("type: 'Softmax'", False),
        ("type: 'TopK' topk_param { k: 2 a: 1 }", True),
        ("type: 'Interp' interp_param { zoom_factor: 1 }", True),
        (
            "type: 'CropCenter' crop_center_param { crop_size: 0 crop_size: 0 crop_size: 2 crop_size: 2 }",
            True,
        ),
    ],
)
def test_a_net_that_sees_the_whole_photo_is_not_cut(layer: str, seen: bool) -> None:
    planned = plan(
        net_of(f"{DATA}layer {{ name: 'it' {layer} bottom: 'data' top: 'score' }}"), allow_missing=True
    )
    if not seen:
        assert reach_of(planned, "data") == Reach((0, 0), (0, 0), 1)
        return
    with pytest.raises(
        NetError, match=r"a photo of 90x70 pixels needs .* GB .*; layer 'it' \(\w+\) sees the whole"
    ):
        tiles((70, 90), planned, "data", memory=1e4)


def test_memory_for_no_tile_is_refused() -> None:
    planned = plan(c2t.define("FCN8s"))
    with pytest.raises(NetError, match=r"needs 5\.3 GB in one piece, 0\.5 GB .* the net needs 0\.5 GB"):
        tiles((1000, 4000), planned, "data", memory=4.5e8)


def test_the_memory_is_that_of_the_blobs() -> None:
    """VGG-16's conv1_2 reads 64 channels of floats and makes as many."""
    footprint = footprint_of(plan(c2t.define("FCN32s")), "data")
    assert footprint.bytes_per_pixel == 2 * (64 + 64) * 4 + 2 * 3 * 4  # and `data`, whose size `score` has
    assert footprint.margin == (99, 99)


@pytest.mark.parametrize("length", [64, 65, 96, 97, 131, 500])
def test_strips_keep_each_pixel_once(length: int) -> None:
    reach = Reach((9, 0), (14, 0), 8)
    found = strips(length, 67, reach, axis=0)
    assert [x for strip in found for x in range(strip.keep_start, strip.keep_end)] == list(range(length))
    for strip in found:
        assert strip.start % 8 == 0
        assert strip.end - strip.start <= 67
        assert strip.start == 0 or strip.keep_start - strip.start >= 9
        assert strip.end == length or (strip.end % 8 == 0 and strip.end - strip.keep_end >= 14)
