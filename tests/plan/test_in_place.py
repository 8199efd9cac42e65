"""Where Caffe spoils its own numbers by computing in place: said for those nets alone, and ours are right."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.plan import plan
from caffe2torch.plan.in_place import gradient_notes, output_notes
from tests.nets import net_of
from tests.places import GOLDEN

CORNERS = GOLDEN / "corners"
SPOILED = {
    "inplace_Power_529": "'p' (Power) overwrites in place what its own backward pass needs",
    "stack_conv_relu_bn_scale_inplace": (
        "'bn' (BatchNorm) overwrites in place what the backward pass of 'rc' (ReLU) needs"
    ),
    "stack_relu_scale_inplace": (
        "'sc' (Scale) overwrites in place what the backward pass of 'rc' (ReLU) needs"
    ),
    "stack_sigmoid_scale_inplace": (
        "'sc' (Scale) overwrites in place what the backward pass of 'sg' (Sigmoid) needs"
    ),
}


def test_every_net_of_which_caffe_s_numbers_differ_and_no_other() -> None:
    """The file says what Caffe computed with and without sharing memory, see make.py there."""
    rows = [line.split("\t") for line in (GOLDEN / "in_place" / "nets.tsv").read_text().splitlines()]
    assert len(rows) == 300
    assert {what for what, _ in rows} == {"nothing", "gradients", "outputs"}
    for what, text in rows:
        planned = plan(net_of(text), "TRAIN")
        found = "gradients" if gradient_notes(planned) else "nothing"
        assert ("outputs" if output_notes(planned) else found) == what, text


@pytest.mark.parametrize("case", SPOILED)
def test_it_is_said_once_when_built_to_train(case: str) -> None:
    net = c2t.read(CORNERS / case / "net.prototxt")
    with pytest.warns(UserWarning, match="Caffe's gradients differ: ") as said:
        c2t.build(net, "TRAIN")
    assert [str(warning.message) for warning in said] == [
        f"Caffe's gradients differ: {SPOILED[case]}; here they are the derivatives (docs/caffe.md)"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        c2t.build(net)


@pytest.mark.filterwarnings("ignore:Caffe's gradients differ")
@pytest.mark.parametrize("case", SPOILED)
def test_the_gradients_are_the_derivatives(case: str) -> None:
    """Central differences of the loss in float64, along the gradient; Caffe's own are far from it."""
    folder = CORNERS / case
    model = c2t.build(c2t.read(folder / "net.prototxt", folder / "weights.caffemodel"), "TRAIN").double()
    with np.load(folder / "in.npz") as given, np.load(folder / "caffe.npz") as stored:
        inputs = {name: torch.from_numpy(given[f"0.{name}"]).double() for name in model.inputs}
        caffe = torch.from_numpy(stored["g0.c.0" if "g0.c.0" in stored else "gi0.data"]).double()
    varied = model.blobs()["c"][0] if "c" in model.blobs() else inputs["data"].requires_grad_()

    def loss() -> torch.Tensor:
        return model.loss(model(**inputs))

    (gradient,) = torch.autograd.grad(loss(), varied)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        ends = [moved(varied, sign * 1e-6 * direction, loss) for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / 2e-6
    assert slope == pytest.approx(gradient.norm().item(), rel=1e-5)
    assert abs((caffe * direction).sum().item() / slope - 1) > 0.05


def moved(varied: torch.Tensor, step: torch.Tensor, loss: Callable[[], torch.Tensor]) -> float:
    """The loss a step away."""
    varied += step
    value = float(loss())
    varied -= step
    return value


def test_an_eltwise_in_place_adds_what_it_says() -> None:
    """Caffe clears its first bottom before it adds; said in both phases, and in the notes of the net."""
    folder = CORNERS / "eltwise_inplace"
    net = c2t.read(folder / "net.prototxt", folder / "weights.caffemodel")
    said = (
        r"Caffe's outputs differ: in place, 'e' \(Eltwise\) overwrites its bottom there before it has read it"
    )
    for phase in ("TEST", "TRAIN"):
        with pytest.warns(UserWarning, match=said):
            model = c2t.build(net, phase)
    with np.load(folder / "in.npz") as given, np.load(folder / "caffe.npz") as caffe:
        data = torch.from_numpy(given["0.data"])
        values = model(data=data, **{"label": torch.zeros(4, 3)} if "label" in model.inputs else {})["a"]
        b = torch.from_numpy(caffe["r0.b"])
        torch.testing.assert_close(torch.from_numpy(caffe["r0.a"]), b)
        a = torch.nn.functional.linear(data, *model.blobs()["a"])
        torch.testing.assert_close(values, a + b)
    planned = plan(plan(net).net)
    assert [note for note in planned.net.notes if "Caffe's outputs differ" in note] == [
        *output_notes(planned)
    ]


WITHHELD = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 dim: 4 } } }
layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 3 dim: 2 } } }
layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 3 dim: 1 } } }
%s
layer { name: "f" type: "Flatten" bottom: "h" top: "f" }
layer { name: "y" type: "InnerProduct" bottom: "f" top: "y" inner_product_param { num_output: 1 } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "l" }
"""
LSTM = (
    'layer { name: "h" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param { num_output: 5 } }'
)
LEARNED = (
    'layer { name: "c" type: "InnerProduct" bottom: "x" top: "c" inner_product_param { num_output: 6 } }'
)
SHAPED = (
    'layer { name: "h" type: "Reshape" bottom: "c" top: "h" '
    "reshape_param { shape { dim: 3 dim: 2 dim: 3 } } }"
)


@pytest.mark.parametrize(
    ("below", "named"),
    [
        (LSTM, "'h' (LSTM)"),
        (LEARNED + SHAPED, "'h' (Reshape)"),
        (LSTM + 'layer { name: "r" type: "ReLU" bottom: "h" top: "h" }', "'h' (LSTM)"),
        (LSTM + 'layer { name: "s" type: "Silence" bottom: "h" }', ""),  # two readers get a Split between
        (SHAPED.replace('"c"', '"x"').replace("dim: 2 dim: 3", "dim: 4 dim: 2"), ""),  # nobody wants it
    ],
)
def test_a_flatten_leaves_some_without_a_gradient(below: str, named: str) -> None:
    """Caffe 1.0 trains nothing below them: it leaves the gradients of an LSTM under a Flatten at 0."""
    notes = gradient_notes(plan(net_of(WITHHELD % below), "TRAIN"))
    assert [note.removesuffix("; here they are the derivatives (docs/caffe.md)") for note in notes] == (
        [f"Caffe's gradients differ: 'f' (Flatten) leaves {named} without one"] if named else []
    )


def test_what_nobody_wants_is_not_said() -> None:
    """Below a frozen convolution, or without a loss above, nothing is spoiled."""
    text = (CORNERS / "stack_relu_scale_inplace" / "net.prototxt").read_text()
    frozen = text.replace(
        'top:"c" convolution_param', f'top:"c" {"param { lr_mult: 0 } " * 2}convolution_param'
    )
    assert frozen != text
    for net in (frozen, "\n".join(text.strip().split("\n")[:-1])):
        assert gradient_notes(plan(net_of(net), "TRAIN")) == ()
    assert gradient_notes(plan(net_of("force_backward: true " + frozen), "TRAIN"))


def test_a_long_chain() -> None:
    """Time that grows with the square of the layers would take an hour."""
    chain = "".join(f'layer {{ name: "r{i}" type: "ReLU" bottom: "c" top: "c" }}\n' for i in range(3000))
    lines = (CORNERS / "stack_relu_scale_inplace" / "net.prototxt").read_text().split("\n")
    planned = plan(net_of("\n".join((*lines[:3], chain, *lines[3:]))), "TRAIN")
    assert "and 2998 more" in gradient_notes(planned)[0]
