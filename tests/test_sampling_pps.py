"""hjc data sample --rule pps and --rule phrases, deal and gather; weights and language shares in hjc evaluate."""

import json
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hjc.corpus.dealing import deal_units
from hjc.corpus.sampling_pps import (
    allocate,
    keyword_groups,
    sample_by_phrases,
    stratified_pps,
)
from hjc.evaluation.languages import (
    correlation_lines,
    correlations,
    language_correlation,
    read_language_shares,
)
from tests.test_evaluate import evaluate_model, make


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), min_size=1, max_size=8), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_sizes_of_strata_add_up_within_their_bounds(strata, n):
    share, most = map(np.array, zip(*strata, strict=True))
    some = most > 0
    if not some.sum() <= n <= most.sum():
        with pytest.raises(ValueError, match="allowed are"):
            allocate(share, most, n)
        return
    size = allocate(share, most, n)
    assert size.sum() == n and (size >= some).all() and (size <= most).all()


def test_sizes_are_in_proportion_where_nothing_binds():
    assert allocate([1, 2, 7], [50, 50, 50], 20).tolist() == [2, 4, 14]
    assert allocate([1, 2, 7], [50, 50, 10], 20).tolist() == [3, 7, 10]  # the full one leaves 10 to 1 : 2
    assert allocate([0, 1], [5, 50], 20).tolist() == [1, 19]


@given(st.integers(0, 500), st.sampled_from(["measure", "rows", "equal"]))
@settings(max_examples=25, deadline=None)
def test_probabilities_are_proportional_to_size_in_a_stratum(seed, allocation):
    rng = np.random.default_rng(seed)
    size, h = rng.integers(0, 30, 80).astype(float), rng.integers(0, 3, 80)
    found = stratified_pps(size, h, 24, allocation=allocation, seed=seed)
    assert found.rows.sum() == 24 and (found.probability[size == 0] == 0).all()
    assert (found.probability[found.rows] > 0).all() and found.probability.sum() == pytest.approx(24)
    for s in range(3):
        free = (h == s) & (found.probability < 1) & (size > 0)
        ratio = found.probability[free] / size[free]
        np.testing.assert_allclose(ratio, ratio[:1].repeat(len(ratio)), rtol=1e-9)


def test_weighted_totals_of_many_samples_are_those_of_the_frame():
    rng = np.random.default_rng(0)
    size, h = rng.integers(1, 60, 120).astype(float), rng.integers(0, 4, 120)
    y = size * 2 + rng.normal(size=120) * 20
    totals, drawn = [], np.zeros(120)
    for seed in range(400):
        found = stratified_pps(size, h, 40, seed=10 * seed)
        totals.append((found.weights * y)[found.rows].sum())
        drawn += found.rows
    error = stats.sem(totals)
    assert abs(np.mean(totals) - y.sum()) < 4 * error and error < y.sum() / 20
    assert np.abs(drawn / 400 - found.probability).max() < 0.12


TEXTS = [
    "Farmaceuta w aptece",
    "cloud engineer",
    "Cloud farmaceuta",
    "kucharz",
    "kucharz",
    "cloud computing",
    "sprzedawca",
]


def test_search_phrases_and_their_probabilities():
    found = sample_by_phrases(
        TEXTS, [("farmaceuta", 1), ("cloud( computing)?", 2), ("kucharz", 5), ("nurek", 3)], seed=3
    )
    assert found.found.tolist() == [2, 3, 1, 0] and found.taken.tolist() == [1, 2, 1, 0]
    # the third text can come by both: 1 - (1 - 1/2) (1 - 2/3)
    np.testing.assert_allclose(found.drawn.probability, [1 / 2, 2 / 3, 1 - 1 / 6, 1, 0, 2 / 3, 0])
    assert all((len(by) > 0) == drawn for by, drawn in zip(found.phrase, found.drawn.rows.tolist(), strict=True))
    times = np.zeros(7)
    for seed in range(600):
        times += sample_by_phrases(TEXTS, [("farmaceuta", 1), ("cloud", 2)], seed=seed).drawn.rows
    np.testing.assert_allclose(times / 600, [1 / 2, 2 / 3, 5 / 6, 0, 0, 2 / 3, 0], atol=0.08)
    assert sample_by_phrases(TEXTS, [("kucharz", 5)], unique=False).found.tolist() == [2]
    with pytest.raises(ValueError, match="no regular expression"):
        sample_by_phrases(TEXTS, [("(", 1)])


