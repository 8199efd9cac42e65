"""Log lines as glog writes them, which is what Caffe's scripts and its log parser read.

    I1129 02:00:42.406373 30816 solver.cpp:218] Iteration 0 (0 iter/s, 0s/2 iters), loss = 0.375

They go to stderr. GLOG_minloglevel, read at each line as scripts set it late, leaves the lower levels out.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import datetime

from caffe2torch.command_line import printable

INFO, WARNING, ERROR, FATAL = range(4)
_LETTERS = "IWEF"


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Leaves the levels below out of the log; it goes to stderr, whatever `stderr` says."""
    os.environ["GLOG_minloglevel"] = str(level)  # noqa: SIM112 (glog's name)


def is_on(level: int = INFO) -> bool:
    """Whether lines of a level are written."""
    least = os.environ.get("GLOG_minloglevel", "")  # noqa: SIM112 (glog's name)
    return level >= (int(least) if least.isdecimal() else 0)


def log(source: str, message: str, level: int = INFO) -> None:
    """Writes a line as from a place in Caffe's source, `net.cpp:408`; nothing if its level is off.

    What could drive a terminal, in names from files, is replaced.
    """
    if not is_on(level):
        return
    head = f"{datetime.now():%m%d %H:%M:%S.%f} {threading.get_native_id():5d} {source}] "
    parts = f"{_LETTERS[level]}{head}{message}\n".split("\t")  # Caffe's lines have tabs, which drive nothing
    sys.stderr.write("\t".join(printable(part, sys.stderr) for part in parts))
    sys.stderr.flush()
