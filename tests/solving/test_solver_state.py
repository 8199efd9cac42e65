"""What a solver keeps and for which blobs: Caffe's learnable_params, snapshots, and files that do not fit."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

import caffe2torch as c2t
from caffe2torch.blob import Blob
from caffe2torch.errors import Caffe2TorchError, NetError, ReadError, SyntaxRefused, WeightsError, WriteError
from caffe2torch.modules.fcn import FCN8s
from caffe2torch.solving.solver import Solver
from caffe2torch.solving.solverstate import write_solverstate
from caffe2torch.untrusted.binary import SolverState, read_solverstate
from tests import plain_protobuf
from tests.nets import INPUT, net_of

TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
SMALL = (2, 3, 4, 5, 6, 7, 8)


def solver_of(model: torch.nn.Module, kind: str = "SGD", **others: Any) -> Solver:
    momentum = {} if kind in ("AdaGrad", "RMSProp") else {"momentum": 0.9}
    given = {"type": kind, "base_lr": 0.05, "lr_policy": "fixed", "weight_decay": 0.1, **momentum, **others}
    return Solver(model, **given)


def history(solver: Solver, folder: Path) -> list[np.ndarray]:
    """The history as its file holds it for Caffe."""
    _, path = solver.snapshot(folder / "history")
    state = plain_protobuf.message("SolverState").FromString(path.read_bytes())
    return [np.array(blob.data, np.float32).reshape(tuple(blob.shape.dim)) for blob in state.history]


def everything(solver: Solver, folder: Path) -> list[bytes]:
    """Weights, history, iter and current_step, as the two files of a snapshot."""
    return [path.read_bytes() for path in solver.snapshot(folder / "everything")]


# Net::learnable_params

BATCH_NORM = f"""{INPUT}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" param {{ lr_mult: 1 }}
  param {{ lr_mult: 2 decay_mult: 0 }} convolution_param {{ num_output: 4 kernel_size: 3 }} }}
layer {{ name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }}
layer {{ name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param {{ bias_term: true }} }}
layer {{ name: "power" type: "PReLU" bottom: "scale" top: "power" prelu_param {{ channel_shared: true }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "power" top: "up" param {{ lr_mult: 0 }}
  convolution_param {{ num_output: 4 kernel_size: 2 stride: 2 bias_term: false }} }}
"""


def batch_norm(text: str = BATCH_NORM) -> torch.nn.Module:
    """A net with every kind of blob: trained, statistics, a scalar, and a diagonal that is frozen."""
    up = np.zeros((4, 4, 2, 2))
    up[range(4), range(4)] = np.arange(1, 5)[:, None, None]
    random = np.random.default_rng(5)
    blobs = {
        "conv": [random.normal(size=(4, 3, 3, 3)), random.normal(size=4)],
        "bn": [np.zeros(4), np.zeros(4), np.zeros(1)],
        "scale": [np.ones(4), np.zeros(4)],
        "power": [np.array(0.25)],
        "up": [up],
    }
    return c2t.build(net_of(text, **blobs), "TRAIN")


def trained(solver: Solver, steps: int = 2, seed: int = 7) -> Solver:
    """The solver after steps on random images."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        solver.zero_grad()
        (top,) = solver.model(torch.randn(2, 3, 8, 11, generator=generator)).values()
        top.square().mean().backward()
        solver.step()
    return solver


def test_every_blob_counts_in_the_net_s_order(tmp_path: Path) -> None:
    """The statistics of BatchNorm too, whose lr_mult Caffe sets to 0, and the frozen deconvolution, dense."""
    solver = trained(solver_of(batch_norm()))
    shapes = [(4, 3, 3, 3), (4,), (4,), (4,), (1,), (4,), (4,), (), (4, 4, 2, 2)]
    assert [p.shape for p in solver.learnable_params] == shapes
    found = history(solver, tmp_path)
    assert [h.shape for h in found] == shapes
    assert [bool(h.any()) for h in found] == [True, True, False, False, False, True, True, True, False]
    assert [len(solver.state.get(p.tensor, ())) for p in solver.learnable_params].count(0) == 4


def test_what_is_frozen_still_decays_into_squares(tmp_path: Path) -> None:
    """AdaGrad's history sums up the squares of the gradients, which are the weight decay alone."""
    solver = solver_of(batch_norm(), "AdaGrad")
    before = solver.model.up.weight.clone()
    found = history(trained(solver, 3), tmp_path)
    up = np.zeros((4, 4, 2, 2))
    up[range(4), range(4)] = 3 * (0.1 * np.arange(1, 5)[:, None, None]) ** 2
    np.testing.assert_allclose(found[8], up, rtol=1e-6)
    assert torch.equal(solver.model.up.weight, before)
    # The factor of the statistics is 1, then 1.999 and so on, and decay_mult is 1.
    np.testing.assert_allclose(found[4], [0.01 * sum(f**2 for f in (1, 1.999, 2.997001))], rtol=1e-5)


def test_a_requirement_of_no_gradient_is_lr_mult_0(tmp_path: Path) -> None:
    frozen = BATCH_NORM.replace("lr_mult: 1 }", "lr_mult: 0 }")
    assert frozen != BATCH_NORM
    for kind in TYPES:
        one, other = solver_of(batch_norm(), kind), solver_of(batch_norm(frozen), kind)
        one.model.conv.weight.requires_grad_(False)
        pairs = zip(history(trained(one), tmp_path), history(trained(other), tmp_path), strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(a, b)


def test_frozen_half_way_momentum_carries_on(tmp_path: Path) -> None:
    """As in Caffe, where a net with lr_mult 0 goes on from the state of one without."""
    solver = trained(solver_of(batch_norm()))
    weight = solver.model.conv.weight
    before, velocity = weight.detach().clone(), torch.from_numpy(history(solver, tmp_path)[0])
    weight.requires_grad_(False)
    trained(solver, 1)
    torch.testing.assert_close(weight.detach(), before - 0.9 * velocity)


SHARED = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 2 dim: 5 }} }} }}
layer {{ name: "a" type: "InnerProduct" bottom: "data" top: "a" param {{ name: "w" {a} }}
  inner_product_param {{ num_output: 5 bias_term: false }} }}
