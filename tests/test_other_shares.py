"""Probabilities for other shares of codes: Bayes' rule, files of shares, EM on simulated tilts, the commands."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjc.apply.loop import Columns
from hjc.apply.priors import Wanted, check_method, default_level, in_table, training_prior
from hjc.apply.priors import given as with_shares
from hjc.classifiers.base import Classifier
from hjc.classifiers.reweighted import ReweightedClassifier
from hjc.statistics.priors import leaf_log_ratio, level_sums, read_prior
from hjc.tables import ReadOptions
from hjc.taxonomy import Taxonomy, from_prefix_codes
from tests.strategies import taxonomies


def tree() -> Taxonomy:
    return from_prefix_codes(["11", "12", "21", "22", "23"], [1, 2])


class Table(Classifier):
    """P(leaf | text) of a table: the text is the number of a row."""

    name = "table"

    def __init__(self, taxonomy: Taxonomy, proba: np.ndarray) -> None:
        super().__init__(taxonomy)
        self.proba = proba

    is_fitted = True

    def iter_log_proba(self, texts):
        yield np.arange(len(texts)), np.log(self.proba[[int(t) for t in texts]]).astype(np.float32)


# ---------------------------------------------------------------------- Bayes


@settings(max_examples=30)
@given(taxonomies(plain_codes=True), st.integers(0, 2**16))
def test_reweighted_probabilities_are_those_of_a_world_with_other_shares(taxonomy, seed):
    """A world with P(text | leaf): its posteriors under two sets of shares, and one from the other by the ratio."""
    rng = np.random.default_rng(seed)
    leaves = taxonomy.num_leaves
    likelihood = rng.dirichlet(np.ones(6), leaves)  # (L, texts)
    old, shift = rng.dirichlet(np.ones(leaves)) + 1e-3, 0
    old /= old.sum()
    level = int(rng.integers(1, taxonomy.depth + 1))
    before = level_sums(taxonomy, level, old)
    after = rng.dirichlet(np.ones(len(before))) + 1e-3
    after /= after.sum()
    column = taxonomy.level_column[taxonomy.leaves, level - 1]
    new = old * (after / before)[column] + shift  # shares within a code of the level stay
    posterior = [(likelihood * prior[:, None] / (prior @ likelihood)).T for prior in (old, new)]
    model = ReweightedClassifier(Table(taxonomy, posterior[0]), leaf_log_ratio(taxonomy, level, after, before))
    found = np.exp(model.leaf_log_proba([str(i) for i in range(6)]))
    np.testing.assert_allclose(found, posterior[1], atol=2e-6)
    assert np.exp(taxonomy.aggregate(np.log(found), 1)).sum(1) == pytest.approx(1)


def test_the_shares_of_the_training_change_nothing_and_equal_ones_turn_its_counts_over():
    t = tree()
    counts = np.zeros(len(t))
    counts[t.leaves] = [98, 0, 48, 8, 0]
    old = training_prior(Table(t, np.full((1, 5), 0.2)), counts)
    assert old == pytest.approx(np.array([99, 1, 49, 9, 1]) / 159), "a row more for each, so that none is at 0"
    model = Table(t, old[None, :])  # a model that reads nothing
    assert with_shares(model, Wanted.of(None), counts) is model
    even = with_shares(model, Wanted.of("uniform"), counts)
    assert np.exp(even.leaf_log_proba(["0"])) == pytest.approx(np.full((1, 5), 0.2))
    assert even.parameters["prior"] == "uniform"
    with pytest.raises(ValueError, match=r"no training_counts.csv"):
        with_shares(model, Wanted.of("uniform"), None)


def test_inner_counts_are_spread_over_their_leaves():
    t = tree()
    counts = np.zeros(len(t))
    counts[t.index_of["2"]] = 6
    assert training_prior(Table(t, np.full((1, 5), 0.2)), counts) == pytest.approx(np.array([1, 1, 3, 3, 3]) / 11)


# ---------------------------------------------------------------------- files


def shares(tmp_path, lines: str, header: str = "code,share") -> str:
    (tmp_path / "p.csv").write_text(f"{header}\n{lines}\n")
    return str(tmp_path / "p.csv")


def test_a_file_of_shares_is_read_at_its_deepest_level(tmp_path):
    t = tree()
    level, found = read_prior(shares(tmp_path, "1,3\n2,1"), t)
    assert level == 1 and found.tolist() == [0.75, 0.25]
    level, found = read_prior(shares(tmp_path, "1,3\n2,1\n11,1\n12,1\n21,2\n22,0\n23,4", "code,count"), t)
    assert level == 2 and found.tolist() == [0.125, 0.125, 0.25, 0, 0.5]


@pytest.mark.parametrize(("lines", "said"), [
    ("11,1\n12,1\n21,1\n22,1", r"1 of 5 codes of level 2 are missing: '23'"),
    ("1,1\n2,-1", r"'2' has the share '-1'"), ("1,1\n1,1\n2,1", r"'1' stands there twice"),
    ("1,1\n2,1\n11,1\n12,1\n21,2\n22,1", r"'23'; .*, or leave out the codes below level 1, which is whole"),
    ("1,0\n2,0", r"all shares are 0"), ("1,1e308\n2,1e308", r"too large"),
    ("", r"has no rows"), ("1,1\n2,1\n7,1", r"1 codes are unknown: '7'"),
])  # fmt: skip
def test_what_is_wrong_with_a_file_of_shares_is_said(tmp_path, lines, said):
    with pytest.raises(ValueError, match=said):
        read_prior(shares(tmp_path, lines), tree())


def test_what_is_wrong_with_the_option_is_said(tmp_path):
    assert Wanted.of("em:2") == Wanted("em", 2) and Wanted.of("em") == Wanted("em")
    for text, kind, said in (("em:x", ValueError, "em:LEVEL"), ("unifrom", FileNotFoundError, "uniform, em")):
        with pytest.raises(kind, match=said):
            Wanted.of(text)
    with pytest.raises(ValueError, match="a prior has the columns code and share"):
        read_prior(shares(tmp_path, "1,1", "code,size"), tree())
    with pytest.raises(ValueError, match="summed and classify_and_count"):
        check_method(Wanted.of("em"), "calibration")
    check_method(Wanted.of("training"), "calibration")
    assert default_level(Table(tree(), np.zeros((0, 5)))) == 2


def test_standard_input_cannot_be_read_twice():
    find = in_table(Table(tree(), np.zeros((0, 5))), "-", ReadOptions(), Columns(), 1, False)
    with pytest.raises(ValueError, match="reads the rows twice"):
        find(1, None)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- commands


def world(n: int, share: list[float], seed: int) -> pd.DataFrame:
    """Texts of which a word tells the code three times in four."""
    rng = np.random.default_rng(seed)
    gold = rng.choice(5, n, p=share)
    seen = np.where(rng.random(n) < 0.75, gold, rng.integers(0, 5, n))
    words = [f"alpha{k} beta{k} w{rng.integers(0, 30)}" for k in seen]
    return pd.DataFrame({"text": words, "code": [("11", "12", "21", "22", "23")[g] for g in gold]})


@pytest.mark.slow
def test_commands_with_other_shares_on_a_simulated_tilt(tmp_path, call):
    """One code of half the training is a twentieth of the batch: log-loss and shares before and after."""
    learnt, now = [0.5, 0.2, 0.1, 0.1, 0.1], [0.05, 0.1, 0.25, 0.3, 0.3]
    world(1500, learnt, 0).to_csv(tmp_path / "train.csv", index=False)
    world(600, learnt, 1).to_csv(tmp_path / "valid.csv", index=False)
    batch = world(900, now, 2)
    batch.to_csv(tmp_path / "batch.csv", index=False)
    pd.DataFrame({"code": tree().codes}).to_csv(tmp_path / "tree.csv", index=False)
    run = tmp_path / "run"
    code, _, err = call(
        "train", "model=linear", "data=csv", f"data.train=[{tmp_path / 'train.csv'}]", "evaluation.report=false",
        f"data.valid=[{tmp_path / 'valid.csv'}]", f"taxonomy.path={tmp_path / 'tree.csv'}", "taxonomy.digits=[1,2]",
        "evaluation.bootstrap=0", f"run_dir={run}",
    )  # fmt: skip
    assert code == 0, err
    truth = tmp_path / "truth.csv"
    pd.DataFrame({"code": ["11", "12", "21", "22", "23"], "share": now}).to_csv(truth, index=False)
    loss, first = {}, {}
    for prior in ("training", "uniform", str(truth), "em"):
        where = tmp_path / f"ev_{len(loss)}"
        line = ["--calibrated", "--bootstrap", 0, "--no-report", "--prior", prior]
        code, _, err = call("evaluate", run, tmp_path / "batch.csv", "-o", where, *line)
        assert code == 0, err
        loss[prior] = json.loads((where / "metrics.json").read_text())["test/level_2/log_loss"]
        assert ("most moved: 11" in err) == (prior == "em")
        options = ["-o", where / "p.csv", "--calibrated", "--prior", prior]
        code, _, err = call("predict", run, tmp_path / "batch.csv", *options)
        assert code == 0, err
        first[prior] = (pd.read_csv(where / "p.csv", dtype=str)["hjc_level2_code_1"] == batch["code"]).mean()
    assert loss[str(truth)] < loss["em"] + 0.02 < loss["training"] - 0.1 and loss["uniform"] < loss["training"]
    assert first[str(truth)] >= first["training"] - 0.03 and first["em"] > first["training"] - 0.04
    error = {}
    for prior in ("training", "em"):
        code, _, err = call(
            "estimate", tmp_path / "batch.csv", "--run", run, "-o", tmp_path / f"{prior}.csv", "--prior", prior
        )
        assert code == 0, err
        found = pd.read_csv(tmp_path / f"{prior}.csv", dtype={"code": str}).set_index("code")["share"]
        error[prior] = np.abs(found.loc[["11", "12", "21", "22", "23"]] - now).mean()
    assert error["em"] < 0.5 * error["training"]
    code, _, err = call("predict", run, tmp_path / "batch.csv", "--prior", "em", "--conformal", "0.1")
    assert code == 2 and "--conformal" in err
    code, _, err = call("estimate", tmp_path / "batch.csv", "--run", run, "--method", "calibration", "--prior", "em")
    assert code == 2 and "--method with --prior em" in err
