"""Calibration of a finished model on its validation rows, and what it and every decision rule do on held-out rows.

:func:`calibrate_model` writes what ``validation`` and ``drift_profile`` keep. :func:`watch` gathers, in the
one pass of an evaluation, the scores of raw and of calibrated probabilities, from which :meth:`Watched.tables` makes
calibration.csv, selective.csv, decisions.csv and classwise.csv of a run.
"""

import csv
import io
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from hjc.arrays import FloatArray, IntArray
from hjc.calibration import Calibrator, ClasswiseCounts, calibration_table
from hjc.calibration.base import FILE_NAME
from hjc.calibration.diagnostics import TopOutcomes
from hjc.classifiers.base import Classifier
from hjc.classifiers.calibration_file import read_calibration, write_calibration
from hjc.data.jobdata import JobData
from hjc.decision.selective import selective_table
from hjc.evaluation.drift_profile import PROFILE_FILE, describe_vectors, profile_rows, write_profile
from hjc.evaluation.rules import COLUMNS as RULE_COLUMNS
from hjc.evaluation.rules import RuleRows
from hjc.evaluation.validation import SCORES_FILE, ValidationScores, describe_validation
from hjc.files import write_text
from hjc.metrics import RowScores, score_rows
from hjc.taxonomy import Taxonomy

CALIBRATION_TABLE = "calibration.csv"
SELECTIVE_TABLE = "selective.csv"
RULES_TABLE = "decisions.csv"
CLASSWISE_TABLE = "classwise.csv"
TABLES = (CALIBRATION_TABLE, SELECTIVE_TABLE, RULES_TABLE, CLASSWISE_TABLE)
TARGETS = (0.9, 0.95)


