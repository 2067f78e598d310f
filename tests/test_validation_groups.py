"""Stored validation outcomes by group: Mondrian thresholds, RAPS, what an older file lacks, rows behind the prior."""

import dataclasses
import math

import numpy as np
import pytest

from hjc.classifiers.storage import ModelDirError
from hjc.data import JobData
from hjc.decision.conformal import conformal_quantile, level_scores
from hjc.evaluation.validation import describe_validation, variant_scores
from hjc.evaluation.validation_scores import ValidationScores
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.rows import path_scores
from tests.stub_classifier import StubClassifier
from tests.test_validation import MODEL, TREE, rows

N = 1200
LANGUAGE = tuple("pl" if i % 4 else "en" for i in range(N - 3)) + ("mt",) * 3


@pytest.fixture(scope="module")
def valid():
    plain = rows(N)
    return JobData.from_lists(TREE, plain.texts, [TREE.codes[g] for g in plain.gold], languages=LANGUAGE)


@pytest.fixture(scope="module")
def x(valid):
    return MODEL.predict_log_proba(valid.texts)


@pytest.fixture(scope="module")
def scores(valid):
    return describe_validation(MODEL, valid).scores


@pytest.mark.parametrize("by", ["language", "group"])
def test_thresholds_by_group_are_those_of_the_probabilities(by, valid, x, scores):
    names = (
        LANGUAGE if by == "language" else [TREE.codes[i] for i in TREE.level_nodes(1)[TREE.aggregate(x, 1).argmax(1)]]
    )
    assert scores.groups(by) == tuple(names)
    levels = LevelProba.of(TREE, x)

    def wanted(values, alpha):
        each = {f"={g}": conformal_quantile(values[np.array(names) == g], alpha) for g in set(names)}
        return {"": conformal_quantile(values, alpha), **{g: q for g, q in each.items() if math.isfinite(q)}}

    for level, score in ((1, "lac"), (2, "aps"), (2, "raps")):
        found = scores.conformal_sets(level, 0.1, score=score, by=by)
        all_codes = level_scores(levels.at(level), score, found.penalty, found.free)
        quantiles = wanted(all_codes[np.arange(N), TREE.level_column[valid.gold, level - 1]], 0.1)
        assert found.quantiles == pytest.approx(quantiles, abs=1e-6)
        assert "=mt" not in found.quantiles  # three rows cannot show 90 %
        need = np.array([quantiles.get(f"={g}", quantiles[""]) for g in names])[:50]
        inside = found.inside(levels.at(level)[:50], need)
        for slack, compare in ((-1e-5, np.greater_equal), (1e-5, np.less_equal)):
            assert compare(inside, all_codes[:50] <= need[:, None] + slack).all()
        np.testing.assert_array_equal(found.sets(x[:50], names[:50]).sizes, np.maximum(inside.sum(axis=1), 1))
    own = path_scores(TREE, levels.path, levels.path_proba, valid.gold)
    assert scores.conformal_node(0.2, by=by).quantiles == pytest.approx(wanted(own, 0.2), abs=1e-6)


def test_a_group_has_a_threshold_from_the_rows_that_its_promise_needs():
    for alpha in (0.01, 0.05, 0.1, 0.15, 0.2, 1 / 3, 0.5, 0.9):
        n = max(math.ceil(1 / alpha - 1e-9) - 1, 1)
        assert math.isfinite(conformal_quantile(np.zeros(n), alpha))
        assert n == 1 or not math.isfinite(conformal_quantile(np.zeros(n - 1), alpha))


def test_what_is_not_there_is_said(tmp_path, scores):
    with pytest.raises(ValueError, match="allowed are language, group"):
        scores.groups("region")
    with pytest.raises(ValueError, match="allowed are lac, aps, raps"):
        scores.conformal_sets(1, 0.1, score="thr")
    without = ValidationScores(TREE, scores.gold, scores.weight, scores.variants)
    with pytest.raises(ValueError, match="languages of the validation rows are not known"):
        without.conformal_node(0.1, by="language")
    older = {k: dataclasses.replace(v, ranked=False, mean_square=None) for k, v in scores.variants.items()}
    StubClassifier(TREE).save_pretrained(tmp_path)
    path = ValidationScores(TREE, scores.gold, scores.weight, older).save(tmp_path)
    with np.load(path) as stored:
        arrays = {k: stored[k] for k in stored.files if k not in ("language", "content_sha256")}
    np.savez(path, **arrays)
    back = ValidationScores.load(tmp_path, TREE)
    assert back.language == () and back.prior_rows(2) == N
    assert back.conformal_sets(2, 0.1).quantiles == pytest.approx(scores.conformal_sets(2, 0.1).quantiles)
    np.testing.assert_array_equal(back.outcomes().correct, scores.outcomes().correct)
    with pytest.raises(ValueError, match="older hjc"):
        back.conformal_sets(2, 0.1, score="raps")
    np.savez(path, **{k: v for k, v in arrays.items() if k != "raw_path"})
    with pytest.raises(ModelDirError, match="truncated or altered"):
        ValidationScores.load(tmp_path, TREE)


def test_a_mean_of_probabilities_is_worth_more_rows_than_labels(valid, x, scores):
    for level in (1, 2):
        p = np.exp(TREE.aggregate(x, level).astype(float))
        prior = scores.prior(level)
        expected = N * (prior * (1 - prior)).sum() / ((p - p.mean(axis=0)) ** 2).mean(axis=0).sum()
        assert scores.prior_rows(level) == pytest.approx(expected, rel=1e-4) and expected > N
    hot = np.where(np.arange(TREE.num_leaves) == x.argmax(axis=1)[:, None], 0.0, -np.inf).astype(np.float32)
    batches = [(np.arange(N), hot)]
    sure = {"raw": variant_scores(TREE, batches, valid.gold, np.ones(N))}  # one-hot probabilities are labels
    assert ValidationScores(TREE, valid.gold, np.ones(N), sure).prior_rows(2) == pytest.approx(N, rel=1e-6)
