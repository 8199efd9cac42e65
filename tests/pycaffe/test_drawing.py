"""Names in a drawing are text: none ends the string that it stands in."""

import re

import pytest

from caffe2torch import schema
from caffe2torch.pycaffe import draw

pytest.importorskip("pydot")
STRING = re.compile(r'"(?:\\\\|\\"|[^"\\]|\\(?!["\\]))*"')
"""A quoted string as Graphviz' scanner takes it: pairs of a backslash with another one or a quote, or any."""


@pytest.mark.parametrize(
    "name", ['a"', 'a\\"', "a\\", "a\\\\", 'a\\\\" shape="box', 'a" URL="x', "a\\n", "{a|b}"]
)
def test_a_name_is_text(name):
    net = schema.message("NetParameter")()
    net.layer.add(name=name, type="ReLU", bottom=[name], top=[name])
    text = draw.draw_net(net, "LR", "raw").decode()
    assert STRING.search(text)
    outside = STRING.sub("", text)
    for word in ("URL", "box", "a\\", '"'):
        assert word not in outside
