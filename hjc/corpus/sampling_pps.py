"""Samples with unequal, known probabilities: systematic with probability proportional to size, and by phrases."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.corpus.sampling import systematic_pps
from hjc.errors import check_choice, check_range

#: upper bounds of the groups by number of words of section 4.3.1: [1, 10], (10, 25] ... (200, 300], above 300
WORD_BINS = (10, 25, 50, 100, 150, 200, 300)
ALLOCATIONS = ("measure", "rows", "equal")
#: the group of texts that no keyword is found in
OTHER = "other"


def compile_pattern(text: str, where: str) -> re.Pattern[str]:
    """A search phrase: a regular expression, whatever the case. Raises ValueError where it is none."""
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{where}: {text!r} is no regular expression ({error})") from None


def keyword_groups(texts: Sequence[str], groups: Sequence[tuple[str, str]]) -> list[str]:
    """(n,) the first group, in the order given, whose pattern occurs in a text, or :data:`OTHER`.

    Args:
        groups: names and regular expressions; a name may stand more than once.

    Raises:
        ValueError: no group, or a pattern that is no regular expression.
    """
    if not groups:
        raise ValueError("keyword groups: got none, expected at least one name with its pattern")
    patterns = [(name, compile_pattern(pattern, f"keywords of {name}")) for name, pattern in groups]
    return [next((name for name, found in patterns if found.search(text)), OTHER) for text in texts]


def allocate(shares: npt.ArrayLike, most: npt.ArrayLike, n: int) -> IntArray:
    """(H,) sizes that add up to n, in proportion to ``shares``, one at least and ``most`` at most in each stratum.

    What a full stratum cannot take goes to the others in proportion; the last ones by the largest remainder (Hamilton).
    A stratum of which nothing can be drawn (``most`` 0) gets 0.

    Raises:
        ValueError: n is below the number of strata or above what there is.
    """
    share, limit = np.asarray(shares, dtype=np.float64), np.asarray(most, dtype=np.int64)
    some = limit > 0
    if not int(some.sum()) <= n <= int(limit.sum()):
        none = "" if some.any() else ": no row has a size above 0"
        raise ValueError(
            f"n (--size): got {n:,}; allowed are {int(some.sum()):,} (one from each stratum) to {int(limit.sum()):,} "
            f"(all rows of a positive size){none}"
        )
    lower, free = some.astype(np.int64), some.copy()
    size = some.astype(np.float64)
    while free.any():
        left = n - size[~free].sum()
        wanted = left * share / share[free].sum() if share[free].sum() > 0 else np.where(free, left / free.sum(), 0)
        low, high = free & (wanted < lower), free & (wanted > limit)
        if not (low.any() or high.any()):
            size[free] = wanted[free]
            break
        # the side that is further out is settled first, so that what is left stays possible
        short, over = (lower - wanted)[low].sum(), (wanted - limit)[high].sum()
        settled = low if short > over or not high.any() else high
        size[settled] = np.where(low, lower, limit)[settled]
        free &= ~settled
    whole = np.floor(size + 1e-9).astype(np.int64)
    order = np.argsort(-(size - whole), kind="stable")
    whole[order[: n - int(whole.sum())]] += 1
    return whole


@dataclass(frozen=True)
class Drawn:
    """A sample of n rows: which (n,), with which probability each could have been drawn (n,), 0 where it could not."""

    rows: BoolArray
    probability: Float64

    @property
    def weights(self) -> Float64:
        """(n,) 1 / probability of the rows drawn, 0 of others."""
        return np.where(self.rows, 1 / np.maximum(self.probability, 1e-300), 0.0)


def stratified_pps(
    sizes: npt.ArrayLike, stratum: IntArray, n: int, *, allocation: str = "measure", seed: int = 1
) -> Drawn:
    """Systematic sampling with probability proportional to size within strata (section 4.3.1 of the paper).

    The paper does not say how its 10,002 ads were shared among strata. ``measure``: in proportion to the summed size,
    so that probabilities are proportional to size over all rows; ``rows``: to the number of rows; ``equal``. Every
    stratum gets one row at least.

    Args:
        sizes: (n,) characters, or any measure from 0; rows of size 0 cannot be drawn.

    Raises:
        ValueError: unknown allocation, a negative size, or an n that the strata do not allow.
    """
    check_choice("allocation", allocation, ALLOCATIONS)
    size, h = np.asarray(sizes, dtype=np.float64), np.asarray(stratum, dtype=np.int64)
    if not (np.isfinite(size) & (size >= 0)).all():
        raise ValueError("sizes: got a negative or not finite value, allowed are numbers from 0")
    strata = int(h.max(initial=-1)) + 1
    able = size > 0
    most = np.bincount(h[able], minlength=strata)
    shares = {
        "measure": np.bincount(h, size, minlength=strata),
        "rows": most.astype(np.float64),
        "equal": np.ones(strata),
    }[allocation]
    wanted = allocate(shares, most, n)
    rows, probability = np.zeros(len(size), dtype=bool), np.zeros(len(size))
    order = np.argsort(h, kind="stable")
    for number, here in enumerate(np.split(order, np.cumsum(np.bincount(h, minlength=strata))[:-1])):
        rows[here], probability[here] = systematic_pps(size[here], int(wanted[number]), seed + number)
    return Drawn(rows, probability)


@dataclass(frozen=True)
class ByPhrases:
    """A sample by search phrases, with a line a phrase as in the paper's Table 16.

    Attributes:
        drawn: the rows. phrase: (n,) the phrases that drew each, in their order.
        wanted, found, taken: (P,) rows asked for, rows that hold the phrase, rows drawn by it.
    """

    drawn: Drawn
    phrase: list[list[int]]
    wanted: IntArray
    found: IntArray
    taken: IntArray


def sample_by_phrases(
    texts: Sequence[str], phrases: Sequence[tuple[str, int]], *, unique: bool = True, seed: int = 1
) -> ByPhrases:
    """Of the texts that hold each phrase a simple random sample of the size given, all of them where they are fewer.

    Phrases draw independently, so a text that holds several can be drawn by any: its probability is
    1 - product of (1 - n_p / N_p) over them, and the sample may have fewer rows than the sizes add up to. Texts that
    hold no phrase have no chance: what is estimated is about texts with one.

    Args:
        phrases: regular expressions, whatever the case, and sizes from 1. unique: of equal texts the first counts.

    Raises:
        ValueError: no phrase, a pattern that is no regular expression, or a size below 1.
    """
    if not phrases:
        raise ValueError("phrases: got none, expected at least one with its number of rows")
    able = np.ones(len(texts), dtype=bool)
    if unique:
        seen: set[str] = set()
        able = np.array([text not in seen and not seen.add(text) for text in texts], dtype=bool)  # type: ignore[func-returns-value]
    rng = np.random.default_rng(seed)
    rows, missed = np.zeros(len(texts), dtype=bool), np.ones(len(texts))
    by: list[list[int]] = [[] for _ in texts]
    found, taken = [], []
    for number, (pattern, size) in enumerate(phrases):
        check_range(f"rows for {pattern!r}", size, size >= 1, "whole numbers from 1")
        phrase = compile_pattern(pattern, "phrases")
        here = np.flatnonzero(able & np.array([phrase.search(text) is not None for text in texts], dtype=bool))
        drawn = rng.choice(here, min(size, len(here)), replace=False)
        missed[here] *= 1 - min(size, len(here)) / max(len(here), 1)
        rows[drawn] = True
        for row in drawn.tolist():
            by[row].append(number)
        found.append(len(here))
        taken.append(len(drawn))
    sizes = np.array([size for _, size in phrases], dtype=np.int64)
    return ByPhrases(Drawn(rows, 1 - missed), by, sizes, np.array(found), np.array(taken))
