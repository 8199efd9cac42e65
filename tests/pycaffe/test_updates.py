"""What one step leaves in data and diff, by the numbers of real Caffe (facts 32 to 38)."""

import math

import numpy as np
import pytest

from caffe2torch import pycaffe as caffe
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.pycaffe.proto import caffe_pb2
from tests.pycaffe.problem import FC, NET, net_of, solver_of

FIXED = "lr_policy: 'fixed' display: 0 max_iter: 10\n"


def weight(solver):
    return solver.net.params["fc"][0]


def test_diff_holds_what_was_subtracted(tmp_path):
    solver = solver_of(tmp_path, FIXED + "base_lr: 0.1 momentum: 0.9 weight_decay: 0.01")
    solver.step(1)
    np.testing.assert_allclose(weight(solver).data, 0.5245, atol=1e-6)
    np.testing.assert_allclose(weight(solver).diff, -0.0245, atol=1e-6)
    np.testing.assert_allclose(solver.net.params["fc"][1].diff, -0.05, atol=1e-6)
    solver.step(1)
    np.testing.assert_allclose(weight(solver).diff, -0.0341755, atol=1e-6)


def test_clips_then_decays(tmp_path):
    solver = solver_of(tmp_path, FIXED + "base_lr: 1 clip_gradients: 0.1 weight_decay: 0.5")
    solver.step(1)
    np.testing.assert_allclose(weight(solver).diff, 0.2, atol=1e-6)
    np.testing.assert_allclose(solver.net.params["fc"][1].diff, -0.1, atol=1e-6)


def test_small_gradients_are_not_clipped(tmp_path):
    solver = solver_of(tmp_path, FIXED + "base_lr: 1 clip_gradients: 100")
    solver.step(1)
    np.testing.assert_allclose(weight(solver).diff, -0.25, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("type: 'LBFGS'", "'LBFGS'"),
        ("type: 'AdaGrad' momentum: 0.5", "momentum is 0.5; AdaGrad has none"),
        ("type: 'RMSProp' rms_decay: 1", "rms_decay is 1; it must be at least 0 and below 1"),
        ("regularization_type: 'L3'", "regularization_type is 'L3'; Caffe's are L1 and L2"),
    ],
)
def test_settings_that_caffes_solvers_refuse(tmp_path, settings, message):
    with pytest.raises(NetError, match=message):
        solver_of(tmp_path, FIXED + "base_lr: 1 " + settings)


def test_a_state_of_another_net_is_refused(tmp_path):
    solver = solver_of(tmp_path, FIXED + "base_lr: 1 momentum: 0.5")
    solver.step(1)
    solver.snapshot()
    path = tmp_path / "solver_iter_1.solverstate"
    state = caffe_pb2.SolverState.FromString(path.read_bytes())
    state.history[0].shape.dim[:] = [3, 1]
    path.write_bytes(state.SerializeToString())
    with pytest.raises(WeightsError, match=r"history blob 0 is \(3, 1\), not \(1, 3\)"):
        solver.restore(str(path))
    np.testing.assert_allclose(weight(solver).data, 0.75)


def test_l1_decay(tmp_path):
    settings = "base_lr: 0.01 iter_size: 2 weight_decay: 0.5 regularization_type: 'L1'"
    solver = solver_of(tmp_path, FIXED + settings)
    solver.step(1)
    np.testing.assert_allclose(weight(solver).diff, 0.0025, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "updates"),
    [
        ("type: 'Nesterov' momentum: 0.9", (-0.00475, -0.00632375, -0.00735312)),
        ("type: 'AdaGrad' delta: 1e-8", (-0.01, -0.00624695, -0.00466313)),
        ("type: 'RMSProp' rms_decay: 0.98", (-0.07071069, 0.02729375, -0.00869714)),
        ("type: 'AdaDelta' momentum: 0.95 delta: 1e-6", (-4.47142e-5, -4.52640e-5, -4.56223e-5)),
        ("type: 'Adam' momentum: 0.9", (-0.00999999, -0.00988125, -0.00963161)),
    ],
)
def test_first_updates_of_each_type(tmp_path, settings, updates):
    solver = solver_of(tmp_path, FIXED + "base_lr: 0.01 " + settings)
    for update in updates:
        solver.step(1)
        np.testing.assert_allclose(weight(solver).diff, update, rtol=2e-5)


