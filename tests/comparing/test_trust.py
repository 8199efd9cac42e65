"""Files that run what their author wrote: never without --trust, whatever else is asked for."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import caffe2torch as c2t
from caffe2torch.cli.main import main
from caffe2torch.comparing.files import between
from caffe2torch.errors import ReadError
from caffe2torch.formats import formats
from caffe2torch.opening import open_model
from caffe2torch.untrusted.kinds import look
from tests.nets import INPUT, net_of

CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "x"
  convolution_param { num_output: 5 kernel_size: 3 bias_term: false } }"""
WEIGHT = np.random.default_rng(5).standard_normal((5, 3, 3, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a.caffemodel, good.pt2 of the same net, and other.pt2 with other weights."""
    folder = tmp_path_factory.mktemp("written")
    for name, weight in (("a.caffemodel", WEIGHT), ("good.pt2", WEIGHT), ("other.pt2", WEIGHT * 2)):
        c2t.export(net_of('name: "small" ' + INPUT + CONV, conv=[weight]), folder / name, check=False)
    return folder


@pytest.fixture
def ran(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Those files, and evil.pt2 and evil.py, which make a folder when they run; tells whether one did."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "ran"
    _write_evil_pt2("good.pt2", "evil.pt2", mark)
    Path("evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    return mark.exists


def _write_evil_pt2(source: str, path: str, mark: Path) -> None:
    """A .pt2 whose weight is a pickle that makes a folder."""
    pickle = b"cposix\nmkdir\n(V%s\ntR." % str(mark).encode()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("weights_config.json"):
                config = json.loads(content)
                for entry in config["config"].values():
                    entry["use_pickle"] = True
                content = json.dumps(config).encode()
            new.writestr(name, pickle if name.endswith("weight_0") else content)


def diff(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("sides", [("a.caffemodel", "evil"), ("evil", "a.caffemodel")])
@pytest.mark.parametrize("suffix", [".pt2", ".py"])
@pytest.mark.parametrize("options", [(), ("--run",), ("--on", "on.npz"), ("--json",)])
def test_nothing_runs_without_trust(
    ran: Callable[[], bool],
    capsys: pytest.CaptureFixture[str],
    sides: tuple[str, str],
    suffix: str,
    options: tuple[str, ...],
) -> None:
    np.savez("on.npz", **{"in.data": np.zeros((1, 3, 8, 9), np.float32)})
    a, b = (f"{side}{suffix}" if side == "evil" else side for side in sides)
    code, _, err = diff(capsys, a, "--diff", b, *options)
    assert not ran()
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(f"fcn-convert: evil{suffix}: ")
    assert "--trust" in err or "is pickled, and not opened" in err


@pytest.mark.parametrize("file", ["evil.pt2", "evil.py"])
def test_with_trust_it_runs(ran: Callable[[], bool], capsys: pytest.CaptureFixture[str], file: str) -> None:
    diff(capsys, "a.caffemodel", "--diff", file, "--trust")
    assert ran(), "the test's file does no harm, and so shows nothing"


def test_two_that_only_run_need_trust_too(
    ran: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("on.npz", **{"in.data": np.zeros((1, 3, 8, 9), np.float32)})
    code, _, err = diff(capsys, "good.pt2", "--diff", "evil.pt2", "--on", "on.npz")
    assert (code, ran()) == (1, False)
    assert err == (
        "fcn-convert: good.pt2: running a pt2 runs whatever its author wrote; give --trust if you trust "
        "them, or leave out --run and --on to compare its weights alone\n"
    )


def test_without_trust_a_pt2_is_compared_by_its_weights(
    ran: Callable[[], bool], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: object) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr("torch.export.load", load)
    for sides in (("a.caffemodel", "good.pt2"), ("good.pt2", "a.caffemodel")):
        code, out, err = diff(capsys, sides[0], "--diff", sides[1])
        assert (code, err) == (0, "")
        note = "good.pt2: its graph was not run, only its weights are compared; --trust runs it"
        assert out.splitlines()[-3:] == [note, "", "the same within 1e-05: 1 of 1 blobs equal"]
    code, out, _ = diff(capsys, "a.caffemodel", "--diff", "other.pt2", "--json")
    found = json.loads(out)
    assert (code, found["same"], found["outputs"]) == (1, False, None)
    assert found["blobs"][0]["max_delta"] == np.abs(WEIGHT).max()
    assert found["notes"] == [
        "other.pt2: its graph was not run, only its weights are compared; --trust runs it"
    ]


def test_from_python(ran: Callable[[], bool]) -> None:
    def read(file):  # type: ignore[no-untyped-def]
        return open_model(file) if str(file) == "a.caffemodel" else None

    files = look("a.caffemodel"), look("evil.py")
    with pytest.raises(ReadError, match="runs whatever its author wrote"):
        between(*files, read)
    assert not ran()
    between(*files, read, trust=True)
    assert ran()


def test_trust_belongs_to_diff(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = diff(capsys, "a.caffemodel", "--trust")
    assert code == 2
    assert err.startswith("fcn-convert: --trust belongs to --diff; converting does not take it")


def test_every_format_that_runs_code_says_so() -> None:
    only_run = {name for name, known in formats().items() if known.read is None}
    assert {name for name in only_run if formats()[name].runs_code} == only_run - {"onnx"}
