"""Scripts of Python 2: what they print, and how they divide."""

import pytest

from caffe2torch.pycaffe.tool.python2 import compiled


def run(source, capsys):
    space = {}
    exec(compiled(source, "script.py"), space)  # noqa: S102 (ours)
    out, err = capsys.readouterr()
    return space, out, "is Python 2; its translation runs" in err


def test_print_and_the_like(capsys):
    source = "for k, v in {'a': 1}.iteritems():\n    print k, v\nprint map(len, ['xy']), xrange(2)[1]\n"
    assert run(source, capsys)[1:] == ("a 1\n[2] 1\n", True)


@pytest.mark.parametrize(
    ("head", "half", "third"), [("", 3, 2.5), ("from __future__ import division\n", 3.5, 2.5)]
)
def test_division(capsys, head, half, third):
    """By what the script says of the future, which its translation must not forget."""
    space, out, translated = run(f"{head}print 'x'\nhalf = 7 / 2\nthird = 7.5 / 3\n", capsys)
    assert (space["half"], space["third"], out, translated) == (half, third, "x\n", True)


def test_division_of_arrays(capsys):
    space, _, _ = run(
        "import numpy as np\nprint 1\na = np.arange(5) / 2\nb = np.ones(2) / 2\nc = 5\nc /= 2\n", capsys
    )
    assert (space["a"].tolist(), space["b"].tolist(), space["c"]) == ([0, 0, 1, 1, 2], [0.5, 0.5], 2)


def test_python_3_is_left_alone(capsys):
    assert run("print(7 / 2)\n", capsys)[1:] == ("3.5\n", False)


@pytest.mark.parametrize(
    ("source", "translated"),
    [
        ("import cPickle\n", True),
        ("from StringIO import StringIO\n", True),
        ("try:\n    import cPickle as pickle\nexcept ImportError:\n    import pickle\n", False),
        ("d = {'a': 1}\nfound = d.has_key('a')\n", True),
        ("from functools import reduce\nfound = reduce(max, [1, 3])\n", False),
        ("found = reduce(max, [1, 3])\n", True),
        ("def unicode(x):\n    return x\nunicode = unicode\nfound = unicode(1)\n", False),
    ],
)
def test_what_only_python_2_has(capsys, source, translated):
    """What compiles in both, and is one's by its names; code for both is left alone."""
    assert run(source, capsys)[2] == translated


def test_what_else_divides(capsys):
    """Only / does, of whole numbers, and in place also of attributes and elements as Python 3 does it."""
    source = "print 1\na = 7 * 2 % 4 + 7 // 2\nb = 7\nb -= 2\nc = [7.0]\nc[0] /= 2\n"
    space, _, _ = run(source, capsys)
    assert (space["a"], space["b"], space["c"]) == (5, 5, [3.5])


def test_what_is_of_neither(capsys):
    with pytest.raises(SyntaxError):
        compiled("def :", "script.py")
