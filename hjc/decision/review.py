"""Which rows should a clerk look at: plans with known inclusion probabilities, and scores for active learning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from hjc.arrays import Float64, IntArray
from hjc.data.splitting import inclusion_probabilities

METHODS = ("random", "uncertain", "proportional", "stratified")


@dataclass(frozen=True)
class ReviewPlan:
    """Rows to review: positions (m,), the probability with which each had been drawn (m,), its stratum (m,).

    ``for_estimation`` is False for a plan that picks rows for their score alone: rows that could not have been picked
    are unlike those that were, and no weighting mends that. Give rows, inclusion_probability and stratum to
    :func:`hjc.statistics.make_audit` otherwise.
    """

    rows: IntArray
    inclusion_probability: Float64
    stratum: npt.NDArray[Any]
    for_estimation: bool


def review_plan(
    uncertainty: npt.ArrayLike,
    n: int,
    method: str = "stratified",
    *,
    strata: Sequence[Any] | None = None,
    bands: int = 3,
    floor: float = 0.1,
    seed: int = 0,
) -> ReviewPlan:
    """Choose n of N rows.

    - "random": simple random sampling; honest estimates, nothing more.
    - "uncertain": the n most uncertain rows; best for learning, useless for estimates.
    - "proportional": systematic sampling with probability proportional to uncertainty (Sarndal et al. 1992, section
      3.6.2), none below ``floor`` of the mean size; good for both.
    - "stratified": strata (given ones crossed with ``bands`` equal-mass bands of uncertainty) with Neyman's (1934)
      allocation, size times standard deviation sqrt(u (1 - u)) of an error of probability u, and at least two rows in
      each stratum where n allows: precise estimates everywhere and still more rows where errors are.

    Args:
        uncertainty: (N,) from 0 to 1, 1 - probability of the stated code at the level in question.
        strata: (N,) predicted major group, language, region...

    Raises:
        ValueError: unknown method, n outside 1..N, or uncertainty outside 0..1.
    """
    u = np.asarray(uncertainty, dtype=np.float64)
    if u.ndim != 1 or not ((u >= 0) & (u <= 1)).all():
        raise ValueError("uncertainty: expected one number from 0 to 1 for each row (1 - probability of the code)")
    if not 1 <= n <= len(u):
        raise ValueError(f"n: got {n}, allowed are 1 to {len(u)} rows")
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}, allowed are {list(METHODS)}")
    if strata is not None and len(strata) != len(u):
        raise ValueError(f"strata: got {len(strata)} for {len(u)} rows")
    rng = np.random.default_rng(seed)
    pi, stratum = np.full(len(u), n / len(u)), np.full(len(u), "", dtype=object)
    if method == "random":
        rows = rng.choice(len(u), n, replace=False)
    elif method == "uncertain":
        rows, pi = np.argsort(-u, kind="stable")[:n], np.ones(len(u))
    elif method == "proportional":
        pi = inclusion_probabilities(np.maximum(u, floor * max(u.mean(), 1e-12)), n)
        rows = systematic(pi, rng)
    else:
        rows, pi, stratum = _stratified(u, n, strata, bands, rng)
    rows = np.sort(rows)
    return ReviewPlan(rows, pi[rows], stratum[rows], method != "uncertain")


def systematic(pi: Float64, rng: np.random.Generator) -> IntArray:
    """Systematic sampling in random order: exactly round(sum pi) rows, row i with probability pi_i."""
    order = rng.permutation(len(pi))
    upto = np.cumsum(pi[order])
    ticks = rng.random() + np.arange(round(float(upto[-1])))
    ticks = ticks[ticks < upto[-1] + 1e-9]
    return order[np.minimum(np.searchsorted(upto, ticks, side="right"), len(pi) - 1)]


def neyman(count: IntArray, spread: Float64, n: int) -> IntArray:
    """Rows for each stratum: proportional to count * spread, at least 2 (or all it has), at most count, summing to n.

    Raises ValueError when n does not suffice for two in each: a stratum without rows would make estimates biased.
    """
    least = np.minimum(2, count)
    if least.sum() > n:
        raise ValueError(f"{n} rows are too few for two in each of {len(count)} strata; use fewer strata or bands")
    size = np.maximum(count * spread, 1e-12)
    out = least.copy()
    while (left := n - int(out.sum())) > 0:
        room = out < count
        wish = np.where(room, np.maximum(n * size / size[room].sum() - out, 0), 0.0)
        if wish.sum() <= 0:
            wish = np.where(room, size, 0.0)
        add = np.minimum(np.floor(left * wish / wish.sum()).astype(np.int64), count - out)
        if add.sum() == 0:
            add[np.argmax(np.where(room, wish, -1.0))] = 1
        out = out + add
    return out


def _stratified(
    u: Float64, n: int, strata: Sequence[Any] | None, bands: int, rng: np.random.Generator
) -> tuple[IntArray, Float64, npt.NDArray[Any]]:
    """Rows drawn (n,), inclusion probability (N,) and stratum (N,)."""
    names = np.array([str(s) for s in strata] if strata is not None else [""] * len(u), dtype=object)
    keys = names.copy()
    for name in set(names):
        at = np.flatnonzero(names == name)
        rank = np.argsort(np.argsort(u[at], kind="stable"), kind="stable")
        band = rank * min(bands, max(len(at) // 2, 1)) // len(at)
        keys[at] = [f"{name}/{b}" for b in band]
    labels, code, count = np.unique(keys.astype(str), return_inverse=True, return_counts=True)
    spread = np.sqrt(np.maximum(np.bincount(code, u * (1 - u)) / count, 1e-6))
    take = neyman(count, spread, n)
    rows = [rng.choice(np.flatnonzero(code == h), take[h], replace=False) for h in range(len(labels))]
    return np.concatenate(rows), (take / count)[code], labels[code]


# ---------------------------------------------------------------- active learning


def margin(p: Float64) -> Float64:
    """(B,) 1 - (p1 - p2) of probabilities of a level (B, K): large where two codes compete (Scheffer et al. 2001)."""
    if p.shape[1] == 1:
        return np.zeros(len(p))
    top = np.partition(p, -2, axis=1)[:, -2:]
    return np.asarray(1 - (top[:, 1] - top[:, 0]))


def entropy(p: Float64) -> Float64:
    """(..., B) entropy in nats of probabilities of a level (..., B, K)."""
    return np.asarray(entr(p).sum(axis=-1))


def bald(passes: Float64) -> Float64:
    """(B,) mutual information between code and model, from T stochastic passes (T, B, K) of probabilities.

    Entropy of the mean minus mean entropy (Houlsby et al. 2011; Gal, Islam & Ghahramani 2017): high where passes are
    sure but disagree, 0 where all agree, however unsure they are.
    """
    if passes.ndim != 3:
        raise ValueError(f"passes: got shape {passes.shape}, expected (passes, rows, codes)")
    return np.maximum(entropy(passes.mean(axis=0)) - entropy(passes).mean(axis=0), 0.0)


def k_center(features: npt.ArrayLike, n: int) -> IntArray:
    """n rows, each the farthest from all before (greedy k-center; Sener & Savarese 2018, algorithm 1).

    Args:
        features: (B, H). The first row is the farthest from the mean.
    """
    x = np.asarray(features, dtype=np.float64)
    if not 1 <= n <= len(x):
        raise ValueError(f"n: got {n}, allowed are 1 to {len(x)} rows")
    out = [int(((x - x.mean(axis=0)) ** 2).sum(axis=1).argmax())]
    distance = np.full(len(x), np.inf)
    while len(out) < n:
        distance = np.minimum(distance, ((x - x[out[-1]]) ** 2).sum(axis=1))
        distance[out] = -1.0
        out.append(int(distance.argmax()))
    return np.array(out, dtype=np.int64)


def kmeans_plus_plus(features: npt.ArrayLike, n: int, weights: npt.ArrayLike | None = None, seed: int = 0) -> IntArray:
    """n rows drawn one by one with probability proportional to weight times squared distance to those drawn before.

    k-means++ seeding (Arthur & Vassilvitskii 2007); with uncertainty as weight it is a diverse and uncertain batch
    (in the spirit of BADGE, Ash et al. 2020).
    """
    x = np.asarray(features, dtype=np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not 1 <= n <= len(x):
        raise ValueError(f"n: got {n}, allowed are 1 to {len(x)} rows")
    if w.shape != (len(x),) or not (w >= 0).all():
        raise ValueError(f"weights: got shape {w.shape}, expected ({len(x)},) numbers from 0")
    rng = np.random.default_rng(seed)
    distance = np.ones(len(x))
    free = np.ones(len(x), dtype=bool)
    out: list[int] = []
    for i in range(n):
        p = w * distance * free
        if p.sum() <= 0:  # only duplicates or zero weights are left
            p = free.astype(np.float64)
        row = int(rng.choice(len(x), p=p / p.sum()))
        out.append(row)
        free[row] = False
        d = ((x - x[row]) ** 2).sum(axis=1)
        distance = d if i == 0 else np.minimum(distance, d)
    return np.array(out, dtype=np.int64)
