"""Tables of ads of any size, prepared chunk by chunk in two passes.

First pass: clean, judge, identify the language, sketch for duplicates; the new columns wait in a temporary file. Then
the groups of duplicates are known, and the second pass writes the rows with their new columns. In memory are one chunk,
the language models (under 1 GB for 24 languages) and, a row, 4 bytes for each permutation of MinHash and its code.

What comes out adds up: rows read = rows written + rows rejected (by reason), or it is an error.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hjc.corpus.prepare.cleaning import CleaningSettings, clean
from hjc.corpus.prepare.duplicates import (
    PERMUTATIONS,
    DuplicateFinder,
    DuplicateGroups,
    Sketch,
    Sketcher,
    label_conflicts,
)
from hjc.corpus.prepare.language import MIN_CONFIDENCE, PAPER_LANGUAGES, LanguageIdentifier
from hjc.corpus.prepare.phrases import Folded, Phrases, built_in
from hjc.corpus.prepare.quality import RULES, THRESHOLD, judge
from hjc.corpus.prepare.report import PrepareReport
from hjc.tables import Reader, Writer, find_column
from hjc.tables.undecoded import Undecoded

#: what is found in a cell of bytes that are no UTF-8
_NOT_UTF8 = "not_utf8"

#: opens a file for the rows of a reader and new columns (name -> kind)
OpenWriter = Callable[[Reader, dict[str, str]], Writer]
#: reasons for which rows can be left out of the output
DROPS = ("quality", "language", "identical")


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What is done with each row.

    Attributes:
        text_columns: cleaned each for itself; judged, identified and compared together.
        code_column: for label conflicts; "" without codes.
        cleaning: steps of cleaning.
        gate: whether the quality gate is asked.
        threshold: score from which it flags.
        languages: chosen among; empty: no language identification.
        wanted: languages that ``drop`` "language" keeps; empty: all of ``languages``.
        min_confidence: probability below which the language is unknown.
        similarity: Jaccard similarity of near-duplicates; None: identical texts only.
        permutations: of MinHash.
        drop: which rows go to the rejected file instead of the output: quality (flagged), language (none of
            ``wanted``), identical (text, and code, of an earlier row that is kept).
        prefix: start of the names of new columns.
    """

    text_columns: tuple[str, ...]
    code_column: str = ""
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    gate: bool = True
    threshold: float = THRESHOLD
    languages: tuple[str, ...] = PAPER_LANGUAGES
    wanted: tuple[str, ...] = ()
    min_confidence: float = MIN_CONFIDENCE
    similarity: float | None = 0.8
    permutations: int = PERMUTATIONS
    drop: tuple[str, ...] = ()
    prefix: str = "prep_"

    def __post_init__(self) -> None:
        if not self.text_columns:
            raise ValueError("text_columns: got none, at least one is needed")
        if bad := [d for d in self.drop if d not in DROPS]:
            raise ValueError(f"drop: got {bad[0]!r}, allowed are {', '.join(DROPS)}")
        if "language" in self.drop and not self.languages:
            raise ValueError("drop: language needs languages to choose among")
        if "quality" in self.drop and not self.gate:
            raise ValueError("drop: quality needs the gate")
        if strange := sorted(set(self.wanted) - set(self.languages)):
            raise ValueError(f"wanted: {strange[0]!r} is not among the languages to choose among")

    @property
    def phrases(self) -> Phrases:
        return self.cleaning.phrases

    @property
    def first_columns(self) -> dict[str, str]:
        """New columns of the first pass and their kind."""
        p = self.prefix
        out = {f"{p}{name}": "text" for name in self.text_columns}
        out |= {f"{p}cleaned": "text"}
        if self.gate:
            out |= {f"{p}quality": "number", f"{p}reasons": "text"}
        if self.languages:
            out |= {f"{p}language": "text", f"{p}language_score": "number"}
        return out

    @property
    def columns(self) -> dict[str, str]:
        """All new columns and their kind."""
        return {**self.first_columns, f"{self.prefix}group": "text", f"{self.prefix}duplicate_of": "text"}


