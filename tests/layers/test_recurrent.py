"""LSTM, RNN and LSTMUnit against loops over time written from Caffe's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from tests.single_layer import assert_close, run

TIMES, ITEMS, INPUTS, STATIC, SIZE = 4, 3, 5, 2, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, cont, static, states, weight_ih, bias, weight_static, weight_hh):
    h, c = states
    outputs = []
    for now, keep in zip(x, cont[:, :, None], strict=True):
        gates = now @ weight_ih.T + bias + static @ weight_static.T + (h * keep) @ weight_hh.T
        i, f, o, g = (gates[:, n * SIZE : (n + 1) * SIZE] for n in range(4))
        c = keep * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), h, c


def rnn(x, cont, static, states, weight_ih, bias, weight_static, weight_hh, weight_ho, bias_ho):
    (h,) = states
    outputs = []
    for now, keep in zip(x, cont[:, :, None], strict=True):
        h = np.tanh(now @ weight_ih.T + bias + static @ weight_static.T + (h * keep) @ weight_hh.T)
        outputs.append(np.tanh(h @ weight_ho.T + bias_ho))
    return np.stack(outputs), h


@pytest.mark.parametrize("has_static", [False, True])
@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize(("kind", "loops", "gates", "states"), [("LSTM", lstm, 4, 2), ("RNN", rnn, 1, 1)])
def test_recurrent(kind, loops, gates, states, exposed, has_static):
    rng = np.random.default_rng(7)
    x, static = rng.normal(size=(TIMES, ITEMS, INPUTS)), rng.normal(size=(ITEMS, STATIC))
    cont = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 0]])
    first = [rng.normal(size=(ITEMS, SIZE)) for _ in range(states)]
    shapes = [(gates * SIZE, INPUTS), (gates * SIZE,), (gates * SIZE, STATIC), (gates * SIZE, SIZE)]
    shapes += [(SIZE, SIZE), (SIZE,)] if kind == "RNN" else []
    blobs = [rng.normal(size=shape, scale=0.5) for shape in shapes]
    expected = loops(
        x, cont, static * has_static, first if exposed else [0 * state for state in first], *blobs
    )
    if not has_static:
        del blobs[2]
    bottoms = [x, cont, *([static] if has_static else []), *([s[None] for s in first] if exposed else [])]
    layer = f"type: '{kind}' recurrent_param {{ num_output: {SIZE} expose_hidden: {str(exposed).lower()} }}"
    tops = run(layer, *bottoms, blobs=blobs, tops=1 + states * exposed)
    assert_close(tops[0], expected[0])
    for ours, state in zip(tops[1:], expected[1:], strict=exposed):
        assert_close(ours, state[None], name="last state")


def test_lstm_unit():
    rng = np.random.default_rng(8)
    c, gates, cont = rng.normal(size=(1, ITEMS, SIZE)), rng.normal(size=(1, ITEMS, 4 * SIZE)), [[1, 0, 1]]
    i, f, o, g = np.split(gates, 4, 2)
    memory = np.array(cont)[:, :, None] * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    tops = run("type: 'LSTMUnit'", c, gates, cont, tops=2)
    assert_close(tops[0], memory, name="memory")
    assert_close(tops[1], sigmoid(o) * np.tanh(memory), name="output")


def test_embed_picks_rows():
    rows, bias = np.arange(12.0).reshape(4, 3), np.array([0.5, 0.25, -1.0])
    (y,) = run(
        "type: 'Embed' embed_param { num_output: 3 input_dim: 4 }", [[3, 0], [1, 1]], blobs=[rows, bias]
    )
    assert_close(y, rows[np.array([[3, 0], [1, 1]])] + bias)
