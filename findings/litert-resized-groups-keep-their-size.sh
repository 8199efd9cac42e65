#!/usr/bin/env bash
# A LiteRT file with a transposed convolution in groups can be resized, and then answers with its old size, without a word.
#
# Expected: after resize_tensor_input the output has the new size, as without groups; or an error.
# Seen with litert-torch 0.10.0, ai-edge-litert 2.3.0, torch 2.13.0: converted on one image of 5 x 6, ConvTranspose2d(2, 2, 4, 2,
# groups=2) gives (1, 2, 12, 14) also for two images, and for one of 8 x 9: nothing is raised. The same without groups, and
# Conv2d(2, 2, 3), give the new sizes, and torch's values.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 litert-torch==0.10.0 ai-edge-litert==2.3.0
cd "$dir"
venv/bin/python - <<'PY'
import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter


def answer(name, image):
    file = Interpreter(f"{name}.tflite")
    place = file.get_input_details()[0]["index"]
    file.resize_tensor_input(place, image.shape)
    file.allocate_tensors()
    file.set_tensor(place, image.numpy())
    file.invoke()
    return file.get_tensor(file.get_output_details()[0]["index"])


nets = {
    "convolution": torch.nn.Conv2d(2, 2, 3),
    "transposed": torch.nn.ConvTranspose2d(2, 2, 4, 2),
    "transposed, groups": torch.nn.ConvTranspose2d(2, 2, 4, 2, groups=2),
}
right = {}
for name, net in nets.items():
    litert_torch.convert(net.eval(), (torch.rand(1, 2, 5, 6),)).export(f"{name}.tflite")
    right[name] = []
    for shape in (1, 2, 5, 6), (2, 2, 5, 6), (1, 2, 8, 9):
        image = torch.rand(shape)
        found, wanted = answer(name, image), net(image).detach().numpy()
        print(name, shape, "gives", found.shape, "torch", wanted.shape)
        right[name].append(found.shape == wanted.shape and bool(np.allclose(found, wanted, atol=1e-5)))
assert right["convolution"] == right["transposed"] == [True] * 3, right
assert right["transposed, groups"] == [True, False, False], right
PY
