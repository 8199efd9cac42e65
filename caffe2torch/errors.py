"""The errors this package raises, and the exit codes they give the commands.

    Caffe2TorchError            1
    ├── ReadError               1   a file that is not what it claims to be
    │   └── SyntaxRefused       1   a prototxt that does not parse: file, line, column and the text there
    ├── NetError                1   a net that contradicts itself
    │   ├── UnsupportedLayer    1   a layer type or parameter we do not convert
    │   └── UnsupportedModule   1   a torch module or function without a layer in Caffe
    ├── WeightsError            1   blobs that do not fit the net
    ├── MissingData             3   a file, data set or weights that are not there
    ├── VerificationFailed      4   outputs outside the tolerance
    └── WriteError              1   an output that cannot be written

Exit code 0 is success and 2 a usage error (argparse's own).
"""

from __future__ import annotations


class Caffe2TorchError(Exception):
    """The root: one line saying what was found, what was expected and what to do."""

    exit_code = 1


class ReadError(Caffe2TorchError):
    """A file that is not what it claims to be: truncated, of another format, or declaring absurd sizes."""


class SyntaxRefused(ReadError):
    """A prototxt that does not parse. The message starts `file:line:column:` and quotes the text there."""

    def __init__(self, path: str, line: int, column: int, problem: str, text: str) -> None:
        self.path, self.line, self.column = path, line, column
        self.problem, self.text = problem, text
        super().__init__(f"{path}:{line}:{column}: {problem}, at `{text.strip()}`")


class NetError(Caffe2TorchError):
    """A net that contradicts itself: an unknown bottom, an impossible shape."""


class UnsupportedLayer(NetError):
    """A layer type, or one of its parameters, that we do not convert; never skipped."""

    def __init__(self, name: str, kind: str, reason: str) -> None:
        super().__init__(f"layer {name!r} ({kind}): {reason}")


class UnsupportedModule(NetError):
    """A torch module or function that Caffe has no layer for, or none at this size; never skipped."""


class WeightsError(Caffe2TorchError):
    """Blobs that do not fit the net: a wrong shape, a missing or left-over blob."""


class MissingData(Caffe2TorchError):
    """A file, data set or weights that are not there; the message says how to get them."""

    exit_code = 3


class VerificationFailed(Caffe2TorchError):
    """Outputs further from the reference than the tolerance allows."""

    exit_code = 4


class WriteError(Caffe2TorchError):
    """An output that cannot be written; nothing is left behind under its name."""
