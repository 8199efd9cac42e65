#!/usr/bin/env bash
# OpenCV's IMREAD_GRAYSCALE gives other levels for the same pixels, depending on the lossless format they are stored in.
#
# Expected: PNG, BMP and TIFF of the same RGB pixels are read as the same grey image, that of cvtColor.
# Seen with opencv-python-headless 5.0.0.93: half of the pixels of a PNG are one level below cvtColor's, and 1 in 400 of a BMP or
# TIFF one level beside them. The PNG decoder has libpng make the grey, which truncates; the others' weights have 14 bits. Read in
# colour and converted after that, all agree. A net trained on grey images from one format sees other images from another.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.3.5
"$dir/venv/bin/python" - "$dir" <<'PY'
import sys

import cv2
import numpy as np

bgr = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
right = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(int)
lower = {}
for suffix in ("png", "bmp", "tif"):
    path = f"{sys.argv[1]}/image.{suffix}"
    cv2.imwrite(path, bgr)
    assert (cv2.imread(path) == bgr).all()
    difference = cv2.imread(path, cv2.IMREAD_GRAYSCALE).astype(int) - right
    assert set(np.unique(difference)) <= {-1, 0, 1}
    lower[suffix] = (difference != 0).mean()
    print(f"{suffix}: {lower[suffix]:.1%} of the pixels differ from cvtColor's, by {np.unique(difference).tolist()}")
assert lower["png"] > 0.4, lower
assert 0 < lower["bmp"] == lower["tif"] < 0.01, lower
PY
