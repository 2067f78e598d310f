"""hjc review: samples have true inclusion probabilities and feed estimates; picks find errors; both from files."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
import torch

from hjc.apply.loop import Columns
from hjc.apply.review import PICKS, SAMPLES, Reviewing
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.neural import NeuralClassifier
from hjc.data import TextRecipe, load_sample
from hjc.decision.review import bald
from hjc.tables import open_table
from tests.stub_classifier import StubClassifier
from tests.test_neural import settings, toy_data, toy_tree, trainer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A quick linear model of the bundled titles in two languages, its directory, and held-out rows in a file."""
    splits = load_sample(languages=["en", "de"])
    tree = splits.train.taxonomy.truncate(2)
    train, held = splits.train.truncate(2), splits.tests["titles"].truncate(2)
    held = held.take(np.random.default_rng(0).permutation(len(held))[:600])
    model = LinearClassifier(tree, LinearSettings()).fit(train)
    folder = tmp_path_factory.mktemp("review")
    model.save_pretrained(folder / "model")
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["title", "language"])
        writer.writerows(zip(held.texts, held.language, strict=True))
        writer.writerow(["", "en"])  # not usable
    return model, folder / "model", path, held


class Remembered(StubClassifier):
    """What a model says about some texts, without its work."""

    def __init__(self, model, texts):
        super().__init__(model.taxonomy)
        self._known = dict(zip(texts, model.predict_log_proba(texts), strict=True))

    def _row(self, text):
        return self._known[text]


def chosen(model, path, n, strategy, **more):
    columns = Columns(TextRecipe(("title",)))
    return Reviewing(model, lambda: open_table(path, rows=100), columns, n, strategy, level=2, **more).choose()


def wrong(model, held, found):
    return held.gold[found.row] != found.node


@pytest.mark.parametrize("strategy", ["uncertain", "margin", "entropy", "diverse"])
def test_picks_find_more_errors_than_chance(sample, strategy):
    model, _, path, held = sample
    picked = wrong(model, held, chosen(model, path, 100, strategy)).mean()
    drawn = [wrong(model, held, chosen(model, path, 100, "random", seed=s)).mean() for s in range(10)]
    everywhere = wrong(model, held, chosen(model, path, 600, "random")).mean()
    assert np.mean(drawn) == pytest.approx(everywhere, abs=0.05) and 0.3 < everywhere < 0.6
    assert picked > max(drawn) if strategy != "diverse" else picked > np.mean(drawn)
    assert picked > everywhere + (0.15 if strategy != "diverse" else 0.04)


def test_scores_and_rows_are_those_of_the_texts(sample):
    model, _, path, held = sample
    found = chosen(model, path, 40, "uncertain")
    p = model.predict_proba([held.texts[i] for i in found.row])
    np.testing.assert_allclose(found.proba, p.max(axis=1), atol=1e-6)
    assert found.node.tolist() == model.taxonomy.level_nodes(2)[p.argmax(axis=1)].tolist()
    np.testing.assert_allclose(found.score, 1 - found.proba)
    everything = 1 - model.predict_proba(held.texts).max(axis=1)
    assert found.score.min() >= np.sort(everything)[-40] - 1e-6 and not found.plan.for_estimation
    assert found.expected_wrong_all == pytest.approx(everything.mean(), abs=1e-6)


@pytest.mark.parametrize("strategy", SAMPLES)
def test_samples_estimate_the_share_of_errors_without_bias(sample, strategy):
    model, _, path, held = sample
    model = Remembered(model, held.texts)
    truth = wrong(model, held, chosen(model, path, 600, "random")).mean()
    more = {"strata": "language", "bands": 2} if strategy == "stratified" else {}
    estimates = []
    for seed in range(60):
        found = chosen(model, path, 60, strategy, seed=seed, **more)
        w = 1 / found.plan.inclusion_probability
        assert len(found.row) == 60 and w.sum() == pytest.approx(600, rel=0.5)
        estimates.append((w * wrong(model, held, found)).sum() / 600)
    assert abs(np.mean(estimates) - truth) < 4 * np.std(estimates) / np.sqrt(60)


def test_k_center_leaves_nothing_far(sample):
    model, _, path, held = sample
    vectors = model.features.transform(list(held.texts)).toarray()
    far = {}
    for strategy in ("k_center", "uncertain"):
        rows = chosen(model, path, 150, strategy).row
        far[strategy] = (1 - (vectors @ vectors[rows].T).max(axis=1)).mean()
    assert far["k_center"] < far["uncertain"]


def test_strata_by_prediction_and_bad_input(sample):
    model, _, path, _ = sample
    found = chosen(model, path, 80, "stratified", strata="predicted", bands=1)
    top = [model.taxonomy.codes[model.taxonomy.node_path[i, 0]] for i in found.node]
    agreement = np.mean([s.split("/")[0] == t for s, t in zip(found.plan.stratum, top, strict=True)])
    assert agreement > 0.8  # the best code of level 2 nearly always lies under that of level 1
    for more, message in (
        ({"strategy": "best"}, "allowed are random"),
        ({"strategy": "random", "n": 0}, "--n: got 0, allowed are integers from 1"),
        ({"strategy": "random", "strata": "language"}, "--strata is for"),
        ({"strategy": "bald"}, "needs a neural model"),
        ({"strategy": "stratified", "strata": "region"}, "no column 'region'"),
        ({"strategy": "stratified", "strata": "predicted", "n": 10}, "too few"),
    ):
        with pytest.raises(ValueError, match=message):
            chosen(model, path, **{"n": 50, **more})


