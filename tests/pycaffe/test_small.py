"""What scripts ask of Caffe beside its nets: types of layers, a timer, the log, how many solvers."""

from __future__ import annotations

import time

import pytest

import caffe2torch.pycaffe as caffe


def test_the_types_of_layers() -> None:
    types = list(caffe.layer_type_list())
    assert types == sorted(set(types))
    assert {"Convolution", "Data", "DummyData", "HDF5Data", "Input", "Python", "SoftmaxWithLoss"} <= {*types}


def test_a_timer_counts_milliseconds() -> None:
    timer = caffe.Timer()
    timer.start()
    time.sleep(0.02)
    timer.stop()
    first = timer.ms
    assert first >= 20
    time.sleep(0.02)
    assert timer.ms == first


def test_a_line_in_the_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOG_minloglevel", "0")
    caffe.log("half way")
    assert capsys.readouterr().err.endswith("_caffe.cpp:60] half way\n")


def test_one_solver_trains_whatever_it_is_told() -> None:
    assert (caffe.has_nccl(), caffe.solver_count(), caffe.solver_rank()) == (False, 1, 0)
    caffe.set_multiprocess(True)
    caffe.set_solver_count(2)
    caffe.set_solver_rank(1)
    assert (caffe.solver_count(), caffe.solver_rank()) == (2, 1)
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
