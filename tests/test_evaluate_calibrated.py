"""Calibration and selective tables: the same figures as from whole arrays; what a training run leaves behind."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

import hjc
from hjc.calibration import Temperature
from hjc.evaluation import evaluate_model
from hjc.evaluation.decided import decision_tables
from hjc.evaluation.validation_scores import ValidationScores
from hjc.metrics import Resamples
from hjc.report.card import calibration_sentence
from hjc.training.config import compose
from hjc.training.workflow import run_training
from tests.test_validation import MODEL, TREE, rows

pytestmark = pytest.mark.slow


def test_tables_are_the_same_whichever_probabilities_the_metrics_are_of(tmp_path, monkeypatch):
    data = rows(300)
    monkeypatch.setattr(MODEL, "calibrator", Temperature(TREE, 3.0))
    found = evaluate_model(MODEL, data, bootstrap=0, progress=False)
    plain = evaluate_model(MODEL, data, bootstrap=0, progress=False, decisions=False)
    pd.testing.assert_frame_equal(found.frame, plain.frame)
    assert plain.decided is None
    tables = found.decided
    again = evaluate_model(MODEL, data, bootstrap=0, progress=False, calibrated=True)
    for a, b in zip(again.decided.frames, tables.frames, strict=True):
        pd.testing.assert_frame_equal(a, b)
    raw, better = (tables.calibration[tables.calibration.probabilities == p] for p in ("raw", "calibrated"))
    for part, metrics in ((raw, found.metrics), (better, again.metrics)):
        for name in ("log_loss", "ece", "ece_plain", "brier"):  # one word, one number
            assert part[name].tolist() == [metrics[f"level_{d}/{name}"] for d in (1, 2)]
    assert (better.log_loss.to_numpy() < raw.log_loss.to_numpy()).all()
    assert (better.ece.to_numpy() < raw.ece.to_numpy()).all()
    assert tables.selective["aurc_low"].isna().all() and "automation@0.95" in tables.selective
    assert (better.classwise_ece.to_numpy() < raw.classwise_ece.to_numpy()).all()
    parts = raw.reliability - raw.resolution + raw.uncertainty + raw.within_variance - raw.within_covariance
    np.testing.assert_allclose(parts, raw.top_brier)
    tables.write(tmp_path)
    drawn = Resamples.draw(300, 5)
    decision_tables(TREE, found.scores, name="valid", resamples=drawn).write(tmp_path)
    tables.write(tmp_path)
    back = pd.read_csv(tmp_path / "selective.csv")
    assert back.groupby("set").size().to_dict() == {"test": 4, "valid": 2}
    assert back[back.set == "valid"].aurc_low.notna().all()


def test_lines_of_an_older_hjc_get_the_names_of_today(tmp_path, monkeypatch):
    monkeypatch.setattr(MODEL, "calibrator", None)
    old = pd.DataFrame({"set": ["ads"], "probabilities": ["raw"], "level": [1], "ece": [0.02], "ece_raw": [0.03],
                        "brier": [0.1]})  # fmt: skip
    old.to_csv(tmp_path / "calibration.csv", index=False)
    evaluate_model(MODEL, rows(60), bootstrap=0, progress=False).write(tmp_path)
    line = pd.read_csv(tmp_path / "calibration.csv").set_index("set").loc["ads"]
    assert (line.ece, line.ece_plain, line.top_brier) == (0.02, 0.03, 0.1) and np.isnan(line.brier)


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
    assert calibration_sentence(record["calibration"]) in (result.directory / "README.md").read_text()
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
