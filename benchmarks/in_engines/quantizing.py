"""What the engines that compute in int8 share: which images calibrate, and which layers stay in float."""

import re

CALIBRATED_ON = 32
"""The first sets, of those that a model will be called with."""
_IN_FLOAT = {
    "all": "",
    "upsampling": r"upscore.*|upsample.*",
    "ends": r"conv1_1|conv1|score.*|upscore.*|upsample.*",
}
"""Which layers stay in float, by a setting's name: none, the bilinear upsampling, the first and the last."""


def in_float(names, how):
    """Those of the names of nodes that a setting leaves in float."""
    pattern = re.compile(_IN_FLOAT[how.split("+")[0]])
    return [name for name in names if pattern.fullmatch(name.split("/")[0])]
