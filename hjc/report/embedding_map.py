"""A map of jobs and categories: high-dimensional vectors drawn in two dimensions, coloured by major group.

UMAP (McInnes, Healy & Melville 2018, arXiv:1802.03426; extra ``map``) where it is installed, else t-SNE (van der
Maaten & Hinton 2008) of scikit-learn; principal components for a handful of points. All keep near what is near;
distances between far groups mean little, and the axes have no unit.
"""

import importlib.util
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text

from hjc.arrays import Float32, Float64, IntArray, ObjectArray
from hjc.errors import check_choice
from hjc.index import normalise
from hjc.index.exact import as_vectors
from hjc.report.plots import COLOURS, GREY, MARKERS, new_figure, plot_style, shown_title
from hjc.report.text import printable, shorten
from hjc.taxonomy import Taxonomy

METHODS = ("auto", "umap", "tsne", "pca")
NAMES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "principal components"}
#: below so many points, neighbours are too few for UMAP or t-SNE
_FEW = 16
#: ISCO-08 has ten major groups: three of Tol's muted colours after those of Okabe and Ito
MAP_COLOURS = (*COLOURS, "#882255", "#999933", "#332288")
#: groups that colour and marker together can tell apart
MAX_GROUPS = len(MAP_COLOURS) * len(MARKERS)
_LABEL, _LEGEND = 24, 46
_STYLES: dict[str, dict[str, Any]] = {
    "job": {"alpha": 0.45, "linewidths": 0, "zorder": 2},
    "category": {"alpha": 0.9, "edgecolors": "white", "linewidths": 0.5, "zorder": 3},
    "group": {"edgecolors": "black", "linewidths": 1.2, "zorder": 4},
}
#: half the width of the point of a group, in pixels
_MARKER = 9.0
_SIZES = {"job": 7, "category": 26, "group": 130}


class _Points(NamedTuple):
    """Points of the map: where, in which group (-1: none), of which kind ("job", "category" or "group")."""

    where: Float64
    group: IntArray
    kind: ObjectArray


def project(vectors: npt.ArrayLike, method: str = "auto", *, seed: int = 0) -> tuple[Float64, str]:
    """(n, H) vectors to (n, 2) points by cosine, and the method that was used (umap, tsne or pca).

    The same seed gives the same points on the same machine.

    Raises:
        ValueError: an unknown method, or vectors that are not (n, H) finite numbers.
        ImportError: umap was asked for by name and is not installed.
    """
    check_choice("method", method, METHODS)
    x = normalise(as_vectors(vectors, "vectors"))
    installed = importlib.util.find_spec("umap") is not None
    if method == "umap" and not installed:
        raise ImportError("method 'umap' is not installed: pip install 'hjc[map]', or use 'tsne' or 'auto'")
    if method == "auto" or len(x) < _FEW:
        method = "pca" if len(x) < _FEW else "umap" if installed else "tsne"
    if method == "umap":
        from umap import UMAP

        model = UMAP(n_neighbors=15, min_dist=0.15, metric="cosine", random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(x), dtype=np.float64), method
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(x) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
        return np.asarray(tsne.fit_transform(x), dtype=np.float64), method
    centred = (x - x.mean(axis=0)).astype(np.float64) if len(x) else x.astype(np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(x), 2))
    points[:, : min(2, len(axes))] = centred @ axes[:2].T
    return points, method


