"""Layers as the `py` format writes them: one list, of Caffe's golden cases and of forms that these lack.

Every case is written, run where caffe2torch cannot be imported, and compared with `forward`; a golden case
also with what Caffe stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from caffe2torch.errors import UnsupportedLayer
from caffe2torch.layers.converter import Converter
from caffe2torch.layers.registry import converters
from caffe2torch.modules.caffe_net import build
from caffe2torch.net import Net
from caffe2torch.net.reading import read
from tests.nets import net_of
from tests.places import GOLDEN
from tests.python_files import Job, assert_clean, errors, layer, written

SHAPES = {
    "x": "dim: 2 dim: 6 dim: 5 dim: 7",
    "factor": "dim: 2 dim: 6",
    "one": "dim: 2",
    "maps": "dim: 2 dim: 6 dim: 1 dim: 1",
    "volume": "dim: 2 dim: 6 dim: 3 dim: 2 dim: 4",
    "sequence": "dim: 2 dim: 6 dim: 5",
    "last": "dim: 5 dim: 7",
    "small": "dim: 2 dim: 6 dim: 3 dim: 4",
    "channels": "dim: 6",
    "six": "dim: 2 dim: 6 dim: 1 dim: 2 dim: 1 dim: 2",
    "narrow": "dim: 2 dim: 6 dim: 5 dim: 4",
    "part": "dim: 2 dim: 4 dim: 3 dim: 4",
}
"""The shapes of the bottoms of FORMS; `unknown` has none, and any other name is as `x`."""
FORMS = {
    "Permute": ("x", "y", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "Normalize": ("x", "y", "norm_param { across_spatial: false channel_shared: false }"),
    "PriorBox": (
        "x other",
        "y",
        "prior_box_param { min_size: 3 max_size: 5 aspect_ratio: 2 flip: true clip: true }",
    ),
    "PriorBoxClustered": (
        "x other",
        "y",
        "prior_box_param { width: 3 height: 5 width: 2.5 height: 4 clip: true "
        "offset_h: 0.5 offset_w: 0.5 offset_h: 1 offset_w: 0.25 }",
    ),
    "ShuffleChannel": ("x", "y", "shuffle_channel_param { group: 3 }"),
    "Axpy": ("factor x other", "y", ""),
    "Axpy of maps": ("maps x other", "y", ""),
    "Interp": ("x", "y", "interp_param { zoom_factor: 3 }"),
    "CropCenter": ("x", "y", "crop_center_param { crop_size: [0, 0, 1, 2] }"),
    "DepthwiseConvolution": ("x", "y", "convolution_param { num_output: 6 kernel_size: 3 stride: 2 }"),
    "Swish": ("x", "y", "swish_param { beta: 0.5 }"),
    "MVN across": ("x", "y", "mvn_param { across_channels: true eps: 0.25 }"),
    "MVN centred": ("x", "y", "mvn_param { normalize_variance: false }"),
    "BatchNorm sequences": ("sequence", "y", ""),
    "ArgMax": ("x", "y", ""),
    "ArgMax axis": ("x", "y", "argmax_param { axis: -2 }"),
    "Filter": ("x other one", "y z", ""),
    "ConvolutionDepthwise": ("x", "y", "convolution_param { num_output: 6 kernel_size: 3 pad: 1 }"),
    "HoleConvolution": ("x", "y", "convolution_param { num_output: 4 kernel_size: 2 hole: 2 }"),
    "LRNMap": ("x", "y", "lrn_map_param { local_size: 3 alpha: 0.5 beta: 0.75 }"),
    "BatchNorm flat": ("factor", "y", ""),
    "BatchNorm volumes": ("volume", "y", ""),
    "BatchNorm eps": ("x", "y", "batch_norm_param { eps: 0.25 }"),
    "BatchNorm near the default eps": ("x", "y", "batch_norm_param { eps: 2e-5 }"),
    "BatchNorm affine": ("x", "m", ""),
    "BatchNorm without a bias": ("x", "m", ""),
    "BatchNorm by rows": ("x", "m", ""),
    "BatchNorm by channels and rows": ("x", "m", ""),
    "BatchNorm by a bottom": ("x", "m", ""),
    "BatchNorm and a Bias": ("x", "m", ""),
    "Scale of two": ("x factor", "y", "scale_param { axis: 0 }"),
    "Bias of two": ("x factor", "y", "bias_param { axis: 0 }"),
    "Bias of the last axes": ("x last", "y", "bias_param { axis: -2 }"),
    "Convolution twice": ("x other", "y z", "convolution_param { num_output: 4 kernel_size: 2 }"),
    "Crop of the width": ("x narrow", "y", "crop_param { axis: 3 offset: 2 }"),
    "Crop of channels, too": ("x part", "y", "crop_param { axis: 1 offset: [2, 1, 3] }"),
    "Eltwise coeff": ("x other", "y", "eltwise_param { coeff: 0.5 coeff: -2 }"),
    "Flatten middle": ("x", "y", "flatten_param { end_axis: 2 }"),
    "InnerProduct transposed": (
        "x",
        "y",
        "inner_product_param { num_output: 4 axis: -1 transpose: true bias_term: false }",
    ),
    "Interp size": ("x", "y", "interp_param { height: 9 width: 4 }"),
    "Interp height": ("x", "y", "interp_param { height: 9 zoom_factor: 2 shrink_factor: 1 }"),
    "Interp width": ("x", "y", "interp_param { width: 4 zoom_factor: 2 shrink_factor: 1 }"),
    "Interp factor": ("x", "y", "interp_param { height: 9 width: 4 zoom_factor: 2 }"),
    "LRN k": ("x", "y", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.25 k: 2 }"),
    "LRN of defaults": ("x", "y", ""),
    "Exp base": ("x", "y", "exp_param { base: 2 scale: 0.5 shift: 0.25 }"),
    "Log base": ("x", "y", "log_param { base: 2 scale: 0.1 shift: 3 }"),
    "Power square": ("x", "y", "power_param { power: 2 scale: 0.5 shift: 3 }"),
    "Power constant": ("x", "y", "power_param { scale: 0 shift: 2.5 }"),
    "Reduction mean": ("x", "y", "reduction_param { operation: MEAN axis: 2 coeff: 0.5 }"),
    "Reduction sumsq": ("x", "y", "reduction_param { operation: SUMSQ axis: 1 }"),
    "Swish of one": ("x", "y", ""),
    "SimpleCrop": ("x small", "y", ""),
    "Slice of one": ("x", "y", ""),
}
"""What the golden cases lack: types of forks, and further forms. Bottoms, tops, parameters."""
READERS = {
    "BatchNorm affine": ("Scale", "m", "scale_param { bias_term: true }"),
    "BatchNorm without a bias": ("Scale", "m", ""),
    "BatchNorm by rows": ("Scale", "m", "scale_param { axis: 2 bias_term: true }"),
    "BatchNorm by channels and rows": ("Scale", "m", "scale_param { num_axes: 2 bias_term: true }"),
    "BatchNorm by a bottom": ("Scale", "m channels", "scale_param { bias_term: true }"),
    "BatchNorm and a Bias": ("Bias", "m", ""),
}
"""The layer `reader` that reads the top of a case of FORMS. Type, bottoms, parameters."""
REFUSED = {
    "BatchNorm of one axis": ("channels", "y", ""),
    "BatchNorm of six axes": ("six", "y", ""),
    "BatchNorm by the batch": ("x", "y", "batch_norm_param { use_global_stats: false }"),
    "Convolution of rows": ("volume", "y", "convolution_param { num_output: 4 kernel_size: 1 axis: 2 }"),
    "LRN and a pooling": (
        "x",
        "y",
        "lrn_param { fuse_type: FUSED_POOL_MAX pooling_param { kernel_size: 2 } }",
    ),
    "Pooling and its mask": ("x", "y z", "pooling_param { kernel_size: 2 }"),
    "Reshape of what": ("unknown", "y", "reshape_param { shape { dim: 0 dim: -1 } }"),
    "Permute of what": ("unknown", "y", "permute_param { order: 1 }"),
    "Scale of what": ("unknown", "y", ""),
    "Scale by what": ("x unknown", "y", "scale_param { axis: 0 }"),
    "Axpy of what": ("factor unknown x", "y", ""),
    "Normalize of three axes": ("sequence", "y", "norm_param { channel_shared: false }"),
    "Normalize of five axes": ("volume", "y", "norm_param { channel_shared: false }"),
}
"""What a type with a Python form does not write, in the form of FORMS."""
STATISTICS = [np.arange(6), np.arange(1, 7), [2.0]]
BLOBS = {
    "Normalize": [np.arange(1, 7)],
    "Normalize of three axes": [np.arange(1, 7)],
    "Normalize of five axes": [np.arange(1, 7)],
    "Convolution of rows": [np.arange(12).reshape(4, 3, 1, 1), np.arange(4)],
    "Scale of what": [np.arange(6)],
    "BatchNorm of one axis": [[3.0], [4.0], [2.0]],
    "BatchNorm near the default eps": [np.arange(6), np.arange(1, 7) * 1e-5, [2.0]],
    "Convolution twice": [np.arange(96).reshape(4, 6, 2, 2) / 96, np.arange(4)],
    "InnerProduct transposed": [np.arange(28).reshape(7, 4) / 28],
    "DepthwiseConvolution": [np.arange(54).reshape(6, 1, 3, 3) / 54, np.arange(6)],
    "ConvolutionDepthwise": [np.arange(54).reshape(6, 1, 3, 3) / 54, np.arange(6)],
    "HoleConvolution": [np.arange(96).reshape(4, 6, 2, 2) / 96, np.arange(4)],
}
READER_BLOBS = {
    "BatchNorm affine": [np.arange(2, 8), np.arange(6)],
    "BatchNorm without a bias": [np.arange(2, 8)],
    "BatchNorm by rows": [np.arange(2, 7), np.arange(5)],
    "BatchNorm by channels and rows": [np.arange(30).reshape(6, 5), np.arange(30).reshape(6, 5) - 7],
    "BatchNorm by a bottom": [np.arange(6)],
    "BatchNorm and a Bias": [np.arange(6)],
}
GOLDEN_CASES = {
    path.stem: path for folder in ("layers", "forks") for path in (GOLDEN / folder).glob("*.prototxt")
}
WRITTEN = {name for name, known in converters().items() if known.python is not Converter.python}
"""The layer types that have a Python form."""
_GIVEN = {case.split()[0] for case in FORMS}.union(
    *(re.findall(r'type: "(\w+)"', path.read_text()) for path in GOLDEN_CASES.values())
)
PLAIN = dict.fromkeys(WRITTEN - _GIVEN, ("x", "y", ""))
"""The types that have no other case: one bottom, no blobs, no parameters."""
CASES = sorted({*GOLDEN_CASES, *FORMS, *PLAIN})


def net_of_case(case: str) -> Net:
    """The net of a golden case, or inputs and one layer `l`."""
    if prototxt := GOLDEN_CASES.get(case):
        weights = prototxt.with_suffix(".caffemodel")
        return read(prototxt, weights if weights.exists() else None)
    kind, (bottoms, tops, parameters) = case.split()[0], (FORMS | PLAIN | REFUSED)[case]
    text, blobs = layer("l", kind, bottoms, tops, parameters), {"l": BLOBS.get(case, [])}
    if kind == "BatchNorm":
        blobs["l"] = blobs["l"] or STATISTICS
    if case in READERS:
        reader, read_blobs, reader_parameters = READERS[case]
        text += layer("reader", reader, read_blobs, "y", reader_parameters)
        bottoms += read_blobs.removeprefix(tops)
        blobs["reader"] = READER_BLOBS[case]
    shapes = {blob: f"shape {{ {SHAPES.get(blob, SHAPES['x'])} }}" for blob in bottoms.split()} | {
        "unknown": ""
    }
    inputs = "".join(
        layer(blob, "Input", "", blob, f"input_param {{ {shapes[blob]} }}") for blob in bottoms.split()
    )
    return net_of(inputs + text, **{name: arrays for name, arrays in blobs.items() if arrays})


def store_forward(net: Net, path: Path, caffe: Path | None) -> None:
    """Writes inputs, Caffe's or random ones, and the outputs of `forward` in the form of golden arrays."""
    model, draw = build(net), np.random.default_rng(3)
    if caffe:
        arrays = {key: array for key, array in np.load(caffe).items() if key.startswith("in.")}
    else:
        shapes = model.plan.inputs.items()
        arrays = {f"in.{blob}": draw.normal(size=shape).astype(np.float32) for blob, shape in shapes}
    with torch.no_grad():
        outputs = model(*(torch.from_numpy(arrays[f"in.{blob}"]) for blob in model.plan.inputs))
    found = outputs if isinstance(outputs, dict) else {model.plan.outputs[0]: outputs}
    np.savez(path, **arrays, **{f"out.{blob}": tensor.numpy() for blob, tensor in found.items()})


