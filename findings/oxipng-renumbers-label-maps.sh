#!/usr/bin/env bash
# oxipng changes the class numbers of a segmentation label map.
#
# Expected: a lossless optimiser leaves the labels of a palette PNG as they are. Pascal VOC's label maps are such files:
# the palette index is the class, and 255 is void.
# Seen with pyoxipng 9.1.1 and Pillow 13.0.0: the picture looks the same, but the palette is packed. The classes 0, 15
# and 255 come back as 0, 1 and 2: person has become aeroplane and void has become bicycle. At level 6 this small file
# is RGB afterwards. palette_reduction=False keeps the classes at the default level.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q pyoxipng==9.1.1 pillow==13.0.0 numpy==2.3.5
"$dir/venv/bin/python" - <<'PY'
import io

import numpy as np
import oxipng
from PIL import Image

labels = np.tile(np.array([0, 15, 255], np.uint8), (9, 3))
image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
image.putpalette([(37 * i + channel * 71) % 256 for i in range(256) for channel in range(3)])
file = io.BytesIO()
image.save(file, "PNG")


def optimised(**options):
    png = Image.open(io.BytesIO(oxipng.optimize_from_memory(file.getvalue(), **options)))
    assert np.array_equal(png.convert("RGB"), image.convert("RGB"))  # looks the same
    return png.mode, np.unique(np.asarray(png)).tolist()


print("before          ", np.unique(np.asarray(Image.open(file))).tolist())
for level in 0, 2:
    print("after, level", level, " ", optimised(level=level))
    assert optimised(level=level) == ("P", [0, 1, 2])
print("after, level 6  ", optimised(level=6)[0])
assert optimised(level=6)[0] == "RGB"
print("palette_reduction=False", optimised(palette_reduction=False))
assert optimised(palette_reduction=False) == ("P", [0, 15, 255])
PY
