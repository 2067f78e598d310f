"""How well coders agree: agreement at each level, Cohen's and Fleiss' kappa, Krippendorff's alpha, with intervals.

U units (ads), m coders. Codes are compared at each level of the tree: two codes agree at level 2 when their ancestors
there are the same. A code that ends above a level is missing at it. A coder may give several codes: two coders agree
where they have one in common, in every figure, and by chance as often as two sets drawn as they were used have one
(weighted kappa and alpha with the weight 1 for any common code, 0 for none; Cohen 1968, Passonneau 2006).

Survey weights and strata may be given. Variances are those of the linearised estimate under stratified sampling with
replacement (Binder 1983; as R's ``survey`` does): with z_i the influence of unit i, var = sum over strata h of
n_h / (n_h - 1) sum (z_i - mean_h)^2; a stratum of one unit is centred at the mean of all (``lonely.psu="adjust"``).
Degrees of freedom are units minus strata. Intervals of proportions are of the arcsine of the square root
(``svyciprop(method="asin")``), which reproduces the asymmetry of the paper's Tables 4 and 5; at a proportion of 0 or 1,
where that has no width, Wilson's with Kish's effective size. Kappas have symmetric intervals (``svykappa``), alpha a
stratified bootstrap of units. Independent units are assumed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, stats

from hjc.arrays import Float64, IntArray
from hjc.corpus.copying import write_tables
from hjc.corpus.several import Alike, agreeing, alike_of, common_code, of_level
from hjc.data.codesets import CodeSets
from hjc.metrics.bootstrap import Resamples
from hjc.metrics.intervals import wilson
from hjc.statistics.totals import as_weights
from hjc.taxonomy.tree import Taxonomy

MISSING = -1
#: figures of the table of all coders
OVERALL = ("all_agree", "pairwise", "fleiss", "alpha")


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; ``n`` units it is from. NaN where it is not defined."""

    value: float
    low: float
    high: float
    n: int


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"), 0)


# ---------------------------------------------------------------------------------------------- design


def stratified_se(influence: Float64, strata: IntArray) -> tuple[float, int]:
    """Standard error of the sum of the influences, and degrees of freedom."""
    h = np.unique(strata, return_inverse=True)[1]
    count = np.bincount(h)
    centre = np.where(count > 1, np.bincount(h, influence) / count, influence.mean())
    square = np.bincount(h, (influence - centre[h]) ** 2)
    factor = np.where(count > 1, count / np.maximum(count - 1, 1), 1.0)
    return float(np.sqrt((factor * square).sum())), max(1, len(influence) - len(count))


def proportion(hit: npt.ArrayLike, weights: Float64, strata: IntArray, confidence: float = 0.95) -> Estimate:
    """The weighted share of units where ``hit`` is true, with its interval."""
    x = np.asarray(hit, dtype=np.float64)
    if not len(x) or not weights.sum() > 0:
        return UNDEFINED
    share = weights / weights.sum()
    p = float(np.clip(share @ x, 0, 1))
    if p <= 1e-12 or p >= 1 - 1e-12:
        p = round(p)
        effective = 1 / float(share @ share)  # Kish: rows of equal weight that say as much
        low, high = wilson(p * effective, effective, confidence)
        return Estimate(p, 0.0 if p < 0.5 else low, 1.0 if p > 0.5 else high, len(x))
    se, df = stratified_se(share * (x - p), strata)
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * se / (2 * np.sqrt(p * (1 - p)))
    angle = np.arcsin(np.sqrt(p))
    low, high = max(0.0, angle - half), min(np.pi / 2, angle + half)
    return Estimate(p, float(np.sin(low) ** 2), float(np.sin(high) ** 2), len(x))


# ---------------------------------------------------------------------------------------------- coefficients


def cohen_kappa(
    a: IntArray,
    b: IntArray,
    weights: Float64 | None = None,
    strata: IntArray | None = None,
    confidence: float = 0.95,
    alike: Alike = None,
) -> Estimate:
    """Cohen's kappa (1960) of two coders over the units that both coded; weighted by units, interval by linearisation.

    kappa = (p_o - p_e) / (1 - p_e), p_e the sum over codes of the product of the coders' shares. Undefined where both
    use one and the same code only.
    """
    both = (a != MISSING) & (b != MISSING)
    w, h = _design(len(a), weights, strata)
    a, b, w, h = a[both], b[both], w[both], h[both]
    if not len(a) or not w.sum() > 0:
        return UNDEFINED
    share = w / w.sum()
    codes, both_codes = np.unique(np.r_[a, b], return_inverse=True)
    x, y = both_codes[: len(a)], both_codes[len(a) :]
    of_a, of_b = np.bincount(x, share, len(codes)), np.bincount(y, share, len(codes))
    same = alike_of(alike, codes)
    # d p_e = share_b(a_i) + share_a(b_i) - 2 p_e
    own: Float64 = np.add((same @ of_b)[x], (same @ of_a)[y], dtype=np.float64)
    return _kappa(agreeing(same, x, y), float(of_a @ (same @ of_b)), own, share, h, confidence)


