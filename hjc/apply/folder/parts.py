"""The parts of one input: read, coded, written each to a file of its own, and put together when all are there."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hjc.apply.folder.inputs import Input
from hjc.apply.folder.manifest import PART, EndRecord, PartRecord, State, write_record
from hjc.apply.loop import Columns, Summary, read_parts
from hjc.apply.predict import check_free
from hjc.apply.step import Coder
from hjc.files import checksum, sync_to_disk
from hjc.tables import Reader, ReadOptions, Rejects, format_of, open_output, open_table
from hjc.tables.chunks import Chunk
from hjc.tables.source import OPENERS

#: an output without a row: the header of a CSV, the schema of a Parquet file
HEAD = "head"
REJECTS = "rejects.csv"
#: beyond the last part of any input
NEVER = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done with every input; plain values, sent to each process once.

    Args:
        target: folder of the outputs. work: folder of the records and parts.
        part_rows: rows of a part; what a kill costs at most, for each process.
        rows: read and coded at a time. input_format: None goes by the names. options: for reading.
    """

    target: Path
    work: Path
    part_rows: int = 16_384
    rows: int = 4096
    input_format: str | None = None
    options: ReadOptions = field(default_factory=ReadOptions)
    safe_cells: bool = False

    def identity(self) -> dict[str, Any]:
        """What decides how outputs and parts are written, as JSON values."""
        return {
            "part_rows": self.part_rows, "input_format": self.input_format, "safe_cells": self.safe_cells,
            **asdict(self.options),
        }  # fmt: skip

    def folder(self, one: Input) -> Path:
        """Where the parts of an input are."""
        return self.work / "parts" / one.name

    def part_rows_of(self, one: Input) -> int:
        """A workbook is one part."""
        return NEVER if one.kind == "xlsx" else self.part_rows

    def open(self, one: Input, rejects: Rejects | None = None) -> Reader:
        """An input. Errors: :func:`hjc.tables.open_table`."""
        options = replace(self.options, format=format_of(one.path, self.input_format, option="--input-format"))
        return open_table(one.path, options, rejects=rejects, rows=self.rows, all_columns=one.kind != "jsonl")


@dataclass(frozen=True)
class Task:
    """Some parts of an input that one process codes: numbers ``first``, ``first + step`` ... below ``stop``, but those
    in ``done``."""

    one: Input
    first: int = 0
    step: int = 1
    stop: int = NEVER
    done: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Told:
    """What a process says while it works: how far a part is, and when it is finished.

    Attributes:
        rows, share: so far, of the input's rows and (0 to 1) of the input.
        record: of the finished part. end: of the input.
    """

    name: str
    number: int = -1
    rows: int = 0
    share: float = 0.0
    record: PartRecord | None = None
    end: EndRecord | None = None


Tell = Callable[[Told], None]


class Rows:
    """The rows of a reader by their numbers, only forward; a chunk that reaches into the next part is cut."""

    def __init__(self, reader: Reader, first: int) -> None:
        self._reader, self._total = reader, reader.total()
        #: number of the next row
        self.at = reader.begin_at(first)
        self._chunks = reader.chunks()
        self._held: Chunk | None = None

    def more(self) -> bool:
        """Whether there is another row."""
        while self._held is None or not len(self._held):
            if (chunk := next(self._chunks, None)) is None:
                return False
            self._held = chunk
        return True

    def take(self, stop: int) -> Iterator[Chunk]:
        """The rows up to number ``stop``."""
        while self.at < stop and self.more():
            held = self._held
            assert held is not None
            size = min(len(held), stop - self.at)
            whole = size == len(held)
            self._held = None if whole else held.take(range(size, len(held)))
            self.at += size
            yield held if whole else held.take(range(size))

    def leave_out(self, stop: int) -> None:
        """Go on to row number ``stop``."""
        for _ in self.take(stop):
            pass

    def fraction(self) -> float:
        """How much of the input has been read, 0 to 1; 0 where nobody knows."""
        return self.at / max(self._total, 1) if self._total is not None else self._reader.fraction() or 0.0


