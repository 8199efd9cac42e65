"""`PYTHON tests/golden/in_place/make.py`: whether computing in place changes what Caffe computes, net by net.

PYTHON imports Caffe's `caffe`; it was the one of the package brocolli-caffe 9.0.2, on a CPU, in float32.
Nothing of this project takes part. Each net runs forward and backward in phase TRAIN twice, as it is and with
a name of its own for every top. `nets.tsv` says for each what differed: outputs, gradients or nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

import caffe
import numpy as np

FOLDER = Path(__file__).parent
NETS = 300
DRAW = np.random.default_rng(23)
OPS = (
    "AbsVal|",
    "BNLL|",
    "BatchNorm|",
    "Bias|bias_param { filler { type: 'uniform' min: -1 max: 1 } }",
    "Dropout|",
    "ELU|",
    "Exp|exp_param { scale: 0.3 }",
    "Flatten|",
    "LRN|lrn_param { local_size: 3 alpha: 2 }",
    "LRN|lrn_param { local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL }",
    "Log|log_param { scale: 0.05 shift: 9 }",
    "MVN|",
    "MVN|mvn_param { normalize_variance: false }",
    "PReLU|",
    "Power|power_param { scale: 0.5 shift: 1 }",
    "Power|power_param { power: 2 scale: 0.7 }",
    "Power|power_param { power: 2 scale: 0.4 shift: 0.2 }",
    "Power|power_param { scale: 0.5 }",
    "ReLU|",
    "ReLU|",
    "ReLU|",
    "ReLU|relu_param { negative_slope: 0.2 }",
    "Reshape|reshape_param { shape { dim: 0 dim: 6 dim: -1 dim: 1 } }",
    "Scale|scale_param { bias_term: true filler { type: 'uniform' min: -1 max: 1 } }",
    "Sigmoid|",
    "Softmax|",
    "TanH|",
    "Eltwise|eltwise_param { operation: SUM coeff: 0.5 coeff: 2 }",
    "Eltwise|eltwise_param { operation: PROD }",
    "Eltwise|eltwise_param { operation: MAX }",
    "Scale|scale_param { axis: 0 }",
    "Pooling|pooling_param { kernel_size: 2 stride: 2 }",
    "Convolution|convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: 'xavier' } }",
)
NEVER = ("AbsVal", "Convolution", "Flatten", "Pooling", "Reshape")
"""Never in place: Caffe refuses, or changes the shape of the blob."""
UNIFORM = "weight_filler { type: 'uniform' min: -1 max: 1 }"


def layer(kind: str, name: str, bottoms: list[str], top: str, fields: str = "") -> str:
    ends = "".join(f" bottom: '{bottom}'" for bottom in bottoms)
    return f"layer {{ name: '{name}' type: '{kind}'{ends} top: '{top}' {fields} }}"


def branched() -> str:
    """A ReLU with two readers, on one of which a Dropout computes in place."""
    lines = drawn().split("\n")[:3]
    lines += [layer("ReLU", "l0", ["c"], "c"), layer("Flatten", "l1", ["c"], "b1")]
    frozen = "{ param { lr_mult: 0 } param { lr_mult: 0 }"  # which reads nothing that is overwritten
    lines += [line.replace("{", frozen, 1) if "'InnerProduct'" in line else line for line in head("h", "c")]
    return "\n".join([*lines, layer("Dropout", "l2", ["b1"], "b1"), *head("f", "b1")])


def drawn() -> str:
    """A convolution, three layers or so on it, in place more often than not, and one loss or two."""
    sized = "input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } }"
    lines = [
        layer("Input", "x", [], "x", sized),
        layer("Input", "t", [], "t", "input_param { shape { dim: 2 dim: 3 } }"),
    ]
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }" if DRAW.random() < 0.15 else ""
    made = f"{frozen} convolution_param {{ num_output: 6 kernel_size: 1 bias_term: true {UNIFORM} }}"
    lines.append(layer("Convolution", "c", ["x"], "c", made))
    if DRAW.random() < 0.3:
        lines.append(layer("Convolution", "d", ["x"], "d", made.replace(frozen, "")))
    other, blob, read, flat = "d" if "'d'" in lines[-1] else "", "c", False, False
    for i in range(DRAW.integers(1, 5)):
        kind, _, fields = OPS[DRAW.integers(len(OPS))].partition("|")
        two = kind == "Eltwise" or "axis: 0" in fields
        image = kind in ("LRN", "Pooling", "Convolution", "Reshape")
        if (two and (not other or flat)) or (flat and (image or kind == "Flatten")):
            continue
        in_place = kind not in NEVER and not read and DRAW.random() < 0.75
        top = blob if in_place else f"b{i}"
        lines.append(layer(kind, f"l{i}", [blob, other] if two else [blob], top, fields))
        other = "" if two or kind in ("Pooling", "Reshape") else other
        flat |= kind == "Flatten"
        blob, read = top, False
        if DRAW.random() < 0.12:
            lines += head(f"h{i}", blob)
            read = True
    return "\n".join(lines + head("f", blob))


def head(name: str, blob: str) -> list[str]:
    """A loss on a blob."""
    dense = f"inner_product_param {{ num_output: 3 {UNIFORM} }}"
    loss = layer("EuclideanLoss", f"{name}_loss", [name, "t"], f"{name}_loss")
    return [layer("InnerProduct", name, [blob], name, dense), loss]


def apart(net: str) -> str:
    """The net with a name of its own for every top."""
    names: dict[str, str] = {}
    lines = []
    for i, line in enumerate(net.split("\n")):
        line = re.sub(r"bottom: '(\w+)'", lambda match: f"bottom: '{names[match[1]]}'", line)
        top = re.search(r" top: '(\w+)'", line)[1]
        names[top] = top if top in "xt" or top.endswith("_loss") else f"top{i}"
        lines.append(line.replace(f" top: '{top}'", f" top: '{names[top]}'"))
    return "\n".join(lines)


def ran(net: str, seed: int, weights: dict | None = None) -> tuple[dict, list, list]:
    """The parameters of a net, its losses, and the gradients of the parameters."""
    caffe.set_random_seed(seed)
    path = FOLDER / "net.prototxt"
    path.write_text(net)
    model = caffe.Net(str(path), caffe.TRAIN)
    path.unlink()
    draw = np.random.default_rng(seed)
    for name in ("x", "t"):
        model.blobs[name].data[...] = draw.standard_normal(model.blobs[name].data.shape)
    for name, blobs in (weights or {}).items():
        for blob, values in zip(model.params[name], blobs, strict=True):
            blob.data[...] = values
    kept = {name: [np.array(blob.data) for blob in blobs] for name, blobs in model.params.items()}
    caffe.set_random_seed(seed)
    model.forward()
    losses = [float(blob.data) for name, blob in model.blobs.items() if name.endswith("_loss")]
    model.backward()
    return kept, losses, [np.array(blob.diff) for blobs in model.params.values() for blob in blobs]


def differ(a: list, b: list) -> bool:
    return not all(
        np.allclose(x, y, rtol=1e-3, atol=1e-5 * np.abs(y).max()) for x, y in zip(a, b, strict=True)
    )


def differing(net: str) -> str:
    """What differs in one of three draws of parameters and inputs; empty for a net that leaves float32."""
    found = ["nothing"]
    for seed in (1, 2, 3):
        weights, outputs, gradients = ran(apart(net), seed)
        if not all(np.isfinite(x).all() and np.abs(x).max() < 1e6 for x in (outputs, *gradients)):
            return ""
        _, own_outputs, own_gradients = ran(net, seed, weights)
        found += ["gradients"] * differ(own_gradients, gradients) + ["outputs"] * differ(own_outputs, outputs)
    return max(found, key=("nothing", "gradients", "outputs").index)


def main() -> None:
    """Writes nets.tsv."""
    caffe.set_mode_cpu()
    rows = {net: differing(net) for net in [branched()]}
    while len(rows) < NETS:
        net = drawn()
        # A Flatten over a Reshape has no gradient either way.
        if net != apart(net) and not ("Reshape" in net and "Flatten" in net) and (what := differing(net)):
            rows[net] = what
    lines = [f"{what}\t{net}".replace("\n", " ") for net, what in rows.items()]
    (FOLDER / "nets.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
