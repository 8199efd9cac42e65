"""The order of what a solver does, its log and its snapshots, by what real Caffe prints."""

import re
import sys

import numpy as np
import pytest
import torch

from caffe2torch import pycaffe as caffe
from caffe2torch.errors import Caffe2TorchError, NetError, WeightsError, WriteError
from tests.pycaffe.problem import NET, net_of, solver_file, solver_of, write

SEQ = """
import sys
import caffe2torch.pycaffe as caffe

class Seq(caffe.Layer):
    def setup(self, bottom, top):
        self.values, self.count = eval(self.param_str), 0

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[...] = self.values[self.count % len(self.values)]
        self.count += 1
        sys.stderr.write(f"   [{['TRAIN', 'TEST'][self.phase]} forward {self.count}]\\n")

    def backward(self, top, propagate_down, bottom):
        pass
"""
SEQNET = """
name: 'seqnet'
layer { name: 'tr' type: 'Python' top: 'loss' loss_weight: 1 include { phase: TRAIN }
  python_param { module: 'seq_layer' layer: 'Seq' param_str: '[4,2,6,8,1,1,1]' } }
layer { name: 'te' type: 'Python' top: 'acc' include { phase: TEST }
  python_param { module: 'seq_layer' layer: 'Seq' param_str: '[10,20,30,40,50,10]' } }
layer { name: 'd' type: 'DummyData' top: 'x' top: 'y' dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 dim: 1 }
  data_filler { type: 'constant' value: 1 } data_filler { type: 'constant' value: 2 } } }
layer { name: 'fc' type: 'InnerProduct' bottom: 'x' top: 'fc' inner_product_param {
  num_output: 1 weight_filler { type: 'constant' value: 0.5 } } }
layer { name: 'l2' type: 'EuclideanLoss' bottom: 'fc' bottom: 'y' top: 'l2' loss_weight: 0 }
"""
STEPS = "base_lr: 0.1 lr_policy: 'step' gamma: 0.1 stepsize: 2\n"


@pytest.fixture
def seq(tmp_path, monkeypatch):
    write(tmp_path / "seq_layer.py", SEQ)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("seq_layer", None)


def said(capsys):
    """What was logged, from the end of building on, without times."""
    lines = capsys.readouterr().err.splitlines()
    starts = [i for i, line in enumerate(lines) if "scaffolding done" in line]
    short = []
    for line in lines[starts[-1] + 1 if starts else 0 :]:
        if "Ignoring source layer" in line:
            continue
        line = re.sub(r"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \w+\.cpp:\d+\] ", "", line)
        short.append(re.sub(r" \(\S+ iter/s, \S+s/(\d+) iters\)", r" (/\1)", line))
    return short


def shown(iteration, loss, out, rate, every=1):
    return [
        f"Iteration {iteration} (/{every}), loss = {loss}",
        "    Train net output #0: l2 = 0.125",
        f"    Train net output #1: loss = {out} (* 1 = {out} loss)",
        f"Iteration {iteration}, lr = {rate}",
    ]


def scored(iteration, first, mean):
    return [
        f"Iteration {iteration}, Testing net (#0)",
        f"   [TEST forward {first}]",
        f"   [TEST forward {first + 1}]",
        f"    Test net output #0: acc = {mean}",
        "    Test net output #1: l2 = 0.125",
    ]


def test_a_whole_training(seq, tmp_path, capsys):
    settings = "display: 1 max_iter: 5 test_iter: 2 test_interval: 2 snapshot_prefix: 'sn'"
    solver_of(tmp_path, STEPS + settings, SEQNET).solve()
    snapshot = [
        "Snapshotting to binary proto file sn_iter_5.caffemodel",
        "Snapshotting solver state to binary proto file sn_iter_5.solverstate",
    ]
    assert said(capsys) == [
        "Solving seqnet",
        "Learning Rate Policy: step",
        *scored(0, 1, 15),
        "   [TRAIN forward 1]",
        *shown(0, 4, 4, 0.1),
        "   [TRAIN forward 2]",
        *shown(1, 2, 2, 0.1),
        *scored(2, 3, 35),
        "   [TRAIN forward 3]",
        *shown(2, 6, 6, 0.01),
        "   [TRAIN forward 4]",
        *shown(3, 8, 8, 0.01),
        *scored(4, 5, 30),
        "   [TRAIN forward 5]",
        *shown(4, 1, 1, 0.001),
        *snapshot,
        "   [TRAIN forward 6]",
        "Iteration 5, loss = 1",
        "Optimization Done.",
    ]


