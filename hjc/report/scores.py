"""What a run directory keeps of an evaluation, row by row: scores of every row, and how often each code was trained on.

``scores_<set>.parquet`` is enough to compute every metric again and to pair the rows of two runs; it holds no texts.
n rows, D levels.
"""

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hjc.arrays import IntArray
from hjc.data.jobdata import JobData
from hjc.files import replacing, write_text
from hjc.metrics import RowScores
from hjc.taxonomy import Taxonomy

FORMAT_VERSION = 1
TRAINING_COUNTS = "training_counts.csv"
#: key of the description in the metadata of the Parquet file
_METADATA = b"hjc"
_PATTERN = "scores_*.parquet"
#: what is kept of each level beside the most probable code
_FIGURES = ("rank", "log_p", "confidence", "sq")


@dataclass(frozen=True, eq=False)
class StoredScores:
    """The rows of one evaluated set, as a run directory keeps them.

    Attributes:
        name: the set, e.g. "test/titles".
        taxonomy: the tree; codes and parents only, without titles.
        scores: n labelled rows.
        row, id: position of each row in its file, and its identifier ("" without).
        key: (n,) 64-bit fingerprint of text and gold code; equal for equal rows in every run.
        language, source: n names, "" where unknown.
        group: (n,) near-duplicate or split groups; None when not known.
        characters: (n,) length of each text.
        data_hash: SHA-256 of texts and codes in order.
        seconds: wall time of the classifier on these rows; 0 when not known.
        about: plain values about the run that were known when the file was written.
    """

    name: str
    taxonomy: Taxonomy
    scores: RowScores
    row: IntArray
    id: tuple[str, ...]
    key: IntArray
    language: tuple[str, ...]
    source: tuple[str, ...]
    group: IntArray | None
    characters: IntArray
    data_hash: str
    seconds: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def rows_per_second(self) -> float:
        return len(self) / self.seconds if self.seconds > 0 else math.nan

    @classmethod
    def of(
        cls, name: str, scores: RowScores, data: JobData, seconds: float = 0.0, about: Mapping[str, Any] | None = None
    ) -> "StoredScores":
        """Scores with the attributes of their rows. ``data``: the labelled rows that were scored, in their order.

        Raises:
            ValueError: scores and data are not of the same rows.
        """
        if len(scores) != len(data) or not np.array_equal(scores.gold, data.gold):
            raise ValueError(
                f"{name}: scores of {len(scores)} rows and data of {len(data)} rows are not of the same rows; "
                "pass the labelled rows that were scored, in their order"
            )
        return cls(
            name=name,
            taxonomy=data.taxonomy,
            scores=scores,
            row=data.row,
            id=data.id,
            key=row_keys(data),
            language=data.language,
            source=data.source,
            group=data.group,
            characters=np.array([len(text) for text in data.texts], dtype=np.int64),
            data_hash=data.hash,
            seconds=seconds,
            about=about or {},
        )

    # ------------------------------------------------------------------ files

    def write(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``scores_<set>.parquet``, whole or not at all. Codes are written as codes, not as node numbers."""
        codes = pa.array([*self.taxonomy.codes, ""])
        columns: dict[str, Any] = {
            "row": pa.array(self.row),
            "id": _strings(self.id),
            "key": pa.array(self.key),
            "language": _strings(self.language),
            "source": _strings(self.source),
            "characters": pa.array(self.characters),
            "gold": pa.DictionaryArray.from_arrays(pa.array(self.scores.gold.astype(np.int32)), codes),
        }
        if self.group is not None:
            columns["group"] = pa.array(self.group)
        for d in range(self.scores.depth):
            s = self.scores
            columns[f"top_{d + 1}"] = pa.DictionaryArray.from_arrays(pa.array(s.top[:, d].astype(np.int32)), codes)
            columns |= {f"{name}_{d + 1}": pa.array(getattr(s, name)[:, d]) for name in _FIGURES}
        if self.scores.held is not None:  # rows have several codes
            for d in range(self.scores.depth + 1):
                held = pa.array(self.scores.held[:, d].astype(np.int32) % len(codes))  # -1 is the last, ""
                columns[f"held_{d + 1}"] = pa.DictionaryArray.from_arrays(held, codes)
        tree = self.taxonomy
        description = {
            "format_version": FORMAT_VERSION,
            "set": self.name,
            "data_hash": self.data_hash,
            "seconds": self.seconds,
            "about": dict(self.about),
            "taxonomy": {"name": tree.name, "codes": list(tree.codes), "parents": tree.parents.tolist()},
        }
        table = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(description, default=str)})
        path = Path(directory) / file_name(self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            pq.write_table(table, part, compression="zstd")
        return path

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "StoredScores":
        """Read a file of :meth:`write`.

        Raises:
            ValueError: it is no such file, is damaged, or was written by a newer hjc.
        """
        try:
            table = pq.read_table(path, partitioning=None)
        except pa.ArrowInvalid as error:
            raise _unreadable(path, error) from None
        description = _description(path, table.schema)
        if description.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path} has format version {description.get('format_version')}, this hjc reads {FORMAT_VERSION}: "
                "evaluate the run again with this version, or use the version that wrote it"
            )
        stored = description["taxonomy"]
        tree = Taxonomy(
            codes=tuple(stored["codes"]), parents=np.array(stored["parents"], dtype=np.int64), name=stored["name"]
        )
        n, depth = table.num_rows, tree.depth

        def strings(name: str) -> tuple[str, ...]:
            return tuple(table.column(name).to_pylist())

        def nodes(name: str) -> IntArray:
            column = table.column(name).combine_chunks()
            index = np.array([tree.index_of.get(code, -1) for code in column.dictionary.to_pylist()], dtype=np.int64)
            return index[column.indices.to_numpy(zero_copy_only=False).astype(np.int64)] if n else np.zeros(0, np.int64)

        several = f"held_{depth + 1}" in table.column_names
        scores = RowScores.empty(n, depth, several=several)
        scores.gold[:] = nodes("gold")
        for d in range(depth):
            scores.top[:, d] = nodes(f"top_{d + 1}")
            for name in _FIGURES:
                getattr(scores, name)[:, d] = table.column(f"{name}_{d + 1}").to_numpy()
        scores.valid[:] = tree.level_column[scores.gold] >= 0
        if scores.held is not None:
            scores.held[:] = np.stack([nodes(f"held_{d + 1}") for d in range(depth + 1)], axis=1)
            scores.valid[:] = scores.held[:, :-1] >= 0
        return cls(
            name=description["set"],
            taxonomy=tree,
            scores=scores,
            row=table.column("row").to_numpy(),
            id=strings("id"),
            key=table.column("key").to_numpy(),
            language=strings("language"),
            source=strings("source"),
            group=table.column("group").to_numpy() if "group" in table.column_names else None,
            characters=table.column("characters").to_numpy(),
            data_hash=description["data_hash"],
            seconds=float(description["seconds"]),
            about=description["about"],
        )

    def take(self, rows: npt.ArrayLike) -> "StoredScores":
        """The rows at the given positions, in that order. ``data_hash`` still names the whole set."""
        index = np.asarray(rows, dtype=np.int64)
        kept: dict[str, Any] = {name: getattr(self, name)[index] for name in ("row", "key", "characters")}
        kept |= {k: tuple(getattr(self, k)[i] for i in index.tolist()) for k in ("id", "language", "source")}
        group = None if self.group is None else self.group[index]
        return replace(self, scores=self.scores.take(index), group=group, **kept)


def _strings(values: tuple[str, ...]) -> pa.DictionaryArray:
    """As a column; halves of surrogate pairs, which UTF-8 has no bytes for, become "?"."""
    plain = [v if v.isascii() else v.encode("utf-8", "replace").decode("utf-8") for v in values]
    return pa.array(plain, pa.string()).dictionary_encode()


def row_keys(data: JobData) -> IntArray:
    """(n,) 64-bit fingerprints (BLAKE2b) of text and gold code."""
    keys = np.empty(len(data), dtype=np.int64)
    for i, (text, code) in enumerate(zip(data.texts, data.codes, strict=True)):
        raw = text.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(b"%d:%s%s" % (len(raw), raw, code.encode()), digest_size=8).digest()
        keys[i] = int.from_bytes(digest, "little", signed=True)
    return keys


def file_name(set_name: str) -> str:
    """``scores_test_titles.parquet`` for "test/titles"; names that no file can have get a checksum."""
    plain = set_name.replace("/", "_")
    slug = re.sub(r"[^\w.-]+", "-", plain)[:80]
    if slug != plain or "_" in set_name:  # "a_b" and "a/b" are two sets
        slug += "-" + hashlib.sha256(set_name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"scores_{slug}.parquet"


def score_files(directory: str | os.PathLike[str]) -> list[Path]:
    """The score files in a run directory."""
    return sorted(Path(directory).glob(_PATTERN))


def set_of(path: Path) -> str:
    """The name of the set in a score file, without reading its rows. Raises ValueError: see ``StoredScores.read``."""
    try:
        schema = pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise _unreadable(path, error) from None
    return str(_description(path, schema)["set"])


def _unreadable(path: str | os.PathLike[str], error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read ({error}); evaluate the run again to write it anew")


def _description(path: str | os.PathLike[str], schema: pa.Schema) -> dict[str, Any]:
    """What :meth:`StoredScores.write` says of a file in its metadata."""
    metadata = (schema.metadata or {}).get(_METADATA)
    if metadata is None:
        raise ValueError(f"{path} was not written by an evaluation of hjc; move it out of the run directory")
    found: dict[str, Any] = json.loads(metadata)
    return found


# ---------------------------------------------------------------------- training counts


def write_training_counts(directory: str | os.PathLike[str], train: JobData) -> Path:
    """Write training_counts.csv: ``code,rows`` for every code of the tree, rows coded to exactly that code (of
    several codes of a row each counts)."""
    labelled = train.gold[train.gold >= 0] if train.sets is None else train.sets.nodes
    return write_counts(directory, train.taxonomy, np.bincount(labelled, minlength=len(train.taxonomy)))


def write_counts(directory: str | os.PathLike[str], taxonomy: Taxonomy, counts: IntArray) -> Path:
    """:func:`write_training_counts` from (N,) counts of rows coded to exactly each node."""
    path = Path(directory) / TRAINING_COUNTS
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["code", "rows"])
    writer.writerows(zip(taxonomy.codes, counts.tolist(), strict=True))
    return write_text(path, lines.getvalue())


def read_training_counts(directory: str | os.PathLike[str], taxonomy: Taxonomy) -> IntArray | None:
    """(N,) training rows coded to exactly each node; None when the run has no training_counts.csv.

    Raises:
        ValueError: the file is damaged or of another taxonomy.
    """
    path = Path(directory) / TRAINING_COUNTS
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    try:
        found = {code: int(rows) for code, rows in lines[1:]}
        return np.array([found[code] for code in taxonomy.codes], dtype=np.int64)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} does not fit {taxonomy!r} ({type(error).__name__}: {error}); remove it, or train again"
        ) from None