class Worker:
    """The first pass over one chunk of texts; what it holds (phrases, language models) is built once a process."""

    def __init__(self, settings: PrepareSettings) -> None:
        self.settings = settings
        self.identifier = (
            LanguageIdentifier(settings.languages, min_confidence=settings.min_confidence)
            if settings.languages
            else None
        )
        self.sketcher = Sketcher(settings.permutations if settings.similarity is not None else 0)

    def __call__(self, columns: Sequence[Sequence[str | None]]) -> tuple[dict[str, list[Any]], Sketch]:
        """New columns, and the sketch of the joined cleaned texts. ``columns``: the cells of each text column."""
        s, p = self.settings, self.settings.prefix
        n = len(columns[0])
        out: dict[str, list[Any]] = {name: [] for name in s.first_columns}
        joined = []
        for i in range(n):
            cells, found = [], set[str]()
            for name, column in zip(s.text_columns, columns, strict=True):
                cell = column[i]
                if isinstance(cell, Undecoded):
                    cell = None
                    found.add(_NOT_UTF8)
                done = clean(cell or "", s.cleaning)
                out[f"{p}{name}"].append(done.text)
                if done.text:
                    cells.append(done.folded)
                found.update(done.found)
            text = "\n".join(cell.text for cell in cells)
            joined.append(text)
            out[f"{p}cleaned"].append(";".join(sorted(found)))
            if s.gate:
                verdict = judge(text, phrases=s.phrases, threshold=s.threshold, folded=Folded.joined(cells))
                out[f"{p}quality"].append(verdict.score)
                out[f"{p}reasons"].append(";".join(verdict.reasons))
            if self.identifier is not None:
                language, score = self.identifier.identify(text)
                out[f"{p}language"].append(language)
                out[f"{p}language_score"].append(score)
        return out, self.sketcher(joined)


_worker: Worker | None = None


def _start(settings: PrepareSettings) -> None:
    global _worker
    _worker = Worker(settings)


def _work(columns: Sequence[Sequence[str | None]]) -> tuple[dict[str, list[Any]], Sketch]:
    assert _worker is not None
    return _worker(columns)


