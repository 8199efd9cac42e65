#!/usr/bin/env bash
# pnnx turns Tensor.narrow into a layer that ncnn does not have; the same cut as a slice is converted.
#
# Expected: pnnx.export gives files that ncnn loads, or says that it cannot.
# Seen with pnnx 20261020, ncnn 1.0.20261020, torch 2.13.0: of y.narrow(2, 1, n) with an n that depends on the size of the image,
# net.ncnn.param has a layer torch.narrow without its numbers. Among the lines of its log is "ignore torch.narrow torch.narrow_1
# param dim=2", and nothing is raised; ncnn's load_param then returns -1. y[:, :, 1 : 1 + n] is right at both sizes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 ncnn==1.0.20261020 pnnx==20261020
cd "$dir"
venv/bin/python - <<'PY'
import ncnn
import numpy as np
import pnnx
import torch


class Cut(torch.nn.Module):
    def __init__(self, narrow):
        super().__init__()
        self.narrow = narrow
        self.conv = torch.nn.Conv2d(1, 2, 3)

    def forward(self, x):
        y, n = self.conv(x), x.shape[2] - 4
        return y.narrow(2, 1, n) if self.narrow else y[:, :, 1 : 1 + n]


images = torch.rand(1, 1, 12, 9), torch.rand(1, 1, 15, 10)
loads = {}
for name in ("slice", "narrow"):
    module = Cut(name == "narrow").eval()
    pnnx.export(module, f"{name}.pt", (images[0],), (images[1],), fp16=False)
    net = ncnn.Net()
    loads[name] = net.load_param(f"{name}.ncnn.param")
    written = open(f"{name}.ncnn.param").read()
    if loads[name] == 0:
        net.load_model(f"{name}.ncnn.bin")
        for image in images:
            extractor = net.create_extractor()
            extractor.input("in0", ncnn.Mat(image[0].numpy()))
            top = np.array(extractor.extract("out0")[1])
            assert np.allclose(top, module(image)[0].detach().numpy(), atol=1e-5)
print("load_param:", loads)
print(written)
assert loads == {"slice": 0, "narrow": -1}, loads
assert "torch.narrow" in written
PY
