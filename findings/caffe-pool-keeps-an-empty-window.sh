#!/usr/bin/env bash
# Importers of Caffe nets keep a last pooling window that lies in the padding alone, which Caffe leaves out.
#
# Expected: Caffe rounds the number of windows up and, where there is padding, leaves out the last one if it would start beyond
# the image and the padding before it. Of 7 rows, a kernel of 4 in steps of 3 with a padding of 2 makes 3 rows, not 4.
# Seen with MNN 3.6.1 and openvino-dev 2023.3.0: both make 4 without a word, and layers behind see one row more. The first three
# rows are Caffe's. OpenCV's importer (4.14.0.94) leaves the window out, as Caffe does.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
for engine in mnn openvino opencv; do python3 -m venv $engine; done
mnn/bin/pip install -q MNN==3.6.1 numpy==2.2.6
openvino/bin/pip install -q "openvino-dev[caffe]==2023.3.0"
opencv/bin/pip install -q opencv-python-headless==4.14.0.94 numpy==2.2.6
mkdir bin && printf '#!/bin/sh\nexit 1\n' > bin/pip && chmod +x bin/pip # mnnconvert calls pip
cat > net.prototxt <<'PROTOTXT'
input: "x" input_shape { dim: 1 dim: 1 dim: 7 dim: 9 }
layer { name: "l" type: "Pooling" bottom: "x" top: "l" pooling_param { pool: MAX kernel_size: 4 stride: 3 pad: 2 } }
PROTOTXT
# A NetParameter with one layer (100) that has a name (1) and a type (2), and no blobs.
printf '\xa2\x06\x0c\x0a\x01l\x12\x07Pooling' > net.caffemodel
cat > common.py <<'PY'
import numpy as np

x = np.random.default_rng(0).uniform(1, 2, (1, 1, 7, 9)).astype(np.float32)
rows, columns = [(0, 2), (1, 5), (4, 7)], [(0, 2), (1, 5), (4, 8), (7, 9)]
caffe = np.array([[x[0, 0, top:bottom, left:right].max() for left, right in columns] for top, bottom in rows])


def report(engine, found, height):
    print(f"{engine}: {found.shape[2]} rows, Caffe: {len(rows)}")
    assert found.shape == (1, 1, height, 4)
    assert np.array_equal(found[0, 0, :3], caffe)
PY
files="--modelFile net.caffemodel --prototxt net.prototxt --MNNModel net.mnn --bizCode x"
PATH="$dir/bin:$PATH" mnn/bin/mnnconvert -f CAFFE $files > log 2>&1
mnn/bin/python - <<'PY'
import MNN.expr as F
import MNN.nn
import numpy as np
from common import report, x

net = MNN.nn.load_module_from_file("net.mnn", ["x"], ["l"])
report("MNN", np.array(F.convert(net.forward([F.const(x, list(x.shape), F.NCHW)])[0], F.NCHW).read()), 4)
PY
openvino/bin/python - 2>/dev/null <<'PY'
import openvino
from common import report, x
from openvino.tools.mo import convert_model

model = convert_model("net.caffemodel", input_proto="net.prototxt", compress_to_fp16=False, silent=True)
report("OpenVINO", openvino.Core().compile_model(model, "CPU")([x])[0], 4)
PY
opencv/bin/python - <<'PY'
import cv2
from common import report, x

net = cv2.dnn.readNetFromCaffe("net.prototxt")
net.setInput(x)
report("OpenCV", net.forward(), 3)
PY
