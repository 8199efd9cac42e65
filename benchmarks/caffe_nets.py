"""`python benchmarks/caffe_nets.py PYTHON [--nets 2000] [--solvers 500]`: whole nets, in Caffe and here.

PYTHON is an interpreter that imports BVLC Caffe's `caffe`. Each net is drawn at random (drawn_nets.py):
layers in place, shared parameters, losses with weights on blobs that are read, stages and phases, odd sizes.
Both run it forward and backward from weights that Caffe wrote, and outputs agree to 1e-5, gradients to 1e-4.
Each solver (drawn_solvers.py) takes a few steps in both, and each goes on from the other's snapshot. What
differs and is no documented difference goes to a folder with its prototxt, and the exit code is 1. Ctrl-C
ends with the counts so far.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from caffe import Caffe
from cases import EXPLAINED, Case
from drawn_layers import Draw
from net_cases import NetCase
from solver_cases import SolverCase

PROGRAM = (Path(__file__).parent / "in_caffe" / "cases.py").read_text()
BATCH = 100
Kind = type[NetCase] | type[SolverCase]


def batches(seeds: Sequence[int]) -> Iterator[Sequence[int]]:
    """So many at a time that Caffe starts seldom and the disk stays small."""
    for start in range(0, len(seeds), BATCH):
        yield seeds[start : start + BATCH]


def verdicts(kind: Kind, seeds: Sequence[int], python: str) -> Iterator[tuple[Case, str]]:
    """Runs cases of a kind in both; each folder is gone after the next one."""
    for some in batches(seeds):
        with tempfile.TemporaryDirectory() as folder:
            caffe, root = Caffe(python, Path(folder)), Path(folder, "cases")
            root.mkdir()
            cases = [kind(root / f"{kind.__name__}-{seed}", seed) for seed in some]
            caffe.say(PROGRAM, root)
            for case in cases:
                case.run_here()
            caffe.say(PROGRAM, root)
            yield from ((case, case.verdict()) for case in cases)


def counted(kind: Kind, seeds: Sequence[int], python: str, into: Path) -> Counter[str]:
    """Counts the verdicts, and keeps the cases that nothing explains; Ctrl-C ends with those so far."""
    counts: Counter[str] = Counter()
    with contextlib.suppress(KeyboardInterrupt):
        for case, verdict in verdicts(kind, seeds, python):
            counts[verdict if verdict in EXPLAINED else "unexplained"] += 1
            if verdict not in EXPLAINED:
                keep(case, verdict, into)
    return counts


def keep(case: Case, verdict: str, into: Path) -> None:
    """Prints what is wrong with a case, and copies its folder."""
    print(f"{case.folder.name}: {verdict}", flush=True)
    kept = into / case.folder.name
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(case.folder, kept)
    (kept / "verdict.txt").write_text(f"{case.net.phase}\n{verdict}\n")


def main() -> int:
    """Prints what differs, and counts; 1 where something is unexplained."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("python", help="an interpreter that imports caffe")
    parser.add_argument("--nets", type=int, default=2000)
    parser.add_argument("--solvers", type=int, default=500)
    parser.add_argument("--from", type=int, default=0, dest="first", help="so many of the nets are done")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, default=Path("unexplained"), help="for what nothing explains")
    options = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    draw = Draw(options.seed)
    unexplained = 0
    for kind, count, first in ((NetCase, options.nets, options.first), (SolverCase, options.solvers, 0)):
        seeds = [draw.getrandbits(32) for _ in range(count)][first:]
        counts = counted(kind, seeds, options.python, options.into)
        print(f"{counts.total()} of {len(seeds)} {'nets' if kind is NetCase else 'solvers'}")
        for verdict, number in counts.most_common():
            print(f"{number:7} {verdict}", flush=True)
        unexplained += counts["unexplained"]
    return int(unexplained > 0)


if __name__ == "__main__":
    raise SystemExit(main())