@dataclass(frozen=True)
class Written:
    """The cases' files: where they are, how far their numbers are off, and why a case has none."""

    folder: Path
    from_forward: dict[str, dict[str, float]]
    from_caffe: dict[str, dict[str, float]]
    problems: dict[str, Exception]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Written:
    """Every case, written; all files run in one process."""
    folder, arrays = tmp_path_factory.mktemp("layers"), tmp_path_factory.mktemp("arrays")
    forward: dict[str, list[Job]] = {}
    caffe: dict[str, list[Job]] = {}
    problems: dict[str, Exception] = {}
    for index, case in enumerate(CASES):
        net, path, stored = net_of_case(case), folder / f"case{index}.py", arrays / f"{index}.npz"
        golden = GOLDEN_CASES[case].with_suffix(".npz") if case in GOLDEN_CASES else None
        try:
            forward[case] = written(net, path, stored)
        except Exception as error:  # reported by the test of this case; the others still run
            problems[case] = error
            continue
        store_forward(net, stored, golden)
        if golden:
            caffe[case] = [Job(**{**vars(job), "arrays": str(golden)}) for job in forward[case]]
    return Written(folder, run(forward), run(caffe), problems)


def run(jobs: dict[str, list[Job]]) -> dict[str, dict[str, float]]:
    """How far each case's outputs are off."""
    found = errors([job for case in jobs.values() for job in case])
    own = {Path(job.path).name: case for case, of_case in jobs.items() for job in of_case}
    answers: dict[str, dict[str, float]] = {case: {} for case in jobs}
    for key, error in found.items():
        path, blob = key.split(" ", 1)
        answers[own[path]][blob] = error
    return answers


