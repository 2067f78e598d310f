"""Readers of files whose rows have names: JSON Lines, Parquet, Hugging Face datasets. Every cell comes as text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd

#: rows of text, where each starts in the file, and position -> reason of malformed rows
Records = tuple[pd.DataFrame, list[int], dict[int, str]]


def text_series(cells: Sequence[str]) -> pd.Series:
    """A column of Python strings."""
    return pd.Series(cells, dtype="object")


# ---------------------------------------------------------------------------------------------- JSON Lines


def read_jsonl(stream: IO[str], name: str) -> Records:
    """One object a line. Numbers stay as written. An array of objects (a .json file) is read as well."""
    rows: list[dict[str, Any]] = []
    line: list[int] = []
    problem: dict[int, str] = {}
    for number, raw in enumerate(stream, start=1):
        text = raw.strip()
        if number == 1 and text.startswith("["):
            try:
                records = json.loads(raw + stream.read(), parse_int=str, parse_float=str)
            except json.JSONDecodeError as error:
                raise ValueError(f"{name}: line {error.lineno}: not JSON: {error.msg}") from error
            return _from_records(records, problem), list(range(1, len(records) + 1)), problem
        if not text:
            continue
        try:
            record = json.loads(text, parse_int=str, parse_float=str)
        except json.JSONDecodeError as error:
            record, problem[len(rows)] = {}, f"not JSON: {error.msg} at character {error.colno}"
        rows.append(record)
        line.append(number)
    if not rows:
        raise ValueError(f"{name}: the file is empty; one JSON object a line is needed")
    return _from_records(rows, problem), line, problem


def _from_records(records: list[Any], problem: dict[int, str]) -> pd.DataFrame:
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            records[i], problem[i] = {}, f"not a JSON object but {type(record).__name__}"
    keys = dict.fromkeys(key for record in records for key in record)
    return pd.DataFrame({key: text_series([_json_text(r.get(key)) for r in records]) for key in keys})


def _json_text(value: Any) -> str:
    if isinstance(value, str):
        # half a surrogate pair is legal in JSON and not in Unicode text
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------------------------------------- Arrow


def read_parquet(source: Any, name: str) -> Records:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(source)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name}: not a readable Parquet file: {error}") from error
    return _from_arrow(table, name)


def _from_arrow(table: Any, name: str) -> Records:
    if len(set(table.column_names)) != len(table.column_names):
        raise ValueError(f"{name}: column names are not unique: {', '.join(table.column_names)}")
    frame = pd.DataFrame({key: _arrow_text(table.column(key)) for key in table.column_names})
    return frame, list(range(1, table.num_rows + 1)), {}


def _arrow_text(column: Any) -> pd.Series:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_floating(kind):
        # whole numbers with gaps are stored as floats by pandas: a code 1110 must not become "1110.0"
        known = pc.filter(column, pc.and_(pc.is_finite(column), pc.is_valid(column)))
        if bool(pc.all(pc.equal(known, pc.floor(known))).as_py() or len(known) == 0):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind)).cast(pa.int64())
    try:
        text = column.cast(pa.large_string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        text = pa.chunked_array([pa.array([_json_text(_plain(x)) for x in column.to_pylist()], pa.large_string())])
    return text_series(pc.fill_null(text, "").to_pylist())


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | list | dict | type(None)) else str(value)


def read_datasets(path: Path) -> Records:
    """A directory of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`; of the latter with a column `split`."""
    try:
        from datasets import ClassLabel, DatasetDict, load_from_disk
    except ImportError as error:
        raise ImportError(f"{path}: reading a Hugging Face dataset needs `pip install 'hjc[datasets]'`; or save it as "
                          "Parquet with Dataset.to_parquet") from error  # fmt: skip
    try:
        loaded = load_from_disk(str(path))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: not a directory written by datasets.save_to_disk") from error
    tables = []
    for split, data in loaded.items() if isinstance(loaded, DatasetDict) else [("", loaded)]:
        part = _from_arrow(data.with_format("arrow")[:], str(path))[0]
        for key, feature in data.features.items():
            if isinstance(feature, ClassLabel):  # numbers on disk: the names are the codes
                names = {str(i): text for i, text in enumerate(feature.names)}
                part[key] = part[key].map(names).fillna("")
        if split and "split" not in part:
            part["split"] = split
        tables.append(part)
    frame = pd.concat(tables, ignore_index=True).fillna("")
    return frame, list(range(1, len(frame) + 1)), {}
