"""The decisions in a report: plots before and after calibration, tables, and what cannot be drawn."""

import pandas as pd
import pytest

from hjc.calibration import Temperature
from hjc.classifiers.base import Classifier
from hjc.evaluate import evaluate
from hjc.evaluate_calibrated import DecisionTables, decision_tables, watch
from hjc.evaluate_table import decisions_table
from hjc.metrics import score_rows
from hjc.report.decided import back_off_plot, calibration_grid, reliability_before_after, risk_coverage_plot
from hjc.report.save import save_evaluations
from hjc.report.style import png
from tests.test_report import Page
from tests.test_validation import TREE, Overconfident, rows

DATA = rows(400)


def found() -> tuple[object, DecisionTables, Classifier]:
    model = Overconfident(TREE)
    model.calibrator = Temperature(TREE, 3.0)
    watched = watch(model, DATA)
    evaluation = evaluate(watched, DATA, bootstrap=0, progress=False)
    return evaluation, watched.tables(evaluation.scores, "test", replicates=20), model


def test_report_with_decisions(tmp_path):
    evaluation, tables, _ = found()
    path = save_evaluations(tmp_path, {"test": (evaluation, DATA)}, decided={"test": tables})
    page = Page(path.read_text("utf-8"))
    for words in ("Reliability before and after calibration", "Back-off: depth against accuracy", "Decision rules",
                  "path of the most probable leaf", "classwise ECE", "AURC"):  # fmt: skip
        assert words in page.text, words
    names = {p.name for p in (tmp_path / "plots").iterdir()}
    assert {"test_reliability.png", "test_risk_coverage.png", "test_back_off.png"} <= names
    assert all(p.stat().st_size > 5000 for p in (tmp_path / "plots").iterdir())


def test_the_grid_and_the_terminal_table_hold_the_figures_of_the_csv():
    _, tables, _ = found()
    grid = calibration_grid(tables)
    assert [row.cells[1].text for row in grid.rows] == ["raw", "calibrated"] * 2
    for row, line in zip(grid.rows, tables.calibration.sort_values("level", kind="stable").itertuples(), strict=True):
        assert float(row.cells[2].text) == pytest.approx(line.log_loss, abs=6e-4)
        assert float(row.cells[4].text) == pytest.approx(line.classwise_ece, abs=6e-4)
    shown = decisions_table(tables)
    assert shown.row_count == 2 and len(shown.columns) == 8
    assert len(decisions_table(decision_tables(TREE, tables.scores["raw"], replicates=0)).columns) == 8


def test_nothing_to_draw():
    scores = score_rows(TREE, Overconfident(TREE).predict_log_proba(["1"]), DATA.gold[:1])
    assert risk_coverage_plot(scores.take([])) is None
    assert reliability_before_after({}, {}) is None
    lines = decision_tables(TREE, scores, replicates=0).rules
    assert back_off_plot(lines) is None
    one = pd.DataFrame({"rule": ["back-off"] * 2, "right": [None, 0.5], "mean_level": [1.0, 1.0]})
    assert back_off_plot(one.astype({"right": float})) is None
    assert png(risk_coverage_plot(scores)).startswith(b"\x89PNG")
