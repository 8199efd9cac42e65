"""onnx2torch, back to torch."""

import torch

# onnx2torch imports torchvision, which has no operators of its own where it was built for CUDA without one.
for name in ("nms", "qnms"):
    torch.library.define(
        f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    )

import onnx2torch  # noqa: E402


def load(path, sets):
    module = onnx2torch.convert(path).eval()

    def run(arrays):
        with torch.no_grad():
            tops = module(*map(torch.from_numpy, arrays))
        return [top.numpy() for top in (tops if isinstance(tops, list | tuple) else [tops])]

    return run
