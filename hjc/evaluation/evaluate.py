"""What an evaluation found, and how metrics of every level and slice are made from row scores."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.table import Table

from hjc.arrays import BoolArray, Float64
from hjc.data.jobdata import JobData
from hjc.files import read_json, write_text
from hjc.metrics import COUNTS, METRICS, Resamples, RowScores
from hjc.metrics.bootstrap import intervals_of
from hjc.metrics.levels import level_rows, metrics_of
from hjc.progress import rows_progress
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from hjc.evaluation.decided import DecisionTables

#: how a slice of rows without the attribute is called ("undetermined" of ISO 639)
UNKNOWN = "und"

#: columns of metrics.csv
FRAME_COLUMNS = ("set", "slice_kind", "slice", "level", "metric", "value", "low", "high", "n")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`hjc.evaluation.evaluate_model` found.

    Attributes:
        taxonomy: the tree of the levels.
        data: the labelled rows that were scored; scores: theirs, in this order.
        frame: tidy, one line a figure: ``slice_kind, slice, level, metric, value, low, high, n``; ``slice_kind`` and
            ``slice`` are "" for all rows, ``level`` is "1".."D" or "overall", ``low`` and ``high`` are the bounds of
            the 95 % bootstrap interval (NaN for counts and without bootstrap), ``n`` the rows behind the figure.
        small: slices with fewer rows than the minimum support, which have no figures: ``"language uk" -> rows``.
        unlabelled: rows of the data without a code, which were left out.
        replicates: bootstrap resamples (0: none); ``clustered``: whether groups of rows were drawn together.
        seconds: wall time of the classifier; ``rows_per_second`` follows from it.
        baseline: metrics of a model without text (:func:`hjc.metrics.log_loss_baseline`), shown in the table.
        decided: tables of calibration and decisions; None where they were not asked for.
        name: what the set is called in files.
        trained_on: rows whose text the model was trained on, as far as it keeps hashes.
        notes: sentences about rows that were trained on, or are of another kind than the model's validation rows.
    """

    taxonomy: Taxonomy
    data: JobData
    scores: RowScores
    frame: pd.DataFrame
    small: Mapping[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    replicates: int = 0
    clustered: bool = False
    seconds: float = 0.0
    baseline: Mapping[str, float] | None = None
    decided: "DecisionTables | None" = None
    name: str = "test"
    trained_on: int = 0
    notes: tuple[str, ...] = ()

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

    def to_frame(self) -> pd.DataFrame:
        """:attr:`frame` with a first column ``set``."""
        out = self.frame.copy()
        out.insert(0, "set", self.name)
        return out

    def write(self, directory: str | Path) -> None:
        """Write metrics.json, metrics.csv and the files of :attr:`decided`; figures of other sets there are kept.

        metrics.json: ``{"test/level_4/recall@5": 0.71, ...}``, null where a figure is undefined or infinite (JSON has
        neither; the CSV says which, and ``impossible`` counts the rows of an infinite log-loss).
        metrics.csv: :meth:`to_frame`, with the intervals.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        path, start = folder / "metrics.json", f"{self.name}/" if self.name else ""
        flat = {k: v for k, v in _read_flat(path).items() if not (start and k.startswith(start))}
        flat |= {start + k: v if math.isfinite(v) else None for k, v in self.metrics.items()}
        merge_csv(folder / "metrics.csv", self.name, self.to_frame(), FRAME_COLUMNS)
        write_text(path, json.dumps(flat, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
        if self.decided is not None:
            self.decided.write(folder)

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


def evaluation_of(
    scores: RowScores,
    data: JobData,
    *,
    slices: Sequence[str] = ("language", "source"),
    min_support: int = 30,
    weights: Float64 | None = None,
    resamples: Resamples | None = None,
    progress: bool = True,
    **more: Any,
) -> Evaluation:
    """The second half of an evaluation: from the scores of the rows of ``data`` to metrics of all rows and of slices.

    Args:
        slices, min_support: as of :func:`hjc.evaluation.evaluate_model`.
        weights: (n,). resamples: of the rows, for the intervals.
        more: further attributes of the Evaluation.
    """
    if len(scores) != len(data):
        raise ValueError(f"got scores of {len(scores)} rows for data of {len(data)} rows")
    taxonomy, w = data.taxonomy, np.ones(len(data)) if weights is None else weights
    small: dict[str, int] = {}
    parts: list[tuple[str, str, BoolArray]] = [("", "", np.ones(len(data), dtype=bool))]
    for kind, name, rows in _slices(data, slices):
        if rows.sum() < min_support:
            small[f"{kind} {name}"] = int(rows.sum())
        else:
            parts.append((kind, name, rows))
    found: dict[tuple[int, int | None], Any] = {}
    levels: list[int | None] = [*range(1, taxonomy.depth + 1), None]
    # With every gold code at the deepest level, "overall" is that level.
    same = bool((scores.own_level(taxonomy) == taxonomy.depth).all()) and scores.held is None
    with rows_progress("metrics", len(levels) * sum(int(rows.sum()) for *_, rows in parts), progress) as bar:
        for level in levels:
            at = level_rows(scores, taxonomy, level)
            for i, (_, _, rows) in enumerate(parts):
                if level is None and same:
                    found[i, None] = found[i, taxonomy.depth]
                elif i and rows.all():  # the only language or source: what was found for all rows
                    found[i, level] = found[0, level]
                else:
                    some = at.take(rows[at.rows]) if i else at
                    point = metrics_of(some, w[some.rows])
                    drawn = {} if resamples is None else intervals_of(some, resamples, w[some.rows], point)
                    found[i, level] = point, drawn
                bar.advance(int(rows.sum()))
    lines = []
    for i, (kind, name, _) in enumerate(parts):
        for level in levels:
            point, drawn = found[i, level]
            for metric in METRICS:
                low, high = drawn.get(metric, (math.nan, math.nan))
                where = "overall" if level is None else str(level)
                lines.append((kind, name, where, metric, point[metric], low, high, int(point["n"])))
    frame = pd.DataFrame(lines, columns=list(FRAME_COLUMNS[1:]))
    replicates = 0 if resamples is None else resamples.replicates
    return Evaluation(taxonomy, data, scores, frame, small, replicates=replicates, **more)


def _slices(data: JobData, kinds: Sequence[str]) -> Iterator[tuple[str, str, BoolArray]]:
    for kind in kinds:
        if kind not in ("language", "source"):
            raise ValueError(f"slices: got {kind!r}, allowed are 'language' and 'source'")
        values = np.array([v or UNKNOWN for v in getattr(data, kind)], dtype=object)
        names = sorted(set(values.tolist()))
        if names == [UNKNOWN]:
            continue
        for name in names:
            yield kind, name, values == name


# ---------------------------------------------------------------------- files


def _read_flat(path: Path) -> dict[str, float | int | None]:
    if not path.exists():
        return {}
    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; move it away, or write the metrics to another folder") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no metrics but a {type(found).__name__}; write to another folder")
    return found


#: columns of a calibration.csv of an older hjc, where ``brier`` was that of the most probable code
RENAMED = {"ece_raw": "ece_plain", "brier": "top_brier"}


def merge_csv(path: Path, name: str, table: pd.DataFrame, only: Sequence[str] | None = None, digits: str = "") -> None:
    """Write lines with a column ``set``; lines of other sets that are in the file stay.

    Args:
        only: the columns that the file may have. digits: format of the new floats, such as ".6g".

    Raises:
        ValueError: the file has other columns than ``only``.
    """

    def cells(values: list[Any]) -> list[str]:
        floats = (f"{v:{digits}}" if isinstance(v, float) and not math.isnan(v) else v for v in values)
        return ["" if v is None or v != v else str(v) for v in floats]

    lines = pd.DataFrame({str(c): cells(table[c].tolist()) for c in table}, dtype=object)
    if path.exists() and path.stat().st_size:
        old = pd.read_csv(path, dtype=str, keep_default_na=False)
        if only is not None and list(old) != list(only):
            raise ValueError(
                f"{path} has other columns ({', '.join(map(str, old))}) than an evaluation ({', '.join(only)}); move "
                "it away, or write the metrics to another folder"
            )
        kept = old[old["set"] != name].rename(columns=RENAMED if "ece_raw" in old else {})
        lines = pd.concat([lines.iloc[:0], kept, lines]).fillna("")
    write_text(path, lines.to_csv(index=False, lineterminator="\n"))
