"""--evaluate: the scores of a model on a data set."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from caffe2torch.command_line import Verb, show, show_json
from fcn_repro.commands.asked import RUN, run_of
from fcn_repro.commands.reporting import publish, report_folder
from fcn_repro.report import text

if TYPE_CHECKING:
    from fcn_repro.scoring.result import Evaluation


def evaluate(args: argparse.Namespace) -> int:
    """A model's scores on a data set."""
    from fcn_repro.scoring.run import first_process
    from fcn_repro.tables.zoo_scores import stated

    run = run_of(args, args.evaluate)
    folder = report_folder(args, run.stem)
    evaluation = run.evaluate()
    if not first_process():
        return 0
    paper, number, compared = stated(evaluation)
    if args.json:
        show_json(evaluation.as_data())
    else:
        show(scores_text(evaluation))
        show(f"\n{text.as_text(paper, number, compared)}" if compared else "")
    if folder:
        from fcn_repro.report.report import TableReport, sections_of

        report = TableReport(paper, number, compared, evaluation.notes, sections_of(evaluation, run.opened))
        publish(report, folder, run.stem)
    return int(any(cell.within is False for cell in compared))


def scores_text(evaluation: Evaluation) -> str:
    """An evaluation for the terminal: the scores, over which classes they are means, and IU by class."""
    from fcn_repro.report.scores import SCORES, averaged_over

    lines = [
        f"{evaluation.model} on {evaluation.dataset} {evaluation.split}: {evaluation.images} images, "
        f"{evaluation.precision}, {evaluation.device}, {evaluation.seconds:.1f} s"
    ]
    for name, head in evaluation.heads.items():
        percent, width = head.scores.percent(), max(map(len, head.classes))
        scores = ", ".join(f"{score.name} {percent[score.key]:.2f}" for score in SCORES)
        lines += ["", f"{name}: {scores}", averaged_over(head)]
        for label, iu in zip(head.classes, head.per_class_iu, strict=True):
            lines.append(f"  {label:{width}}  {'-' if math.isnan(iu) else f'{100 * iu:6.2f}':>6}")
    return "\n".join([*lines, "", *evaluation.notes])


VERB = Verb(
    "--evaluate",
    evaluate,
    (*RUN, "--force"),
    "the scores of a model, of the zoo or in a file, --on SPLIT",
    {"metavar": "MODEL"},
)
