#!/usr/bin/env bash
# Keras's MeanIoU forgives predictions that are no class, and counts a class that it was told to ignore.
#
# Expected: a labelled pixel that is predicted as 255 (void), or as class 7 of 4, is a miss, or an error. And with
# ignore_class=0, class 0 has no part in the mean.
# Seen with Keras 3.15.1 (JAX backend): such a pixel is taken out of the score without a word, so one wrong pixel of eight
# still gives a perfect 1.0. With ignore_class=0, a pixel of class 1 predicted as 0 gives class 0 an IoU of 0, which stays
# in the mean: .625 where the mean of the three classes left is .833.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q keras==3.15.1 jax==0.10.2 numpy==2.3.5
KERAS_BACKEND=jax "$dir/venv/bin/python" - <<'PY'
import keras
import numpy as np


def mean_iou(prediction, **options):
    metric = keras.metrics.MeanIoU(num_classes=4, **options)
    metric.update_state(np.array([0, 0, 0, 0, 1, 1, 2, 3]), np.array(prediction))
    print(f"predicted {prediction}, {options or 'no options'}: {float(metric.result()):.4f}")
    return round(float(metric.result()), 4)


assert mean_iou([0, 0, 0, 1, 1, 1, 2, 3]) == 0.8542  # a wrong class is a miss: (3/4 + 2/3 + 1 + 1) / 4
for no_class in 255, 7, -1:
    assert mean_iou([0, 0, 0, no_class, 1, 1, 2, 3]) == 1
assert mean_iou([0, 0, 0, 255, 1, 1, 2, 3], ignore_class=255) == 1
assert mean_iou([0, 0, 0, 0, 0, 1, 2, 3], ignore_class=0) == 0.625  # (0 + 1/2 + 1 + 1) / 4, not (1/2 + 1 + 1) / 3
PY