def test_callbacks_snapshots_and_a_test_loss(seq, tmp_path, capsys):
    settings = "display: 2 max_iter: 4 test_iter: 1 test_interval: 2 test_initialization: false snapshot: 2 "
    settings += "test_compute_loss: true snapshot_prefix: 'sn'"
    solver = solver_of(tmp_path, STEPS + settings, SEQNET)
    write = sys.stderr.write
    solver.add_callback(
        lambda: write(f"   [on_start iter {solver.iter}]\n"),
        lambda: write(f"   [gradients_ready iter {solver.iter}]\n"),
    )
    solver.solve()
    lines = said(capsys)
    kinds = [line.strip().split(" (/2)")[0].split(" = ")[0] for line in lines]
    assert kinds == [
        "Solving seqnet",
        "Learning Rate Policy: step",
        "[on_start iter 0]",
        "[TRAIN forward 1]",
        "Iteration 0",
        "Train net output #0: l2",
        "Train net output #1: loss",
        "[gradients_ready iter 0]",
        "Iteration 0, lr",
        "[on_start iter 1]",
        "[TRAIN forward 2]",
        "[gradients_ready iter 1]",
        "Snapshotting to binary proto file sn_iter_2.caffemodel",
        "Snapshotting solver state to binary proto file sn_iter_2.solverstate",
        "Iteration 2, Testing net (#0)",
        "[TEST forward 1]",
        "Test loss: 0",
        "Test net output #0: acc",
        "Test net output #1: l2",
        "[on_start iter 2]",
        "[TRAIN forward 3]",
        "Iteration 2",
        "Train net output #0: l2",
        "Train net output #1: loss",
        "[gradients_ready iter 2]",
        "Iteration 2, lr",
        "[on_start iter 3]",
        "[TRAIN forward 4]",
        "[gradients_ready iter 3]",
        "Snapshotting to binary proto file sn_iter_4.caffemodel",
        "Snapshotting solver state to binary proto file sn_iter_4.solverstate",
        "[TRAIN forward 5]",
        "Iteration 4, loss",
        "Iteration 4, Testing net (#0)",
        "[TEST forward 2]",
        "Test loss: 0",
        "Test net output #0: acc",
        "Test net output #1: l2",
        "Optimization Done.",
    ]
    solver.solve()
    assert said(capsys)[2:5] == [
        "   [TRAIN forward 6]",
        "Iteration 4, loss = 1",
        "Iteration 4, Testing net (#0)",
    ]


def losses(capsys):
    return [
        float(line.split("loss = ")[1])
        for line in said(capsys)
        if line.startswith("Iteration") and "loss" in line
    ]


def test_the_loss_shown_is_smoothed(seq, tmp_path, capsys):
    settings = "display: 1 max_iter: 4 average_loss: 3 snapshot_after_train: false"
    solver_of(tmp_path, STEPS + settings, SEQNET).solve()
    assert losses(capsys) == [4, 3, 4, 5.33333, 5]


def test_the_loss_shown_is_the_mean_over_iter_size(seq, tmp_path, capsys):
    settings = "display: 1 max_iter: 2 iter_size: 2 snapshot_after_train: false"
    solver_of(tmp_path, STEPS + settings, SEQNET).solve()
    assert losses(capsys) == [3, 7, 1]


def test_smoothing_begins_anew_at_each_step(seq, tmp_path, capsys):
    solver = solver_of(tmp_path, STEPS + "display: 2 average_loss: 3", SEQNET)
    solver.step(2)
    solver.step(2)
    assert losses(capsys) == [4, 6]
    assert solver.iter == 4


def test_step_tests_and_goes_past_max_iter(seq, tmp_path, capsys):
    solver = solver_of(tmp_path, STEPS + "max_iter: 1 test_iter: 1 test_interval: 1", SEQNET)
    solver.step(0)
    assert said(capsys) == []
    solver.step(3)
    assert [line for line in said(capsys) if "Testing" in line] == [
        f"Iteration {i}, Testing net (#0)" for i in range(3)
    ]


