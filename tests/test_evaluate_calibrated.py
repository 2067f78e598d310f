"""Calibration and selective tables: the same figures as from whole arrays; what a training run leaves behind."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

import hjc
from hjc.calibration import Temperature, top_outcomes
from hjc.evaluation.calibrated import decision_tables, outcomes_of, watch
from hjc.evaluation.evaluate import evaluate
from hjc.evaluation.validation import ValidationScores
from hjc.metrics import score_rows
from hjc.training.config import compose
from hjc.training.workflow import run_training
from tests.test_validation import MODEL, TREE, rows

pytestmark = pytest.mark.slow


def test_outcomes_and_tables_agree_with_whole_arrays(tmp_path):
    data = rows(300)
    x = MODEL.predict_log_proba(data.texts)
    outcomes, expected = outcomes_of(score_rows(TREE, x, data.gold), TREE), top_outcomes(TREE, x, data.gold)
    for name in ("confidence", "correct", "known", "top"):
        np.testing.assert_allclose(getattr(outcomes, name), getattr(expected, name), rtol=1e-6)
    MODEL.calibrator = Temperature(TREE, 3.0)
    watched = watch(MODEL, data)
    found = evaluate(watched, data, bootstrap=0, progress=False)
    plain = evaluate(MODEL, data, bootstrap=0, progress=False)
    pd.testing.assert_frame_equal(found.frame, plain.frame)
    tables = watched.tables(found.scores, "test", replicates=0)
    other = watch(MODEL, data, calibrated=True)  # the calibrated ones are passed on, the raw ones watched
    again = other.tables(evaluate(other, data, bootstrap=0, progress=False).scores, "test", replicates=0)
    for name in ("calibration", "selective", "rules", "classwise"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(tables, name))
    raw, better = (tables.calibration[tables.calibration.probabilities == p] for p in ("raw", "calibrated"))
    assert raw.log_loss.tolist() == pytest.approx([plain.metrics[f"level_{d}/log_loss"] for d in (1, 2)])
    assert (better.log_loss.to_numpy() < raw.log_loss.to_numpy()).all()
    assert (better.ece.to_numpy() < raw.ece.to_numpy()).all()
    assert tables.selective["aurc_low"].isna().all() and "automation@0.95" in tables.selective
    assert (better.classwise_ece.to_numpy() < raw.classwise_ece.to_numpy()).all()
    parts = raw.reliability - raw.resolution + raw.uncertainty + raw.within_variance - raw.within_covariance
    np.testing.assert_allclose(parts, raw.brier)
    tables.write(tmp_path, "test")
    decision_tables(TREE, found.scores, name="valid", replicates=5).write(tmp_path, "valid")
    tables.write(tmp_path, "test")
    back = pd.read_csv(tmp_path / "selective.csv")
    assert back.groupby("set").size().to_dict() == {"test": 4, "valid": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "linear"
    config = compose(
        ["model=linear", "data=sample", "data.languages=[en,pl]", "model.features=word", "evaluation=quick",
         f"run_dir={folder}"]
    )  # fmt: skip
    return config, run_training(config)


def test_a_run_keeps_what_decisions_need(run):
    config, result = run
    model = hjc.load(result.directory)
    record = yaml.safe_load((result.directory / "train.yaml").read_text())
    state = json.loads((result.directory / "calibration.json").read_text())
    assert model.calibrator.kind == state["kind"] == record["calibration"]["kind"]
    assert sum(c["chosen"] for c in record["calibration"]["candidates"]) == 1
    scores = ValidationScores.load(result.directory, model.taxonomy)
    assert len(scores) == record["calibration"]["rows"] == state["rows"]
    assert "calibration" in (result.directory / "README.md").read_text()
    table = pd.read_csv(result.directory / "calibration.csv")
    assert set(table.set) == {"valid", "test/titles", "test/ads"}
    assert set(table.probabilities) == {"raw", "calibrated", "calibrated in sample"}
    rules = pd.read_csv(result.directory / "decisions.csv", keep_default_na=False)
    assert set(rules.set) == {"test/titles", "test/ads"} and set(rules.probabilities) == {"raw", "calibrated"}
    assert {"conformal set by language", "target accuracy by group", "back-off", "greedy path"} <= set(rules.rule)
    by_code = pd.read_csv(result.directory / "classwise.csv", dtype={"code": str})
    assert set(by_code.set) == set(table.set) and set(by_code.level) == {1, 2, 3, 4}
    before = {n: (result.directory / n).read_bytes() for n in ("calibration.json", "calibration_scores.npz")}
    again = run_training(config)  # finished: evaluated again, nothing is fitted anew
    assert before == {n: (again.directory / n).read_bytes() for n in before}
    assert yaml.safe_load((result.directory / "train.yaml").read_text())["calibration"] == record["calibration"]


def test_without_validation_rows_there_is_a_profile_only(tmp_path):
    (tmp_path / "a.csv").write_text("text,code\n" + "\n".join(f"nurse ward {i},2221" for i in range(20)))
    config = compose(
        ["model=linear", "data=csv", f"data.train=[{tmp_path / 'a.csv'}]", "data.valid_fraction=0", "evaluation=quick",
         f"run_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    directory = run_training(config).directory
    assert (directory / "drift_profile.json").exists() and not (directory / "calibration.json").exists()
    with pytest.raises(ValueError, match="without validation rows"):
        ValidationScores.load(directory, hjc.load(directory).taxonomy)
    with pytest.raises(ValueError, match="no calibration"):
        hjc.load(directory).calibrated()
