"""`c2t-caffe draw_net`: a picture of a net, as Caffe's draw_net.py makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from caffe2torch.command_line import UsageError
from caffe2torch.pycaffe import draw
from caffe2torch.pycaffe.tool.flags import Flag, parse
from caffe2torch.untrusted.text import read_prototxt
from caffe2torch.upgrades import upgrade_net

_FLAGS: Mapping[str, Flag] = {
    "rankdir": Flag("LR", "the direction: TB, BT, LR or RL"),
    "phase": Flag("ALL", "the phase to draw: TRAIN, TEST or ALL"),
    "display_lrm": Flag(False, "show the multipliers of the learning rate"),
}
_PHASES = {"TRAIN": 0, "TEST": 1, "ALL": None}


def draw_net(argv: Sequence[str]) -> int:
    """Draws a prototxt into a file whose suffix says the format."""
    flags, words = parse(argv, _FLAGS)
    if len(words) != 2 or flags["phase"] not in _PHASES or flags["rankdir"] not in ("TB", "BT", "LR", "RL"):
        raise UsageError(
            "draw_net takes PROTOTXT IMAGE [--rankdir TB|BT|LR|RL] [--phase TRAIN|TEST|ALL] [--display_lrm]"
        )
    source, target = words
    net, _ = upgrade_net(read_prototxt(source), source)
    print(f"Drawing net to {target}")
    phase, rankdir = _PHASES[str(flags["phase"])], str(flags["rankdir"])
    draw.draw_net_to_file(net, target, rankdir, phase, bool(flags["display_lrm"]))
    return 0