def code_task(coder: Coder, job: Job, task: Task, tell: Tell) -> None:
    """Code the parts of a task that are not done.

    Raises:
        ValueError, OSError, ImportError: the input cannot be read, has not the columns, or changed meanwhile.
    """
    one, folder, size = task.one, job.folder(task.one), job.part_rows_of(task.one)
    folder.mkdir(parents=True, exist_ok=True)
    stamp = one.stamp()
    rejects, whole = Rejects(folder / f"rejects.{task.first}"), False
    try:
        with job.open(one, rejects) as reader:
            columns = coder.columns_in(reader.columns)
            columns.find(reader)
            new, total = coder.plan.columns, reader.total()
            check_free(list(new), reader.columns)
            head = folder / f"{HEAD}.{task.first}"
            with open_output(str(head), one.kind, reader, new, safe_cells=job.safe_cells) as empty:
                empty.finish()
            head.replace(folder / HEAD)
            # where the number of rows is known nothing is read for a part that is done
            stop = task.stop if total is None else min(task.stop, -(-total // size))
            numbers: Sequence[int] = range(task.first, stop, task.step)
            if total is not None:
                numbers = [number for number in numbers if number not in task.done]
            rows = Rows(reader, numbers[0] * size if numbers else 0)
            for number in numbers:
                rows.leave_out(number * size)
                if not rows.more():
                    break
                if number not in task.done:
                    record = _code_part(coder, job, task, reader, columns, rows, number, stamp, tell)
                    write_record(folder / f"{number:08d}.json", record)
                    tell(Told(one.name, number, record.rows, record.share, record))
            if whole := total is None and not rows.more():
                total = rows.at
    finally:
        rejects.close(discard=not whole)
    if total is not None:
        if whole and rejects.count:
            (folder / f"rejects.{task.first}").replace(folder / REJECTS)
        end = EndRecord(-(-total // size), total, rejects.count, rejects.mended(), stamp)
        write_record(folder / "end.json", end)
        tell(Told(one.name, end=end))


def _code_part(
    coder: Coder,
    job: Job,
    task: Task,
    reader: Reader,
    columns: Columns,
    rows: Rows,
    number: int,
    stamp: list[int],
    tell: Tell,
) -> PartRecord:
    """The file of one part, on the disk under its name."""
    one, size, path = task.one, job.part_rows_of(task.one), job.folder(task.one) / f"{number:08d}{PART}"
    before, summary = rows.fraction() if number else 0.0, Summary()

    def told(summary: Summary) -> None:
        tell(Told(one.name, number, summary.rows + summary.pending, rows.fraction() - before))

    with open_output(str(path), one.kind, reader, coder.plan.columns, safe_cells=job.safe_cells) as writer:
        chunks = rows.take((number + 1) * size)
        for part in read_parts(reader, columns, summary, told, chunks=chunks, start=number * size):
            writer.write(part.chunk, coder(part))
        writer.finish()
    if one.stamp() != stamp:
        raise ValueError(f"{one.path} was changed while it was read; give the command again")
    share = rows.fraction() - before
    return PartRecord(number, summary.rows, dict(summary.uncoded), share, checksum(path), stamp)


def assemble(job: Job, one: Input, state: State) -> tuple[EndRecord, Counter[str], int]:
    """Make the output of an input of its parts, give it its name at once, and remove the parts later.

    Returns:
        What is known of the input, status -> rows that have no code, and the bytes of the output.
    """
    end, folder, target = state.end, job.folder(one), job.target / one.output
    assert end is not None and state.complete
    target.parent.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:08d}{PART}" for number in range(end.parts)]
    made = folder / f"whole{target.suffix}"
    if one.kind == "parquet":
        _join_parquet(folder / HEAD, paths, made)
    elif one.kind == "xlsx":
        shutil.copyfile((paths or [folder / HEAD])[0], made)
    else:
        _join_text(folder / HEAD, paths, made)
    sync_to_disk(made)
    rejects = job.target / f"{one.output}.rejects.csv"
    if (folder / REJECTS).exists():
        shutil.copyfile(folder / REJECTS, rejects)  # stays where it is, should this be killed now
    else:
        rejects.unlink(missing_ok=True)  # of an earlier output
    size = made.stat().st_size
    made.replace(target)
    sync_to_disk(target.parent)
    uncoded = Counter[str]()
    for record in state.parts.values():
        uncoded.update(dict(record.uncoded))
    return end, uncoded, size


def _join_text(head: Path, paths: list[Path], made: Path) -> None:
    """The header, then the rows of each part, which has the header too."""
    skip = head.stat().st_size
    opener = OPENERS.get(made.suffix.lower(), open)
    with opener(made, "wb") as out:
        out.write(head.read_bytes())
        for path in paths:
            with path.open("rb") as stream:
                stream.seek(skip)
                shutil.copyfileobj(stream, out, 1 << 20)


def _join_parquet(head: Path, paths: list[Path], made: Path) -> None:
    """A row group for each part."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(made, pq.read_schema(head)) as out:
        for path in paths:
            out.write_table(pq.ParquetFile(path).read(use_threads=False))
