"""A table of ads becomes a batch: read, coded by the model, ordered, made into tasks; all of it or none."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import sqlalchemy as sa

from hjc.arrays import Float64, IntArray
from hjc.classifiers.features import word_vectors
from hjc.classifiers.vectors import TextVectors, dense
from hjc.data.recipe import OK, TextRecipe, present
from hjc.data.sample import load_sample
from hjc.decision.review import entropy, kmeans_plus_plus, margin
from hjc.decision.rules import Thresholds, back_off
from hjc.index import normalise
from hjc.metrics.level_proba import LevelProba
from hjc.serve.coding import TooLarge
from hjc.serve.desk_schemas import BatchSettings, Looked
from hjc.serve.models import Served
from hjc.serve.service import Service
from hjc.serve.store.batches import add_ads, add_tasks, new_batch, note_predictions, set_state
from hjc.serve.store.database import Store
from hjc.serve.store.planning import plan_tasks
from hjc.serve.store.queue import add_automatic
from hjc.serve.store.schema import batches
from hjc.tables import ReadOptions, Rejects, find_column, format_of, open_table
from hjc.tables.options import COMPRESSED

#: rows that go through the model at a time, so that coders who wait for their next ad are not kept
SCORED = 128
#: rows among which ``diverse`` chooses what comes first
POOL = 5000
#: the bundled ads, in place of a file
SAMPLE = "sample"
#: characters of an uploaded file's name that are kept, the last ones
NAME = 120
#: names of columns that are taken for an id or a language where nothing else is said
KEYS, LANGUAGES = ("id", "key", "ad_id", "job_id", "uid"), ("language", "lang", "language_code")


@dataclass
class Incoming:
    """A table as cells: columns, and rows of text."""

    columns: list[str]
    rows: list[list[str]]
    left_out: str = ""


class _Named:
    """An open stream with the name of the user's file, for messages."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.stream, self.name = stream, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.stream, attribute)


def upload_name(given: str | None) -> str:
    """The last part of the name that a client gives its file: it tells the format, and no place on this machine.

    Raises:
        ValueError: there is none.
    """
    name = "".join(c for c in (given or "").replace("\\", "/").rpartition("/")[2] if c.isprintable())[-NAME:]
    if not name.strip(". "):
        raise ValueError("the file has no name: send one that tells its format, as ads.csv")
    return name


def read_upload(stream: IO[bytes], name: str, most: int) -> Incoming:
    """An uploaded CSV, TSV, JSON, Parquet or Excel file, its format found by its name.

    Raises:
        ValueError: it cannot be read. TooLarge: more rows than ``most``.
    """
    if name.lower().endswith((*COMPRESSED, ".zip")):  # a small file could be unpacked to one without end
        raise ValueError(f"{name}: unpack it first; a packed table is not taken in")
    rejects, rows = Rejects(), list[list[str]]()
    named: Any = _Named(stream, name)
    with open_table(named, ReadOptions(format=format_of(name)), rejects=rejects) as reader:
        columns = list(reader.columns)
        for chunk in reader.chunks():
            cells = [chunk.texts(i, column) for i, column in enumerate(columns)]
            rows += [[cell or "" for cell in row] for row in zip(*cells, strict=True)]
            if len(rows) > most:
                raise TooLarge(f"{name}: more than {most:,} rows; split the file")
    if not rows:
        raise ValueError(f"{name}: there are no rows")
    return Incoming(columns, rows, rejects.message())