layer {{ name: "b" type: "InnerProduct" bottom: "a" top: "b" param {{ name: "w" {b} }}
  inner_product_param {{ num_output: 5 bias_term: false }} }}
"""


@pytest.mark.parametrize(
    ("a", "b", "mults"),
    [
        ("", "", (1, 1)),
        ("lr_mult: 3", "", (3, 1)),
        ("", "lr_mult: 3 decay_mult: 0", (3, 0)),
        ("lr_mult: 3", "lr_mult: 3 decay_mult: 2", (3, 2)),
    ],
)
def test_shared_blobs_are_one(a: str, b: str, mults: tuple[float, float], tmp_path: Path) -> None:
    """With the gradients of both layers, and the multipliers of whichever layer gives them."""
    w = np.random.default_rng(1).normal(size=(5, 5))
    model = c2t.build(net_of(SHARED.format(a=a, b=b), a=[w], b=[w]), "TRAIN")
    solver, x = solver_of(model), np.random.default_rng(2).normal(size=(2, 5)).astype(np.float32)
    model(torch.from_numpy(x))["b"].sum().backward()
    solver.step()
    ones = np.ones((2, 5))
    gradient = ones.T @ (x @ w.T) + (ones @ w).T @ x  # through the second layer, and through the first
    velocity = 0.05 * mults[0] * (gradient + 0.1 * mults[1] * w)
    (found,) = history(solver, tmp_path)
    np.testing.assert_allclose(found, velocity, rtol=1e-5)
    np.testing.assert_allclose(model.b.weight.detach(), w - velocity, rtol=1e-5)


def test_shared_blobs_with_two_rates_are_refused() -> None:
    w = np.ones((5, 5))
    net = net_of(SHARED.format(a="lr_mult: 3", b="lr_mult: 1"), a=[w], b=[w])
    with pytest.raises(NetError, match=r"layers share 'a\.weight' and give it lr_mult 1, 3; Caffe wants one"):
        c2t.build(net, "TRAIN")


# Going on


@pytest.mark.parametrize("hdf5", [False, True], ids=["binary", "hdf5"])
@pytest.mark.parametrize("kind", TYPES)
def test_what_is_written_is_read_back(kind: str, hdf5: bool, tmp_path: Path) -> None:
    """A second solver goes on from the files as the first one does, bit for bit."""
    solver = trained(solver_of(batch_norm(), kind))
    weights, path = solver.snapshot(tmp_path / "snap")
    if hdf5:
        state = read_solverstate(path)
        path = path.with_name(f"{path.name}.h5")
        write_solverstate(state, path)
    other = solver_of(batch_norm(), kind)
    other.restore(path, weights)
    assert everything(other, tmp_path) == everything(solver, tmp_path)
    assert everything(trained(other), tmp_path) == everything(trained(solver), tmp_path)


def test_hdf5_is_laid_out_as_caffe_does(tmp_path: Path) -> None:
    blobs = (Blob.of(np.arange(6, dtype=np.float32).reshape(2, 3)), Blob.of(np.ones(4, np.float32)))
    write_solverstate(SolverState(70, "snap.caffemodel.h5", blobs, 2), tmp_path / "snap.solverstate.h5")
    with h5py.File(tmp_path / "snap.solverstate.h5") as file:
        for name, value in {"iter": 70, "current_step": 2}.items():
            assert (file[name].shape, file[name].dtype, file[name][0]) == ((1,), np.int32, value)
        kind = file["learned_net"].id.get_type()
        assert (file["learned_net"].shape, file["learned_net"][()]) == ((), b"snap.caffemodel.h5")
        assert (kind.get_size(), kind.get_strpad()) == (19, h5py.h5t.STR_NULLTERM)
        assert sorted(file["history"]) == ["0", "1"]
        for i, blob in enumerate(blobs):
            dataset = file[f"history/{i}"]
            assert dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
            assert dataset.dtype == np.dtype("<f4")
            np.testing.assert_array_equal(dataset[()], blob.read())


def test_real_states(reference: Path, tmp_path: Path) -> None:
    """What Caffe trained for 10000 iterations goes on, and is written as it was read."""
    folder = reference / "models" / "23-caffe-lenet_iter_10000"
    net = folder.with_name("18-caffe-lenet_iter_10000")
    model = c2t.build(c2t.read(net / "net.prototxt", net / "lenet_iter_10000.caffemodel"), "TRAIN")
    solver = solver_of(model, lr_policy="inv", gamma=1e-4, power=0.75, base_lr=0.01)
    solver.restore(folder / "lenet_iter_10000.solverstate", net / "lenet_iter_10000.caffemodel")
    assert (solver.iter, solver.current_step) == (10000, 0)
    assert solver.rate == pytest.approx(0.01 * 2**-0.75)
    stored = read_solverstate(folder / "lenet_iter_10000.solverstate")
    ours = history(solver, tmp_path)
    assert [h.ravel().tobytes() for h in ours] == [b.read().tobytes() for b in stored.history]


@pytest.mark.parametrize("kind", TYPES)
def test_state_dict(kind: str, tmp_path: Path) -> None:
    solver, other = trained(solver_of(batch_norm(), kind)), solver_of(batch_norm(), kind)
    torch.save([solver.model.state_dict(), solver.state_dict()], tmp_path / "state.pt")
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.model.load_state_dict(weights)
    other.load_state_dict(state)
    assert everything(trained(other), tmp_path) == everything(trained(solver), tmp_path)
    with pytest.raises(NetError, match="the state is of type"):
        solver_of(batch_norm(), "SGD" if kind != "SGD" else "Adam").load_state_dict(state)


def test_a_snapshot_holds_the_blobs_of_the_train_net(tmp_path: Path) -> None:
    """Those of a classifier that only a loss reads, too."""
    text = f"""{BATCH_NORM}
    layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ dim: 2 }} }} }}
    layer {{ name: "aux" type: "InnerProduct" bottom: "conv" top: "aux"
      inner_product_param {{ num_output: 3 }} }}
    layer {{ name: "aux_loss" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "aux_loss" }}
    """
    model = c2t.build(net_of(text), "TRAIN")
    weights, _ = solver_of(model).snapshot(tmp_path / "snap")
    stored = plain_protobuf.message("NetParameter").FromString(weights.read_bytes())
    assert {x.name: len(x.blobs) for x in stored.layer if x.blobs} == {
        k: len(v) for k, v in model.blobs().items()
    }


def test_a_hand_written_net(tmp_path: Path) -> None:
    """It has the multipliers of the zoo's nets; a learned deconvolution is trained whole."""
    model = FCN8s(3, widths=SMALL, learned=["upscore2"]).eval()
    solver = solver_of(model)
    specs = {p.key: (p.lr_mult, p.decay_mult) for p in solver.learnable_params}
    assert (specs["fc6.weight"], specs["fc6.bias"]) == ((1, 1), (2, 0))
    assert (specs["upscore2.weight"][0], specs["upscore8.weight"][0]) == (1, 0)
    model(torch.randn(1, 3, 8, 11)).sum().backward()
    solver.step()
    names = dict(zip(specs, history(solver, tmp_path), strict=True))
    assert names["upscore2.weight"].shape == (3, 3, 4, 4)
    assert names["upscore8.weight"].shape == (3, 3, 16, 16)
    assert names["score_pool3.weight"].any()
    assert not names["upscore8.weight"].any()