def fleiss_kappa(
    ratings: IntArray,
    weights: Float64 | None = None,
    strata: IntArray | None = None,
    confidence: float = 0.95,
    alike: Alike = None,
) -> Estimate:
    """Fleiss' kappa (1971) over the units that all coders coded. ratings: (U, m), -1 missing; m of 2 or more.

    kappa = (P - P_e) / (1 - P_e): P the mean over units of the share of agreeing pairs of coders, P_e the sum of
    squared shares of codes over all coders.
    """
    w, h = _design(len(ratings), weights, strata)
    full = (ratings != MISSING).all(axis=1)
    (table, same), m = _counts(ratings[full], alike), ratings.shape[1]
    w, h = w[full], h[full]
    if m < 2 or not len(w) or not w.sum() > 0:
        return UNDEFINED
    share = w / w.sum()
    of_code = np.asarray(share @ table).ravel() / m
    own: Float64 = 2 * np.asarray(table @ (same @ of_code)).ravel() / m
    return _kappa(_agreeing(table, same), float(of_code @ (same @ of_code)), own, share, h, confidence)


def _agreeing(table: sparse.csr_matrix, same: sparse.csr_matrix) -> Float64:
    """(U,) share of agreeing pairs of codes of units that have two or more, from their counts (U, C)."""
    m = np.asarray(table.sum(axis=1)).ravel()
    return np.asarray((_pairs(table, same) - m) / (m * (m - 1)))


def _pairs(table: sparse.csr_matrix, same: sparse.csr_matrix) -> Float64:
    """(U,) ordered pairs of codes of a unit that agree, a code with itself among them."""
    return np.asarray(table.multiply(table @ same).sum(axis=1)).ravel()


def _kappa(
    agree: Float64, expected: float, own: Float64, share: Float64, strata: IntArray, confidence: float
) -> Estimate:
    """(P - P_e) / (1 - P_e) with P the weighted mean of ``agree``; ``own``: what each unit adds to twice P_e."""
    if expected >= 1 - 1e-12:
        return UNDEFINED
    observed, drift = float(share @ agree), own - 2 * expected
    influence = share * ((agree - observed) * (1 - expected) - (1 - observed) * drift) / (1 - expected) ** 2
    se, df = stratified_se(influence, strata)
    value, half = (observed - expected) / (1 - expected), float(stats.t.ppf((1 + confidence) / 2, df)) * se
    return Estimate(value, value - half, value + half, len(share))


def krippendorff_alpha(
    ratings: IntArray,
    weights: Float64 | None = None,
    strata: IntArray | None = None,
    confidence: float = 0.95,
    *,
    bootstrap: int = 1000,
    seed: int = 1,
    alike: Alike = None,
) -> Estimate:
    """Krippendorff's alpha for nominal codes with missing values (Content Analysis, 2004, ch. 11). ratings: (U, m).

    alpha = 1 - (n - 1) sum_u D_u / (n^2 - sum_c n_c^2) with D_u = (m_u^2 - sum_c n_uc^2) / (m_u - 1) over the units
    with m_u of 2 or more codes, n_c how often code c is used there and n their sum. Weights are scaled to a mean of 1.
    The interval is of percentiles of alpha over bootstrap samples of units within strata.
    """
    w, h = _design(len(ratings), weights, strata)
    paired = (ratings != MISSING).sum(axis=1) >= 2
    (table, same), w, h = _counts(ratings[paired], alike), w[paired], h[paired]
    if not len(w) or not w.sum() > 0:
        return UNDEFINED
    w = w * len(w) / w.sum()
    m = np.asarray(table.sum(axis=1)).ravel()
    differ = (m**2 - _pairs(table, same)) / (m - 1)

    def alpha(weight: Float64) -> Float64:
        n = weight @ m
        used = np.asarray(weight @ table)
        possible = n**2 - (used * (same @ used.T).T).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(possible > 1e-12, 1 - (n - 1) * (weight @ differ) / possible, np.nan)

    value = float(alpha(w[None])[0])
    if np.isnan(value) or bootstrap < 1:
        return Estimate(value, float("nan"), float("nan"), len(w))
    resamples = Resamples.draw(len(w), bootstrap, seed, strata=h)
    drawn = [alpha(times.T * w) for times in resamples.blocks()]
    low, high = np.nanquantile(np.concatenate(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), len(w))


