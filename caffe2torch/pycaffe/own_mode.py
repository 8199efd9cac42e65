"""torch as nets compute with it, whatever a script has set around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

_P = ParamSpec("_P")
_T = TypeVar("_T")


def in_own_mode(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that runs outside of `torch.inference_mode` and `torch.autocast`.

    What is made under the former counts no changes, by which whole passes know weights that changed, and can
    never go backward; the latter would compute in another type than float32.
    """

    @wraps(function)
    def run(*given: _P.args, **named: _P.kwargs) -> _T:
        kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        if not (kinds or torch.is_inference_mode_enabled()):
            return function(*given, **named)
        with torch.inference_mode(False):
            for kind in kinds:
                torch.set_autocast_enabled(kind, False)
            try:
                return function(*given, **named)
            finally:
                for kind in kinds:
                    torch.set_autocast_enabled(kind, True)

    return run
