"""--train: a net by its recipe."""

from __future__ import annotations

import argparse

from caffe2torch.command_line import Verb, show, show_json
from fcn_repro.commands.asked import tell, workspace
from fcn_repro.commands.evaluate import scores_text


def train(args: argparse.Namespace) -> int:
    """A net by its recipe: trained, exported, scored, with its curves."""
    from fcn_repro.files import write
    from fcn_repro.report.training_page import TrainingPage, page_path, training_page
    from fcn_repro.scoring.device import training_precision
    from fcn_repro.scoring.run import first_process
    from fcn_repro.training import run
    from fcn_repro.training.loop import Options

    given = {"max_iter": args.iterations, "snapshot": args.snapshot}
    solver = {field: value for field, value in given.items() if value is not None}
    recipe = run.adjusted(args.train, init=args.init, seed=args.seed, solver=solver)
    precision = args.precision or training_precision(args.device)
    options = Options(precision, args.compile, args.tensorboard, args.resume, show=TrainingPage())
    say = tell if first_process() else lambda text: None
    training = run.train(args.train, recipe, workspace(args), device=args.device, options=options, say=say)
    if not first_process():
        return 0
    page = page_path(training)
    write(page, training_page(training))
    evaluation = training.evaluation
    if args.json:
        show_json(evaluation.as_data() if evaluation else {"model": training.name})
    elif evaluation:
        show(scores_text(evaluation))
    tell(f"wrote {workspace(args).models / training.name}.safetensors and {page}; snapshots are beside it")
    return 0


VERB = Verb(
    "--train",
    train,
    (
        "--resume",
        "--init",
        "--iterations",
        "--snapshot",
        "--seed",
        "--compile",
        "--tensorboard",
        "--data",
        "--partial",
        "--device",
        "--precision",
    ),
    "a net by a recipe, ours or your own (my.toml)",
    {"metavar": "RECIPE"},
)
