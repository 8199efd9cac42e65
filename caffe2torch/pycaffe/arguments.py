"""What the constructors of pycaffe's Net take, as old scripts and new ones write it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from caffe2torch.pycaffe.definition import PHASES

_NAMES = ("network_file", "phase", "level", "stages", "weights")
_FORMS = "Net(network_file, phase, level=0, stages=None, weights=None) or Net(network_file, weights, phase)"


@dataclass(frozen=True)
class NetArguments:
    """A net's file, its state, and a file of weights."""

    file: str
    phase: str
    level: int
    stages: tuple[str, ...]
    weights: str | None


def net_arguments(given: Sequence[Any], named: Mapping[str, Any]) -> NetArguments:
    """The arguments of a Net, by place or by name. Raises TypeError for others than pycaffe takes."""
    if len(given) == 3 and _is_path(given[1]):
        given = (given[0], given[2], 0, None, given[1])
    if len(given) > len(_NAMES) or set(named) - set(_NAMES[len(given) :]):
        raise TypeError(f"Net takes {_FORMS}; given {len(given)} by place and {', '.join(named) or 'none'}")
    asked: dict[str, Any] = dict.fromkeys(_NAMES)
    asked |= {**dict(zip(_NAMES, given, strict=False)), **named}
    file, phase, level, stages, weights = asked.values()
    level = 0 if level is None else level
    if not _is_path(file) or not (weights is None or _is_path(weights)):
        raise TypeError(f"Net takes {_FORMS}, files as str; given {file!r}, weights {weights!r}")
    if not (_is_int(phase) and phase in range(len(PHASES)) and _is_int(level)):
        raise TypeError(f"Net takes {_FORMS}, phase as caffe.TRAIN or caffe.TEST; given {phase!r}, {level!r}")
    if stages is not None and not isinstance(stages, Iterable):
        raise TypeError(f"Net takes stages as a list of str; given {stages!r}")
    chosen = tuple(stages or ())
    if not all(isinstance(stage, str) for stage in chosen):
        raise TypeError(f"Net takes stages as a list of str; given {stages!r}")
    own = None if weights is None else os.fspath(weights)
    return NetArguments(os.fspath(file), PHASES[phase], level, chosen, own)


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _is_int(value: object) -> bool:
    return isinstance(value, int)
