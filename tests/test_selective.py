"""Risk-coverage curves against loops; automation rates; bands that cover."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.decision.selective import aurc, resampled_rates, risk_coverage, risk_coverage_band, selective_table
from hjc.metrics import Resamples, score_batches


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_curve_and_area_by_loops(seed, n, ties):
    rng = np.random.default_rng(seed)
    c = rng.integers(0, 4, n) / 4 if ties else rng.random(n)
    y, w = rng.random(n) < 0.7, rng.uniform(0.1, 2, n)
    curve = risk_coverage(c, y, w)
    assert curve.coverage[-1] == pytest.approx(1)
    for t, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        stated = c >= t
        assert coverage == pytest.approx(w[stated].sum() / w.sum())
        assert risk == pytest.approx(np.average(~y[stated], weights=w[stated]))
    if not ties:  # mean over rows of the risk of coding down to them
        plain = np.average([np.average(~y[c >= t], weights=w[c >= t]) for t in c], weights=w)
        assert aurc(c, y, w) == pytest.approx(plain)
        assert aurc(c, y, w, excess=True) >= -1e-9
    for target in (0.5, 0.8, 0.95):
        options = [w[c >= t].sum() / w.sum() for t in c if np.average(y[c >= t], weights=w[c >= t]) >= target - 1e-12]
        assert curve.at_accuracy(target) == pytest.approx(max(options, default=0.0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
@example(1768, 4)  # wrong rows of different weight, the heavier one first
def test_the_perfect_order_is_the_best_of_all_orders(seed, n):
    rng = np.random.default_rng(seed)
    rng.random(n)
    y, w = rng.random(n) < 0.7, rng.uniform(0.1, 2, n)
    areas = [aurc(np.array(order, float), y, w) for order in itertools.permutations(range(n))]
    assert aurc(np.arange(n, dtype=float), y, w, excess=True) == pytest.approx(areas[0] - min(areas), abs=1e-12)


def test_area_with_ties_is_the_mean_over_their_orders():
    rng = np.random.default_rng(0)
    c = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    y = np.array([True, False, True, True, False])
    areas = []
    for _ in range(4000):
        shuffled = c + rng.random(5) * 1e-6
        areas.append(aurc(shuffled, y))
    assert aurc(c, y) == pytest.approx(np.mean(areas), abs=0.005)


def test_perfect_order_has_no_excess_and_no_information_has_the_error_rate():
    rng = np.random.default_rng(1)
    y = rng.random(2000) < 0.8
    assert aurc(y.astype(float), y, excess=True) == pytest.approx(0, abs=1e-9)
    assert aurc(np.zeros(2000), y) == pytest.approx(1 - y.mean())


@pytest.mark.slow
def test_bands_cover_the_truth_and_infinitely_many_steps_are_the_rows():
    """c uniform, right with probability 0.5 + 0.5 c: at 90 % accuracy the true rate is 0.4."""
    held, rates = 0, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        c = rng.random(1000)
        y = rng.random(1000) < 0.5 + 0.5 * c
        drawn, _ = resampled_rates(c, y, Resamples.draw(1000, 200, seed), (0.9,))
        low, high = np.quantile(drawn[:, 0], [0.025, 0.975])
        held += low <= 0.4 <= high
        rates.append(risk_coverage(c, y).at_accuracy(0.9))
    assert held >= 88 and abs(np.mean(rates) - 0.4) < 0.08
    with pytest.raises(ValueError, match="at least one row"):
        risk_coverage([], [])


@settings(max_examples=30, deadline=None)
@example(8895, 13, True)
@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans())
def test_a_resample_is_the_rows_as_often_as_they_were_drawn(seed, n, ties):
    rng = np.random.default_rng(seed)
    c = rng.integers(0, 4, n) / 4 if ties else rng.random(n)
    y = rng.random(n) < 0.7
    resamples = Resamples.draw(n, 3, seed, groups=rng.integers(-1, 5, n))
    rates, areas = resampled_rates(c, y, resamples, (0.5, 0.9))
    for j in range(3):
        times = resamples.counts[resamples.unit, j].astype(int)
        drawn = np.repeat(np.arange(n), times if times.any() else 1)
        curve = risk_coverage(c[drawn], y[drawn])
        assert rates[j].tolist() == pytest.approx([curve.at_accuracy(t) for t in (0.5, 0.9)])
        assert areas[j] == pytest.approx(aurc(c[drawn], y[drawn]), abs=1e-9)


def test_tables_of_levels_and_bands_for_plots():
    taxonomy = random_taxonomy(6)
    world = random_world(taxonomy, 0, sharpness=0.1)
    kind, gold = world.draw(1500, np.random.default_rng(0))
    outcomes = score_batches(taxonomy, world.table[kind], gold)
    table = selective_table(taxonomy, outcomes, resamples=Resamples.draw(1500, 60))
    assert table.level.tolist() == list(range(1, taxonomy.depth + 1))
    assert (table["automation@0.9"] >= table["automation@0.95"]).all()
    assert (table.aurc_low <= table.aurc).all() and (table.aurc <= table.aurc_high).all()
    band = risk_coverage_band(*outcomes.level(1), replicates=60)
    assert (band.low <= band.risk + 1e-9).mean() > 0.95 and (band.risk <= band.high + 1e-9).mean() > 0.95
    assert band.risk.iloc[-1] == pytest.approx(1 - outcomes.level(1)[1].mean())
