"""What scripts for several GPUs ask; one solver in one process trains here."""

from __future__ import annotations

_solvers = {"count": 1, "rank": 0}


def has_nccl() -> bool:
    """False: there is no NCCL in this interface."""
    return False


def solver_count() -> int:
    """What `set_solver_count` was given; 1 at the start."""
    return _solvers["count"]


def set_solver_count(count: int) -> None:
    """Keeps the number, and does nothing else."""
    _solvers["count"] = count


def solver_rank() -> int:
    """What `set_solver_rank` was given; 0 at the start."""
    return _solvers["rank"]


def set_solver_rank(rank: int) -> None:
    """Keeps the number, and does nothing else."""
    _solvers["rank"] = rank


def set_multiprocess(is_multiprocess: bool) -> None:
    """Does nothing: each process trains by itself."""
