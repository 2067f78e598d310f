"""The plots of a run report, and how all plots look. A plot takes numbers and gives a figure, None without any.

Okabe-Ito colours with a marker each, one hue for matrices, sizes that print, no global state.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hjc.decision.selective import risk_coverage_band
from hjc.metrics import RowScores
from hjc.metrics.intervals import wilson
from hjc.report.tables import Confusion, Reliability, Share, recall_curve
from hjc.report.text import figure as number
from hjc.report.text import printable, shorten
from hjc.taxonomy import Taxonomy

#: Okabe & Ito (2008), told apart with any colour vision; yellow is left out, it vanishes on paper
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#666666"
#: kinds of probabilities -> colour and marker, the raw ones first
KINDS = {"raw": (COLOURS[1], "s"), "calibrated": (COLOURS[0], "o"), "calibrated in sample": (COLOURS[0], "o")}
#: width of a plot on an A4 page (inches), and its resolution
WIDTH = 7.2
DPI = 130
#: a matrix of at most so many codes gets its counts written into the cells
_COUNTED = 12
_LABEL_CHARACTERS = 40
#: height (inches) that the scale beside a matrix of two codes needs for its label
_LOWEST_MATRIX = 2.5
_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, and has Latin, Greek and Cyrillic letters
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a "$" in a title is a dollar
    "axes.unicode_minus": True,
}

# ------------------------------------------------------------------ the look, and what several plots need


def look(i: int) -> tuple[str, str]:
    """Colour and marker of line i."""
    return COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]


@contextmanager
def plot_style() -> Iterator[None]:
    """matplotlib settings of all plots, only inside the block."""
    with matplotlib.rc_context(_RC):
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """A figure that belongs to nobody (no pyplot), laid out so that labels are not cut."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG; the same bytes for the same figure (no date, no version)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def address(image: bytes) -> str:
    """A PNG as an address inside a page."""
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


def percent_axis(axes: Axes, which: str = "y") -> None:
    """0 to 100 % with a little room, so that points on the edge are whole."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_ylim if which == "y" else axes.set_xlim)(-0.03, 1.03)
    axis.set_ticks([0, 0.2, 0.4, 0.6, 0.8, 1.0], labels=["0", "20", "40", "60", "80", "100 %"])


def legend_above(figure: Figure, axes: Axes, columns: int = 6) -> None:
    """A legend above the plot, where it hides no point."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), columns))


def with_bars(
    axes: Axes, x: npt.ArrayLike, y: npt.ArrayLike, bounds: Any, how: Mapping[str, Any], along: str = "y"
) -> None:
    """Points with their intervals (n, 2) of the axis ``along``."""
    middle = np.asarray(y if along == "y" else x)
    error = np.abs(np.array(bounds, dtype=np.float64).reshape(-1, 2).T - middle)
    axes.errorbar(x, y, **{f"{along}err": error, "linewidth": 1.1, **how})


