"""The weights of a .pt2, read without running it: as torch gives them, or one line of refusal."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from caffe2torch.errors import ReadError
from caffe2torch.untrusted.pt2 import read_pt2
from caffe2torch.untrusted.tables import MAX_TABLE

CONFIG = "/data/weights/model_weights_config.json"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(5, 3, 2, generator=generator))
        self.halves = nn.Parameter(torch.randn(4, 1, generator=generator).half())
        self.shorts = nn.Parameter(torch.randn(7, generator=generator).bfloat16())
        self.register_buffer("count", torch.tensor(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.sum() + self.halves.sum() + self.shorts.sum() + self.count


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.export.save(torch.export.export(Net(), (torch.ones(2),)), path)
    return path


def altered(saved: Path, path: Path, change: Callable[[Any], Any], **options: Any) -> Path:
    """The file with its description of the weights changed."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", **options) as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(CONFIG):
                config = change(json.loads(content))
                content = config if isinstance(config, bytes) else json.dumps(config).encode()
            new.writestr(name, content)
    return path


def test_weights_are_those_that_torch_gives(saved: Path) -> None:
    wanted = {key: x.detach().float() for key, x in Net().state_dict().items() if key != "count"}
    found = read_pt2(saved)
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert found[key].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(found[key].read(), tensor.numpy())


def set_to(value: Any, *path: Any) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        place = config["config"]["weight"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return config

    return change


META = "tensor_meta"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (set_to(True, "use_pickle"), "weight 'weight': is pickled, and not opened"),
        (set_to("../../weight_1", "path_name"), r"\.\./\.\./weight_1 is missing"),
        (set_to([], "path_name"), "has no file, dtype"),
        (set_to("text", META), "has no file, dtype"),
        (set_to(8, META, "dtype"), "its dtype is 8"),
        (set_to([], META, "dtype"), "is no number"),
        (set_to(-5, META, "sizes", 0, "as_int"), "is no number"),
        (set_to(True, META, "sizes", 0, "as_int"), "is no number"),
        (set_to(1 << 40, META, "sizes", 0, "as_int"), "Caffe allows"),
        (set_to([{"as_int": 1}] * 40, META, "sizes"), "40 axes"),
        (set_to(6, META, "sizes", 0, "as_int"), "takes 144 bytes"),
        (set_to(1, META, "storage_offset", "as_int"), "takes 124 bytes"),
        (set_to(0, META, "strides", 0, "as_int"), "do not lie row by row"),
        (set_to([], META, "strides"), "has 3 sizes and 0 strides"),
        (lambda config: {"config": []}, "lists no weights"),
        (lambda config: b"[" * 100_000, "is not JSON"),
        (lambda config: b" " * (MAX_TABLE + 1), "are allowed"),
    ],
)
def test_what_cannot_be_is_refused(
    saved: Path, tmp_path: Path, change: Callable[[Any], Any], problem: str
) -> None:
    path = altered(saved, tmp_path / "bad.pt2", change)
    with pytest.raises(ReadError, match=problem) as refusal:
        read_pt2(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_compressed_members_are_refused(saved: Path, tmp_path: Path) -> None:
    path = altered(saved, tmp_path / "z.pt2", lambda config: config, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ReadError, match="missing or compressed"):
        read_pt2(path)


def test_an_archive_without_plain_weights_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("serialized_state_dict.pt", b"")
    with pytest.raises(ReadError, match="pickled or missing"):
        read_pt2(tmp_path / "old.pt2")


@pytest.mark.parametrize(("field", "value"), [(42, 0x7FFF_FFFF), (42, -40), (24, 1 << 30)])
def test_a_directory_that_lies_about_a_weight_is_refused(
    saved: Path, tmp_path: Path, field: int, value: int
) -> None:
    """Of where it begins, counted from the file's end if negative, and of its size."""
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/weight_0"))
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(name.encode()))
    value += len(content) if value < 0 else 0
    content[entry + field : entry + field + 4] = value.to_bytes(4, "little")
    (tmp_path / "lies.pt2").write_bytes(content)
    with pytest.raises(ReadError, match=r"is not all there|missing|takes") as refusal:
        read_pt2(tmp_path / "lies.pt2")
    assert str(refusal.value).count("\n") == 0


def test_a_cut_file_is_refused(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    for size in range(1, len(content), len(content) // 50):
        (tmp_path / "cut.pt2").write_bytes(content[:size])
        with pytest.raises(ReadError):
            read_pt2(tmp_path / "cut.pt2")
