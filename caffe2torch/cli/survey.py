"""A folder of Caffe files -> how far each one gets: parsed, upgraded, built, ran, matched (`--survey`).

It is how we, and people with a collection of models, see where the converter stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from caffe2torch import schema
from caffe2torch._torch import torch
from caffe2torch.errors import Caffe2TorchError, NetError, ReadError
from caffe2torch.modules.report import verify
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.net.reading import read
from caffe2torch.plan import plan
from caffe2torch.plan.sizes import completed, fits_together, fitting
from caffe2torch.untrusted.binary import read_caffemodel
from caffe2torch.untrusted.layer_texts import read_net
from caffe2torch.untrusted.text import prototxt_text, read_prototxt
from caffe2torch.upgrades import upgrade_solver
from caffe2torch.writing.trial import Shapes, few
from caffe2torch.zoo.inputs import known_shapes

if TYPE_CHECKING:
    from torch import Tensor

STAGES = ("parsed", "upgraded", "built", "ran", "matched")
IMAGE = (1, 3, 224, 224)
_WEIGHTS = re.compile(r"\.caffemodel(\.h5)?$|_iter_\d+$")
"""How the names of weight files end; the snapshots of 2013 have no suffix (solver.cpp)."""
_FIELD = re.compile(r"^\s*(\w+)", re.MULTILINE)
"""What may be a field of a prototxt: the first word of a line."""
DEEP_NET = 100
"""With more layers, rounding is allowed ten times as much: a relative error of 1e-4 instead of 1e-5."""


@dataclass(frozen=True)
class Case:
    """The files of one net: a prototxt or weights or both, and Caffe's outputs if they are there."""

    prototxt: Path | None
    weights: Path | None
    reference: Path | None

    def name(self, folder: Path) -> str:
        """Its files, seen from a folder above them."""
        files = [path for path in (self.prototxt, self.weights) if path is not None]
        return " + ".join([str(files[0].relative_to(folder)), *(path.name for path in files[1:])])


@dataclass(frozen=True)
class SurveyRow:
    """How far one case got: the stages it passed, and why no further. `error` is relative to Caffe's."""

    case: Case
    kind: str
    """ "net" or "solver"."""
    passed: tuple[str, ...]
    refusal: str = ""
    crashed: bool = False
    types: tuple[str, ...] = ()
    error: float | None = None


class _Facts(TypedDict, total=False):
    """What the stages find out about a case; they fill it in as they go."""

    kind: str
    types: tuple[str, ...]
    error: float


def find(folder: Path) -> Iterator[Case]:
    """The cases below a folder.

    Weights go with the prototxt of their own name (of several, NAME.caffemodel), or with a `net.prototxt` or
    `deploy.prototxt` next to them if they are the only ones there. Caffe's outputs are in the .npz of that
    name, `ref.npz` or `io.npz`.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    weights = {path for path in files if _WEIGHTS.search(path.name)}
    paired: set[Path] = set()
    for path in files:
        if path.suffix in (".prototxt", ".pt", ".prototext"):
            mine = _weights_of(path, weights)
            paired |= {mine} if mine else set()
            yield Case(path, mine, _reference_of(path) if mine or path.with_suffix(".npz").exists() else None)
    for path in sorted(weights - paired):
        yield Case(None, path, _reference_of(path))


def _weights_of(prototxt: Path, weights: set[Path]) -> Path | None:
    beside = [path for path in weights if path.parent == prototxt.parent]
    named = [path for path in beside if path.name.split(".")[0] == prototxt.stem]
    if not named and prototxt.stem in ("net", "deploy") and len(beside) == 1:
        return beside[0]
    exact = [path for path in named if path.name == f"{prototxt.stem}.caffemodel"]
    named = exact or named
    return named[0] if len(named) == 1 else None


def _reference_of(path: Path) -> Path | None:
    names = (f"{path.name.split('.')[0]}.npz", "ref.npz", "io.npz")
    return next((path.with_name(name) for name in names if path.with_name(name).exists()), None)


def survey(
    cases: Sequence[Case],
    run: bool = False,
    watch: Callable[[int], None] = lambda done: None,
    shapes: Shapes | None = None,
    *,
    ignore_unknown: bool = False,
) -> list[SurveyRow]:
    """Takes every case through the stages; `ignore_unknown` leaves out fields that no schema has.

    With `run`, nets run on random inputs of the sizes that their files and blobs state; sizes that these
    leave open are IMAGE's, or others at which the net fits together. `shapes` insists on those of inputs of
    these names. A batch of more than MAX_INPUT values is cut to one image.
    """
    rows = []
    for done, case in enumerate(cases, start=1):
        rows.append(_survey(case, run, ignore_unknown, shapes or {}))
        watch(done)
    return rows


def _survey(case: Case, run: bool, ignore_unknown: bool, insisted: Shapes) -> SurveyRow:
    passed: list[str] = []
    facts: _Facts = {"kind": "net"}
    try:
        for stage in _stages(case, run, ignore_unknown, insisted, facts):
            passed.append(stage)
    except Caffe2TorchError as error:
        return _row(case, passed, facts, refusal=str(error))
    except Exception as error:  # a bug of ours must not hide the other files
        return _row(case, passed, facts, refusal=f"crash: {type(error).__name__}: {error}", crashed=True)
    return _row(case, passed, facts)


def _row(case: Case, passed: list[str], facts: _Facts, refusal: str = "", crashed: bool = False) -> SurveyRow:
    line = " ".join(refusal.split()).removeprefix(f"{case.prototxt or case.weights}:").lstrip()
    return SurveyRow(case, passed=tuple(passed), refusal=line, crashed=crashed, **facts)


def _stages(case: Case, run: bool, ignore_unknown: bool, insisted: Shapes, facts: _Facts) -> Iterator[str]:
    if case.prototxt is None:
        read_caffemodel(case.weights or "")
        yield "parsed"
    elif _is_solver(case.prototxt):
        facts["kind"] = "solver"
        message = read_prototxt(case.prototxt, "SolverParameter")
        yield "parsed"
        upgrade_solver(message)
        yield "upgraded"
        return
    else:
        read_net(case.prototxt)
        yield "parsed"
    net = read(case.prototxt, case.weights, ignore_unknown=ignore_unknown)
    yield "upgraded"
    facts["types"] = tuple(layer.type for layer in net.layers)
    plan(net, "TEST")
    yield "built"
    if run:
        _run(net, insisted)
        yield "ran"
    if case.reference is not None:
        facts["error"] = _match(net, case, case.reference)
        yield "matched"


def _is_solver(prototxt: Path) -> bool:
    """Whether the first field that only a net or only a solver has is a solver's; the rest may not parse."""
    try:
        fields = _FIELD.findall(prototxt_text(prototxt))
    except ReadError:
        return False
    solver, net = (schema.descriptor(f"{kind}Parameter").fields_by_name for kind in ("Solver", "Net"))
    return next((name in solver for name in fields if (name in solver) != (name in net)), False)


