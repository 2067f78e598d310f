"""The plots of a run report. Each function takes numbers and returns a figure, None when there is nothing to show."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from hjc.metrics import RowScores
from hjc.report.style import COLOURS, colour, marker, new_figure, percent_axis
from hjc.report.tables import Confusion, Share, recall_curve
from hjc.report.text import printable, shorten
from hjc.taxonomy import Taxonomy

#: a matrix of at most so many codes gets its counts written into the cells
_COUNTED = 12
_LABEL_CHARACTERS = 40
#: height (inches) that the scale beside a matrix of two codes needs for its label
_LOWEST_MATRIX = 2.5


def learning_curves(log: pd.DataFrame) -> Figure | None:
    """Loss and recall over optimiser steps, from the columns of Lightning's CSVLogger: step, train/loss, valid/..."""
    if "step" not in log:
        return None
    numbers = log.apply(pd.to_numeric, errors="coerce").sort_values("step", kind="stable")
    recalls = sorted(c for c in numbers if str(c).startswith("valid/level_") and str(c).endswith("/recall@1"))
    losses = [c for c in ("train/loss", "valid/log_loss") if c in numbers and numbers[c].notna().any()]
    if not losses:
        return None
    figure = new_figure(3.2)
    axes = figure.subplots(1, 2 if recalls else 1, squeeze=False)[0]
    left = axes[0]
    if "train/loss" in losses:
        train = numbers[["step", "train/loss"]].dropna().drop_duplicates("step", keep="last")
        smooth = train["train/loss"].rolling(max(1, len(train) // 20), min_periods=1, center=True).mean()
        left.plot(train["step"], train["train/loss"], color=COLOURS[5], alpha=0.5, linewidth=0.8)
        left.plot(train["step"], smooth, color=COLOURS[0], label="training (smoothed)")
    if "valid/log_loss" in losses:
        valid = numbers[["step", "valid/log_loss"]].dropna().drop_duplicates("step", keep="last")
        left.plot(valid["step"], valid["valid/log_loss"], "s--", color=COLOURS[3], label="validation")
    left.set(xlabel="optimiser step", ylabel="nats", title="Log-loss")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    if recalls:
        for i, name in enumerate(recalls):
            part = numbers[["step", name]].dropna().drop_duplicates("step", keep="last")
            label = str(name).split("/")[1].replace("_", " ")
            axes[1].plot(part["step"], part[name], f"{marker(i)}-", color=colour(i), label=label)
        axes[1].set(xlabel="optimiser step", ylabel="recall@1", title="Recall@1 on validation rows")
        percent_axis(axes[1])
        axes[1].set_xlim(left.get_xlim())
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower right", ncols=4, columnspacing=1.0)
    return figure


def recall_at_k(scores: RowScores, k_max: int = 20) -> Figure | None:
    """recall@k against k, a line a level."""
    figure = new_figure(3.1)
    axes = figure.subplots()
    drawn = False
    for d in range(scores.depth):
        curve = recall_curve(scores, d + 1, k_max)
        if np.isnan(curve).all():
            continue
        drawn = True
        axes.plot(np.arange(1, k_max + 1), curve, f"{marker(d)}-", color=colour(d), label=f"level {d + 1}")
    if not drawn:
        return None
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
            dark = share[i, j] > 0.4
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=7.5,
                      color="white" if dark else "black")  # fmt: skip
    bar = figure.colorbar(image, ax=axes, shrink=0.9 if small else 0.6, pad=0.02)
    bar.set_label("share of the gold code's rows", fontsize=8)
    bar.set_ticks([0, 0.05, 0.25, 0.5, 1.0], labels=["0", "5", "25", "50", "100 %"])
    bar.minorticks_off()
    return figure


def shown_title(taxonomy: Taxonomy, node: int) -> str:
    """The English title where there is one, fit to be shown."""
    return printable(taxonomy.title(node, "en"))


def share_plot(levels: Sequence[Sequence[Share]], xlabel: str) -> Figure | None:
    """recall@1 by buckets with 95 % intervals, a line a level; buckets without rows at any level are left out."""
    filled = {s.name for part in levels for s in part if s.n}
    names = [s.name for s in levels[0] if s.name in filled] if levels else []
    if not names:
        return None
    figure = new_figure(3.2)
    axes = figure.subplots()
    where = {name: i for i, name in enumerate(names)}
    for d, part in enumerate(levels):
        shown = [s for s in part if s.n and s.name in where]
        x = np.array([where[s.name] for s in shown]) + (d - (len(levels) - 1) / 2) * 0.09
        y = np.array([s.value for s in shown])
        bounds = np.array([s.interval for s in shown]).reshape(-1, 2)
        axes.errorbar(x, y, yerr=np.abs(bounds.T - y), fmt=f"{marker(d)}-", color=colour(d),
                      label=f"level {part[0].level}", linewidth=1.1, elinewidth=1.1)  # fmt: skip
    axes.set_xticks(range(len(names)), names, fontsize=9 if len(names) <= 7 else 7.5)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set(xlabel=xlabel, ylabel="recall@1")
    percent_axis(axes)
    legend_beside(figure, axes, len(levels))
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
        shown = [s for s in part if s.n and s.name in where]
        y = np.array([where[s.name] for s in shown]) + (len(levels) - 1 - 2 * d) * 0.06
        x = np.array([s.value for s in shown])
        bounds = np.array([s.interval for s in shown]).reshape(-1, 2)
        axes.errorbar(x, y, xerr=np.abs(bounds.T - x), fmt=marker(d), color=colour(d), elinewidth=1.1,
                      label=f"level {part[0].level}")  # fmt: skip
    axes.set_yticks(range(len(order)), [f"{shorten(printable(s.name), 24)}  ({s.n:,})" for s in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlabel("recall@1")
    percent_axis(axes, "x")
    legend_beside(figure, axes, len(levels))
    return figure


def legend_beside(figure: Figure, axes: Axes, entries: int) -> None:
    """A legend above the plot, where it hides no point."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(entries, 6))
