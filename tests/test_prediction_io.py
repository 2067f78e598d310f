"""Tables in, tables out: no row, column or character may change on the way through a prediction."""

import csv
import datetime
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hjc.apply.loop import Columns, Part, Summary, write_parts
from hjc.apply.predict import Plan, check_free, code_rows
from hjc.data import TextRecipe
from hjc.data.recipe import UNDECODED
from hjc.tables import Rejects, check_output, find_column, format_of, open_output, open_table
from hjc.tables.chunks import TextChunk
from hjc.taxonomy import from_edges, isco08
from tests.stub_classifier import StubClassifier

TREE = from_edges(
    ["1", "2", "11", "12", "21"], [None, None, "1", "1", "2"], titles={"en": ["one", "two", "a", "b", "c"]}, name="toy"
)


def coded_by(plan: Plan):
    return lambda part: code_rows(StubClassifier(TREE), plan, part)


def run(source: Path, target: Path, text="text", *, rows=7, top_k=1, levels=(), rejects=None, **options) -> Summary:
    into = format_of(target, writing=True)
    recipe = TextRecipe((text,) if isinstance(text, str) else tuple(text))
    with open_table(source, rejects=rejects, rows=rows, all_columns=into != "jsonl", **options) as reader:
        plan = Plan(TREE, levels=levels, top_k=top_k)
        check_free(list(plan.columns), reader.columns)
        with open_output(str(target), into, reader, plan.columns) as writer:
            summary = Summary()
            write_parts(reader, writer, Columns(recipe), coded_by(plan), summary)
            return summary


def read_csv(path: Path, delimiter=",") -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, delimiter=delimiter))


def write_csv(path: Path, rows, delimiter=",", **options) -> None:
    with path.open("w", encoding=options.pop("encoding", "utf-8"), newline="") as stream:
        csv.writer(stream, delimiter=delimiter, **options).writerows(rows)


# ---------------------------------------------------------------------- what goes in comes out

# Everything UTF-8 can hold, with the characters that break CSV readers made frequent.
CELL = st.text(
    st.one_of(st.sampled_from(",\";\t\n\r\\'| <&\ufeff\u2028\x00NaN01"), st.characters(exclude_categories=["Cs"]))
)

JSON = st.one_of(
    CELL,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(CELL, max_size=2),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_csv_rows_in_are_rows_out(tmp_path, data):
    width = data.draw(st.integers(2, 4))
    rows = data.draw(st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=12))
    delimiter = data.draw(st.sampled_from(",;\t|"))
    header = [f"c{i}" for i in range(width - 1)] + ["text"]
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    # Python before 3.13 leaves "\r" in cells unquoted unless it is in the line terminator.
    quoting, ends = data.draw(st.sampled_from([(csv.QUOTE_ALL, "\n"), (csv.QUOTE_MINIMAL, "\r\n")]))
    write_csv(source, [header, *rows], delimiter, quoting=quoting, lineterminator=ends)
    rejects = Rejects()
    done = run(source, target, separator=delimiter, rows=data.draw(st.sampled_from([1, 3, 100])), rejects=rejects)
    out = read_csv(target, "," if delimiter == "\t" else delimiter)
    assert rejects.count == 0
    assert out[0] == [*header, "hjc_level2_code_1", "hjc_level2_title_1", "hjc_level2_proba_1", "hjc_status"]
    assert [row[:width] for row in out[1:]] == rows
    assert done.rows == len(rows)
    for before, after in zip(rows, out[1:], strict=True):
        assert after[-1] == TextRecipe().read([[before[-1]]])[1][0]
        assert (after[-1] == "ok") == (after[width] != "")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.sampled_from(["text", "id", "x y", "ź"]), JSON), min_size=1, max_size=9))
def test_jsonl_lines_are_extended_and_otherwise_untouched(tmp_path, rows):
    rows = [{"text": "first"}, *rows]
    lines = [json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(rows)]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="")
    run(source, target, rows=3)
    out = target.read_text(encoding="utf-8").split("\n")
    assert out.pop() == ""
    for before, line, after in zip(rows, lines, out, strict=True):
        assert after.startswith(line[:-1])
        parsed = json.loads(after)
        assert {k: parsed[k] for k in before} == before
        assert set(parsed) - set(before) == {
            "hjc_level2_code_1", "hjc_level2_title_1", "hjc_level2_proba_1", "hjc_status"
        }  # fmt: skip


