"""Net surgery: fully connected layers to convolutions, weights from net to net, bilinear kernels."""

from __future__ import annotations

import numpy as np

from caffe2torch.net import Array


def bilinear_kernel(size: int) -> Array:
    """The (size, size) float32 kernel that upsamples bilinearly by (size + 1) // 2 in a deconvolution.

    It is centred for odd and even sizes alike; Caffe's own filler is off centre for odd ones (fillers.py).
    """
    factor = (size + 1) // 2
    centre = factor - (1 if size % 2 else 0.5)
    ramp = 1 - np.abs(np.arange(size) - centre) / factor
    kernel: Array = np.outer(ramp, ramp).astype(np.float32)
    return kernel