class Watched(Classifier):
    """A classifier as it is, or calibrated; on the way every batch is also scored the other way.

    ``scores``: "raw" and, where there is a calibrator, "calibrated" -> row scores of the texts last gone through, which
    must be those of ``data``; the variant that is passed on is not among them (the evaluation scores it itself).
    ``seconds`` is what all this cost beside the classifier.

    Args:
        calibrator: None where the model has none.
        validation: what the model keeps of its validation rows, for thresholds and sets; None where it keeps none.
        calibrated: pass calibrated probabilities on instead of raw ones.
        in_sample: ``data`` are the validation rows themselves: no rules, and its own name for the calibrated variant.
    """

    name: ClassVar[str] = "watched"

    def __init__(
        self,
        base: Classifier,
        calibrator: Calibrator | None,
        data: JobData,
        *,
        validation: ValidationScores | None = None,
        calibrated: bool = False,
        in_sample: bool = False,
    ) -> None:
        super().__init__(base.taxonomy)
        if calibrated and calibrator is None:
            raise ValueError("calibrated=True needs a calibrator")
        self.base, self.calibrator, self._data = base, calibrator, data
        self._passed = "calibrated" if calibrated else "raw"
        self._in_sample = in_sample
        self.variants = ("raw", "calibrated") if calibrator is not None else ("raw",)
        self.scores = {v: RowScores.empty(len(data), base.taxonomy.depth) for v in self.variants if v != self._passed}
        self.seconds = 0.0
        tree = base.taxonomy
        self.classwise = {v: ClasswiseCounts(tree) for v in self.variants}
        self.rules = {
            v: RuleRows(tree, data.gold, data.language, None if in_sample else validation, v == "calibrated")
            for v in self.variants
        }

    @property
    def is_fitted(self) -> bool:
        return self.base.is_fitted

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self.base.parameters

    def fit(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        raise NotImplementedError("fit the classifier that is watched")

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        self.classwise = {v: ClasswiseCounts(self.taxonomy) for v in self.variants}  # texts may be gone through again
        for rows, log_proba in self.base.iter_log_proba(texts):
            started = time.perf_counter()
            found = {"raw": log_proba}
            if self.calibrator is not None:
                found["calibrated"] = self.calibrator.transform(log_proba)
            for v, x in found.items():
                if v in self.scores:
                    self.scores[v].put(rows, score_rows(self.taxonomy, x, self._data.gold[rows]))
                self.classwise[v].update(x, self._data.gold[rows])
                self.rules[v].update(rows, x)
            self.seconds += time.perf_counter() - started
            yield rows, found[self._passed]

    def tables(self, passed_on: RowScores, name: str, *, replicates: int = 300, seed: int = 0) -> "DecisionTables":
        """The tables of the rows gone through; ``passed_on``: their scores as the evaluation made them."""
        scores = {v: self.scores.get(v, passed_on) for v in self.variants}
        called = {v: "calibrated in sample" if self._in_sample and v == "calibrated" else v for v in scores}
        parts = []
        for v, found in scores.items():
            rules = self.rules[v].table(found) if not self._in_sample else None
            one = decision_tables(
                self.taxonomy, found, name=name, probabilities=called[v], replicates=replicates, seed=seed,
                classwise=self.classwise[v].table(), rules=rules,
            )  # fmt: skip
            parts.append(one)
        return DecisionTables.concat(parts, {called[v]: found for v, found in scores.items()})

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


@dataclass(frozen=True, eq=False)
class DecisionTables:
    """Lines of calibration.csv, selective.csv, decisions.csv and classwise.csv; the columns ``set`` and
    ``probabilities`` (raw, calibrated) first. ``scores``: the row scores they were made from, by probabilities."""

    calibration: pd.DataFrame
    selective: pd.DataFrame
    rules: pd.DataFrame
    classwise: pd.DataFrame
    scores: Mapping[str, RowScores] = field(default_factory=dict)

    @classmethod
    def concat(cls, parts: Sequence["DecisionTables"], scores: Mapping[str, RowScores]) -> "DecisionTables":
        """The lines of all parts."""
        names = ("calibration", "selective", "rules", "classwise")
        frames = [pd.concat([f for p in parts if len(f := getattr(p, n))] or [getattr(parts[0], n)]) for n in names]
        calibration, selective, rules, classwise = (frame.reset_index(drop=True) for frame in frames)
        return cls(calibration, selective, rules, classwise, scores)

    def write(self, directory: str | Path, name: str) -> None:
        """Write the files; lines of other sets that are there stay."""
        tables = (self.calibration, self.selective, self.rules, self.classwise)
        for file, table in zip(TABLES, tables, strict=True):
            _merge(Path(directory) / file, name, table)


def decision_tables(
    taxonomy: Taxonomy,
    scores: RowScores,
    *,
    name: str = "test",
    probabilities: str = "raw",
    replicates: int = 300,
    seed: int = 0,
    classwise: pd.DataFrame | None = None,
    rules: pd.DataFrame | None = None,
) -> DecisionTables:
    """Calibration and selective coding of labelled rows, by one kind of probabilities.

    Calibration, a line a level: n, log_loss, accuracy, confidence, ece and what else
    :func:`hjc.calibration.calibration_table` has (Brier score and its parts), classwise_ece (mean over the codes that
    occur). Selective, a line a level: ``selective_table`` (area under the risk-coverage curve,
    automation rates at 90 and 95 % accuracy).

    Args:
        replicates: of the bands; 0 leaves them empty.
        classwise: of :class:`hjc.calibration.ClasswiseCounts`; rules: of :class:`hjc.evaluation.rules.RuleRows`.
    """
    outcomes = outcomes_of(scores, taxonomy)
    table = calibration_table(taxonomy, outcomes)
    by_code = classwise if classwise is not None else pd.DataFrame(columns=["level", "ece"])
    if len(table):
        loss = [-float(scores.log_p[scores.valid[:, d - 1], d - 1].mean()) for d in table["level"]]
        table.insert(2, "log_loss", loss)
        mean = by_code.groupby("level")["ece"].mean() if len(by_code) else pd.Series(dtype=float)
        table["classwise_ece"] = [float(mean.get(d, math.nan)) for d in table["level"]]
    chosen = selective_table(taxonomy, outcomes, TARGETS, replicates=max(replicates, 1), seed=seed)
    if not replicates:
        chosen[[c for c in map(str, chosen) if c.endswith(("_low", "_high"))]] = math.nan
    by_rule = rules if rules is not None else pd.DataFrame(columns=list(RULE_COLUMNS))
    by_code = by_code.copy()
    for lines in (table, chosen, by_rule, by_code):
        lines.insert(0, "set", name)
        lines.insert(1, "probabilities", probabilities)
    return DecisionTables(table, chosen, by_rule, by_code, {probabilities: scores})


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
            describe_vectors(found.profile, classifier, labelled.texts)
            write_profile(folder, found.profile, "validation")
    classifier.calibrator = read_calibration(folder, classifier.taxonomy)
    kind = classifier.calibrator.kind if classifier.calibrator is not None else None
    return {"kind": kind, "rows": len(labelled), **fitted}


def watch(
    classifier: Classifier, data: JobData, directory: str | Path | None = None, *, calibrated: bool = False,
    in_sample: bool = False,
) -> Watched:  # fmt: skip
    """The classifier to be evaluated on ``data``, so that all tables of decisions are found in the same pass.

    Args:
        directory: of the model, for what it keeps of its validation rows; None, or a model without: rules that need
            them are left out.
        calibrated, in_sample: as of :class:`Watched`.
    """
    validation = None
    if directory is not None and (Path(directory) / SCORES_FILE).exists():
        validation = ValidationScores.load(directory, classifier.taxonomy)
    return Watched(
        classifier, classifier.calibrator, data, validation=validation, calibrated=calibrated, in_sample=in_sample
    )


def _merge(path: Path, name: str, table: pd.DataFrame) -> None:
    old: list[dict[str, str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            old = [line for line in csv.DictReader(stream) if line.get("set") != name]
    new = [{k: _cell(v) for k, v in line.items()} for line in table.to_dict("records")]
    columns = list(dict.fromkeys([*table.columns, *(k for line in old for k in line)]))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*old, *new])
    write_text(path, lines.getvalue())


def _cell(value: Any) -> Any:
    return ("" if math.isnan(value) else f"{value:.6g}") if isinstance(value, float) else value