def test_the_first_group_of_keywords_counts():
    groups = [("sellers", "sprzedawc|kasjer"), ("pharmacists", "farmaceut"), ("it", "cloud")]
    assert keyword_groups(TEXTS[:4], groups) == ["pharmacists", "it", "pharmacists", "other"]


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 40), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_deal_reaches_everybody_evenly(n, coders, common, seed):
    if common > n:
        with pytest.raises(ValueError, match="--common"):
            deal_units(n, coders, common, seed)
        return
    dealt = deal_units(n, coders, common, seed)
    sizes = [len(rows) for rows in dealt]
    assert max(sizes) - min(sizes) <= 1 and set().union(*dealt) == set(range(n))
    times = np.bincount(list(chain(*dealt)), minlength=n)
    assert (times == coders).sum() == (n if coders == 1 else common) and set(times.tolist()) <= {1, coders}


@pytest.fixture
def frame(tmp_path):
    rng = np.random.default_rng(5)
    words = ["kasjer", "kucharz", "cloud", "nurse", "driver"]
    rows = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(300)]
    path = tmp_path / "frame.csv"
    pd.DataFrame({"id": range(300), "text": [*rows[:-1], ""], "pay": range(300)}).to_csv(path, index=False)
    keywords = tmp_path / "keywords.csv"
    keywords.write_text("group,pattern\nsellers,^kasjer\ncooks,^kucharz\n", "utf-8")
    return path, keywords