def of_rows(rows: Sequence[dict[str, str | None]]) -> Incoming:
    """Rows with names, as JSON has them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return Incoming(columns, [[row.get(name) or "" for name in columns] for row in rows])


def look(table: Incoming, recipe: TextRecipe) -> Looked:
    """The first rows, and which columns seem to be what."""
    texts = [name for name in recipe.columns if name in table.columns]
    if not texts:
        texts = [name for name in table.columns if name.casefold() in ("text", "title", "description")]
    if not texts:  # the column with the most letters
        letters = [sum(len(row[i]) for row in table.rows[:100]) for i in range(len(table.columns))]
        texts = [table.columns[int(np.argmax(letters))]]

    def first(names: Iterable[str]) -> str:
        return next((column for name in names for column in table.columns if column.casefold() == name), "")

    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows[:5]]
    return Looked(
        columns=table.columns, rows=rows, text_columns=texts, language_column=first(LANGUAGES), key_column=first(KEYS)
    )


def ads_of(table: Incoming, settings: BatchSettings, recipe: TextRecipe) -> list[dict[str, Any]]:
    """Rows for the store. Raises ValueError where a column is not there."""
    names = settings.text_columns or [name for name in recipe.columns if name in table.columns]
    if not names:
        raise ValueError(f"text_columns: which of the columns {', '.join(table.columns)} make the text?")
    at = [find_column(table.columns, name, "the table") for name in names]
    key, language = (
        find_column(table.columns, name, "the table") if name else None
        for name in (settings.key_column, settings.language_column)
    )
    joined = recipe.join([[row[i] for row in table.rows] for i in at])
    return [
        {
            "number": number, "text": text, "fields": dict(zip(table.columns, row, strict=True)),
            "key": present(row[key]) if key is not None else "",
            "language": present(row[language]).lower() if language is not None else "",
        }
        for number, (row, text) in enumerate(zip(table.rows, joined, strict=True), 1)
    ]  # fmt: skip


@dataclass
class Scores:
    """Of n rows at a level: what the order goes by (large first), best node, its probability, whether it needs no
    coder, the node that is sure enough."""

    score: Float64
    node: IntArray
    proba: Float64
    sure: IntArray


def score_rows(
    served: Served, texts: Sequence[str], settings: BatchSettings, wait: float, done: Callable[[float], None]
) -> Scores:
    """Code rows and say how unsure each is. A text that cannot be coded is as unsure as can be."""
    tree, calibrated = served.classifier.taxonomy, served.can_calibrate
    level = tree.check_level(settings.level or tree.depth)
    n = len(texts)
    out = Scores(np.full(n, np.inf), np.full(n, -1, np.int64), np.zeros(n), np.full(n, -1, np.int64))
    cleaned, statuses = served.classifier.recipe.of_columns(["text"]).read([list(texts)])
    use = [i for i, status in enumerate(statuses) if status == OK]
    thresholds = _thresholds(served, settings, level)
    for start in range(0, len(use), SCORED):
        at = np.array(use[start : start + SCORED])
        found = served.answer([cleaned[i] for i in at.tolist()], wait, calibrated=calibrated)
        levels = LevelProba.of(tree, found.log_proba)
        out.node[at], out.proba[at] = levels.top[:, level - 1], levels.confidence[:, level - 1]
        by = {"margin": margin, "entropy": entropy}.get(settings.order)
        out.score[at] = 1 - out.proba[at] if by is None else by(levels.at(level))
        if thresholds is not None:
            sure = back_off(tree, levels, thresholds).node
            out.sure[at] = np.where((sure >= 0) & (tree.node_path[sure, level - 1] >= 0), sure, -1)
        done((start + len(at)) / max(len(use), 1))
    return out


def _thresholds(served: Served, settings: BatchSettings, level: int) -> Thresholds | None:
    """From which probability a code of the level needs no coder."""
    tree = served.classifier.taxonomy
    if settings.target_accuracy is not None:
        fitted = served.validation.thresholds(
            settings.target_accuracy, rule="level", calibrated=served.can_calibrate
        ).thresholds
        return Thresholds(np.where(np.arange(1, tree.depth + 1) >= level, fitted.values, np.inf))
    if settings.automatic is not None:
        return Thresholds.of(tree, np.where(np.arange(1, tree.depth + 1) >= level, settings.automatic, np.inf))
    return None


def order_of(scores: Scores, texts: Sequence[str], served: Served, settings: BatchSettings) -> IntArray:
    """(n,) rows, first those to be coded first."""
    n = len(texts)
    if settings.order == "file":
        return np.arange(n)
    if settings.order == "random":
        return np.random.default_rng(settings.seed).permutation(n)
    order = np.argsort(-scores.score, kind="stable")
    if settings.order != "diverse" or n < 2:
        return order
    pool = order[:POOL]  # k-means++ with uncertainty as weight among the most unsure, then the others
    base = served.classifier
    some = [texts[i] for i in pool.tolist()]
    if base.vector_space is not None:
        vectors = dense(base.text_vectors(some))
    else:
        vectors = dense(TextVectors("words", word_vectors(some).transform(some)))
    first = kmeans_plus_plus(normalise(vectors), min(len(pool), 500), 1 - scores.proba[pool], settings.seed)
    chosen = pool[first]
    return np.concatenate([chosen, order[~np.isin(order, chosen)]])


def fill_batch(
    store: Store, served: Served, batch: int, table: Incoming, settings: BatchSettings, *, wait: float,
    done: Callable[[float], None],
) -> dict[str, Any]:  # fmt: skip
    """Code the rows, write ads and tasks; returns counts.

    Raises:
        ValueError: a column is not there, more rows to audit than there are.
    """
    rows = ads_of(table, settings, served.classifier.recipe)
    texts = [row["text"] for row in rows]
    scores = score_rows(served, texts, settings, wait, lambda share: done(0.9 * share))
    order = order_of(scores, texts, served, settings)
    sure = np.flatnonzero(scores.sure >= 0).tolist()
    planned = plan_tasks(
        order, np.where(np.isfinite(scores.score), scores.score, -1.0), audit=settings.audit, second=settings.second,
        leave_out=sure, seed=settings.seed,
    )  # fmt: skip
    tree = served.classifier.taxonomy
    with store.write() as connection:
        ids = add_ads(connection, batch, rows)
        predicted = np.flatnonzero(scores.node >= 0).tolist()
        note_predictions(connection, ((ids[i], tree.codes[scores.node[i]], float(scores.proba[i])) for i in predicted))
        automatic = {ids[i]: tree.codes[scores.sure[i]] for i in sure}
        add_automatic(connection, automatic, served.name, served.version)
        count = add_tasks(connection, batch, ids, planned)
        set_state(connection, batch, "ready")
    return {"batch": batch, "ads": len(ids), "tasks": count, "automatic": len(sure), "left_out": table.left_out}


def take_in_once(service: Service, name: str) -> str:
    """A file's ads (``sample``: the bundled ones) as a batch of that name, unless there is one; says what was done.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_upload`.
    """
    with service.store.read() as connection:
        if connection.execute(sa.select(batches.c.id).where(batches.c.source == name)).first():
            return f"ads: {name} are in the desk already"
    served = service.board.get()
    if name == SAMPLE:
        found = load_sample(served.classifier.taxonomy).tests["ads"]
        rows = zip(found.texts, found.language, strict=True)
        table = of_rows([{"text": text, "language": language} for text, language in rows])
    else:
        with open(name, "rb") as stream:
            table = read_upload(stream, name, service.settings.limits.upload_rows)
    guess = look(table, served.classifier.recipe)
    called = name if name == SAMPLE else Path(name).name
    settings = BatchSettings(name=called, text_columns=guess.text_columns, language_column=guess.language_column,
                             key_column=guess.key_column)  # fmt: skip
    with service.store.write() as connection:
        batch = new_batch(connection, called, None, served.name, name, settings.model_dump(exclude={"name"}))
    made = fill_batch(service.store, served, batch, table, settings, wait=600.0, done=lambda share: None)
    return f"ads: {made['ads']:,} of {name} are in the desk"
