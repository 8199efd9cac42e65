"""Which device a process of torchrun's is bound to, and when; no GPU is needed."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from fcn_repro.scoring import device
from fcn_repro.scoring.device import this_process


@pytest.mark.parametrize(
    ("asked", "calls"),
    [
        ("cuda", ["set_device cuda:3", "init cpu:gloo,cuda:nccl", "destroy"]),
        ("cpu", ["init gloo", "destroy"]),
    ],
)
def test_a_process_takes_its_own_device_before_it_joins_the_group(
    monkeypatch: pytest.MonkeyPatch, asked: str, calls: list[str]
) -> None:
    """NCCL's barrier would otherwise wait on the first GPU, in every process."""
    made: list[str] = []
    for name, value in {"WORLD_SIZE": "5", "RANK": "3", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        device, "usable", lambda name, local: torch.device(name, local if name == "cuda" else None)
    )
    monkeypatch.setattr(torch.cuda, "set_device", lambda place: made.append(f"set_device {place}"))
    monkeypatch.setattr(dist, "init_process_group", lambda backend: made.append(f"init {backend}"))
    monkeypatch.setattr(dist, "get_rank", lambda: 3)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: made.append("destroy"))
    with this_process(asked) as process:
        assert (process.rank, process.world) == (3, 5)
        assert str(process.device) == {"cuda": "cuda:3", "cpu": "cpu"}[asked]
    assert made == calls
