"""The sampling and splitting rules of Beręsewicz et al. (Multilingual hierarchical classification of job
advertisements for job vacancy statistics), each as a function. n rows, H strata.

The paper says of sizes only that they are rounded to the nearest integer. Halves are rounded to the even neighbour
here (``halves="even"``), as R's ``round`` does, in which the paper's samples were drawn; ``halves="up"`` rounds them
away from zero. The products are exact (0.7 x 45 is 31.5, though not in floating point). At the paper's fraction of
0.2 no half occurs: 0.2 x N is never an integer and a half.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.data.splitting import TEST, TRAIN, inclusion_probabilities

#: upper bounds of the paper's Table 2, in characters: [0, 50], (50, 100], (100, 200] ... (400, 500], above 500
CHARACTER_BINS = (50, 100, 200, 300, 400, 500)
HALVES = ("even", "up")


def nearest(fraction: float, counts: npt.ArrayLike, *, halves: str = "even") -> IntArray:
    """(H,) ``fraction`` x ``counts`` rounded to the nearest integer, halves to the even neighbour or up.

    Exact: the fraction is read as the decimal that it is written as.
    """
    if halves not in HALVES:
        raise ValueError(f"halves: got {halves!r}, allowed are {', '.join(HALVES)}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction: got {fraction}, allowed are 0 to 1")
    share = Fraction(str(fraction)).limit_denominator(10**9)
    whole, rest = np.divmod(np.asarray(counts, dtype=np.int64) * share.numerator, share.denominator)
    up = (2 * rest > share.denominator) | ((2 * rest == share.denominator) & ((halves == "up") | (whole % 2 == 1)))
    return np.asarray(whole + up, dtype=np.int64)


def strata_of(*columns: Sequence[Hashable] | npt.NDArray[np.generic]) -> IntArray:
    """(n,) number 0..H-1 of the combination of values that each row has, in the order of the sorted combinations.

    Raises:
        ValueError: columns of different lengths, or none.
    """
    if not columns:
        raise ValueError("strata_of: got no columns, at least one is needed")
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"strata_of: got columns of {', '.join(str(len(c)) for c in columns)} rows; all need as many")
    number = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values = np.asarray(column, dtype=object) if not isinstance(column, np.ndarray) else column
        codes, distinct = pd.factorize(values, sort=True, use_na_sentinel=False)
        number = np.unique(number * max(1, len(distinct)) + codes, return_inverse=True)[1].astype(np.int64)
    return number


def length_bins(lengths: npt.ArrayLike, bounds: Sequence[int] = CHARACTER_BINS) -> IntArray:
    """(n,) bin of each length: 0 up to and with the first bound, then (bound, next bound], last above all bounds."""
    return np.searchsorted(np.asarray(bounds), np.asarray(lengths), side="left").astype(np.int64)


def count_characters(texts: Sequence[str]) -> IntArray:
    """(n,) characters (code points, as R's nchar counts)."""
    return np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))


def count_words(texts: Sequence[str]) -> IntArray:
    """(n,) words: runs of characters between blanks."""
    return np.fromiter((len(text.split()) for text in texts), dtype=np.int64, count=len(texts))


def draw_in_strata(stratum: IntArray, sizes: npt.ArrayLike, seed: int = 1) -> BoolArray:
    """(n,) simple random samples without replacement of ``sizes[h]`` rows from each stratum h.

    Raises:
        ValueError: a size is negative or larger than its stratum, or there are not H sizes.
    """
    count = np.bincount(stratum) if len(stratum) else np.zeros(0, np.int64)
    size = np.asarray(sizes, dtype=np.int64)
    if size.shape != count.shape or (size < 0).any() or (size > count).any():
        raise ValueError("sizes: each stratum needs one, from 0 to the rows that it has")
    shuffled = np.random.default_rng(seed).permutation(len(stratum))
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]  # by stratum, within it by chance
    place = np.arange(len(stratum)) - np.repeat(np.cumsum(count) - count, count)
    mask = np.zeros(len(stratum), dtype=bool)
    mask[order] = place < np.repeat(size, count)
    return mask


def stratified_sample(
    stratum: IntArray, fraction: float, *, minimum: int = 1, halves: str = "even", seed: int = 1
) -> BoolArray:
    """(n,) rows drawn: from each stratum of N_h rows a simple random sample of max(minimum, round(fraction x N_h)).

    (Section 4.2 of the paper, with minimum 1.) A stratum with fewer rows than the minimum is taken whole.
    """
    count = np.bincount(stratum) if len(stratum) else np.zeros(0, np.int64)
    return draw_in_strata(
        stratum, np.minimum(count, np.maximum(minimum, nearest(fraction, count, halves=halves))), seed
    )


