"""The one loop over a table: rows, texts and statuses of every chunk, and probabilities that are none."""

import numpy as np
import pytest

from hjc.apply.loop import Columns, Summary, read_parts, write_parts
from hjc.classifiers import CLASSIFIERS
from hjc.data import TextRecipe
from hjc.tables import open_output, open_table
from hjc.taxonomy import from_edges
from tests.stub_classifier import StubClassifier

TREE = from_edges(["1", "2", "11", "12", "21"], [None, None, "1", "1", "2"], name="toy")
TITLE = Columns(TextRecipe(("title",)))


class Broken(StubClassifier):
    """One leaf of a text "bad" has the log-probability ``value``."""

    value = np.nan

    def _row(self, text: str) -> np.ndarray:
        row = super()._row(text)
        if text == "bad":
            row[1] = self.value
        return row


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('title,w,where\ncook,1,north\n,2,north\nnurse,"0,5",south\n--,1,south\nbad,1,south\n')
    return path


def parts_of(path, columns, summary=None, rows=2):
    with open_table(path, rows=rows) as reader:
        yield from read_parts(reader, columns, summary)


def test_parts(table):
    summary = Summary()
    columns = Columns(TextRecipe(("title",)), by=["where"], weights="w", language="where", more=["w"])
    parts = list(parts_of(table, columns, summary))
    assert [(part.start, len(part), part.good.tolist()) for part in parts] == [(0, 2, [0]), (2, 2, [0]), (4, 1, [0])]
    assert [text for part in parts for text in part.texts] == ["cook", "", "nurse", "--", "bad"]
    assert [w for part in parts for w in part.weight] == [1, 2, 0.5, 1, 1]
    assert parts[1].domain == [("south",), ("south",)] and parts[1].languages == ["south", "south"]
    assert summary.rows == 5 and sum(summary.uncoded.values()) == 2
    assert summary.left_out().startswith("5 rows; 1 left out (empty text); 1 left out (no words: ")


def test_what_keeps_a_row_from_being_used_is_counted_when_its_part_is_done(table):
    summary = Summary()
    for part in parts_of(table, Columns(), summary):
        assert summary.rows == part.start and part.texts == [""] * len(part)
        part.status[0] = "no code"
    assert summary.uncoded == {"no code": 3} and summary.rows == 5


def test_written_rows_are_those_of_the_part(table, tmp_path):
    def new(part):
        keep = [i for i in range(len(part)) if part.start + i in (1, 4)]
        part.chunk = part.chunk.take(keep)
        return {"number": [float(part.start + i) for i in keep]}

    with (
        open_table(table, rows=2) as reader,
        open_output(str(tmp_path / "out.csv"), "csv", reader, {"number": "number"}) as writer,
    ):
        write_parts(reader, writer, Columns(), new)
    assert (tmp_path / "out.csv").read_text() == "title,w,where,number\n,2,north,1\nbad,1,south,4\n"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(TextRecipe(("titel",))), "did you mean 'title'"),
        (Columns(TextRecipe()), "The recipe names none"),
        (Columns(by=["x"]), "no column 'x'"),
    ],
)
def test_columns_that_are_not_there(table, columns, message):
    with pytest.raises(ValueError, match=message):
        next(parts_of(table, columns))


def test_a_weight_that_is_none(table):
    table.write_text("title,w\ncook,-1\n")
    with pytest.raises(ValueError, match="'w' holds '-1'; weights are numbers from 0"):
        _ = next(parts_of(table, Columns(weights="w"))).weight


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_probabilities_that_are_none_name_the_row_and_the_model(table, value):
    model = Broken(TREE)
    model.value = value
    with pytest.raises(ValueError, match=r"in\.csv: the stub model gives .* NaN or infinite for row '5' \(the first"):
        for part in parts_of(table, TITLE):
            list(part.batches(model))


def test_a_code_that_the_model_holds_impossible_is_no_error(table):
    model = Broken(TREE)
    model.value = -np.inf
    found = [
        (part.start + at.tolist()[0], x.shape) for part in parts_of(table, TITLE) for at, x, _ in part.batches(model)
    ]
    assert found == [(0, (1, 3)), (2, (1, 3)), (4, (1, 3))]


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "RUN", "IN", "-t", "title"],
        ["predict", "RUN", "IN", "-t", "title", "--abstain", "0.2"],
        ["estimate", "IN", "--run", "RUN", "-t", "title"],
        ["review", "RUN", "IN", "-t", "title", "-n", "1"],
    ],
)
def test_no_command_hides_them(table, tmp_path, call, monkeypatch, command):
    monkeypatch.setitem(CLASSIFIERS, "stub", (__name__, "Broken"))
    Broken(TREE).save_pretrained(tmp_path / "run")
    arguments = [{"RUN": tmp_path / "run", "IN": table}.get(word, word) for word in command]
    code, _, err = call(*arguments, "-o", tmp_path / "out.csv")
    assert code == 2 and "NaN or infinite for row '5'" in err and not (tmp_path / "out.csv").exists()
