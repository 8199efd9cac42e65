#!/usr/bin/env bash
# torch's "nearest-exact" takes other pixels than Pillow's NEAREST, which it is said to match.
#
# Expected: PyTorch's documentation of interpolate says that mode nearest-exact matches scikit-image's and PIL's nearest.
# Seen with torch 2.13.0 and Pillow 13.0.0: where a target pixel's centre falls between two source pixels, torch takes the
# right one and Pillow, for these sizes, the left one. From 500 to 375 columns 71 differ; from 500
# to 250 none does. A label map shrunk by both thus has different labels along its edges.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 pillow==13.0.0
"$dir/venv/bin/python" - <<'PY'
import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

assert "matches Scikit-Image and PIL nearest" in " ".join(interpolate.__doc__.split())
columns = np.arange(500, dtype=np.float32).reshape(1, 500)  # each pixel's value is its column


def differing(width):
    pillow = np.asarray(Image.fromarray(columns).resize((width, 1), Image.Resampling.NEAREST))[0]
    torchs = interpolate(torch.from_numpy(columns)[None], size=width, mode="nearest-exact")[0, 0].numpy()
    other = np.flatnonzero(pillow != torchs)
    centres = (other + 0.5) * 500 / width
    print(f"500 to {width}: {len(other)} differ", [(int(i), pillow[i], torchs[i]) for i in other[:3]])
    assert (centres == np.round(centres)).all()  # all of them lie on the border of two pixels
    assert (np.abs(pillow - torchs)[other] == 1).all()
    return len(other)


assert differing(375) == 71
assert differing(250) == differing(384) == differing(512) == 0
PY