def design_weights(stratum: IntArray, drawn: BoolArray) -> Float64:
    """(n,) N_h / n_h for the rows drawn, 0 for the others; they add up to n over strata of which anything was drawn."""
    total, taken = np.bincount(stratum), np.bincount(stratum[drawn], minlength=int(stratum.max(initial=-1)) + 1)
    return np.where(drawn, (total / np.maximum(taken, 1))[stratum], 0.0)


def split_by_source_and_code(
    codes: Sequence[str],
    sources: Sequence[str],
    *,
    train_fraction: float = 0.7,
    train_only: Collection[str] = (),
    halves: str = "even",
    seed: int = 1,
) -> IntArray:
    """(n,) :data:`~hjc.data.splitting.TRAIN` or :data:`~hjc.data.splitting.TEST`: the paper's split (section 5.2).

    Rule: 1. Rows of all sources but those in ``train_only`` (official dictionary, thesaurus) form strata of source x
    code. 2. A stratum's training size is round(0.7 x N_h). 3. Strata of one row test. 4. From larger strata that many
    rows, drawn by simple random sampling, train and the others test. 5. Training is these and the sources of
    ``train_only``. 6. The test is the rows of steps 3 and 4.

    Equal texts may stand on both sides; :func:`hjc.data.splitting.split_rows` has a split that keeps groups together.

    Raises:
        ValueError: a row has no code, or a source of ``train_only`` does not occur.
    """
    if len(codes) != len(sources):
        raise ValueError(f"split: got {len(codes)} codes and {len(sources)} sources")
    if missing := sum(not code for code in codes):
        raise ValueError(f"split: {missing:,} rows have no code; leave them out first")
    if unknown := sorted(set(train_only) - set(sources)):
        raise ValueError(f"train_only: no row is of source {unknown[0]!r}; sources are {sorted(set(sources))[:20]}")
    side = np.full(len(codes), TRAIN, dtype=np.int64)
    kept = frozenset(train_only)
    dealt = np.flatnonzero([source not in kept for source in sources])
    if not dealt.size:
        return side
    stratum = strata_of([sources[i] for i in dealt.tolist()], [codes[i] for i in dealt.tolist()])
    count = np.bincount(stratum)
    size = np.where(count == 1, 0, nearest(train_fraction, count, halves=halves))
    side[dealt[~draw_in_strata(stratum, size, seed)]] = TEST
    return side


def hold_out(
    codes: Sequence[str], training: BoolArray, eligible: BoolArray, fraction: float, seed: int = 1
) -> BoolArray:
    """(n,) rows of training to validate on: round(fraction x eligible) of the eligible training rows, by chance.

    The last training row of a code is never taken, so fewer may come out. (The paper does not say how it validated;
    its dictionary and thesaurus are not what the classifier will see, so they should not be ``eligible``.)
    """
    rows = np.flatnonzero(training & eligible)
    left = Counter(codes[i] for i in np.flatnonzero(training).tolist())
    wanted, out = int(nearest(fraction, [len(rows)])[0]), np.zeros(len(codes), dtype=bool)
    for i in np.random.default_rng(seed).permutation(rows).tolist():
        if wanted and left[codes[i]] > 1:
            left[codes[i]] -= 1
            wanted -= 1
            out[i] = True
    return out


def systematic_pps(sizes: npt.ArrayLike, n: int, seed: int = 1) -> tuple[BoolArray, Float64]:
    """Systematic sampling with probability proportional to size: rows drawn (N,) and inclusion probabilities (N,).

    The paper drew its 10,000 hand-coded ads so, with characters as size, within strata of keyword x words
    (section 4.3.1). Units whose probability would exceed 1 are taken with certainty and the rest is dealt again
    (Tillé 2006, Sampling Algorithms, section 2.10); then every unit step along the cumulated probabilities from a
    random start draws one row, in the order given (sort by what should be spread evenly).

    Raises:
        ValueError: a size is negative, or n is larger than the number of positive sizes.
    """
    size = np.asarray(sizes, dtype=np.float64)
    if (size < 0).any() or not np.isfinite(size).all():
        raise ValueError("sizes: got a negative or not finite value, allowed are numbers from 0")
    if not 0 <= n <= int((size > 0).sum()):
        raise ValueError(f"n: got {n}, allowed are 0 to {int((size > 0).sum())}, the rows with a positive size")
    probability = inclusion_probabilities(size, n)
    drawn = probability >= 1
    draw = ~drawn & (probability > 0)
    steps = np.floor(np.r_[0.0, np.cumsum(probability[draw])] + np.random.default_rng(seed).random() + 1e-12)
    drawn[np.flatnonzero(draw)[np.diff(steps) > 0]] = True
    return drawn, probability
