"""`python benchmarks/mutations.py [FOLDER...] [--count 20000]`: damaged nets give results, or our own errors.

Takes the prototxts and caffemodels in the folders (by default tests/golden), the smaller the more often,
and changes one to three fields of each net (removed, doubled, negated, made huge, emptied, renamed after
another). A quarter of the prototxts stay text, and the others become binary, which parses faster. Each is
read, planned in both phases, printed as --inspect does, built and run. Prints with its file whatever ends
otherwise, takes over two seconds, or over 300 MB and three times the file. Ctrl-C ends with the summary so
far; `--from 4711 --count 1` repeats one case of a seed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import mmap
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from google.protobuf.descriptor import FieldDescriptor

from caffe2torch import schema
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.layers.converter import Shape
from caffe2torch.modules.caffe_net import CaffeNet
from caffe2torch.net.reading import read
from caffe2torch.plan import Plan, plan
from caffe2torch.plan.sizes import tops_at
from caffe2torch.plan.table import table_of
from caffe2torch.schema import Message
from caffe2torch.untrusted.mapped import MappedFile
from caffe2torch.untrusted.text import read_prototxt

ROOT = Path(__file__).parents[1]
SECONDS, MEGABYTES = 2.0, 300
MAX_VALUES = 1 << 20
"""Nets with more values in their parameters, or in the blobs of a pass, are planned and not built."""
MAX_WORK = 1 << 29
"""So are nets that multiply more values in a pass."""
MAX_FILE = 1 << 20
EVERY = 10_000
"""After so many cases, the progress is printed."""

Field = tuple[Message, FieldDescriptor, "int | None"]


@dataclass(frozen=True)
class Bad:
    """A case that ended otherwise than it should."""

    source: str
    what: str
    content: bytes
    binary: bool


def fields(message: Message) -> list[Field]:
    """Every value of a message and of those in it, but for the values of blobs."""
    found: list[Field] = []
    for field, value in message.ListFields():
        repeated = field.is_repeated
        if repeated and field.name in ("data", "diff", "double_data", "double_diff"):
            continue
        found += ((message, field, place) for place in (range(len(value)) if repeated else (None,)))
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if repeated else (value,):
                found += fields(inner)
    return found


def mutate(net: Message, draw: random.Random) -> None:
    """Changes one to three fields of a net."""
    for _ in range(draw.randint(1, 3)):
        found = fields(net)
        if not found:
            return
        message, field, place = draw.choice(found)
        if draw.random() < 0.3:
            _remove(message, field, place)
        elif place is not None and draw.random() < 0.4:
            _double(message, field, place)
        elif field.type != FieldDescriptor.TYPE_MESSAGE:
            _replace(message, field, place, draw, found)


def _remove(message: Message, field: FieldDescriptor, place: int | None) -> None:
    if place is None:
        message.ClearField(field.name)
    else:
        del getattr(message, field.name)[place]


def _double(message: Message, field: FieldDescriptor, place: int) -> None:
    values = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        values.add().CopyFrom(values[place])
    else:
        values.append(values[place])


def _replace(
    message: Message, field: FieldDescriptor, place: int | None, draw: random.Random, others: list[Field]
) -> None:
    """Another value of the same type: its negative, a huge one, zero, or what another such field holds."""
    value = getattr(message, field.name) if place is None else getattr(message, field.name)[place]
    new = _another(field, value, draw, others)
    with contextlib.suppress(ValueError, TypeError):  # outside the field's type: stays as it was
        if place is None:
            setattr(message, field.name, new)
        else:
            getattr(message, field.name)[place] = new


def _another(field: FieldDescriptor, value: object, draw: random.Random, others: list[Field]) -> object:
    if isinstance(value, bool):
        return not value
    if field.enum_type is not None:
        return draw.choice([x.number for x in field.enum_type.values])
    if isinstance(value, int | float):
        return type(value)(draw.choice([-value, 0, 1, 2, value + 1, 2**31 - 1, -1, value * 1000]))
    alike = [x for x in others if x[1].name in ("name", "bottom", "top", "type")]
    message, other, place = draw.choice(alike) if alike else draw.choice(others)
    taken = getattr(message, other.name)
    return draw.choice(["", str(taken if place is None else taken[place]), f"{value}x"])


def run(name: str, content: bytes, binary: bool) -> str:
    """Reads, plans, prints, builds and runs a file; returns how far it got, or the kind of its error."""
    done = "nothing"
    try:
        path = MappedFile(name, in_memory(content))
        net = read(weights=path) if binary else read(path)
        done = "read"
        str(net)
        built = None
        for phase in ("TEST", "TRAIN"):
            planned = plan(net, phase, allow_missing=True)
            done = "planned" if built is None else done
            str(table_of(planned))
            if is_small(planned) and (built is None or differs(planned, built)):
                build(planned)
                built, done = planned, "ran"
    except Caffe2TorchError as error:
        if done == "read":
            str(table_of(net))
        return f"{done}, then {type(error).__name__}"
    return done


def in_memory(content: bytes) -> mmap.mmap:
    """What `mapped` makes of a file, without one; Linux maps at least one byte."""
    buffer = mmap.mmap(-1, max(len(content), 1))
    buffer[: len(content)] = content
    return buffer


def given(planned: Plan) -> dict[str, tuple[int, ...]]:
    """The shapes of inputs on which a net is run."""
    shapes = {blob: shape or (1, 3, 32, 32) for blob, shape in planned.inputs.items()}
    return {blob: tuple(size or 32 for size in shape) for blob, shape in shapes.items()}


def is_small(planned: Plan) -> bool:
    """Whether building and running a net takes little memory and time, as far as its shapes are known."""
    shapes: dict[str, Shape | None] = dict(given(planned))
    values = sum(map(_count, [*shapes.values(), *(p.shape for p in planned.parameters())]))
    work = 0
    with contextlib.suppress(Caffe2TorchError, ValueError):  # where running ends, too
        for step in planned.steps:
            tops = tops_at(step, shapes)
            values += sum(map(_count, tops))
            pixels = max((_count((top or ())[2:]) for top in tops), default=1)
            work += pixels * sum(_count(p.shape) for p in step.parameters)
            if max(values / MAX_VALUES, work / MAX_WORK) > 1:
                return False
    return values <= MAX_VALUES


def _count(shape: Shape | None) -> int:
    """How many values are in a blob; 32 along an axis of a size that only running tells."""
    return math.prod(size or 32 for size in shape or ())


def differs(planned: Plan, built: Plan) -> bool:
    """Whether a net does not run in its phase as it does in the other one."""
    layers = (tuple(step.layer for step in p.steps) for p in (planned, built))
    return len({*layers}) > 1 or any(step.converter.depends_on_phase for step in planned.steps)


def build(planned: Plan) -> None:
    """Builds a net and runs it on ones."""
    model = CaffeNet(planned)
    inputs = {blob: torch.ones(shape) for blob, shape in given(planned).items()}
    with torch.no_grad():
        model(**inputs)


@dataclass(frozen=True)
class Source:
    """A file that reads: its net as it was serialized, and whether the file is binary."""

    path: Path
    net: bytes
    binary: bool


def sources(folders: list[Path]) -> list[Source]:
    """Every net under the folders that reads."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix not in (".prototxt", ".caffemodel") or path.stat().st_size > MAX_FILE:
            continue
        binary = path.suffix == ".caffemodel"
        try:
            read(weights=path) if binary else read(path)
            content = path.read_bytes() if binary else read_prototxt(path).SerializePartialToString()
        except Exception as error:  # a fork's, or broken on purpose
            print(f"left out: {path}: {type(error).__name__}", file=sys.stderr)
            continue
        found.append(Source(path, content, binary))
    return found


