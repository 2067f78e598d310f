"""Graphs of similar categories: every source against a loop, lifting, thinning, files."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from hjc.crosswalk.correspondence import Correspondence
from hjc.crosswalk.mapping import build_crosswalk
from hjc.errors import TaxonomyError
from hjc.taxonomy import Taxonomy, from_edges
from hjc.taxonomy.graph.category_graph import CategoryGraph, Link, combine
from hjc.taxonomy.graph.sources import (
    confusion_counts,
    confusion_graph,
    confusion_table,
    crosswalk_graph,
    item_graph,
    text_graph,
    vector_graph,
)
from tests.strategies import random_log_proba, taxonomies

TREE = from_edges(
    ["1", "11", "12", "2", "21", "211", "212", "3"],
    [None, "1", "1", None, "2", "21", "21", None],
    titles={"en": ["A", "bread baker", "cake baker", "B", "C", "truck driver", "bus driver", "soldier"]},
    name="small",
)


def random_graph(tree: Taxonomy, seed: int, density: float = 0.4) -> CategoryGraph:
    """Links between leaves only."""
    rng = np.random.default_rng(seed)
    m = rng.random((tree.num_leaves,) * 2) * (rng.random((tree.num_leaves,) * 2) < density)
    return CategoryGraph.from_leaves(tree, np.maximum(m, m.T), {"sources": [{"kind": "random"}], "steps": []})


def as_dict(graph: CategoryGraph) -> dict[tuple[str, str], float]:
    return {
        (link.code, link.other): link.similarity
        for code in graph.taxonomy.codes
        for link in graph.neighbours(code, None)
    }


# ------------------------------------------------------------------ the graph itself


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("11", "12", 0.5)], "symmetric"),
        ([("11", "12", 1.5), ("12", "11", 1.5)], r"\(0, 1\]"),
        ([("11", "12", -0.5), ("12", "11", -0.5)], r"\(0, 1\]"),
        ([("11", "12", np.nan), ("12", "11", np.nan)], r"\(0, 1\]"),
        ([("11", "11", 0.5)], "'11' - '11'"),
        ([("2", "212", 0.5), ("212", "2", 0.5)], "'2' - '212'"),
    ],
)
def test_what_is_no_graph_is_refused(pairs: list[tuple[str, str, float]], message: str) -> None:
    at = TREE.index_of
    m = sparse.csr_array(([p[2] for p in pairs], ([at[p[0]] for p in pairs], [at[p[1]] for p in pairs])), shape=(8, 8))
    with pytest.raises(TaxonomyError, match=message):
        CategoryGraph(TREE, m, {})


def test_shapes_are_named_and_arrays_frozen() -> None:
    with pytest.raises(TaxonomyError, match=r"expected \(8, 8\)"):
        CategoryGraph(TREE, sparse.csr_array((3, 3)), {})
    with pytest.raises(TaxonomyError, match=r"expected \(5, 5\)"):
        CategoryGraph.from_leaves(TREE, np.zeros((8, 8)))
    graph = random_graph(TREE, 0, density=1)
    with pytest.raises(ValueError):
        graph.matrix.data[0] = 0.1
    with pytest.raises(TypeError):
        graph.provenance["sources"] = []  # type: ignore[index]


def test_neighbours_strongest_and_isolated() -> None:
    m = np.zeros((5, 5))  # leaves 11, 12, 211, 212, 3
    m[0, 2] = m[2, 0] = 0.5
    m[0, 1] = m[1, 0] = 0.9
    m[2, 3] = m[3, 2] = 0.5
    graph = CategoryGraph.from_leaves(TREE, m)
    assert graph.links == 3 and "links=3" in repr(graph)
    assert graph.isolated_leaves == ("3",)
    assert graph.neighbours("11") == [Link("11", "12", 0.9), Link("11", "211", 0.5)]
    assert graph.neighbours("11", 1) == [Link("11", "12", 0.9)]
    assert graph.neighbours("211") == [Link("211", "11", 0.5), Link("211", "212", 0.5)]
    assert graph.neighbours("3") == []
    assert graph.strongest(2) == [Link("11", "12", 0.9), Link("11", "211", 0.5)]
    assert graph.strongest(9, apart=1) == [Link("11", "211", 0.5)]
    with pytest.raises(TaxonomyError, match="'99'"):
        graph.neighbours("99")
    assert graph.at_least(0.6).strongest() == [Link("11", "12", 0.9)]


@given(taxonomies(max_nodes=20), st.integers(0, 999), st.integers(1, 4), st.booleans(), st.booleans())
def test_top_is_a_loop(tree: Taxonomy, seed: int, k: int, mutual: bool, lifted: bool) -> None:
    graph = random_graph(tree, seed, 0.8)
    graph = graph.lift("max") if lifted else graph
    links = as_dict(graph)
    listed = set()
    for code, node in tree.index_of.items():
        for level in range(1, tree.depth + 1):
            own = [link for link in graph.neighbours(code, None) if tree.level[tree.index_of[link.other]] == level]
            listed |= {(code, link.other) for link in own[:k]}
        assert node >= 0
    either, both = {*listed, *((b, a) for a, b in listed)}, {(a, b) for a, b in listed if (b, a) in listed}
    expected = {pair: links[pair] for pair in (both if mutual else either)}
    assert as_dict(graph.top(k, mutual=mutual)) == pytest.approx(expected)


# ------------------------------------------------------------------ lifting


@given(taxonomies(max_nodes=20), st.integers(0, 999), st.sampled_from(["mean", "max"]))
def test_lift_is_a_loop_over_pairs_of_leaves(tree: Taxonomy, seed: int, how: str) -> None:
    graph = random_graph(tree, seed)
    lifted = graph.lift(how)  # type: ignore[arg-type]
    leaf = graph.matrix[tree.leaves][:, tree.leaves].toarray()
    expected = {}
    for d in range(1, tree.depth + 1):
        for a in tree.level_nodes(d).tolist():
            for b in tree.level_nodes(d).tolist():
                under = [
                    leaf[i, j]
                    for i in range(*tree.leaf_slice[a].tolist())
                    for j in range(*tree.leaf_slice[b].tolist())
                ]  # fmt: skip
                value = np.mean(under) if how == "mean" else max(under)
                if a != b and value > 0:
                    expected[tree.codes[a], tree.codes[b]] = value
    assert as_dict(lifted) == pytest.approx(expected)
    assert lifted.provenance["steps"] == [{"lift": how}]
    again = lifted.lift(how)  # type: ignore[arg-type]
    assert as_dict(again) == pytest.approx(as_dict(lifted))


def test_lift_keeps_links_that_inner_nodes_have() -> None:
    at = TREE.index_of
    m = sparse.lil_array((8, 8))
    for a, b, value in (("1", "2", 0.125), ("11", "211", 1.0)):
        m[at[a], at[b]] = m[at[b], at[a]] = value
    found = as_dict(CategoryGraph(TREE, sparse.csr_array(m), {}).lift())
    assert found["1", "2"] == 0.125
    assert found["11", "21"] == 0.5  # at level 2: one link among 1 x 2 pairs of leaves


# ------------------------------------------------------------------ combining


def test_combine_is_a_weighted_mean() -> None:
    a, b = random_graph(TREE, 1), random_graph(TREE, 2)
    c = combine([a.top(2), b], [3, 1])
    expected = 0.75 * a.top(2).matrix.toarray() + 0.25 * b.matrix.toarray()
    np.testing.assert_allclose(c.matrix.toarray(), expected)
    assert [s["weight"] for s in c.provenance["sources"]] == [0.75, 0.25]
    assert c.provenance["sources"][0]["steps"] == [{"top": 2, "mutual": False}]
    assert [s["weight"] for s in combine([c, a]).provenance["sources"]] == [0.375, 0.125, 0.5]
    with pytest.raises(TaxonomyError, match="cannot combine"):
        combine([a, random_graph(from_edges(["1", "2"], [None, None]), 0)])
    for weights in ([1], [0, 0], [1, -1], [1, np.nan]):
        with pytest.raises(ValueError, match="weights"):
            combine([a, b], weights)
    with pytest.raises(ValueError, match="at least one"):
        combine([])


# ------------------------------------------------------------------ sources


@st.composite
def item_tables(draw: st.DrawFn) -> tuple[Taxonomy, Correspondence]:
    tree = draw(taxonomies(max_nodes=14, plain_codes=True))
    codes = st.sampled_from([*tree.codes, "unknown"])
    rows = draw(st.lists(st.tuples(codes, st.sampled_from("abcdeABC"), st.sampled_from([0.5, 1.0, 2.0, 4.0]))))
    rows.append((tree.leaf_codes[0], "a", 1.0))
    table = Correspondence.from_pairs([(c, i) for c, i, _ in rows], [w for _, _, w in rows], name="items")
    return tree, table


@given(item_tables(), st.sampled_from(["jaccard", "tfidf"]), st.booleans())
def test_shared_items_are_a_loop(made: tuple[Taxonomy, Correspondence], method: str, idf: bool) -> None:
    tree, table = made
    values: list[dict[str, float]] = [{} for _ in tree.leaves]
    for code, item, value in zip(table.source, table.target, table.weight or (), strict=True):
        if code in tree.index_of:
            for leaf in range(*tree.leaf_slice[tree.index_of[code]].tolist()):
                own = values[leaf]
                own[item.lower()] = max(own.get(item.lower(), 0), value)
    n = sum(bool(v) for v in values)
    names = sorted({i for v in values for i in v})
    factor = {i: np.log((1 + n) / (1 + sum(i in v for v in values))) if idf else 1.0 for i in names}
    vectors = [np.array([v.get(i, 0) * factor[i] for i in names]) for v in values]
    expected = {}
    for a, x in enumerate(vectors):
        for b, y in enumerate(vectors):
            if method == "jaccard":
                total = np.maximum(x, y).sum()
                value = np.minimum(x, y).sum() / total if total > 0 else 0
            else:
                total = np.sqrt((x @ x) * (y @ y))
                value = (x @ y) / total if total > 0 else 0
            if a != b and value > 0:
                expected[tree.leaf_codes[a], tree.leaf_codes[b]] = value
    graph = item_graph(tree, table, method=method, idf=idf, k=None)  # type: ignore[arg-type]
    assert as_dict(graph) == pytest.approx(expected)


def test_items_are_accounted_for(tmp_path: Path) -> None:
    rows = [
        ("11", "Oven", 5),
        ("12", "oven ", 4),
        ("12", "mixer", 1),
        ("2", "wheel", 3),
        ("x", "oven", 5),
        ("x", "", 1),
    ]
    table = Correspondence.from_pairs([r[:2] for r in rows], [r[2] for r in rows], name="tools")
    file = tmp_path / "tools.csv"
    file.write_text("code,item\n")
    os.utime(file, (86_400, 86_400))
    graph = item_graph(TREE, table, min_value=2, idf=False, files=[file])
    assert as_dict(graph) == pytest.approx({("11", "12"): 0.8, ("12", "11"): 0.8, ("211", "212"): 1, ("212", "211"): 1})
    source = graph.provenance["sources"][0]
    assert source["counts"] == {
        "rows": 6, "items": 2, "leaves_with_items": 4, "rows_below_min_value": 1, "rows_of_unknown_codes": 2,
        "unknown_codes": 1,
    }  # fmt: skip
    assert source["files"][0]["name"] == "tools.csv" and source["files"][0]["modified"] == "1970-01-02"
    assert len(source["input_sha256"]) == 64
    assert item_graph(TREE, table, idf=False).provenance["sources"][0]["input_sha256"] != source["input_sha256"]
    with pytest.raises(TaxonomyError, match="codes like 'x'"):
        item_graph(TREE, Correspondence.from_pairs([("x", "oven")]))
    with pytest.raises(ValueError, match="no weights"):
        item_graph(TREE, Correspondence.from_pairs([("11", "oven")]), min_value=3)
    with pytest.raises(ValueError, match="jaccard, tfidf"):
        item_graph(TREE, table, method="cosine")  # type: ignore[arg-type]


def test_k_keeps_the_strongest_links_of_each_leaf() -> None:
    pairs = [
        (c, f"{i}") for c, items in (("11", "abcd"), ("12", "abcx"), ("211", "abyz"), ("212", "ayzw")) for i in items
    ]
    graph = item_graph(TREE, Correspondence.from_pairs(pairs), idf=False, k=1)
    whole = as_dict(item_graph(TREE, Correspondence.from_pairs(pairs), idf=False, k=None))
    assert as_dict(graph) == {p: s for p, s in whole.items() if set(p) in ({"11", "12"}, {"211", "212"})}
    assert len(whole) == 12


def test_texts() -> None:
    graph = text_graph(TREE)
    assert {frozenset(p) for p in as_dict(graph)} == {frozenset({"11", "12"}), frozenset({"211", "212"})}
    letters = text_graph(TREE, ["baker", "bakery", "driver", "drivers", ""], analyzer="char_wb")
    assert letters.isolated_leaves == ("3",)
    assert [link.other for link in letters.neighbours("11", 1)] == ["12"]
    assert [link.other for link in letters.neighbours("211", 1)] == ["212"]
    with pytest.raises(ValueError, match="expected one for each of the 5"):
        text_graph(TREE, ["a"])
    with pytest.raises(ValueError, match="no titles"):
        text_graph(from_edges(["1", "2"], [None, None]))


@given(taxonomies(max_nodes=15), st.integers(0, 99), st.booleans())
def test_vectors_are_a_loop(tree: Taxonomy, seed: int, whole: bool) -> None:
    rows = len(tree) if whole else tree.num_leaves
    x = np.random.default_rng(seed).normal(size=(rows, 4))
    graph = vector_graph(tree, x, k=len(tree), minimum=0.2)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    vector = dict(zip(tree.codes if len(x) == len(tree) else tree.leaf_codes, unit, strict=True))
    if len(x) == tree.num_leaves:
        levels = [tree.leaf_codes]
        vector = dict(zip(tree.leaf_codes, unit, strict=True))
    else:
        levels = [tree.level_codes(d) for d in range(1, tree.depth + 1)]
    expected = {(a, b): vector[a] @ vector[b] for codes in levels for a in codes for b in codes if a != b}
    assert as_dict(graph) == pytest.approx({p: s for p, s in expected.items() if s > 0.2}, abs=1e-5)


def test_vectors_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 5 \(leaves\) or 8"):
        vector_graph(TREE, np.ones((6, 2)))


def test_crosswalk_links_leaves_that_share_a_target() -> None:
    other = from_edges(["a", "b", "b1", "b2"], [None, None, "b", "b"], name="other")
    table = Correspondence.from_pairs([("11", "a"), ("12", "a"), ("12", "b1"), ("211", "b"), ("212", "nowhere")])
    graph = crosswalk_graph(build_crosswalk(table, TREE, other))
    # 11: a 1; 12: a 1/2, b1 1/2; 211: b1 1/2, b2 1/2
    expected = {("11", "12"): 0.5 / 1.5, ("12", "211"): 0.5 / 1.5}
    assert as_dict(graph) == pytest.approx({**expected, **{(b, a): s for (a, b), s in expected.items()}})
    assert graph.provenance["sources"][0]["options"]["target"] == "other"
    assert set(graph.isolated_leaves) == {"212", "3"}


def test_confusions_from_probabilities_and_tables_agree() -> None:
    rng = np.random.default_rng(0)
    leaves = TREE.leaves
    gold = np.r_[leaves[rng.integers(0, 5, 200)], TREE.index_of["21"], -1]
    log_p = random_log_proba(5, 202, 1)
    soft, skipped = confusion_counts(TREE, log_p, gold)
    assert skipped == 2
    expected = np.zeros((5, 5))
    for row, g in zip(np.exp(log_p), gold, strict=True):
        if g in leaves:
            expected[leaves.tolist().index(g)] += row
    np.testing.assert_allclose(soft.toarray(), expected)
    hard, _ = confusion_counts(TREE, np.log(np.eye(5)[log_p.argmax(1)] + 1e-300), gold, keep=1)
    pairs = [(TREE.codes[g], TREE.leaf_codes[i]) for g, i in zip(gold[:200], log_p[:200].argmax(1), strict=True)]
    counts, left_out = confusion_table(TREE, Correspondence.from_pairs([*pairs, ("21", "11"), ("11", "?")]))
    assert left_out == 2
    np.testing.assert_allclose(counts.toarray(), hard.toarray(), atol=1e-9)
    graph = confusion_graph(TREE, soft, shrink=2)
    p = expected / (expected.sum(axis=1, keepdims=True) + 2)
    for a, code in enumerate(TREE.leaf_codes):
        for link in graph.neighbours(code):
            b = TREE.leaf_codes.index(link.other)
            assert link.similarity == pytest.approx((p[a, b] + p[b, a]) / 2)
    for bad, error in ((np.zeros((5, 5)), ValueError), (np.ones((4, 4)), TaxonomyError), (-np.eye(5), ValueError)):
        with pytest.raises(error):
            confusion_graph(TREE, bad)
    with pytest.raises(TaxonomyError, match="no pair"):
        confusion_table(TREE, Correspondence.from_pairs([("21", "11")]))
    with pytest.raises(ValueError, match="expected"):
        confusion_counts(TREE, log_p[:, :4], gold)


# ------------------------------------------------------------------ files


def test_files_keep_the_matrix_to_the_bit_and_the_provenance(tmp_path: Path) -> None:
    graph = random_graph(TREE, 5).lift()
    path = tmp_path / "graph"
    graph.save(path)
    again = CategoryGraph.load(path, TREE)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(again.matrix, part), getattr(graph.matrix, part))
    assert dict(again.provenance) == dict(graph.provenance)
    before = path.read_bytes()
    graph.save(path)
    assert path.read_bytes() == before
    with pytest.raises(TaxonomyError, match="other codes than 'else'"):
        CategoryGraph.load(path, from_edges(["1"], [None], name="else"))


def test_damaged_graphs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "graph.npz"
    with pytest.raises(FileNotFoundError, match=r"graph\.npz"):
        CategoryGraph.load(path, TREE)
    graph = random_graph(TREE, 5)
    graph.save(path)
    data = path.read_bytes()
    for broken in (b"", b"text", data[: len(data) // 2], data[:-30]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="damaged or no graph"):
            CategoryGraph.load(path, TREE)
    about = {"format_version": 1, "taxonomy": "small", "taxonomy_hash": TREE.hash, "provenance": {}}

    def store(about: dict, **arrays: np.ndarray) -> None:  # type: ignore[type-arg]
        m = graph.matrix
        parts = {"data": m.data, "indices": m.indices, "indptr": m.indptr, **arrays}
        np.savez(path, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **parts)

    store({**about, "format_version": 2})
    with pytest.raises(ValueError, match="upgrade hjc"):
        CategoryGraph.load(path, TREE)
    store(about, indices=graph.matrix.indices + 100)
    with pytest.raises(TaxonomyError, match="damaged matrix"):
        CategoryGraph.load(path, TREE)
    np.savez(path, about=np.array([{"pickle": 1}], dtype=object))
    with pytest.raises(ValueError, match="damaged or no graph"):
        CategoryGraph.load(path, TREE)