def _run(net: Net, insisted: Shapes) -> dict[str, Tensor]:
    from caffe2torch.modules.caffe_net import CaffeNet  # a survey that runs nothing needs no torch

    open_ = plan(net)
    known = known_shapes(open_)
    known |= {blob: shape for blob, shape in insisted.items() if blob in known}
    usual = {blob: completed(shape, IMAGE) for blob, shape in known.items()}
    whole = fitting(open_, known) or usual
    fewer = {blob: few(shape) for blob, shape in whole.items()}
    shapes = fewer if fits_together(open_, fewer) else whole
    planned = plan(_sized(open_.net, shapes))
    try:
        model = CaffeNet(planned)
        with torch.no_grad():
            outputs: dict[str, Tensor] = model(**{blob: torch.rand(shape) for blob, shape in shapes.items()})
    except RuntimeError as error:
        tried = ", ".join(f"{blob} {shape}" for blob, shape in shapes.items())
        raise NetError(f"does not run on random {tried}: {str(error).splitlines()[0]}") from None
    return outputs


def _sized(net: Net, shapes: Shapes) -> Net:
    """The net with these shapes for its inputs."""
    return replace(
        net, layers=tuple(_whole(layer, shapes) if layer.type == "Input" else layer for layer in net.layers)
    )


def _whole(layer: Layer, shapes: Shapes) -> Layer:
    dims = tuple(Fields("BlobShape", {"dim": shapes[top]}) for top in layer.tops)
    return replace(layer, fields=layer.fields.replace(input_param=Fields("InputParameter", {"shape": dims})))


def _match(net: Net, case: Case, reference: Path) -> float:
    from caffe2torch.modules.caffe_net import build

    tolerance = 1e-4 if len(net.layers) > DEEP_NET else 1e-5
    report = verify(build(net), reference, tolerance)
    if not report.ok:
        if case.prototxt and not case.weights and any(p.blob is None for p in plan(net, "TEST").parameters()):
            weights = f"{case.prototxt.stem}.caffemodel"
            raise NetError(f"has no weights to compare with {reference.name}; they would be in {weights}")
        failed = next(row for row in report.rows if not row.ok)
        raise NetError(f"does not match {reference.name}: blob {failed.blob!r}: {failed.problem}")
    return report.worst


def facts(rows: Sequence[SurveyRow]) -> dict[str, Any]:
    """Every row, for JSON."""
    return {"rows": [{**asdict(row), "case": _paths(row.case)} for row in rows]}


def _paths(case: Case) -> dict[str, str | None]:
    return {name: path and str(path) for name, path in asdict(case).items()}


def summary(rows: Sequence[SurveyRow], folder: Path) -> str:
    """The counts per stage, every refusal with its reason, and how often each layer type was built."""
    nets = [row for row in rows if row.kind == "net"]
    counts = Counter(stage for row in nets for stage in row.passed)
    solvers = [row for row in rows if row.kind == "solver"]
    upgraded = sum("upgraded" in row.passed for row in solvers)
    tried = sum(row.case.reference is not None for row in nets)
    lines = [
        f"{len(nets)} nets" + (f", and {upgraded} of {len(solvers)} solvers upgraded" if solvers else "")
    ]
    lines += [f"  {stage:9}{counts[stage]:5}" for stage in STAGES if counts[stage] and stage != "matched"]
    lines += [f"  matched  {counts['matched']:5} of {tried} that have Caffe's outputs"] if tried else []
    refused = [row for row in rows if row.refusal]
    lines += (
        ["", f"{len(refused)} refused, {sum(row.crashed for row in rows)} of them crashes"] if refused else []
    )
    lines += [f"  {row.case.name(folder)}: {row.refusal}" for row in refused]
    return "\n".join([*lines, "", "layer types, in how many nets, of which built", *_by_type(nets)])


def _by_type(nets: Sequence[SurveyRow]) -> list[str]:
    seen = Counter(kind for row in nets for kind in set(row.types))
    built = Counter(kind for row in nets if "built" in row.passed for kind in set(row.types))
    return [f"  {kind:28}{count:5}{built[kind]:5}" for kind, count in seen.most_common()]
