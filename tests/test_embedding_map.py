"""The map of jobs and categories: what is drawn where, labels that do not overlap, methods and their names."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Annotation, Text

from hjc.report import embedding_map as module
from hjc.report.embedding_map import MAX_GROUPS, embedding_map, look, place_boxes, project, two_lines
from hjc.report.plots import png
from hjc.taxonomy import from_edges, isco08
from tests.test_category_graph import TREE


def clusters(groups: int, each: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 12))
    return np.repeat(centres, each, axis=0) + 0.1 * rng.normal(size=(groups * each, 12))


def keeps_clusters(points: np.ndarray, each: int) -> bool:
    """The nearest other point of every point is of its own cluster."""
    distance = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return bool((distance.argmin(axis=1) // each == np.arange(len(points)) // each).all())


@pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_methods_keep_neighbours_and_repeat(method: str) -> None:
    if method == "umap":
        pytest.importorskip("umap")
    x = clusters(4, 20)
    points, used = project(x, method)
    assert used == method and points.shape == (80, 2) and np.isfinite(points).all()
    assert keeps_clusters(points, 20)
    np.testing.assert_array_equal(points, project(x, method)[0])


def test_principal_components_are_those_of_a_covariance() -> None:
    x = clusters(3, 10)
    points, used = project(x, "pca")
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.sort(np.linalg.eigvalsh(np.cov(unit.T)))[::-1]
    assert used == "pca"
    np.testing.assert_allclose(points.var(axis=0, ddof=1), values[:2], rtol=1e-4)
    for few in (0, 1, 2, 5):
        assert project(x[:few], "tsne")[0].shape == (few, 2) and project(x[:few], "auto")[1] == "pca"


def test_auto_takes_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert project(clusters(4, 5), "auto")[1] == "tsne"
    with pytest.raises(ImportError, match=r"hjc\[map\]"):
        project(clusters(4, 5), "umap")
    with pytest.raises(ValueError, match="auto, umap, tsne, pca"):
        project(clusters(4, 5), "mds")


def texts_of(figure: object) -> list[str]:
    return [t.get_text() for t in figure.axes[0].texts]  # type: ignore[attr-defined]


def test_what_is_drawn() -> None:
    gold = np.array([TREE.index_of[c] for c in ("11", "12", "211", "212", "3", "2")] * 3 + [-1])
    rng = np.random.default_rng(0)
    figure = embedding_map(TREE, rng.normal(size=(19, 5)), gold, rng.normal(size=(8, 5)), method="pca", title="Test")
    axes = figure.axes[0]
    assert axes.get_title() == "Test: 19 jobs and 8 categories (principal components of cosines)"
    assert texts_of(figure) == ["A", "B", "soldier"]
    assert sum(len(c.get_offsets()) for c in axes.collections) == 27
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["no group at this level", "1 A", "2 B", "3 soldier"]
    assert png(figure)[:4] == b"\x89PNG"
    # level 2: 11, 12, 21, and 3, which stands for itself; a job coded to 2 has no group there, and neither has node 1
    figure = embedding_map(TREE, rng.normal(size=(19, 5)), gold, rng.normal(size=(8, 5)), level=2, method="pca")
    assert texts_of(figure) == ["bread baker", "cake baker", "C", "soldier"]
    grey = next(c for c in figure.axes[0].collections if len(c.get_offsets()))
    assert len(grey.get_offsets()) == 3 + 1 + 2
    only_jobs = embedding_map(TREE, rng.normal(size=(19, 5)), gold, method="pca", limit=10)
    assert only_jobs.axes[0].get_title() == "10 jobs (principal components of cosines)"
    leaves = embedding_map(TREE, np.empty((0, 5)), [], rng.normal(size=(5, 5)), method="pca")
    assert leaves.axes[0].get_title() == "0 jobs and 5 categories (principal components of cosines)"


def test_labels_of_ten_groups_do_not_overlap() -> None:
    tree = isco08()
    rng = np.random.default_rng(3)
    figure = embedding_map(
        tree, rng.normal(size=(50, 6)), rng.integers(0, 619, 50), 0.3 * rng.normal(size=(619, 6)), method="pca"
    )
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    figure.draw_without_rendering()
    labels = [t for t in figure.axes[0].texts if isinstance(t, Annotation)]
    assert len(labels) == 10
    boxes = [Text.get_window_extent(t, renderer) for t in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len({look(i)[0] for i in range(10)}) == 10


def test_looks_are_unlike() -> None:
    assert len({look(i) for i in range(MAX_GROUPS)}) == MAX_GROUPS
    assert all(a != b for i in range(99) for a, b in zip(look(i), look(i + 1), strict=True))


def test_more_groups_than_looks_share_the_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUPS", 9)
    n = 9 + 5
    tree = from_edges([f"{i:03d}" for i in range(n)], [None] * n)
    gold = np.r_[np.arange(n), np.arange(9)]
    figure = embedding_map(tree, np.random.default_rng(0).normal(size=(len(gold), 3)), gold, method="pca")
    assert len(texts_of(figure)) == 9 and texts_of(figure)[-1] == "008"
    assert len(next(c for c in figure.axes[0].collections if len(c.get_offsets())).get_offsets()) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 2)), [0, 1]), r"expected \(3,\)"),
        ((np.ones((2, 2)), [0, 8]), "below 8"),
        ((np.ones((2, 2)), [0, 1], np.ones((6, 2))), r"8 \(nodes\) or 5"),
        ((np.ones((2, 2)), [0, 1], np.ones((8, 3))), "3 dimensions"),
        ((np.empty((0, 2)), []), "nothing to draw"),
    ],
)
def test_bad_input_is_named(arguments: tuple, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        embedding_map(TREE, *arguments)


@given(st.integers(1, 12), st.integers(0, 999))
def test_boxes_find_free_places(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchor, half = rng.random((m, 2)) * 200 + 300, np.c_[rng.random(m) * 50 + 10, np.full(m, 8.0)]
    low, high = half, np.array([800.0, 800.0]) - half
    placed = place_boxes(anchor, half, low, high, anchor, 5)
    assert (placed >= low).all() and (placed <= high).all()
    for i in range(m):
        for j in range(i):
            assert (np.abs(placed[i] - placed[j]) >= half[i] + half[j] - 1e-6).any()
        assert ((np.abs(placed[i] - anchor) >= half[i] + 5 - 1e-6).any(axis=1)).all()
    crowded = place_boxes(anchor, half, half, half, anchor, 5)
    np.testing.assert_array_equal(crowded, half)


def test_two_lines() -> None:
    assert two_lines("Managers", 10) == "Managers"
    assert two_lines("Craft and related trades workers", 17) == "Craft and related\ntrades workers"
    assert two_lines("Skilled agricultural, forestry and fishery workers", 16) == "Skilled\nagricultural, f…"
    assert two_lines("", 10) == "" and module.NAMES["umap"] == "UMAP"
