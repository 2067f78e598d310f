"""Reading tables: every format, every encoding, and files as they should not be."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hjc.data.recipe import clean_texts
from hjc.tables import read_rows, read_table
from hjc.tables.csv_reader import sniff_separator

FRAME = pd.DataFrame(
    {"text": ["Murarz, tynkarz", 'pracownik "do wszystkiego"', "Łódź\ndruga linia", "x;y|z"],
     "code": ["0110", "02", "1", "0210"]}
)  # fmt: skip
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=15)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_csv_round_trip(tmp_path, rows, separator, encoding, line_end):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([("one", "two", "three"), *rows])
    path = tmp_path / "x.csv"
    path.write_bytes(stream.getvalue().encode(encoding))
    table = read_rows(path, separator=separator)
    assert list(table.frame.itertuples(index=False, name=None)) == rows
    assert not table.rejects.count


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from(["text", "code", "n"]), CELL, min_size=1), min_size=1, max_size=8))
def test_jsonl_round_trip(tmp_path, records):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in records) + "\n", encoding="utf-8", newline="")
    frame = read_table(path)
    assert [{k: v for k, v in row.items() if v} for row in frame.to_dict("records")] == [
        {k: v for k, v in record.items() if v} for record in records
    ]


NAMES = ["a.csv", "a.csv.gz", "a.csv.bz2", "a.csv.xz", "a.tsv", "a.txt", "a.parquet", "a.jsonl", "a.json", "a.JSONL.gz"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_rows(tmp_path, name):
    path = tmp_path / name
    if "parquet" in name:
        FRAME.to_parquet(path)
    elif "json" in name.lower():
        lines = not name.endswith(".json")
        FRAME.to_json(path, orient="records", lines=lines, force_ascii=False, compression="infer")
    else:
        FRAME.to_csv(path, index=False, sep="\t" if name == "a.tsv" else ",")
    pd.testing.assert_frame_equal(read_table(path), FRAME.astype(object), check_dtype=False)


def test_streams_are_read_and_left_open():
    stream = io.BytesIO(FRAME.to_csv(index=False).encode())
    assert read_table(stream)["code"].tolist() == FRAME["code"].tolist()
    assert not stream.closed
    parquet = io.BytesIO()
    FRAME.to_parquet(parquet)
    assert len(read_table(io.BytesIO(parquet.getvalue()), format="parquet")) == 4


def test_line_numbers_are_those_of_an_editor(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,code\n"two\nlines",0110\n\nlast,0210\ntoo,many,cells\nfew\nend,1\n\n\n')
    table = read_rows(path)
    assert table.line.tolist() == [2, 5, 7, 8]
    assert table.rejects.lines == [(6, "3 cells instead of 2", "too,many,cells\n")]
    assert table.rejects.padded == 1
    assert table.frame["text"].tolist() == ["two\nlines", "last", "few", "end"]
    with pytest.raises(ValueError, match="line 6: 3 cells instead of 2"):
        read_table(path)


@pytest.mark.parametrize(
    "tail",
    ['"never closed,0110\nb,0210\n', 'a,"0110\nb,0210', 'ok,1\n"x', '"a",1\nb,"'],
    ids=["cell", "code", "end", "bare"],
)
def test_an_open_quote_does_not_swallow_the_file(tmp_path, tail):
    path = tmp_path / "a.csv"
    path.write_text("text,code\n" + tail)
    lines = path.read_text().count("\n", 10) + (not tail.endswith("\n"))
    try:
        table = read_rows(path)
    except ValueError as error:
        assert "never closed" in str(error) and lines == 1
    else:
        assert [reason for _, reason, _ in table.rejects.lines] == ["a quotation mark opens here and is never closed"]
        assert len(table) + table.rejects.count == lines
    assert len(read_rows(path, quote="")) == tail.strip().count("\n") + 1


def test_a_quote_closed_by_a_later_one_is_pointed_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,code\n"open,1\nb,2\nc",3,4\nd,5\n')
    table = read_rows(path)
    why = "3 cells instead of 2, over lines 2 to 4: is a quotation mark not closed?"
    assert [(line, reason) for line, reason, _ in table.rejects.lines] == [(2, why), (3, why), (4, why)]
    assert table.frame["text"].tolist() == ["d"]


def test_a_closed_cell_may_end_with_line_breaks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('code,text\n1,"abc\n"\n2,"x\n\n"')
    assert read_table(path)["text"].tolist() == ["abc\n", "x\n\n"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_encodings_are_found(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(FRAME.to_csv(index=False).encode(encoding))
    assert read_table(path)["text"].tolist() == FRAME["text"].tolist()


def test_other_encodings_are_asked_for_with_their_readings(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,code\nksięgowość,0110\n".encode("cp1250"))
    with pytest.raises(ValueError, match=r"is not utf-8\. Say the encoding.*cp1250 \('księgowość,0110'\)"):
        read_rows(path)
    assert read_table(path, encoding="cp1250")["text"].tolist() == ["księgowość"]
    with pytest.raises(ValueError, match="encoding: got 'klingon'"):
        read_rows(path, encoding="klingon")
    path.write_bytes("text,code\nabc,0110\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match="UTF-16 without a byte order mark; set the encoding to utf-16-le"):
        read_rows(path)
    assert read_table(path, encoding="utf-16-le")["code"].tolist() == ["0110"]


def test_undecodable_byte_far_into_the_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,code\n" + b"plain,1\n" * 30_000 + "żółw,2\n".encode("cp1250"))
    with pytest.raises(ValueError, match="cp1250"):
        read_rows(path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_found(separator):
    sample = f"text{separator}code{separator}n\n" + "\n".join(
        separator.join(['"a, b; c"' if separator in ",;" else "a, b; c, d", str(i), "x"]) for i in range(5)
    )
    assert sniff_separator(sample) == separator


def test_one_column_and_odd_headers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text\nfirst, second\nthird\n")
    assert read_rows(path, separator=";").frame["text"].tolist() == ["first, second", "third"]
    path.write_text(",text, code \n0,a,1\n")
    assert read_table(path).columns.tolist() == ["unnamed_1", "text", "code"]
    path.write_text("text,code,text\na,1,b\n")
    twice = read_rows(path)
    assert twice.column("code").tolist() == ["1"]
    with pytest.raises(ValueError, match="'text' stands 2 times"):
        twice.column("text")
    path.write_text("")
    with pytest.raises(ValueError, match="the file is empty"):
        read_rows(path)
    path.write_text("text,code\n")
    assert len(read_rows(path)) == 0
    with pytest.raises(ValueError, match="separator: got ',,'"):
        read_rows(path, separator=",,")


def test_wrong_column_names_the_nearest(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Title,Kod\na,1\n")
    table = read_rows(path)
    with pytest.raises(ValueError, match=r"no column 'titel'; columns are 'Title', 'Kod'; did you mean 'Title'\?"):
        table.column("titel")
    with pytest.raises(ValueError, match="looks unsplit"):
        read_rows(path, separator=";").column("Kod")


def test_numbers_in_parquet_and_json_stay_codes(tmp_path):
    pd.DataFrame({"code": [1110.0, np.nan, 21.0], "share": [0.5, 1.0, np.nan], "n": [1, 2, 3]}).to_parquet(
        tmp_path / "a.parquet"
    )
    frame = read_table(tmp_path / "a.parquet")
    assert frame["code"].tolist() == ["1110", "", "21"] and frame["n"].tolist() == ["1", "2", "3"]
    assert frame["share"].tolist() == ["0.5", "1", ""]
    (tmp_path / "a.jsonl").write_text(
        '{"code": 1110, "x": 1.50, "y": null, "z": [1]}\n\n{"code": "\\ud800"}\nnot json\n[1]\n'
    )
    table = read_rows(tmp_path / "a.jsonl")
    assert table.frame.iloc[0].tolist() == ["1110", "1.50", "", "[1]"]
    assert table.line.tolist() == [1, 3] and [line for line, _, _ in table.rejects.lines] == [4, 5]
    assert "not JSON" in table.rejects.first[0][1] and "list" in table.rejects.first[1][1]
    table.frame["code"].str.encode("utf-8")  # half a surrogate pair was replaced


def test_categories_lists_and_dates_in_parquet(tmp_path):
    frame = pd.DataFrame({"code": pd.Categorical(["01", "02"]), "skills": [["a"], ["b", "ć"]], "ok": [True, False],
                          "day": pd.to_datetime(["2024-01-02", None])})  # fmt: skip
    frame.to_parquet(tmp_path / "a.parquet")
    got = read_table(tmp_path / "a.parquet")
    assert got["code"].tolist() == ["01", "02"] and got["skills"].tolist() == ['["a"]', '["b", "ć"]']
    assert got["ok"].tolist() == ["true", "false"] and got["day"].tolist()[1] == ""


@pytest.mark.slow
def test_hugging_face_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "code": datasets.ClassLabel(names=["0110", "0210"])}
    )
    one = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "code": [1, 0, 1]}, features=features)
    one.select([2, 0]).save_to_disk(str(tmp_path / "one"))
    assert read_table(tmp_path / "one").to_numpy().tolist() == [["c", "0210"], ["a", "0210"]]
    datasets.DatasetDict({"train": one, "test": one.select([1])}).save_to_disk(str(tmp_path / "both"))
    both = read_table(tmp_path / "both")
    assert both["split"].tolist() == ["train"] * 3 + ["test"] and both["code"].tolist()[-1] == "0110"
    with pytest.raises(ValueError, match="save_to_disk"):
        read_table(tmp_path)


def test_plain_pair(tmp_path):
    (tmp_path / "x.txt").write_bytes("a\u2028b, c\r\n\r\nc\x0cd\r\n".encode())
    (tmp_path / "y.txt").write_text("0110\n0210\n1\n")
    frame = read_table(tmp_path / "x.txt", codes_path=tmp_path / "y.txt")
    assert frame["text"].tolist() == ["a\u2028b, c", "", "c\x0cd"] and frame["code"].tolist() == ["0110", "0210", "1"]
    (tmp_path / "y.txt").write_text("0110\n0210\n")
    with pytest.raises(ValueError, match=r"x\.txt has 3 lines and .*y\.txt has 2"):
        read_rows(tmp_path / "x.txt", codes_path=tmp_path / "y.txt")
    with pytest.raises(ValueError, match="pair of files"):
        read_rows(tmp_path / "x.txt", format="plain")


def test_absent_damaged_and_foreign_files(tmp_path):
    (tmp_path / "ads.csv").write_text("text,code\n")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'ads\.csv'"):
        read_rows(tmp_path / "adds.csv")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match="cannot be read as Excel"):
        read_rows(tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match="format: got 'cvs'"):
        read_rows(tmp_path / "a.xlsx", format="cvs")
    FRAME.to_csv(tmp_path / "b.csv.gz", index=False)
    whole = (tmp_path / "b.csv.gz").read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="complete"):
        read_rows(tmp_path / "b.csv.gz")
    (tmp_path / "c.parquet").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="Parquet"):
        read_rows(tmp_path / "c.parquet")


def test_hygiene_counts_what_it_does():
    texts, counts = clean_texts(
        ["a\x00b\x0bc\ud800", "<p>x</p> &nbsp;", " ok ", "y" * 30, "a < b & c > d"], max_chars=20
    )
    assert texts == ["ab c", "x", "ok", "y" * 20, "a < b & c > d"]
    assert counts == {"control": 1, "html": 1, "cut": 1}


def test_html_is_taken_out_on_request():
    pytest.importorskip("bs4")
    source = "<div>Kucharz<br>ul. <b>Nowa</b></div><ul><li>a</li><li>b&nbsp;&amp; c</li></ul><script>x()</script>"
    texts, counts = clean_texts([source, "no mark-up"], strip_html=True)
    assert texts == ["Kucharz\nul. Nowa\na\nb & c", "no mark-up"]
    assert counts == {"html": 1}


@pytest.mark.slow
@given(st.lists(st.text(max_size=30), max_size=5), st.integers(0, 20))
def test_clean_texts_are_clean_and_stay_so(texts, limit):
    once, _ = clean_texts(texts, limit)
    assert clean_texts(once, limit)[0] == once
    assert all(not limit or len(text) <= limit for text in once)
    assert all(text.encode("utf-8") is not None for text in once)


def test_bytes_that_are_texts_are_read_as_texts(tmp_path):
    """Spark and Hive write such columns; a picture is base64 where cells are texts, and changes no cell beside it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts, pictures = [b"registered nurse", "żółw".encode(), None], [b"\xff\xd8", b"text", None]
    columns = {"t": pa.array(texts), "d": pa.array(texts).dictionary_encode(), "p": pa.array(pictures)}
    pq.write_table(pa.table(columns), tmp_path / "spark.parquet")
    found = read_table(tmp_path / "spark.parquet")
    assert found["t"].tolist() == found["d"].tolist() == ["registered nurse", "żółw", ""]
    assert found["p"].tolist() == ["/9g=", "text", ""]
