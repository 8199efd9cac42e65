"""What a training says of itself: CSV, TensorBoard's events, the page with its curves."""

from __future__ import annotations

import resource
import sys
from contextlib import contextmanager

import pytest

from caffe2torch.errors import MissingData, WriteError
from fcn_repro.data.datasets import open_dataset
from fcn_repro.training.log import TRAIN, VAL, TrainingLog, read_rows
from fcn_repro.training.loop import Options
from tests.fcn_repro.trainings import CLASSES, small_recipe, training, write_images

SCORES = {"pixel_accuracy": 50.5, "mean_accuracy": 40.25, "mean_iu": 100 / 3, "fw_iu": 21.0}


def row(iteration, **changed):
    facts = {"iteration": iteration, "loss": 1 / iteration, "smoothed_loss": 2.5, "rate": 1e-10}
    return {**facts, "images_per_s": 7.0, **changed}


def log_rows(log, iterations):
    for iteration in iterations:
        log.train(row(iteration), 100, 0.1)


@contextmanager
def no_file_over(size):
    """The kernel refuses to let a file of this process grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_rows_are_read_back_to_nine_digits(tmp_path):
    log = TrainingLog(tmp_path, 0)
    log_rows(log, [3, 6])
    log.val({"iteration": 6, **SCORES})
    log.close()
    assert (tmp_path / "train.csv").read_text() == (
        "iteration,loss,smoothed_loss,rate,images_per_s\n3,0.333333333,2.5,1e-10,7\n6,0.166666667,2.5,1e-10,7\n"
    )
    assert read_rows(tmp_path / "val.csv", VAL) == [{"iteration": 6, **SCORES, "mean_iu": 33.3333333}]


def test_a_resumed_training_drops_what_came_after_its_snapshot(tmp_path):
    """And the scores at it, which it takes again."""
    log = TrainingLog(tmp_path, 0)
    log_rows(log, [2, 4, 6, 8])
    for iteration in (3, 6):
        log.val({"iteration": iteration, **SCORES})
    resumed = TrainingLog(tmp_path, 6)
    assert [found["iteration"] for found in read_rows(tmp_path / "train.csv", TRAIN)] == [2, 4, 6]
    assert [found["iteration"] for found in read_rows(tmp_path / "val.csv", VAL)] == [3]
    log_rows(resumed, [8])
    assert [found["iteration"] for found in read_rows(tmp_path / "train.csv", TRAIN)] == [2, 4, 6, 8]


def test_in_a_terminal_progress_is_one_line_and_scores_stay(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    log = TrainingLog(tmp_path, 0)
    log_rows(log, [20])
    log.val({"iteration": 20, **SCORES})
    log.close()
    _, progress, scores = capsys.readouterr().err.split("\r")
    assert progress.startswith("Iteration 20 of 100, loss 2.5, rate 1e-10")
    assert "\n" not in progress
    assert scores == (
        "Iteration 20: pixel accuracy 50.50, mean accuracy 40.25, mean iu 33.33, fw iu 21.00\x1b[K\n\n"
    )


@pytest.mark.fault(
    "kill -9 in the middle of a line of the log",
    "fcn-repro --train",
    "the torn line is dropped, the rows before stay",
)
@pytest.mark.parametrize("kept", [1, 3, 9, 20])
def test_a_torn_last_line_is_dropped(tmp_path, kept):
    log_rows(TrainingLog(tmp_path, 0), [2, 4])
    path = tmp_path / "train.csv"
    whole = path.read_text()
    path.write_text(whole + "6,0.16666,2.5,1e-1,7\n"[:kept])
    TrainingLog(tmp_path, 6)
    assert path.read_text() == whole


def test_only_the_first_process_writes(tmp_path):
    log = TrainingLog(tmp_path / "rank1", 0, rank=1, tensorboard=True)
    log_rows(log, [2])
    log.val({"iteration": 2, **SCORES})
    log.close()
    assert not (tmp_path / "rank1").exists()


def test_a_full_disk_is_an_error_and_the_rows_before_stay(tmp_path):
    log = TrainingLog(tmp_path, 0)
    log_rows(log, [2, 4])
    path = tmp_path / "train.csv"
    with (
        no_file_over(path.stat().st_size + 5),
        pytest.raises(WriteError, match=r"train\.csv: cannot be written"),
    ):
        log_rows(log, [6])
    TrainingLog(tmp_path, 4)
    assert [found["iteration"] for found in read_rows(path, TRAIN)] == [2, 4]


def test_events_are_what_tensorboard_reads(tmp_path):
    """A resumed training's take the place of those after its snapshot."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = TrainingLog(tmp_path, 0, tensorboard=True)
    log_rows(first, [2, 4, 6])
    first.val({"iteration": 6, **SCORES})
    first.close()
    resumed = TrainingLog(tmp_path, 4, tensorboard=True)
    resumed.train(row(6, loss=0.75), 100, 0.1)
    resumed.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    names = {f"train/{name}" for name in TRAIN[1:]} | {f"val/{name}" for name in VAL[1:]}
    assert set(events.Tags()["scalars"]) == names
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (2, 0.5),
        (4, 0.25),
        (6, 0.75),
    ]


def test_without_tensorboard_the_option_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where it is not installed
    with pytest.raises(MissingData, match="package tensorboard: pip install tensorboard") as missing:
        TrainingLog(tmp_path, 0, tensorboard=True)
    assert missing.value.exit_code == 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training that validates twice."""
    folder = tmp_path_factory.mktemp("training")
    images = write_images(folder / "mine")
    recipe = small_recipe(max_iter=6, snapshot=3, average_loss=4)
    val = open_dataset("folder", images, "val")
    own = training(recipe, images, folder / "training", val=val, options=Options())
    own.run()
    return own


def test_the_smoothed_loss_is_the_mean_of_the_last_ones(trained):
    rows = read_rows(trained.folder / "train.csv", TRAIN)
    losses = [found["loss"] for found in rows]
    assert [found["iteration"] for found in rows] == [1, 2, 3, 4, 5, 6]
    for number, found in enumerate(rows, start=1):
        last = losses[max(0, number - 4) : number]
        assert found["smoothed_loss"] == pytest.approx(sum(last) / len(last), rel=1e-7), number


def test_validation_comes_with_the_snapshots(trained):
    rows = read_rows(trained.folder / "val.csv", VAL)
    assert [found["iteration"] for found in rows] == [3, 6]
    percent = trained.evaluation.scores.percent()
    assert {name: rows[-1][name] for name in VAL[1:]} == pytest.approx(percent, rel=1e-7)
    assert trained.evaluation.head.classes == open_dataset("folder", trained.train.folder, "val").classes
    assert len(trained.evaluation.head.classes) == len(CLASSES)
