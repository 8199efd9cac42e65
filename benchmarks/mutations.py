"""`python benchmarks/mutations.py [FOLDER...] [--count 20000]`: damaged nets give results, or our own errors.

Takes every prototxt and caffemodel in the folders (by default tests/golden), changes one to three fields of
each net (removed, doubled, negated, made huge, emptied, renamed after another), reads it, plans it in both
phases, prints it as --inspect does, builds and runs it. Prints with its file whatever ends otherwise, takes
over two seconds, or over 300 MB and three times the file.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from google.protobuf.descriptor import FieldDescriptor

from caffe2torch import schema
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.net.reading import read
from caffe2torch.plan import Plan, plan
from caffe2torch.plan.table import table_of
from caffe2torch.schema import Message
from caffe2torch.untrusted.text import read_prototxt

ROOT = Path(__file__).parents[1]
SECONDS, MEGABYTES = 2.0, 300
MAX_VALUES = 1 << 20
"""Nets with more parameters, or inputs of more values, are planned and not built."""
MAX_FILE = 1 << 20

Field = tuple[Message, FieldDescriptor, "int | None"]


@dataclass(frozen=True)
class Bad:
    """A case that ended otherwise than it should."""

    source: str
    what: str
    content: bytes


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


def run(path: Path, binary: bool) -> str:
    """Reads, plans, prints, builds and runs a file; returns how far it got, or the kind of its error."""
    done = "nothing"
    try:
        net = read(weights=path) if binary else read(path)
        done = "read"
        str(table_of(net)), str(net)
        for phase in ("TEST", "TRAIN"):
            planned = plan(net, phase, allow_missing=True)
            done = "planned"
            if _is_small(planned):
                _build(planned)
                done = "ran"
    except Caffe2TorchError as error:
        return f"{done}, then {type(error).__name__}"
    return done


def _is_small(planned: Plan) -> bool:
    sizes = [p.shape for p in planned.parameters()] + [shape or () for shape in planned.inputs.values()]
    counts = [torch.Size([size or 1 for size in shape]).numel() for shape in sizes]
    return max(counts, default=0) <= MAX_VALUES and sum(counts) <= MAX_VALUES


def _build(planned: Plan) -> None:
    from caffe2torch.modules.caffe_net import CaffeNet

    model = CaffeNet(planned)
    inputs = {blob: torch.ones([size or 32 for size in shape or (1, 3, 32, 32)])
              for blob, shape in planned.inputs.items()}  # fmt: skip
    with torch.no_grad():
        model(**inputs)


def cases(folders: list[Path]) -> list[tuple[Path, Message, bool]]:
    """Every net under the folders that reads: its file, its message, and whether it is binary."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix not in (".prototxt", ".caffemodel") or path.stat().st_size > MAX_FILE:
            continue
        binary = path.suffix == ".caffemodel"
        try:
            net = (
                schema.message("NetParameter").FromString(path.read_bytes())
                if binary
                else read_prototxt(path)
            )
            read(weights=path) if binary else read(path)
        except Exception as error:  # a fork's, or broken on purpose
            print(f"left out: {path}: {type(error).__name__}")
            continue
        found.append((path, net, binary))
    return found


def mutations(folders: list[Path], count: int, seed: int) -> Iterator[tuple[str, bytes, bool]]:
    """`count` damaged files: where each is from, its bytes, and whether it is binary."""
    nets = cases(folders)
    for number in range(count):
        draw = random.Random(seed * 1_000_003 + number)  # noqa: S311 (no secret)
        source, net, binary = draw.choice(nets)
        changed = type(net)()
        changed.CopyFrom(net)
        mutate(changed, draw)
        content = changed.SerializePartialToString() if binary else str(changed).encode()
        yield f"{source} #{number}", content, binary


def main() -> int:
    """Prints how the cases ended, and every bad one; exits with 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[ROOT / "tests/golden"])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, help="a folder for the files of bad cases")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ends: Counter[str] = Counter()
    bad: dict[str, Bad] = {}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for source, content, binary in mutations(options.folders, options.count, options.seed):
            path = Path(folder, "net.caffemodel" if binary else "net.prototxt")
            path.write_bytes(content)
            before, start = _peak(), time.process_time()
            try:
                end = run(path, binary)
            except (Exception, RecursionError) as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                end = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: {error}"[:150]
                bad.setdefault(end.partition(": ")[0], Bad(source, end, content))
                ends["BAD"] += 1
            else:
                ends[end] += 1
            seconds, grown = time.process_time() - start, _peak() - before
            slowest = max(slowest, seconds)
            if seconds > SECONDS or grown > MEGABYTES + 3 * len(content) / 1e6:
                end = f"{seconds:.1f} s, {grown:.0f} MB, {end}"
                bad.setdefault(f"slow or large: {end}", Bad(source, end, content))
                ends["BAD"] += 1
    for end, count in ends.most_common():
        print(f"{count:8} {end}")
    print(f"slowest {slowest:.2f} s; peak {_peak():.0f} MB")
    for number, case in enumerate(bad.values()):
        print(f"BAD {case.source}: {case.what}")
        if options.into is not None:
            options.into.mkdir(exist_ok=True)
            (options.into / f"{number}{Path(case.source.split(' #')[0]).suffix}").write_bytes(case.content)
    return bool(bad)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    raise SystemExit(main())
