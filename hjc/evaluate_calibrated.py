"""Calibration of a finished model on its validation rows, and what it and selective coding do on held-out rows.

:func:`calibrate_model` writes what :mod:`hjc.validation` and :mod:`hjc.drift_file` keep; :func:`decision_tables` are
calibration.csv and selective.csv of a run. One pass over the classifier scores raw and calibrated probabilities.
"""

import csv
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from hjc.calibration import Calibrator, Identity, calibration_table
from hjc.calibration.base import FILE_NAME
from hjc.calibration.diagnostics import TopOutcomes
from hjc.classifiers.base import Classifier, FloatArray, IntArray
from hjc.classifiers.calibrated import read_calibration, write_calibration
from hjc.data.jobdata import JobData
from hjc.drift_file import PROFILE_FILE, profile_rows, write_profile
from hjc.metrics import RowScores, score_rows
from hjc.selective import selective_table
from hjc.taxonomy import Taxonomy
from hjc.validation import SCORES_FILE, describe_validation

CALIBRATION_TABLE = "calibration.csv"
SELECTIVE_TABLE = "selective.csv"
TARGETS = (0.9, 0.95)


class Watched(Classifier):
    """A classifier as it is; on the way every batch is also scored after a calibrator.

    ``calibrated_scores`` are the row scores of the texts last gone through, which must be those of ``data``;
    ``seconds`` is what they cost beside the classifier.
    """

    name: ClassVar[str] = "watched"

    def __init__(self, base: Classifier, calibrator: Calibrator, data: JobData) -> None:
        super().__init__(base.taxonomy)
        self.base, self.calibrator, self._data = base, calibrator, data
        self.calibrated_scores = RowScores.empty(len(data), base.taxonomy.depth)
        self.seconds = 0.0

    @property
    def is_fitted(self) -> bool:
        return self.base.is_fitted

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self.base.parameters

    def fit(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        raise NotImplementedError("fit the classifier that is watched")

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        assert self.calibrator is not None
        for rows, log_proba in self.base.iter_log_proba(texts):
            started = time.perf_counter()
            better = self.calibrator.transform(log_proba)
            self.calibrated_scores.put(rows, score_rows(self.taxonomy, better, self._data.gold[rows]))
            self.seconds += time.perf_counter() - started
            yield rows, log_proba

    def save_pretrained(self, directory: Path) -> None:
        self.base.save_pretrained(directory)

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        raise NotImplementedError("load the classifier that is watched")


def outcomes_of(scores: RowScores, taxonomy: Taxonomy) -> TopOutcomes:
    """Confidence and correctness per level, from row scores."""
    column = taxonomy.level_column[np.maximum(scores.gold, 0)]
    top = scores.top.astype(np.int64)
    right = taxonomy.level_column[np.maximum(top, 0), np.arange(taxonomy.depth)[None, :]] == column
    return TopOutcomes(scores.confidence, right & scores.valid, scores.valid, top)


@dataclass(frozen=True)
class DecisionTables:
    """Lines of calibration.csv and selective.csv; the columns ``set`` and ``probabilities`` (raw, calibrated) first."""

    calibration: pd.DataFrame
    selective: pd.DataFrame

    def write(self, directory: str | Path, name: str) -> None:
        """Write both files; lines of other sets that are there stay."""
        for file, table in ((CALIBRATION_TABLE, self.calibration), (SELECTIVE_TABLE, self.selective)):
            _merge(Path(directory) / file, name, table)


def decision_tables(
    taxonomy: Taxonomy,
    scores: RowScores,
    calibrated: RowScores | None = None,
    *,
    name: str = "test",
    replicates: int = 300,
    seed: int = 0,
) -> DecisionTables:
    """Calibration and selective coding of labelled rows, before and (where given) after calibration.

    On the validation rows (name "valid") the calibrator was fitted itself: its lines there are "calibrated in sample".

    Calibration, a line a level: n, log_loss, accuracy, confidence, ece and what else
    :func:`hjc.calibration.calibration_table` has. Selective, a line a level: :func:`hjc.selective.selective_table`
    (automation rates at 90 and 95 % accuracy). ``replicates``: of the bands; 0 leaves them empty.
    """
    parts: tuple[list[pd.DataFrame], list[pd.DataFrame]] = ([], [])
    after = "calibrated in sample" if name == "valid" else "calibrated"
    for probabilities, found in (("raw", scores), (after, calibrated)):
        if found is None:
            continue
        outcomes = outcomes_of(found, taxonomy)
        table = calibration_table(taxonomy, outcomes)
        loss = [-float(found.log_p[found.valid[:, d - 1], d - 1].mean()) for d in table["level"]]
        table.insert(2, "log_loss", loss)
        chosen = selective_table(taxonomy, outcomes, TARGETS, replicates=max(replicates, 1), seed=seed)
        if not replicates:
            chosen[[c for c in map(str, chosen) if c.endswith(("_low", "_high"))]] = math.nan
        for part, lines in zip(parts, (table, chosen), strict=True):
            lines.insert(0, "set", name)
            lines.insert(1, "probabilities", probabilities)
            part.append(lines)
    return DecisionTables(*(pd.concat(part, ignore_index=True) for part in parts))


def calibrate_model(
    classifier: Classifier, directory: str | Path, train: JobData, valid: JobData, *, again: bool = False
) -> dict[str, Any]:
    """Fit the calibrator on the validation rows and write calibration.json, calibration_scores.npz and
    drift_profile.json beside the finished model; sets ``classifier.calibrator``.

    Without validation rows only the drift profile is written, of training rows. Files that are there are kept unless
    ``again``.

    Returns:
        For train.yaml: ``kind`` (None without validation rows), ``rows``, and where it was fitted now ``candidates``
        with their cross-validated log-loss.
    """
    folder = Path(directory)
    labelled = valid.labelled()
    wanted = (PROFILE_FILE,) if not len(labelled) else (FILE_NAME, SCORES_FILE, PROFILE_FILE)
    fitted: dict[str, Any] = {}
    if again or not all((folder / name).exists() for name in wanted):
        if not len(labelled):
            write_profile(folder, profile_rows(classifier, train), "training")
        else:
            found = describe_validation(classifier, labelled)
            candidates = json.loads(found.choice.to_json(orient="records", double_precision=6))
            fitted = {"candidates": candidates}
            write_calibration(folder, found.calibrator, {"rows": len(labelled), **fitted})
            found.scores.save(folder)
            write_profile(folder, found.profile, "validation")
    classifier.calibrator = read_calibration(folder, classifier.taxonomy)
    kind = classifier.calibrator.kind if classifier.calibrator is not None else None
    return {"kind": kind, "rows": len(labelled), **fitted}


def watch(classifier: Classifier, data: JobData) -> Watched:
    """The classifier to be evaluated on ``data``, so that calibrated scores are found in the same pass."""
    return Watched(classifier, classifier.calibrator or Identity(classifier.taxonomy), data)


def _merge(path: Path, name: str, table: pd.DataFrame) -> None:
    old: list[dict[str, str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            old = [line for line in csv.DictReader(stream) if line.get("set") != name]
    new = [{k: _cell(v) for k, v in line.items()} for line in table.to_dict("records")]
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        columns = list(dict.fromkeys([*table.columns, *(k for line in old for k in line)]))
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*old, *new])
    part.replace(path)


def _cell(value: Any) -> Any:
    return ("" if math.isnan(value) else f"{value:.6g}") if isinstance(value, float) else value
