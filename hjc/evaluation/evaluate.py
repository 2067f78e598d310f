"""The one evaluation: a classifier and labelled data in, metrics per level and slice with intervals out.

Validation, the final test and ``hjc evaluate`` call :func:`evaluate`. Probabilities are scored batch by batch as the
classifier yields them (:mod:`hjc.metrics`), so memory holds one batch of them, whatever the number of rows.
"""

import csv
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from hjc.arrays import IntArray
from hjc.classifiers.base import Classifier
from hjc.data.jobdata import JobData
from hjc.files import write_text
from hjc.metrics import COUNTS, METRICS, Resamples, RowScores, bootstrap_intervals, level_metrics, score_rows
from hjc.progress import rows_progress
from hjc.taxonomy import Taxonomy

#: how a slice of rows without the attribute is called ("undetermined" of ISO 639)
UNKNOWN = "und"

#: columns of metrics.csv
FRAME_COLUMNS = ("set", "slice_kind", "slice", "level", "metric", "value", "low", "high", "n")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes:
        taxonomy: the tree of the levels.
        scores: the row scores (labelled rows, in the order of the data).
        frame: tidy, one line a figure: ``slice_kind, slice, level, metric, value, low, high, n``; ``slice_kind`` and
            ``slice`` are "" for all rows, ``level`` is "1".."D" or "overall", ``low`` and ``high`` are the bounds of
            the 95 % bootstrap interval (NaN for counts and without bootstrap), ``n`` the rows behind the figure.
        small: slices with fewer rows than the minimum support, which have no figures: ``"language uk" -> rows``.
        unlabelled: rows of the data without a code, which were left out.
        replicates: bootstrap resamples (0: none); ``clustered``: whether groups of rows were drawn together.
        seconds: wall time of the classifier; ``rows_per_second`` follows from it.
        baseline: metrics of a model without text (:func:`hjc.metrics.log_loss_baseline`), shown in the table.
    """

    taxonomy: Taxonomy
    scores: RowScores
    frame: pd.DataFrame
    small: Mapping[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    replicates: int = 0
    clustered: bool = False
    seconds: float = 0.0
    baseline: Mapping[str, float] | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Flat: ``level_4/recall@5``, ``overall/log_loss``, ``pl/level_4/log_loss``, ``source=ads/level_1/ece``."""
        figures = zip(self._keys(), self.frame["metric"].tolist(), self.frame["value"].tolist(), strict=True)
        return {key: int(value) if metric in COUNTS else value for key, metric, value in figures}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals under the keys of :attr:`metrics`, where there are any."""
        bounds = zip(self._keys(), self.frame["low"].tolist(), self.frame["high"].tolist(), strict=True)
        return {key: (low, high) for key, low, high in bounds if not math.isnan(low)}

    @property
    def rows_per_second(self) -> float:
        return len(self.scores) / self.seconds if self.seconds > 0 else math.nan

    def _keys(self) -> list[str]:
        columns = (self.frame[c].tolist() for c in ("slice_kind", "slice", "level", "metric"))
        return [metric_key(*values) for values in zip(*columns, strict=True)]

    def to_frame(self, prefix: str = "") -> pd.DataFrame:
        """:attr:`frame` with a first column ``set``."""
        out = self.frame.copy()
        out.insert(0, "set", prefix.strip("/"))
        return out

    def write(self, directory: str | Path, prefix: str = "test") -> None:
        """Write metrics.json and metrics.csv into ``directory``; figures of other prefixes there are kept.

        metrics.json: ``{"test/level_4/recall@5": 0.71, ...}``, null where a figure is undefined or infinite (JSON has
        neither; the CSV says which, and ``impossible`` counts the rows of an infinite log-loss).
        metrics.csv: :meth:`to_frame`, with the intervals.
        """
        name = prefix.strip("/")
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        json_path, csv_path = folder / "metrics.json", folder / "metrics.csv"
        start = f"{name}/" if name else ""
        flat = {k: v for k, v in _read_flat(json_path).items() if not (name and k.startswith(start))}
        flat |= {start + k: _json_number(v) for k, v in self.metrics.items()}
        old = [line for line in _read_lines(csv_path) if line["set"] != name]
        new = [dict(zip(FRAME_COLUMNS, v, strict=True)) for v in self.to_frame(name).itertuples(index=False)]
        lines = pd.DataFrame([*old, *new], columns=list(FRAME_COLUMNS)).to_csv(index=False, lineterminator="\n")
        write_text(json_path, json.dumps(flat, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
        write_text(csv_path, lines)

    def table(
        self, slice: str | None = None, level: int | None = None, title: str | None = None, width: int | None = None
    ) -> Table:
        """A terminal table: one row a level, or with ``slice="language"`` one row a language at one level.

        Shares are in percent, log-loss in nats; log-loss and R@1 carry their 95 % interval.

        Args:
            slice: a slice kind of :attr:`frame`, "language" or "source".
            level: the level of a table of slices; default the deepest.
            width: columns of the terminal, default as found. Where they are few, the lesser metrics are left out and
                named in the caption.
        """
        from hjc.evaluation.tables import evaluation_table  # the drawing is long, and only terminals need it

        return evaluation_table(self, slice=slice, level=level, title=title, width=width)


def metric_key(slice_kind: str, slice_name: str, level: str, metric: str) -> str:
    """``level_4/recall@5``; languages by name, other slices as ``source=ads/...`` ("/" in names becomes "_")."""
    where = level if level == "overall" else f"level_{level}"
    if not slice_kind:
        return f"{where}/{metric}"
    name = slice_name.replace("/", "_")
    return f"{name if slice_kind == 'language' else f'{slice_kind}={name}'}/{where}/{metric}"


def score(classifier: Classifier, data: JobData, *, progress: bool = True) -> RowScores:
    """Row scores of a classifier on labelled data, one batch of probabilities in memory at a time.

    Raises:
        ValueError: the data lies on another taxonomy, has no rows or rows without code, or the classifier did not yield
            every row exactly once.
    """
    taxonomy = classifier.taxonomy
    if data.taxonomy != taxonomy:
        raise ValueError(
            f"the classifier codes to {taxonomy!r}, the data is on {data.taxonomy!r}; "
            "load the data with the classifier's taxonomy, or use data.truncate(depth)"
        )
    if not len(data) or (data.gold < 0).any():
        raise ValueError(
            f"evaluation needs rows with a code: got {len(data)} rows, {int((data.gold < 0).sum())} of them without"
        )
    out = RowScores.empty(len(data), taxonomy.depth)
    seen = np.zeros(len(data), dtype=bool)
    with rows_progress("evaluating", len(data), progress) as bar:
        for rows, log_proba in classifier.iter_log_proba(data.texts):
            if seen[rows].any() or len(np.unique(rows)) < len(rows):
                raise ValueError(f"{type(classifier).__name__}.iter_log_proba yielded a row twice")
            seen[rows] = True
            out.put(rows, score_rows(taxonomy, log_proba, data.gold[rows]))
            bar.advance(len(rows))
    if not seen.all():
        raise ValueError(
            f"{type(classifier).__name__}.iter_log_proba left out {int((~seen).sum())} of {len(seen)} rows"
        )
    return out


def evaluate(
    classifier: Classifier,
    data: JobData,
    *,
    slices: Sequence[str] = ("language", "source"),
    bootstrap: int = 1000,
    seed: int = 0,
    progress: bool = True,
    min_support: int = 30,
    weighted: bool = False,
    cluster: bool = True,
    baseline: Mapping[str, float] | None = None,
) -> Evaluation:
    """Evaluate a classifier at every level, overall and by slice, with bootstrap 95 % intervals.

    Rows without a code are left out and counted. See :func:`hjc.metrics.level_metrics` for the definitions.

    Args:
        slices: attributes of JobData to slice by: "language", "source". One that is nowhere known is skipped.
        bootstrap: resamples; 0 for no intervals (validation during training).
        min_support: slices with fewer rows get no figures, and are named in the table's caption.
        weighted: weigh rows by ``data.weight`` (off: those are weights in the training loss).
        cluster: draw groups of rows together where ``data.group`` is known, as near-duplicates are no independent
            evidence.
        baseline: :func:`hjc.metrics.log_loss_baseline` of the training gold, for comparison in the table.

    Raises:
        ValueError: see :func:`score`; an unknown slice kind; a negative ``bootstrap``.
    """
    labelled = data.labelled()
    started = time.perf_counter()
    scores = score(classifier, labelled, progress=progress)
    seconds = time.perf_counter() - started
    return summarise(
        scores,
        labelled,
        slices=slices,
        bootstrap=bootstrap,
        seed=seed,
        progress=progress,
        min_support=min_support,
        weighted=weighted,
        cluster=cluster,
        baseline=baseline,
        unlabelled=len(data) - len(labelled),
        seconds=seconds,
    )


def summarise(
    scores: RowScores,
    data: JobData,
    *,
    slices: Sequence[str] = ("language", "source"),
    bootstrap: int = 1000,
    seed: int = 0,
    progress: bool = True,
    min_support: int = 30,
    weighted: bool = False,
    cluster: bool = True,
    baseline: Mapping[str, float] | None = None,
    unlabelled: int = 0,
    seconds: float = 0.0,
) -> Evaluation:
    """The second half of :func:`evaluate`: from the scores of the rows of ``data`` to metrics."""
    if bootstrap < 0:
        raise ValueError(f"bootstrap: got {bootstrap}, allowed are 0 (no intervals) and more resamples")
    if len(scores) != len(data):
        raise ValueError(f"got scores of {len(scores)} rows for data of {len(data)} rows")
    taxonomy = data.taxonomy
    weights = data.weight.astype(np.float64) if weighted else np.ones(len(data))
    groups = data.group if cluster else None
    resamples = Resamples.draw(len(data), bootstrap, seed, groups) if bootstrap else None
    small: dict[str, int] = {}
    parts: list[tuple[str, str, IntArray]] = [("", "", np.arange(len(data)))]
    for kind, name, rows in _slices(data, slices):
        if len(rows) < min_support:
            small[f"{kind} {name}"] = len(rows)
        else:
            parts.append((kind, name, rows))
    levels: list[int | None] = [*range(1, taxonomy.depth + 1), None]
    lines: list[tuple[str, str, str, str, float, float, float, int]] = []
    total = sum(len(rows) for _, _, rows in parts) * len(levels)
    with rows_progress("intervals" if bootstrap else "metrics", total, progress) as bar:
        for kind, name, rows in parts:
            if kind and len(rows) == len(data):  # the only language or source: what was found for all rows
                lines += [(kind, name, *line[2:]) for line in lines if not line[0]]
                bar.advance(len(rows) * len(levels))
                continue
            sub, w = scores.take(rows), weights[rows]
            drawn = resamples.take(rows) if resamples else None
            for level in levels:
                values = level_metrics(sub, taxonomy, level, w)
                between = bootstrap_intervals(sub, taxonomy, level, drawn, w, point=values) if drawn else {}
                for metric in METRICS:
                    low, high = between.get(metric, (math.nan, math.nan))
                    where = "overall" if level is None else str(level)
                    lines.append((kind, name, where, metric, values[metric], low, high, int(values["n"])))
                bar.advance(len(rows))
    return Evaluation(
        taxonomy=taxonomy,
        scores=scores,
        frame=pd.DataFrame(lines, columns=list(FRAME_COLUMNS[1:])),
        small=small,
        unlabelled=unlabelled,
        replicates=bootstrap,
        clustered=groups is not None and bootstrap > 0,
        seconds=seconds,
        baseline=baseline,
    )


def _slices(data: JobData, kinds: Sequence[str]) -> Iterator[tuple[str, str, IntArray]]:
    for kind in kinds:
        if kind not in ("language", "source"):
            raise ValueError(f"slices: got {kind!r}, allowed are 'language' and 'source'")
        values = np.array([v or UNKNOWN for v in getattr(data, kind)], dtype=object)
        names = sorted(set(values.tolist()))
        if names == [UNKNOWN]:
            continue
        for name in names:
            yield kind, name, np.flatnonzero(values == name)


# ---------------------------------------------------------------------- files


def _json_number(value: float) -> float | int | None:
    return value if math.isfinite(value) else None


def _read_flat(path: Path) -> dict[str, float | int | None]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}); move it away, or write the metrics to another folder"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no metrics but a {type(found).__name__}; write to another folder")
    return found


def _read_lines(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != FRAME_COLUMNS:
            raise ValueError(
                f"{path} has other columns ({', '.join(reader.fieldnames or ())}) than an evaluation "
                f"({', '.join(FRAME_COLUMNS)}); move it away, or write the metrics to another folder"
            )
        return list(reader)
