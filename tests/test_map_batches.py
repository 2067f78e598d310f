"""hjc.map_batches: Arrow data in memory is coded as `hjc predict` codes the same rows in a file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hjc
from hjc.data import TextRecipe
from hjc.data.settings import SideSettings
from hjc.taxonomy import from_edges
from tests.stub_classifier import StubClassifier

MODEL = Path(__file__).parent / "fixtures" / "models_0_1" / "linear_topdown"
TREE = from_edges(["1", "2", "11", "12", "21"], [None, None, "1", "1", "2"], titles={"en": list("abcde")}, name="toy")
TABLE = pa.table({"id": pa.array([7, 8, 9, 10], pa.int16()), "job": ["nurse", None, "cook, night shifts", "driver"]})


@pytest.fixture
def stub() -> StubClassifier:
    return StubClassifier(TREE)


def test_the_same_as_the_command(tmp_path: Path, call) -> None:
    pq.write_table(TABLE, tmp_path / "in.parquet")
    options = ("-t", "job", "-l", 1, "-l", 2, "-k", 2, "--back-off", 0.5)
    code, _, err = call("predict", MODEL, tmp_path / "in.parquet", "-o", tmp_path / "out.parquet", *options)
    assert code == 0, err
    made = hjc.map_batches(MODEL, text="job", level=[1, 2], top_k=2, back_off=0.5)(TABLE)
    assert made.equals(pq.read_table(tmp_path / "out.parquet"))
    assert made["hjc_status"].to_pylist() == ["ok", "empty text", "ok", "ok"]


def test_batches_readers_and_how_many_rows_at_a_time(stub: StubClassifier) -> None:
    whole = hjc.map_batches(stub, text="job")(TABLE)
    code = hjc.map_batches(stub, text=["job"], rows=1)
    assert code(TABLE).equals(whole)
    batch = code(TABLE.to_batches()[0].slice(2, 1))
    assert isinstance(batch, pa.RecordBatch) and pa.Table.from_batches([batch]).equals(whole.slice(2, 1))
    asked: list[int] = []

    def batches():
        for start in range(4):
            asked.append(start)
            yield TABLE.slice(start, 1).to_batches()[0]

    reader = code(pa.RecordBatchReader.from_batches(TABLE.schema, batches()))
    assert reader.schema.equals(whole.schema) and asked == []
    next(reader)
    assert asked == [0]
    assert pa.Table.from_batches([*reader], whole.schema).equals(whole.slice(1))
    assert code(TABLE.slice(0, 0)).schema.equals(whole.schema)


def test_a_model_with_columns_of_its_own(stub: StubClassifier) -> None:
    with pytest.raises(ValueError, match="which column has the text"):
        hjc.map_batches(stub)
    stub.recipe = TextRecipe(columns=("job",))
    assert hjc.map_batches(stub)(TABLE).equals(hjc.map_batches(stub, text="job")(TABLE))
    expected = hjc.map_batches(stub)(TABLE)
    stub.recipe = TextRecipe(columns=("job",), side=(SideSettings(column="branch"),))
    with pytest.warns(UserWarning, match="no column 'branch': the model reads side variables as missing"):
        assert hjc.map_batches(stub)(TABLE).equals(expected)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (TABLE.rename_columns(["id", "jobs"]), ValueError, "no column 'job'; .*did you mean 'jobs'"),
        (TABLE.rename_columns(["hjc_status", "job"]), ValueError, "already has 'hjc_status'"),
        ({"job": ["nurse"]}, TypeError, "got dict; Polars"),
    ],
)
def test_what_cannot_be_coded(stub: StubClassifier, data: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        hjc.map_batches(stub, text="job")(data)


def test_other_types_of_text(stub: StubClassifier) -> None:
    wanted = hjc.map_batches(stub, text="job")(TABLE)["hjc_level2_code_1"].to_pylist()
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        data = TABLE.set_column(1, "job", pa.array(TABLE["job"].to_pylist(), pa.string()).cast(kind))
        assert hjc.map_batches(stub, text="job")(data)["hjc_level2_code_1"].to_pylist() == wanted


@pytest.mark.more
def test_duckdb_and_polars(stub: StubClassifier) -> None:
    """Both hand over and take Arrow data."""
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed: make test-more has it")
    polars = pytest.importorskip("polars", reason="Polars is not installed: make test-more has it")
    code = hjc.map_batches(stub, text="job")
    wanted = code(TABLE)["hjc_level2_code_1"].to_pylist()
    connection, given = duckdb.connect(), TABLE
    assert len(given) == 4
    connection.sql("create table ads as select * from given")
    coded = code(connection.cursor().sql("select * from ads order by id").to_arrow_reader(2))
    assert isinstance(coded, pa.RecordBatchReader)
    rows = connection.sql("select hjc_level2_code_1 from coded order by id").fetchall()
    assert [row[0] for row in rows] == wanted
    frame = polars.from_arrow(TABLE)
    assert polars.from_arrow(code(frame.to_arrow()))["hjc_level2_code_1"].to_list() == wanted
    schema = polars.from_arrow(code(TABLE.slice(0, 0))).schema
    lazy = frame.lazy().map_batches(lambda part: polars.from_arrow(code(part.to_arrow())), schema=schema)
    assert lazy.collect()["hjc_level2_code_1"].to_list() == wanted