def embedding_map(
    taxonomy: Taxonomy,
    jobs: npt.ArrayLike,
    gold: npt.ArrayLike,
    categories: npt.ArrayLike | None = None,
    *,
    level: int = 1,
    method: str = "auto",
    limit: int = 1500,
    seed: int = 0,
    title: str = "",
) -> Figure:
    """Jobs as small points, categories as outlined ones, those of ``level`` large and with their titles.

    Args:
        jobs: (n, H) vectors of jobs, say of validation rows; at most ``limit`` of them, drawn at random, are shown.
        gold: (n,) node of each job; -1, or a node above ``level``, is drawn in grey.
        categories: (N, H), a row a node, or (L, H), a row a leaf; None draws jobs only.
        level: whose groups have the colours.
        method: see :func:`project`; the title of the plot names the one that was used.

    Raises:
        ValueError: shapes that do not fit, or nothing to draw.
    """
    depth = taxonomy.check_level(level)
    x, nodes = as_vectors(jobs, "jobs"), np.asarray(gold, dtype=np.int64)
    if nodes.shape != (len(x),) or (len(nodes) and (nodes.min() < -1 or nodes.max() >= len(taxonomy))):
        raise ValueError(f"gold: got shape {nodes.shape}, expected ({len(x)},) node numbers below {len(taxonomy)}")
    if len(x) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(x), limit, replace=False))
        x, nodes = x[chosen], nodes[chosen]
    places, vectors = _categories(taxonomy, categories, x.shape[1])
    if not len(x) + len(vectors):
        raise ValueError("nothing to draw: no jobs and no categories")
    where, used = project(np.concatenate([x, vectors]), method, seed=seed)
    columns = np.r_[taxonomy.level_column[:, depth - 1], -1]  # the last answers for -1
    kinds = np.r_[np.full(len(x), "job", dtype=object), np.full(len(vectors), "category", dtype=object)]
    is_group = np.r_[np.zeros(len(x), dtype=bool), columns[places] >= 0]
    is_group[len(x) :] &= np.isin(places, taxonomy.level_nodes(depth)) & (taxonomy.level[places] == depth)
    kinds[is_group] = "group"
    points = _Points(where, columns[np.r_[nodes, places]], kinds)
    shown = f"{len(x):,} jobs" + (f" and {len(vectors):,} categories" if len(vectors) else "")
    with plot_style():
        return _draw(taxonomy, points, depth, f"{title + ': ' if title else ''}{shown} ({NAMES[used]} of cosines)")


def _categories(taxonomy: Taxonomy, categories: npt.ArrayLike | None, dimensions: int) -> tuple[IntArray, Float32]:
    """Nodes and vectors of the categories."""
    if categories is None:
        return np.empty(0, dtype=np.int64), np.empty((0, dimensions), dtype=np.float32)
    vectors = as_vectors(categories, "categories", dimensions)
    if len(vectors) == len(taxonomy):
        return np.arange(len(taxonomy)), vectors
    if len(vectors) == taxonomy.num_leaves:
        return taxonomy.leaves, vectors
    raise ValueError(
        f"categories: got {len(vectors)} rows, expected {len(taxonomy)} (nodes) or {taxonomy.num_leaves} (leaves)"
    )


