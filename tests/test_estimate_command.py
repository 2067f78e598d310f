"""hjc estimate and hjc drift: the figures of the statistics package, coherent tables, messages."""

import csv

import numpy as np
import pandas as pd
import pytest

import hjc
from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.apply.estimate import METHODS, Gathered, shares_table
from hjc.classifiers import CLASSIFIERS
from hjc.classifiers.derived import write_calibration
from hjc.evaluation.drift_profile import profile_rows, read_profile, write_profile
from hjc.evaluation.validation import describe_validation
from hjc.statistics import CodeTotals, Confusion, correct_counts, difference_estimate, em_prior_shift, make_audit
from tests.test_validation import TREE, Overconfident, rows

pytestmark = pytest.mark.slow

N = 600
NEW = rows(N, start=20_000)
REGION = ["north" if i % 3 else "south" for i in range(N)]
WEIGHT = np.array([1.0 + i % 4 for i in range(N)])
CODES = [TREE.codes[g] for g in NEW.gold.tolist()]


@pytest.fixture(scope="module")
def found():
    return describe_validation(Overconfident(TREE), rows(800))


@pytest.fixture
def run(tmp_path, monkeypatch, found):
    monkeypatch.setitem(CLASSIFIERS, "overconfident", ("tests.test_validation", "Overconfident"))
    Overconfident(TREE).save_pretrained(tmp_path / "run")
    write_calibration(tmp_path / "run", found.calibrator)
    found.scores.save(tmp_path / "run")
    write_profile(tmp_path / "run", found.profile, "validation")
    return tmp_path / "run"


def write(path, lines):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "code", "region", "w", "pi"])
        writer.writerows(lines)
    return path


@pytest.fixture
def table(tmp_path):
    lines = [(t, c, r, w, 0.2) for t, c, r, w in zip(NEW.texts, CODES, REGION, WEIGHT, strict=True)]
    write(tmp_path / "audit.csv", lines[::5])
    return write(tmp_path / "new.csv", [*lines, ("", "11", "north", 1, 1)])


def estimate(call, tmp_path, *arguments):
    out = tmp_path / "shares.csv"
    code, _, err = call("estimate", *arguments, "-o", out, "--overwrite")
    assert code == 0, err
    return pd.read_csv(out, dtype={"code": str}, keep_default_na=False), err


def test_every_method_gives_the_figures_of_the_library(call, run, table, tmp_path):
    model = hjc.load(run).calibrated()
    x = model.predict_log_proba(NEW.texts)
    south = np.array([r == "south" for r in REGION])
    totals = CodeTotals(TREE)
    totals.update(x, WEIGHT, [(r,) for r in REGION])
    scores = describe_validation(Overconfident(TREE), rows(800)).scores
    at = np.arange(0, N, 5)
    audit = make_audit(TREE, 2, x[at], NEW.gold[at], weights=WEIGHT[at], inclusion_probability=np.full(len(at), 0.2))
    counted = totals.classify_and_count(("south",))
    expected = {
        "classify_and_count": counted,
        "summed": totals.summed_probabilities(("south",)),
        "misclassification": correct_counts(counted, scores.confusion(2, True)),
        "calibration": correct_counts(counted, scores.confusion(2, True), kind="calibration"),
        "prior_shift": em_prior_shift(
            TREE, 2, x[south], scores.prior(2, True), WEIGHT[south], prior_rows=scores.prior_rows(2, True)
        ),
        "difference": difference_estimate(totals, audit.take(np.flatnonzero(south[at])), ("south",), tuned=False),
        "ppi": difference_estimate(totals, audit.take(np.flatnonzero(south[at])), ("south",)),
    }
    assert set(expected) == set(METHODS)
    for method, other in expected.items():
        more = (
            ("--audit", tmp_path / "audit.csv", "--audit-inclusion-column", "pi")
            if method in ("difference", "ppi")
            else ()
        )
        found, err = estimate(
            call,
            tmp_path,
            table,
            "--run",
            run,
            "-t",
            "text",
            "--by",
            "region",
            "--weights",
            "w",
            "--method",
            method,
            *more,
        )
        assert "601 rows; 1 left out (empty text)" in err and "calibrated" in err
        part = found[found.region == "south"]
        for name, values in (("share", other.share), ("se", other.se)):
            wanted = dict(zip(TREE.codes, values.tolist(), strict=True))
            got = dict(zip(part.code, part[name], strict=True))
            assert got == pytest.approx(wanted, abs=2e-4), (method, name)
        for _, domain in found.groupby("region"):
            sums = domain[domain.level == 2].groupby(domain.code.str[0]).share.sum()
            top = domain[domain.level == 1].set_index("code").share
            assert sums.to_dict() == pytest.approx(top.to_dict(), abs=1e-6) and top.sum() == pytest.approx(1)