def mutations(folders: list[Path], numbers: range, seed: int) -> Iterator[tuple[str, bytes, bool]]:
    """The damaged files of these numbers: where each is from, its bytes, and whether it is binary."""
    found, kind = sources(folders), schema.message("NetParameter")
    often = [*accumulate(1 / (200 + len(source.net)) for source in found)]
    for number in numbers:
        draw = random.Random(seed * 1_000_003 + number)  # noqa: S311 (no secret)
        (source,) = draw.choices(found, cum_weights=often)
        net = kind.FromString(source.net)
        mutate(net, draw)
        binary = source.binary or draw.random() < 0.75
        content = net.SerializePartialToString() if binary else str(net).encode()
        yield f"{source.path} #{number}", content, binary


class Tally:
    """How the cases ended, and one bad case of each kind."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.bad: dict[str, Bad] = {}
        self.slowest, self.start = 0.0, time.monotonic()

    def add(self, source: str, content: bytes, binary: bool) -> None:
        """Runs a case and counts it."""
        before, start = peak(), time.process_time()
        try:
            end = run(source, content, binary)
        except (Exception, RecursionError) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            end = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: {error}"[:150]
            self._bad(end.partition(": ")[0], Bad(source, end, content, binary))
        else:
            self.ends[end] += 1
        seconds, grown = time.process_time() - start, peak() - before
        self.slowest = max(self.slowest, seconds)
        if seconds > SECONDS or grown > MEGABYTES + 3 * len(content) / 1e6:
            what = f"{seconds:.1f} s, {grown:.0f} MB, {end}"
            self._bad(f"slow or large: {end}", Bad(source, what, content, binary))

    def _bad(self, kind: str, case: Bad) -> None:
        self.ends["BAD"] += 1
        if kind not in self.bad:
            print(f"BAD {case.source}: {case.what}", file=sys.stderr, flush=True)
            self.bad[kind] = case

    def progress(self) -> str:
        """How many so far, at what rate, and how many of them bad."""
        done = self.ends.total()
        rate = done / (time.monotonic() - self.start)
        return f"{done} cases, {rate:.0f} a second, {self.ends['BAD']} bad"

    def report(self, into: Path | None) -> None:
        """Prints everything, and writes the files of bad cases to a folder."""
        for end, count in self.ends.most_common():
            print(f"{count:8} {end}")
        print(f"{self.progress()}; slowest {self.slowest:.2f} s; peak {peak():.0f} MB")
        for number, case in enumerate(self.bad.values()):
            print(f"BAD {case.source}: {case.what}")
            if into is not None:
                into.mkdir(exist_ok=True)
                suffix = "caffemodel" if case.binary else "prototxt"
                (into / f"{number}.{suffix}").write_bytes(case.content)


def main() -> int:
    """Prints how the cases ended, and every bad one; exits with 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[ROOT / "tests/golden"])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, help="a folder for the files of bad cases")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    gc.freeze()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    tally = Tally()
    numbers = range(options.first, options.first + options.count)
    with contextlib.suppress(KeyboardInterrupt):
        for count, case in enumerate(mutations(options.folders, numbers, options.seed), 1):
            tally.add(*case)
            if count % EVERY == 0:
                print(tally.progress(), file=sys.stderr, flush=True)
    tally.report(options.into)
    return bool(tally.bad)


def peak() -> float:
    """The most memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    raise SystemExit(main())
