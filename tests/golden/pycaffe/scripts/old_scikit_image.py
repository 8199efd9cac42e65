"""What scikit-image did in Caffe's time, for a real Caffe with one of our day."""

import functools

import caffe
import skimage.io
import skimage.transform


def restore():
    """Its resize smooths unless it is told not to, and its imread spells as_grey as_gray."""
    caffe.io.resize = functools.partial(skimage.transform.resize, anti_aliasing=False)
    imread = skimage.io.imread
    skimage.io.imread = lambda name, as_grey: imread(name, as_gray=as_grey)
