"""The shape of a tree as plain data, for tables and for the command line."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class LevelSummary:
    """One level: ``nodes`` lie exactly on it, ``leaves`` of them have no children; ``columns`` also counts the leaves
    above it, which stand for themselves (the number of classes of this level)."""

    level: int
    nodes: int
    leaves: int
    columns: int


@dataclass(frozen=True)
class TaxonomySummary:
    """Sizes of a tree.

    Attributes:
        groups: number of sibling groups (inner nodes and the root).
        group_sizes: size of a sibling group -> how many there are; smallest first.
        largest_groups: the five largest, (code of the parent, number of children); "" is the root.
        single_children: number of nodes without siblings: P(node | parent) is 1, nothing is learned there.
        leaf_depths: level -> number of leaves on it.
        ragged: leaves lie on more than one level.
        titles, descriptions: language -> number of nodes that have a text.
    """

    name: str
    hash: str
    nodes: int
    leaves: int
    depth: int
    levels: tuple[LevelSummary, ...]
    groups: int
    group_sizes: dict[int, int]
    largest_groups: tuple[tuple[str, int], ...]
    single_children: int
    leaf_depths: dict[int, int]
    ragged: bool
    titles: dict[str, int]
    descriptions: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, for JSON."""
        return asdict(self)


def describe(taxonomy: Taxonomy) -> TaxonomySummary:
    """Count what there is in a tree; see :class:`TaxonomySummary`."""
    level, is_leaf = taxonomy.level, taxonomy.is_leaf
    sizes = np.diff(taxonomy.group_slice, axis=1)[:, 0]
    parent_of_group = taxonomy.parents[taxonomy.group_slice[:, 0]]
    largest = np.argsort(-sizes, kind="stable")[:5]
    leaf_depths = dict(sorted(Counter(level[is_leaf].tolist()).items()))
    return TaxonomySummary(
        name=taxonomy.name,
        hash=taxonomy.hash,
        nodes=len(taxonomy),
        leaves=taxonomy.num_leaves,
        depth=taxonomy.depth,
        levels=tuple(
            LevelSummary(d, int((level == d).sum()), int((is_leaf & (level == d)).sum()), len(taxonomy.level_nodes(d)))
            for d in range(1, taxonomy.depth + 1)
        ),
        groups=len(sizes),
        group_sizes=dict(sorted(Counter(sizes.tolist()).items())),
        largest_groups=tuple(
            (taxonomy.codes[parent] if parent >= 0 else "", size)
            for parent, size in zip(parent_of_group[largest].tolist(), sizes[largest].tolist(), strict=True)
        ),
        single_children=int((sizes == 1).sum()),
        leaf_depths=leaf_depths,
        ragged=len(leaf_depths) > 1,
        titles={language: sum(map(bool, texts)) for language, texts in taxonomy.titles.items()},
        descriptions={language: sum(map(bool, texts)) for language, texts in taxonomy.descriptions.items()},
    )
