"""Training in this process: the loss, the iteration, its arithmetic, and what ends it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

import caffe2torch as c2t
from caffe2torch.errors import ReadError
from fcn_repro.data.examples import Order, examples
from fcn_repro.recipes import digest
from fcn_repro.scoring.device import Process
from fcn_repro.training.log import TRAIN, read_rows
from fcn_repro.training.loop import Options, TrainingStopped
from fcn_repro.training.loss import softmax_loss
from fcn_repro.training.snapshots import KEPT
from tests.fcn_repro.trainings import small_recipe, training, write_images
from tests.nets import net_of


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "mine")


def random_scores(classes, n=2, seed=0):
    """Scores (n, classes, 4, 5) and labels of which a fifth are void, more of them in the first image."""
    random = np.random.default_rng([seed, classes, n])
    scores = (3 * random.standard_normal((n, classes, 4, 5))).astype(np.float32)
    labels = random.integers(0, classes, (n, 4, 5))
    labels[random.random(labels.shape) < 0.2] = 255
    labels[0, :2] = 255
    return scores, labels


def loss_by_loops(scores, labels, normalize):
    """SoftmaxWithLoss as its documentation says it, pixel by pixel, in float64."""
    total, counted = 0.0, 0
    n, _, height, width = scores.shape
    for image in range(n):
        for y in range(height):
            for x in range(width):
                if labels[image, y, x] == 255:
                    continue
                pixel = scores[image, :, y, x].astype(np.float64)
                shifted = pixel - pixel.max()
                total -= shifted[labels[image, y, x]] - math.log(np.exp(shifted).sum())
                counted += 1
    return total / (max(1, counted) if normalize else n)


def as_tensors(heads):
    scores = {name: torch.from_numpy(values).requires_grad_() for name, (values, _) in heads.items()}
    return scores, {name: torch.from_numpy(labels) for name, (_, labels) in heads.items()}


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n", [1, 2])
def test_the_loss_is_that_of_plain_loops(normalize, n):
    heads = {"sem": random_scores(7, n), "geo": random_scores(3, n)}
    scores, labels = as_tensors(heads)
    loss = softmax_loss(scores, labels, normalize=normalize)
    expected = sum(loss_by_loops(*head, normalize) for head in heads.values())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_an_image_that_is_all_void_has_no_loss_and_no_gradient(normalize):
    values, labels = random_scores(4, 1)
    scores, labels = as_tensors({"sem": (values, np.full_like(labels, 255))})
    loss = softmax_loss(scores, labels, normalize=normalize)
    loss.backward()
    assert loss.item() == 0
    assert not scores["sem"].grad.any()


def test_the_loss_of_bf16_scores_is_float32():
    values, labels = random_scores(7)
    rounded = torch.from_numpy(values).bfloat16()
    loss = softmax_loss({"sem": rounded}, {"sem": torch.from_numpy(labels)}, normalize=False)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(loss_by_loops(rounded.float().numpy(), labels, False), rel=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n", [1, 2])
def test_the_loss_is_that_of_the_layer_in_a_train_net(normalize, n):
    """Another road: the SoftmaxWithLoss that the reference implementation's train.prototxt has."""
    (values, labels), shape = random_scores(7, n), "dim: 2 dim: 7 dim: 4 dim: 5"
    net = c2t.build(
        net_of(f"""
            layer {{ name: "in" type: "Input" top: "score" input_param {{ shape {{ {shape} }} }} }}
            layer {{ name: "to" type: "Input" top: "label"
                     input_param {{ shape {{ dim: 2 dim: 1 dim: 4 dim: 5 }} }} }}
            layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
                     loss_param {{ ignore_label: 255 normalize: {str(normalize).lower()} }} }}"""),
        phase="TRAIN",
    )
    (ours, theirs), label = (
        (torch.from_numpy(values).requires_grad_() for _ in range(2)),
        torch.from_numpy(labels),
    )
    loss = softmax_loss({"sem": ours}, {"sem": label}, normalize=normalize)
    (layer,) = net(score=theirs, label=label[:, None].float()).values()
    assert loss.item() == pytest.approx(layer.item(), rel=1e-6)
    loss.backward()
    layer.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


