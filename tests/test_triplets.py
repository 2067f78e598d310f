"""Triplets of nodes: each is what it says, and all that can be are drawn; the metric against a loop."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hjc.errors import TaxonomyError
from hjc.metrics import triplet_accuracy
from hjc.taxonomy import Taxonomy, from_edges
from hjc.taxonomy.graph.category_graph import CategoryGraph
from hjc.taxonomy.graph.triplets import HierarchyTriplets, SimilarityTriplets, hierarchy_triplets, similarity_triplets
from tests.strategies import taxonomies
from tests.test_category_graph import TREE, random_graph


def all_hierarchy(tree: Taxonomy) -> set[tuple[int, int, int]]:
    out = set()
    inner = {n for n in range(len(tree)) if not tree.is_leaf[n]}
    for child, parent in enumerate(tree.parents.tolist()):
        if parent >= 0:
            others = {n for n in range(len(tree)) if tree.level[n] == tree.level[parent]} - {parent}
            out |= {(child, parent, n) for n in (others & inner or others)}
    return out


def all_similarity(graph: CategoryGraph, ratio: float) -> set[tuple[int, int, int]]:
    tree, s, out = graph.taxonomy, graph.matrix.toarray(), set()
    paths = [{n} for n in range(len(tree))]
    for node, parent in enumerate(tree.parents.tolist()):
        if parent >= 0:
            paths[node] |= paths[parent]
    for a in range(len(tree)):
        for b in np.flatnonzero(s[a]).tolist():
            for c in range(len(tree)):
                related = c in paths[a] or a in paths[c]
                if tree.level[c] == tree.level[b] and not related and s[a, c] <= ratio * s[a, b]:
                    out.add((a, b, c))
    return out


def rows(triplets: np.ndarray) -> set[tuple[int, int, int]]:
    return set(map(tuple, triplets.tolist()))


@given(taxonomies(max_nodes=14), st.integers(0, 99), st.booleans())
def test_hierarchy_triplets_are_those_of_a_loop(tree: Taxonomy, seed: int, balanced: bool) -> None:
    expected = all_hierarchy(tree)
    if not expected:
        with pytest.raises(TaxonomyError, match="no child with another node"):
            hierarchy_triplets(tree, 1, seed)
        return
    assert rows(hierarchy_triplets(tree, 4000, seed, balanced=balanced)) == expected


@given(taxonomies(max_nodes=12), st.integers(0, 99), st.sampled_from([0, 0.5, 0.9]), st.booleans())
def test_similarity_triplets_are_those_of_a_loop(tree: Taxonomy, seed: int, ratio: float, lifted: bool) -> None:
    graph = random_graph(tree, seed, 0.6)
    graph = graph.lift("max") if lifted else graph
    expected = all_similarity(graph, ratio)
    if not expected:
        with pytest.raises(TaxonomyError, match="thin the graph out"):
            similarity_triplets(graph, 1, seed, ratio=ratio)
        return
    found = rows(similarity_triplets(graph, 4000, seed, ratio=ratio))
    assert found <= expected
    sampler = SimilarityTriplets(graph, ratio=ratio)
    assert set(sampler.anchors.tolist()) == {a for a, _, _ in expected} == {a for a, _, _ in found}
    # pairs are drawn by their similarity, so a very weak one may not come up in 4,000 draws
    strong = {t for t in expected if graph.matrix[t[0], t[1]] > 0.2}
    assert strong <= found


def test_a_rare_far_node_is_found_when_draws_at_random_miss_it() -> None:
    n = 400
    tree = from_edges([f"{i:03d}" for i in range(n)], [None] * n)
    m = np.full((n, n), 0.9)
    m[0, n - 1] = m[n - 1, 0] = 0.0
    graph = CategoryGraph.from_leaves(tree, m)
    sampler = SimilarityTriplets(graph)
    assert sampler.anchors.tolist() == [0, n - 1]
    found = sampler.sample(500, np.random.default_rng(0))
    assert set(map(tuple, found[:, [0, 2]].tolist())) == {(0, n - 1), (n - 1, 0)}


def test_single_child_chains_and_ragged_trees() -> None:
    # 21 is the only child of 2 and the only node of level 2 with children: far from it are leaves of its level
    found = rows(hierarchy_triplets(TREE, 2000, 1))
    at = TREE.index_of
    assert (at["211"], at["21"], at["11"]) in found and (at["21"], at["2"], at["1"]) in found
    assert not any(far == at["3"] for _, parent, far in found if TREE.level[parent] == 1)  # 3 has no children
    with pytest.raises(TaxonomyError, match="no child"):
        HierarchyTriplets(from_edges(["1", "11", "111"], [None, "1", "11"]))
    with pytest.raises(TaxonomyError, match="no child"):
        HierarchyTriplets(from_edges(["1", "2"], [None, None]))


def test_drawing_is_seeded_and_even() -> None:
    np.testing.assert_array_equal(hierarchy_triplets(TREE, 50, 3), hierarchy_triplets(TREE, 50, 3))
    assert (hierarchy_triplets(TREE, 50, 3) != hierarchy_triplets(TREE, 50, 4)).any()
    graph = random_graph(TREE, 1)
    np.testing.assert_array_equal(similarity_triplets(graph, 50, 3), similarity_triplets(graph, 50, 3))
    children = Counter(hierarchy_triplets(TREE, 20_000, 0)[:, 0].tolist())
    assert max(children.values()) / min(children.values()) < 1.15
    levels = TREE.level[hierarchy_triplets(TREE, 20_000, 0, balanced=True)[:, 0]]
    assert np.mean(levels == 2) == pytest.approx(0.5, abs=0.02)  # 3 children at level 2, 2 at level 3
    m = np.zeros((5, 5))
    m[0, 1] = m[1, 0] = 0.2
    m[0, 2] = m[2, 0] = 0.6
    drawn = similarity_triplets(CategoryGraph.from_leaves(TREE, m).lift("max"), 20_000, 0, ratio=0)
    leaf = TREE.leaves
    near = drawn[drawn[:, 0] == leaf[0], 1]
    # 11 is like 211 (0.6) at level 3, where 212 is unlike; like 12 (0.2) and 21 (0.6) at level 2, where nothing is
    assert set(near.tolist()) == {leaf[2]}


def test_bad_ratio() -> None:
    for ratio in (-0.1, 1.0):
        with pytest.raises(ValueError, match="ratio"):
            SimilarityTriplets(random_graph(TREE, 1), ratio=ratio)


def test_no_triplets_wanted() -> None:
    assert hierarchy_triplets(TREE, 0).shape == (0, 3)
    assert similarity_triplets(random_graph(TREE, 1), 0).shape == (0, 3)


# ------------------------------------------------------------------ the metric


@given(st.integers(1, 20), st.integers(1, 40), st.integers(0, 999))
def test_triplet_accuracy_is_a_loop(n: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * 10.0 ** rng.integers(-150, 150, size=(n, 1))
    t = rng.integers(0, n, size=(size, 3))

    def cosine(a: int, b: int) -> float:
        u, v = x[a] / np.abs(x[a]).max(), x[b] / np.abs(x[b]).max()
        return float(u @ v / np.sqrt((u @ u) * (v @ v)))

    distinct = [row for row in t.tolist() if abs(cosine(row[0], row[1]) - cosine(row[0], row[2])) > 1e-12]
    ties = [row for row in t.tolist() if row[1] == row[2]]
    assume(len(distinct) + len(ties) == len(t))
    expected = sum(cosine(a, b) > cosine(a, c) for a, b, c in distinct) / len(t)
    assert triplet_accuracy(x, t) == pytest.approx(expected)


def test_triplet_accuracy_of_known_spaces() -> None:
    x = np.array([[1, 0], [1, 0.1], [0, 1], [0, 0]])
    assert triplet_accuracy(x, [[0, 1, 2]]) == 1
    assert triplet_accuracy(x, [[0, 2, 1]]) == 0
    assert triplet_accuracy(x, [[0, 1, 3], [0, 3, 2]]) == 0.5  # zero is as unlike as a right angle: a tie is wrong
    assert triplet_accuracy(np.ones((3, 2)), [[0, 1, 2]]) == 0
    for vectors, triplets, message in (
        (x[0], [[0, 1, 2]], "vectors"),
        (x * np.nan, [[0, 1, 2]], "finite"),
        (x, [[0, 1]], "triplets"),
        (x, np.empty((0, 3), int), "at least one"),
        (x, [[0, 1, 4]], "0 to 4 for 4"),
        (x, [[0.0, 1.0, 2.0]], "integers"),
    ):
        with pytest.raises(ValueError, match=message):
            triplet_accuracy(vectors, triplets)
