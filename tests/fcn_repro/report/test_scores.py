"""What the scores are said to be: their meanings, the classes that the means go over, and the other mean."""

from __future__ import annotations

import numpy as np
import pytest

from fcn_repro.commands.evaluate import scores_text
from fcn_repro.report.markdown import as_markdown
from fcn_repro.report.page import page
from fcn_repro.report.report import TableReport, sections_of
from fcn_repro.report.scores import NAMED, SCORES, averaged_over
from fcn_repro.scoring.metrics import Confusion, Over
from fcn_repro.scoring.result import Evaluation, HeadScores
from fcn_repro.tables.zoo_scores import stated
from tests.fcn_repro.pages import Page

FALSE = [[6, 2, 0, 1], [1, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
"""Class c is in neither labels nor predictions, d is only predicted: IU 6/10, 5/8, -, 0/1."""
NAMES = ("a", "b", "c", "d")


def head(counts, over=Over.SEEN, names=NAMES):
    counts = np.array(counts)
    return HeadScores(names, ("#000000",) * len(counts), Confusion(len(counts)).with_counts(counts), over)


def test_a_class_that_is_only_predicted_lowers_mean_iu_and_the_other_mean_is_said():
    assert averaged_over(head(FALSE)) == (
        "Mean accuracy is over the 2 of 4 classes that the labels show. Mean IU also counts those that are "
        "only predicted, each as 0: d. Without them it would be 61.25. Neither labelled nor predicted, and "
        "left out: c."
    )
    assert head(FALSE).scores.mean_iu == pytest.approx((6 / 10 + 5 / 8) / 3)
    assert round((6 / 10 + 5 / 8) / 2, 4) == 0.6125


def test_where_the_mean_goes_over_labelled_classes_the_other_one_is_said():
    said = averaged_over(head(FALSE, Over.LABELLED))
    assert said == (
        "The means are over the 2 of 4 classes that the labels show. If mean IU also counted those that are "
        "only predicted, each as 0 (d), it would be 40.83. Neither labelled nor predicted, and left out: c."
    )
    assert round((6 / 10 + 5 / 8) / 3, 4) == 0.4083


def test_where_both_means_are_the_same_only_the_classes_are_said():
    assert averaged_over(head(np.eye(4, dtype=int))) == "The means are over all 4 classes."
    assert averaged_over(head(np.diag([3, 0, 2, 1]))) == (
        "The means are over the 3 of 4 classes that the labels show. Neither labelled nor predicted, and "
        "left out: b."
    )


def test_a_sentence_names_few_of_many_classes():
    counts = np.zeros((30, 30), int)
    counts[0, 0] = 1
    said = averaged_over(head(counts, names=tuple(f"class {k}" for k in range(30))))
    assert said.endswith(
        "left out: " + ", ".join(f"class {k}" for k in range(1, NAMED + 1)) + " and 19 more."
    )


def evaluation(model="mine", dataset="folder"):
    facts = (
        "0" * 64,
        dataset,
        "val",
        9,
        "fp32",
        "a device",
        1,
        3.4,
        "2026-01-02",
        "fcn-repro --evaluate mine",
    )
    return Evaluation(model, *facts, heads={"sem": head(FALSE)}, notes=("A note.",))


def report_of(found):
    return TableReport(*stated(found), found.notes, sections_of(found))


def test_every_form_explains_the_four_scores():
    found = evaluation()
    shown, markdown, terminal = page(report_of(found)), as_markdown(report_of(found)), scores_text(found)
    texts = [text for text, _ in Page(shown).all("p")]
    for score in SCORES:
        assert score.meaning in texts
        assert f"| {score.meaning} |" in markdown
        assert f"{score.name} {found.scores.percent()[score.key]:.2f}" in terminal
    for form in (texts, markdown.splitlines(), terminal.splitlines()):
        assert averaged_over(found.head) in form


def test_a_report_without_published_scores_has_no_empty_table():
    found = report_of(evaluation())
    shown = Page(page(found))
    assert shown.all("table") == []
    assert [text for text, _ in shown.all("h1")] == ["mine on folder val"]
    assert shown.all("h2") == [], "the title once"
    assert "A note." in [text for text, _ in shown.all("p")]
    markdown = as_markdown(found)
    assert "0 of 0" not in page(found) + markdown
    tables = [block for block in markdown.split("\n\n") if block.startswith("|")]
    assert [table.strip().count("\n") for table in tables] == [1 + 4, 1 + 4]
    assert markdown.count("mine on folder val") == 1


def test_json_has_mean_iu_over_either_classes():
    data = head(FALSE).as_data()
    assert data["mean_iu_percent"] == pytest.approx(
        {"classes in labels or predictions": 40.8333, "classes in labels": 61.25}, abs=1e-4
    )
    nothing = head(np.zeros((4, 4), int)).as_data()
    assert set(nothing["mean_iu_percent"].values()) == {None}


def test_a_published_model_on_other_images_says_that_nothing_is_stated():
    said = "No scores are stated for this model on these images."
    assert said in page(report_of(evaluation("voc-fcn8s")))
    assert said not in page(report_of(evaluation("mine")))
