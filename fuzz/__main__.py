"""`python -m fuzz MINUTES [NAME...]`: fuzzes the readers of strangers' files, one after the other.

Each gets its share of the time, with atheris, which follows what a file makes the code do; with --inputs N
it gets N files instead, if the time suffices. Prints for each how many files it read, how many of them did
something new, and how many kinds of them ended in any but our own errors, or took over five seconds of
processor time or two gigabytes. Of each kind one lies in fuzz/found/NAME afterwards, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import atheris

with atheris.instrument_imports(include=["caffe2torch", "fcn_repro"]):
    from caffe2torch.errors import Caffe2TorchError
    from caffe2torch.untrusted import hdf5
    from fuzz.forks import ask
    from fuzz.targets import TARGETS, Target

FOUND = Path(__file__).parent / "found"
SECONDS = 5
"""Of processor time for a file: the machine may have other work, too."""
LIMITS = (
    "-timeout=600",
    "-report_slow_units=600",
    "-rss_limit_mb=2048",
    "-print_final_stats=1",
    "-verbosity=1",
)
MAX_LENGTH = 1 << 14
"""Bytes of a file that is made; what starts larger is cut to it."""
MEMORY = Path("/dev/shm")  # noqa: S108 (a file there is written without a disk)


def main() -> int:
    """Fuzzes what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", type=float)
    parser.add_argument("names", nargs="*", choices=[*TARGETS, []], metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=-1, metavar="N", help="files for each at most")
    options = parser.parse_args()
    names = options.names or list(TARGETS)
    share = (f"-max_total_time={max(1, round(60 * options.minutes / len(names)))}", f"-runs={options.inputs}")
    print("| reader | files | new | ended otherwise | s of CPU |\n|---|---|---|---|---|", flush=True)
    results = [fuzz(name, share) for name in names]
    print(f"| all | {sum(done for done, _ in results)} | | {sum(bad for _, bad in results)} | |")
    return int(any(bad for _, bad in results))


def fuzz(name: str, share: tuple[str, ...]) -> tuple[int, int]:
    """How many files a reader read, and how many kinds of them ended otherwise than they should."""
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    before = {*found.iterdir()}
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryFile() as log:
        TARGETS[name].seeds(Path(corpus))
        process = os.fork()  # a process of its own may crash, and has imported all already
        if not process:
            os.dup2(log.fileno(), sys.stderr.fileno())
            _fuzz_until_it_ends(name, found, [corpus, *LIMITS, *share])
        _, status, used = os.wait4(process, 0)
        log.seek(0)
        said = log.read().decode(errors="replace")
    numbers = dict(re.findall(r"stat::(\w+): +(\d+)", said))
    bad = len([path for path in {*found.iterdir()} - before if path.suffix != ".txt"]) or int(status != 0)
    if status:
        print(said[-3000:], file=sys.stderr)
    files, new = (int(numbers.get(key, 0)) for key in ("number_of_executed_units", "new_units_added"))
    print(f"| {name} | {files} | {new} | {bad} | {used.ru_utime + used.ru_stime:.0f} |", flush=True)
    return files, bad


def _fuzz_until_it_ends(name: str, found: Path, options: list[str]) -> NoReturn:
    """Reads mutated files; the first of each kind that ends otherwise is kept in `found`."""
    target = TARGETS[name]
    hdf5.ask = ask
    warnings.simplefilter("ignore")
    _check(target, Path(options[0]))
    folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
    path = Path(folder.name) / f"file{target.suffix}"

    def once(data: bytes) -> None:
        path.write_bytes(data)
        begun = time.process_time()
        try:
            with contextlib.suppress(Caffe2TorchError):
                target.read(path)
            if (used := time.process_time() - begun) > SECONDS:
                raise TimeoutError(f"{used:.1f} s of processor time")
        except Exception as error:  # a finding of any kind
            _keep(found, data, error)

    atheris.Setup([sys.argv[0], *options, f"-max_len={MAX_LENGTH}", f"-artifact_prefix={found}/"], once)
    atheris.Fuzz()  # ends the process
    raise AssertionError


def _check(target: Target, corpus: Path) -> None:
    """Raises what a reader does if it reads none of the files to start from, such as without its library."""
    paths = sorted(corpus.iterdir())
    for path in paths:
        with contextlib.suppress(Caffe2TorchError):
            target.read(path)
            return
    target.read(paths[0])


def _keep(found: Path, data: bytes, error: Exception) -> None:
    """Keeps a file by what it ended in, and where, with what Python says beside it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    kind = f"{type(error).__name__} {place.filename}:{place.lineno}"
    path = found / sha256(kind.encode()).hexdigest()[:12]
    if not path.exists():
        path.write_bytes(data)
        path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))


if __name__ == "__main__":
    raise SystemExit(main())
