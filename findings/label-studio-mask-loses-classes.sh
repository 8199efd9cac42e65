#!/usr/bin/env bash
# label-studio-converter's image2rle empties a mask of class indices.
#
# Expected: image2rle of a label image, with the index of the class in each pixel, gives brush labels of these pixels.
# Seen with label-studio-converter 0.0.59: it keeps the pixels over 128 only. A mask of 0 and 1 becomes an empty annotation
# without a word; of VOC's labels nothing is left but void, 255.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q label-studio-converter==0.0.59 setuptools==80.9.0
venv/bin/python - <<'PY'
import numpy as np
from label_studio_converter.brush import decode_rle, image2rle
from PIL import Image


def kept(labels):
    Image.fromarray(labels).save("mask.png")
    rle, width, height = image2rle("mask.png")
    alpha = decode_rle(rle).reshape(height, width, 4)[..., 3]
    return alpha > 0


mask = np.zeros((6, 8), np.uint8)
mask[1:4, 2:7] = 1
print(f"a mask of 0 and 1: {kept(mask).sum()} of {np.count_nonzero(mask)} pixels kept")
assert not kept(mask).any()
mask[1:4, 2:7], mask[4:] = 15, 255
print(f"15 and void: {kept(mask).sum()} of {np.count_nonzero(mask)} pixels kept, those of 255")
assert np.array_equal(kept(mask), mask == 255)
PY
