"""A statistician's way with workbooks alone: train, predict, review, estimate, agreement; codes stay text."""

import shlex
from pathlib import Path

import pandas as pd
import pytest

openpyxl = pytest.importorskip("openpyxl", reason="the extra excel is not installed")

WORDS = {"0110": "officer", "0210": "sergeant", "2221": "nurse", "5120": "cook"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [(f"{word} {i}", code) for i in range(40) for code, word in WORDS.items()]
    ads = pd.DataFrame(rows, columns=["title", "isco"])
    with pd.ExcelWriter("ads.xlsx") as book:
        pd.DataFrame({"read": ["me first"]}).to_excel(book, sheet_name="notes", index=False)
        ads.to_excel(book, sheet_name="ads", index=False)
    codes = [("0", ""), ("2", ""), ("5", ""), *((code, code[0]) for code in WORDS)]
    pd.DataFrame(codes, columns=["code", "parent"]).to_excel("codes.xlsx", index=False)
    pd.DataFrame({"unit": range(4), "anna": list(WORDS), "jan": ["0110", "0210", "2221", "2221"]}).to_excel(
        "coders.xlsx", index=False
    )
    return tmp_path


def rows_of(path: str) -> list[dict[str, object]]:
    sheet = openpyxl.load_workbook(path).active
    head, *lines = sheet.iter_rows(values_only=True)
    return [dict(zip(head, line, strict=True)) for line in lines]


@pytest.mark.slow
def test_workbooks_all_the_way(folder: Path, call) -> None:
    code, _, err = call(
        "train", "model=linear", "model.min_df=1", "data=csv", "data.files=ads.xlsx", "data.sheet=ads",
        "data.text_columns=title", "data.code_column=isco", "taxonomy=csv", "taxonomy.path=codes.xlsx", "run_dir=run",
        "evaluation=quick", "--quiet",
    )  # fmt: skip
    assert not code, err
    code, _, err = call("predict", "run", "ads.xlsx", "--sheet", "ads", "-o", "coded.xlsx", "-q")
    assert not code, err
    coded = rows_of("coded.xlsx")
    assert [line["hjc_level2_code_1"] for line in coded[:4]] == list(WORDS) and coded[0]["isco"] == "0110"
    assert isinstance(coded[0]["hjc_level2_proba_1"], float)
    code, _, err = call("review", "run", "ads.xlsx", "--sheet", "ads", "-o", "review.xlsx", "-n", 30)
    assert not code, err
    book = openpyxl.load_workbook("review.xlsx")
    head = [cell.value for cell in book.active[1]]
    for line in book.active.iter_rows(min_row=2):
        line[head.index("code")].value = line[head.index("isco")].value
    book.save("review.xlsx")
    command = next(line for line in err.splitlines() if "hjc estimate" in line).partition("hjc ")[2]
    code, _, err = call(*shlex.split(command))
    assert not code, err
    shares = {line["code"]: line["share"] for line in rows_of("shares.xlsx") if line["level"] == 2}
    assert shares == pytest.approx(dict.fromkeys(WORDS, 0.25), abs=0.02)


def test_agreement_in_and_out(folder: Path, call) -> None:
    given = ("data", "agreement", "coders.xlsx", "-c", "anna", "-c", "jan", "--unit-column", "unit",
             "--taxonomy", "codes.xlsx")  # fmt: skip
    code, out, err = call(*given, "-o", "agreed", "--format", "xlsx", "--json")
    assert not code and '"levels"' in out, err
    assert rows_of("agreed/overall.xlsx")[-1]["all_agree"] == pytest.approx(0.75)
    assert call(*given, "-o", "again", "--format", "ods")[0] == 2


def test_never_csv_under_the_name_of_a_workbook(folder: Path, call) -> None:
    for wrong in (["--format", "csv"], ["--json"], ["--format", "parquet"]):
        code, _, err = call("crosswalk", "ads.xlsx", "--sheet", "ads", "--table", "codes.xlsx", "--from", "isco08",
                            "--to", "isco08", "-o", "out.xlsx", "--code-column", "isco", *wrong)  # fmt: skip
        assert code == 2 and not (folder / "out.xlsx").exists(), err


def test_the_audit_is_read_as_what_it_is(folder: Path, call) -> None:
    """The input is cp1250 with bars, the audit is UTF-8 as hjc writes it, or a workbook with a sheet of its own."""
    from hjc.classifiers.linear import LinearClassifier
    from hjc.taxonomy import load_taxonomy

    tree = load_taxonomy("codes.xlsx")
    LinearClassifier(tree, min_df=1).fit(list(WORDS.values()), codes=list(WORDS)).save_pretrained(folder / "m")
    ads = pd.DataFrame({"Stanowisko ogłoszenia": [word for word in WORDS.values() for _ in range(10)]})
    ads.to_csv("ads.csv", index=False, sep="|", encoding="cp1250")
    ads.assign(code=[code for code in WORDS for _ in range(10)]).to_csv("audit.csv", index=False, sep="|")
    with pd.ExcelWriter("audit.xlsx") as book:
        pd.DataFrame({"x": [1]}).to_excel(book, sheet_name="first", index=False)
        ads.assign(code=[code for code in WORDS for _ in range(10)]).to_excel(book, sheet_name="coded", index=False)
    given = (
        "estimate",
        "ads.csv",
        "--run",
        "m",
        "-t",
        "Stanowisko ogłoszenia",
        "--separator",
        "|",
        "--encoding",
        "cp1250",
    )
    for audit in (("--audit", "audit.csv"), ("--audit", "audit.xlsx", "--audit-sheet", "coded")):
        code, out, err = call(*given, *audit)
        assert not code and ",ppi" in out, err