def test_weights_that_became_another_nets_are_trained_there(tmp_path):
    solver = solver_of(tmp_path, FIXED + "base_lr: 0.1")
    solver.step(1)
    other = net_of(tmp_path, NET)
    solver.net.share_with(other)
    before = other.params["fc"][0].data.copy()
    solver.step(1)
    assert weight(solver).diff.all()
    np.testing.assert_allclose(other.params["fc"][0].data, before - weight(solver).diff, rtol=1e-6)


def test_updating_by_hand_counts_and_clears_nothing(tmp_path):
    solver = solver_of(tmp_path, FIXED + "base_lr: 0.1")
    solver.net.forward()
    solver.net.backward()
    solver.apply_update()
    assert solver.iter == 1
    np.testing.assert_allclose(weight(solver).diff, -0.025, atol=1e-6)
    solver.net.forward()
    solver.net.backward()
    raw = -0.25 + 0.025 * 3 + 0.05  # what the step has changed of fc's error
    np.testing.assert_allclose(weight(solver).diff, -0.025 + raw, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ("lr_policy: 'sigmoid' gamma: 1 stepsize: 2", (1.19e-7, 2.69e-7, 5e-7)),
        ("lr_policy: 'inv' gamma: 1 power: 1", (1e-6, 5e-7, 1e-6 / 3)),
        ("lr_policy: 'poly' power: 1 max_iter: 1", (1e-6, 0, -1e-6)),
        ("lr_policy: 'poly' power: 0.5 max_iter: 1", (1e-6, 0, math.nan)),
    ],
)
def test_rates(tmp_path, settings, rates):
    solver = solver_of(tmp_path, "base_lr: 1e-6 " + settings)
    for rate in rates:
        assert solver.lr == pytest.approx(rate, rel=2e-3, nan_ok=True)
        solver.step(1)


def test_multistep_moves_one_step_at_each_look(tmp_path):
    settings = "base_lr: 1 gamma: 0.1 lr_policy: 'multistep' stepvalue: 0 stepvalue: 0 stepvalue: 0"
    solver = solver_of(tmp_path, settings)
    assert [solver.lr for _ in range(4)] == pytest.approx([0.1, 0.01, 0.001, 0.001])


def test_a_policy_that_lacks_its_numbers_is_refused_at_the_first_step(tmp_path):
    for settings in ("base_lr: 1", "base_lr: 1 lr_policy: 'step' gamma: 0.1"):
        solver = solver_of(tmp_path, settings)
        with pytest.raises(NetError, match="lr_policy"):
            solver.step(1)


def test_without_a_rate_nothing_is_learned(tmp_path):
    solver = solver_of(tmp_path, FIXED)
    solver.step(1)
    assert solver.lr == 0
    np.testing.assert_array_equal(weight(solver).data, 0.5)


def test_a_rate_that_a_script_sets_takes_effect(tmp_path):
    solver = solver_of(tmp_path, FIXED + "base_lr: 1")
    solver.param.base_lr = 0.1
    solver.step(1)
    np.testing.assert_allclose(weight(solver).diff, -0.025, atol=1e-6)
    assert (solver.param.max_iter, solver.param.display, solver.param.layer_wise_reduce) == (10, 0, True)


def test_frozen_parameters_have_no_diff(tmp_path):
    frozen = FC.replace("lr_mult: 1", "lr_mult: 0")
    net = solver_of(tmp_path, FIXED + "base_lr: 1").net
    assert net.params["fc"][0].diff.max() == 0
    from tests.pycaffe.problem import DATA, LOSS

    solver = solver_of(tmp_path, FIXED + "base_lr: 1 weight_decay: 0.1", DATA + frozen + LOSS)
    solver.step(1)
    np.testing.assert_array_equal(weight(solver).diff, 0)
    np.testing.assert_array_equal(weight(solver).data, 0.5)
    np.testing.assert_allclose(solver.net.params["fc"][1].diff, -0.5)


def test_types(tmp_path):
    for name in ("Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):
        solver = solver_of(tmp_path, FIXED + f"base_lr: 1 type: '{name}'")
        assert type(solver) is getattr(caffe, f"{name}Solver")
        assert isinstance(solver, caffe.SGDSolver)
    assert type(solver_of(tmp_path, FIXED + "solver_type: ADAGRAD")) is caffe.AdaGradSolver
    with pytest.raises(NetError, match="adam"):
        solver_of(tmp_path, FIXED + "type: 'adam'")
    file = tmp_path / "solver.prototxt"
    file.write_text(file.read_text().replace("'adam'", "'Adam'"))
    assert type(caffe.SGDSolver(str(file))) is caffe.SGDSolver