@pytest.mark.slow
def test_from_a_frame_to_coders_and_back(call, frame, tmp_path):
    path, keywords = frame
    code, _, err = call(
        "data",
        "sample",
        path,
        "-o",
        tmp_path / "s.csv",
        "--rule",
        "pps",
        "--size",
        60,
        "--strata",
        "words",
        "--strata",
        "keywords",
        "--keywords",
        keywords,
        "--bounds",
        "10,20",
    )
    assert code == 0 and "1 rows have a characters of 0 and cannot be drawn" in err, err
    drawn, all_rows = pd.read_csv(tmp_path / "s.csv"), pd.read_csv(path, keep_default_na=False)
    assert len(drawn) == 60 and set(drawn["stratum"].str.split(" | ", regex=False).str[0]) == {"0-10", "11-20", "21+"}
    np.testing.assert_allclose(drawn["design_weight"] * drawn["inclusion_probability"], 1, rtol=1e-5)
    total = (drawn["design_weight"] * drawn["text"].str.len()).sum()  # exact: drawn by that very measure
    assert total == pytest.approx(all_rows["text"].str.len().sum(), rel=0.02)
    facts = json.loads((tmp_path / "s.csv.log.json").read_text("utf-8"))
    assert facts["rule"] == "pps" and facts["keywords"] == [["sellers", "^kasjer"], ["cooks", "^kucharz"]]

    code, _, err = call(
        "data",
        "deal",
        tmp_path / "s.csv",
        "-o",
        tmp_path / "deal",
        "--coder",
        "anna",
        "--coder",
        "ewa",
        "--common",
        12,
        "--column",
        "text",
    )
    assert code == 0 and "60 rows dealt: anna 36, ewa 36; 12 of them to all" in err, err
    for coder in ("anna", "ewa"):
        file = tmp_path / "deal" / f"{coder}.csv"
        sheet = pd.read_csv(file, dtype=str, keep_default_na=False)
        assert list(sheet) == ["unit", "text", "code", "comment"]
        sheet["code"] = ["" if int(u) == 1 else "2221" if int(u) % 2 else "5120" for u in sheet["unit"]]
        sheet.to_csv(file, index=False)
    code, _, err = call("data", "deal", tmp_path / "s.csv", "-o", tmp_path / "deal", "--coder", "anna")
    assert code == 2 and "holds a deal already" in err
    code, _, err = call("data", "gather", tmp_path / "deal", "-o", tmp_path / "coded.csv")
    assert code == 0 and "72 lines" in err, err
    lines = pd.read_csv(tmp_path / "coded.csv", dtype=str, keep_default_na=False)
    assert (lines["purpose"] == "common").sum() == 24 and set(lines["coder"]) == {"anna", "ewa"}
    code, _, err = call(
        "data",
        "agreement",
        tmp_path / "coded.csv",
        "-o",
        tmp_path / "agreement",
        "--unit-column",
        "unit",
        "--coder-column",
        "coder",
        "--weight-column",
        "design_weight",
        "--stratum-column",
        "stratum",
    )
    assert code == 0, err
    pairs = pd.read_csv(tmp_path / "agreement" / "pairs.csv")
    assert (pairs["agreement"] == 1).all() and set(pairs["units"]) <= {11, 12}
    code, _, err = call("data", "gather", tmp_path / "deal", "-o", tmp_path / "coded.jsonl")
    assert code == 0 and len(pd.read_json(tmp_path / "coded.jsonl", lines=True)) == 72, err
    code, _, err = call("data", "gather", tmp_path / "deal", "-o", tmp_path / "coded.csv")
    assert code == 2 and "exists; give --overwrite" in err
    code, _, err = call("data", "gather", tmp_path / "deal", "-o", file, "--overwrite")
    assert code == 2 and "is the input itself" in err and len(pd.read_csv(file)) == 36
    sheet.drop(index=0).to_csv(file, index=False)
    code, _, err = call("data", "gather", tmp_path / "deal", "-o", tmp_path / "less.csv")
    assert code == 0 and f"ewa: 35 of 36 coded; 1 that were dealt are not in {file.name}" in err, err
    sheet.loc[0, "unit"] = "999"
    sheet.to_csv(file, index=False)
    code, _, err = call("data", "gather", tmp_path / "deal", "-o", tmp_path / "again.csv")
    assert code == 2 and "units '999' were not dealt to 'ewa'" in err


@pytest.mark.slow
def test_a_sample_by_phrases_has_its_table(call, frame, tmp_path):
    path, _ = frame
    phrases = tmp_path / "phrases.csv"
    phrases.write_text("phrase,n\n^cloud (nurse|driver),5\n^kasjer kasjer kasjer,50\n", "utf-8")
    code, _, err = call("data", "sample", path, "-o", tmp_path / "s.csv", "--rule", "phrases", "--phrases", phrases)
    assert code == 0 and "1 phrases occur in fewer texts than were asked for" in err, err
    table = json.loads((tmp_path / "s.csv.log.json").read_text("utf-8"))["phrases"]
    drawn = pd.read_csv(tmp_path / "s.csv")
    assert [line["drawn"] for line in table] == [5, table[1]["population"]] and len(drawn) == sum(
        x["drawn"] for x in table
    )
    assert drawn["phrase"].isin(["^cloud (nurse|driver)", "^kasjer kasjer kasjer"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rule", "pps"), "Give --size N"),
        (("--rule", "pps", "--size", 1000), "allowed are 1 (one from each stratum) to 299"),
        (("--rule", "pps", "--size", 9, "--measure", "text"), "expected a number from 0"),
        (("--rule", "pps", "--size", 9, "--measure", "chars"), "chars"),
        (("--rule", "pps", "--size", 9, "--strata", "keywords"), "--keywords FILE with columns group,pattern"),
        (("--rule", "pps", "--size", 9, "--fraction", 0.2), "--fraction belongs to --rule code-length or languages"),
        (("--rule", "pps", "--size", 9, "--allocation", "neyman"), "allowed are measure, rows, equal"),
        (("--rule", "phrases"), "--phrases FILE with columns phrase,n"),
        (("--rule", "code-length"), "Give --fraction"),
        (("--rule", "srs"), "allowed are code-length, languages, pps, phrases"),
    ],
)
@pytest.mark.slow
def test_rules_that_cannot_be_followed(call, frame, tmp_path, options, message):
    code, _, err = call("data", "sample", frame[0], "-o", tmp_path / "s.csv", *options)
    assert code == 2 and message in err and not (tmp_path / "s.csv").exists(), err


