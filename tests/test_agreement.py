"""Agreement of coders against scikit-learn, textbook examples, plain loops and simulated coverage."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from hjc.corpus.agreement import (
    agreement,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    proportion,
    ratings_from_long,
    stratified_se,
)
from hjc.data.codesets import CodeSets
from hjc.taxonomy import from_prefix_codes

ONES, ZEROS = np.ones, lambda n: np.zeros(n, np.int64)
TREE = from_prefix_codes(["1", "2", "11", "12", "21", "22"], [1, 2])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4)), min_size=2, max_size=30))
def test_cohen_kappa_is_that_of_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    a, b, w = (np.array(x) for x in zip(*rows, strict=True))
    found = cohen_kappa(a, b, w.astype(float))
    if len(set(a.tolist()) | set(b.tolist())) == 1:
        assert np.isnan(found.value)
        return
    assert found.value == pytest.approx(cohen_kappa_score(a, b, sample_weight=w), abs=1e-12)
    # whole weights are repeated rows
    assert found.value == pytest.approx(cohen_kappa(np.repeat(a, w), np.repeat(b, w)).value, abs=1e-12)


def test_fleiss_textbook_example() -> None:
    """Fleiss' method on the table of 10 subjects, 14 raters and 5 categories that textbooks work out: 0.210."""
    table = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
             [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    ratings = np.array([np.repeat(np.arange(5), row) for row in table])
    assert fleiss_kappa(ratings).value == pytest.approx(0.20993, abs=1e-5)


def test_krippendorff_textbook_example() -> None:
    """Krippendorff's reliability data of 4 observers and 12 units with missing values: nominal alpha 0.743."""
    rows = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    ratings = np.array([[-1 if x == "." else int(x) for x in row.split()] for row in rows]).T
    found = krippendorff_alpha(ratings)
    assert found.value == pytest.approx(0.743, abs=5e-4) and found.n == 11 and found.low < found.value < found.high
    doubled = krippendorff_alpha(ratings, np.full(12, 2.0))
    assert doubled.value == pytest.approx(found.value)


@given(st.lists(st.lists(st.integers(-1, 3), min_size=3, max_size=3), min_size=1, max_size=12), st.integers(0, 2**31))
def test_coefficients_from_their_definitions(rows: list[list[int]], seed: int) -> None:
    """Observed and expected agreement counted pair by pair in plain loops."""
    ratings = np.array(rows)
    units = [[x for x in row if x >= 0] for row in rows]
    # alpha: pairs of values within units (each unit's pairs weigh 1 / (m - 1)) against pairs of all values
    paired = [u for u in units if len(u) > 1]
    values = [x for u in paired for x in u]
    inside = sum((x != y) / (len(u) - 1) for u in paired for i, x in enumerate(u) for j, y in enumerate(u) if i != j)
    across = sum(x != y for i, x in enumerate(values) for j, y in enumerate(values) if i != j)
    alpha = krippendorff_alpha(ratings, bootstrap=0).value
    if across == 0:
        assert np.isnan(alpha)
    else:
        expected = 1 - (inside / len(values)) / (across / (len(values) * (len(values) - 1)))
        assert alpha == pytest.approx(expected, abs=1e-12)
    full = [u for u in units if len(u) == 3]
    kappa = fleiss_kappa(ratings).value
    everything = [x for u in full for x in u]
    if len(set(everything)) < 2:
        assert np.isnan(kappa)
    else:
        observed = np.mean([x == y for u in full for x, y in combinations(u, 2)])
        chance = sum((everything.count(c) / len(everything)) ** 2 for c in set(everything))
        assert kappa == pytest.approx((observed - chance) / (1 - chance), abs=1e-12)


def test_worked_by_hand() -> None:
    # coder A: 11 11 12 21 22, coder B: 11 12 12 21 11
    # level 2: 3 of 5 agree; level 1: 4 of 5
    # level 1 kappa: A is 3/5 "1", B is 4/5 "1": chance 12/25 + 2/25 = 14/25, kappa (4/5 - 14/25) / (11/25) = 6/11
    a, b = TREE.encode(["11", "11", "12", "21", "22"]), TREE.encode(["11", "12", "12", "21", "11"])
    found = agreement(TREE, np.stack([a, b], axis=1), ["A", "B"])
    pairs = found.pairs.set_index("level")
    assert pairs["agreement"].to_dict() == pytest.approx({1: 0.8, 2: 0.6}) and pairs["units"].tolist() == [5, 5]
    assert pairs.loc[1, "kappa"] == pytest.approx(6 / 11)
    overall = found.overall.set_index("level")
    assert overall["all_agree"].tolist() == overall["pairwise"].tolist() == pytest.approx([0.8, 0.6])
    # level 1 alpha: values 7 x "1" and 3 x "2"; disagreement within 2 / 10, across 42 / 90
    assert overall.loc[1, "alpha"] == pytest.approx(1 - (2 / 10) / (42 / 90))
    # Fleiss, level 1: P = 4/5, chance .49 + .09
    assert overall.loc[1, "fleiss"] == pytest.approx((0.8 - 0.58) / 0.42)
    assert found.confusion[["code_a", "code_b", "units", "percent"]].to_numpy().tolist() == [
        ["1", "1", 3, 100.0], ["2", "1", 1, 50.0], ["2", "2", 1, 50.0],
    ]  # fmt: skip
    # an inner code counts down to its own level
    b[1] = TREE.index_of["1"]
    pairs = agreement(TREE, np.stack([a, b], axis=1), ["A", "B"]).pairs.set_index("level")
    assert pairs["units"].to_dict() == {1: 5, 2: 4} and pairs.loc[2, "agreement"] == 0.75
    # of the unweighted 4 of 5 with the disagreement weighing 6: 4 of 10
    weighted = agreement(TREE, np.stack([a, b], axis=1), ["A", "B"], weights=np.array([1.0, 1, 1, 1, 6]))
    assert weighted.pairs["agreement"][0] == pytest.approx(0.4)


def test_intervals_of_the_paper() -> None:
    """Experts 1 and 2 at one digit: 87.7 % of 98 ads, interval (80.5, 93.4); the arcsine interval of an unweighted
    86 of 98 is that but for the weights."""
    found = proportion(np.arange(98) < 86, ONES(98), ZEROS(98))
    assert (found.low, found.high) == (pytest.approx(0.805, abs=2e-3), pytest.approx(0.934, abs=2e-3))
    everyone = proportion(ONES(20), ONES(20), ZEROS(20))
    assert everyone.value == everyone.high == 1 and 0.8 < everyone.low < 0.9
    assert np.isnan(proportion([], ONES(0), ZEROS(0)).value)


def test_stratified_standard_error_by_hand() -> None:
    # strata {1, 3} and {2, 2, 5}: 2/1 x 2 + 3/2 x 6 = 13; a lonely stratum is centred at the mean of all
    z, h = np.array([1.0, 3, 2, 2, 5]), np.array([0, 0, 1, 1, 1])
    assert stratified_se(z, h) == (pytest.approx(np.sqrt(13)), 3)
    assert stratified_se(np.array([1.0, 3, 8]), np.array([0, 0, 1]))[0] == pytest.approx(np.sqrt(4 + 16))
    # without strata it is the standard error of a mean
    x = np.random.default_rng(0).normal(size=50)
    assert stratified_se((x - x.mean()) / 50, ZEROS(50))[0] == pytest.approx(x.std(ddof=1) / np.sqrt(50))


def test_intervals_cover() -> None:
    """95 % intervals of agreement, kappa and Fleiss' kappa hold the truth in about 95 % of weighted samples."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 4, (20_000, 1))
    population = np.where(rng.random((20_000, 3)) < 0.75, truth, rng.integers(0, 4, (20_000, 3)))
    strata = (truth[:, 0] == 0).astype(np.int64)
    ones, zeros = ONES(20_000), ZEROS(20_000)
    agree = (population[:, 0] == population[:, 1]).mean()
    kappa, fleiss = (cohen_kappa(population[:, 0], population[:, 1], ones, zeros).value, fleiss_kappa(population).value)
    sizes = np.bincount(strata)
    hits = np.zeros(3)
    for _ in range(300):
        pick = np.concatenate([rng.choice(np.flatnonzero(strata == s), 100, replace=False) for s in (0, 1)])
        x, h = population[pick], strata[pick]
        w = sizes[h] / 100
        for i, (e, t) in enumerate([
            (proportion(x[:, 0] == x[:, 1], w, h), agree), (cohen_kappa(x[:, 0], x[:, 1], w, h), kappa),
            (fleiss_kappa(x, w, h), fleiss),
        ]):  # fmt: skip
            hits[i] += e.low <= t <= e.high
    assert (hits / 300 > 0.91).all() and (hits / 300 < 0.985).all()


def test_alpha_interval_covers() -> None:
    rng = np.random.default_rng(6)

    def sample(n: int) -> np.ndarray:
        truth = rng.integers(0, 4, (n, 1))
        return np.where(rng.random((n, 3)) < 0.75, truth, rng.integers(0, 4, (n, 3)))

    target = krippendorff_alpha(sample(200_000), bootstrap=0).value
    found = [krippendorff_alpha(sample(120), bootstrap=200, seed=i) for i in range(150)]
    assert 0.88 < np.mean([f.low <= target <= f.high for f in found]) < 0.99


def test_long_form_and_errors() -> None:
    ratings, units, coders, unknown = ratings_from_long(
        TREE, ["a", "a", "b", "b", "c"], ["x", "y", "x", "y", "y"], ["11", "12", "21", "9", ""]
    )
    assert (units, coders, unknown) == (["a", "b", "c"], ["x", "y"], ["9"])
    assert [[TREE.codes[i] if i >= 0 else "" for i in row] for row in ratings] == [["11", "12"], ["21", ""], ["", ""]]
    anonymous = ratings_from_long(TREE, ["a", "b", "a"], None, ["11", "21", "12"])
    assert anonymous[0].shape == (2, 2) and anonymous[2] == ["1", "2"]
    report = agreement(TREE, anonymous[0])
    assert len(report.pairs) == len(report.confusion) == 0 and report.overall["units"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="two codes"):
        ratings_from_long(TREE, ["a", "a"], ["x", "x"], ["11", "12"])
    with pytest.raises(ValueError, match="two coders"):
        agreement(TREE, ratings[:, :1])
    with pytest.raises(ValueError, match="names for"):
        agreement(TREE, ratings, ["x"])
    with pytest.raises(ValueError, match="weights"):
        agreement(TREE, ratings, weights=-np.ones(3))


@pytest.mark.realdata
def test_triple_coded_ads(realdata) -> None:
    """The ads that three experts coded: the file has the codes but not who gave which."""
    from hjc.taxonomy import load_taxonomy

    path, hierarchy = realdata / "kzis_ads_pl" / "ads.csv.gz", realdata / "kzis" / "kzis_hierarchy_2023.csv"
    if not path.exists() or not hierarchy.exists():
        pytest.skip("no kzis_ads_pl in the real data")
    frame = pd.read_csv(
        path, dtype=str, keep_default_na=False, usecols=["ad_id", "code", "other_codes", "n_coders", "agree"]
    )
    frame = frame[frame["n_coders"] == "3"]
    tree = load_taxonomy(hierarchy)
    units, codes = [], []
    for row in frame.itertuples():
        times = round(float(row.agree) * 3)
        given = [row.code] * times + row.other_codes.split("|")[: 3 - times] * (1 if times < 3 else 0)
        units += [row.ad_id] * len(given)
        codes += given
    ratings, *_ = ratings_from_long(tree, units, None, codes)
    overall = agreement(tree, ratings, bootstrap=200).overall.set_index("level")
    deepest = tree.depth
    assert overall.loc[deepest, "all_agree"] == pytest.approx(
        (frame["agree"] == "1.0").sum() / overall.loc[deepest, "units"]
    )
    assert 0.6 < overall.loc[deepest, "alpha"] < 0.85 and overall["pairwise"].is_monotonic_decreasing
    assert (overall["alpha_low"] < overall["alpha"]).all() and (overall["alpha"] < overall["alpha_high"]).all()
    assert abs(overall["alpha"] - overall["fleiss"]).max() < 0.01


def test_the_command_on_lines_and_on_columns(call, tmp_path):
    """Rows in = used + left out, repaired codes are counted, and a weight is that of the unit."""
    import json

    lines = ["ad,expert,code,w", "1,A,2411.0,2", "1,B,2411,2", "2,A,2411,1", "2,B,2412,1", "3,A,,1", "3,B,9999,1",
             ",A,2411,1", "4,,2411,1"]  # fmt: skip
    (tmp_path / "long.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "wide.csv").write_text("A,B,w\n2411.0,2411,2\n2411,2412,1\n,9999,1\n")
    pd.read_csv(tmp_path / "wide.csv", dtype=str).to_parquet(tmp_path / "wide.parquet", index=False)
    long = ["--unit-column", "ad", "--coder-column", "expert", "-c", "code"]
    found = []
    for name, how in (
        ("long.csv", long),
        ("wide.csv", ["-c", "A", "-c", "B"]),
        ("wide.parquet", ["-c", "A", "-c", "B"]),
    ):
        out = tmp_path / f"out_{name}"
        code, _, err = call("data", "agreement", tmp_path / name, "-o", out, "--weight-column", "w", *how)
        assert code == 0 and "2411.0 -> 2411" in err and "9999" in err, err
        found.append((out / "pairs.csv").read_text())
        log = json.loads((out / "log.json").read_text())
        assert log["rows_in"] == log["rows_used"] + sum(log["rejected"].values())
        assert log["units_by_number_of_codes"] == {"0": 1, "1": 0, "2": 2} and log["unknown_codes"] == ["9999"]
        assert log["codes"]["decimal"] == log["codes"]["missing"] == log["codes"]["unknown"] == 1
    assert found[0] == found[1] == found[2]
    assert log["rejected"] == {}
    log = json.loads((tmp_path / "out_long.csv" / "log.json").read_text())
    assert log["rejected"] == {"no ad": 1, "no expert": 1}
    pairs = pd.read_csv(tmp_path / "out_long.csv" / "pairs.csv").set_index("level")
    assert pairs.loc[4, "agreement"] == pytest.approx(2 / 3, abs=1e-5) and pairs.loc[3, "agreement"] == 1
    lines[2] = "1,B,2411,3"
    (tmp_path / "long.csv").write_text("\n".join(lines) + "\n")
    code, _, err = call("data", "agreement", tmp_path / "long.csv", "-o", tmp_path / "x", "--weight-column", "w", *long)
    assert code == 2 and "unit '1' has 'w' '2' in one line and '3' in another" in err and not (tmp_path / "x").exists()


@given(st.lists(st.lists(st.sets(st.integers(2, 5), max_size=2), min_size=3, max_size=3), min_size=2, max_size=8))
def test_coders_with_several_codes_agree_where_they_share_one(rows: list[list[set[int]]]) -> None:
    """Every figure with sets, pair by pair in loops over Python's sets."""
    cells = [sorted(cell) for row in rows for cell in row]
    sets = CodeSets.of_lists(cells)
    found = agreement(TREE, sets.first.reshape(-1, 3), ["a", "b", "c"], bootstrap=0, sets=sets)
    for level in (1, 2):
        units = [[{int(TREE.node_path[n, level - 1]) for n in cell} for cell in row] for row in rows]
        both = [(u[0], u[1]) for u in units if u[0] and u[1]]
        pair = found.pairs[(found.pairs.level == level) & (found.pairs.coder_b == "b")].iloc[0]
        if both:
            share = np.mean([bool(x & y) for x, y in both])
            assert pair["agreement"] == pytest.approx(share)
            chance = np.mean([bool(x & y) for x, _ in both for _, y in both])
            if chance < 1:
                assert pair["kappa"] == pytest.approx((share - chance) / (1 - chance))
        line = found.overall[found.overall.level == level].iloc[0]
        full = [u for u in units if all(u)]
        if full:
            assert line["all_agree"] == pytest.approx(np.mean([bool(u[0] & u[1] & u[2]) for u in full]))
        paired = [[c for c in u if c] for u in units if sum(map(bool, u)) >= 2]
        every = [c for u in paired for c in u]
        differ = sum(sum(not (x & y) for x in u for y in u) / (len(u) - 1) for u in paired)
        possible = sum(not (x & y) for x in every for y in every)
        if possible:
            wanted = 1 - (len(every) - 1) * differ / possible
            assert line["alpha"] == pytest.approx(wanted)


def test_sets_of_one_code_give_the_plain_figures() -> None:
    ratings = np.random.default_rng(0).integers(-1, 6, (20, 3))
    sets = CodeSets.of_gold(ratings.ravel())
    a, b = agreement(TREE, ratings, ["a", "b", "c"]), agreement(TREE, ratings, ["a", "b", "c"], sets=sets)
    pd.testing.assert_frame_equal(a.pairs, b.pairs)
    pd.testing.assert_frame_equal(a.overall, b.overall)


def test_the_command_reads_several_codes_in_a_cell(tmp_path, call) -> None:
    (tmp_path / "tree.csv").write_text("code\n" + "\n".join(TREE.codes) + "\n")
    (tmp_path / "a.csv").write_text("id,x,y\n1,11|12,12\n2,21,22|21\n3,11,22|9\n")
    line = ["data", "agreement", tmp_path / "a.csv", "-o", tmp_path / "out", "--taxonomy", tmp_path / "tree.csv",
            "--digits", "1,2", "-c", "x", "-c", "y"]  # fmt: skip
    code, _, err = call(*line, "--code-separator", "|")
    assert code == 0, err
    assert pd.read_csv(tmp_path / "out" / "pairs.csv")["agreement"].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert "1 further codes" in err and "'9'" in err
    (tmp_path / "b.csv").write_text("ad,who,code\n1,p,11|12\n1,q,12\n2,p,21\n2,q,22|21\n3,p,11\n3,q,22\n")
    code, _, err = call(
        "data", "agreement", tmp_path / "b.csv", "-o", tmp_path / "out", "--taxonomy", tmp_path / "tree.csv",
        "--digits", "1,2", "--unit-column", "ad", "--code-separator", "|",
    )  # fmt: skip
    assert code == 0, err
    assert pd.read_csv(tmp_path / "out" / "overall.csv")["all_agree"].tolist() == pytest.approx([2 / 3, 2 / 3])
