"""No row of a table is lost without a word: what is written in any format comes back, what is damaged is named."""

import csv
import gzip
import io
import json
import os
import re
import threading
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hjc.tables import Rejects, open_cells, open_table, read_rows, read_table

CELL = st.text(
    st.one_of(
        st.sampled_from(",\";\t\n\\'| <=_x019"), st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r")
    ),
    max_size=12,
)
LOOKS = "look like rows of their own"


def as_csv(rows, **options) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n", **options).writerows(rows)
    return stream.getvalue().encode("utf-8")


def as_xlsx(rows) -> bytes:
    from hjc.tables.excel import SheetWriter

    stream, sheet = io.BytesIO(), SheetWriter("x.xlsx")
    for row in rows:
        sheet.write(row)
    sheet.save(stream)
    return stream.getvalue()


def as_parquet(rows) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({name: list(cells) for name, *cells in zip(*rows, strict=True)}), stream)
    return stream.getvalue()


def as_jsonl(rows) -> bytes:
    return "".join(json.dumps(dict(zip(rows[0], row, strict=True))) + "\n" for row in rows[1:]).encode()


def as_columns(rows) -> bytes:
    return json.dumps({name: dict(enumerate(cells)) for name, *cells in zip(*rows, strict=True)}).encode()


WRITERS = {
    "doubled.csv": lambda rows: as_csv(rows),
    "backslash.csv": lambda rows: as_csv(rows, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL),
    "a.jsonl": as_jsonl,
    "a.json": as_columns,
    "a.parquet": as_parquet,
    "a.xlsx": as_xlsx,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRITERS))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6), chunk=st.sampled_from([1, 2, 100]))
def test_rows_come_back_from_every_format(tmp_path, name, rows, chunk):
    rows = [("t9", "x", "y"), *((f"t{i}", b, c) for i, (_, b, c) in enumerate(rows))]
    if name == "backslash.csv":  # a backslash is text in either dialect until a quotation mark stands behind one
        cells = [cell for row in rows for cell in row]
        assume(any('"' in cell for cell in cells) or not any("\\" in cell for cell in cells))
        assume(not any(cell.endswith("\\") for cell in cells))
    path = tmp_path / name
    path.write_bytes(WRITERS[name]([("one", "two", "three"), *rows]))
    options = {"separator": ","} if name.endswith("csv") else {}
    table = read_rows(path, rows=chunk, **options)
    assume(not any(LOOKS in reason for _, reason, _ in table.rejects.lines))
    assert table.columns == ["one", "two", "three"] and not table.rejects.count
    assert list(table.frame.itertuples(index=False, name=None)) == rows
    with open_table(path, rows=chunk, **options) as reader:
        streamed = [tuple(row) for part in reader.chunks() for row in part.cells(reader.columns)]
    assert streamed == rows


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(["insert", "delete"]), st.sampled_from('",\\\n;x')),
        min_size=1, max_size=2,
    ),
    quoted=st.booleans(),
)  # fmt: skip
def test_no_row_of_a_damaged_file_is_lost(tmp_path, changes, quoted):
    rows = [(f"id{100 + i}", f"title {i}", "a, b" if quoted and i % 3 == 0 else "x") for i in range(12)]
    head, body = as_csv([("id", "title", "note"), *rows]).decode().split("\n", 1)
    for at, what, character in changes:
        at %= len(body)
        body = body[:at] + (character if what == "insert" else "") + body[at + (what == "delete") :]
    path = tmp_path / "a.csv"
    path.write_text(f"{head}\n{body}", encoding="utf-8", newline="")
    table = read_rows(path, separator=",")
    kept = [" | ".join(row) for row in table.frame.itertuples(index=False, name=None)]
    named = " ".join(value for _, _, value in table.rejects.lines)
    for key in set(re.findall(r"id\d{3}", body)):
        assert any(key in row for row in kept) or key in named, key
    assert all(len(re.findall(r"id\d{3}", row)) < 2 for row in kept)  # none within the cell of another


