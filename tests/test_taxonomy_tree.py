"""The tree against naive loops over codes and dictionaries, which share no code with it."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc import TaxonomyError
from hjc.taxonomy import Taxonomy, from_edges

from .strategies import edges, random_log_proba, taxonomies

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def small() -> Taxonomy:
    #   A          B      C
    #   A1    A2   B1     (leaf at level 1)
    #   A1x   (leaf) B1x B1y
    codes = ["A", "B", "C", "A1", "A2", "B1", "A1x", "B1x", "B1y"]
    return from_edges(codes, ["", "", "", "A", "A", "B", "A1", "B1", "B1"], titles={"en": dict.fromkeys(codes, "t")})


def ancestors(tree: Taxonomy) -> dict[str, list[str]]:
    """code -> codes from level 1 down to itself, by walking up one step at a time."""
    above = {c: (tree.codes[p] if p >= 0 else None) for c, p in zip(tree.codes, tree.parents.tolist(), strict=True)}
    out = {}
    for code in tree.codes:
        path, at = [], code
        while at is not None:
            path.insert(0, at)
            at = above[at]
        out[code] = path
    return out


def test_small_tree_by_hand(small):
    assert small.codes == ("A", "B", "C", "A1", "A2", "B1", "A1x", "B1x", "B1y")
    assert small.parents.tolist() == [-1, -1, -1, 0, 0, 1, 3, 5, 5]
    assert small.leaf_codes == ("A1x", "A2", "B1x", "B1y", "C")
    assert small.depth == 3 and small.num_leaves == 5 and len(small) == 9
    assert small.level_codes(1) == ("A", "B", "C")
    assert small.level_codes(2) == ("A1", "A2", "B1", "C")
    assert small.level_codes(3) == small.leaf_codes
    assert [[small.codes[i] for i in row] for row in small.path] == [
        ["A", "A1", "A1x"],
        ["A", "A2", "A2"],
        ["B", "B1", "B1x"],
        ["B", "B1", "B1y"],
        ["C", "C", "C"],
    ]
    assert small.leaf_slice[small.index_of["B"]].tolist() == [2, 4]
    assert small.group.tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 4]
    assert small.group_slice.tolist() == [[0, 3], [3, 5], [5, 6], [6, 7], [7, 9]]
    assert repr(small) == "Taxonomy('taxonomy', nodes=9, leaves=5, levels=3/4/5)"


@given(taxonomies(), st.integers(0, 9))
def test_with_descendants_is_a_loop(tree, seed):
    own = np.random.default_rng(seed).integers(0, 9, (3, len(tree)))
    expected = own.copy()
    for node in reversed(range(len(tree))):
        if tree.parents[node] >= 0:
            expected[:, tree.parents[node]] += expected[:, node]
    got = tree.with_descendants(own)
    assert got.dtype == np.int64 and (got == expected).all() and (tree.with_descendants(own[0]) == expected[0]).all()


@given(taxonomies())
def test_paths_levels_and_leaves_against_walking_up(tree):
    paths = ancestors(tree)
    has_children = {path[-2] for path in paths.values() if len(path) > 1}
    assert tree.depth == max(map(len, paths.values()))
    assert set(tree.leaf_codes) == set(tree.codes) - has_children
    for node, code in enumerate(tree.codes):
        path = paths[code]
        assert tree.level[node] == len(path)
        assert tree.is_leaf[node] == (code not in has_children)
        rest = [code if tree.is_leaf[node] else None] * (tree.depth - len(path))
        got = [tree.codes[i] if i >= 0 else None for i in tree.node_path[node]]
        assert got == path + rest
        start, stop = tree.leaf_slice[node]
        assert list(tree.leaf_codes[start:stop]) == [leaf for leaf in tree.leaf_codes if code in paths[leaf]]
        for d in range(1, tree.depth + 1):
            at = tree.node_path[node, d - 1]
            column = tree.level_column[node, d - 1]
            assert (column == -1) if at < 0 else (tree.level_nodes(d)[column] == at)


@given(taxonomies())
def test_order_of_nodes_and_groups(tree):
    assert np.all(np.diff(tree.level) >= 0)
    for group, (start, stop) in enumerate(tree.group_slice):
        members = tree.codes[start:stop]
        assert list(members) == sorted(members)
        assert set(tree.parents[start:stop].tolist()) == {int(tree.parents[start])}
        assert set(tree.group[start:stop].tolist()) == {group}
    assert len(tree.group_slice) == len(set(tree.parents.tolist()))
    assert (np.diff(tree.group_slice, axis=1) > 0).all()


@given(taxonomies(), st.integers(0, 4), seeds)
def test_aggregate_against_a_plain_loop(tree, rows, seed):
    log_p = random_log_proba(tree.num_leaves, rows, seed)
    paths = ancestors(tree)
    nodes = tree.node_log_proba(log_p)
    for level in range(1, tree.depth + 1):
        got = tree.aggregate(log_p, level)
        codes = tree.level_codes(level)
        assert got.shape == (rows, len(codes)) and len(set(codes)) == len(codes)
        for b in range(rows):
            sums = dict.fromkeys(codes, 0.0)
            for leaf, value in zip(tree.leaf_codes, log_p[b], strict=True):
                sums[paths[leaf][min(level, len(paths[leaf])) - 1]] += math.exp(value)
            np.testing.assert_allclose(np.exp(got[b]), [sums[c] for c in codes], rtol=1e-12)
            assert math.isclose(sum(np.exp(got[b])), 1, abs_tol=1e-9)
        np.testing.assert_allclose(nodes[:, tree.level_nodes(level)], got, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@given(taxonomies(), seeds)
def test_float32_sums_to_one_at_every_level(tree, seed):
    log_p = random_log_proba(tree.num_leaves, 3, seed, scale=10).astype(np.float32)
    for level in range(1, tree.depth + 1):
        got = tree.aggregate(log_p, level)
        assert got.dtype == np.float32
        np.testing.assert_allclose(np.exp(got.astype(np.float64)).sum(axis=1), 1, atol=1e-5)


def test_aggregate_far_below_the_row_maximum_does_not_underflow(small):
    log_p = np.array([[-1e4, -1e4, -2e4, -2e4 + 1, 0.0]])
    level1 = small.aggregate(log_p, 1)
    expected = [-1e4 + math.log(2), -2e4 + 1 + math.log1p(math.exp(-1)), 0.0]
    np.testing.assert_allclose(level1[0], expected, rtol=1e-12)
    np.testing.assert_allclose(small.aggregate(log_p.astype(np.float32), 1)[0], expected, rtol=1e-6)


def test_aggregate_of_impossible_leaves(small):
    log_p = np.array([[-np.inf, -np.inf, -np.inf, 0.0, -np.inf]])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(small.aggregate(log_p, 1), [[-np.inf, 0, -np.inf]])
    assert np.isnan(small.aggregate(np.array([[np.nan, 0, 0, 0, 0]]), 1)[0, 0])  # a NaN is not hidden


def test_aggregate_takes_whole_numbers_and_refuses_other_shapes(small):
    zeros = np.zeros((1, 5), dtype=np.int64)
    np.testing.assert_allclose(small.aggregate(zeros, 1), np.log([[2, 2, 1]]))
    np.testing.assert_allclose(small.node_log_proba(zeros)[0, :3], np.log([2, 2, 1]))
    for wrong in (np.zeros(5), np.zeros((1, 4))):
        with pytest.raises(ValueError, match=r"expected \(rows, 5\)"):
            small.aggregate(wrong, 1)
    for level in (0, 4, 1.5):
        with pytest.raises(ValueError, match="level"):
            small.aggregate(np.zeros((1, 5)), level)


def test_aggregate_gives_a_copy(small):
    log_p = np.zeros((1, 5))
    small.aggregate(log_p, 3)[0, 0] = 7
    assert log_p[0, 0] == 0


@given(taxonomies(), seeds)
def test_lca_level_against_sets(tree, seed):
    a, b = np.random.default_rng(seed).integers(0, len(tree), size=(2, 40))
    paths = ancestors(tree)
    expected = [len(set(paths[tree.codes[x]]) & set(paths[tree.codes[y]])) for x, y in zip(a, b, strict=True)]
    assert tree.lca_level(a, b).tolist() == expected
    assert tree.lca_level(b, a).tolist() == expected
    assert tree.lca_level(a, a).tolist() == tree.level[a].tolist()
    grid = tree.lca_level(a[:, None], b)
    assert grid.shape == (40, 40) and np.diag(grid).tolist() == expected


def test_lca_level_refuses_missing_labels(small):
    assert small.lca_level(6, 3) == 2
    assert small.lca_level([], []).tolist() == []
    for wrong in (-1, 9):
        with pytest.raises(ValueError, match="node numbers are 0 to 8"):
            small.lca_level([0, wrong], [0, 0])


@given(taxonomies(titles=True), st.data(), seeds)
def test_truncate_and_project(tree, data, seed):
    depth = data.draw(st.integers(1, tree.depth))
    cut = tree.truncate(depth)
    paths = ancestors(tree)
    assert cut.depth == depth
    assert set(cut.codes) == {c for c, path in paths.items() if len(path) <= depth}
    assert ancestors(cut) == {c: path for c, path in paths.items() if len(path) <= depth}
    assert {k: len(v) for k, v in cut.titles.items()} == {k: len(cut) for k in tree.titles}
    for node, target in enumerate(tree.truncation_map(depth)):
        path = paths[tree.codes[node]]
        assert cut.codes[target] == path[: min(depth, len(path))][-1]
        for texts, kept in ((tree.titles, cut.titles), (tree.descriptions, cut.descriptions)):
            for language in texts:
                if tree.level[node] <= depth:
                    assert kept[language][target] == texts[language][node]
    # What the cut tree calls its leaves are the columns of the old tree's level: same classes, same probabilities.
    assert cut.leaf_codes == tree.level_codes(depth)
    log_p = random_log_proba(tree.num_leaves, 2, seed)
    at_depth = tree.aggregate(log_p, depth)
    for level in range(1, depth + 1):
        np.testing.assert_allclose(cut.aggregate(at_depth, level), tree.aggregate(log_p, level), rtol=1e-9, atol=1e-12)


def test_truncate_to_the_full_depth_is_the_same_tree(small):
    assert small.truncate(3) == small and small.truncate(3).hash == small.hash
    with pytest.raises(ValueError, match="allowed are 1"):
        small.truncate(4)


@given(edges(), st.randoms(use_true_random=False))
def test_hash_does_not_depend_on_the_order_of_rows(pairs, random):
    codes, parents = pairs
    rows = list(zip(codes, parents, strict=True))
    tree = from_edges(codes, parents)
    random.shuffle(rows)
    again = from_edges([c for c, _ in rows], [p or None for _, p in rows], titles={"en": dict(rows)}, name="other")
    assert again == tree and again.hash == tree.hash and hash(again) == hash(tree)


def test_hash_has_a_fixed_value(small):
    assert small.hash == "b4258d1d5f1c7a60870818bf4a382d5315ce9d000e5aee7712525962ed6ebc25"
    other = from_edges(["A", "B"], ["", "A"])
    assert other.hash != small.hash and other != small and other != "A"


def test_hash_knows_codes_and_shape():
    trees = [
        from_edges(["a", "b", "c"], ["", "a", "a"]),
        from_edges(["a", "b", "c"], ["", "a", "b"]),
        from_edges(["a", "b", "c"], ["", "", "b"]),
        from_edges(["a", "b", "d"], ["", "a", "a"]),
        from_edges(["a", "b"], ["", "a"]),
    ]
    assert len({t.hash for t in trees}) == len(trees) == len(set(trees))


@given(taxonomies(titles=True))
def test_pickle_and_copy_keep_everything(tree):
    tree.path  # noqa: B018  (a filled cache must not get in the way)
    for other in (pickle.loads(pickle.dumps(tree)), copy.deepcopy(tree), copy.copy(tree)):
        assert other == tree and other.titles == tree.titles and other.descriptions == tree.descriptions
        assert other.name == tree.name and other.hash == tree.hash


def test_frozen(small):
    with pytest.raises(AttributeError):
        small.name = "x"
    with pytest.raises(ValueError, match="read-only"):
        small.parents[0] = 3
    with pytest.raises(TypeError):
        small.titles["de"] = ()
    with pytest.raises(TypeError):
        small.index_of["Z"] = 1
    mine = np.array([-1, 0])
    tree = Taxonomy(("a", "b"), mine)
    mine[0] = 5
    assert tree.parents.tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("codes", "parents", "message"),
    [
        ((), [], "at least one code"),
        (("a", "b"), [-1], "shape"),
        (("a", ""), [-1, -1], "non-empty"),
        (("a", "b "), [-1, -1], "blanks"),
        (("a", 7), [-1, -1], "non-empty strings"),
        (("a", "b", "a"), [-1, -1, -1], "duplicate codes: 'a'"),
        (("a", "b"), [1, -1], "breadth-first"),
        (("a", "b"), [-1, 1], "breadth-first"),
        (("a", "b", "c", "d"), [-1, -1, 1, 0], "breadth-first"),
        (("a", "b"), [-2, -1], "breadth-first"),
        (("b", "a"), [-1, -1], "not sorted by code.*'a'"),
        (("a", "b"), [-1.0, 0.5], "integer"),
    ],
)
def test_arrays_that_are_not_a_tree(codes, parents, message):
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy(codes, np.array(parents, dtype=None if parents else np.int64))


def test_texts_must_have_the_length_of_the_codes():
    with pytest.raises(TaxonomyError, match=r"titles\['en'\]: got 1 texts for 2 codes"):
        Taxonomy(("a", "b"), np.array([-1, 0]), titles={"en": ("x",)})


def test_encode_and_title():
    tree = from_edges(["1", "11", "12"], [None, "1", "1"], titles={"en": ["one", "", ""], "pl": {"11": "jedenaście"}})
    assert tree.encode(["12", "1", "12"]).tolist() == [2, 0, 2]
    assert tree.encode([]).dtype == np.int64
    assert [tree.title(i) for i in range(3)] == ["one", "jedenaście", ""]
    assert tree.title(1, "pl") == "jedenaście" and tree.title(0, "pl") == "one" and tree.title(0, "xx") == "one"
    with pytest.raises(TaxonomyError, match="unknown codes in 'taxonomy': 'x0', 'x1', 'x2', 'x3', 'x4' and 2 more"):
        tree.encode([*(f"x{i}" for i in range(7)), "11", "x1"])


def test_one_code_is_a_tree():
    tree = from_edges(["only"], [""])
    assert tree.depth == 1 and tree.path.tolist() == [[0]] and tree.group.tolist() == [0]
    np.testing.assert_array_equal(tree.aggregate(np.zeros((2, 1)), 1), np.zeros((2, 1)))


def test_a_deep_chain_needs_no_recursion():
    n = 1200
    codes = [f"{i:05d}" for i in range(n)]
    tree = from_edges(codes, ["", *codes[:-1]])
    assert tree.depth == n and tree.num_leaves == 1 and tree.lca_level(n - 1, 5) == 6