def by_torch(own, recipe, iter_size, steps):
    """The same training as a plain torch loop: SGD with momentum, biases at twice the rate, undecayed."""
    data, model = recipe.data, own.model
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    lr, decay = recipe.solver["base_lr"], recipe.solver["weight_decay"]
    weights = [p for name, p in trained.items() if name.endswith("weight")]
    biases = [p for name, p in trained.items() if name.endswith("bias")]
    groups = [
        {"params": weights, "lr": lr, "weight_decay": decay},
        {"params": biases, "lr": 2 * lr, "weight_decay": 0},
    ]
    optimizer = torch.optim.SGD(groups, momentum=recipe.solver["momentum"])
    order = Order(data.order, len(own.train), recipe.seed)
    seen = examples(own.train, range(steps * iter_size), order, blobs=("data",), mean_bgr=data.mean_bgr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        step_losses = []
        for example in islice(seen, iter_size):
            score, label = model(data=example.inputs["data"]), example.labels["sem"]
            loss = nn.functional.cross_entropy(score, label, ignore_index=255, reduction="sum")
            (loss / iter_size).backward()
            step_losses.append(loss.item())
        optimizer.step()
        losses.append(sum(step_losses) / iter_size)
    return losses


@pytest.mark.parametrize("iter_size", [1, 3])
def test_an_iteration_is_that_of_a_plain_loop(images, tmp_path, iter_size):
    """Its loss too, which is the mean over the images of each one's sum over pixels."""
    recipe = small_recipe(
        **{"normalize": False, "dropout": 0.0, "base_lr": 3e-4, "momentum": 0.9, "weight_decay": 0.01},
        **{"iter_size": iter_size, "max_iter": 4},
    )
    own, plain = training(recipe, images, tmp_path / "own"), training(recipe, images, tmp_path / "plain")
    own.run()
    losses = by_torch(plain, recipe, iter_size, steps=4)
    rows = read_rows(tmp_path / "own/train.csv", TRAIN)
    assert [row["loss"] for row in rows] == pytest.approx(losses, rel=1e-5)
    start = training(recipe, images, tmp_path / "start").model.state_dict()
    for name, parameter in plain.model.named_parameters():
        moved = (parameter - start[name]).abs().max().item()
        apart = (own.model.get_parameter(name) - parameter).abs().max().item()
        rounding = 2**-22 * parameter.abs().max().item()  # float32 has 24 bits
        assert apart <= 1e-5 * moved + rounding, f"{name}: moved {moved}, apart {apart}"
        assert bool(moved) == parameter.requires_grad, name


def run(recipe, images, folder, **parts):
    own = training(recipe, images, folder, **parts)
    own.run()
    return own


def losses_of(own):
    return [row["loss"] for row in read_rows(own.folder / "train.csv", TRAIN)]


def test_dropout_is_the_same_every_time_and_is_there(images, tmp_path):
    first, again = (run(small_recipe(), images, tmp_path / name) for name in ("first", "again"))
    without = run(small_recipe(dropout=0.0), images, tmp_path / "without")
    assert losses_of(first) == losses_of(again) != losses_of(without)


def test_bf16_stays_near_float32(images, tmp_path):
    exact, rounded = (
        run(small_recipe(momentum=0.9), images, tmp_path / precision, options=Options(precision))
        for precision in ("fp32", "bf16")
    )
    assert losses_of(rounded) == pytest.approx(losses_of(exact), rel=2e-2)
    assert losses_of(rounded) != losses_of(exact)
    assert {parameter.dtype for parameter in rounded.model.parameters()} == {torch.float32}


@pytest.mark.fault(
    "the loss becomes NaN, or a weight",
    "fcn-repro --train",
    "exit code 1, one line that names the last snapshot, which is finite",
)
@pytest.mark.parametrize(
    ("base_lr", "what", "iteration"),
    [(0.1, "the loss is inf", 3), (10.0, "the loss is nan", 3), (1e20, "a weight is not finite", 2)],
)
def test_a_training_that_diverges_ends_at_the_last_snapshot(images, tmp_path, base_lr, what, iteration):
    recipe = small_recipe(normalize=False, dropout=0.0, base_lr=base_lr, max_iter=9, snapshot=1)
    own = training(recipe, images, tmp_path)
    with pytest.raises(TrainingStopped) as stopped:
        own.run()
    last = tmp_path / f"my_iter_{iteration - 1}.caffemodel"
    assert str(stopped.value) == (
        f"{what} at iteration {iteration}; lower base_lr (the rate is {base_lr:.3g}) and start over; "
        f"{last} is complete"
    )
    assert stopped.value.exit_code == 1
    kept = own.snapshots.latest()
    assert kept.caffemodel == last
    assert all(tensor.isfinite().all() for tensor in c2t.load(last).state_dict().values())


def test_without_a_snapshot_yet_the_end_says_so(images, tmp_path):
    with pytest.raises(TrainingStopped, match="start over; there is no snapshot yet"):
        run(small_recipe(base_lr=1e20), images, tmp_path)


def test_a_training_that_is_there_is_not_begun_anew(images, tmp_path):
    recipe = small_recipe(max_iter=2)
    whole = run(recipe, images, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        TrainingStopped,
        match=r"holds a training, at iteration 2; .*my_iter_2\.caffemodel is complete; continue from it with "
        "--resume, or delete the folder",
    ):
        run(recipe, images, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    resumed = training(recipe, images, tmp_path, options=Options(resume=True))
    resumed.run()
    for own, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(own, other), "a training that is done is only read"


def test_what_was_logged_before_any_snapshot_is_dropped(images, tmp_path):
    (tmp_path / "train.csv").write_text(
        "iteration,loss,smoothed_loss,rate,images_per_s\n1,9,9,9,9\n2,9,9,9,9\n"
    )
    run(small_recipe(max_iter=2), images, tmp_path)
    assert [row["iteration"] for row in read_rows(tmp_path / "train.csv", TRAIN)] == [1, 2]
    assert 9 not in losses_of(training(small_recipe(), images, tmp_path))


def test_snapshots_of_another_recipe_are_refused(images, tmp_path):
    recipe = small_recipe(max_iter=2)
    run(recipe, images, tmp_path)
    for other in (
        replace(recipe, seed=9),
        replace(recipe, solver={**recipe.solver, "base_lr": 0.02}),
        replace(recipe, solver={**recipe.solver, "stepvalue": (7, 9)}),
        replace(recipe, loss=replace(recipe.loss, normalize=False)),
    ):
        with pytest.raises(ReadError, match=r"recipe was .* another training; keep the recipe it had, or"):
            run(other, images, tmp_path, options=Options(resume=True))


def test_another_precision_is_refused_by_both_names(images, tmp_path):
    recipe = small_recipe(max_iter=2)
    run(recipe, images, tmp_path, options=Options("bf16"))
    longer = replace(recipe, solver={**recipe.solver, "max_iter": 3})
    message = (
        r"my_iter_2\.json: precision was 'bf16' and is 'fp32' now: another training; keep the "
        rf"precision it had, or delete {tmp_path} to start anew$"
    )
    with pytest.raises(ReadError, match=message):
        run(longer, images, tmp_path, options=Options("fp32", resume=True))
    assert run(longer, images, tmp_path, options=Options("bf16", resume=True)).solver.iter == 3


def test_words_and_the_end_may_change():
    """What a result does not depend on; the end matters where the rate falls towards it."""
    recipe = small_recipe()
    same = replace(recipe, title="another", note="x", solver={**recipe.solver, "max_iter": 7, "display": 2})
    assert digest(same) == digest(recipe)
    falling = replace(recipe, solver={**recipe.solver, "lr_policy": "poly"})
    longer = replace(falling, solver={**falling.solver, "max_iter": 7})
    assert digest(longer) != digest(falling)


def test_snapshots_are_kept_at_the_end_and_the_last_ones_only(images, tmp_path):
    own = run(small_recipe(max_iter=5, snapshot=2), images, tmp_path)
    markers = sorted(path.name for path in tmp_path.glob("*.json"))
    assert markers == ["my_iter_4.json", "my_iter_5.json"]
    assert len(markers) == KEPT
    assert own.snapshot.iteration == 5


def test_a_rate_may_fall_to_nothing_at_the_end(images, tmp_path):
    own = run(small_recipe(lr_policy="poly", power=0.9, max_iter=2), images, tmp_path)
    assert [row["rate"] for row in read_rows(own.folder / "train.csv", TRAIN)] == pytest.approx(
        [0.01 * 0.5**0.9, 0.0]
    )


@pytest.mark.parametrize("processes", [3, 8])
def test_an_iteration_that_cannot_be_shared_is_refused(images, tmp_path, processes):
    shared = Process(0, processes, torch.device("cpu"))
    with pytest.raises(
        TrainingStopped,
        match=f"an iteration of my is 4 images, which {processes} processes cannot share evenly",
    ):
        run(small_recipe(iter_size=4), images, tmp_path, process=shared)


def test_a_rate_falls_at_the_iterations_of_a_multistep_also_when_resumed(images, tmp_path):
    """Caffe's: at the second iteration, and at the fourth."""
    recipe = small_recipe(lr_policy="multistep", gamma=0.5, stepvalue=(2, 4), max_iter=5, momentum=0.9)
    whole = run(recipe, images, tmp_path / "whole")
    rates = [row["rate"] for row in read_rows(whole.folder / "train.csv", TRAIN)]
    assert rates == pytest.approx([0.01, 0.005, 0.005, 0.0025, 0.0025], rel=1e-6)
    run(replace(recipe, solver={**recipe.solver, "max_iter": 3}), images, tmp_path / "parts")
    parts = run(recipe, images, tmp_path / "parts", options=Options(resume=True))
    assert [row["rate"] for row in read_rows(parts.folder / "train.csv", TRAIN)] == rates
    for own, other in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(own, other)


def test_a_net_is_one_graph_to_compile_for_images_of_any_size(images, tmp_path):
    """What --compile gives to torch.compile, whose C++ takes minutes: here the graph runs as it is."""
    model, graphs = training(small_recipe(), images, tmp_path).model.eval(), []
    torch.nn.init.normal_(model.score_fr.weight)

    def as_it_is(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, dynamic=True, backend=as_it_is, fullgraph=True)
    for size in ((96, 128), (97, 121), (104, 131)):
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(compiled(data=image), model(data=image))
    assert len(graphs) == 1
