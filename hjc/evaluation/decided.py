"""Tables of calibration, selective coding, decision rules and sets of codes: six files of a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from hjc.calibration import calibration_table
from hjc.decision.selective import selective_table
from hjc.evaluation.decodings import COLUMNS as DECODING_COLUMNS
from hjc.evaluation.evaluate import merge_csv
from hjc.evaluation.rules import COLUMNS
from hjc.evaluation.several import COLUMNS as SEVERAL_COLUMNS
from hjc.metrics import Resamples, RowScores
from hjc.taxonomy import Taxonomy

TABLES = ("calibration.csv", "selective.csv", "decisions.csv", "classwise.csv", "hierarchical.csv", "several.csv")
TARGETS = (0.9, 0.95)


@dataclass(frozen=True, eq=False)
class DecisionTables:
    """Lines of calibration.csv, selective.csv, decisions.csv, classwise.csv, hierarchical.csv and several.csv (empty
    where there is no head for several codes); the columns ``set`` and ``probabilities`` (raw, calibrated) first.
    ``scores``: the row scores they were made from, by probabilities."""

    calibration: pd.DataFrame
    selective: pd.DataFrame
    rules: pd.DataFrame
    classwise: pd.DataFrame
    hierarchical: pd.DataFrame
    several: pd.DataFrame
    scores: Mapping[str, RowScores] = field(default_factory=dict)

    @property
    def frames(self) -> tuple[pd.DataFrame, ...]:
        """In the order of :data:`TABLES`."""
        return self.calibration, self.selective, self.rules, self.classwise, self.hierarchical, self.several

    @property
    def by_level(self) -> pd.DataFrame:
        """Calibration and selective coding side by side: a line a level and kind of probabilities."""
        selective = self.selective.drop(columns=["n", "accuracy"])
        lines = self.calibration.merge(selective, on=["set", "probabilities", "level"])
        return lines.sort_values("level", kind="stable")

    @classmethod
    def concat(cls, parts: Sequence["DecisionTables"]) -> "DecisionTables":
        """The lines of all parts."""
        of_files = zip(*(part.frames for part in parts), strict=True)
        frames = [pd.concat([f for f in some if len(f)] or [some[0]], ignore_index=True) for some in of_files]
        scores = {kind: found for part in parts for kind, found in part.scores.items()}
        return cls(frames[0], frames[1], frames[2], frames[3], frames[4], frames[5], scores)

    def write(self, directory: str | Path) -> None:
        """Write the files; lines of other sets that are there stay."""
        for file, table in zip(TABLES, self.frames, strict=True):
            for name in table["set"].unique():
                merge_csv(Path(directory) / file, name, table[table["set"] == name], digits=".6g")


def decision_tables(
    taxonomy: Taxonomy,
    scores: RowScores,
    *,
    name: str = "test",
    probabilities: str = "raw",
    resamples: Resamples | None = None,
    classwise: pd.DataFrame | None = None,
    rules: pd.DataFrame | None = None,
    hierarchical: pd.DataFrame | None = None,
    several: pd.DataFrame | None = None,
) -> DecisionTables:
    """Calibration and selective coding of labelled rows, by one kind of probabilities.

    A line a level: :func:`hjc.calibration.calibration_table` with ``classwise_ece`` (mean over the codes that occur),
    and :func:`hjc.decision.selective.selective_table` at 90 and 95 % accuracy.

    Args:
        resamples: of the rows, for the bands; without, they are empty.
        classwise: of :class:`hjc.calibration.ClasswiseCounts`; rules: of :class:`hjc.evaluation.rules.RuleRows`;
            hierarchical: of :class:`hjc.evaluation.decodings.DecodingRows`; several: of
            :class:`hjc.evaluation.several.SeveralRows`.
    """
    by_code = pd.DataFrame(columns=["level", "ece"]) if classwise is None else classwise.copy()
    table = calibration_table(taxonomy, scores)
    if len(table):
        mean = by_code.groupby("level")["ece"].mean().to_dict()
        table["classwise_ece"] = [mean.get(d, math.nan) for d in table["level"].tolist()]
    frames = (
        table,
        selective_table(taxonomy, scores, TARGETS, resamples=resamples),
        pd.DataFrame(columns=list(COLUMNS)) if rules is None else rules.copy(),
        by_code,
        pd.DataFrame(columns=list(DECODING_COLUMNS)) if hierarchical is None else hierarchical.copy(),
        pd.DataFrame(columns=list(SEVERAL_COLUMNS)) if several is None else several.copy(),
    )
    for lines in frames:
        lines.insert(0, "set", name)
        lines.insert(1, "probabilities", probabilities)
    return DecisionTables(*frames, scores={probabilities: scores})
