"""`python benchmarks/fault_guards.py [WORD...]`: takes out one guard at a time and runs its test.

Prints a table of the guards, of all or of those whose lines hold one of the words. A test that passes without
its guard is an error. Works on a copy of the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("caffe2torch", "fcn_repro", "tests", "weights", "pyproject.toml")


@dataclass(frozen=True)
class Guard:
    """What it keeps, the text that is replaced in a file, and the test that fails then."""

    what: str
    file: str
    old: str
    new: str
    test: str


GUARDS = (
    Guard(
        "what is half written goes when anything fails",
        "caffe2torch/partial.py",
        "    finally:\n        _remove(path)\n",
        "    finally:\n",
        "tests/faults/test_places.py -k full_disk",
    ),
    Guard(
        "Ctrl-C leaves nothing",
        "caffe2torch/partial.py",
        "for path in self.paths:\n                _remove(path)",
        "pass",
        "tests/faults/test_interrupts.py -k another_error",
    ),
    Guard(
        "Ctrl-C waits while files get their names",
        "caffe2torch/partial.py",
        "    with put_off():\n        yield\n",
        "    if True:\n        yield\n",
        "tests/faults/test_interrupts.py -k too_late",
    ),
    Guard(
        "Ctrl-C that a library makes another error",
        "caffe2torch/command_line.py",
        "if came() or isinstance(error, KeyboardInterrupt)",
        "if isinstance(error, KeyboardInterrupt)",
        "tests/faults/test_interrupts.py -k process_goes_on",
    ),
    Guard(
        "what killed writers left is removed",
        "caffe2torch/partial.py",
        "    _sweep(target)\n",
        "",
        "tests/faults/test_interrupts.py -k next_write",
    ),
    Guard(
        "but not what somebody writes now",
        "caffe2torch/partial.py",
        "fcntl.LOCK_EX if waiting else fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH if waiting else fcntl.LOCK_SH | fcntl.LOCK_NB",
        "tests/faults/test_interrupts.py -k writes_now",
    ),
    Guard(
        "a file that is made shorter while it is read",
        "caffe2torch/command_line.py",
        "with cut_short.handled(partial(_end_cut, program)) if argv is None else nullcontext():",
        "with nullcontext():",
        "tests/faults/test_inputs.py -k is_cut",
    ),
    Guard(
        "and what was half written by then",
        "caffe2torch/command_line.py",
        "    PARTIALS.discard()\n    os.write(_STDERR, _on_its_own(f",
        "    os.write(_STDERR, _on_its_own(f",
        "tests/faults/test_inputs.py -k is_cut",
    ),
    Guard(
        "a reader of the output that leaves",
        "caffe2torch/command_line.py",
        "except BrokenPipeError:",
        "except ZeroDivisionError:",
        "tests/faults/test_places.py -k reader_that_leaves",
    ),
    Guard(
        "a full disk under a library that does not bear one",
        "caffe2torch/writing/output.py",
        "            except OSError as error:\n                self.problem = error\n",
        "            except ZeroDivisionError as error:\n                self.problem = error\n",
        "tests/feeding/test_refusals.py -k full_disk",
    ),
    Guard(
        "and is told afterwards",
        "caffe2torch/writing/output.py",
        "            raise file.problem from None\n",
        "            pass\n",
        "tests/faults/test_places.py -k full_disk",
    ),
    Guard(
        "an HDF5Output's file that is damaged",
        "caffe2torch/feeding/hdf5_output.py",
        "self._path.unlink(missing_ok=True)",
        "pass",
        "tests/feeding/test_refusals.py -k full_disk",
    ),
    Guard(
        "a process of several that is lost",
        "fcn_repro/training/loop.py",
        "if not is_lost(error):",
        "if True:",
        "tests/fcn_repro/training/test_train_processes.py -k lost",
    ),
    Guard(
        "a loss that is not finite",
        "fcn_repro/training/loop.py",
        "if any(not math.isfinite(loss) for loss in found):",
        "if False:",
        "tests/fcn_repro/training/test_loop.py -k diverges",
    ),
    Guard(
        "a weight that is not finite",
        "fcn_repro/training/loop.py",
        "if not all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters()):",
        "if False:",
        "tests/fcn_repro/training/test_loop.py -k diverges",
    ),
    Guard(
        "one training in a folder",
        "fcn_repro/training/lock.py",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "tests/fcn_repro/training/test_lock.py -k refused",
    ),
    Guard(
        "a log whose last line is torn",
        "fcn_repro/training/log.py",
        '(whole, _, _torn) = [], text.rpartition("\\n")',
        "whole = [], text",
        "tests/fcn_repro/training/test_log.py -k torn",
    ),
    Guard(
        "no file is unpickled",
        "caffe2torch/formats/pt.py",
        "torch.load(path, weights_only=True, mmap=True)",
        "torch.load(path, weights_only=False, mmap=True)",
        "tests/untrusted/test_nothing_runs.py",
    ),
)


def main() -> int:
    """Takes the guards out; returns how many were not missed."""
    words = sys.argv[1:]
    chosen = [g for g in GUARDS if not words or any(word in " ".join(vars(g).values()) for word in words)]
    missed = 0
    print("| guard | in | the test that fails without it |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in COPIED:
            place = ROOT / name
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(place, tree / name, ignore=ignored) if place.is_dir() else shutil.copy(
                place, tree
            )
        for guard in chosen:
            fails = _fails(guard, tree)
            missed += not fails
            print(
                f"| {guard.what} | `{guard.file}` | `{guard.test}`{'' if fails else ' PASSES'} |", flush=True
            )
    return missed


def _fails(guard: Guard, tree: Path) -> bool:
    """Whether the test fails without the guard."""
    path = tree / guard.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(guard.old) != 1:
        raise SystemExit(f"{guard.file} has {whole.count(guard.old)} of {guard.old!r}")
    path.write_text(whole.replace(guard.old, guard.new), encoding="utf-8")
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-x",
        f"--basetemp={tree}/temporary",
        *guard.test.split(),
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    path.write_text(whole, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise SystemExit(f"{guard.test} was not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