@pytest.mark.parametrize("case", CASES)
def test_a_layer_in_python_gives_what_forward_gives(case, files):
    problem = files.problems.get(case)
    if isinstance(problem, UnsupportedLayer):
        refused = re.search(r"\((\w+)\)", str(problem)).group(1)
        assert refused not in WRITTEN, f"{problem}: if it needs parameters, give it a case in FORMS"
        assert "has no readable Python form yet; use --format" in str(problem)
        return
    assert problem is None, f"{problem}: if it needs blobs or parameters, give it a case in FORMS"
    assert files.from_forward[case]
    assert max(files.from_forward[case].values()) <= 1e-6, files.from_forward[case]
    if case in GOLDEN_CASES:
        allowed = 1e-6 if case.startswith("batchnorm") else 1e-5
        assert max(files.from_caffe[case].values()) <= allowed, files.from_caffe[case]


@pytest.mark.parametrize("case", ["BatchNorm sequences", *READERS])
def test_a_batch_norm_is_written_with_the_scale_and_bias_that_follow_it(case, files):
    """The numbers do not show what is written as one; nor an `eps` that is torch's own."""
    text = (files.folder / f"case{CASES.index(case)}.py").read_text()
    (options,) = re.findall(r"nn\.BatchNorm\dd\(6([^)]*)\)", text)
    assert options == ("" if case == "BatchNorm affine" else ", affine=False")


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_type_does_not_write_is_refused(case, tmp_path):
    with pytest.raises(UnsupportedLayer, match="has no readable Python form yet"):
        written(net_of_case(case), tmp_path / "a.py", tmp_path / "none.npz")


def test_files_are_what_ruff_would_make_of_them(files):
    assert_clean(files.folder, "--extend-select", "E501,I")


def test_every_type_with_a_python_form_has_a_case():
    cases = {layer.type for case in CASES for layer in net_of_case(case).layers}
    assert WRITTEN - cases == set()
    assert len(CASES) == len(GOLDEN_CASES) + len(FORMS) + len(PLAIN), "a form has the name of a golden case"
