"""Known truth, small: what is biased, what is not, and whether 95 % intervals cover 95 % of the time."""

from functools import cache

import numpy as np
import pytest

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.statistics import (
    CodeTotals,
    Confusion,
    change,
    correct_counts,
    difference_estimate,
    em_prior_shift,
    make_audit,
    node_sums,
)

REPETITIONS = 120


@cache
def the_worlds():
    taxonomy = random_taxonomy(17, depth=2, children=(2, 3), top=3, ragged=0)
    world = random_world(taxonomy, 4, kinds=600, sharpness=0.05)  # calibrated: the exact posterior in its own world
    rng = np.random.default_rng(8)
    prior = world.prior * np.exp(rng.normal(size=len(world.prior)))
    kinds = np.exp(world.posterior @ rng.normal(size=len(world.prior)) * 1.5)
    return {"none": world, "prior": world.with_prior(prior), "covariate": world.with_kinds(kinds)}


def repeat(target, estimator):
    """Mean error (N,), rmse, coverage over codes and repetitions of an estimator of (rng, kind, gold)."""
    world = the_worlds()[target]
    truth = node_sums(world.taxonomy, world.leaf_share)
    errors, held = [], []
    for seed in range(REPETITIONS):
        rng = np.random.default_rng(seed)
        kind, gold = world.draw(3000, rng)
        found = estimator(world.taxonomy, the_worlds()["none"], rng, kind, gold)
        low, high = found.interval()
        errors.append(found.share - truth)
        held.append((low <= truth) & (truth <= high))
    e = np.array(errors)
    return e.mean(axis=0), e.std(axis=0) / np.sqrt(REPETITIONS), np.mean(held)


def totals_of(taxonomy, world, kind):
    totals = CodeTotals(taxonomy)
    totals.update(world.table[kind])
    return totals


def counted(taxonomy, source, rng, kind, gold):
    return totals_of(taxonomy, source, kind).classify_and_count()


def summed(taxonomy, source, rng, kind, gold):
    return totals_of(taxonomy, source, kind).summed_probabilities()


def by_confusion(taxonomy, source, rng, kind, gold, which="misclassification"):
    k, g = source.draw(4000, rng)
    confusion = Confusion(taxonomy, 2)
    confusion.update(source.table[k], g)
    return correct_counts(counted(taxonomy, source, rng, kind, gold), confusion, kind=which)


def by_em(taxonomy, source, rng, kind, gold):
    return em_prior_shift(taxonomy, 2, source.table[kind], source.share(2), tolerance=1e-6)


def by_em_with_estimated_prior(taxonomy, source, rng, kind, gold):
    _, g = source.draw(1500, rng)
    prior = np.bincount(taxonomy.level_column[g, 1], minlength=taxonomy.num_leaves) + 0.5
    return em_prior_shift(taxonomy, 2, source.table[kind], prior, prior_rows=1500, tolerance=1e-6)


def by_audit(taxonomy, source, rng, kind, gold, tuned=True, design="random", audit_from="batch"):
    totals = totals_of(taxonomy, source, kind)
    pi, strata = np.full(len(kind), 0.1), None
    if design == "unequal":  # clerks look more often at what the classifier is unsure of
        pi = np.clip(0.02 + 0.25 * (1 - np.exp(source.table[kind].max(axis=1))), 0, 1)
    rows = np.flatnonzero(rng.random(len(kind)) < pi)
    if design == "stratified":
        unsure = source.table[kind].max(axis=1) < np.log(0.6)
        parts = [rng.choice(np.flatnonzero(unsure == u), 150, replace=False) for u in (False, True)]
        rows, strata = np.concatenate(parts), unsure[np.concatenate(parts)]
        pi = np.where(unsure, 150 / unsure.sum(), 150 / (~unsure).sum())
    audit = make_audit(taxonomy, 2, source.table[kind[rows]], gold[rows], inclusion_probability=pi[rows], strata=strata)
    return difference_estimate(totals, audit, tuned=tuned)


def unbiased(mean, error):
    return (np.abs(mean) < 4 * error + 1e-4).all()


def test_classify_and_count_is_biased_even_when_nothing_changed():
    mean, error, coverage = repeat("none", counted)
    assert not unbiased(mean, error) and np.abs(mean).max() > 0.02 and coverage < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("shift", ["none", "covariate"])
def test_calibrated_probabilities_survive_covariate_shift(shift):
    mean, error, coverage = repeat(shift, summed)
    assert unbiased(mean, error) and 0.92 < coverage < 0.98


def test_calibrated_probabilities_do_not_survive_prior_shift():
    mean, _, coverage = repeat("prior", summed)
    assert np.abs(mean).max() > 0.02 and coverage < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [by_confusion, by_em, by_em_with_estimated_prior])
def test_corrections_for_prior_shift_are_right_under_prior_shift(estimator):
    mean, _, coverage = repeat("prior", estimator)
    assert np.abs(mean).max() < 0.006 and 0.92 < coverage < 0.985
    wrong, _, _ = repeat("prior", counted)
    assert np.abs(wrong).max() > 5 * np.abs(mean).max()


@pytest.mark.slow
@pytest.mark.parametrize("design", ["random", "unequal", "stratified"])
@pytest.mark.parametrize("shift", ["none", "prior", "covariate"])
def test_an_audit_is_right_under_every_shift(shift, design):
    def estimator(*parts):
        return by_audit(*parts, design=design)

    mean, error, coverage = repeat(shift, estimator)
    assert unbiased(mean, error) and 0.915 < coverage < 0.985


def test_change_between_two_audited_periods_covers():
    old, new = the_worlds()["none"], the_worlds()["prior"]
    truth = node_sums(old.taxonomy, new.leaf_share - old.leaf_share)
    held = []
    for seed in range(REPETITIONS):
        rng = np.random.default_rng(seed)
        a, b = (by_audit(w.taxonomy, old, rng, *w.draw(3000, rng)) for w in (old, new))
        low, high = change(b, a).interval()
        held.append((low <= truth) & (truth <= high))
    assert 0.92 < np.mean(held) < 0.98