@pytest.mark.parametrize(
    ("text", "rows", "reasons"),
    [
        ('id,t,s\na1,"Nurse, 12\\"",day\na2,"driver",night\na3,"cook \\"chef\\"",day\n',
         [["a1", 'Nurse, 12"', "day"], ["a2", "driver", "night"], ["a3", 'cook "chef"', "day"]], []),
        ('id,t\na1,"C:\\dir"\na2,"C:\\"\na3,x\n', [["a1", "C:\\dir"], ["a2", "C:\\"], ["a3", "x"]], []),
        ('id,t\na1,"nurse\na2,"truck driver\na3,cook\n', [["a3", "cook"]], ["delimiter|expected", "never closed"]),
        ('id,t\na1,"nurse\na2,driver\na3,pipe 12"\na4,cook\n', [["a4", "cook"]], [LOOKS] * 3),
        ("id,t,e,w\na1,nurse,X,Y\na2,driver\n", [["a1", "nurse", "X", "Y"], ["a2", "driver", "", ""]], []),
        ("id,t\na1,nurse,\na2,driver,\n", [["a1", "nurse"], ["a2", "driver"]], []),
        ("sep=;\nid;t\na1;a,b\n", [["a1", "a,b"]], []),
        ('"sep=|"\nid|t\na1|x\n', [["a1", "x"]], []),
        ('id,t\na1,"two\nlines"\n\na2,x\n', [["a1", "two\nlines"], ["a2", "x"]], []),
    ],
    ids=["backslash", "windows", "stray", "inches", "short", "surplus", "sep", "sep quoted", "lines"],
)  # fmt: skip
def test_dialects(tmp_path, text, rows, reasons):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    table = read_rows(tmp_path / "a.csv")
    assert table.frame.to_numpy().tolist() == rows
    assert len(table.rejects.lines) == len(reasons)
    assert all(re.search(wanted, got) for wanted, (_, got, _) in zip(reasons, table.rejects.lines, strict=True))


def test_widths_are_counted_and_said(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,c\n1\n2,x,y,\n3,x,y\n", encoding="utf-8")
    table = read_rows(tmp_path / "a.csv")
    assert (table.rejects.padded, table.rejects.surplus, len(table)) == (1, 1, 3)
    assert "1 rows are shorter" in table.rejects.message() and "one separator too many" in table.rejects.message()


def test_no_readable_row_is_an_error_and_no_row_is_none(tmp_path):
    (tmp_path / "a.csv").write_text("id,t\na,b,1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no row can be read \(line 2: 4 cells instead of 2\)"):
        read_rows(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("id,t\n", encoding="utf-8")
    assert len(read_rows(tmp_path / "a.csv")) == 0


# ---------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "text",
    ['{"t": {"0": "a", "1": "b"}, "n": {"0": 1, "1": 2.50}}', '{"t": ["a", "b"], "n": [1, 2.50]}',
     '[{"t": "a", "n": 1}, {"t": "b", "n": 2.50}]', '[\n {"t": "a", "n": 1},\n {"t": "b", "n": 2.50}\n]\n',
     '{"t": "a", "n": 1}\n\n{"t": "b", "n": 2.50}\n', '{\n "t": ["a", "b"],\n "n": [1, 2.50]\n}'],
    ids=["columns", "lists", "array", "pretty array", "lines", "pretty columns"],
)  # fmt: skip
def test_json_of_every_shape(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert read_table(tmp_path / "a.json").to_numpy().tolist() == [["a", "1"], ["b", "2.50"]]


def test_odd_json_is_a_reject_and_no_traceback(tmp_path):
    deep, half = "[" * 5000 + "]" * 5000, '{"t": "\\ud83d nurse"}'
    lines = ['{"t": "a"}', f'{{"t": {deep}}}', '{"t": ' + "[" * 150 + "]" * 150 + "}", half, "nonsense", "7"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    table = read_rows(tmp_path / "a.jsonl")
    assert table.frame["t"].tolist() == ["a", "\ufffd nurse"] and table.line.tolist() == [1, 4]
    assert [line for line, _, _ in table.rejects.lines] == [2, 3, 5, 6]


def test_many_keys_are_read_soon(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"t": "x", f"k{i}": i}) + "\n" for i in range(20_000)), encoding="utf-8"
    )
    table = read_rows(tmp_path / "a.jsonl")
    assert len(table.columns) == 20_001 and table.column("t").tolist() == ["x"] * 20_000
    with pytest.raises(ValueError, match="19,971 more"):
        table.column("no")


# ---------------------------------------------------------------------- Excel, Parquet, containers


def test_codes_of_a_sheet_are_text(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["code", "day", "ok", None])
    for row in [(2221.0, pd.Timestamp("2024-01-02").to_pydatetime(), True), ("0110", None, None), (7223.1, "x", "y")]:
        book.active.append(row)
    book.active["A5"] = 110
    book.active["A5"].number_format = "0000"
    book.create_sheet("other").append(["code"])
    book.save(tmp_path / "a.xlsx")
    assert read_table(tmp_path / "a.xlsx").to_numpy().tolist() == [
        ["2221", "2024-01-02", "TRUE"], ["0110", "", ""], ["7223.1", "x", "y"], ["0110", "", ""]
    ]  # fmt: skip
    assert read_rows(tmp_path / "a.xlsx", sheet="other").columns == ["code"]
    with pytest.raises(ValueError, match="no sheet 'third'; the workbook has 'Sheet', 'other'"):
        read_rows(tmp_path / "a.xlsx", sheet="third")


