"""Nets of thousands of inputs or of equal names are planned in steps in proportion, which are counted."""

from __future__ import annotations

import pytest

from caffe2torch.layers.registry import converters
from caffe2torch.plan import Names, plan
from caffe2torch.plan.sight import MAX_VIEWED
from tests.nets import net_of


class Counted(set[str]):
    """A set that counts how often it is asked."""

    asked = 0

    def __contains__(self, name: object) -> bool:
        self.asked += 1
        return super().__contains__(name)


def test_equal_names_are_numbered_in_proportion() -> None:
    names = Names(["a#3"])
    names.taken = Counted(names.taken)
    given = [names.unused("a") for _ in range(1000)]
    assert given[:4] == ["a", "a#2", "a#4", "a#5"]
    assert len(set(given)) == 1000
    assert names.taken.asked <= 2001


def test_the_views_of_a_thousand_inputs_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, relu = [], converters()["ReLU"]
    before = relu.look
    monkeypatch.setattr(relu, "look", lambda self, view: looks.append(1) or before(self, view))
    count = 3 * MAX_VIEWED
    inputs = "".join(
        f"layer {{ name: 'i{i}' type: 'Input' top: 'i{i}' "
        "input_param { shape { dim: 1 dim: 2 dim: 4 dim: 5 } } }"
        for i in range(count)
    )
    bottoms = " ".join(f"bottom: 'i{i}'" for i in range(count))
    neurons = "".join(f"layer {{ name: 'r{i}' type: 'ReLU' bottom: 'c' top: 'c' }}" for i in range(10))
    planned = plan(net_of(f"{inputs} layer {{ name: 'c' type: 'Concat' {bottoms} top: 'c' }} {neurons}"))
    assert len(planned.inputs) == count
    assert len(looks) == 10 * MAX_VIEWED
    assert list(planned.steps[-1].views) == [f"i{i}" for i in range(MAX_VIEWED)]


def test_of_one_input_with_many_tops_the_first_are_followed() -> None:
    names = [f"i{i}" for i in range(MAX_VIEWED + 1)]
    tops, bottoms = (" ".join(f"{end}: '{name}'" for name in names) for end in ("top", "bottom"))
    shape = "input_param { shape { dim: 1 dim: 2 dim: 4 dim: 5 } }"
    text = f"layer {{ name: 'i' type: 'Input' {tops} {shape} }} "
    planned = plan(net_of(f"{text} layer {{ name: 'c' type: 'Concat' {bottoms} top: 'c' }}"))
    assert list(planned.steps[-1].views) == names[:MAX_VIEWED]
