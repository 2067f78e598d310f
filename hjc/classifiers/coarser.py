"""What a model of a coarser tree says of the codes of a finer one: ISCO-08 of a national classification below it.

A leaf of the finer tree belongs to the code on its path that is a leaf of the coarser tree. Where it has none (the
national office split a group otherwise) it belongs to the rest: the leaves of the coarser tree that are no codes of the
finer one, under the nearest code that both have. All leaves that belong together get the same number,

    e(leaf) = ln sum of P(coarse leaf) over what it belongs to,

a factor of a log-linear combination, no distribution: it says nothing of the codes below. L finer, M coarser leaves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hjc.arrays import Float32, FloatArray, IntArray
from hjc.taxonomy import Taxonomy

_LEAST = 1e-7


@dataclass(frozen=True)
class Coarser:
    """How answers over M leaves become evidence for L leaves.

    Attributes:
        summed: (G, M) which coarser leaves belong to a group; where none does, means of those under the common code.
        group: (L,) the group of each finer leaf.
    """

    summed: sparse.csr_array
    group: IntArray

    @classmethod
    def of(cls, tree: Taxonomy, other: Taxonomy) -> "Coarser":
        """The way from ``other`` to ``tree``.

        Raises:
            ValueError: fewer than half of the leaves of ``other`` are codes of ``tree``.
        """
        leaves = other.leaf_codes
        known = [code in tree.index_of for code in leaves]
        if 2 * sum(known) < len(leaves):
            raise ValueError(
                f"only {sum(known)} of {len(leaves)} codes of {other!r} are codes of {tree!r}: a part needs the same "
                "tree, or a coarser one with the same codes"
            )
        of_leaf = [_belongs(code, tree, other, True) for code in tree.leaf_codes]
        own = [_belongs(code, other, tree, False) for code in leaves]
        names = {name: i for i, name in enumerate(dict.fromkeys(of_leaf))}
        rows, columns, values = [], [], []
        for name, i in names.items():
            at = [j for j, key in enumerate(own) if key == name]
            share = 1.0
            if not at:  # no leaf of the other tree is left for these: as probable as an average one under the same code
                at = [j for j, code in enumerate(leaves) if name[1] in ("", *_above(code, other))]
                share = 1.0 / len(at)
            rows += [i] * len(at)
            columns += at
            values += [share] * len(at)
        shape = (len(names), len(leaves))
        summed = sparse.csr_array((values, (rows, columns)), shape=shape, dtype=np.float32)
        return cls(summed, np.array([names[name] for name in of_leaf], dtype=np.int64))

    def evidence(self, log_proba: FloatArray) -> Float32:
        """(B, M) log-probabilities -> (B, L) evidence, natural log, not normalised."""
        found = np.log(np.maximum((self.summed @ np.exp(log_proba).T).T, _LEAST))
        return found[:, self.group].astype(np.float32)


def _above(code: str, tree: Taxonomy) -> Iterator[str]:
    """A code, and those above it, from the deepest."""
    node = tree.index_of[code]
    while node >= 0:
        yield tree.codes[node]
        node = int(tree.parents[node])


def _belongs(code: str, own: Taxonomy, other: Taxonomy, finer: bool) -> tuple[str, str]:
    """("code", c) for the code that both trees have, or ("rest", a) under the nearest code that both have."""
    for number, above in enumerate(_above(code, own)):
        if (node := other.index_of.get(above)) is not None:
            same = bool(other.is_leaf[node]) if finer else number == 0
            return ("code" if same else "rest"), above
    return "rest", ""