# torch


def test_a_step_waits_for_nothing() -> None:
    """On the meta device any look at a value is an error, as it is a wait on a GPU."""
    for kind in TYPES:
        solver = solver_of(batch_norm().to("meta"), kind, clip_gradients=0.1, iter_size=2)
        for p in solver.model.parameters():
            p.grad = torch.empty_like(p)
        solver.step()
        assert solver.iter == 1


def test_autocast_keeps_weights_and_history_float32(tmp_path: Path) -> None:
    solver = solver_of(batch_norm())
    with torch.autocast("cpu", torch.bfloat16):
        trained(solver)
    assert {p.tensor.dtype for p in solver.learnable_params} == {torch.float32}
    assert history(solver, tmp_path)[0].any()
    with pytest.raises(NetError, match=r"'conv\.weight' is torch\.bfloat16; train float32 weights"):
        solver_of(batch_norm().bfloat16())


def test_channels_last(tmp_path: Path) -> None:
    one, other = batch_norm(), batch_norm().to(memory_format=torch.channels_last)
    states = [everything(trained(solver_of(model), 1), tmp_path) for model in (one, other)]
    assert [len(state) for state in states[0]] == [len(state) for state in states[1]]
    solver = trained(solver_of(other))
    weights, path = solver.snapshot(tmp_path / "snap")
    before = history(solver, tmp_path)
    solver.restore(path, weights)
    for a, b in zip(before, history(solver, tmp_path), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_module_of_a_distributed_one(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = batch_norm()
        solver, wrapped = solver_of(model), DistributedDataParallel(model)
        wrapped(torch.ones(2, 3, 8, 11))["up"].square().mean().backward()
        solver.step()
    finally:
        torch.distributed.destroy_process_group()
    assert history(solver, tmp_path)[0].any()


def test_a_closure() -> None:
    solver, calls = solver_of(batch_norm()), []

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        return 7.0

    assert (solver.step(closure), calls) == (7.0, [True])


# Refusals


@contextmanager
def untouched(solver: Solver, folder: Path) -> Iterator[None]:
    """Nothing of the solver or its model changes."""
    before = everything(solver, folder)
    yield
    assert everything(solver, folder) == before


def state_file(folder: Path, shapes: list[tuple[int, ...]], iteration: int = 3, steps: int = 0) -> Path:
    blobs = tuple(Blob.of(np.ones(shape, np.float32)) for shape in shapes)
    path = folder / "other.solverstate"
    message = plain_protobuf.message("SolverState")(iter=iteration, current_step=steps)
    for blob in blobs:
        proto = message.history.add(data=blob.read().ravel())
        proto.shape.SetInParent()
        proto.shape.dim.extend(blob.shape)
    path.write_bytes(message.SerializeToString())
    return path


SHAPES = [(4, 3, 3, 3), (4,), (4,), (4,), (1,), (4,), (4,), (), (4, 4, 2, 2)]


@pytest.mark.parametrize(
    ("shapes", "state", "problem"),
    [
        (SHAPES[:-1], {}, "holds 8 history blobs, SGD needs 1 for each of the 9 blobs of this net"),
        (SHAPES * 2, {}, "holds 18 history blobs, SGD needs 1 for each of the 9 blobs"),
        ([(4, 3, 3, 5), *SHAPES[1:]], {}, "history blob 0 is (4, 3, 3, 5), 'conv.weight' is (4, 3, 3, 3)"),
        (SHAPES, {}, "history blob 8 is not 0 off the channel diagonal that 'up.weight' keeps"),
        (SHAPES, {"iteration": -1}, "iter -1, current_step 0; is it damaged?"),
        (SHAPES, {"steps": -2}, "iter 3, current_step -2; is it damaged?"),
    ],
)
def test_a_state_that_does_not_fit(
    shapes: list[tuple[int, ...]], state: dict[str, int], problem: str, tmp_path: Path
) -> None:
    solver, path = trained(solver_of(batch_norm())), state_file(tmp_path, shapes, **state)
    with untouched(solver, tmp_path), pytest.raises(WeightsError) as refusal:
        solver.restore(path)
    assert str(refusal.value).startswith(f"{path}: {problem}")


def test_history_without_values_is_refused(tmp_path: Path) -> None:
    solver, path = trained(solver_of(batch_norm())), state_file(tmp_path, SHAPES)
    message = plain_protobuf.message("SolverState").FromString(path.read_bytes())
    message.history[1].ClearField("data")
    path.write_bytes(message.SerializeToString())
    with untouched(solver, tmp_path), pytest.raises(WeightsError) as refusal:
        solver.restore(path)
    assert str(refusal.value) == f"{path}: history blob 1, for 'conv.bias', has no values"


@pytest.mark.parametrize("hdf5", [False, True], ids=["binary", "hdf5"])
def test_a_damaged_state_changes_nothing(hdf5: bool, tmp_path: Path) -> None:
    solver = trained(solver_of(batch_norm()))
    _, path = solver.snapshot(tmp_path / "snap")
    if hdf5:
        write_solverstate(read_solverstate(path), tmp_path / "snap.solverstate.h5")
        path = tmp_path / "snap.solverstate.h5"
    content = path.read_bytes()
    trained(solver)
    cut = tmp_path / "cut"
    with untouched(solver, tmp_path):
        for size in np.linspace(1, len(content) - 1, 25, dtype=int):
            cut.write_bytes(content[:size])
            with pytest.raises(Caffe2TorchError, match=str(cut)):
                solver.restore(cut)


def test_weights_that_are_not_restored_are_named(tmp_path: Path) -> None:
    """Caffe follows `learned_net`."""
    solver = trained(solver_of(batch_norm()))
    weights, path = solver.snapshot(tmp_path / "snap")
    kept = [p.tensor.clone() for p in solver.learnable_params]
    with pytest.warns(UserWarning, match=f"{path}: its weights, '{weights}', are not restored") as said:
        solver.restore(path)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert all(torch.equal(a, p.tensor) for a, p in zip(kept, solver.learnable_params, strict=True))


def test_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    solver = trained(solver_of(batch_norm()))
    weights, path = solver.snapshot(tmp_path / "snap")
    trained(solver)
    smaller = BATCH_NORM.replace('name: "scale"', 'name: "other"')
    other, _ = solver_of(c2t.build(net_of(smaller), "TRAIN")).snapshot(tmp_path / "other")
    cut = tmp_path / "cut.caffemodel"
    cut.write_bytes(weights.read_bytes()[:-9])
    with untouched(solver, tmp_path):
        with pytest.raises(WeightsError, match=r"other_iter_0\.caffemodel: has no blobs for layer 'scale'"):
            solver.restore(path, other)
        with pytest.raises(ReadError, match=r"cut\.caffemodel: "):
            solver.restore(path, cut)
        with pytest.raises(Caffe2TorchError, match="no such file"):
            solver.restore(path, tmp_path / "none.caffemodel")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"type": "Adagrad"},
            "type is 'Adagrad'; Caffe's are SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam",
        ),
        (
            {"lr_policy": "cosine"},
            "lr_policy is 'cosine'; Caffe's are fixed, step, exp, inv, multistep, poly",
        ),
        ({"lr_policy": None}, "lr_policy is ''; Caffe's are"),
        ({"regularization_type": "L3"}, "regularization_type is 'L3'; Caffe's are L1, L2"),
        ({"base_lr": None}, "base_lr is not given; nothing would be learned"),
        ({"base_lr": -0.1}, "base_lr is -0.1; it must be a number of 0 or more"),
        ({"base_lr": float("nan")}, "base_lr is nan; it must be a number of 0 or more"),
        ({"weight_decay": float("inf")}, "weight_decay is inf; it must be a number of 0 or more"),
        ({"momentum": -0.9}, "momentum is -0.9"),
        ({"gamma": -1}, "gamma is -1"),
        ({"iter_size": 0}, "iter_size is 0; it must be a number of 1 or more"),
        ({"lr_policy": "step"}, "stepsize is 0; lr_policy 'step' needs 1 or more"),
        ({"lr_policy": "sigmoid", "stepsize": -4}, "stepsize is -4; lr_policy 'sigmoid' needs 1 or more"),
        ({"lr_policy": "poly"}, "max_iter is 0; lr_policy 'poly' needs 1 or more"),
        ({"type": "AdaGrad", "momentum": 0.9}, "momentum is 0.9; AdaGrad has none"),
        ({"type": "RMSProp", "momentum": 0.9}, "momentum is 0.9; RMSProp has none"),
        ({"type": "RMSProp", "rms_decay": 1}, "rms_decay is 1; RMSProp needs it below 1"),
        ({"type": "Adam", "momentum": 1}, "momentum is 1; Adam needs it below 1"),
        ({"clip_gradients": float("nan")}, "clip_gradients is nan"),
        ({"learning_rate": 0.1}, "not a SolverParameter: SolverParameter has no field 'learning_rate'"),
        ({"base_lr": "0.1"}, "not a SolverParameter: "),
        ({"stepvalue": 5}, "not a SolverParameter: "),
    ],
)
def test_fields_that_cannot_be(given: dict[str, Any], problem: str) -> None:
    fields = {"base_lr": 0.1, "lr_policy": "fixed"} | given
    with pytest.raises(NetError) as refusal:
        Solver(batch_norm(), **{name: value for name, value in fields.items() if value is not None})
    assert str(refusal.value).startswith(problem)


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        ('base_lr: 0.1 lr_policy: "cosine"', NetError, "lr_policy is 'cosine'"),
        (
            'base_lr: 0.1 lr_policy: "fixed" type: "SGD" solver_type: ADAM',
            NetError,
            "solver: has solver_type",
        ),
        ('base_lr: 0.1 lr_policy: "fixed" lr: 3', SyntaxRefused, "SolverParameter has no field 'lr'"),
        ("layer { }", SyntaxRefused, "'layer' is a field of NetParameter"),
    ],
)
def test_a_prototxt_that_cannot_be(text: str, error: type[Exception], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(text)
    with pytest.raises(error) as refusal:
        Solver.from_prototxt(path, batch_norm())
    assert str(refusal.value).startswith(str(path))
    assert problem in str(refusal.value)


def test_an_old_prototxt(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(
        'net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 solver_type: NESTEROV'
    )
    solver = Solver.from_prototxt(path, batch_norm())
    assert (solver.fields.type, solver.fields.net, solver.iter_size) == ("Nesterov", "train.prototxt", 1)
    assert solver.rate == float(np.float32(0.1))


def test_other_models_are_refused() -> None:
    with pytest.raises(TypeError, match="a Solver trains a CaffeNet or an FCN of this package"):
        solver_of(torch.nn.Linear(2, 3))
    with pytest.raises(NetError, match="has no parameters to train"):
        solver_of(c2t.build(net_of(INPUT)))


@pytest.mark.fault("a full disk under a solverstate", "Python", "WriteError, one line; no file")
@pytest.mark.parametrize("suffix", [".solverstate", ".solverstate.h5"])
def test_a_full_disk_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    state = SolverState(1, "x", (Blob.of(np.ones(90_000, np.float32)),), 0)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(WriteError, match="cannot be written"):
            write_solverstate(state, tmp_path / f"snap{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())