@pytest.mark.parametrize("strategy", ["random", "stratified", "proportional", "uncertain", "diverse"])
def test_more_rows_than_there_are_are_all_rows(sample, strategy):
    model, _, path, _ = sample
    found = chosen(model, path, 900, strategy)
    assert len(set(found.row.tolist())) == len(found.row) == 600
    assert "900 rows are wanted, and 600 can be used: all of them are chosen" in found.notes
    assert (found.plan.inclusion_probability == 1).all()


# ---------------------------------------------------------------- dropout


@pytest.fixture(scope="module")
def neural():
    tree = toy_tree()
    return NeuralClassifier(tree, settings(dropout=0.3), trainer(epochs=1)).fit(toy_data(tree))


def test_passes_differ_and_leave_the_network_as_it_was(neural):
    texts = toy_data(neural.taxonomy, 3, seed=2).texts
    before = neural.predict_log_proba(texts)
    state = torch.random.get_rng_state()
    out = np.full((8, len(texts), neural.taxonomy.num_leaves), np.nan)
    for rows, x in neural.iter_dropout_log_proba(texts, passes=8, seed=3):
        out[:, rows] = x
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_allclose(np.exp(out).sum(axis=2), 1, atol=1e-5)
    assert np.ptp(out, axis=0).max() > 0.01 and bald(np.exp(out)).max() > 1e-4
    np.testing.assert_array_equal(neural.predict_log_proba(texts), before)
    again = [x for _, x in neural.iter_dropout_log_proba(texts, passes=8, seed=3)]
    other = [x for _, x in neural.iter_dropout_log_proba(texts, passes=8, seed=4)]
    first = [x for _, x in neural.iter_dropout_log_proba(texts, passes=8, seed=3)]
    assert all(map(np.array_equal, again, first)) and not all(map(np.array_equal, again, other))


def test_no_dropout_no_passes():
    tree = toy_tree()
    model = NeuralClassifier(tree, settings(dropout=0.0, freeze_encoder=True), trainer(epochs=1)).fit(toy_data(tree, 3))
    with pytest.raises(ValueError, match="without dropout"):
        next(model.iter_dropout_log_proba(["alpha"]))


def test_bald_and_vectors_of_a_neural_model(neural, tmp_path):
    path = tmp_path / "rows.csv"
    texts = toy_data(neural.taxonomy, 8, seed=7).texts
    path.write_text("title\n" + "\n".join(texts) + "\n")
    found = chosen(neural, path, 12, "bald", passes=6)
    rest = chosen(neural, path, len(texts), "bald", passes=6)
    assert found.score.min() >= np.sort(rest.score)[-12] - 1e-12 and found.score.max() > 0
    for strategy in ("diverse", "k_center"):
        assert len(set(chosen(neural, path, 12, strategy).row.tolist())) == 12
    assert "no vectors" in chosen(StubClassifier(neural.taxonomy), path, 5, "diverse").notes[0]


# ---------------------------------------------------------------- the command


def test_a_review_becomes_an_audit(sample, call, tmp_path):
    model, run, path, held = sample
    out = tmp_path / "plan.csv"
    code, _, err = call("review", run, path, "-o", out, "-t", "title", "-n", 120, "--strata", "language")
    assert code == 0, err
    assert "120 rows to review" in err and "601 rows; 1 left out" in err and "--audit-stratum-column hjc_stratum" in err
    plan = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert list(plan) == ["title", "language", "hjc_row", "hjc_score", "hjc_inclusion_probability", "hjc_stratum",
                          "hjc_strategy", "hjc_code", "hjc_title", "hjc_proba", "code"]  # fmt: skip
    assert (plan["code"] == "").all() and plan["hjc_row"].astype(int).is_monotonic_increasing
    rows = plan["hjc_row"].astype(int) - 1
    assert [held.texts[i] for i in rows] == [t.replace("\r\n", "\n") for t in plan["title"]]
    plan["code"] = [held.codes[i] for i in rows]
    plan.to_csv(out, index=False)
    code, text, err = call(
        "estimate", path, "--run", run, "-t", "title", "--level", 1, "--audit", out,
        "--audit-inclusion-column", "hjc_inclusion_probability", "--audit-stratum-column", "hjc_stratum",
        "--target", "batch",
    )  # fmt: skip
    assert code == 0, err
    found = pd.read_csv(io.StringIO(text), dtype={"code": str}).query("level == 1").set_index("code")
    truth = pd.Series([model.taxonomy.codes[model.taxonomy.node_path[g, 0]] for g in held.gold]).value_counts() / 600
    off = (found["share"] - truth.reindex(found.index).fillna(0)) / found["se"]
    assert off.abs().max() < 4


def test_command_picks_and_refusals(sample, call, tmp_path):
    _, run, path, _ = sample
    out = tmp_path / "plan.jsonl"
    command = ("review", run, path, "-o", out, "-t", "title", "-n", 10)
    code, _, err = call(*command, "--strategy", "uncertain", "--blind", "--prefix", "m_")
    assert code == 0 and "not for hjc estimate" in err
    plan = pd.read_json(out, lines=True)
    assert len(plan) == 10 and plan["m_inclusion_probability"].isna().all() and "m_code" not in plan
    assert call(*command)[0] == 2  # OUT exists
    code, _, err = call("review", run, path, "-t", "title", "-n", 5, "--answer-column", "title")
    assert code == 2 and "already has 'title'" in err
    assert "standard input" in call("review", run, "-", "-t", "title")[2]
    code, text, _ = call("review", run, path, "-t", "title", "-n", 5, "--strategy", "random")
    assert code == 0 and len(text.splitlines()) == 6
    assert set(PICKS).isdisjoint(SAMPLES)