def test_coded_tables_are_counted(call, run, table, tmp_path):
    found, _ = estimate(call, tmp_path, table, "--run", run, "--code-column", "code", "--level", 1, "--weights", "w")
    # the last row has no text but a code: it counts here
    expected = np.bincount([int(c[0]) for c in [*CODES, "11"]], [*WEIGHT, 1])[1:]
    assert found["count"].tolist() == pytest.approx(expected.tolist())
    bad = write(tmp_path / "bad.csv", [("a", "99", "n", 1, 1), ("a", "", "n", 1, 1), ("a", "21", "n", 1, 1)])
    _, err = estimate(call, tmp_path, bad, "--run", run, "--code-column", "code")
    assert "1 left out (no code)" in err and "1 left out (unknown code)" in err


def test_messages(call, run, table, tmp_path):
    base = ("estimate", table, "--run", run, "-t", "text")
    cases = [
        (("--method", "magic"), "allowed are"),
        (("--method", "ppi"), "needs --audit"),
        (("--by", "regoin"), "did you mean 'region'"),
        (("--weights", "region"), "weights are numbers"),
        (("--code-column", "code", "--method", "summed"), "can only be counted"),
        (("--level", 7), "7"),
        (("--confidence", 95), "--confidence"),
        (("--audit", table), "Leaving audited rows out"),
        (("--audit", tmp_path / "audit.csv", "--audit-code-column", "region"), "no code of the taxonomy"),
    ]
    for arguments, message in cases:
        code, _, err = call(*base, *arguments)
        assert code == 2 and message in err, (arguments, err)
    (run / "calibration_scores.npz").unlink()
    code, _, err = call(*base, "--method", "prior_shift")
    assert code == 2 and "trained without validation rows" in err


def test_drift(call, run, table, tmp_path):
    code, out, err = call("drift", run, table, "-t", "text", "-o", tmp_path / "drift.csv")
    assert code == 0, err
    assert "against 800 validation rows" in out and "verdict:" in out and "1 left out" in err
    assert {"text length", "confidence"} <= set(pd.read_csv(tmp_path / "drift.csv").check)
    same = write(tmp_path / "same.csv", [("0000017", "", "", "", "")] * 300)
    _, out, _ = call("drift", run, same, "-t", "text")
    assert "verdict: re-audit" in out
    (run / "drift_profile.json").unlink()
    code, _, err = call("drift", run, table, "-t", "text")
    assert code == 2 and "has no drift_profile.json" in err


def test_profiles_of_training_rows_are_a_sample(run):
    profile = profile_rows(Overconfident(TREE), NEW, most=100)
    assert profile.rows == 100 and profile.languages["pl"] == 100
    write_profile(run, profile, "training")
    back, of = read_profile(run, TREE)
    assert of == "training" and back.rows == 100
    (run / "drift_profile.json").write_text("{")
    with pytest.raises(ValueError, match="truncated"):
        read_profile(run, TREE)