@pytest.mark.parametrize("cell", ["-3", "nan", "inf", "1e400", "big", ""])
def test_a_size_that_is_none_is_named_by_its_row(call, tmp_path, cell):
    frame = pd.DataFrame({"text": list("abcdef"), "size": ["1", "2,5", cell, "0", "4", cell]})
    frame.to_csv(tmp_path / "f.csv", index=False)
    given = ("data", "sample", tmp_path / "f.csv", "-o", tmp_path / "s.csv", "--rule", "pps", "--measure", "size")
    code, _, err = call(*given, "--size", 2)
    assert code == 2 and f"--measure size: row 3 has {cell!r} and 1 more rows have none" in err, err
    frame["size"] = "0"
    frame.to_csv(tmp_path / "f.csv", index=False)
    code, _, err = call(*given, "--size", 2)
    assert code == 2 and "no row has a size above 0" in err and not (tmp_path / "s.csv").exists()


def test_correlations_are_those_of_scipy():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=24), rng.normal(size=24)
    r, low, high, rho, rho_low, rho_high = correlations(x, y)
    expected = stats.pearsonr(x, y)
    interval = expected.confidence_interval(0.95)
    assert (r, low, high) == pytest.approx((expected.statistic, interval.low, interval.high))
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rho_low < rho < rho_high and rho_high - rho_low > high - low - 0.05
    assert np.isnan(correlations(x, np.ones(24))).all() and np.isnan(correlations(x[:3], y[:3])).all()


def test_accuracy_by_language_and_shares(tmp_path):
    spoken = tuple(np.repeat(["pl", "en", "de", "fr", "et"], [60, 50, 40, 35, 15]))
    model, data = make(200, language=spoken)
    found = evaluate_model(model, data, bootstrap=0, decisions=False, progress=False)
    path = tmp_path / "shares.csv"
    path.write_text("language,tokens\npl,5\nen,40\nde,9\nfr,10\n", "utf-8")
    table = language_correlation(found, read_language_shares(str(path)))
    assert set(table["share"]) == {"tokens", "share of the rows"} and (table["languages"] == 4).all()  # et: 15 rows
    line = table[(table["level"] == "1") & (table["share"] == "tokens")].iloc[0]
    accuracy = [found.metrics[f"{lang}/level_1/recall@1"] for lang in ("pl", "en", "de", "fr")]
    assert line["pearson"] == pytest.approx(stats.pearsonr(accuracy, [5, 40, 9, 10]).statistic)
    heads, lines = correlation_lines(table)
    cells = dict(zip(heads, lines[0], strict=True))
    assert heads[3:] == ["Pearson", "Spearman"] and cells["languages"] == "4"
    assert cells["Pearson"] == f"{line['pearson']:.2f} ({line['pearson_low']:.2f} to {line['pearson_high']:.2f})"
    assert "does not vary" in correlation_lines(table.assign(spearman=np.nan))[1][0]
    for content, message in (("lang,x\npl,1\n", "no column 'language'"), ("language,x\npl,1\npl,2\n", "twice"),
                             ("language,x\npl,many\n", "no number from 0")):  # fmt: skip
        path.write_text(content, "utf-8")
        with pytest.raises(ValueError, match=message):
            read_language_shares(str(path))
