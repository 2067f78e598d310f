"""How much the body of an ad may say beside its title, from coded ads: only as much as is shown to help.

Title, body and the whole ad are pieces of evidence with log-probabilities P_k; an ad is coded by

    P(code | ad) ~ prod_k P_k(code)^w_k,      w >= 0.

On few coded ads a body may buy log-loss (it makes an unsure model surer) and cost right codes. So the title's own
weights (0 for every piece that reads the body) are the starting point t; the weights f of all pieces are fitted; and
of t + s (f - t), s in :data:`STEPS`, one is taken only where cross-validation over coded ads says all of this:

* log-loss is less than by the title alone, by a one-sided test of the paired differences at 5 % (rows of one group,
  near-duplicates, count together in its standard error);
* at the deepest level no fewer ads are right than by the title alone, and at no level fewer by :data:`SLACK`.

Of what passes the least log-loss is taken; where nothing passes the body is not read.

Where bodies of other texts have taught the model, its weights without coded ads are a first guess, better than what a
few dozen ads can fit: on 60 ads fitted weights of five pieces cost six points. Then t is that guess to a power that is
fitted, and both the title alone and the steps from t have to pass the same test against it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers.combine import Combination, Rows, fit_combination, folds_of, group_numbers, losses
from hjc.data.codesets import Target
from hjc.metrics import score_rows
from hjc.taxonomy import Taxonomy

#: shares of the way from the title's weights to those of all pieces
STEPS = (0.125, 0.25, 0.5, 0.75, 1.0)
#: one-sided 5 % point of the normal distribution, and share of ads that may be lost at a level above the deepest
CRITICAL, SLACK = 1.645, 0.005
#: gain of log-loss (nats) below which there is none: what the optimiser leaves
LEAST_GAIN = 1e-3
FOLDS = 5
#: powers are no greater: ads that are all right would make every later one certain
MOST_POWER = 4.0
#: rows that the title's weights and those of all pieces are fitted on at least
LEAST = 2 * FOLDS


@dataclass(frozen=True)
class Weighed:
    """What was found. K pieces.

    Attributes:
        weights: (K,) for ads with title and body.
        title: (K,) for rows that have a title alone; 0 for pieces that read the body.
        body: power of the body's own probabilities, for rows that have a body alone.
        step: the share of the way from the start that was taken.
        start: "title", or "first guess".
        table: a line a way (start and step): log-loss and share of right codes at each level, cross-validated; the
            one-sided test's statistic against the first way; whether it passes.
    """

    weights: Float64
    title: Float64
    body: float
    step: float
    table: list[dict[str, Any]] = field(default_factory=list)
    start: str = "title"

    @property
    def line(self) -> str:
        """What was decided, in words."""
        by_title = next(x for x in self.table if (x["start"], x["step"]) == ("title", 0))
        taken = next(x for x in self.table if (x["start"], x["step"]) == (self.start, self.step))
        if taken is by_title:
            return "by the title alone: with the body fewer were right, or log-loss was not surely less"
        return (
            f"right by title {by_title['right'][-1]:.1%}, with the body {taken['right'][-1]:.1%}; "
            f"log-loss {by_title['log_loss']:.2f}, {taken['log_loss']:.2f}"
        )


def weigh(
    taxonomy: Taxonomy, pieces: Sequence[FloatArray], target: Target, *, titles: Sequence[int], body: int,
    groups: IntArray | None = None, seed: int = 0, first: tuple[Float64, Float64] | None = None,
) -> Weighed:  # fmt: skip
    """Weights of pieces on coded ads that have title and body. n rows, K pieces, L leaves.

    Args:
        pieces: K arrays (n, L) of natural-log probabilities, of models that have not seen the rows.
        titles: numbers of the pieces that read the title alone; the others read the body too.
        body: number of the piece that reads the body alone.
        groups: (n,) rows of a group lie in one fold.
        first: the first guess (K,) of ads, and (K,) of titles alone, 0 for pieces that read the body; None: there is
            none.

    Raises:
        ValueError: fewer than :data:`LEAST` rows.
    """
    rows = Rows.make(taxonomy, pieces, target)
    n = len(rows.weight)
    if n < LEAST:
        raise ValueError(f"got {n} coded ads with title and body; weights of title and body need at least {LEAST}")
    own = group_numbers(groups, n)
    if own.max() + 1 < LEAST:  # too few groups to part
        own = np.arange(n)
    tried = [("title", 0.0), *(("title", step) for step in STEPS if first is None)]
    if first is not None:
        tried = [("first guess", 0.0), *tried, *(("first guess", step) for step in STEPS)]

    def weights_of(inside: Rows) -> list[Float64]:
        start = {"title": fitted(inside, titles)}
        if first is not None:
            start["first guess"] = powered(inside, first[0])
        by_all = fitted(inside, range(len(pieces)))
        return [start[name] + step * (by_all - start[name]) for name, step in tried]

    def ways(inside: Rows, held: Rows) -> Iterator[tuple[Combination, Rows]]:
        for weights in weights_of(inside):
            yield combination(weights, taxonomy.num_leaves), held

    lines = [{"start": name, "step": step} for name, step in tried]
    table, best = compared(taxonomy, rows, target, own, seed, ways, lines)
    found = weights_of(rows)
    by_title = found[0] if first is None else powered(rows, first[1])
    start, step = tried[best]
    return Weighed(found[best], by_title, float(fitted(rows, [body])[body]), step, table, start)


def compared(
    taxonomy: Taxonomy, rows: Rows, target: Target, own: IntArray, seed: int,
    ways: Callable[[Rows, Rows], Iterable[tuple[Combination, Rows]]], lines: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], int]:  # fmt: skip
    """Ways to code n rows, cross-validated, and the number of the best of those that are shown to help.

    Args:
        own: (n,) the group of each row, from 0; rows of a group lie in one fold.
        ways: of rows to fit on and rows held out, for each way the combination and the latter as it reads them. The
            first one is how it is without: it always passes.
        lines: what the table says of each way, beside log-loss and share of right codes at each level, the one-sided
            test's statistic against the first, and whether it passes.
    """
    n, fold = len(own), folds_of(own, FOLDS, seed)
    loss = np.empty((len(lines), n))
    right = np.empty((len(lines), n, taxonomy.depth), dtype=bool)
    for f in range(FOLDS):
        held = np.flatnonzero(fold == f)
        for i, (made, out) in enumerate(ways(rows.take(np.flatnonzero(fold != f)), rows.take(held))):
            loss[i, held] = losses(made, out)
            right[i, held] = score_rows(taxonomy, made.log_proba(out.parts), target[held]).correct
    table = [
        {
            **line,
            "log_loss": round(float(loss[i].mean()), 4),
            "right": np.round(right[i].mean(axis=0), 4).tolist(),
            "statistic": round(clustered(loss[0] - loss[i], own), 2),
            "passes": i == 0 or passes(loss, right, i, own),
        }
        for i, line in enumerate(lines)
    ]
    return table, min((i for i, line in enumerate(table) if line["passes"]), key=lambda i: loss[i].mean())


def passes(loss: Float64, right: Any, i: int, group: IntArray) -> bool:
    """Whether step i is shown to help: ``loss`` (S, n), ``right`` (S, n, D), of step 0 first."""
    gain = (right[i].astype(np.int64) - right[0]).mean(axis=0)
    better = loss[0] - loss[i]
    sure = better.mean() > LEAST_GAIN and clustered(better, group) > CRITICAL
    return bool(sure and gain[-1] >= 0 and (gain > -SLACK).all())


def clustered(difference: Float64, group: IntArray) -> float:
    """Mean of paired differences (n,) over its standard error, rows of a group summed first: the t statistic with
    cluster-robust variance, sum_g (sum_i in g (d_i - mean))^2 / n^2 (Liang & Zeger 1986)."""
    mean = float(difference.mean())
    sums = np.bincount(group, weights=difference - mean)
    error = float(np.sqrt((sums**2).sum())) / len(difference)
    return mean / error if error > 0 else 0.0


def combination(weights: Float64, num_leaves: int) -> Combination:
    """The log-linear combination with these powers (K,), the same for all leaves."""
    return Combination("loglinear", weights[:, None], np.zeros(1), np.zeros(num_leaves, dtype=np.int64))


def powered(rows: Rows, weights: Float64) -> Float64:
    """(K,) weights to the power of least log-loss, up to :data:`MOST_POWER`."""
    joined = combination(weights, rows.parts[0].shape[1]).log_proba(rows.parts)
    return weights * float(fitted(replace(rows, parts=(joined,)), [0])[0])


def fitted(rows: Rows, used: Sequence[int]) -> Float64:
    """(K,) powers of least log-loss, up to :data:`MOST_POWER`; 0 for pieces that are not used."""
    some = replace(rows, parts=tuple(rows.parts[k] for k in used))
    found = fit_combination(some, "loglinear", np.zeros(rows.parts[0].shape[1], dtype=np.int64))
    weights = np.zeros(len(rows.parts))
    weights[list(used)] = np.minimum(found.weights[:, 0], MOST_POWER)
    if not weights.any():  # nothing is better than chance: the pieces as they are
        weights[list(used)] = 1 / len(used)
    return weights
