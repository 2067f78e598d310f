"""hjc predict --calibrated --back-off --target-accuracy --conformal --abstain; hjc evaluate --calibrated."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

import hjc
from hjc.apply.decisions import DecisionPlan
from hjc.apply.predict import CodeColumns
from hjc.classifiers import CLASSIFIERS
from hjc.classifiers.derived import write_calibration
from hjc.data import JobData
from hjc.decision import back_off, bayes_decision
from hjc.decision.hierarchical_f import hf_sets
from hjc.evaluation.drift_profile import write_profile
from hjc.evaluation.validation import describe_validation
from hjc.evaluation.validation_scores import ValidationScores
from tests.test_validation import TREE, Overconfident, rows

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setitem(CLASSIFIERS, "overconfident", ("tests.test_validation", "Overconfident"))
    model = Overconfident(TREE)
    model.save_pretrained(tmp_path / "run")
    found = describe_validation(model, rows(800))
    write_calibration(tmp_path / "run", found.calibrator)
    found.scores.save(tmp_path / "run")
    write_profile(tmp_path / "run", found.profile, "validation")
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
    assert "--back-off: coded" in err and "warning" not in err  # these texts are numbers, as in training


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
        DecisionPlan(CodeColumns(TREE, (2,)), conformal=0.1)


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


def spoken(tmp_path, languages):
    path = tmp_path / "spoken.csv"
    new = rows(len(languages), start=5000)
    lines = [f"{t},{TREE.codes[g]},{x}" for t, g, x in zip(new.texts, new.gold.tolist(), languages, strict=True)]
    path.write_text("text,code,lang\n" + "\n".join(lines) + "\n")
    return path, new


@pytest.fixture
def bilingual(tmp_path, monkeypatch):
    """Polish rows are coded by a good model, German ones at random: one threshold cannot serve both."""
    monkeypatch.setitem(CLASSIFIERS, "overconfident", ("tests.test_validation", "Overconfident"))
    model = Overconfident(TREE)
    model.save_pretrained(tmp_path / "run")
    plain = rows(1600)
    languages = ["pl" if i % 2 else "de" for i in range(1598)] + ["mt"] * 2
    wrong = np.random.default_rng(0).permutation(plain.gold)
    gold = [g if x == "pl" else w for g, w, x in zip(plain.gold, wrong, languages, strict=True)]
    data = JobData.from_lists(TREE, plain.texts, [TREE.codes[g] for g in gold], languages=languages)
    describe_validation(model, data).scores.save(tmp_path / "run")
    return tmp_path / "run"


def test_sets_by_language(call, bilingual, tmp_path):
    path, new = spoken(tmp_path, ["PL"] * 300 + ["mt"] * 5 + ["xx"] * 2)
    options = ("-t", "text", "-l", 2, "--conformal", 0.2)
    sizes = {}
    for by in ((), ("--conformal-by", "language", "--language-column", "lang")):
        code, out, err = call("predict", bilingual, path, *options, *by)
        assert code == 0, err
        found = table(out)
        sets = [row["hjc_level2_set"].split() for row in found]
        sizes[bool(by)] = np.mean([len(s) for s in sets[:300]])
        held = np.mean([TREE.codes[g] in s for g, s in zip(new.gold[:300].tolist(), sets[:300], strict=True)])
        if by:
            assert 0.73 < held < 0.87  # Monte-Carlo error 0.025
            assert "mt (5 rows), xx (2 rows)" in err
            assert "groups without calibration rows: " in err and "promises nothing" in err
        else:
            assert held > 0.83
    assert sizes[True] < sizes[False] - 1
    code, _, err = call("predict", bilingual, path, *options, "--conformal-by", "language")
    assert code == 2 and "--language-column" in err
    code, _, err = call("predict", bilingual, path, *options, "--conformal-by", "language", "--language-column", "x")
    assert code == 2 and "x" in err


def test_sets_and_thresholds_by_group(call, run, ads):
    code, out, err = call(
        "predict", run, ads, "-t", "text", "-l", 1, "-l", 2, "--conformal", 0.2, "--conformal-by", "group",
        "--conformal-score", "raps", "--conformal-codes", 2, "--target-accuracy", 0.6, "--by-group", "--calibrated",
    )  # fmt: skip
    assert code == 0, err
    found = table(out)[:-1]
    for first in "123":
        mine = [row for row in found if row["hjc_level1_code_1"] == first]
        held = [row["code"] in row["hjc_level2_set"].split() for row in mine]
        assert np.mean(held) > 0.68, first
    for row in found:
        few = row["hjc_conformal_codes"].split()
        assert 1 <= len(few) <= 2 or len({c[0] for c in few}) == len(few)  # nothing holds two level-1 codes
        assert all(any(c.startswith(f) for f in few) for c in row["hjc_level2_set"].split())
    scores = ValidationScores.load(run, TREE)
    thresholds = scores.thresholds(0.6, rule="level", calibrated=True, by_group=True).thresholds
    for row in found:
        need = thresholds.by_group[row["hjc_level1_code_1"]][1]
        assert row["hjc_level2_automatic"] == ("yes" if float(row["hjc_level2_proba_1"]) >= need - 1e-6 else "no")


def test_one_path_and_the_cheapest_code(call, run, ads, tmp_path):
    cost = tmp_path / "cost.csv"
    cost.write_text("stated,1,2,3\n1,0,5,5\n2,1,0,1\n3,1,1,0\n,0.4,0.4,0.4\n")
    for path in ("leaf", "greedy"):
        code, out, err = call("predict", run, ads, "-t", "text", "-l", 1, "-l", 2, "--path", path, "--cost", cost)
        assert code == 0, err
        found = table(out)[:-1]
        for row in found:
            a, b = row["hjc_level1_path"], row["hjc_level2_path"]
            assert b.startswith(a)
            assert (row["hjc_level2_code_1"] if path == "leaf" else row["hjc_level1_code_1"]) == (
                b if path == "leaf" else a
            )
            agree = row["hjc_level2_code_1"].startswith(row["hjc_level1_code_1"])
            assert row["hjc_coherent"] == ("yes" if agree else "no")
            assert row["hjc_bayes_code"] in ("", "1", "2", "3") and 0 <= float(row["hjc_bayes_cost"]) <= 0.4 + 1e-6
        assert {row["hjc_coherent"] for row in found} == {"yes", "no"} and "levels disagree" in err
    code, out, _ = call("predict", run, ads, "-t", "text", "--cost", "lca")
    expected = bayes_decision(TREE, hjc.load(run).predict_log_proba([r["text"] for r in table(out)[:-1]]))
    assert [r["hjc_bayes_code"] for r in table(out)[:-1]] == [
        TREE.codes[n] if n >= 0 else "" for n in expected.decisions.node
    ]


def test_survey_weights_of_rows_count_in_every_figure(call, run, ads, tmp_path):
    """A row of weight 3 is three rows."""
    rows = [line.split(",") for line in ads.read_text().splitlines()[1:-1]]
    weighted = tmp_path / "weighted.csv"
    weighted.write_text("text,code,w\n" + "".join(f"{t},{c},{1 + i % 3}\n" for i, (t, c) in enumerate(rows)))
    ads.write_text("text,code\n" + "".join(f"{t},{c}\n" * (1 + i % 3) for i, (t, c) in enumerate(rows)))
    found = []
    for file, more in ((weighted, ("--weight-column", "w")), (ads, ())):
        code, out, err = call("evaluate", run, file, "-t", "text", "--bootstrap", 0, "--json", *more)
        assert code == 0, err
        found.append(json.loads(out)["metrics"])
    same = [key for key in found[0] if not key.endswith(("/n", "/ece", "/ece_plain", "impossible"))]
    assert len(same) > 20
    for key in same:
        assert found[0][key] == pytest.approx(found[1][key], nan_ok=True), key
    code, _, err = call("evaluate", run, ads, "-t", "text", "--weight-column", "wage")
    assert code == 2 and "wage" in err


def test_codes_of_best_expected_hierarchical_f(call, run, ads):
    code, out, err = call("predict", run, ads, "-t", "text", "--cost", "hf1", "--hf-set", 2)
    assert code == 0, err
    found, last = table(out)[:-1], table(out)[-1]
    x = hjc.load(run).predict_log_proba([row["text"] for row in found])
    one, best = bayes_decision(TREE, x, "hf1"), hf_sets(TREE, x, 2.0)
    assert [row["hjc_bayes_code"] for row in found] == [TREE.codes[n] for n in one.decisions.node]
    assert [row["hjc_hf_codes"].split() for row in found] == [
        [TREE.codes[n] for n in best.lowest(TREE)[i].tolist()] for i in range(len(found))
    ]
    np.testing.assert_allclose([float(row["hjc_hf_expected"]) for row in found], best.expected, atol=1e-6)
    assert max(len(row["hjc_hf_codes"].split()) for row in found) > 1 and not last["hjc_hf_codes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--by-group",), "--by-group refines --target-accuracy"),
        (("--conformal-by", "group"), "refines --conformal"),
        (("--conformal-codes", 2), "refines --conformal"),
        (("--conformal", 0.1, "--conformal-codes", 0), "integers from 1"),
        (("--conformal", 0.1, "--conformal-score", "thr"), "allowed are lac, aps, raps"),
        (("--conformal", 0.1, "--conformal-by", "region"), "allowed are language, group"),
        (("--path", "up"), "allowed are leaf, greedy"),
        (("--cost", "missing.csv"), "allowed are lca, levels, hf0.5, hf1, hf2 or the CSV file"),
        (("--hf-set", 0), "--hf-set: got 0.0, allowed are numbers above 0"),
    ],
)
def test_options_that_do_not_fit(call, run, ads, options, message):
    code, out, err = call("predict", run, ads, "-t", "text", *options)
    assert code == 2 and message in err and not out, err


def test_what_validation_rows_cannot_promise_is_said_first(call, run, ads):
    code, out, err = call("predict", run, ads, "-t", "text", "-l", 2, "--target-accuracy", 0.999, "--conformal", 0.0001)
    assert code == 0, err
    assert "800 validation rows do not show it at any threshold: no row gets a target code" in err
    assert "of level 2: nothing is automatic" in err and "800 validation rows are too few to promise 0.9999" in err
    assert {row["hjc_target_code"] for row in table(out)} == {""}
    assert {row["hjc_level2_set_size"] for row in table(out)[:-1]} == {"8"}
    code, out, err = call("predict", run, ads, "-t", "text", "--target-accuracy", 0.95, "--by-group")
    assert code == 0 and "most probable level-1 code is" in err


def test_thresholds_by_group_of_a_rare_group(run):
    """A group without validation rows is never automatic, rather than hidden in the average."""
    scores = ValidationScores.load(run, TREE)
    keep = scores.outcomes().top[:, 0] != TREE.index_of["3"]
    part = {k: dataclasses.replace(v, scores=v.scores.take(keep)) for k, v in scores.variants.items()}
    fewer = ValidationScores(TREE, scores.gold[keep], scores.weight[keep], part)
    plan = DecisionPlan(CodeColumns(TREE, (2,)), fewer, target_accuracy=0.3, by_group=True)
    assert len(plan.notes) == 1 and "level-1 code is '3': they get no code" in plan.notes[0], plan.notes