def _design(n: int, weights: Float64 | None, strata: IntArray | None) -> tuple[Float64, IntArray]:
    h = np.zeros(n, dtype=np.int64) if strata is None else np.asarray(strata, dtype=np.int64)
    if h.shape != (n,):
        raise ValueError(f"strata: got shape {h.shape}, expected ({n},)")
    return as_weights(weights, n), h


def _counts(ratings: IntArray, alike: Alike) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """(U, C) how often each unit got each code, and (C, C) which of these agree."""
    unit, coder = np.nonzero(ratings != MISSING)
    codes, column = np.unique(ratings[unit, coder], return_inverse=True)
    table = sparse.csr_matrix(
        (np.ones(len(unit)), (unit, column.ravel())), shape=(len(ratings), max(1, len(codes))), dtype=np.float64
    )
    return table, alike_of(alike, codes) if len(codes) else sparse.csr_matrix((1, 1))


# ---------------------------------------------------------------------------------------------- the report


@dataclass(frozen=True)
class Agreement:
    """Tables of a multiply-coded sample.

    Attributes:
        pairs: coder_a, coder_b, level, units, agreement, low, high, kappa, kappa_low, kappa_high (the paper's Table 4).
        overall: level, units (coded by all), all_agree, low, high; pairwise (the share of agreeing pairs of codes,
            over units with two or more), low, high; fleiss, low, high; alpha_units, alpha, low, high.
        confusion: coder_a, coder_b, code_a, code_b, units, percent (of the weight of code_a): level 1, the paper's
            Table 6 in long form.
    """

    pairs: pd.DataFrame
    overall: pd.DataFrame
    confusion: pd.DataFrame

    def write(self, directory: Path | str, kind: str = "csv") -> list[Path]:
        """Write ``pairs.csv``, ``overall.csv`` and ``confusion.csv``, or workbooks (xlsx)."""
        tables = {"pairs": self.pairs, "overall": self.overall, "confusion": self.confusion}
        return write_tables(directory, tables, kind)

    def lines(self) -> Iterator[list[str]]:
        """For a terminal: level, units, and each overall figure with its interval."""
        for row in self.overall.to_dict("records"):
            figures = (f"{row[k]:.3f} ({row[f'{k}_low']:.3f}, {row[f'{k}_high']:.3f})" for k in OVERALL)
            yield [str(row["level"]), f"{row['units']:,}", *figures]


def agreement(
    taxonomy: Taxonomy,
    ratings: IntArray,
    coders: Sequence[str] | None = None,
    *,
    weights: Float64 | None = None,
    strata: IntArray | None = None,
    levels: Sequence[int] | None = None,
    confidence: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 1,
    sets: CodeSets | None = None,
) -> Agreement:
    """Agreement of coders at every level.

    Args:
        ratings: (U, m) node numbers of the codes, -1 where a coder gave none.
        coders: m names; None: coders are not known by name (codes of a unit in any order), so that there is nothing
            to say about pairs of them.
        weights: (U,) survey weights. strata: (U,) strata of the sample.
        sets: (U * m) all codes of each unit and coder, those of a unit side by side, where some gave several;
            ``ratings`` are then the first ones, which the table of confusion is of.

    Raises:
        ValueError: shapes do not fit, fewer than two coders, or a number is no node.
    """
    ratings = np.asarray(ratings, dtype=np.int64)
    if ratings.ndim != 2 or ratings.shape[1] < 2:
        raise ValueError(f"ratings: got shape {ratings.shape}, expected (units, coders) with two coders or more")
    if coders is not None and len(coders) != ratings.shape[1]:
        raise ValueError(f"coders: got {len(coders)} names for {ratings.shape[1]} columns of ratings")
    if ratings.size and not (ratings.min() >= MISSING and ratings.max() < len(taxonomy)):
        raise ValueError(f"ratings: allowed are -1 to {len(taxonomy) - 1}, got {ratings.min()} to {ratings.max()}")
    w, h = _design(len(ratings), weights, strata)
    path = np.vstack([taxonomy.node_path, np.full((1, taxonomy.depth), MISSING)])  # the last line is for -1
    pairs, overall = [], []
    for level in levels or range(1, taxonomy.depth + 1):
        at, alike = path[ratings, taxonomy.check_level(level) - 1], None
        if sets is not None:
            number, alike = of_level(taxonomy, sets, level)
            at = number.reshape(ratings.shape)
        same = alike_of(alike, np.arange(len(taxonomy)) if alike is None else np.arange(alike.shape[0]))
        for i, j in combinations(range(at.shape[1]), 2) if coders is not None else ():
            both = (at[:, i] != MISSING) & (at[:, j] != MISSING)
            share = proportion(agreeing(same, at[both, i], at[both, j]), w[both], h[both], confidence)
            kappa = cohen_kappa(at[:, i], at[:, j], w, h, confidence, alike)
            pairs.append((coders[i], coders[j], level, share.n, *_three(share), *_three(kappa)))  # type: ignore[index]
        full = (at != MISSING).all(axis=1)
        agree = (at[full] == at[full, :1]).all(axis=1) if sets is None else common_code(taxonomy, sets, level, full)
        everyone = proportion(agree, w[full], h[full], confidence)
        alpha = krippendorff_alpha(at, w, h, confidence, bootstrap=bootstrap, seed=seed, alike=alike)
        overall.append(
            (level, everyone.n, *_three(everyone), *_three(_pairwise(at, w, h, confidence, alike)),
             *_three(fleiss_kappa(at, w, h, confidence, alike)), alpha.n, *_three(alpha))
        )  # fmt: skip
    names = ["agreement", "low", "high", "kappa", "kappa_low", "kappa_high"]
    columns = ["level", "units", "all_agree", "all_agree_low", "all_agree_high", "pairwise", "pairwise_low",
               "pairwise_high", "fleiss", "fleiss_low", "fleiss_high", "alpha_units", "alpha", "alpha_low",
               "alpha_high"]  # fmt: skip
    return Agreement(
        pairs=pd.DataFrame(pairs, columns=["coder_a", "coder_b", "level", "units", *names]),
        overall=pd.DataFrame(overall, columns=columns),
        confusion=_confusion(taxonomy, path[ratings, 0], coders, w),
    )