def test_an_exception_of_a_callback_comes_out_and_the_iteration_does_not_count(tmp_path):
    solver = solver_of(tmp_path, STEPS)
    solver.add_callback(lambda: None, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        solver.step(1)
    assert solver.iter == 0


def test_test_nets_take_the_training_nets_parameters_when_first_tested(tmp_path):
    random = NET.replace("weight_filler { type: 'constant' value: 0.5 }", "weight_filler { type: 'xavier' }")
    solver = solver_of(tmp_path, STEPS + "test_iter: 1 test_iter: 1 test_interval: 9", random)
    first, second = solver.test_nets
    own, theirs = solver.net.params["fc"][0], first.params["fc"][0]
    assert not np.array_equal(own.data, theirs.data)
    solver.step(1)
    np.testing.assert_array_equal(own.data, theirs.data)
    np.testing.assert_array_equal(own.data, second.params["fc"][0].data)


@pytest.mark.parametrize(
    "settings",
    [
        "test_iter: 1",
        "test_interval: 2 test_iter: 1 test_state {} test_state {}",
        "train_net: 'x'",
        "type: 'None'",
        "type: 'AdaGrad' momentum: 0.9",
    ],
)
def test_solvers_that_caffe_refuses(tmp_path, settings):
    with pytest.raises(NetError):
        solver_of(tmp_path, STEPS + settings)


def test_test_interval_without_test_iter_tests_nothing(tmp_path):
    assert list(solver_of(tmp_path, STEPS + "test_interval: 2").test_nets) == []


def test_states(tmp_path):
    rule = "layer {{ name: '{0}' type: 'Power' bottom: 'x' top: '{0}' include {{ stage: '{0}' }} }}"
    net = NET + "".join(map(rule.format, ("own", "train", "test"))) + "state { stage: 'own' }"
    settings = "test_iter: 1 test_interval: 5 train_state { stage: 'train' } test_state { stage: 'test' }"
    solver = solver_of(tmp_path, STEPS + settings, net)
    assert solver.net.outputs == ["loss", "own", "train"]
    assert solver.test_nets[0].outputs == ["loss", "own", "test"]


@pytest.mark.parametrize(
    ("prefix", "stem"),
    [
        ("", "solver"),
        ("snapshot_prefix: 'folder'", "folder/solver"),
        ("snapshot_prefix: 'folder/'", "folder/solver"),
        ("snapshot_prefix: 'folder/x'", "folder/x"),
        ("snapshot_prefix: ''", ""),
    ],
)
def test_names_of_snapshots(tmp_path, monkeypatch, prefix, stem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    solver_file(tmp_path, STEPS + prefix)
    solver = caffe.get_solver("solver.prototxt")
    solver.step(1)
    assert solver.snapshot() is None
    assert (tmp_path / f"{stem}_iter_1.caffemodel").is_file()
    assert (tmp_path / f"{stem}_iter_1.solverstate").is_file()


def test_a_folder_that_is_missing_is_refused_at_once_if_snapshots_are_due(tmp_path):
    prefix = f"snapshot_prefix: '{tmp_path}/none/x' "
    with pytest.raises(WriteError):
        solver_of(tmp_path, STEPS + prefix + "snapshot: 5")
    with pytest.raises(WriteError):
        solver_of(tmp_path, STEPS + prefix).snapshot()


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_going_on_from_a_snapshot_is_as_if_nothing_had_happened(tmp_path, kind, form):
    momentum = "momentum: 0.9" if kind not in ("AdaGrad", "RMSProp") else ""
    settings = f"base_lr: 0.1 lr_policy: 'multistep' gamma: 0.5 stepvalue: 1 stepvalue: 3 type: '{kind}' "
    settings += f"{momentum} weight_decay: 0.1 snapshot_prefix: '{tmp_path}/s' snapshot_format: {form}"
    whole = solver_of(tmp_path, settings)
    whole.step(2)
    whole.snapshot()
    whole.step(3)
    rest = solver_of(tmp_path, settings)
    rest.restore(f"{tmp_path}/s_iter_2.solverstate" + (".h5" if form == "HDF5" else ""))
    assert rest.iter == 2
    rest.step(3)
    for mine, theirs in zip(rest.net.params["fc"], whole.net.params["fc"], strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
    if kind == "Adam":
        with pytest.raises(WeightsError, match="solver type"):
            solver_of(tmp_path, settings.replace("Adam", "SGD")).restore(
                f"{tmp_path}/s_iter_2.solverstate" + (".h5" if form == "HDF5" else "")
            )


def test_weights_of_the_solver_go_into_all_its_nets(tmp_path):
    solver = solver_of(tmp_path, STEPS)
    solver.net.params["fc"][0].data[...] = 7
    solver.net.save(str(tmp_path / "a.caffemodel"))
    weights = f'weights: "{tmp_path}/a.caffemodel, {tmp_path}/a.caffemodel" test_iter: 1 test_interval: 1'
    solver = solver_of(tmp_path, STEPS + weights)
    np.testing.assert_array_equal(solver.net.params["fc"][0].data, 7)
    np.testing.assert_array_equal(solver.test_nets[0].params["fc"][0].data, 7)


def test_what_lives_on(tmp_path):
    solver = solver_of(tmp_path, STEPS)
    net = solver.net
    with pytest.raises(AttributeError):
        solver.net = net
    with pytest.raises(AttributeError):
        solver.iter = 3
    solver.mine = 3
    del solver
    assert net.forward()["loss"] == 0.03125


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(Caffe2TorchError):
        caffe.SGDSolver(str(tmp_path / "none.prototxt"))


def test_debug_info(tmp_path, capsys):
    solver_of(tmp_path, STEPS + "display: 2 debug_info: true").step(2)
    lines = [line for line in said(capsys) if "ward]" in line]
    assert lines == [
        "    [Forward] Layer d, top blob x data: 1",
        "    [Forward] Layer d, top blob y data: 2",
        "    [Forward] Layer fc, top blob fc data: 1.75",
        "    [Forward] Layer fc, param blob 0 data: 0.5",
        "    [Forward] Layer fc, param blob 1 data: 0.25",
        "    [Forward] Layer loss, top blob loss data: 0.03125",
        "    [Backward] Layer loss, bottom blob fc diff: 0.125",
        "    [Backward] Layer fc, param blob 0 diff: 0.25",
        "    [Backward] Layer fc, param blob 1 diff: 0.25",
        "    [Backward] All net params (data, diff): L1 norm = (1.75, 1); L2 norm = (0.901388, 0.5)",
    ]


def test_ctrl_c_ends_the_iteration_first(tmp_path):
    import signal

    solver = solver_of(tmp_path, STEPS)
    solver.add_callback(lambda: signal.raise_signal(signal.SIGINT), lambda: None)
    with pytest.raises(KeyboardInterrupt):
        solver.step(5)
    assert solver.iter == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert solver.net.params["fc"][0].diff.max() != 0


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    import signal

    solver = solver_of(tmp_path, STEPS)

    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    solver.add_callback(twice, lambda: None)
    with pytest.raises(KeyboardInterrupt):
        solver.step(5)
    assert solver.iter == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_net_that_shares_the_solvers_weights_follows_its_steps(tmp_path):
    solver = solver_of(tmp_path, "base_lr: 0.1 lr_policy: 'fixed'")
    other = net_of(tmp_path, NET)
    solver.share_weights(other)
    solver.step(1)
    shared, own = other.params["fc"][0], solver.net.params["fc"][0]
    np.testing.assert_array_equal(shared.data, own.data)
    assert shared.data[0, 0] == np.float32(0.5) + np.float32(0.025)  # the raw gradient is -0.25
    assert own.diff.any()
    assert not shared.diff.any(), "diffs are not shared"


def test_a_solver_that_begins_in_inference_mode_goes_on_outside(tmp_path):
    given = "base_lr: 0.0001 lr_policy: 'fixed' momentum: 0.9", NET.replace("dim: 3", "dim: 5000")
    expected = solver_of(tmp_path, *given)
    with torch.inference_mode():
        solver = solver_of(tmp_path, *given)
        solver.step(1)
    solver.step(1)
    expected.step(2)
    for ours, theirs in zip(solver.net.params["fc"], expected.net.params["fc"], strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)
