# ruff: noqa: E501 (headers of official files)
"""Damaged files: a reader either accounts for every row or says in one message what is wrong."""

import codecs
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjc.errors import TaxonomyError
from hjc.taxonomy.readers import READERS, ImportOptions, import_taxonomy

from .test_taxonomy_readers import ILO, SOC, assert_accounts, esco_bundle, write, write_xlsx

STRUCTURE = "code,title_en,description_en\n" + "".join(
    f'{code},"Title, {code} żółć",Text "" of {code}\n'.replace('Text "" of', "Text of")
    for code in ("1", "11", "111", "1111", "1112", "2", "21", "211", "2111")
)


def import_or_message(kind, path, options=None):
    """The import, or None after one of the documented errors with a message."""
    try:
        imported = import_taxonomy(kind, path, options)
    except (TaxonomyError, ValueError) as error:
        assert len(str(error)) > 20 and len(str(error)) < 2000
        return None
    assert_accounts(imported)
    return imported


@settings(max_examples=60)
@given(cut=st.integers(0, len(STRUCTURE.encode())))
def test_truncated_text(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "structure.csv"
    path.write_bytes(STRUCTURE.encode()[:cut])
    imported = import_or_message("isco08", path)
    if imported is not None:
        assert 1 <= len(imported.taxonomy) <= 9


@pytest.mark.parametrize("kind", ["isco08", "soc2018"])
def test_truncated_and_scrambled_workbooks(tmp_path, kind):
    whole = write_xlsx(tmp_path / "whole.xlsx", {"s": ILO if kind == "isco08" else SOC}).read_bytes()
    rng = random.Random(0)
    for i in range(25):
        data = bytearray(whole[: rng.randrange(len(whole))] if i % 2 else whole)
        for _ in range(0 if i % 2 else 30):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / f"structure_{i}.xlsx"
        path.write_bytes(bytes(data))
        import_or_message(kind, path)
    for ending in (".xlsx", ".xls"):
        path = write(tmp_path / f"structure{ending}", "code,title\n1,A\n")  # text with the wrong name
        with pytest.raises(TaxonomyError, match="cannot be read as Excel"):
            import_taxonomy(kind, path)


@settings(max_examples=40)
@given(data=st.binary(max_size=400))
def test_any_bytes(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("structure.csv", "structure.csv.gz"):
        (folder / name).write_bytes(data)
        import_or_message("isco08", folder / name)


def test_quote_that_is_never_closed(tmp_path):
    path = write(tmp_path / "structure.csv", 'code,title\n1,"Managers\n11,Chiefs\n111,X\n')
    with pytest.raises(TaxonomyError, match="never closed"):
        import_taxonomy("isco08", path)


def test_rows_too_short_or_long_are_rejected_and_named(tmp_path):
    path = write(tmp_path / "structure.csv", "code,title,description\n1,A,x\n11\n111,B,y,z,1\n2,C,y\n")
    imported = import_taxonomy("isco08", path)
    assert_accounts(imported)
    assert imported.taxonomy.codes == ("1", "2")
    assert [(r.line, r.reason) for r in imported.report.rejects] == [
        (3, "1 cells where the header has 3"), (4, "5 cells where the header has 3")
    ]  # fmt: skip


def test_encodings(tmp_path):
    for encoding, bom in (("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE), ("utf-8", b"")):
        path = tmp_path / "structure.csv"
        path.write_bytes(bom + STRUCTURE.encode(encoding))
        assert "żółć" in import_taxonomy("isco08", path).taxonomy.titles["en"][0]
    path.write_bytes(STRUCTURE.encode("cp1250"))
    with pytest.raises(TaxonomyError, match="is not utf-8"):
        import_taxonomy("isco08", path)
    assert "żółć" in import_taxonomy("isco08", path, ImportOptions(encoding="cp1250")).taxonomy.titles["en"][0]
    lines = STRUCTURE.splitlines(keepends=True)  # half of the lines in one encoding, half in another
    path.write_bytes(b"".join(line.encode("cp1250" if i % 2 else "utf-8") for i, line in enumerate(lines)))
    with pytest.raises(TaxonomyError, match="is not utf-8"):
        import_taxonomy("isco08", path)


def test_wrong_sheet_first_and_header_far_down(tmp_path):
    notes = [["About this file"], ["code of conduct"], [None, None, "x"]]
    path = write_xlsx(tmp_path / "structure.xlsx", {"Notes": notes, "Data": [*notes * 5, *ILO], "More": notes})
    imported = import_taxonomy("isco08", path)
    assert imported.report.files[0].file == "structure.xlsx#Data" and imported.report.levels == [2, 2, 2, 2]
    path = write_xlsx(tmp_path / "isco.xlsx", {"Notes": notes, "Other": [["Kode", "Bezeichnung"], ["1", "A"]]})
    with pytest.raises(TaxonomyError, match="sheets looked at: 'Notes', 'Other'"):
        import_taxonomy("isco08", path)


@pytest.mark.parametrize("column", ["code", "preferredLabel", "conceptUri"])
def test_renamed_column_is_named(tmp_path, column):
    folder = esco_bundle(tmp_path / "en", "en", {"a": "pilot", "b": "navigator", "g": "Group"})
    path = folder / "occupations_en.csv"
    text = path.read_text("utf-8")
    head, rest = text.split("\n", 1)
    path.write_text(head.replace(column, column + "s") + "\n" + rest, encoding="utf-8")
    with pytest.raises(TaxonomyError, match=f"did you mean '{column}s'"):
        import_taxonomy("esco", folder)


def test_codes_as_decimals(tmp_path):
    rows = "".join(f"{code}.0,T{code}\n" for code in (1, 11, 112, 1120))
    imported = import_taxonomy("isco08", write(tmp_path / "structure.csv", "code,title\n" + rows))
    assert imported.taxonomy.codes == ("1", "11", "112", "1120")
    assert imported.report.repairs == {"decimal numbers turned back into codes": 4}


def test_esco_codes_read_as_numbers(tmp_path):
    """0110.10 becomes 110.1 in a spreadsheet, another occupation's code: nothing to guess, so it is rejected."""
    path = write(tmp_path / "occupations_en.csv",
                 "conceptUri,iscoGroup,preferredLabel,code\nu/a,110,a,110.1\nu/b,2166,b,2166.4\n")  # fmt: skip
    imported = import_taxonomy("esco", path)
    assert_accounts(imported)
    assert [r.code for r in imported.report.rejects] == ["110.1"] and "2166.4" in imported.taxonomy.index_of


def test_cycles_and_orphans(tmp_path):
    path = write(
        tmp_path / "codes.csv", "code,parent,title\na,b,1\nb,a,2\nc,,3\nd,x,4\ne,d,5\nf,c,6\nf,c,6\nf,a,7\ng,g,8\n"
    )
    imported = import_taxonomy("csv", path)
    assert_accounts(imported)
    assert imported.taxonomy.codes == ("c", "f")
    reasons = {r.code: r.reason for r in imported.report.rejects}
    assert "own ancestor" in reasons["a"] and "own ancestor" in reasons["g"] and "'d'" in reasons["e"]
    assert "different parents" in reasons["f"]
    with pytest.raises(TaxonomyError, match="no code could be placed"):
        import_taxonomy("csv", write(tmp_path / "loop.csv", "code,parent\na,b\nb,a\n"))


cells = st.text(st.sampled_from("0123456789.,-ABC \"'\n;|é\x00"), max_size=9)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(sorted(READERS)),
    rows=st.lists(st.lists(cells, min_size=1, max_size=6), max_size=12),
    seed=st.integers(0, 9),
)
def test_any_cells_under_known_headers(tmp_path_factory, kind, rows, seed):
    """Tables with the right headers and nonsense in them."""
    folder = tmp_path_factory.mktemp("cells")
    header = {
        "isco08": ["code", "title", "level"], "kzis": ["code", "name"], "esco": ["conceptUri", "preferredLabel", "code", "iscoGroup"],
        "soc2018": ["Major Group", "Minor Group", "Broad Group", "Detailed Occupation", "Title"],
        "soc2010": ["code", "name", "definition"], "onet": ["O*NET-SOC Code", "Title", "Description"],
        "noc2021": ["Level", "code", "name_en"], "rome": ["code", "parent", "name"], "uk_soc": ["code", "name"],
        "ssyk2012": ["code", "name", "level"], "csv": ["code", "parent", "title"],
    }[kind]  # fmt: skip
    name = {"esco": "occupations_en.csv", "onet": "occupations.csv", "soc2010": "definitions_2010.csv", "rome": "hierarchy.csv",
            "kzis": "hierarchy.csv", "ssyk2012": "hierarchy.csv"}.get(kind, "structure.csv")  # fmt: skip
    good = {"esco": ["u/1", "x", "2166.1", "2166"], "onet": ["11-1011.00", "x", "y"]}.get(kind, ["1", "A", "1"])

    def quoted(row):
        return ",".join('"' + cell.replace('"', '""') + '"' for cell in row)

    lines = [quoted(header), quoted((good + [""] * 9)[: len(header)]), *map(quoted, rows)]
    import_or_message(kind, write(folder / name, "\n".join(lines) + "\n"))