def test_jsonl_keeps_the_spelling_of_numbers(tmp_path):
    (tmp_path / "in.jsonl").write_text(
        '{"text": "cook", "a": 1.0, "b": 1E5, "c": 12345678901234567890, "d": "\\u0105"}\n'
    )
    run(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    start = (tmp_path / "out.jsonl").read_text()
    assert start.startswith('{"text": "cook", "a": 1.0, "b": 1E5, "c": 12345678901234567890, "d": "\\u0105", "hjc_')


def arrow_table() -> pa.Table:
    day = datetime.date(2024, 2, 29)
    return pa.table(
        {
            "id": pa.array([1, 1, None, 4], pa.int32()),
            "text": pa.array(["cook", None, "", "<p>&nbsp;</p>"], pa.large_string()),
            "share": pa.array([0.1, float("nan"), None, 2.0], pa.float32()),
            "day": pa.array([day, None, day, day], pa.date32()),
            "tags": pa.array([["a"], [], None, ["ż", "b"]], pa.list_(pa.string())),
            "kind": pa.array(["x", "y", "x", None]).dictionary_encode(),
        }
    )


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_parquet_keeps_types_and_order(tmp_path, rows):
    table = arrow_table()
    pq.write_table(table, tmp_path / "in.parquet")
    summary = run(tmp_path / "in.parquet", tmp_path / "out.parquet", rows=rows, levels=(1, 2), top_k=2)
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.select(table.column_names).schema == table.schema
    assert out.select(table.column_names).to_pydict().__repr__() == table.to_pydict().__repr__()  # NaN equals NaN here
    assert out["hjc_status"].to_pylist()[0] == "ok"
    assert out["hjc_level1_code_1"].to_pylist()[1:] == [None] * 3
    assert out["hjc_level2_proba_1"].type == pa.float64()
    assert summary.uncoded == {"empty text": 2, "no words: only markup, control characters or punctuation": 1}


def test_bytes_that_are_no_text_have_a_reason_and_no_code(tmp_path):
    """As base64 such a cell got a code."""
    titles, bodies = [b"cook", b"\xff\xd8\xff", b"driver"], [b"in a kitchen", b"of a lorry", "żółw".encode("cp1250")]
    pq.write_table(pa.table({"text": titles, "body": bodies}), tmp_path / "in.parquet")
    summary = run(tmp_path / "in.parquet", tmp_path / "out.csv", ["text", "body"])
    out = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert out["hjc_status"].tolist() == ["ok", UNDECODED, UNDECODED]
    assert out["text"].tolist() == ["cook", "/9j/", "driver"] and out["hjc_level2_code_1"].tolist()[1:] == ["", ""]
    assert summary.uncoded == {UNDECODED: 2} and "no UTF-8" in summary.message()


@pytest.mark.slow
def test_every_format_to_every_format(tmp_path):
    frame = pd.DataFrame({"code": ["0110", "", "0110"], "text": ["cook", "żółć \U0001f600", '<b>"x", y</b>\nz']})
    frame.to_csv(tmp_path / "in.csv", index=False)
    frame.to_csv(tmp_path / "in.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "in2.csv.gz", index=False, sep=";")
    frame.to_parquet(tmp_path / "in.parquet")
    frame.to_json(tmp_path / "in.jsonl", orient="records", lines=True)
    results = []
    for source in ("in.csv", "in.tsv", "in2.csv.gz", "in.parquet", "in.jsonl"):
        for target in ("out.csv", "out.tsv", "out.csv.gz", "out.parquet", "out.jsonl"):
            run(tmp_path / source, tmp_path / target, top_k=9)
            path = tmp_path / target
            if target.endswith("parquet"):
                got = pd.read_parquet(path)
            elif target.endswith("jsonl"):
                got = pd.DataFrame([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
            else:
                sep = "\t" if target == "out.tsv" else ";" if source == "in2.csv.gz" else ","
                got = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False)
            assert got[["code", "text"]].values.tolist() == frame.values.tolist(), (source, target)
            assert got["hjc_status"].tolist() == ["ok"] * 3
            results.append(got[[f"hjc_level2_code_{k}" for k in (1, 2, 3)]].values.tolist())
            assert got["hjc_level2_proba_1"].astype(float).between(1 / 3, 1).all()
    assert all(r == results[0] for r in results)
    assert not list(tmp_path.glob("*.partial"))


def test_json_types_reach_parquet(tmp_path):
    lines = [
        {"text": "a", "i": 1, "f": 1, "b": True, "mixed": 1, "deep": {"k": ["ź"]}, "big": 2**70},
        {"text": "b", "i": None, "f": 2.5, "mixed": "x", "late": "new"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run(tmp_path / "in.jsonl", tmp_path / "out.parquet", rows=1)
    out = pq.read_table(tmp_path / "out.parquet")
    types = {name: str(out.schema.field(name).type) for name in out.column_names[:8]}
    assert types == {"text": "string", "i": "int64", "f": "double", "b": "bool", "mixed": "string", "deep": "string",
                     "big": "string", "late": "string"}  # fmt: skip
    assert out["deep"].to_pylist() == ['{"k": ["ź"]}', None]
    assert out["big"].to_pylist() == [str(2**70), None]
    assert out["late"].to_pylist() == [None, "new"]


# ---------------------------------------------------------------------- the predictions themselves


def test_codes_are_those_of_predict(tmp_path):
    stub = StubClassifier(isco08())
    texts = ["cook", None, "nurse", " ", "driver", "cook"]
    plan = Plan(stub.taxonomy, levels=(4, 1), top_k=12, title_language="pl")
    part = Part(
        TextChunk([[text] for text in texts], range(2, 2 + len(texts))), Columns(TextRecipe(("text",))), {"text": texts}
    )
    coded = code_rows(stub, plan, part)
    assert list(coded) == list(plan.columns)
    assert coded["hjc_status"] == ["ok", "empty text", "ok", "empty text", "ok", "ok"]
    for level, ranks in ((4, 12), (1, 10)):
        expected = stub.predict(["cook", "nurse", "driver", "cook"], level=level, top_k=ranks)
        for rank in range(1, ranks + 1):
            at = expected[expected["rank"] == rank]
            got = [c for c in coded[f"hjc_level{level}_code_{rank}"] if c is not None]
            assert got == at["code"].tolist()
            proba = [p for p in coded[f"hjc_level{level}_proba_{rank}"] if p is not None]
            np.testing.assert_allclose(proba, at["probability"])
    node = stub.taxonomy.index_of[coded["hjc_level4_code_1"][0]]
    assert coded["hjc_level4_title_1"][0] == stub.taxonomy.titles["pl"][node]
    assert "hjc_level1_code_11" not in coded


def test_columns_of_numbers_are_said(tmp_path, call):
    """A column of ids in the place of titles: every row gets a code, and none of them means anything."""
    model = Path(__file__).parent / "fixtures" / "models_0_1" / "linear_topdown"
    (tmp_path / "in.csv").write_text("id,title\n12,nurse\n5.5,cook\n7,9\n")
    code, _, err = call("predict", model, tmp_path / "in.csv", "-o", tmp_path / "a.csv", "-t", "id")
    assert code == 0 and "warning: 3 rows with numbers and no letter in 'id': their codes mean nothing" in err
    code, _, err = call("predict", model, tmp_path / "in.csv", "-o", tmp_path / "b.csv", "-t", "title")
    assert code == 0 and "warning: 1 row with numbers and no letter in 'title'" in err
    code, _, err = call("predict", model, tmp_path / "in.csv", "-o", tmp_path / "c.csv", "-t", "id", "-t", "title")
    assert code == 0 and "1 row with numbers" in err
    lists = pa.table({"title": [["nurse", "night"], ["cook"], None], "codes": pa.nulls(3)})
    pq.write_table(lists, tmp_path / "lists.parquet")
    code, _, err = call("predict", model, tmp_path / "lists.parquet", "-o", tmp_path / "d.csv", "-t", "title")
    assert code == 0 and "warning: 2 rows with a list or an object in 'title': it was read as JSON" in err
    code, _, err = call("predict", model, tmp_path / "lists.parquet", "-o", tmp_path / "e.csv", "-t", "codes")
    assert code == 0 and "3 not coded (empty text)" in err and "warning" not in err


def test_plan_refuses():
    with pytest.raises(ValueError, match="no titles in 'xx'; it has 'en'"):
        Plan(TREE, title_language="xx")
    with pytest.raises(ValueError, match="top-k"):
        Plan(TREE, top_k=0)
    with pytest.raises(ValueError, match="3"):
        Plan(TREE, levels=(3,))
    with pytest.raises(ValueError, match="--prefix"):
        check_free(list(Plan(TREE).columns), ["a", "hjc_status"])


# ---------------------------------------------------------------------- damage


def test_ragged_lines_go_to_the_rejects_and_the_rest_keeps_its_order(tmp_path):
    (tmp_path / "in.csv").write_text('id,text\n1,a\n2,b,c\n\n3\n4,"x\ny"\n5,z\n')
    rejects = Rejects(tmp_path / "rejects.csv")
    run(tmp_path / "in.csv", tmp_path / "out.csv", rejects=rejects)
    rejects.close()
    assert [row[:2] for row in read_csv(tmp_path / "out.csv")] == [
        ["id", "text"],
        ["1", "a"],
        ["3", ""],
        ["4", "x\ny"],
        ["5", "z"],
    ]
    assert read_csv(tmp_path / "rejects.csv") == [
        ["line", "reason", "value"],
        ["3", "3 cells instead of 2", "2,b,c\n"],
    ]
    assert "1 unreadable line" in rejects.message() and "1 rows are shorter" in rejects.message()


def test_broken_json_lines(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n{"text": \n[1]\n\n{"text": NaN}\n{"other": 1}\n')
    rejects = Rejects()
    run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", rejects=rejects)
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["hjc_status"] for row in out] == ["ok", "empty text", "empty text"]
    assert [line for line, _ in rejects.first] == [2, 3]


def test_one_column_and_blank_lines(tmp_path):
    (tmp_path / "in.csv").write_text("text\na\n\nb\n\n\n")
    run(tmp_path / "in.csv", tmp_path / "out.csv")
    assert [row[0] for row in read_csv(tmp_path / "out.csv")] == ["text", "a", "", "b"]


def test_long_text_and_many_rows_in_small_chunks(tmp_path):
    rows = [["id", "text"], ["1", "x" * 100_000], ["1", "y" * 300_000], *([str(i), "t"] for i in range(50))]
    write_csv(tmp_path / "in.csv", rows)
    run(tmp_path / "in.csv", tmp_path / "out.csv", rows=4)
    assert [row[:2] for row in read_csv(tmp_path / "out.csv")] == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", b"", "empty"),
        ("in.csv", b'"id,text\n1,2\n', "column names"),
        ("in.parquet", b"PAR1nonsense", "Parquet"),
        ("in.jsonl", b"[]\n", "no JSON object"),
        ("in.csv.gz", gzip.compress(b"text\na\n" * 1000, mtime=0)[:30], "complete"),
        ("in.csv.gz", b"text\na\n", "complete"),
        ("in.xlsx", b"PK", "Excel"),
    ],
    ids=["empty", "header", "parquet", "no rows", "cut gzip", "no gzip", "excel"],
)
def test_unreadable_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run(tmp_path / name, tmp_path / "out.csv")


def test_wrong_column_names_the_nearest():
    with pytest.raises(ValueError, match=r"columns are 'id', 'Description'; did you mean 'Description'\?"):
        find_column(["id", "Description"], "descripton", "ads.csv")
    with pytest.raises(ValueError, match="stands 2 times"):
        find_column(["a", "a"], "a", "ads.csv")
    assert find_column(["id", " text "], "text", "ads.csv") == 1


def test_duplicate_columns_stay_in_csv_and_are_refused_elsewhere(tmp_path):
    (tmp_path / "in.csv").write_text("a,a,text\n1,2,x\n")
    run(tmp_path / "in.csv", tmp_path / "out.csv")
    assert read_csv(tmp_path / "out.csv")[1][:3] == ["1", "2", "x"]
    with pytest.raises(ValueError, match="write CSV"):
        run(tmp_path / "in.csv", tmp_path / "out.parquet")


def test_output_is_guarded(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\n")
    with pytest.raises(ValueError, match="input itself"):
        check_output(str(tmp_path / "." / "in.csv"), str(source), overwrite=True)
    target.write_text("x")
    with pytest.raises(FileExistsError, match="--overwrite"):
        check_output(str(target), str(source), overwrite=False)
    check_output(str(target), str(source), overwrite=True)
    with pytest.raises(FileNotFoundError, match="create it first"):
        check_output(str(tmp_path / "no" / "out.csv"), str(source), overwrite=False)


@pytest.mark.parametrize("target", ["out.csv", "out.jsonl", "out.parquet"])
def test_interrupted_output_is_left_readable(tmp_path, target):
    write_csv(tmp_path / "in.csv", [["text"], *([f"t{i}"] for i in range(20))])

    def stop(summary):
        if summary.rows == 10 and not summary.pending:
            raise KeyboardInterrupt

    plan = Plan(TREE)
    with (
        pytest.raises(KeyboardInterrupt),
        open_table(tmp_path / "in.csv", rows=5) as reader,
        open_output(str(tmp_path / target), target[4:], reader, plan.columns) as writer,
    ):
        write_parts(reader, writer, Columns(TextRecipe(("text",))), coded_by(plan), progress=stop)
    assert not (tmp_path / target).exists()
    partial = (tmp_path / f"{target}.partial").read_bytes()
    if target == "out.parquet":
        assert pq.read_table(io.BytesIO(partial)).num_rows == 10
    else:
        assert len(partial.splitlines()) == 10 + (target == "out.csv")