def look(i: int) -> tuple[str, str]:
    """Colour and marker of group i: neighbours in the list differ in both, and no pair comes twice in 70 groups."""
    return MAP_COLOURS[i % len(MAP_COLOURS)], MARKERS[(i + i // len(MAP_COLOURS)) % len(MARKERS)]


def _draw(taxonomy: Taxonomy, points: _Points, level: int, title: str) -> Figure:
    present, counts = np.unique(points.group[points.group >= 0], return_counts=True)
    if len(present) > MAX_GROUPS:  # the smallest ones share the grey of points without a group
        present = np.sort(present[np.argsort(-counts, kind="stable")[:MAX_GROUPS]])
    groups = present.tolist()
    columns = 2 if len(groups) <= 14 else 3
    lines = -(-(len(groups) + 1) // columns)
    figure = new_figure(6.6 + 0.17 * lines)
    axes = figure.subplots()
    axes.set_title(printable(title))
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    handles = []
    nodes = taxonomy.level_nodes(level)
    other = ~np.isin(points.group, present)
    if other.any():
        x, y = points.where[other].T
        axes.scatter(x, y, s=_SIZES["job"], color=GREY, marker=".", linewidths=0, alpha=0.5, zorder=1)
        handles.append(Line2D([], [], linestyle="", marker=".", color=GREY, label="no group at this level"))
    width = _LEGEND if columns == 2 else _LEGEND - 18
    for i, group in enumerate(groups):
        colour, marker = look(i)
        for kind, style in _STYLES.items():
            x, y = points.where[(points.group == group) & (points.kind == kind)].T
            axes.scatter(x, y, s=_SIZES[kind], color=colour, marker=marker, **style)
        name = f"{taxonomy.codes[nodes[group]]}  {shown_title(taxonomy, int(nodes[group]))}"
        handles.append(Line2D([], [], linestyle="", marker=marker, color=colour, label=shorten(name, width)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=7.5, handletextpad=0.3)
    _label(figure, axes, taxonomy, points, groups, nodes)
    return figure


def _label(
    figure: Figure, axes: Axes, taxonomy: Taxonomy, points: _Points, groups: Sequence[int], nodes: IntArray
) -> None:
    """The title of each group at its own point, else amid its points, moved apart where titles would overlap."""
    labels: list[Annotation] = []
    own_point = np.zeros(len(groups), dtype=bool)
    for i, group in enumerate(groups):
        mine = points.group == group
        own = points.where[mine & (points.kind == "group")]
        own_point[i] = len(own) > 0
        anchor = own[0] if len(own) else np.median(points.where[mine], axis=0)
        node = int(nodes[group])
        labels.append(
            axes.annotate(
                two_lines(shown_title(taxonomy, node), _LABEL) or taxonomy.codes[node], anchor, xytext=anchor,
                ha="center", va="center", fontsize=7.5, fontweight="bold", linespacing=0.95, color=look(i)[0], zorder=6,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3},
            )
        )  # fmt: skip
    figure.draw_without_rendering()
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axes.get_window_extent(renderer)
    # of the text alone: the extent of an annotation has its arrow in it
    boxes = [Text.get_window_extent(label, renderer) for label in labels]
    half = np.array([[box.width / 2 + 2, box.height / 2 + 1] for box in boxes]).reshape(-1, 2)
    centres = axes.transData.transform(np.array([label.xy for label in labels]).reshape(-1, 2))
    low, high = np.array([frame.x0, frame.y0]) + half, np.array([frame.x1, frame.y1]) - half
    placed = place_boxes(centres, half, low, high, centres[own_point], _MARKER)
    for label, at in zip(labels, axes.transData.inverted().transform(placed), strict=True):
        label.set_position((float(at[0]), float(at[1])))


def two_lines(text: str, width: int) -> str:
    """The text broken into at most two lines of about ``width`` characters."""
    lines = textwrap.wrap(text, width, break_long_words=False)
    return "\n".join([lines[0], shorten(" ".join(lines[1:]), width)]) if len(lines) > 1 else text


#: above, below, right, left, and the corners
_DIRECTIONS = np.array([[0, 1], [0, -1], [1, 0], [-1, 0], [1, 1], [-1, 1], [1, -1], [-1, -1]], dtype=np.float64)


def place_boxes(anchor: Float64, half: Float64, low: Float64, high: Float64, fixed: Float64, margin: float) -> Float64:
    """(m, 2) centres for boxes of half sizes (m, 2) near their anchors: the first free place in widening rounds.

    A place is free when it overlaps no box placed before, and no square of half side ``margin`` around a point of
    ``fixed`` (k, 2). Where no place is free, the box takes the one with least overlap. Centres stay in [low, high].
    """
    centres = np.array(fixed, dtype=np.float64).reshape(-1, 2)
    sizes = np.full(centres.shape, margin)
    placed = np.empty((len(anchor), 2))
    reach = np.repeat(np.arange(0.0, 240.0, 6.0), len(_DIRECTIONS))[:, None]
    away = np.tile(_DIRECTIONS, (len(reach) // len(_DIRECTIONS), 1))
    for i in range(len(anchor)):
        tries = np.clip(anchor[i] + away * (half[i] + margin + reach), low[i], np.maximum(low[i], high[i]))
        over = half[i] + sizes[None] - np.abs(tries[:, None] - centres[None])
        overlap = np.where((over > 1e-9).all(axis=2), over.min(axis=2, initial=np.inf), 0.0).sum(axis=1)
        placed[i] = tries[int(overlap.argmin())]
        centres, sizes = np.concatenate([centres, placed[i : i + 1]]), np.concatenate([sizes, half[i : i + 1]])
    return placed
