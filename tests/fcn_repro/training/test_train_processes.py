"""One training shared among processes: the weights and losses of one, begun and stopped in any number."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

import caffe2torch as c2t
from fcn_repro.training.log import TRAIN, VAL, read_rows
from tests.fcn_repro.trainings import Command, together, write_images, write_recipe

STEPS = 20


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """With dropout of half of fc6 and fc7, and four images to a step."""
    folder = tmp_path_factory.mktemp("work")
    write_images(folder / "mine")
    write_recipe(folder / "my.toml", max_iter=STEPS, iter_size=4, snapshot=8)
    return folder


def arguments(work, home, *more):
    return "--train", work / "my.toml", "--home", home, *more


@pytest.fixture(scope="module")
def alone(work):
    Command(*arguments(work, work / "alone")).done()
    return work / "alone"


def assert_near(home, alone):
    """Weights to 1e-6, each and by the error of its layer; losses to 1e-6; the very same scores."""
    folder, other = home / "training/my", alone / "training/my"
    own, expected = (c2t.load(path / f"my_iter_{STEPS}.caffemodel").blobs() for path in (folder, other))
    for layer, blobs in expected.items():
        wanted, found = (torch.cat([blob.flatten() for blob in which]) for which in (blobs, own[layer]))
        apart, error = (found - wanted).abs().max().item(), ((found - wanted).norm() / wanted.norm()).item()
        assert apart <= 1e-6, f"{layer}: max |delta| {apart:.1e}, allowed 1e-6"
        assert error <= 1e-6, f"{layer}: relative error {error:.1e}, allowed 1e-6"
    for column in ("loss", "smoothed_loss", "rate"):
        losses, wanted = (
            [row[column] for row in read_rows(path / "train.csv", TRAIN)] for path in (folder, other)
        )
        assert len(losses) == STEPS
        assert losses == pytest.approx(wanted, rel=1e-6), column
    assert read_rows(folder / "val.csv", VAL) == read_rows(other / "val.csv", VAL)


def test_four_processes_are_as_one(work, alone):
    commands = together(4, *arguments(work, work / "four"))
    said = [command.done() for command in commands]
    assert "my on folder val: 2 images" in said[0]
    assert said[1:] == ["", "", ""], "the first process speaks"
    assert_near(work / "four", alone)


def test_torchrun_goes_on_from_what_one_process_began(work, alone):
    home = work / "two"
    Command(*arguments(work, home, "--iterations", 8)).done()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "-m", "fcn_repro.cli", *map(str, arguments(work, home, "--resume"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "my on folder val: 2 images" in done.stdout
    assert_near(home, alone)


def under_way(work, home, iterations):
    """Two processes of one training that have done so many iterations."""
    first, second = together(2, *arguments(work, home))
    rows = home / "training/my/train.csv"
    while not (rows.is_file() and rows.read_text().count("\n") > iterations) and second.process.is_alive():
        time.sleep(0.001)
    return first, second


@pytest.mark.fault(
    "Ctrl-C or SIGTERM to one process of several",
    "fcn-repro --train",
    "all stop at one iteration, after a snapshot",
)
def test_a_signal_to_one_process_stops_all_and_one_goes_on(work, alone):
    home = work / "stopped"
    first, second = under_way(work, home, iterations=3)
    second.signal(signal.SIGTERM)
    ends = [command.wait() for command in (first, second)]
    rows = home / "training/my/train.csv"
    assert [code for code, _ in ends] == [130, 130], ends
    way_on = r"at iteration (\d+); .*/my_iter_\1\.caffemodel is complete; continue from it with --resume\n"
    told = [
        re.fullmatch(f"fcn-repro: stopped by {by} {way_on}", said)
        for by, (_, said) in zip(("another process", "SIGTERM"), ends, strict=True)
    ]
    assert all(told), ends
    assert told[0][1] == told[1][1] == str(rows.read_text().count("\n") - 1), "all at one iteration"
    Command(*arguments(work, home, "--resume")).done()
    assert_near(home, alone)


def test_processes_that_cannot_share_an_iteration_are_refused(work):
    ends = [command.wait() for command in together(3, *arguments(work, work / "three"))]
    message = "fcn-repro: an iteration of my is 4 images, which 3 processes cannot share evenly; "
    for code, said in ends:
        assert code == 1
        assert said.startswith(message)
    assert not (work / "three/training/my").exists()


@pytest.mark.fault(
    "a process of several is lost",
    "fcn-repro --train",
    "the others end with exit code 1, one line; `--resume` goes on from the last snapshot",
)
def test_a_process_that_is_lost_ends_the_others_and_one_goes_on(work, alone):
    home = work / "lost"
    first, second = under_way(work, home, iterations=6)
    second.signal(signal.SIGKILL)
    assert second.wait()[0] == -signal.SIGKILL
    code, said = first.wait()
    assert code == 1
    way_on = "(continue from it with --resume|no snapshot yet)"
    assert re.fullmatch(rf"fcn-repro: another process is gone, at iteration \d+; .*{way_on}\n", said)
    Command(*arguments(work, home, "--resume")).done()
    assert_near(home, alone)
