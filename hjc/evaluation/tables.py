"""How an evaluation looks in a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from hjc.evaluation.decided import DecisionTables
    from hjc.evaluation.evaluate import Evaluation

#: metric -> (column head, format, which of them a narrow terminal goes without first; 0: none does); percentages are
#: scaled by 100
_COLUMNS = {
    "log_loss": ("log-loss", "{:.3f}", 0),
    "recall@1": ("R@1 %", "{:.1f}", 0),
    "recall@3": ("R@3", "{:.1f}", 2),
    "recall@5": ("R@5", "{:.1f}", 8),
    "recall@10": ("R@10", "{:.1f}", 5),
    "macro_recall": ("macro", "{:.1f}", 6),
    "hierarchical_f1": ("hF1", "{:.1f}", 9),
    "lca_level": ("LCA", "{:.2f}", 3),
    "mistake_severity": ("sev.", "{:.2f}", 1),
    "ece": ("ECE", "{:.3f}", 7),
    "brier": ("Brier", "{:.3f}", 4),
}
_WITH_INTERVAL = ("log_loss", "recall@1")
_DISPENSABLE = tuple(sorted((m for m in _COLUMNS if _COLUMNS[m][2]), key=lambda m: _COLUMNS[m][2]))


def evaluation_table(
    evaluation: "Evaluation",
    *,
    slice: str | None = None,
    level: int | None = None,
    title: str | None = None,
    width: int | None = None,
) -> Table:
    """See :meth:`hjc.evaluation.evaluate.Evaluation.table`."""
    frame, taxonomy = evaluation.frame, evaluation.taxonomy
    if slice is None:
        if level is not None:
            raise ValueError(f"table: level={level} goes with slice='language' or 'source'; without, all are shown")
        chosen = frame[frame["slice_kind"] == ""]
        by, heading = "level", "level"
        first = {str(d): f"{d} ({len(taxonomy.level_nodes(d)):,})" for d in range(1, taxonomy.depth + 1)}
    else:
        kinds = sorted(set(frame["slice_kind"]) - {""})
        if slice not in kinds:
            raise ValueError(f"slice: got {slice!r}, evaluated were {', '.join(map(repr, kinds)) or 'no slices'}")
        at = taxonomy.check_level(taxonomy.depth if level is None else level)
        chosen = frame[frame["slice_kind"].isin([slice, ""]) & (frame["level"] == str(at))]
        by, heading = "slice", slice
        first = {"": "all"}
        title = title or f"level {at}, by {slice}"
    prior = evaluation.baseline if slice is None else None
    columns: dict[str, list[Text]] = {heading: [], "rows": [], **{m: [] for m in _COLUMNS}}
    if prior:
        columns["no text"] = []
    for key, group in chosen.groupby(by, sort=False):
        name, values = str(key), group.set_index("metric")
        columns[heading].append(Text(first.get(name, name)))
        columns["rows"].append(Text(f"{int(values['value']['n']):,}"))
        for metric in _COLUMNS:
            columns[metric].append(_cell(values, metric))
        if prior:
            columns["no text"].append(_prior_cell(prior, name if name == "overall" else f"level_{name}"))
    dropped = _fit(columns, Console().width if width is None else width)
    return _drawn(columns, title, _caption(evaluation, dropped), (heading,))


def _head(column: str) -> str:
    return _COLUMNS[column][0] if column in _COLUMNS else column


def _drawn(columns: dict[str, list[Text]], title: str | None, caption: str, left: Sequence[str]) -> Table:
    """The table of these columns, those named in ``left`` flush left."""
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption_justify="left")
    for column in columns:
        table.add_column(_head(column), justify="left" if column in left else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _fit(columns: dict[str, list[Text]], width: int, dispensable: tuple[str, ...] = _DISPENSABLE) -> list[str]:
    """Take out dispensable columns until the rest fits ``width``; the heads of what was taken out."""

    def needed() -> int:
        wide = (max(len(line) for c in [_head(k), *map(str, v)] for line in c.split("\n")) for k, v in columns.items())
        return sum(wide) + 2 * len(columns) + 1  # a blank of padding and one of the box

    dropped = []
    for metric in dispensable:
        if needed() <= width:
            break
        del columns[metric]
        dropped.append(_head(metric))
    return dropped


def _show(metric: str, value: float) -> str:
    percent = _COLUMNS[metric][1] == "{:.1f}"
    return "-" if math.isnan(value) else _COLUMNS[metric][1].format(100 * value if percent else value)


def _cell(values: pd.DataFrame, metric: str) -> Text:
    """The figure, and beneath it its interval."""
    value, low, high = (float(values[bound][metric]) for bound in ("value", "low", "high"))
    text = Text(_show(metric, value))
    if metric in _WITH_INTERVAL and not math.isnan(low):
        text.append(f"\n{_show(metric, low)}-{_show(metric, high)}", style="dim")
    return text


def _prior_cell(prior: Mapping[str, float], where: str) -> Text:
    log_loss, recall = (prior.get(f"{where}/{m}", math.nan) for m in ("log_loss", "recall@1"))
    return Text(f"{_show('log_loss', log_loss)}\n{_show('recall@1', recall)} %", style="dim")


def _caption(evaluation: "Evaluation", dropped: list[str]) -> str:
    """What the figures are, and everything that they leave out."""
    frame = evaluation.frame[evaluation.frame["slice_kind"] == ""].set_index("level")
    parts = ["log-loss in nats, R@k, macro recall and hF1 in %"]
    if evaluation.replicates:
        of = "groups of rows" if evaluation.clustered else "rows"
        parts.append(f"95 % intervals from {evaluation.replicates:,} bootstrap resamples of {of}")
    if evaluation.baseline:
        parts.append("no text: log-loss and R@1 of the training frequencies")
    if evaluation.seconds > 0:
        parts.append(f"{evaluation.rows_per_second:,.0f} rows/s")
    if (impossible := frame.loc[frame["metric"] == "impossible", "value"].max()) > 0:
        parts.append(f"rows whose gold code has probability 0 (log-loss is infinite): {int(impossible):,}")
    deepest = frame.loc[frame["metric"] == "n", "value"].get(str(evaluation.taxonomy.depth), 0.0)
    if deepest < len(evaluation.scores):
        parts.append(f"gold codes at inner nodes, scored to their own level: {len(evaluation.scores) - int(deepest):,}")
    if evaluation.unlabelled:
        parts.append(f"rows without a code, left out: {evaluation.unlabelled:,}")
    if evaluation.small:
        named = ", ".join(f"{name} ({n})" for name, n in evaluation.small.items())
        parts.append(f"slices with too few rows: {named}")
    if dropped:
        parts.append(f"no room for {', '.join(dropped)}: see metrics.csv")
    return "; ".join(parts) + "."


def show(evaluation: "Evaluation", console: Console, heading: str, slices: Sequence[str] = ()) -> None:
    """Print an evaluation: its levels, the slices of these kinds that it has, calibration and automatic coding."""
    console.print(evaluation.table(title=heading))
    for kind in slices:
        if (evaluation.frame["slice_kind"] == kind).any():
            console.print(evaluation.table(slice=kind))
    if evaluation.decided is not None:
        title = f"{evaluation.name}: calibration and automatic coding"
        console.print(decisions_table(evaluation.decided, title=title))
        if len(evaluation.decided.hierarchical):
            console.print(hierarchical_table(evaluation.decided, title=f"{evaluation.name}: ways to decide on codes"))
        if len(evaluation.decided.several):
            console.print(several_table(evaluation.decided, title=f"{evaluation.name}: all codes of a text"))
    for note in evaluation.notes:
        console.print(note, markup=False, soft_wrap=True)


def decisions_table(tables: "DecisionTables", title: str | None = None, width: int | None = None) -> Table:
    """Calibration before and after and the share of rows that can be coded automatically: a line a level.

    ``width``: of the terminal; a narrow one goes without the calibration error by code and AURC, then intervals.
    """
    merged = tables.by_level
    room = Console().width if width is None else width
    columns = _decision_columns(merged, intervals=True)
    dropped = _fit(columns, room, ("by code", "AURC"))
    if dropped and _fit(columns, room, ("log-loss",)):  # not even then: figures are worth more than their intervals
        columns = _decision_columns(merged, intervals=False)
        dropped = ["intervals", *_fit(columns, room, ("by code", "AURC", "log-loss"))]
    parts = ["ECE: of the most probable code, less what noise alone would show"]
    parts += ["by code: its mean over codes"] * ("by code" in columns)
    parts += ["AURC: area under the risk-coverage curve"] * ("AURC" in columns)
    parts.append("auto: % of rows that can be coded at this accuracy")
    if "intervals" not in dropped and any("(" in str(cell) for cell in columns["auto 90 %"]):
        parts[-1] += ", with 95 % intervals"
    if dropped:
        parts.append(f"no room for {', '.join(dropped)}: see calibration.csv and selective.csv")
    return _drawn(columns, title, "; ".join(parts) + ".", ("level", ""))


def _decision_columns(merged: pd.DataFrame, intervals: bool) -> dict[str, list[Text]]:
    """Column head -> a cell a level, with a line for each kind of probabilities."""
    figures = {"log-loss": "log_loss", "ECE": "ece", "by code": "classwise_ece", "AURC": "aurc"}
    targets = {"auto 90 %": "0.9", "auto 95 %": "0.95"}
    columns: dict[str, list[Text]] = {head: [] for head in ("level", "", *figures, *targets)}
    for level, lines in merged.groupby("level", sort=True):
        cells: dict[str, list[Text]] = {head: [] for head in columns}
        cells["level"].append(Text(str(level)))
        for line in lines.to_dict("records"):
            cells[""].append(Text(str(line["probabilities"])))
            for head, name in figures.items():
                cells[head].append(Text(f"{line[name]:.{5 if head == 'by code' else 3}f}"))
            for head, target in targets.items():
                rate, low, high = (100 * float(line[f"automation@{target}{end}"]) for end in ("", "_low", "_high"))
                cell = Text(f"{rate:.0f}")
                if intervals and not math.isnan(low):
                    cell.append(f" ({low:.0f}-{high:.0f})", style="dim")
                cells[head].append(cell)
        for head, some in cells.items():
            columns[head].append(Text("\n").join(some))
    return columns


def hierarchical_table(tables: "DecisionTables", title: str | None = None) -> Table:
    """The metrics of hierarchical-classification research: a line a decoding, of the best probabilities there are."""
    lines = tables.hierarchical[tables.hierarchical["probabilities"] == tables.hierarchical["probabilities"].iloc[-1]]
    shown = {"hf1": ("hF1 %", 100), "hierarchical_precision": ("hP %", 100), "hierarchical_recall": ("hR %", 100),
             "codes": ("codes", 1), "information_contrast": ("inf. contrast", 1)}  # fmt: skip
    columns: dict[str, list[Text]] = {head: [] for head in ("decoding", *(head for head, _ in shown.values()))}
    for way, found in lines[lines["metric"] != "hf1_auc"].groupby("decoding", sort=False):
        values = found.set_index("metric")["value"]
        columns["decoding"].append(Text(str(way)))
        for metric, (head, scale) in shown.items():
            value = scale * values.get(metric, math.nan)
            columns[head].append(Text("-" if math.isnan(value) else f"{value:.{1 if scale == 100 else 2}f}"))
    area = lines[lines["metric"] == "hf1_auc"].iloc[0]
    bounds = "" if math.isnan(area["low"]) else f" ({100 * area['low']:.1f}-{100 * area['high']:.1f})"
    caption = (
        f"hF1-AUC {100 * area['value']:.1f}{bounds}; {area['probabilities']} probabilities; hF1, hP and hR: means over "
        "rows; information contrast in bits; intervals in hierarchical.csv."
    )
    return _drawn(columns, title, caption, ("decoding",))


def several_table(tables: "DecisionTables", title: str | None = None) -> Table:
    """What the head for several codes and the probabilities say of all codes of a text: a line a level and way."""
    shown = {"micro_f1": ("F1 %", 100), "micro_precision": ("precision", 100), "micro_recall": ("recall", 100),
             "macro_f1": ("macro F1", 100), "exact": ("exact", 100), "lrap": ("LRAP", 100),
             "log_loss": ("log-loss", 1)}  # fmt: skip
    columns: dict[str, list[Text]] = {name: [] for name in ("level", "", "from", *(head for head, _ in shown.values()))}
    lines = tables.several
    for (level, way), found in lines.groupby(["level", "way"], sort=False):
        values = found.set_index("metric")["value"]
        columns["level"].append(Text(str(level)))
        columns[""].append(Text(str(way)))
        columns["from"].append(Text(f"{found['threshold'].iloc[0]:.2f}"))
        for metric, (head, scale) in shown.items():
            columns[head].append(Text(f"{scale * values[metric]:.{1 if scale == 100 else 3}f}"))
    caption = (
        "codes of at least the probability under from, which had the best F1 on validation rows; level all: hF1; "
        "exact: rows whose codes are all said and no other; LRAP: ranking of right codes; intervals in several.csv."
    )
    return _drawn(columns, title, caption, ("level", ""))
