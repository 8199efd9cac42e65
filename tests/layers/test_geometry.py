"""Receptive fields and alignments, against the papers' numbers and numbers worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from caffe2torch.errors import NetError
from caffe2torch.layers.geometry import View, Window, crop_offset

CONV3 = Window((3, 5), (1, 1), (1, 0))
POOL2 = Window((2, 2), (2, 2), (0, 0))


def _vgg_to_fc7() -> View:
    view = View.of_input()
    for block, convolutions in enumerate((2, 2, 3, 3, 3)):
        for layer in range(convolutions):
            pad = 100 if block == layer == 0 else 1
            view = view.through(Window((3, 3), (1, 1), (pad, pad)))
        view = view.through(POOL2)
    return view.through(Window((7, 7), (1, 1), (0, 0)))


def test_receptive_field_of_vgg16_is_the_papers():
    fc7 = _vgg_to_fc7()
    assert fc7.receptive_field == (404, 404)  # CVPR 2015, Table 1
    assert fc7.stride == (32, 32)


def test_axes_are_separate():
    view = View.of_input().through(CONV3).through(Window((2, 4), (2, 3), (0, 1)))
    assert view.receptive_field == (3 + 1, 5 + 3)
    assert view.stride == (2, 3)
    assert view.start == (Fraction(1, 2), 2 + Fraction(1, 2))


def test_crop_offset_of_fcn_32s():
    upscore = _vgg_to_fc7().through(Window((64, 64), (32, 32), (0, 0), transposed=True))
    assert crop_offset(upscore, View.of_input()) == (19, 19)


def test_cropping_moves_the_start():
    view = View.of_input().through(POOL2).shifted((3, 4))
    assert view.start == (Fraction(1, 2) + 6, Fraction(1, 2) + 8)
    assert crop_offset(View.of_input().through(POOL2), view) == (3, 4)


def test_a_crop_that_cannot_be_is_refused():
    pooled = View.of_input().through(POOL2)
    with pytest.raises(NetError, match="strides 2x2 and 1x1"):
        crop_offset(pooled, View.of_input())
    with pytest.raises(NetError, match="the alignment gives -3x-4"):
        crop_offset(pooled.shifted((3, 4)), pooled)
    half = View.of_input().through(Window((2, 2), (1, 1), (0, 0)))
    with pytest.raises(NetError, match="the alignment gives 1/2x1/2"):
        crop_offset(View.of_input(), half)


def test_two_paths_see_as_far_as_the_farther():
    near, far = View.of_input().through(CONV3), View.of_input().through(CONV3).through(CONV3)
    assert near.merged(far).receptive_field == far.receptive_field == (5, 9)
    whole = View(near.stride, near.start, None)
    assert near.merged(whole).receptive_field is None
