#!/usr/bin/env bash
# AOTInductor compiles pooling with ceil_mode for the parity of the size at the export, also where the size is free.
#
# Expected: of a program exported with free height and width, the compiled package pools any size as the module does, or
# refuses it.
# Seen with torch 2.13.0 on a CPU: MaxPool2d(2, ceil_mode=True) exported at 8 x 9 drops the last row of 9 or 11, and exported at
# 9 x 10 the last column of 9 or 13; the top is a row or a column short, without a word. Even sizes are right, and so are the odd
# axes that were odd at the export. The program itself, run by torch, is right at every size.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 setuptools==80.9.0
TORCHINDUCTOR_CACHE_DIR="$dir/cache" "$dir/venv/bin/python" - "$dir" <<'PY'
import sys

import torch
from torch._inductor import aoti_compile_and_package, aoti_load_package
from torch.export import Dim, export

module = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1), torch.nn.MaxPool2d(2, ceil_mode=True)).eval()
short = {}
for height, width in ((8, 9), (9, 10)):
    free = ({2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    with torch.no_grad():
        program = export(module, (torch.zeros(1, 1, height, width),), dynamic_shapes=free)
        package = aoti_compile_and_package(program, package_path=f"{sys.argv[1]}/{height}.pt2")
        compiled = aoti_load_package(package)
        for size in ((9, 8), (9, 9), (10, 10), (11, 13)):
            image = torch.rand(1, 1, *size)
            right, found = module(image), compiled(image)
            assert torch.equal(program.module()(image), right)
            short[height, size] = tuple(a - b for a, b in zip(right.shape[2:], found.shape[2:]))
            print(f"exported at {height} x {width}, run on {size}: {tuple(found.shape[2:])}, right is {tuple(right.shape[2:])}")
odd = {(8, (9, 8)): (1, 0), (8, (9, 9)): (1, 0), (8, (10, 10)): (0, 0), (8, (11, 13)): (1, 0)}
even = {(9, (9, 8)): (0, 0), (9, (9, 9)): (0, 1), (9, (10, 10)): (0, 0), (9, (11, 13)): (0, 1)}
assert short == odd | even, short
PY
