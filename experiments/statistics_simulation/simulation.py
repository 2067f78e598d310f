"""Worlds with known truth: random ragged trees, texts of finitely many kinds, a classifier as wrong as wanted.

A text is one of M kinds; kind m has P(kind | leaf) under every leaf. So the exact posterior P(leaf | kind), the true
shares under any shift and the classifier's error are all known numbers, and a million rows cost a draw of integers.
"""

from dataclasses import dataclass, replace

import numpy as np

from hjc.arrays import Float64, IntArray
from hjc.taxonomy.build import from_edges
from hjc.taxonomy.tree import Taxonomy


def random_taxonomy(
    seed: int, *, depth: int = 3, children: tuple[int, int] = (1, 4), top: int = 3, ragged: float = 0.25
) -> Taxonomy:
    """A tree with ``top`` codes at level 1 and a random number of children below, some branches ending early.

    Single children (``children[0] == 1``) and shallow leaves (with probability ``ragged``) occur on purpose.
    """
    rng = np.random.default_rng(seed)
    codes: list[str] = []
    parents: list[str | None] = []

    def grow(code: str, parent: str | None, level: int) -> None:
        codes.append(code)
        parents.append(parent)
        if level == depth or (level > 1 and rng.random() < ragged):
            return
        for i in range(int(rng.integers(children[0], children[1] + 1))):
            grow(f"{code}.{i}", code, level + 1)

    for i in range(top):
        grow(str(i), None, 1)
    return from_edges(codes, parents, name=f"random-{seed}")


@dataclass(frozen=True)
class World:
    """A joint distribution of leaf and kind of text, and the log-probabilities a classifier gives to each kind.

    kind_given_leaf: (L, M); prior: (L,) shares of leaves; table: (M, L) the classifier's leaf log-probabilities.
    """

    taxonomy: Taxonomy
    kind_given_leaf: Float64
    prior: Float64
    table: Float64
    _joint: Float64 | None = None  # (L, M) set where P(kind) shifted instead of P(leaf)

    @property
    def joint(self) -> Float64:
        """(L, M) P(leaf, kind)."""
        return self.prior[:, None] * self.kind_given_leaf if self._joint is None else self._joint

    @property
    def posterior(self) -> Float64:
        """(M, L) P(leaf | kind)."""
        j = self.joint
        return (j / j.sum(axis=0)).T

    @property
    def leaf_share(self) -> Float64:
        """(L,) true share of each leaf."""
        return self.joint.sum(axis=1)

    def share(self, level: int) -> Float64:
        """(K,) true share of each column of a level."""
        start = self.taxonomy.leaf_slice[self.taxonomy.level_nodes(level), 0]
        return np.asarray(np.add.reduceat(self.leaf_share, start))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """(kinds (n,), gold leaf nodes (n,)) of n independent texts."""
        flat = rng.choice(self.joint.size, size=n, p=self.joint.ravel() / self.joint.sum())
        leaf, kind = np.divmod(flat, self.joint.shape[1])
        return kind, self.taxonomy.leaves[leaf]

    def with_prior(self, prior: Float64) -> "World":
        """Prior shift: P(leaf) changes, P(text | leaf) and the classifier do not."""
        return replace(self, prior=np.asarray(prior) / np.sum(prior), _joint=None)

    def with_kinds(self, kind_weight: Float64) -> "World":
        """Covariate shift: P(text) is reweighted, P(leaf | text) and the classifier do not change."""
        joint = self.joint * np.asarray(kind_weight)[None, :]
        joint = joint / joint.sum()
        return replace(self, prior=joint.sum(axis=1), _joint=joint)


def random_world(
    taxonomy: Taxonomy,
    seed: int,
    *,
    kinds: int = 200,
    sharpness: float = 0.05,
    concentration: float = 2.0,
    temperature: float = 1.0,
    bias: float = 0.0,
    floor: float = 1e-6,
) -> World:
    """A world whose classifier is the exact posterior, distorted by a temperature and by normal biases of leaves.

    Args:
        sharpness: Dirichlet parameter of P(kind | leaf); smaller means fewer kinds a leaf, an easier task.
        concentration: Dirichlet parameter of the prior.
        temperature: the classifier's log-probabilities are multiplied by this; above 1 it is overconfident.
        bias: standard deviation of the additive distortion of the leaves' log-probabilities.
        floor: probability mixed in, so that no leaf is impossible.
    """
    rng = np.random.default_rng(seed)
    leaves = taxonomy.num_leaves
    shape = rng.gamma(sharpness, size=(leaves, kinds)) + 1e-12
    kind_given_leaf = shape / shape.sum(axis=1, keepdims=True)
    prior = rng.dirichlet(np.full(leaves, concentration))
    world = World(taxonomy, kind_given_leaf, prior, np.zeros((kinds, leaves)))
    z = np.log(world.posterior + floor) * temperature + bias * rng.normal(size=leaves)
    z -= np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)) + z.max(axis=1, keepdims=True)
    return replace(world, table=z)