def test_times_of_parquet_that_python_does_not_reach_are_iso_texts_also_within_lists(tmp_path):
    far, texts = pa.array([10**18, 0, None], pa.timestamp("us")), ["33658-09-27T01:46:40", "1970-01-01T00:00:00", None]
    columns = {
        "far": (far, texts),
        "sort": (far.dictionary_encode(), texts),
        "zone": (far.cast(pa.timestamp("us", "Nowhere/Land")), [text and f"{text}+00:00" for text in texts]),
        "day": (pa.array([2 * 10**9, 0, None], pa.int32()).cast(pa.date32()), ["5477784-01-06", "1970-01-01", None]),
        "long": (pa.array([2**62, 0, None], pa.duration("s")), [f"{2**62} s", "0:00:00", None]),
        "clock": (pa.array([1, 1500, None], pa.time64("ns")), ["00:00:00.000000001", "00:00:00.000001500", None]),
        "list": (pa.array([[10**18], [None], None], pa.list_(far.type)), [f'["{texts[0]}"]', "[null]", None]),
        "pair": (
            pa.StructArray.from_arrays([far], ["x"]),
            [f'{{"x": "{texts[0]}"}}', f'{{"x": "{texts[1]}"}}', '{"x": null}'],
        ),
        "map": (
            pa.array([[("a", 10**18)], [], None], pa.map_(pa.string(), far.type)),
            [f'[["a", "{texts[0]}"]]', "[]", None],
        ),
    }
    pq.write_table(pa.table({name: array for name, (array, _) in columns.items()}), tmp_path / "a.parquet")
    wanted = {name: [text or "" for text in told] for name, (_, told) in columns.items()}
    assert read_table(tmp_path / "a.parquet").fillna("").to_dict("list") == wanted
    assert read_rows(tmp_path / "a.parquet").frame.to_dict("list") == wanted


def test_floats_of_single_precision_keep_their_digits(tmp_path):
    pd.DataFrame({"x": np.array([0.1, 2221.0], np.float32)}).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet")["x"].tolist() == ["0.1", "2221"]


def test_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("__MACOSX/x", "")
        archive.writestr("ads.tsv", "t\tc\na\t1\n")
    assert read_table(tmp_path / "a.zip").to_numpy().tolist() == [["a", "1"]]
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("more.csv", "t\n")
    with pytest.raises(ValueError, match=r"it holds ads\.tsv, more\.csv"):
        read_table(tmp_path / "a.zip")
    data = bytearray(gzip.compress(b"id,t\n" + b"".join(b"%d,nurse\n" % i for i in range(5000))))
    data[60:-20:37] = bytes(x ^ 255 for x in data[60:-20:37])
    (tmp_path / "b.csv.gz").write_bytes(bytes(data))
    with pytest.raises(ValueError, match="is the file complete"):
        read_table(tmp_path / "b.csv.gz")


def test_a_pipe_is_read_once(tmp_path):
    for name, content in (("a.csv", b"t,c\na,1\n"), ("b.parquet", as_parquet([("t", "c"), ("a", "1")]))):
        os.mkfifo(tmp_path / name)
        feeder = threading.Thread(target=(tmp_path / name).write_bytes, args=(content,))
        feeder.start()
        assert read_table(tmp_path / name).to_numpy().tolist() == [["a", "1"]]
        feeder.join()


def test_long_headers_are_not_echoed(tmp_path):
    (tmp_path / "a.csv").write_text("x" * 2_000_000 + ",code\na,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.\.\.', 'code'") as error:
        read_rows(tmp_path / "a.csv").column("text")
    assert len(str(error.value)) < 500


def test_cells_as_they_stand(tmp_path):
    (tmp_path / "a.csv").write_text("A table of codes\n\ncode;title\n1;a, b\n2;c\n", encoding="utf-8")
    [(name, rows)] = [(name, list(rows)) for name, rows in open_cells(tmp_path / "a.csv")]
    assert name == "" and rows == [
        (1, ["A table of codes"]),
        (3, ["code", "title"]),
        (4, ["1", "a, b"]),
        (5, ["2", "c"]),
    ]


def test_names_of_columns(tmp_path):
    (tmp_path / "a.csv").write_text('\u200bt ,"",note,note\n1,2,3,4\n', encoding="utf-8")
    rejects = Rejects()
    with open_table(tmp_path / "a.csv", rejects=rejects) as reader:
        assert reader.columns == ["t", "unnamed_2", "note", "note"]
