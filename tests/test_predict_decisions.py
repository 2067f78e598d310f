"""hjc predict --calibrated --back-off --target-accuracy --conformal --abstain; hjc evaluate --calibrated."""

import csv
import io
import json

import numpy as np
import pytest

import hjc
from hjc.classifiers import CLASSIFIERS
from hjc.classifiers.calibrated import write_calibration
from hjc.decision import back_off
from hjc.prediction_io.decide import plan_decisions
from hjc.validation import describe_validation
from tests.test_validation import TREE, Overconfident, rows


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setitem(CLASSIFIERS, "overconfident", ("tests.test_validation", "Overconfident"))
    model = Overconfident(TREE)
    model.save_pretrained(tmp_path / "run")
    found = describe_validation(model, rows(800))
    write_calibration(tmp_path / "run", found.calibrator)
    found.scores.save(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def ads(tmp_path):
    path = tmp_path / "ads.csv"
    new = rows(400, start=5000)
    lines = [f"{text},{TREE.codes[g]}" for text, g in zip(new.texts, new.gold.tolist(), strict=True)]
    path.write_text("text,code\n" + "\n".join([*lines, ",11"]) + "\n")
    return path


def table(out):
    return list(csv.DictReader(io.StringIO(out)))


def test_all_rules_at_once(call, run, ads):
    code, out, err = call(
        "predict", run, ads, "-t", "text", "-l", 1, "-l", 2, "--calibrated", "--back-off", 0.6,
        "--target-accuracy", 0.5, "--conformal", 0.2, "--abstain", 0.4,
    )  # fmt: skip
    assert code == 0, err
    found, last = table(out)[:-1], table(out)[-1]
    assert last["hjc_status"] == "empty text" and not any(v for k, v in last.items() if k in found[0] and "code_" in k)
    model = hjc.load(run).calibrated()
    x = model.predict_log_proba([row["text"] for row in found])
    expected = back_off(TREE, x, 0.6)
    assert [row["hjc_backoff_code"] for row in found] == [TREE.codes[n] if n >= 0 else "" for n in expected.node]
    assert {row["hjc_backoff_level"] for row in found} == {"", "1", "2"}
    for level in (1, 2):
        top = np.exp(TREE.aggregate(x, level)).max(axis=1)
        assert [bool(row[f"hjc_level{level}_code_1"]) for row in found] == (top >= 0.4).tolist()
        sets = [row[f"hjc_level{level}_set"].split() for row in found]
        assert [len(s) for s in sets] == [int(row[f"hjc_level{level}_set_size"]) for row in found]
        assert 0.7 < np.mean([row["code"][:level] in s for row, s in zip(found, sets, strict=True)]) < 0.9
    blank = [row for row in found if not row["hjc_level1_code_1"] and not row["hjc_level2_code_1"]]
    assert blank and all(row["hjc_status"].startswith("abstained") for row in blank)
    assert all(row["hjc_status"] == "ok" for row in found if row not in blank)
    held = [row["code"].startswith(row["hjc_conformal_code"]) for row in found]
    assert np.mean(held) > 0.7
    coded = [row for row in found if row["hjc_target_code"]]
    assert coded and np.mean([row["code"].startswith(row["hjc_target_code"]) for row in coded]) > 0.45
    assert {row["hjc_level2_automatic"] for row in found} <= {"yes", "no"}
    assert "backoff: coded" in err and "warning" not in err


def test_a_model_without_validation_rows_says_so(call, run, ads):
    (run / "calibration_scores.npz").unlink()
    for option in (("--conformal", 0.1), ("--target-accuracy", 0.9)):
        code, _, err = call("predict", run, ads, "-t", "text", *option)
        assert code == 2 and "trained without validation rows" in err and "data.valid" in err
    assert call("predict", run, ads, "-t", "text", "--back-off", 0.5)[0] == 0
    (run / "calibration.json").unlink()
    code, _, err = call("predict", run, ads, "-t", "text", "--calibrated")
    assert code == 2 and "no calibration" in err
    assert "no calibration" in call("evaluate", run, ads, "-t", "text", "--calibrated")[2]


def test_bad_numbers_are_refused(call, run, ads):
    for option, value in (("--back-off", 1.5), ("--target-accuracy", 95), ("--conformal", 0), ("--abstain", 0)):
        code, _, err = call("predict", run, ads, "-t", "text", option, value)
        assert code == 2 and option in err and "allowed" in err, err
    with pytest.raises(ValueError, match="--conformal needs"):
        plan_decisions(TREE, (2,), conformal=0.1)


def test_other_texts_give_a_warning(call, run, tmp_path):
    path = tmp_path / "same.csv"
    path.write_text("text\n" + "17\n" * 200)
    code, _, err = call("predict", run, path, "-t", "text", "--conformal", 0.1)
    assert code == 0 and "exchangeability is doubtful" in err


def test_evaluate(call, run, ads, tmp_path):
    options = ("-t", "text", "--bootstrap", 0, "--no-report")
    assert call("evaluate", run, ads, *options, "-o", tmp_path / "raw")[0] == 0
    assert call("evaluate", run, ads, *options, "-o", tmp_path / "cal", "--calibrated")[0] == 0
    assert (tmp_path / "raw/calibration.csv").exists() and (tmp_path / "raw/selective.csv").exists()
    raw, cal = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("raw", "cal"))
    assert cal["test/level_2/log_loss"] < raw["test/level_2/log_loss"]
    lines = table((tmp_path / "raw/calibration.csv").read_text())
    assert float(lines[-1]["log_loss"]) == pytest.approx(cal["test/level_2/log_loss"], rel=1e-4)
