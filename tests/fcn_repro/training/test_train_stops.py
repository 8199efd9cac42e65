"""Trainings that are killed, told to stop, or meet a full disk, and go on to the very same end."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import time

import numpy as np
import pytest

from caffe2torch.untrusted.binary import read_solverstate
from fcn_repro.training.signals import TOGETHER_S, wish_to_stop
from tests.fcn_repro.trainings import Command, write_images, write_recipe

ITERATIONS, SNAPSHOT = 42, 3
LAST = f"my_iter_{ITERATIONS}"
NAMES = sorted(
    [
        f"my_iter_{n}.{suffix}"
        for n in (39, 42)
        for suffix in ("caffemodel", "caffemodel.json", "json", "solverstate")
    ]
    + ["my.html", "pictures", "train.csv", "val.csv"]
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    write_images(folder / "mine")
    write_recipe(folder / "my.toml", max_iter=ITERATIONS, snapshot=SNAPSHOT, test_interval=2 * SNAPSHOT)
    return folder


def train(work, home, *more, **how):
    return Command("--train", work / "my.toml", "--home", home, *more, **how)


@pytest.fixture(scope="module")
def undisturbed(work):
    home = work / "undisturbed"
    assert "my on folder val: 2 images" in train(work, home).done()
    return home


@pytest.fixture(scope="module")
def begun(work):
    """A training that ended after 6 iterations, to be copied and gone on with."""
    train(work, work / "begun", "--iterations", 6).done()
    return work / "begun"


def assert_same(home, expected):
    """Weights, the solver's state, the logs but for the speed, and the result: to the last bit."""
    own, other = home / "training/my", expected / "training/my"
    assert sorted(path.name for path in own.iterdir()) == NAMES
    assert (own / f"{LAST}.caffemodel").read_bytes() == (other / f"{LAST}.caffemodel").read_bytes()
    states = [read_solverstate(folder / f"{LAST}.solverstate") for folder in (own, other)]
    assert [(state.iter, state.current_step) for state in states] == [(ITERATIONS, (ITERATIONS - 1) // 7)] * 2
    for blob, wanted in zip(*(state.history for state in states), strict=True):
        np.testing.assert_array_equal(blob.read(), wanted.read())
    assert any(blob.read().any() for blob in states[0].history)
    assert (own / "val.csv").read_text() == (other / "val.csv").read_text()
    assert without_speed(own / "train.csv") == without_speed(other / "train.csv")
    assert (home / "models/my.safetensors").read_bytes() == (expected / "models/my.safetensors").read_bytes()


def without_speed(path):
    with path.open() as file:
        return [row[:-1] for row in csv.reader(file)]


def rows_of(home):
    path = home / "training/my/train.csv"
    return path.read_text().count("\n") - 1 if path.is_file() else 0


def wait_for_rows(command, home, rows):
    while rows_of(home) < rows and command.process.is_alive():
        time.sleep(0.001)


def is_writing(home):
    """Whether a snapshot is half written: a file of it has no name yet, or it has no marker."""
    names = {path.name for path in (home / "training/my").glob("*my_iter_*")}
    weights = {name for name in names if name.endswith(".caffemodel")}
    markers = {name.replace(".json", ".caffemodel") for name in names if name.endswith(".json")}
    return bool(weights - markers) or any(name.endswith(".part") for name in names)


def kill_while_writing(command, home, random):
    """Stops the process again and again to look, and kills it where it is writing a snapshot."""
    while command.process.is_alive():
        command.signal(signal.SIGSTOP)
        if is_writing(home):
            break
        command.signal(signal.SIGCONT)
        time.sleep(random.uniform(0.0005, 0.004))
    command.signal(signal.SIGKILL)


@pytest.mark.fault(
    "kill -9, ten times in one training",
    "fcn-repro --train",
    "`--resume` ends bit-equal to an undisturbed training",
)
def test_ten_kills_change_nothing(work, undisturbed):
    random, home, half_written = np.random.default_rng(10), work / "killed", 0
    for kill in range(10):
        command = train(work, home, "--resume")
        if kill % 2:
            kill_while_writing(command, home, random)
        else:
            wait_for_rows(command, home, rows_of(home) + 1 + int(random.integers(2)))
            time.sleep(random.uniform(0, 0.02))
            command.signal(signal.SIGKILL)
        code, said = command.wait()
        assert code == -signal.SIGKILL, said
        half_written += is_writing(home)
    assert half_written >= 3, "of five that were killed while they wrote"
    assert rows_of(home) < ITERATIONS
    train(work, home, "--resume").done()
    assert_same(home, undisturbed)


@pytest.mark.fault(
    "Ctrl-C or SIGTERM in a training",
    "fcn-repro --train",
    "exit code 130 after a snapshot; `--resume` ends bit-equal",
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_after_a_snapshot(work, undisturbed, number):
    home = work / number.name
    command = train(work, home)
    wait_for_rows(command, home, 4)
    command.signal(number)
    code, said = command.wait()
    assert code == 130
    stopped = re.fullmatch(
        rf"fcn-repro: stopped by {number.name} at iteration (\d+); {re.escape(str(home))}/training/my/"
        r"my_iter_(\d+)\.caffemodel is complete; continue from it with --resume\n",
        said,
    )
    assert stopped, said
    assert stopped[1] == stopped[2]
    assert 4 <= rows_of(home) == int(stopped[1]) < ITERATIONS
    train(work, home, "--resume").done()
    assert_same(home, undisturbed)


def test_a_second_signal_ends_it_as_it_always_does():
    """But not one that comes with the first."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with wish_to_stop() as wish:
        assert not wish
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert wish.signal == "SIGTERM"
        wish.since -= TOGETHER_S + 0.1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.mark.fault(
    "a full disk in a training",
    "fcn-repro --train",
    "exit code 1, one line that names the last snapshot; `--resume` ends bit-equal",
)
@pytest.mark.parametrize(("limit", "file"), [(50_000, "my_iter_9.caffemodel"), (600, "pictures/6/val0.png")])
def test_a_full_disk_ends_it_at_the_last_snapshot(work, undisturbed, begun, tmp_path, limit, file):
    """The kernel refuses to let any file grow beyond a size: that of the weights, or of a picture."""
    home = shutil.copytree(begun, tmp_path / "home")
    folder = home / "training/my"
    before = sorted(path.name for path in folder.iterdir())
    code, said = train(work, home, "--resume", limit=limit).wait()
    assert code == 1
    assert said == (
        f"fcn-repro: {folder / file}: cannot be written: File too large; "
        f"{folder / 'my_iter_6.caffemodel'} is complete; continue from it with --resume\n"
    )
    assert sorted(path.name for path in folder.iterdir()) == before, "no partial file"
    train(work, home, "--resume").done()
    assert_same(home, undisturbed)


def test_what_a_stop_left_in_the_logs_is_put_right(work, undisturbed, begun, tmp_path):
    """Losses after the last snapshot, and no scores at it, as when it came before they were taken."""
    home = shutil.copytree(begun, tmp_path / "home")
    losses, scores = (home / f"training/my/{name}.csv" for name in ("train", "val"))
    losses.write_text(losses.read_text() + "7,9,9,9,9\n8,9,9,9,9\n9,9")
    header, *_, last = scores.read_text().splitlines(keepends=True)
    assert last.startswith("6,")
    scores.write_text(header)
    train(work, home, "--resume").done()
    assert_same(home, undisturbed)


def test_a_training_that_is_done_is_scored_again(work, undisturbed, tmp_path):
    """Where it was stopped between its last snapshot and its result."""
    home = shutil.copytree(undisturbed, tmp_path / "home")
    shutil.rmtree(home / "models")
    shutil.rmtree(home / "results")
    assert "my on folder val: 2 images" in train(work, home, "--resume").done()
    assert (home / "results/my-folder-val.json").is_file()
    assert_same(home, undisturbed)


def test_without_resume_it_is_left_alone(work, undisturbed):
    code, said = train(work, undisturbed).wait()
    assert code == 1
    folder = undisturbed / "training/my"
    assert said == (
        f"fcn-repro: {folder} holds a training, at iteration {ITERATIONS}; "
        f"{folder}/{LAST}.caffemodel is complete; continue from it with --resume, "
        "or delete the folder to start anew\n"
    )
