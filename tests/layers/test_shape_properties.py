"""Layers that move or choose values, over random legal parameters: to the bit what slow loops give."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.single_layer import arrays, axes_of, each, few, ints, run, shapes


@few
@given(st.data(), shapes())
def test_crop(data, shape):
    axis, given_axis = data.draw(axes_of(shape))
    sizes = [data.draw(ints(1, size)) for size in shape[axis:]]
    offsets = [data.draw(ints(0, size - small)) for size, small in zip(shape[axis:], sizes, strict=True)]
    if data.draw(st.booleans()):
        offsets = [min(offsets)] * len(offsets)
    x, reference = data.draw(arrays(shape)), np.zeros((*(7,) * axis, *sizes))
    y = np.empty((*shape[:axis], *sizes), np.float32)
    for index in np.ndindex(y.shape):
        y[index] = x[(*index[:axis], *(i + o for i, o in zip(index[axis:], offsets, strict=True)))]
    given_offsets = offsets[:1] if len(set(offsets)) == 1 else offsets
    p = f"axis: {given_axis} {each('offset', given_offsets if any(offsets) else [])}"
    (ours,) = run(f"type: 'Crop' crop_param {{ {p} }}", x, reference)
    np.testing.assert_array_equal(ours, y)


@few
@given(st.data(), shapes(), st.booleans())
def test_slice(data, shape, equal):
    axis, given_axis = data.draw(axes_of(shape))
    size = shape[axis]
    points = sorted(data.draw(st.sets(ints(1, size - 1)))) if size > 1 else []
    if equal:
        tops = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        points = [size // tops * n for n in range(1, tops)]
    x = data.draw(arrays(shape))
    name = "slice_dim" if given_axis >= 0 and data.draw(st.booleans()) else "axis"
    p = f"{name}: {given_axis} {'' if equal else each('slice_point', points)}"
    ours = run(f"type: 'Slice' slice_param {{ {p} }}", x, tops=len(points) + 1)
    edges = [0, *points, size]
    for top, y in enumerate(ours):
        wide = edges[top + 1] - edges[top]
        assert y.shape == (*shape[:axis], wide, *shape[axis + 1 :])
        for index in np.ndindex(y.shape):
            assert y[index] == x[(*index[:axis], index[axis] + edges[top], *index[axis + 1 :])]


@few
@given(st.data(), shapes())
def test_concat(data, shape):
    axis, given_axis = data.draw(axes_of(shape))
    sizes = data.draw(st.lists(ints(1, 3), min_size=1, max_size=4))
    xs = [data.draw(arrays((*shape[:axis], size, *shape[axis + 1 :]))) for size in sizes]
    y = np.empty((*shape[:axis], sum(sizes), *shape[axis + 1 :]), np.float32)
    for index in np.ndindex(y.shape):
        bottom, at = 0, index[axis]
        while at >= sizes[bottom]:
            bottom, at = bottom + 1, at - sizes[bottom]
        y[index] = xs[bottom][(*index[:axis], at, *index[axis + 1 :])]
    name = "concat_dim" if given_axis >= 0 and data.draw(st.booleans()) else "axis"
    (ours,) = run(f"type: 'Concat' concat_param {{ {name}: {given_axis} }}", *xs)
    np.testing.assert_array_equal(ours, y)


@few
@given(st.data(), shapes(), ints(1, 3))
def test_tile(data, shape, tiles):
    x, (axis, given_axis) = data.draw(arrays(shape)), data.draw(axes_of(shape))
    (ours,) = run(f"type: 'Tile' tile_param {{ axis: {given_axis} tiles: {tiles} }}", x)
    assert ours.shape == (*shape[:axis], shape[axis] * tiles, *shape[axis + 1 :])
    for index in np.ndindex(ours.shape):
        assert ours[index] == x[(*index[:axis], index[axis] % shape[axis], *index[axis + 1 :])]


@few
@given(st.data(), shapes())
def test_flatten(data, shape):
    x, (start, given_start) = data.draw(arrays(shape)), data.draw(axes_of(shape))
    end, given_end = data.draw(axes_of(shape))
    assume(start <= end)
    (ours,) = run(f"type: 'Flatten' flatten_param {{ axis: {given_start} end_axis: {given_end} }}", x)
    assert ours.shape == (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
    assert ours.ravel().tolist() == x.ravel().tolist()


@few
@given(st.data(), shapes())
def test_reshape(data, shape):
    """A shape of some factors of the reshaped axes, some of them said by 0 or -1."""
    start = data.draw(ints(0, len(shape)))
    end = data.draw(ints(start, len(shape)))
    left, sizes = math.prod(shape[start:end]), []
    while left > 1 or (len(sizes) < 3 and data.draw(st.booleans())):
        sizes.append(data.draw(st.sampled_from([n for n in range(1, left + 1) if left % n == 0])))
        left //= sizes[-1]
    dims = [
        0 if start + i < len(shape) and shape[start + i] == size and data.draw(st.booleans()) else size
        for i, size in enumerate(sizes)
    ]
    if dims and data.draw(st.booleans()):
        dims[data.draw(ints(0, len(dims) - 1))] = -1
    axis = data.draw(st.sampled_from([start, start - len(shape) - 1]))
    num_axes = -1 if end == len(shape) and data.draw(st.booleans()) else end - start
    x = data.draw(arrays(shape))
    p = f"shape {{ {each('dim', dims)} }} axis: {axis} num_axes: {num_axes}"
    (ours,) = run(f"type: 'Reshape' reshape_param {{ {p} }}", x)
    assert ours.shape == (*shape[:start], *sizes, *shape[end:])
    assert ours.ravel().tolist() == x.ravel().tolist()


def largest(line, count):
    """(value, position) of the largest; Caffe sorts pairs of both, so of equals the last comes first."""
    return sorted(((value, position) for position, value in enumerate(line)), reverse=True)[:count]


@few
@given(st.data(), shapes(), st.booleans())
def test_argmax_over_an_axis(data, shape, wants_value):
    axis, given_axis = data.draw(axes_of(shape))
    count = data.draw(ints(1, shape[axis]))
    x = np.round(data.draw(arrays(shape)))  # with many equals
    y = np.empty((*shape[:axis], count, *shape[axis + 1 :]), np.float32)
    for index in np.ndindex(y.shape):
        line = x[(*index[:axis], slice(None), *index[axis + 1 :])]
        value, position = largest(line, count)[index[axis]]
        y[index] = value if wants_value else position
    p = f"axis: {given_axis} top_k: {count} out_max_val: {str(wants_value).lower()}"
    (ours,) = run(f"type: 'ArgMax' argmax_param {{ {p} }}", x)
    np.testing.assert_array_equal(ours, y)


@few
@given(st.data(), shapes(2), st.booleans())
def test_argmax_over_whole_items(data, shape, wants_value):
    x = np.round(data.draw(arrays(shape)))
    count = data.draw(ints(1, math.prod(shape[1:])))
    y = np.empty((shape[0], 1 + wants_value, count, *(1,) * (len(shape) - 3)), np.float32)
    for item in range(shape[0]):
        for k, (value, position) in enumerate(largest(x[item].ravel(), count)):
            y[(item, 0, k)] = position
            if wants_value:
                y[(item, 1, k)] = value
    (ours,) = run(
        f"type: 'ArgMax' argmax_param {{ top_k: {count} out_max_val: {str(wants_value).lower()} }}", x
    )
    np.testing.assert_array_equal(ours, y)


@few
@given(st.data(), shapes(1, 4))
def test_batch_reindex_and_filter(data, shape):
    x = data.draw(arrays(shape))
    index = data.draw(st.lists(ints(0, shape[0] - 1), min_size=1, max_size=6))
    (ours,) = run("type: 'BatchReindex'", x, np.array(index))
    assert [item.tolist() for item in ours] == [x[i].tolist() for i in index]
    selector = data.draw(st.lists(st.sampled_from([0, 1, -2]), min_size=shape[0], max_size=shape[0]))
    first, second = run("type: 'Filter'", x, 2 * x, np.array(selector)[:, None], tops=2)
    kept = [i for i in range(shape[0]) if selector[i]]
    assert [item.tolist() for item in first] == [x[i].tolist() for i in kept]
    assert [item.tolist() for item in second] == [(2 * x[i]).tolist() for i in kept]
