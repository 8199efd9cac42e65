"""`c2t-caffe python SCRIPT ARGS`: Python with `import caffe` on torch.

Scripts of Python 2, and modules of theirs, are translated in memory where Python 3 does not take them.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from caffe2torch.command_line import UsageError
from caffe2torch.pycaffe.standing_in import install
from caffe2torch.pycaffe.tool.python2 import compiled, translating_imports

_USAGE = "c2t-caffe python takes SCRIPT ARGS, -m MODULE ARGS or -c CODE ARGS"


def run(argv: Sequence[str]) -> int:
    """Runs a script, a module or a line of code as the interpreter would; its exceptions come out."""
    if not argv:
        raise UsageError(_USAGE)
    install()
    first, *rest = argv
    if first in ("-m", "-c"):
        if not rest:
            raise UsageError(_USAGE)
        what, *arguments = rest
        sys.argv = [first, *arguments]
        sys.path.insert(0, str(Path.cwd()))
        translating_imports()
        if first == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            _run(what, "<string>")
        return 0
    script = Path(first)
    if not script.is_file():
        raise UsageError(f"{first}: no such script; {_USAGE}")
    sys.argv = list(argv)
    sys.path.insert(0, str(script.resolve().parent))
    translating_imports()
    _run(script.read_bytes(), os.fspath(script))
    return 0


def _run(source: str | bytes, path: str) -> None:
    """Runs code as `__main__`, under that name so that its classes can be pickled."""
    main = sys.modules["__main__"]
    main.__dict__.update(__name__="__main__", __file__=path, __builtins__=__builtins__)
    exec(compiled(source, path), main.__dict__)  # noqa: S102 (what the user asks for)
