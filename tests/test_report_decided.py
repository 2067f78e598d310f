"""The decisions in a report: plots before and after calibration, tables, and what cannot be drawn."""

import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from hjc.calibration import Temperature
from hjc.classifiers.base import Classifier
from hjc.evaluation import evaluate_model
from hjc.evaluation.decided import DecisionTables, decision_tables
from hjc.evaluation.tables import decisions_table
from hjc.metrics import score_rows
from hjc.report.plots import back_off_plot, png, reliability_before_after, risk_coverage_plot
from hjc.report.save import save_evaluations
from tests.test_report import Page
from tests.test_validation import TREE, Overconfident, rows

DATA = rows(400)


def found() -> tuple[object, DecisionTables, Classifier]:
    model = Overconfident(TREE)
    model.calibrator = Temperature(TREE, 3.0)
    evaluation = evaluate_model(model, DATA, bootstrap=20, progress=False)
    assert evaluation.decided is not None
    return evaluation, evaluation.decided, model


@pytest.mark.slow
def test_report_with_decisions(tmp_path):
    evaluation, tables, _ = found()
    path = save_evaluations(tmp_path, {"test": evaluation})
    page = Page(path.read_text("utf-8"))
    for words in ("Reliability before and after calibration", "Back-off: depth against accuracy", "Decision rules",
                  "path of the most probable leaf", "classwise ECE", "AURC"):  # fmt: skip
        assert words in page.text, words
    rows = page.table("probabilities")
    assert [row[:2] for row in rows] == [[level, kind] for level in "12" for kind in ("raw", "calibrated")]
    for row, line in zip(rows, tables.calibration.sort_values("level", kind="stable").itertuples(), strict=True):
        assert float(row[2]) == pytest.approx(line.log_loss, abs=6e-4)
        assert float(row[4]) == pytest.approx(line.classwise_ece, abs=6e-6)
    by_leaf = [row for row in page.table("set size") if row[0] == "path of the most probable leaf"]
    assert [row[:3] for row in by_leaf] == [[by_leaf[0][0], "", level] for level in "12"]
    assert all(row[3].startswith("100.0") and not row[6] for row in by_leaf)
    names = {p.name for p in (tmp_path / "plots").iterdir()}
    assert {"test_reliability.png", "test_risk_coverage.png", "test_back_off.png"} <= names
    assert all(p.stat().st_size > 5000 for p in (tmp_path / "plots").iterdir())


def test_the_terminal_table_has_a_row_a_level():
    _, tables, _ = found()
    shown = decisions_table(tables, width=200)
    assert shown.row_count == 2 and len(shown.columns) == 8
    alone = decision_tables(TREE, tables.scores["raw"])
    assert len(decisions_table(alone, width=200).columns) == 8


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 70, 80, 120])
def test_no_figure_of_the_terminal_table_is_cut(width):
    _, tables, _ = found()
    in_sample = tables.calibration["probabilities"].replace("calibrated", "calibrated in sample")
    selective = tables.selective["probabilities"].replace("calibrated", "calibrated in sample")
    long = replace(
        tables,
        calibration=tables.calibration.assign(probabilities=in_sample),
        selective=tables.selective.assign(probabilities=selective),
    )
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(decisions_table(long, width=width))
    text = console.export_text()
    assert "…" not in text and "calibrated in sample" in text
    for value in tables.calibration["ece"]:
        assert f"{value:.3f}" in text
    left_out = [head for head in ("by code", "intervals") if f"no room for {head}" in " ".join(text.split())]
    assert bool(left_out) == (width < 100)


def test_back_off_labels_stand_apart_and_ticks_differ():
    """Raw and calibrated end near each other, and almost every row is coded."""
    lines = [
        {"rule": "back-off", "probabilities": kind, "parameter": p, "mean_level": 2.9 - p / 3 + shift,
         "coded": 1 - p / 50, "right": 0.9 + p / 20, "right_low": 0.89 + p / 20, "right_high": 0.91 + p / 20}
        for kind, shift in (("raw", 0.0), ("calibrated", 0.005)) for p in (0.5, 0.7, 0.95)
    ]  # fmt: skip
    figure = back_off_plot(pd.DataFrame(lines))
    assert figure is not None
    png(figure)
    boxes = [note.get_window_extent() for note in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    low, high = figure.axes[1].get_xlim()
    labels = figure.axes[1].get_xticklabels()
    shown = [t.get_text() for t in labels if low <= t.get_position()[0] <= high and t.get_text()]
    assert len(shown) == len(set(shown)) >= 2


def test_nothing_to_draw():
    scores = score_rows(TREE, Overconfident(TREE).predict_log_proba(["1"]), DATA.gold[:1])
    assert risk_coverage_plot(scores.take([])) is None
    assert reliability_before_after({}, {}) is None
    lines = decision_tables(TREE, scores).rules
    assert back_off_plot(lines) is None
    one = pd.DataFrame({"rule": ["back-off"] * 2, "right": [None, 0.5], "mean_level": [1.0, 1.0]})
    assert back_off_plot(one.astype({"right": float})) is None
    assert png(risk_coverage_plot(scores)).startswith(b"\x89PNG")
