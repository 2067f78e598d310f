"""Outputs: never an input, one writer at a time, Excel that is Excel, links and pipes that stay what they are."""

import csv
import json
import os
import threading
from pathlib import Path

import pandas as pd
import pytest

from hjc.files import BusyError
from hjc.tables import ReadOptions, Rejects, check_output, format_of, open_output, open_table, read_table, write_frame
from hjc.tables.excel import SheetWriter
from hjc.tables.writers import safe_cell

TEXT = 'id,t\n0110,"=1+1"\n2,"a\tb"\n3,\n'


def copy(source: Path, target: str, **options) -> None:
    rejects = Rejects(Path(f"{target}.rejects.csv"))
    with open_table(source, rejects=rejects) as reader:
        kind = format_of(target, writing=True)
        with open_output(target, kind, reader, {"p": "number", "s": "text"}, **options) as writer:
            for chunk in reader.chunks():
                writer.write(chunk, {"p": [0.1234567] * len(chunk), "s": [None, *["x"] * (len(chunk) - 1)]})
            writer.finish()
    rejects.close()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["o.csv", "o.tsv", "o.jsonl", "o.parquet", "o.xlsx", "o.csv.gz", "o.json.bz2"])
def test_every_format_is_written_as_it_is_called(source, tmp_path, name):
    copy(source, str(tmp_path / name))
    found = read_table(tmp_path / name)
    assert found[["id", "t"]].to_numpy().tolist() == [["0110", "=1+1"], ["2", "a\tb"], ["3", ""]]
    assert found["p"].astype(float).tolist() == pytest.approx([0.1234567] * 3, abs=1e-6)
    assert found["s"].tolist() == ["", "x", "x"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in.csv", name])
    frame = pd.DataFrame({"c": ["0110", "=x"], "n": [1.5, None], "k": [1, 2]})
    write_frame(frame, str(tmp_path / f"f{name}"), format_of(name, writing=True))
    assert read_table(tmp_path / f"f{name}").to_numpy().tolist() == [["0110", "1.5", "1"], ["=x", "", "2"]]


def test_names_that_no_format_can_be_told_from(tmp_path):
    for name in ("o.xls", "o.zip", "o", "o.docx"):
        with pytest.raises(ValueError, match=r"the name does not tell the format; let it end in \.csv"):
            format_of(str(tmp_path / name), writing=True)
    with pytest.raises(ValueError, match="--format: got 'datasets'"):
        format_of("o.csv", "datasets", writing=True)
    with pytest.raises(ValueError, match="separator: got"):
        ReadOptions(separator=";;")


def test_cells_that_are_no_formulas(source, tmp_path):
    for cell, safe in [("=1+1", "'=1+1"), ("@x", "'@x"), ("-5", "-5"), ("+1,5e3", "+1,5e3"), ("-x", "'-x"), ("+", "'+"),
                       ("\tx", "'\tx"), ("\rx", "'\rx"), ("a=b", "a=b"), ("", ""), ("-1-2", "'-1-2")]:  # fmt: skip
        assert safe_cell(cell) == safe
    copy(source, str(tmp_path / "o.csv"), safe_cells=True)
    assert next(csv.DictReader((tmp_path / "o.csv").open(encoding="utf-8")))["t"] == "'=1+1"


def test_what_a_sheet_cannot_hold():
    with pytest.raises(ValueError, match="a cell of Excel holds 32,767"):
        SheetWriter("o.xlsx").write(["x" * 40_000])
    with pytest.raises(ValueError, match="columns; write CSV or Parquet"):
        SheetWriter("o.xlsx").write([None] * 16_385)


def test_the_output_is_no_input_under_any_name(source, tmp_path):
    os.link(source, tmp_path / "hard.csv")
    (tmp_path / "soft.csv").symlink_to(source)
    for name in ("in.csv", "hard.csv", "soft.csv"):
        with pytest.raises(ValueError, match="is the input itself"):
            check_output(str(tmp_path / name), str(source), overwrite=True)
    partial = tmp_path / "o.csv.partial"
    partial.write_text(TEXT)
    with pytest.raises(ValueError, match="would be written to the input"):
        check_output(str(tmp_path / "o.csv"), str(partial), overwrite=True)
    assert partial.read_text() == TEXT == source.read_text()


def test_links_are_followed_and_pipes_written_into(source, tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    copy(source, str(tmp_path / "link.csv"))
    assert (tmp_path / "link.csv").is_symlink() and len(read_table(tmp_path / "real.csv")) == 3
    os.mkfifo(tmp_path / "pipe.csv")
    check_output(str(tmp_path / "pipe.csv"), str(source), overwrite=False)
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe.csv").read_text()))
    reader.start()
    copy(source, str(tmp_path / "pipe.csv"))
    reader.join()
    assert (tmp_path / "pipe.csv").is_fifo() and got[0].count("\n") == 4


def test_the_second_writer_is_refused(source, tmp_path):
    out = str(tmp_path / "o.csv")
    with open_table(source) as reader, open_output(out, "csv", reader, {}) as writer:
        with pytest.raises(BusyError, match="another process is writing"):
            check_output(out, str(source), overwrite=True)
        with open_table(source) as second, pytest.raises(BusyError, match="another process is writing"):
            open_output(out, "csv", second, {})
        for chunk in reader.chunks():
            writer.write(chunk, {})
        writer.finish()
    assert (tmp_path / "o.csv").read_text() == TEXT.replace('"', "")
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "o.csv"]


def test_rejects_of_an_earlier_run_stay_until_there_is_an_output(tmp_path):
    old, out = tmp_path / "o.csv.rejects.csv", str(tmp_path / "o.csv")
    old.write_text("earlier")
    (tmp_path / "no.parquet").write_text("no Parquet")
    with pytest.raises(ValueError, match="no Parquet"):
        copy(tmp_path / "no.parquet", out)
    assert old.read_text() == "earlier"
    (tmp_path / "in.csv").write_text("id,t\n1,a,b\n2,c\n")
    copy(tmp_path / "in.csv", out)
    assert list(csv.reader(old.open(encoding="utf-8")))[1] == ["2", "3 cells instead of 2", "1,a,b\n"]
    (tmp_path / "in.csv").write_text("id,t\n2,c\n")
    copy(tmp_path / "in.csv", out)
    assert not old.exists()


def test_half_a_surrogate_pair_in_every_output(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": "1", "t": "\\ud83d nurse"}\n{"id": "2", "t": "b"}\n')
    for name in ("o.csv", "o.parquet", "o.xlsx", "o.jsonl"):
        copy(tmp_path / "in.jsonl", str(tmp_path / name))
        assert read_table(tmp_path / name)["t"].tolist() == ["\ufffd nurse", "b"]
    assert json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])["t"] == "\ud83d nurse"
