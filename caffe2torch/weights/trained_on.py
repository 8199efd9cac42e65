"""The images that a VGG-16 was trained on. Keys of a state dict tell its layout, and not this.

    torchvision   RGB, 0 to 1, normalized by a mean and a deviation
    caffe         BGR, 0 to 255, minus a mean
    caffe-rgb     RGB, 0 to 255, minus a mean: torchvision's IMAGENET1K_FEATURES

Caffe's own weights went round with torchvision's keys before torchvision had any (vgg16-00b39a1b.pth of
jcjohnson/pytorch-vgg, vgg16_from_caffe.pth of wkentaro/pytorch-fcn).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.weights import TRAINED_ON

CAFFE_MEAN = (104.00699, 116.66877, 122.67892)
"""BGR; what Caffe's ImageNet models and the FCNs subtract."""
TORCHVISION_MEAN = (103.53, 116.28, 123.675)
"""BGR; 255 times torchvision's 0.406, 0.456 and 0.485."""
KERAS_MEAN = (103.939, 116.779, 123.68)
"""BGR; keras.applications' preprocess_input, and the net's authors (gist ksimonyan/211839e770f7b538e2d8)."""


@dataclass(frozen=True)
class Images:
    """Images as a net sees them; means and deviations are for blue, green and red, from 0 to 255."""

    name: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)
    is_rgb: bool = False
    rewritten: str = "conv1_1 is as it was: it took BGR from 0 to 255"
    """What is done to conv1_1, for people."""
    warning: str = ""


TORCHVISION = Images(
    "torchvision",
    TORCHVISION_MEAN,
    (0.225 * 255, 0.224 * 255, 0.229 * 255),
    True,
    "conv1_1 rewritten for BGR from 0 to 255; it took RGB from 0 to 1, normalized as torchvision does",
    "torchvision's weights are not Caffe's: from them FCN-32s reached 57.8 mean IU and 8s at once 59.0, not "
    "63 and 64 (wkentaro/pytorch-fcn#75, #84)",
)
CAFFE = Images("caffe", CAFFE_MEAN)
CAFFE_RGB = Images(
    "caffe-rgb",
    (0.40784 * 255, 0.45882 * 255, 0.48235 * 255),  # torchvision's VGG16_Weights.IMAGENET1K_FEATURES
    is_rgb=True,
    rewritten="conv1_1 rewritten for BGR; it took RGB from 0 to 255",
)
KERAS = Images("Keras", KERAS_MEAN, rewritten="")

_BY_NAME = {images.name: images for images in (TORCHVISION, CAFFE, CAFFE_RGB)}

# Of the first three kernels of Caffe's VGG-16, the first number for B, G and R; Keras prints it so, too.
_CAFFES = np.array([[0.42947, 0.55038, 0.48002], [0.11727, 0.02088, -0.17270], [0.03401, 0.09883, 0.03756]])
_ALIKE = 0.96
"""Cosine; that of a fine-tuned net, HED, is 0.996, and 0.92 with its channels reversed."""

# For outputs that deviate by about 1, the 27 weights of a kernel deviate by 0.19 if its inputs do by 1, and
# by 0.003 if they do by 60. What lies between these bounds may be either.
_OF_255, _OF_1 = 0.01, 0.05


def images_of(kernel: Array, lacks_classifier: bool, path: str) -> tuple[Images, str]:
    """What the net was trained on, by its conv1_1 (N, 3, 3, 3), and the evidence in words.

    `lacks_classifier` says that the file's holds only NaN. Raises WeightsError where the evidence is thin.
    """
    for images, ours in ((CAFFE, kernel), (CAFFE_RGB, kernel[:, ::-1])):
        if _is_caffes(ours):
            return images, "its conv1_1 is that of Caffe's VGG-16"
    if lacks_classifier:
        return CAFFE_RGB, "its classifier is NaN, as in torchvision's IMAGENET1K_FEATURES"
    scale = float(kernel.std())
    spread = f"its conv1_1 has a standard deviation of {scale:.2g}"
    if scale <= _OF_255:
        return CAFFE, f"{spread}, as for images from 0 to 255"
    if scale >= _OF_1:
        return TORCHVISION, f"{spread}, as for normalized images"
    raise WeightsError(
        f"{path}: may have been trained on either kind of images: {spread}, between {_OF_255} as for "
        f"0 to 255 and {_OF_1} as for normalized ones; give --trained-on {' or '.join(TRAINED_ON)}"
    )


def named(name: str) -> Images:
    """The images of a name. Raises NetError for one that is none."""
    if name not in _BY_NAME:
        raise NetError(f"trained_on is {name!r}; it can be {', '.join(TRAINED_ON)}")
    return _BY_NAME[name]


def _is_caffes(kernel: Array) -> bool:
    """Whether a conv1_1 is that of Caffe's VGG-16, fine-tuned perhaps."""
    ours = kernel[:3, :, 0, 0].astype(np.float64)
    if ours.shape != _CAFFES.shape:
        return False
    norms = float(np.linalg.norm(ours) * np.linalg.norm(_CAFFES))
    return norms > 0 and float((ours * _CAFFES).sum()) > _ALIKE * norms
