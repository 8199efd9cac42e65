#!/usr/bin/env bash
# MONAI's MeanIoU leaves out a class that a labelling invents, and shows its IoU as 0 elsewhere.
#
# Expected: pixels labelled 0 or 2 and predicted as class 3, which the image does not have, give class 3 an IoU of 0, which counts.
# Seen with MONAI 1.6.1: with its defaults the class is left out of the mean (.75 where the mean over four classes is .5625),
# because the label has none of it. The same metric with reduction="mean_batch" lists that class as 0, not as nan; so the mean of
# this list is another number than reduction="mean".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0 monai==1.6.1 numpy==2.3.5
cd "$dir"
venv/bin/python - <<'PY'
import torch
from monai.metrics import MeanIoU
from torch.nn.functional import one_hot

label = torch.tensor([[0, 0, 0, 0], [1, 1, 2, 2]])
prediction = torch.tensor([[0, 0, 0, 3], [1, 1, 2, 3]])


def score(**options):
    metric = MeanIoU(**options)
    metric(*(one_hot(image, 4).permute(2, 0, 1)[None] for image in (prediction, label)))
    result = metric.aggregate().flatten().tolist()
    print(f"{options or 'defaults'}: {result}")
    return result


assert score() == [0.75]  # (3/4 + 1 + 1/2) / 3
assert score(ignore_empty=False) == [0.5625]  # (3/4 + 1 + 1/2 + 0) / 4
assert score(reduction="mean_batch") == [0.75, 1, 0.5, 0]
PY
