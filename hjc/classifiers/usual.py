"""How usual codes are among ads: offsets of the codes of a tree, from coded ads.

A code list names every code about as often as any other, ads do not. So a model of names asks of a title which name it
is most like, where a coder knows which code such ads mostly have. With b of all nodes on the path of a leaf,

    P'(leaf | ad) ~ P(leaf | ad) exp(sum_node in path(leaf) b_node),      b_node ~ Normal(0, 1 / precision)

the b are fitted to coded ads by maximum a posteriori. A node shares what is known of the nodes above it (shrinkage
along the tree, McCallum et al. 1998), so a few hundred ads are enough for the levels that they can tell apart. The
precision is chosen by cross-validation, and nothing is offset unless log-loss then surely falls and no fewer are right.
n rows, N nodes, L leaves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

from hjc.arrays import Float32, Float64, FloatArray, IntArray
from hjc.calibration.conditionals import sum_paths
from hjc.classifiers.combine import Combination, Rows, group_numbers
from hjc.classifiers.evidence import LEAST, combination, compared
from hjc.classifiers.treemath import log_softmax
from hjc.data.codesets import Target
from hjc.taxonomy import Taxonomy

#: precisions of the offsets that are tried, in units of rows
PRECISIONS = (1.0, 4.0, 16.0)
_STEPS = 60


@dataclass(frozen=True)
class Usual:
    """What was found.

    Attributes:
        offsets: (L,) added to log-probabilities of leaves, before they are normalised; zeros: nothing is offset.
        precision: that of the offsets; infinity where there are none.
        table: a line a precision, see :func:`hjc.classifiers.evidence.compared`.
    """

    offsets: Float32
    precision: float = float("inf")
    table: list[dict[str, Any]] = field(default_factory=list)


def fit_offsets(rows: Rows, taxonomy: Taxonomy, precision: float) -> Float32:
    """(L,) offsets of leaves of the greatest posterior, for the one part of ``rows``."""
    proba = np.exp(rows.parts[0], dtype=np.float64)
    of_gold = sparse.csr_array(np.where(rows.inside(), proba, 0))
    spans = taxonomy.leaf_slice

    def objective(b: Float64) -> tuple[float, Float64]:
        factor = np.exp(sum_paths(b[None], taxonomy)[0])
        total, gold = proba @ factor, np.maximum(of_gold @ factor, 1e-300)
        value = float(rows.weight @ np.log(total / gold))
        slope = factor * (proba.T @ (rows.weight / total) - of_gold.T @ (rows.weight / gold))
        ends = np.r_[0.0, np.cumsum(slope)]
        return value + precision / 2 * float(b @ b), ends[spans[:, 1]] - ends[spans[:, 0]] + precision * b

    found = minimize(objective, np.zeros(len(taxonomy)), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return sum_paths(found.x[None], taxonomy)[0].astype(np.float32)


def fit_usual(
    taxonomy: Taxonomy, log_proba: FloatArray, target: Target, groups: IntArray | None = None, *,
    precisions: Sequence[float] = PRECISIONS, seed: int = 0,
) -> Usual:  # fmt: skip
    """Offsets from coded ads (n, L) that the model has not seen; none where they are too few, or do not surely help.

    Args:
        groups: (n,) rows of a group lie in one fold.
    """
    rows = Rows.make(taxonomy, [log_proba], target)
    n = len(rows.weight)
    own = group_numbers(groups, n)
    if own.max(initial=-1) + 1 < LEAST:
        return Usual(np.zeros(taxonomy.num_leaves, dtype=np.float32))
    alone, tried = combination(np.ones(1), taxonomy.num_leaves), (float("inf"), *precisions)

    def ways(inside: Rows, held: Rows) -> Iterator[tuple[Combination, Rows]]:
        yield alone, held
        for precision in precisions:
            moved = log_softmax(held.parts[0] + fit_offsets(inside, taxonomy, precision))
            yield alone, replace(held, parts=(moved,))

    table, best = compared(taxonomy, rows, target, own, seed, ways, [{"precision": value} for value in tried])
    if not best:
        return Usual(np.zeros(taxonomy.num_leaves, dtype=np.float32), table=table)
    precision = precisions[best - 1]
    return Usual(fit_offsets(rows, taxonomy, precision), precision, table)
