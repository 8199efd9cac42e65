"""Where a net runs: the device, its arithmetic, and this process among those that torchrun started."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from caffe2torch.errors import Caffe2TorchError

PRECISIONS = ("fp32", "tf32", "bf16")
"""fp32 is exact float32; tf32 rounds what enters products to 10 bits (CUDA); bf16 is torch.autocast."""
_STDOUT = 1  # for libraries in C++, too


class DeviceError(Caffe2TorchError):
    """A device or a precision that this machine does not have."""


@dataclass(frozen=True)
class Process:
    """One of `world` processes, number `rank` of them, and its device."""

    rank: int
    world: int
    device: torch.device

    @property
    def reduction_device(self) -> torch.device:
        """Where tensors must be in order to be reduced: NCCL takes none from the CPU."""
        nccl = dist.is_initialized() and dist.get_backend() == "nccl"
        return self.device if nccl else torch.device("cpu")

    def wait_for_all(self) -> None:
        """Returns when every process has arrived here."""
        if self.world > 1:
            dist.barrier()


_ENDED_BY: list[BaseException] = []
"""What ended a group, kept for as long as the process lives: its frames hold the gradients' reducer, whose
end waits for gloo's threads with Python's lock in hand, and one that needs it waits for ever (torch 2.13)."""


@contextmanager
def this_process(device: str | torch.device) -> Iterator[Process]:
    """A Process: one of a group if torchrun started it, and then each has its own CUDA device.

    An existing group is used and left as it is; a new one uses gloo, and NCCL between CUDA devices. Raises
    DeviceError.
    """
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if dist.is_initialized():
        yield Process(dist.get_rank(), dist.get_world_size(), usable(device, local))
    elif world == 1:
        yield Process(0, 1, usable(device))
    else:
        place = usable(device, local)
        if place.type == "cuda":  # NCCL waits on the current device, which is number 0 until it is set
            torch.cuda.set_device(place)
        with _nothing_said():
            dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo")
        try:
            yield Process(dist.get_rank(), world, place)
        except BaseException as error:
            _ENDED_BY.append(error)
            raise
        finally:
            dist.destroy_process_group()


@contextmanager
def _nothing_said() -> Iterator[None]:
    """Keeps stdout for the answer: some versions of gloo print there how many processes there are."""
    sys.stdout.flush()
    kept = os.dup(_STDOUT)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), _STDOUT)
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def is_lost(error: RuntimeError) -> bool:
    """Whether it says that another process of the group is gone."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)


def usable(device: str | torch.device, local_rank: int = 0) -> torch.device:
    """The device; "cuda" is number `local_rank`. Raises DeviceError for one that this machine lacks."""
    try:
        place = torch.device(device)
        if place.type == "cuda" and place.index is None:
            place = torch.device("cuda", local_rank)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeviceError(f"device {str(device)!r} cannot be used: {reason}; use --device cpu") from error
    return place


def device_name(device: torch.device) -> str:
    """What the device is called, with the number of threads for a CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Inside, nets compute in one of PRECISIONS, by cuDNN's deterministic algorithms. Raises DeviceError."""
    if precision not in PRECISIONS:
        raise DeviceError(f"precision {precision!r}: known are {', '.join(PRECISIONS)}")
    tf32 = precision == "tf32"
    if tf32 and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        raise DeviceError(f"tf32 needs a CUDA device of compute capability 8.0 or more, not {device.type}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 alone warns, of a newer way that 2.6 has not
        before = torch.get_float32_matmul_precision()
    with ExitStack() as settings:
        settings.callback(torch.set_float32_matmul_precision, before)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        if device.type == "cuda":  # cuDNN's convolutions use tf32 unless they are set not to
            settings.enter_context(
                torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=tf32)
            )
        if precision == "bf16":
            settings.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        yield


def training_precision(device: str) -> str:
    """The default for training: bf16 on GPUs that have it, else fp32."""
    has_bf16 = device.startswith("cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16" if has_bf16 else "fp32"


def synchronize(device: torch.device) -> None:
    """Returns when the device has finished its queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
