"""`python -m caffe2torch.demo [FOLDER]`: the main job on a small FCN-8s made here.

    random weights ─ our own writer ─→ caffemodel ─ fcn-convert --verify ─→ safetensors

The weights are random, the same every time. The reference is the net built from its definition and run in
float64 at two image sizes: the report shows how far from it float32 is, by the net built in float32 and by
the hand-written FCN8s alike.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import cli, export
from caffe2torch.architectures import Architecture, Head, definition
from caffe2torch.build import build
from caffe2torch.net import Array, Blob, Net, from_message
from caffe2torch.plan import Parameter, plan
from caffe2torch.surgery import bilinear_kernel

SMALL = Architecture("FCN8s", heads=(Head(classes=5),), widths=(8, 12, 16, 24, 32, 64, 48))
SIZES = ((40, 57), (66, 51))
"""Heights and widths of the images that the nets are compared on."""
BLOBS = ("pool3", "pool4", "pool5", "score_fr", "upscore2", "fuse_pool4", "fuse_pool3")
"""What the reference keeps beside the output."""


def random_weights(net: Net, seed: int) -> Net:
    """The net with blobs that keep values in range through any depth; deconvolutions are bilinear.

    Each blob is made when it is read, from `seed` and its place: a net of any size takes no memory.
    """
    blobs: dict[str, list[Blob]] = {}
    for place, parameter in enumerate(plan(net).parameters()):
        shape = tuple(size for size in parameter.shape if size is not None)
        layer = parameter.key.rpartition(".")[0]
        blobs.setdefault(layer, []).append(_random_blob(shape, parameter, (seed, place)))
    layers = tuple(replace(layer, blobs=tuple(blobs.get(layer.name, ()))) for layer in net.layers)
    return replace(net, layers=layers, weights=f"random weights, seed {seed}")


def _random_blob(shape: tuple[int, ...], parameter: Parameter, seed: tuple[int, int]) -> Blob:
    def values() -> Array:
        if not parameter.trained:
            kernel = np.zeros(shape, np.float32)
            kernel[range(shape[0]), range(shape[0])] = bilinear_kernel(shape[-1])
            return kernel.reshape(-1)
        drawn = np.random.default_rng(seed).standard_normal(shape, np.float32)
        fan_in = max(1, int(np.prod(shape[1:])))
        drawn *= np.float32((2 / fan_in) ** 0.5 if len(shape) > 1 else 0.1)
        return drawn.reshape(-1)

    return Blob(shape, np.dtype(np.float32), values)


def write_reference(net: Net, path: Path) -> None:
    """Runs the net in float64 on random images of both SIZES; blobs go into an .npz for `--verify`."""
    import torch

    model, rng = build(net).double(), np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for k, size in enumerate(SIZES):
        image = torch.from_numpy(rng.uniform(-120, 130, (1, 3, *size)).astype(np.float32))
        with torch.no_grad():
            blobs = model.every_blob(data=image.double())
        arrays[f"{k}.in.data"] = image.numpy()
        arrays |= {f"{k}.blob.{name}": blobs[name].numpy() for name in BLOBS}
        arrays |= {f"{k}.out.{name}": blobs[name].numpy() for name in model.plan.outputs}
    np.savez(path, **arrays)


def main(folder: Path) -> int:
    """Makes the model and its reference in `folder`, converts, verifies; the exit code is fcn-convert's."""
    folder.mkdir(parents=True, exist_ok=True)
    caffemodel, reference = folder / "small-fcn8s.caffemodel", folder / "small-fcn8s.npz"
    net = random_weights(from_message(definition(SMALL)), seed=0)
    export(net, caffemodel)
    write_reference(net, reference)
    print(f"$ fcn-convert {caffemodel} --verify {reference}", flush=True)  # noqa: T201
    return cli.main([str(caffemodel), "--verify", str(reference)])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