def prepare_table(
    open_reader: Callable[[], Reader],
    open_writer: OpenWriter,
    open_rejected: OpenWriter,
    settings: PrepareSettings,
    *,
    workers: int = 1,
    temporary: Path | str | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[PrepareReport, pd.DataFrame]:
    """Prepare a table. The functions of :mod:`hjc.tables` open what is read and written.

    Args:
        open_reader: opens the input; called twice, and must give the same rows both times.
        open_writer, open_rejected: open the output and the file of rejected rows for a reader and new columns; the
            latter is called only where ``settings.drop`` says that rows may be rejected.
        workers: processes that clean, judge and identify; each holds its own language models.
        temporary: folder for the temporary file (about as large as the texts); default: the system's.
        progress: called with the rows done and the rows per second.

    Returns:
        The report, and the table of label conflicts (:func:`hjc.corpus.prepare.duplicates.label_conflicts`).

    Raises:
        ValueError: a column does not exist, or a new one does already.
        RuntimeError: the input changed between the passes.
    """
    report, started = PrepareReport(), time.monotonic()
    finder = DuplicateFinder(settings.similarity, permutations=settings.permutations)
    codes: list[str] = []
    kinds = settings.first_columns
    schema = pa.schema([(name, pa.float64() if kind == "number" else pa.string()) for name, kind in kinds.items()])
    with tempfile.TemporaryFile(dir=temporary) as spool:  # without a name: nothing is left of it after a kill
        with (
            open_reader() as reader,
            pa.ipc.new_stream(spool, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as waiting,
        ):
            if taken := sorted(set(settings.columns) & {c.strip() for c in reader.columns}):
                raise ValueError(f"{reader.label} has a column {taken[0]!r} already; choose another prefix")
            at = [find_column(reader.columns, name, reader.label) for name in settings.text_columns]
            code_at = find_column(reader.columns, settings.code_column, reader.label) if settings.code_column else -1

            def cells() -> Iterator[list[list[str | None]]]:
                for chunk in reader.chunks():
                    if code_at >= 0:
                        codes.extend(sys.intern((c or "").strip()) for c in chunk.texts(code_at, settings.code_column))
                    yield [chunk.texts(i, name) for i, name in zip(at, settings.text_columns, strict=True)]

            for new, sketch in _map(cells(), settings, workers):
                waiting.write_batch(pa.RecordBatch.from_pydict(new, schema=schema))
                finder.take(sketch)
                report.rows_in += len(sketch.keys)
                _count(report, new, settings)
                if progress is not None:
                    progress(report.rows_in, report.rows_in / max(time.monotonic() - started, 1e-9))
            report.unreadable = reader.rejects.count
        groups = finder.groups()
        del finder
        report.duplicates = groups.counts()
        conflicts = label_conflicts(groups, codes) if settings.code_column else pd.DataFrame()
        report.conflicts = int(conflicts["group"].nunique()) if len(conflicts) else 0
        spool.seek(0)
        _write(open_reader, open_writer, open_rejected, settings, spool, groups, codes, report)
    if report.rows_in != report.rows_out + sum(report.rejected.values()):
        raise RuntimeError(f"rows do not add up: {report.to_dict()}")
    report.seconds = time.monotonic() - started
    return report, conflicts


def _map(
    chunks: Iterator[list[list[str | None]]], settings: PrepareSettings, workers: int
) -> Iterator[tuple[dict[str, list[Any]], Sketch]]:
    """The first pass over all chunks in order, with never more than two chunks a process under way.

    The processes end with it: grouping needs memory of its own, and theirs is that of the language models.
    """
    if workers <= 1:
        yield from map(Worker(settings), chunks)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start, initargs=(settings,))
    try:
        waiting = [pool.submit(_work, chunk) for chunk in islice(chunks, 2 * workers)]
        while waiting:
            yield waiting.pop(0).result()
            waiting.extend(pool.submit(_work, chunk) for chunk in islice(chunks, 1))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C nobody waits for chunks that have not begun


def _count(report: PrepareReport, new: dict[str, list[Any]], settings: PrepareSettings) -> None:
    p = settings.prefix
    for cell in new[f"{p}cleaned"]:
        report.cleaned.update(filter(None, cell.split(";")))
    for cell in new.get(f"{p}reasons", ()):
        report.flagged_rows += bool(cell)
        report.flagged.update(filter(None, cell.split(";")))
    report.languages.update(x or "unknown" for x in new.get(f"{p}language", ()))


def _repeats(groups: DuplicateGroups, codes: list[str]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """(n,) the first row of the same text and code, itself where there is none before."""
    frame = pd.DataFrame({"text": groups.first, "code": codes if codes else ""})
    frame["row"] = np.arange(len(frame))
    return frame.groupby(["text", "code"], sort=False)["row"].transform("min").to_numpy()


def _write(
    open_reader: Callable[[], Reader],
    open_writer: OpenWriter,
    open_rejected: OpenWriter,
    settings: PrepareSettings,
    spool: IO[bytes],
    groups: DuplicateGroups,
    codes: list[str],
    report: PrepareReport,
) -> None:
    """The second pass."""
    p, start = settings.prefix, 0
    same = _repeats(groups, codes) if len(groups.group) else groups.first
    kept = np.zeros(len(same), dtype=bool)  # a text stays once: its first row that is not rejected for another reason
    wanted = frozenset(settings.wanted or settings.languages)
    with open_reader() as reader, ExitStack() as stack:
        batches = pa.ipc.open_stream(spool)
        writer = stack.enter_context(open_writer(reader, settings.columns))
        rejected = None
        if settings.drop:
            rejected = stack.enter_context(open_rejected(reader, {**settings.columns, f"{p}rejected": "text"}))
        for chunk in reader.chunks():
            try:
                batch = batches.read_next_batch()
            except StopIteration:
                batch = None
            if batch is None or batch.num_rows != len(chunk):
                raise RuntimeError(f"{reader.label} changed while it was read; prepare it again")
            n, new = len(chunk), batch.to_pydict()
            rows = slice(start, start + n)
            new[f"{p}group"] = [str(g) for g in groups.group[rows].tolist()]
            new[f"{p}duplicate_of"] = [
                "" if f == i else str(f) for i, f in enumerate(groups.first[rows].tolist(), start=start)
            ]
            why = [""] * n
            for i in range(n):
                if "quality" in settings.drop and new[f"{p}reasons"][i]:
                    why[i] = f"quality: {new[f'{p}reasons'][i].split(';')[0]}"
                elif "language" in settings.drop and new[f"{p}language"][i] not in wanted:
                    why[i] = f"language: {new[f'{p}language'][i] or 'unknown'}"
                elif "identical" in settings.drop and kept[same[start + i]]:
                    why[i] = "identical"
                else:
                    kept[same[start + i]] = True
            good = [i for i in range(n) if not why[i]]
            bad = [i for i in range(n) if why[i]]
            if good:
                writer.write(chunk if len(good) == n else chunk.take(good), _take(new, good))
            if bad and rejected is not None:
                rejected.write(chunk.take(bad), _take({**new, f"{p}rejected": why}, bad))
                report.rejected.update(why[i] for i in bad)
            report.rows_out += len(good)
            start += n
        writer.finish()
        if rejected is not None:
            rejected.finish()


def _take(columns: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
    return {name: [values[i] for i in rows] for name, values in columns.items()}


__all__ = ["DROPS", "RULES", "PrepareReport", "PrepareSettings", "Worker", "built_in", "prepare_table"]
