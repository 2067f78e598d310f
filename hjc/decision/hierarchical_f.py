"""What to state so that the hierarchical F is as large as it can be expected: one code, or a set of codes.

hF_beta of a set A of codes with all their ancestors, when leaf y with its ancestors Y is true (Kiritchenko et al. 2006,
the root left out of both), is (1 + b2) |A & Y| / (|A| + b2 |Y|), b2 = beta squared. Its expectation under coherent leaf
probabilities needs no sum over leaves: |A & Y| is a sum over the codes of A, and |Y| is the level of the leaf, of which
a tree has few. B rows, N nodes. (Plaud, Perez-Lebel, Labeau, Saillenfest & Bonald 2025, To each metric its decoding,
ICML, derive such rules for metrics of this kind; the derivations here are our own and are tried against enumeration.)
"""

from dataclasses import dataclass

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.decision.conformal import ConformalSets
from hjc.errors import check_range
from hjc.metrics.level_proba import LevelProba
from hjc.taxonomy.tree import Taxonomy

#: figures (rows times nodes) worked on at a time
_CELLS = 2_000_000
#: codes by which the search over sizes is bounded
_FIRST = 64
#: sums of the same probabilities in another order differ by less
_ROUNDING = 1e-12


def _squared(beta: float) -> float:
    check_range("beta", beta, 0 < beta < np.inf, "numbers above 0 (1 weighs precision and recall alike)")
    return float(beta) ** 2


def hf_costs(taxonomy: Taxonomy, log_proba: FloatArray | LevelProba, beta: float = 1.0) -> Float64:
    """1 - E[hF_beta] of stating each node: (B, N + 1), the last column for stating nothing, which is 1.

    For leaves of level m the expectation is (1 + b2) / (level(a) + b2 m) times the sum over the path of node a of the
    probability of these leaves below it.

    Raises:
        ValueError: beta that is not above 0.
    """
    b2 = _squared(beta)
    levels = LevelProba.of(taxonomy, log_proba)
    gain = np.zeros((len(levels), len(taxonomy)))
    for at, proba in levels.by_leaf_level:
        gain += taxonomy.with_ancestors(proba) * ((1 + b2) / (taxonomy.level + b2 * at))
    return np.c_[1 - gain, np.ones(len(levels))]


@dataclass(frozen=True)
class BestSets:
    """A set of codes a row with all their ancestors, most probable first, and its expected hF_beta (B,)."""

    sets: ConformalSets
    expected: Float64

    def lowest(self, taxonomy: Taxonomy) -> ConformalSets:
        """The codes of each set that no other of the set lies under; the rest follows from them."""
        nodes, row = self.sets.nodes, np.repeat(np.arange(len(self.sets)), self.sets.sizes)
        parent = taxonomy.parents[nodes]
        inner = np.isin(row * len(taxonomy) + nodes, (row * len(taxonomy) + parent)[parent >= 0])
        return ConformalSets.of(np.bincount(row[~inner], minlength=len(self.sets)), nodes[~inner])


def hf_sets(taxonomy: Taxonomy, log_proba: FloatArray | LevelProba, beta: float = 1.0) -> BestSets:
    """The set of codes with the largest E[hF_beta]; the smallest of such sets.

    Of sets of k codes (ancestors counted) the expectation is the sum over its codes v of
    w_k(v) = sum_m (1 + b2) / (k + b2 m) P_m(v), P_m(v) the probability of the leaves of level m below v. A code never
    weighs more than its parent, so the k heaviest, parents first among equals, are closed under ancestors and best. No
    set of k codes has more than (1 + b2) E|Y| / (k + b2 m) with the smallest m, which ends the search over k.

    Raises:
        ValueError: beta that is not above 0.
    """
    b2 = _squared(beta)
    levels = LevelProba.of(taxonomy, log_proba)
    step = max(1, _CELLS // len(taxonomy))
    if not len(levels):
        return BestSets(ConformalSets.of([], []), np.zeros(0))
    starts = range(0, len(levels), step)
    # a batch that fits has its sums already
    blocks = (LevelProba(taxonomy, levels.leaf[i : i + step]) if len(starts) > 1 else levels for i in starts)
    size, nodes, value = (np.concatenate(x) for x in zip(*(_best_sets(b, b2) for b in blocks), strict=True))
    return BestSets(ConformalSets.of(size, nodes), value)


def _best_sets(levels: LevelProba, b2: float) -> tuple[IntArray, IntArray, Float64]:
    """Sizes (b,), nodes row after row, and expected values (b,)."""
    proba, parts = levels.nodes(), levels.by_leaf_level
    shallow, deep = parts[0][0], parts[-1][0]
    bound = (1 + b2) * proba.sum(axis=1)
    most = _largest_size(proba, bound, b2, shallow, deep)
    kept = _candidates(proba, most, (1 + b2 * deep) / (1 + b2 * shallow))
    masses = [(at, np.take_along_axis(mass, kept, axis=1)) for at, mass in parts]
    best, size = np.full(len(proba), -1.0), np.ones(len(proba), dtype=np.int64)
    chosen = np.zeros((len(proba), most), dtype=np.int64)
    order = np.zeros((0, 0), dtype=np.int64)
    for k in range(1, most + 1):
        if (bound / (k + b2 * shallow) <= best).all():
            break
        weight = np.zeros(kept.shape)
        for at, mass in masses:
            weight += (1 + b2) / (k + b2 * at) * mass
        if k == 1 or len(masses) > 1:  # with leaves of one level the order is that of the probabilities
            order = np.argsort(-weight, axis=1, kind="stable")  # candidates are in node order: a parent comes first
        value = np.take_along_axis(weight, order[:, :k], axis=1).sum(axis=1)
        better = np.flatnonzero(value > best + _ROUNDING)
        chosen[better, :k] = np.take_along_axis(kept, order[:, :k], axis=1)[better]
        best[better], size[better] = value[better], k
    return size, chosen[np.arange(most) < size[:, None]], best


def _largest_size(proba: Float64, bound: Float64, b2: float, shallow: int, deep: int) -> int:
    """No row has a better set of more codes: where the bound falls below what the most probable codes reach."""
    few = min(_FIRST, proba.shape[1])
    top = -np.sort(np.partition(-proba, few - 1, axis=1)[:, :few], axis=1)
    reached = ((1 + b2) * np.cumsum(top, axis=1) / (np.arange(1, few + 1) + b2 * deep)).max(axis=1)
    return int(np.clip(np.ceil((bound / reached - b2 * shallow).max(initial=1.0)), 1, proba.shape[1]))


def _candidates(proba: Float64, most: int, ratio: float) -> IntArray:
    """(b, M) nodes in their order, all among them that can be of the ``most`` heaviest, whatever the size of the set:
    weights are between two multiples of the probability that differ by ``ratio`` at most."""
    least = -np.partition(-proba, most - 1, axis=1)[:, most - 1] / (ratio * (1 + 1e-9))
    width = max(int(np.count_nonzero((proba >= least[:, None]) & (proba > 0), axis=1).max(initial=1)), most)
    if width >= proba.shape[1]:
        return np.tile(np.arange(proba.shape[1]), (len(proba), 1))
    return np.sort(np.argpartition(-proba, width - 1, axis=1)[:, :width], axis=1)
