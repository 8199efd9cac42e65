#!/usr/bin/env bash
# segmentation_models_pytorch's accuracy of a labelling is not the share of right pixels.
#
# Expected: metrics.accuracy of a multiclass labelling, reduction "micro", is pixel accuracy: right pixels / pixels.
# Seen with segmentation-models-pytorch 0.6.0: for each class, pixels that rightly are not that class count as right, too. A
# labelling of 21 classes in which every pixel is wrong has an accuracy of .905. (metrics.recall, "micro", is pixel accuracy.)
# And iou_score with "weighted-imagewise" and weights that sum to 1 is divided by the number of classes once more: a perfect
# labelling of 4 classes has .25.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 packaging==25.0
"$dir/venv/bin/pip" install -q --no-deps segmentation-models-pytorch==0.6.0
cd "$dir"
venv/bin/python - <<'PY'
import importlib.util
import sys
from pathlib import Path

import torch

# The package imports torchvision and timm at once; its scores need neither.
path = Path(importlib.util.find_spec("segmentation_models_pytorch").origin).parent / "metrics" / "functional.py"
spec = importlib.util.spec_from_file_location("functional", path)
metrics = sys.modules["functional"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(metrics)

label = torch.arange(21).reshape(1, 3, 7)
wrong = (label + 1) % 21
counts = metrics.get_stats(wrong, label, mode="multiclass", num_classes=21)
accuracy, recall = (float(score(*counts, reduction="micro")) for score in (metrics.accuracy, metrics.recall))
print(f"every pixel of 21 classes wrong: accuracy {accuracy:.3f}, recall {recall:.3f}")
assert round(accuracy, 3) == 0.905
assert recall == 0

label = torch.arange(4).reshape(1, 2, 2)
counts = metrics.get_stats(label, label, mode="multiclass", num_classes=4)
score = float(metrics.iou_score(*counts, reduction="weighted-imagewise", class_weights=[0.25] * 4))
print(f"every pixel of 4 classes right, weights of 1/4: iou_score {score:.3f}")
assert score == 0.25
PY