MONTHS = ["2024-01" if i < N // 2 else "2024-02" for i in range(N)]


@pytest.fixture
def monthly(tmp_path):
    """Every second ad of the second month was online in the first already."""
    path = tmp_path / "monthly.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "code", "region", "w", "month", "ad"])
        for i in range(N):
            j = i - N // 2 if i >= N // 2 and i % 2 else i
            writer.writerow([NEW.texts[j], CODES[j], REGION[j], WEIGHT[j], MONTHS[i], f"ad{j}"])
    return path


def changes(call, tmp_path, run, monthly, *options):
    return estimate(call, tmp_path, monthly, "--run", run, "-t", "text", "--change", "2024-01", "2024-02", *options)


def test_change_is_the_difference_of_the_shares(call, run, monthly, tmp_path):
    shares, _ = estimate(call, tmp_path, monthly, "--run", run, "-t", "text", "--by", "region,month", "--weights", "w")
    found, err = changes(call, tmp_path, run, monthly, "--by", "region,month", "--weights", "w")
    assert "changes at level 2 are significant" in err and "by chance alone" in err
    assert set(found.region) == {"north", "south"} and set(found.how) == {"independent"} and "month" not in found
    for line in found.to_dict("records"):
        at = shares[(shares.region == line["region"]) & (shares.code == line["code"])].set_index("month")
        assert [line["share_old"], line["share_new"]] == pytest.approx(at.share.loc[["2024-01", "2024-02"]].tolist())
        assert line["change"] == pytest.approx(line["share_new"] - line["share_old"], abs=1e-7)
        assert line["se"] == pytest.approx(np.hypot(*at.se), rel=1e-5)
        assert line["low"] == pytest.approx(line["change"] - 1.959964 * line["se"], abs=1e-7)
        assert (line["rows_old"], line["rows_new"]) == tuple(at.rows.loc[["2024-01", "2024-02"]])
    top = found[found.level == 1].groupby("region").change.sum()
    np.testing.assert_allclose(top, 0, atol=1e-7)


def test_change_with_shared_labels_and_paired_units(call, run, monthly, tmp_path):
    scores = describe_validation(Overconfident(TREE), rows(800)).scores
    for method in ("misclassification", "calibration", "prior_shift"):
        found, err = changes(call, tmp_path, run, monthly, "--by", "month", "--method", method)
        assert set(found.how) == {"same labelled rows"}
        shares, _ = estimate(call, tmp_path, monthly, "--run", run, "-t", "text", "--by", "month", "--method", method)
        apart = shares.groupby("code", sort=False).se.apply(lambda se: float(np.hypot(*se)))
        assert (found.set_index("code").se < apart[found.code] * 1.001).all()
    assert len(scores) == 800
    plain, _ = changes(call, tmp_path, run, monthly, "--by", "month")
    paired, err = changes(call, tmp_path, run, monthly, "--by", "month", "--unit-column", "ad")
    assert set(paired.how) == {"paired units"} and "paired units" in err
    np.testing.assert_allclose(paired.change, plain.change, atol=1e-6)
    assert (paired.se < 0.9 * plain.se).all()
    counted, _ = changes(
        call, tmp_path, run, monthly, "--by", "month", "--unit-column", "ad", "--method", "classify_and_count"
    )
    coded, _ = estimate(
        call, tmp_path, monthly, "--run", run, "--code-column", "code", "--by", "month", "--change", "2024-01",
        "2024-02", "--unit-column", "ad",
    )  # fmt: skip
    assert set(counted.how) == set(coded.how) == {"paired units"} and (coded.se >= 0).all()


def test_changes_that_cannot_be_made(call, run, monthly, table, tmp_path):
    start = ("estimate", monthly, "--run", run, "-t", "text")
    bad = [
        (("--change", "2024-01", "2024-02"), "--by month"),
        (("--by", "month", "--change", "2024-01", "2024-03"), "no row has month '2024-03'; there are '2024-01'"),
        (("--by", "month", "--change", "2024-01", "2024-01"), "two periods"),
        (("--by", "month,region", "--change", "2024-01", "2024-02"), "no row has region '2024-01'"),
        (("--by", "month", "--change-column", "region", "--change", "a", "b"), "must be among --by"),
        (("--by", "month", "--unit-column", "ad"), "give that as well"),
        (("--by", "month", "--change", "2024-01", "2024-02", "--unit-column", "x"), "'x'"),
        (
            ("--by", "month", "--change", "2024-01", "2024-02", "--unit-column", "ad", "--method", "prior_shift"),
            "leave",
        ),
        (("--by", "month", "--change", "2024-01", "2024-02", "--unit-column", "ad", "--target", "batch"), "leave it"),
    ]
    for options, message in bad:
        code, out, err = call(*start, *options)
        assert code == 2 and message in err and not out, (options, err)
    found, _ = changes(call, tmp_path, run, monthly, "--by", "month,region", "--change-column", "month", "--level", 1)
    assert set(found.level) == {1} and "region" in found
    lonely = tmp_path / "lonely.csv"
    lonely.write_text(monthly.read_text() + "5,11,islands,1,2024-02,ad\n")
    found, _ = changes(call, tmp_path, run, lonely, "--by", "region,month")
    islands = found[found.region == "islands"]
    assert set(islands.flag) == {"no rows in 2024-01, few rows in 2024-02"} and set(islands.how) == {"unknown"}
    assert islands.change.eq("").all() and islands.share_new.ne("").all()
    audit = tmp_path / "small.csv"
    lines = monthly.read_text().splitlines()
    audit.write_text("\n".join([lines[0], *lines[1:200:3]]) + "\n")
    found, _ = changes(call, tmp_path, run, monthly, "--by", "month", "--audit", audit)
    assert set(found.flag) == {"no audit in 2024-02"}


def test_bootstrap_standard_errors_agree_with_the_formulas(call, run, table, monthly, tmp_path):
    start = (table, "--run", run, "-t", "text", "--weights", "w", "--by", "region")
    audit = ("--audit", tmp_path / "audit.csv", "--audit-inclusion-column", "pi")
    for method in ("classify_and_count", "summed", "calibration", "ppi"):
        more = audit if method == "ppi" else ()
        plain, _ = estimate(call, tmp_path, *start, "--method", method, *more)
        drawn, _ = estimate(call, tmp_path, *start, "--method", method, *more, "--bootstrap", 200, "--seed", 3)
        np.testing.assert_allclose(drawn.share, plain.share, atol=1e-7)
        assert not np.allclose(drawn.se, plain.se)
        ratio = drawn.se / plain.se
        assert 0.8 < ratio.mean() < 1.25 and ratio.between(0.6, 1.6).all(), method
    again, _ = estimate(call, tmp_path, *start, "--method", "ppi", *audit, "--bootstrap", 200, "--seed", 3)
    pd.testing.assert_frame_equal(again, drawn)
    plain, _ = changes(call, tmp_path, run, monthly, "--by", "month", "--method", "calibration")
    drawn, _ = changes(call, tmp_path, run, monthly, "--by", "month", "--method", "calibration", "--bootstrap", 300)
    assert set(drawn.how) == set(plain.how) == {"same labelled rows"}
    assert 0.8 < (drawn.se / plain.se).mean() < 1.25
    for options in (("--method", "prior_shift"), ("--target", "batch"), ("--bootstrap", 5)):
        code, _, err = call("estimate", *start, "--bootstrap", 50, *options)
        assert code == 2 and "--bootstrap" in err, err


def test_tables_by_domain_with_flags():
    taxonomy = random_taxonomy(17, depth=2, children=(2, 3), top=3, ragged=0)
    world = random_world(taxonomy, 1, sharpness=0.2, kinds=400)
    kind, gold = world.draw(600, np.random.default_rng(0))
    x, domain = world.table[kind], [("north", "2026-01") if i < 580 else ("south", "2026-02") for i in range(600)]
    totals, confusion = CodeTotals(taxonomy, 2), Confusion(taxonomy, 2)
    totals.update(x, domain=domain)
    confusion.update(x[:300], gold[:300])
    rows = np.arange(0, 580, 4)
    audit = make_audit(taxonomy, 2, x[rows], gold[rows])
    for method in METHODS:
        if method == "prior_shift":  # of a spool
            continue
        table = shares_table(
            Gathered(
                taxonomy,
                2,
                method,
                ["region", "month"],
                totals,
                audit=audit,
                audit_domain=[domain[i] for i in rows],
                confusion=confusion if method in ("misclassification", "calibration") else None,
            )
        )
        assert table.columns[:4].tolist() == ["region", "month", "level", "code"]
        assert len(table) == 2 * sum(len(taxonomy.level_nodes(d)) for d in (1, 2))
        small = table[table.region == "south"]
        if method in ("difference", "ppi"):
            assert (small.flag == "no audit").all() and small["share"].isna().all() and (small.method == method).all()
            assert small[["se", "low", "high", "count", "count_low", "count_high"]].isna().all(axis=None)
        else:
            assert small.flag.str.contains("few rows").all()
            assert (small["count"] / small["share"]).dropna().round(6).eq(20).all()
        big = table[(table.region == "north") & (table.level == 2)]
        assert big["share"].sum() == pytest.approx(1) and (big.low <= big["share"]).all()
    with pytest.raises(KeyError, match="no rows"):
        totals.classify_and_count("east")
