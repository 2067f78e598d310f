"""The part of a run report about decisions: calibration before and after, selective coding, back-off, sets."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from hjc.report.page import Block, Cell, Grid, Row
from hjc.report.plots import back_off_plot, reliability_before_after, risk_coverage_plot
from hjc.report.tables import reliability
from hjc.report.text import figure as number
from hjc.report.text import interval

if TYPE_CHECKING:
    from hjc.evaluation.decided import DecisionTables

#: name of the file, figure or None, title, what it shows for those who do not see it, caption
Picture = Callable[[str, Any, str, str, str], None]


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


#: head of a column -> name of its figure, digits, whether it is shown in percent
_CALIBRATION: dict[str, tuple[str, int, bool]] = {
    "log-loss": ("log_loss", 3, False),
    "ECE": ("ece", 3, False),
    "classwise ECE": ("classwise_ece", 5, False),  # a mean over many codes, of which few occur in a row
    "top Brier": ("top_brier", 3, False),
    "reliability": ("reliability", 3, False),
    "resolution": ("resolution", 3, False),
    "AURC": ("aurc", 3, False),
    "% auto at 90 %": ("automation@0.9", 0, True),
    "% auto at 95 %": ("automation@0.95", 0, True),
}


def measured(line: Mapping[Any, Any], name: str, digits: int = 3, percent: bool = False) -> Cell:
    """A figure of a line, with its interval where there is one (``name_low``, ``name_high``)."""
    low, high = line.get(f"{name}_low", math.nan), line.get(f"{name}_high", math.nan)
    return Cell(number(line[name], digits, percent), small=interval(low, high, digits, percent))


def calibration_grid(tables: "DecisionTables") -> Grid:
    """A line a level and kind of probabilities."""
    rows = []
    both = tables.calibration.merge(
        tables.selective.drop(columns=["n", "accuracy"]), on=["set", "probabilities", "level"]
    )
    for level in dict.fromkeys(both["level"]):
        for line in both[both["level"] == level].to_dict("records"):
            cells = [measured(line, *column) for column in _CALIBRATION.values()]
            rows.append(Row([Cell(str(level)), Cell(str(line["probabilities"])), *cells]))
    caption = (
        "Of the most probable code: ECE and its own Brier score (right or not) with the parts: reliability is what "
        "calibration can mend, resolution what telling rows apart gains. Classwise ECE: mean over the codes that "
        "occur. AURC: area under the curve of errors against the share coded. % auto: share of rows that can be coded "
        "at that accuracy, found with hindsight."
    )
    return Grid(("level", "probabilities", *_CALIBRATION), rows, left=(0, 1), caption=caption)


def rules_grid(rules: pd.DataFrame, kind: str) -> Grid:
    """The rules by one kind of probabilities, all languages together."""
    rows = []
    for line in rules[(rules["probabilities"] == kind) & (rules["slice"] == "")].to_dict("records"):
        known = {name: value for name, value in line.items() if not pd.isna(value)}
        size = Cell(number(line["set_size"], 1), small=f"median {number(line['set_size_median'], 0)}")
        cells = [
            Cell(str(line["rule"])),
            Cell(f"{known['parameter']:g}" if "parameter" in known else ""),
            Cell(str(int(known["level"])) if "level" in known else ""),
            measured(line, "coded", 1, True),
            measured(line, "right", 1, True),
            Cell(number(known["mean_level"], 2) if "mean_level" in known else ""),
            size if "set_size" in known else Cell(""),
        ]
        rows.append(Row(cells))
    caption = (
        "Right: share of the coded rows whose code is the true one or holds it; of conformal rules the share of all "
        "rows whose code or set holds the truth, promised 1 - parameter. Mean level of the codes; mean size of sets."
    )
    head = ("rule", "parameter", "level", "coded %", "right %", "mean level", "set size")
    return Grid(head, rows, left=(0,), caption=f"By {kind} probabilities. {caption}")