def level_panels(levels: Sequence[int], base: float, sizes: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A panel a level whose abscissa is a share; ``sizes``: height of a panel in lines of up to three, and of four."""
    columns = min(3, len(levels)) if len(levels) != 4 else 4
    lines = math.ceil(len(levels) / columns)
    figure = new_figure(base + sizes[columns == 4] * lines)
    panels = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel())
    for panel in panels[len(levels) :]:
        panel.set_axis_off()
    for panel in panels[: len(levels)]:
        percent_axis(panel, "x")
        panel.set_xticks([0, 0.5, 1.0], labels=["0", "50 %", "100"])
        panel.tick_params(labelbottom=True)
    return figure, panels[: len(levels)]


def shown_title(taxonomy: Taxonomy, node: int) -> str:
    """The English title where there is one, fit to be shown."""
    return printable(taxonomy.title(node, "en"))


# ------------------------------------------------------------------ plots


def learning_curves(log: pd.DataFrame) -> Figure | None:
    """Loss and recall over optimiser steps, from the columns of Lightning's CSVLogger: step, train/loss, valid/..."""
    if "step" not in log:
        return None
    numbers = log.apply(pd.to_numeric, errors="coerce").sort_values("step", kind="stable")
    recalls = sorted(c for c in numbers if str(c).startswith("valid/level_") and str(c).endswith("/recall@1"))
    losses = [c for c in ("train/loss", "valid/log_loss") if c in numbers and numbers[c].notna().any()]
    if not losses:
        return None

    def curve(name: str) -> pd.Series:
        return numbers[["step", name]].dropna().drop_duplicates("step", keep="last").set_index("step")[name]

    figure = new_figure(3.2)
    axes = figure.subplots(1, 2 if recalls else 1, squeeze=False)[0]
    left = axes[0]
    if "train/loss" in losses:
        train = curve("train/loss")
        smooth = train.rolling(max(1, len(train) // 20), min_periods=1, center=True).mean()
        left.plot(train.index, train, color=COLOURS[5], alpha=0.5, linewidth=0.8)
        left.plot(train.index, smooth, color=COLOURS[0], label="training (smoothed)")
    if "valid/log_loss" in losses:
        valid = curve("valid/log_loss")
        left.plot(valid.index, valid, "s--", color=COLOURS[3], label="validation")
    left.set(xlabel="optimiser step", ylabel="nats", title="Log-loss")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    if recalls:
        for i, name in enumerate(recalls):
            part, (ink, sign) = curve(name), look(i)
            axes[1].plot(part.index, part, f"{sign}-", color=ink, label=str(name).split("/")[1].replace("_", " "))
        axes[1].set(xlabel="optimiser step", ylabel="recall@1", title="Recall@1 on validation rows")
        percent_axis(axes[1])
        axes[1].set_xlim(left.get_xlim())
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower right", ncols=4, columnspacing=1.0)
    return figure


def recall_at_k(scores: RowScores, k_max: int = 20) -> Figure | None:
    """recall@k against k, a line a level."""
    curves = {d: recall_curve(scores, d + 1, k_max) for d in range(scores.depth)}
    curves = {d: curve for d, curve in curves.items() if not np.isnan(curve).all()}
    if not curves:
        return None
    figure = new_figure(3.1)
    axes = figure.subplots()
    for d, curve in curves.items():
        ink, sign = look(d)
        axes.plot(np.arange(1, k_max + 1), curve, f"{sign}-", color=ink, label=f"level {d + 1}")
    axes.set(xlabel="k: the gold code is among the k most probable", ylabel="recall@k")
    axes.set_xticks([1, 3, 5, 10, 15, 20])
    percent_axis(axes)
    axes.legend(loc="lower right", ncols=2)
    return figure


def confusion_matrix(matrix: Confusion, taxonomy: Taxonomy) -> Figure | None:
    """Row-normalised; counts in the cells of small matrices. Titles stand on the left, codes below.

    From white to dark blue by the square root of the share: a mistake of one row in twenty is seen, also on paper.
    """
    k = len(matrix.nodes)
    if not k:
        return None
    counts = matrix.counts if matrix.counts[:, -1].any() else matrix.counts[:, :-1]
    total = matrix.counts.sum(axis=1, keepdims=True)
    share = np.where(total > 0, counts / np.maximum(total, 1), np.nan)
    small = k <= _COUNTED
    figure = new_figure(max(1.3 + min((0.33 if small else 0.135) * k, 7.0), _LOWEST_MATRIX))
    axes = figure.subplots()
    axes.grid(False)
    blues = matplotlib.colormaps["Blues"].with_extremes(bad="#eeeeee")
    image = axes.imshow(share, cmap=blues, norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest")
    for side in ("top", "right"):  # a white matrix needs its frame
        axes.spines[side].set_visible(True)
    font = 8.5 if small else 7.0
    codes = [taxonomy.codes[i] for i in matrix.nodes.tolist()]
    titles = [f"{taxonomy.codes[i]}  {shown_title(taxonomy, i)}" for i in matrix.nodes.tolist()]
    axes.set_yticks(range(k), [shorten(t, _LABEL_CHARACTERS) for t in titles], fontsize=font)
    columns = [*codes, "other"][: counts.shape[1]]
    turned = not small or max(len(c) for c in columns) > 4
    axes.set_xticks(
        range(len(columns)), columns, rotation=90 if turned else 0, fontsize=font if small else min(7.0, 250 / k)
    )
    axes.set(xlabel="predicted code", ylabel="gold code")
    axes.tick_params(length=0)
    if small:
        for i, j in np.argwhere(counts > 0).tolist():
            ink = "white" if share[i, j] > 0.4 else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=7.5, color=ink)
    bar = figure.colorbar(image, ax=axes, shrink=0.9 if small else 0.6, pad=0.02)
    bar.set_label("share of the gold code's rows", fontsize=8)
    bar.set_ticks([0, 0.05, 0.25, 0.5, 1.0], labels=["0", "5", "25", "50", "100 %"])
    bar.minorticks_off()
    return figure


def share_plot(levels: Sequence[Sequence[Share]], xlabel: str) -> Figure | None:
    """recall@1 by buckets with 95 % intervals, a line a level; buckets without rows at any level are left out."""
    filled = {s.name for part in levels for s in part if s.n}
    names = [s.name for s in levels[0] if s.name in filled] if levels else []
    if not names:
        return None
    figure = new_figure(3.2)
    axes = figure.subplots()
    for d, part in enumerate(levels):
        shown, (ink, sign) = [s for s in part if s.n and s.name in filled], look(d)
        x = np.array([names.index(s.name) for s in shown]) + (d - (len(levels) - 1) / 2) * 0.09
        how = {"fmt": f"{sign}-", "color": ink, "label": f"level {part[0].level}", "elinewidth": 1.1}
        with_bars(axes, x, [s.value for s in shown], [s.interval for s in shown], how)
    axes.set_xticks(range(len(names)), names, fontsize=9 if len(names) <= 7 else 7.5)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set(xlabel=xlabel, ylabel="recall@1")
    percent_axis(axes)
    legend_above(figure, axes)
    return figure


def name_plot(levels: Sequence[Sequence[Share]], limit: int = 40) -> Figure | None:
    """recall@1 by language, a line of dots a language, sorted by the deepest level (figure 7 of the paper)."""
    deepest = [s for s in levels[-1] if s.n] if levels else []
    if len(deepest) < 2:
        return None
    order = sorted(sorted(deepest, key=lambda s: -s.n)[:limit], key=lambda s: (s.value, s.name))
    where = {s.name: i for i, s in enumerate(order)}
    figure = new_figure(1.0 + max(0.13 + 0.035 * len(levels), 0.4 if len(order) <= 6 else 0) * len(order))
    axes = figure.subplots()
    for d, part in enumerate(levels):
        shown, (ink, sign) = [s for s in part if s.n and s.name in where], look(d)
        y = np.array([where[s.name] for s in shown]) + (len(levels) - 1 - 2 * d) * 0.06
        how = {"fmt": sign, "color": ink, "label": f"level {part[0].level}", "elinewidth": 1.1}
        with_bars(axes, [s.value for s in shown], y, [s.interval for s in shown], how, "x")
    axes.set_yticks(range(len(order)), [f"{shorten(printable(s.name), 24)}  ({s.n:,})" for s in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlabel("recall@1")
    percent_axis(axes, "x")
    legend_above(figure, axes)
    return figure


def reliability_before_after(
    levels: Mapping[str, Sequence[Reliability]], ece: Mapping[tuple[str, int], float]
) -> Figure | None:
    """A panel a level: accuracy in bins of equal row counts against their mean confidence, raw and calibrated.

    Args:
        levels: kind of probabilities -> a Reliability a level. ece: (kind, level) -> debiased ECE.
    """
    kinds = [k for k in levels if any(r.n.sum() for r in levels[k])]
    if not kinds:
        return None
    shown = [r.level for r in levels[kinds[0]] if r.n.sum()]
    figure, panels = level_panels(shown, 0.9, (2.55, 2.3))
    for panel, level in zip(panels, shown, strict=True):
        panel.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        for kind in kinds:
            r = next(r for r in levels[kind] if r.level == level)
            ink, sign = KINDS[kind]
            bounds = [wilson(a * n, n) for a, n in zip(r.accuracy, r.n.tolist(), strict=True)]
            how = {"fmt": f"{sign}-", "color": ink, "label": kind, "elinewidth": 0.8, "markersize": 3.2, "alpha": 0.9}
            with_bars(panel, r.confidence, r.accuracy, bounds, how)
        panel.set_title(f"level {level}\nECE {' → '.join(number(ece.get((k, level), math.nan)) for k in kinds)}")
        percent_axis(panel)
    figure.supxlabel("probability of the most probable code", fontsize=9)
    figure.supylabel("how often it is right", fontsize=9)
    if len(kinds) > 1:
        legend_above(figure, panels[0])
    return figure


def risk_coverage_plot(scores: RowScores, replicates: int = 200) -> Figure | None:
    """Accuracy of the surest rows against the share of rows coded, a panel a level, with 95 % bootstrap bands."""
    levels = [d for d in range(scores.depth) if scores.valid[:, d].any()]
    if not levels:
        return None
    figure, panels = level_panels(levels, 0.6, (2.3, 2.1))
    lowest = 1.0
    for panel, d in zip(panels, levels, strict=True):
        keep = scores.valid[:, d]
        c, y = scores.confidence[keep, d], scores.rank[keep, d] == 1
        curve = risk_coverage_band(c, y, replicates=replicates)
        x = curve["coverage"].to_numpy()
        show = x * len(c) >= 20  # of a handful of rows a share says nothing
        low, value, high = (1 - curve[name].to_numpy()[show] for name in ("high", "risk", "low"))
        panel.fill_between(x[show], low, high, color=COLOURS[5], alpha=0.45, linewidth=0)
        panel.plot(x[show], value, color=COLOURS[0])
        for target in (0.9, 0.95):
            panel.axhline(target, color=GREY, linestyle=":", linewidth=1)
        panel.set_title(f"level {d + 1}, all rows {100 * y.mean():.0f} %")
        lowest = min(lowest, float(low.min(initial=1.0)))
    bottom = math.floor(max(lowest - 0.02, 0.0) * 10) / 10
    ticks = [t / 10 for t in range(round(bottom * 10), 11)][:: 2 if bottom < 0.5 else 1]
    ticks = ticks if 1.0 in ticks else [*ticks, 1.0]
    panels[0].set_ylim(bottom - 0.01, 1.01)
    panels[0].set_yticks(ticks, labels=[f"{100 * t:.0f}{' %' if t == 1.0 else ''}" for t in ticks])
    figure.supxlabel("share of rows coded, the surest first", fontsize=9)
    figure.supylabel("accuracy of the coded rows", fontsize=9)
    return figure


def back_off_plot(rules: pd.DataFrame) -> Figure | None:
    """Back-off: share of right codes and share coded against the mean level of the codes, a point a threshold."""
    part = rules[(rules["rule"] == "back-off") & rules["right"].notna() & rules["mean_level"].notna()]
    if len(part) < 2:
        return None
    figure = new_figure(3.0)
    axes = figure.subplots(1, 2)
    named: dict[str, tuple[pd.DataFrame, str]] = {}
    for i, kind in enumerate(dict.fromkeys(part["probabilities"])):
        lines = part[part["probabilities"] == kind]
        ink, sign = KINDS.get(kind, look(i))
        bounds = lines[["right_low", "right_high"]].to_numpy()
        how = {"fmt": f"{sign}-", "color": ink, "label": kind, "elinewidth": 0.9}
        with_bars(axes[0], lines["mean_level"], lines["right"], bounds, how)
        axes[1].plot(lines["coded"], lines["right"], f"{sign}-", color=ink, linewidth=1.1)
        if i == 0 or kind == "calibrated":
            named[kind] = (lines, ink)
    for end in (0, -1):  # of two points near each other, the left one has its label on the left
        ends = sorted(named.values(), key=lambda item: float(item[0].iloc[end]["mean_level"]))
        for i, (lines, ink) in enumerate(ends):
            x, y, p = (float(lines.iloc[end][name]) for name in ("mean_level", "right", "parameter"))
            place, side = (-6, -10 if end == 0 else -3), "right"
            if i or (end and len(ends) == 1):
                place, side = ((7, -10) if end == 0 else (7, 4)), "left"
            axes[0].annotate(
                f"P = {p:g}", (x, y), textcoords="offset points", xytext=place, ha=side, fontsize=7.5, color=ink
            )
    for panel, label in zip(axes, ("mean level of the codes", "share of rows coded"), strict=True):
        panel.set(xlabel=label, ylabel="share of the codes that is right")
        low = math.floor(20 * max(0.0, float(part["right_low"].min()) - 0.01)) / 20
        panel.set_ylim(low, 1.01)
        panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}" + (" %" if value > 0.999 else ""))
    axes[0].margins(x=0.32)
    axes[1].xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes[1].xaxis.set_major_formatter(lambda value, _: "" if value > 1 + 1e-9 else f"{round(100 * value, 6):g} %")
    if part["probabilities"].nunique() > 1:
        legend_above(figure, axes[0], 2)
    return figure
