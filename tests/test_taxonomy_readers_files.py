"""Readers of official taxonomies: what they write, and what they say of files that they cannot use."""

import datetime
import gzip
import json

import pytest

from hjc.errors import TaxonomyError
from hjc.taxonomy import read_taxonomy_csv
from hjc.taxonomy.readers import READERS, ImportOptions, import_taxonomy
from hjc.taxonomy.readers.sheets import read_sheet
from hjc.taxonomy.readers.soc import parent_by_number

from .test_taxonomy_readers import ILO, assert_accounts, write, write_xlsx


def test_write_and_read_back(tmp_path):
    write_xlsx(tmp_path / "structure.xlsx", {"s": ILO})
    imported = import_taxonomy("isco08", tmp_path / "structure.xlsx")
    first = [p.read_bytes() for p in imported.write(tmp_path / "tax")]
    assert read_taxonomy_csv(tmp_path / "tax" / "taxonomy.csv").titles == imported.taxonomy.titles
    with gzip.open(tmp_path / "tax" / "texts.csv.gz", "rt", encoding="utf-8") as file:
        assert len(file.read().splitlines()) == 1 + len(imported.texts)
    record = json.loads((tmp_path / "tax" / "import_report.json").read_text("utf-8"))
    assert record["nodes_per_level"] == [2, 2, 2, 2] and record["hash"] == imported.taxonomy.hash
    assert [p.read_bytes() for p in imported.write(tmp_path / "tax")] == first  # the same bytes again
    imported.write(tmp_path / "tax", format="parquet")
    assert not (tmp_path / "tax" / "texts.csv.gz").exists() and (tmp_path / "tax" / "texts.parquet").exists()
    assert len(imported.alternative_titles) + len(imported.further_texts) == len(imported.texts)


def test_parent_by_number():
    assert parent_by_number("15-1251") == "15-1250" and parent_by_number("15-1250") == "15-1200"
    assert parent_by_number("15-1200") == "15-0000" and parent_by_number("15-0000") == ""
    assert parent_by_number("11-1010") == "11-1000" and parent_by_number("29-1229.01") == "29-1229"


def test_messages(tmp_path):
    with pytest.raises(ValueError, match="allowed are isco08"):
        import_taxonomy("isco", tmp_path)
    with pytest.raises(FileNotFoundError):
        import_taxonomy("isco08", tmp_path / "nix")
    with pytest.raises(TaxonomyError, match=r"no \.csv"):
        import_taxonomy("isco08", tmp_path)
    write(tmp_path / "other.csv", "a,b\n1,2\n")
    with pytest.raises(TaxonomyError, match="Occupation Data"):
        import_taxonomy("onet", tmp_path)
    path = write(tmp_path / "structure.csv", "cod,titel\n1,A\n")
    with pytest.raises(TaxonomyError, match=r"did you mean 'cod'\? Then map it: code=cod"):
        import_taxonomy("isco08", path)
    mapped = import_taxonomy("isco08", path, ImportOptions(columns={"code": "cod", "title": "titel"}))
    assert mapped.taxonomy.codes == ("1",)


def test_excel_without_the_library(tmp_path, monkeypatch):
    path = write_xlsx(tmp_path / "structure.xlsx", {"s": ILO})
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"hjc\[excel\]"):
        import_taxonomy("isco08", path)


def test_dates_for_codes_are_rejected(tmp_path):
    rows = [["Level", "ISCO 08 Code", "Title EN"], [1, 1, "A"], [2, datetime.datetime(2024, 11, 1), "B"]]
    imported = import_taxonomy("isco08", write_xlsx(tmp_path / "structure.xlsx", {"s": rows}))
    assert_accounts(imported)
    assert "Excel has changed it" in imported.report.rejects[0].reason


def test_thousands_of_columns(tmp_path):
    header = ["code", "title", *(f"x{i}" for i in range(5000))]
    path = write(
        tmp_path / "structure.csv", "\n".join(",".join(map(str, row)) for row in (header, ["1", "A"] + [""] * 5000))
    )
    assert import_taxonomy("isco08", path).taxonomy.codes == ("1",)
    wrong = write(tmp_path / "isco.csv", ",".join(f"x{i}" for i in range(5000)) + "\n")
    with pytest.raises(TaxonomyError) as error:
        read_sheet(wrong, [("code",)])
    assert "and 4980 more" in str(error.value) and len(str(error.value)) < 600


def test_every_reader_is_listed():
    assert list(READERS) and {
        "isco08",
        "esco",
        "kzis",
        "soc2018",
        "soc2010",
        "onet",
        "noc2021",
        "rome",
        "uk_soc",
        "ssyk2012",
        "csv",
    } == set(READERS)


def test_a_parquet_table_is_what_the_csv_is(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(
        {"Kod": ["1", "11", "1120", None], "Nadrz": ["", "1", "11", ""], "Nazwa": ["a", "b", "c", "d"]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    columns = {"code": "Kod", "parent": "Nadrz", "title_pl": "Nazwa"}
    both = [import_taxonomy("csv", tmp_path / f"t.{x}", ImportOptions(columns=columns)) for x in ("csv", "parquet")]
    assert both[0].taxonomy.hash == both[1].taxonomy.hash and len(both[1].taxonomy) == 3
    assert [(r.line, r.reason) for r in both[0].report.rejects] == [(r.line, r.reason) for r in both[1].report.rejects]
    frame.astype({"Kod": "float"}).to_parquet(tmp_path / "t.parquet", index=False)  # codes that were read as numbers
    assert import_taxonomy("csv", tmp_path / "t.parquet", ImportOptions(columns=columns)).taxonomy == both[0].taxonomy
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:200])
    with pytest.raises(TaxonomyError, match="no Parquet file"):
        import_taxonomy("csv", tmp_path / "t.parquet", ImportOptions(columns=columns))