def _three(e: Estimate) -> tuple[float, float, float]:
    return e.value, e.low, e.high


def _pairwise(at: IntArray, w: Float64, h: IntArray, confidence: float, alike: Alike) -> Estimate:
    """The mean over units with two codes or more of the share of agreeing pairs."""
    several = (at != MISSING).sum(axis=1) >= 2
    if not several.any():
        return UNDEFINED
    return proportion(_agreeing(*_counts(at[several], alike)), w[several], h[several], confidence)


def _confusion(taxonomy: Taxonomy, at: IntArray, coders: Sequence[str] | None, w: Float64) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    coders = coders if coders is not None else ()
    at = at if coders else at[:, :0]
    for i, j in combinations(range(at.shape[1]), 2):
        both = (at[:, i] != MISSING) & (at[:, j] != MISSING)
        frame = pd.DataFrame({"a": at[both, i], "b": at[both, j], "w": w[both]})
        cells = frame.groupby(["a", "b"])["w"].agg(units="size", weight="sum").reset_index()
        cells["percent"] = 100 * cells["weight"] / cells.groupby("a")["weight"].transform("sum")
        for code_a, code_b, units, percent in cells[["a", "b", "units", "percent"]].to_numpy().tolist():
            names = taxonomy.codes[int(code_a)], taxonomy.codes[int(code_b)]
            rows.append((coders[i], coders[j], *names, int(units), percent))
    return pd.DataFrame(rows, columns=["coder_a", "coder_b", "code_a", "code_b", "units", "percent"])


def ratings_from_long(
    taxonomy: Taxonomy, units: Sequence[str], coders: Sequence[str] | None, codes: Sequence[str]
) -> tuple[IntArray, list[str], list[str], list[str]]:
    """A line for each unit and coder -> (U, m) ratings, the units, the coders, and codes that are not in the taxonomy.

    Without coders the codes of a unit fill its columns in their order. Unknown and empty codes count as missing.

    Raises:
        ValueError: a coder has two different codes for a unit.
    """
    names = list(dict.fromkeys(units))
    place = {unit: i for i, unit in enumerate(names)}
    if coders is None:
        column = (
            pd.Series(list(units), dtype=object).groupby(list(units), sort=False).cumcount().tolist() if names else []
        )
        people = [str(i + 1) for i in range(max(column, default=-1) + 1)]
    else:
        people = sorted(set(coders))
        number = {name: i for i, name in enumerate(people)}
        column = [number[name] for name in coders]
    ratings = np.full((len(names), len(people)), MISSING, dtype=np.int64)
    unknown: dict[str, None] = {}
    for unit, at, code in zip(units, column, codes, strict=True):
        if not code:
            continue
        if (node := taxonomy.index_of.get(code)) is None:
            unknown[code] = None
            continue
        if ratings[place[unit], at] not in (MISSING, node):
            raise ValueError(f"unit {unit!r}: coder {people[at]!r} gave it two codes; keep one")
        ratings[place[unit], at] = node
    return ratings, names, people, list(unknown)
