"""hjc crosswalk and hjc taxonomy revise, on files."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.apply.crosswalk import coded_columns, mass_of_codes
from hjc.crosswalk.mapping import build_crosswalk
from hjc.crosswalk.readers import read_correspondence
from hjc.taxonomy import isco08, read_taxonomy_csv, write_taxonomy_csv

from .stub_classifier import StubClassifier, register
from .test_crosswalk import A, B

PAIRS = "source,target\n11,xa\n11,ya\n12,yb\n12,gone\n"


@pytest.fixture
def files(tmp_path):
    write_taxonomy_csv(A, tmp_path / "A.csv")
    write_taxonomy_csv(B, tmp_path / "B.csv")
    (tmp_path / "pairs.csv").write_text(PAIRS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def carry(call, files):
    def run(*arguments):
        return call(
            "crosswalk", *arguments, "--table", files / "pairs.csv", "--from", files / "A.csv", "--to", files / "B.csv"
        )

    return run


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_statistics_without_input(carry, files):
    code, out, err = carry("--matrix", files / "matrix.csv")
    assert code == 0 and err == "" and "2 source codes -> 3 target codes in 3 links" in out and "'gone'" in out
    assert {"source": "12", "target": "", "share": "0.5"} in rows_of(files / "matrix.csv")


def test_a_coded_table(carry, files):
    coded = files / "coded.csv"
    coded.write_text(
        "id,hjc_level2_code_1,hjc_level2_title_1,hjc_level2_proba_1,hjc_level2_code_2,hjc_level2_proba_2\n"
        "a,11,t,0.6,12,0.3\nb,11,t,0.7,99,0.3\nc,,,,,\nd,11,t,0.9,12,0.9\ne,21,t,1,,\nf,1,t,1,,\n",
        encoding="utf-8",
    )
    code, out, err = carry(coded, "-o", files / "out.csv", "-k", 3, "-l", 1, "-l", 2)
    assert code == 0 and out == "" and "unknown codes in 'A': '99'" in err and "mean shares" in err
    rows = rows_of(files / "out.csv")
    assert [r["id"] for r in rows] == list("abcdef")
    a, b, c, d, e, f = rows
    assert [a[f"to_level2_code_{k}"] for k in (1, 2, 3)] == ["xa", "ya", "yb"]
    assert [float(a[f"to_level2_proba_{k}"]) for k in (1, 2, 3)] == pytest.approx([0.3, 0.3, 0.15])
    assert (a["to_level1_code_1"], float(a["to_level1_proba_1"])) == ("y", pytest.approx(0.45))
    assert float(a["to_unmapped"]) == pytest.approx(0.15) and float(a["to_unlisted"]) == pytest.approx(0.1)
    assert float(b["to_unmapped"]) == pytest.approx(0.3) and b["to_status"] == "unknown code '99'"
    assert c["to_status"] == "no code" and c["to_unmapped"] == ""
    assert d["to_status"] == "the probabilities sum to more than one" and d["to_level1_code_1"] == ""
    assert e["to_unmapped"] == "1" and e["to_level1_code_1"] == "" and e["to_status"] == "ok"
    assert float(f["to_level2_proba_1"]) == 0.25 and float(f["to_unmapped"]) == 0.25  # mean of 11 and 12
    code, _, err = carry(coded, "-o", files / "out.csv")
    assert code == 2 and "--overwrite" in err


@pytest.mark.slow
def test_single_code_column_formats_and_inner_mass(carry, files):
    (files / "pairs.csv").write_text("source,target\n11,x\n12,ya\n21,y\n", encoding="utf-8")
    pd.DataFrame({"n": [1, 2], "code": ["11", "12"]}).to_parquet(files / "codes.parquet")
    code, _, err = carry(
        files / "codes.parquet", "-c", "code", "-o", files / "out.jsonl", "--inner", "keep", "-l", 2, "-l", 1
    )
    assert code == 0, err
    one, two = (json.loads(line) for line in (files / "out.jsonl").read_text().splitlines())
    assert one["to_level2_code_1"] is None and one["to_level2_above"] == 1 and one["to_level1_code_1"] == "x"
    assert two["to_level2_code_1"] == "ya" and two["to_level2_above"] == 0 and two["n"] == 2
    code, _, err = carry(files / "codes.parquet", "-o", files / "o.csv")
    assert code == 2 and "--code-column" in err
    code, _, err = carry(files / "codes.parquet", "-c", "code", "-c", "n", "-o", files / "o.csv")
    assert code == 2 and "2 code columns need 2 probability columns" in err


def test_a_model_and_texts(carry, call, files, monkeypatch):
    from hjc.classifiers import CLASSIFIERS

    monkeypatch.setitem(CLASSIFIERS, "stub", ("", ""))
    register()
    StubClassifier(A).save_pretrained(files / "run")
    (files / "ads.csv").write_text("text\ncook\n\nnurse\n", encoding="utf-8")
    arguments = ["--table", files / "pairs.csv", "--to", files / "B.csv"]
    code, _, err = call(
        "crosswalk", files / "run", files / "ads.csv", *arguments, "-t", "text", "-o", files / "o.csv", "-k", 5
    )
    assert code == 0, err
    rows = rows_of(files / "o.csv")
    walk = build_crosswalk(read_correspondence(files / "pairs.csv"), A, B)
    expected = walk.transfer(hjc.load(files / "run").predict_log_proba(["cook", "nurse"]))
    for row, proba, lost in zip([rows[0], rows[2]], expected.proba, expected.unmapped, strict=True):
        found = {row[f"to_level2_code_{k}"]: row[f"to_level2_proba_{k}"] for k in range(1, 6)}
        for leaf, p in zip(B.leaf_codes, proba, strict=True):
            assert float(found.get(leaf) or 0) == pytest.approx(p, abs=1e-5)
        assert float(row["to_unmapped"]) == pytest.approx(lost, abs=1e-5)
    assert rows[1]["to_status"] == "empty text" and "to_unlisted" not in rows[0]
    code, _, err = call("crosswalk", files / "run", *arguments)
    assert code == 2 and "give the table with the texts" in err


def test_chains_and_refusals(carry, call, files):
    (files / "back.csv").write_text("source,target\nx,1\ny,2\n", encoding="utf-8")
    two = ["--table", files / "pairs.csv", "--table", files / "back.csv", "--from", files / "A.csv"]
    code, out, _ = call("crosswalk", *two, "--via", files / "B.csv", "--to", files / "A.csv")
    assert code == 0 and "source leaves: 1 of 3 mapped" in out
    code, _, err = call("crosswalk", *two, "--to", files / "A.csv")
    assert code == 2 and "2 tables need 1 taxonomies" in err
    code, _, err = call("crosswalk", "--to", files / "A.csv")
    assert code == 2 and "--table" in err
    code, _, err = call("crosswalk", "--table", files / "pairs.csv", "--to", files / "B.csv")
    assert code == 2 and "--from" in err
    code, _, err = carry(files / "none.csv", "-c", "code", "-o", files / "x.csv")
    assert code == 2 and "no such file" in err


def test_weights_counts_and_a_written_crosswalk(carry, call, files):
    coded = files / "c.csv"
    coded.write_text("code\n11\n", encoding="utf-8")
    (files / "pairs.csv").write_text("source,target,weight\n11,xa,3\n11,ya,1\n", encoding="utf-8")
    (files / "counts.csv").write_text("code,count\nxa,1\nya,9\n", encoding="utf-8")

    def first(*options):
        code, _, err = carry(coded, "-c", "code", "-o", files / "o.csv", "--overwrite", *options)
        assert code == 0, err
        row = rows_of(files / "o.csv")[0]
        return row["to_level2_code_1"], float(row["to_level2_proba_1"])

    assert first() == ("xa", 0.5)
    assert first("--weights", "given", "--matrix", files / "matrix.csv") == ("xa", 0.75)
    assert first("--weights", "proportional", "--counts", files / "counts.csv") == ("ya", 0.9)
    (files / "matrix.csv").rename(files / "pairs.csv")
    assert first() == ("xa", 0.75)  # its header says that these are shares
    code, _, err = carry(coded, "-c", "code", "-o", files / "o.csv", "--overwrite", "--weights", "proportional")
    assert code == 2 and "--counts" in err
    code, _, err = carry(coded, "-c", "code", "-o", files / "o2.csv", "--reverse")
    assert code == 2 and "other way round" in err


def test_columns_of_predict():
    names = ["hjc_level1_code_1", "hjc_level1_proba_1", "hjc_level4_code_2", "hjc_level4_code_1", "to_level9_code_1"]
    with pytest.raises(
        ValueError, match=r"2 code columns and no 'hjc_level4_proba_1'.*--code-column hjc_level4_code_1"
    ):
        coded_columns(names, "f")
    assert coded_columns([n for n in names if n[-1] == "1"], "f") == [("hjc_level4_code_1", "")]
    pairs = [(f"hjc_level4_code_{i}", f"hjc_level4_proba_{i}") for i in (1, 2)]
    assert coded_columns([*names, "hjc_level4_proba_2", "hjc_level4_proba_1"], "f") == pairs
    assert coded_columns(names, "f", level=1) == [("hjc_level1_code_1", "hjc_level1_proba_1")]
    with pytest.raises(ValueError, match="of level 2"):
        coded_columns(names, "f", level=2)
    mass = mass_of_codes(A, [["11", "x", "1"]], [["nan", "1", "0.25"]])
    assert mass.status == ["a probability is missing or not from 0 to 1", "unknown code 'x'", "ok"]
    assert mass.unknown.tolist() == [0, 1, 0] and mass.unlisted.tolist() == [0, 0, 0.75]


def test_revise(call, files):
    key = files / "key.csv"
    key.write_text("source,target\n11,xa\n12,ya\n12,yb\n21,xb\n21,yc\n", encoding="utf-8")
    data = files / "train.csv"
    data.write_text("text,code,w\na,11,1\nb,12,2\nc,21,4\nd,1,1\ne,,1\nf,77,1\n", encoding="utf-8")
    base = ["taxonomy", "revise", data, "--table", key, "--to", files / "B.csv"]
    code, _, err = call(*base, "--from", files / "A.csv", "-o", files / "new.csv")
    assert code == 0 and "split 2" in err and "6 rows in" in err
    rows = rows_of(files / "new.csv")
    assert [r["new_code"] for r in rows] == ["xa", "y", "", "", "", ""]
    assert [r["new_kind"] for r in rows] == ["renamed", "split", "split", "split", "", "unmapped"]
    assert rows[2]["new_status"] == "its successors have no common ancestor" and rows[2]["text"] == "c"
    report = {r["old_code"]: r for r in rows_of(files / "new.csv.report.csv")}
    assert report["12"]["new_code"] == "y" and report["77"]["rows"] == "1"
    code, _, err = call(*base, "-o", files / "rows.csv", "--split", "weights", "--row-weight-column", "w")
    assert code == 0
    rows = rows_of(files / "rows.csv")
    assert [(r["text"], r["new_code"], float(r["new_weight"])) for r in rows[:5]] == [
        ("a", "xa", 1), ("b", "ya", 1), ("b", "yb", 1), ("c", "xb", 2), ("c", "yc", 2),
    ]  # fmt: skip
    assert sum(float(r["new_weight"]) for r in rows) == 10
    code, _, err = call(*base, "-o", files / "n.parquet", "--row-weight-column", "text")
    assert code == 2 and "weights are numbers from 0" in err
    for suffix in ("jsonl", "parquet"):
        code, _, err = call(*base, "-o", files / f"w.{suffix}", "--split", "weights")
        assert code == 0, err
        code, _, err = call(
            "taxonomy", "revise", files / f"w.{suffix}", "--table", key, "--to", files / "B.csv", "-o",
            files / f"w2.{suffix}", "--split", "weights", "--prefix", "x_",
        )  # fmt: skip
        assert code == 0, err
    assert len(pd.read_parquet(files / "w2.parquet")) == 8 + 4  # b and c, two rows each, were split once more


def test_codes_that_a_spreadsheet_has_spoiled(call, files):
    """Decimals are repaired and counted as in training data, lost zeros only when asked for, the rest is explained."""
    (files / "old.csv").write_text("code,parent\n0,\n011,0\n0110,011\n2,\n24,2\n2411,24\n2412,24\n", encoding="utf-8")
    (files / "key.csv").write_text("source,target\n0110,xa\n2411,ya\n2412,yb\n,xb\n", encoding="utf-8")
    data = files / "data.csv"
    lines = [f"{code},a" for code in ("2411.0", "2412", "110", " 0110", "9999", "xb", "yc", "")]
    data.write_text("\n".join(["code,text", *lines]) + "\n", "utf-8")
    base = [data, "--table", files / "key.csv", "--to", files / "B.csv"]
    code, _, err = call("taxonomy", "revise", *base, "-o", files / "r.csv")
    assert code == 0 and "1 codes that a spreadsheet had spoiled were repaired: '2411.0 -> 2411 (1 rows)'" in err
    rows = rows_of(files / "r.csv")
    assert [r["new_code"] for r in rows] == ["ya", "yb", "", "xa", "", "", "", ""]
    assert "looks like '0110' with a lost leading zero" in rows[2]["new_status"]
    assert "give --restore-zeros" in rows[2]["new_status"]
    assert [r["new_status"] for r in rows[4:]] == [
        "not in the correspondence table", "a code that only the new edition has",
        "not in the correspondence table, though the new edition has it", "no code",
    ]  # fmt: skip
    code, _, err = call("taxonomy", "revise", *base, "-o", files / "r2.csv", "--restore-zeros", "--keep-new")
    rows = rows_of(files / "r2.csv")
    assert code == 0 and [r["new_code"] for r in rows] == ["ya", "yb", "xa", "xa", "", "xb", "", ""]
    assert rows[5]["new_kind"] == "new" and "new 1" in err
    # with the old tree it is certain of yc as well
    code, _, err = call("taxonomy", "revise", *base, "-o", files / "r3.csv", "--keep-new", "--from", files / "old.csv")
    assert code == 0 and rows_of(files / "r3.csv")[6]["new_code"] == "yc"
    carry = ["crosswalk", data, "-c", "code", "--from", files / "old.csv", *base[1:]]
    code, _, err = call(*carry, "-o", files / "c.csv")
    assert code == 0 and "2411.0 -> 2411 (1 rows)" in err and "give --restore-zeros" in err
    assert [r["to_level2_code_1"] for r in rows_of(files / "c.csv")] == ["ya", "yb", "", "xa", "", "", "", ""]
    code, _, err = call(*carry, "-o", files / "c2.csv", "--restore-zeros")
    assert code == 0 and rows_of(files / "c2.csv")[2]["to_level2_code_1"] == "xa"


def test_lost_zeros_of_the_table(call, files):
    (files / "old.csv").write_text("code\n0\n01\n011\n0110\n2\n22\n222\n2221\n", encoding="utf-8")
    (files / "table.csv").write_text("old,new\n110,110\n2221,2221\n", encoding="utf-8")
    (files / "coded.csv").write_text("id,code\n1,0110\n2,2221\n", encoding="utf-8")
    tree, table = files / "old.csv", files / "table.csv"
    base = ["crosswalk", files / "coded.csv", "--table", table, "--from", tree, "--to", "isco08",
            "-c", "code", "--level", 4, "--source-column", "old", "--target-column", "new"]  # fmt: skip
    code, _, err = call(*base, "-o", files / "a.csv")
    assert code == 0 and "source codes of the table: '110' looks like '0110' with a lost leading zero" in err
    assert [r["to_level4_code_1"] for r in rows_of(files / "a.csv")] == ["", "2221"]
    code, _, err = call(*base, "-o", files / "b.csv", "--restore-zeros")
    assert code == 0 and "1 target codes of the table were repaired: '110 -> 0110'" in err
    assert [r["to_level4_code_1"] for r in rows_of(files / "b.csv")] == ["0110", "2221"]


def test_codes_of_another_classification_are_not_carried(call, files):
    (files / "key.csv").write_text("source,target\n2411,ya\n2412,yb\n", encoding="utf-8")
    (files / "old.csv").write_text("code\n2\n24\n2411\n2412\n", encoding="utf-8")
    data = files / "data.csv"
    data.write_text("code\n" + "".join(f"K{i}\n" for i in range(1000, 1030)) + "2411\n2412\n", "utf-8")
    base = [data, "--table", files / "key.csv", "--to", files / "B.csv", "-o", files / "out.csv"]
    for command in (["crosswalk", *base, "-c", "code", "--from", files / "old.csv"], ["taxonomy", "revise", *base]):
        code, _, err = call(*command)
        assert (
            code == 2 and "30 of 32 rows" in err and "'K1000'" in err and "--from" in err and "look like '2411'" in err
        )


@pytest.mark.realdata
def test_isco_codes_to_soc_2018_on_files(call, realdata, tmp_path):
    tree = isco08()
    rng = np.random.default_rng(0)
    columns = rng.choice(tree.num_leaves, (500, 3))
    proba = rng.dirichlet([1, 1, 1, 1], 500)[:, :3]
    frame = pd.DataFrame({"id": range(500)})
    for k in range(3):
        frame[f"hjc_level4_code_{k + 1}"] = [tree.leaf_codes[j] for j in columns[:, k]]
        frame[f"hjc_level4_proba_{k + 1}"] = proba[:, k]
    frame.to_parquet(tmp_path / "coded.parquet")
    soc = realdata / "soc2018_us" / "structure_definitions.csv.gz"
    code, _, err = call(
        "crosswalk", tmp_path / "coded.parquet", "--table", realdata / "crosswalks" / "isco08_soc2018_derived.csv",
        "--from", "isco08", "--to", soc, "-o", tmp_path / "out.parquet", "-k", 23, "-l", 1,
    )  # fmt: skip
    assert code == 0, err
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert read_taxonomy_csv(soc).level_codes(1) and len(out) == 500
    total = out.filter(like="proba_").filter(like="to_").sum(axis=1) + out["to_unmapped"] + out["to_unlisted"]
    assert np.abs(total - 1).max() < 1e-6
