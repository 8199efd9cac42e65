#!/usr/bin/env bash
# Pillow writes grey labels with bits=4 and reads other numbers back.
#
# Expected: a PNG is lossless, and save(bits=4) is allowed for values under 16, so the labels 0, 1, 2, 15 return.
# Seen with Pillow 13.0.0: they return as 0, 17, 34, 255. The file holds the right numbers; on reading, four-bit grey is
# spread over 0 to 255, and nothing says so: the mode is L both times. Where 255 means void, the last class is
# void now. A palette image of the same depth keeps its numbers, and so do two-bit palettes; two-bit grey is scaled by 85.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q pillow==13.0.0 numpy==2.3.5
"$dir/venv/bin/python" - <<'PY'
import io

import numpy as np
from PIL import Image


def round_trip(values, mode, bits):
    labels = np.array([values], np.uint8)
    image = Image.frombytes(mode, labels.shape[::-1], labels.tobytes())
    if mode == "P":
        image.putpalette([9 * i % 256 for i in range(3 * 2**bits)])
    file = io.BytesIO()
    image.save(file, "PNG", bits=bits)
    again = Image.open(file)
    assert again.mode == mode and file.getvalue()[24] == bits  # the bit depth in the PNG's header
    print(f"{mode}, {bits} bits: wrote {values}, read {np.asarray(again)[0].tolist()}")
    return np.asarray(again)[0].tolist()


assert round_trip([0, 1, 2, 15], "L", 4) == [0, 17, 34, 255]
assert round_trip([0, 1, 2, 3], "L", 2) == [0, 85, 170, 255]
assert round_trip([0, 1, 2, 15], "P", 4) == [0, 1, 2, 15]
assert round_trip([0, 1, 2, 3], "P", 2) == [0, 1, 2, 3]
PY
