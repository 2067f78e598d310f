"""The part of a run report about decisions: calibration before and after, selective coding, back-off, sets."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hjc.decision.selective import risk_coverage_band
from hjc.metrics import RowScores
from hjc.metrics.intervals import wilson
from hjc.report.page import Block, Cell, Grid, Row
from hjc.report.style import COLOURS, GREY, colour, marker, new_figure, percent_axis
from hjc.report.tables import Reliability, reliability
from hjc.report.text import figure as number
from hjc.report.text import interval

if TYPE_CHECKING:
    from hjc.evaluation.calibrated import DecisionTables

Picture = Callable[[str, Figure | None, str, str, str], None]
#: kinds of probabilities -> colour and marker, the raw ones first
_LOOK = {"raw": (COLOURS[1], "s"), "calibrated": (COLOURS[0], "o"), "calibrated in sample": (COLOURS[0], "o")}


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
    columns = min(3, len(shown)) if len(shown) != 4 else 4
    lines = math.ceil(len(shown) / columns)
    figure = new_figure(0.9 + (2.55 if columns < 4 else 2.3) * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for panel, level in zip(panels, shown, strict=False):
        panel.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        values = []
        for kind in kinds:
            r = next(r for r in levels[kind] if r.level == level)
            ink, sign = _LOOK[kind]
            bounds = np.array([wilson(a * n, n) for a, n in zip(r.accuracy, r.n.tolist(), strict=True)])
            panel.errorbar(
                r.confidence, r.accuracy, yerr=np.abs(bounds.T - r.accuracy), fmt=f"{sign}-", color=ink, linewidth=1.1,
                elinewidth=0.8, markersize=3.2, alpha=0.9, label=kind,
            )  # fmt: skip
            values.append(number(ece.get((kind, level), math.nan)))
        panel.set_title(f"level {level}\nECE {' → '.join(values)}")
        percent_axis(panel)
        percent_axis(panel, "x")
        panel.set_xticks([0, 0.5, 1.0], labels=["0", "50 %", "100"])
        panel.tick_params(labelbottom=True)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    figure.supxlabel("probability of the most probable code", fontsize=9)
    figure.supylabel("how often it is right", fontsize=9)
    if len(kinds) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(kinds))
    return figure


def risk_coverage_plot(scores: RowScores, replicates: int = 200) -> Figure | None:
    """Accuracy of the surest rows against the share of rows coded, a panel a level, with 95 % bootstrap bands."""
    levels = [d for d in range(scores.depth) if scores.valid[:, d].any()]
    if not levels:
        return None
    columns = min(3, len(levels)) if len(levels) != 4 else 4
    lines = math.ceil(len(levels) / columns)
    figure = new_figure(0.6 + (2.3 if columns < 4 else 2.1) * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    lowest = 1.0
    for panel, d in zip(panels, levels, strict=False):
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
        percent_axis(panel, "x")
        panel.set_xticks([0, 0.5, 1.0], labels=["0", "50 %", "100"])
        panel.tick_params(labelbottom=True)
        lowest = min(lowest, float(low.min(initial=1.0)))
    bottom = math.floor(max(lowest - 0.02, 0.0) * 10) / 10
    ticks = [t / 10 for t in range(round(bottom * 10), 11)][:: 2 if bottom < 0.5 else 1]
    ticks = ticks if 1.0 in ticks else [*ticks, 1.0]
    panels[0].set_ylim(bottom - 0.01, 1.01)
    panels[0].set_yticks(ticks, labels=[f"{100 * t:.0f}{' %' if t == 1.0 else ''}" for t in ticks])
    for panel in panels[len(levels) :]:
        panel.set_axis_off()
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
        ink, sign = _LOOK.get(kind, (colour(i), marker(i)))
        error = np.abs(lines[["right_low", "right_high"]].to_numpy().T - lines["right"].to_numpy())
        axes[0].errorbar(lines["mean_level"], lines["right"], yerr=error, fmt=f"{sign}-", color=ink, linewidth=1.1,
                         elinewidth=0.9, label=kind)  # fmt: skip
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
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def decision_blocks(
    blocks: list[Block], tables: "DecisionTables", ece: Mapping[tuple[str, int], float], picture: Picture
) -> None:
    """Plots and tables of one set, into ``blocks``."""
    scores = tables.scores
    depth = next(iter(scores.values())).depth
    levels = {kind: [reliability(found, d + 1) for d in range(depth)] for kind, found in scores.items()}
    after = len(levels) > 1
    title = "Reliability before and after calibration" if after else "Reliability"
    picture("reliability", reliability_before_after(levels, ece), title,
            "Reliability diagram by level",
            "On the diagonal, probabilities are what they say; below it, the model is too sure. Dots are bins of equal "
            "row counts with 95 % intervals; ECE: debiased expected calibration error"
            + (", raw → calibrated." if after else "."))  # fmt: skip
    last = list(scores)[-1]
    picture("risk_coverage", risk_coverage_plot(scores[last]), "Accuracy if only the surest rows are coded",
            "Risk-coverage curve by level",
            f"With 95 % bootstrap bands, {last} probabilities; dotted: 90 and 95 % accuracy. Where a curve falls below "
            "a line is the share of rows that can be coded automatically at that accuracy.")  # fmt: skip
    blocks.append(Block(title="Calibration and automatic coding", table=calibration_grid(tables)))
    if len(tables.rules):
        picture("back_off", back_off_plot(tables.rules), "Back-off: depth against accuracy",
                "Back-off, accuracy against mean level and share coded",
                "The deepest code whose probability is at least P, for P from 0.5 to 0.95: the higher P, the coarser "
                "the codes, the fewer rows get one, and the more of the codes are right.")  # fmt: skip
        blocks.append(Block(title="Decision rules", text=_RULES_TEXT, table=rules_grid(tables.rules, last)))


_RULES_TEXT = (
    "Thresholds and sets were fitted on the validation rows; the rows here are others. Coverage is promised only for "
    "rows like the validation rows. All rules and languages are in decisions.csv."
)


def calibration_grid(tables: "DecisionTables") -> Grid:
    """A line a level and kind of probabilities."""
    rows = []
    both = tables.calibration.merge(
        tables.selective.drop(columns=["n", "accuracy"]), on=["set", "probabilities", "level"]
    )
    for level in dict.fromkeys(both["level"]):
        for line in both[both["level"] == level].to_dict("records"):
            rates = [
                Cell(number(line[f"automation@{t}"], 0, True),
                     small=interval(line[f"automation@{t}_low"], line[f"automation@{t}_high"], 0, True))
                for t in ("0.9", "0.95")
            ]  # fmt: skip
            figures = [
                number(line[k], 5 if k == "classwise_ece" else 3)  # a mean over many codes, of which few occur in a row
                for k in ("log_loss", "ece", "classwise_ece", "brier", "reliability", "resolution")
            ]
            area = Cell(number(line["aurc"]), small=interval(line["aurc_low"], line["aurc_high"]))
            rows.append(
                Row([Cell(str(level)), Cell(str(line["probabilities"])), *map(Cell, figures), area, *rates])
            )  # fmt: skip
    head = ("level", "probabilities", "log-loss", "ECE", "classwise ECE", "Brier", "reliability", "resolution", "AURC",
            "% auto at 90 %", "% auto at 95 %")  # fmt: skip
    caption = (
        "Of the most probable code: ECE (debiased) and Brier score with its parts: reliability is what calibration can "
        "mend, resolution what telling rows apart gains. Classwise ECE: mean over the codes that occur. AURC: area "
        "under the curve of errors against the share coded. % auto: share of rows that can be coded at that accuracy, "
        "found with hindsight."
    )
    return Grid(head, rows, left=(0, 1), caption=caption)


def rules_grid(rules: pd.DataFrame, kind: str) -> Grid:
    """The rules by one kind of probabilities, all languages together."""
    rows = []
    for line in rules[(rules["probabilities"] == kind) & (rules["slice"] == "")].to_dict("records"):
        level = "" if pd.isna(line["level"]) else f"{int(line['level'])}"
        size = line["set_size"]
        rows.append(
            Row([
                Cell(str(line["rule"])), Cell("" if pd.isna(line["parameter"]) else f"{line['parameter']:g}"),
                Cell(level),
                Cell(number(line["coded"], 1, True)),
                Cell(number(line["right"], 1, True), small=interval(line["right_low"], line["right_high"], 1, True)),
                Cell("" if pd.isna(line["mean_level"]) else number(line["mean_level"], 2)),
                Cell("" if pd.isna(size) else f"{number(size, 1)}", small="" if pd.isna(size) else
                     f"median {number(line['set_size_median'], 0)}"),
            ])
        )  # fmt: skip
    caption = (
        "Right: share of the coded rows whose code is the true one or holds it; of conformal rules the share of all "
        "rows whose code or set holds the truth, promised 1 - parameter. Mean level of the codes; mean size of sets."
    )
    head = ("rule", "parameter", "level", "coded %", "right %", "mean level", "set size")
    return Grid(head, rows, left=(0,), caption=f"By {kind} probabilities. {caption}")
