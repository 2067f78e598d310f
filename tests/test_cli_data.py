"""The ``hjc data`` commands: files in, files out, logs that add up."""

import json
import os
import threading

import pandas as pd
import pytest


@pytest.fixture
def ads(tmp_path):
    path = tmp_path / "ads.csv"
    rows = [("0110", "x" * 60, "a", "pl")] * 10 + [("1112", "y", "a", "en")] + [("2111", "z", "dict", "en")] * 2
    pd.DataFrame(rows, columns=["code", "text", "source", "language"]).to_csv(path, index=False)
    return path


def log_of(path) -> dict:
    return json.loads((path.parent / f"{path.name}.log.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_sample(call, ads, tmp_path, suffix) -> None:
    out = tmp_path / f"sample.{suffix}"
    code, _, err = call("data", "sample", ads, "-o", out, "--rule", "code-length", "--fraction", 0.2)
    assert code == 0, err
    read = {"csv": lambda p: pd.read_csv(p, dtype={"code": str}), "parquet": pd.read_parquet,
            "jsonl": lambda p: pd.read_json(p, lines=True, dtype={"code": str})}[suffix]  # fmt: skip
    frame = read(out)
    assert frame["code"].value_counts().to_dict() == {"0110": 2, "1112": 1, "2111": 1}
    assert frame["design_weight"].sum() == 13
    log = log_of(out)
    assert log["rows_in"] == log["rows_out"] + log["not_drawn"] == 13 and log["strata"] == 3


@pytest.mark.parametrize(
    "command",
    [("sample", "--rule", "code-length", "--fraction", 0.2), ("prepare", "-t", "text", "--languages", "none")],
)
def test_a_pipe_is_read_twice_from_a_copy(call, ads, tmp_path, command) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    feeding = threading.Thread(target=lambda: (tmp_path / "pipe.csv").write_bytes(ads.read_bytes()), daemon=True)
    feeding.start()
    name, *options = command
    code, _, err = call("data", name, tmp_path / "pipe.csv", "-o", tmp_path / "out.csv", *options)
    feeding.join(10)
    assert code == 0, err
    assert call("data", name, ads, "-o", tmp_path / "file.csv", *options)[0] == 0
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "file.csv").read_bytes()


def test_split_and_manifest(call, ads, tmp_path) -> None:
    out = tmp_path / "dealt.csv"
    code, _, err = call("data", "split", ads, "-o", out, "--source-column", "source", "--train-only", "dict")
    assert code == 0 and "9 rows train and 4 test" in err
    code, shown, err = call(
        "data", "manifest", out, "-o", tmp_path / "m", "--source-column", "source", "--language-column", "language",
        "--split-column", "split", "--exclude", "dict",
    )  # fmt: skip
    assert code == 0 and "train" in shown and "433 of 436 leaf codes have no row" in err
    assert (tmp_path / "m" / "long_tail.png").stat().st_size > 1000
    by_language = pd.read_csv(tmp_path / "m" / "by_language.csv").set_index(["split", "language"])["rows"]
    assert by_language.to_dict() == {("train", "en"): 2, ("train", "pl"): 7, ("test", "en"): 1, ("test", "pl"): 3}


def test_messages(call, ads, tmp_path) -> None:
    assert call("data", "sample", ads, "-o", tmp_path / "x.csv", "--rule", "no", "--fraction", 0.2)[0] == 2
    code, _, err = call("data", "split", ads, "-o", tmp_path / "x.csv", "--code-column", "cod")
    assert code == 2 and "did you mean 'code'" in err
    code, _, err = call("data", "split", ads, "-o", tmp_path / "x.csv", "--column", "source")
    assert code == 2 and "--column" in err
    code, _, err = call("data", "manifest", ads, "-o", tmp_path / "m", "--exclude", "x", "--source-column", "source")
    assert code == 2 and "exclude" in err


@pytest.fixture
def scraped(tmp_path):
    path = tmp_path / "scraped.csv"
    ad = "Poszukujemy kucharza do restauracji w centrum Krakowa. Wymagania: doświadczenie w kuchni i dokładność w pracy"
    rows = [
        ("5120", "Kucharz", f"<p>{ad}</p><p>tel. 601 234 567</p>"),
        ("5120", "Kucharz", f"{ad}\ntel. 601 234 568"),  # the same once masked
        ("9412", "KUCHARZ", f"{ad}\ntel. 601 234 569"),  # the same under another code
        ("5131", "", "404 Not Found. The page you requested does not exist."),
        (
            "5120",
            "Cook",
            "We are looking for a cook for our restaurant in the centre of the town, full time, good salary",
        ),
    ]
    pd.DataFrame(rows, columns=["code", "title", "body"]).to_csv(path, index=False)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("1,2,3,4\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "workers"), [("csv", 1), ("parquet", 1), ("jsonl", 2)])
def test_prepare(call, scraped, tmp_path, suffix, workers) -> None:
    for package in ("ftfy", "lingua", "datasketch"):
        pytest.importorskip(package)
    out = tmp_path / f"clean.{suffix}"
    code, _, err = call(
        "data", "prepare", scraped, "-o", out, "-t", "title", "-t", "body", "-c", "code", "--languages", "pl,en",
        "--batch-size", 2, "--workers", workers,
    )  # fmt: skip
    assert code == 0, err
    frame = _read(out)
    assert len(frame) == 5 and "1 unreadable line" in err
    assert frame["prep_title"].tolist()[0] == "Kucharz" and frame["prep_body"][0].endswith("tel. [phone]")
    assert frame["prep_reasons"].fillna("").tolist() == ["", "", "", "error_page", ""]
    assert frame["prep_language"].fillna("").tolist() == ["pl", "pl", "pl", "en", "en"]
    assert frame["prep_group"].astype(str).tolist() == ["0", "0", "0", "1", "2"]
    log = log_of(out)
    assert (
        log["rows_in"] == 5 == log["rows_out"] and log["unreadable_lines"] == 1 and log["flagged"] == {"error_page": 1}
    )
    assert log["groups_with_several_codes"] == 1 and log["cleaned"]["phone"] == 3
    assert pd.read_csv(tmp_path / "clean.conflicts.csv", dtype=str)["code"].tolist() == ["5120", "9412"]

    code, _, err = call(
        "data", "prepare", scraped, "-o", tmp_path / f"kept.{suffix}", "-t", "title", "-t", "body", "-c", "code",
        "--languages", "pl,en", "--keep-languages", "pl", "--drop", "quality", "--drop", "language",
        "--drop", "identical", "--batch-size", 2,
    )  # fmt: skip
    assert code == 0, err
    log = log_of(tmp_path / f"kept.{suffix}")
    assert log["rejected"] == {"identical": 1, "quality: error_page": 1, "language: en": 1}
    assert log["rows_in"] == log["rows_out"] + log["rows_rejected"] == 5
    assert _read(tmp_path / f"kept.{suffix}")["code"].astype(str).tolist() == ["5120", "9412"]
    assert sorted(_read(tmp_path / f"kept.rejected.{suffix}")["prep_rejected"]) == sorted(log["rejected"])
    code, _, err = call("data", "prepare", out, "-o", tmp_path / "x.csv", "-t", "title")
    assert code == 2 and "another prefix" in err


def _read(path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype={"code": str})
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True, dtype={"code": str})


@pytest.mark.slow
def test_agreement(call, tmp_path) -> None:
    wide = pd.DataFrame(
        {"a": ["5120", "5120", "9412", "2111"], "b": ["5120", "5131", "9412", "xxxx"], "w": [1, 1, 2, 1]}
    )
    wide.to_csv(tmp_path / "wide.csv", index=False)
    code, shown, err = call(
        "data", "agreement", tmp_path / "wide.csv", "-o", tmp_path / "w", "-c", "a", "-c", "b", "--weight-column", "w"
    )
    assert code == 0 and "'xxxx'" in err and "all agree" in shown
    pairs = pd.read_csv(tmp_path / "w" / "pairs.csv").set_index("level")
    assert pairs["agreement"].tolist() == [1.0, 1.0, 0.75, 0.75] and pairs["units"].tolist() == [3] * 4
    [unknown] = pd.read_csv(tmp_path / "w" / "rejects.csv").to_dict("records")
    why = "unknown code: 'xxxx' is not in the tree"
    assert (unknown["row"], unknown["reason"], unknown["value"]) == (5, why, "xxxx")  # the header is line 1
    long = [(i, c, v) for c in "ab" for i, v in enumerate(wide[c])]
    pd.DataFrame(long, columns=["id", "coder", "code"]).to_csv(tmp_path / "long.csv", index=False)
    assert call("data", "agreement", tmp_path / "long.csv", "-o", tmp_path / "l", "--coder-column", "coder")[0] == 0
    assert pd.read_csv(tmp_path / "l" / "pairs.csv")["agreement"].round(6).tolist() == [1, 1, 0.666667, 0.666667]
    assert call("data", "agreement", tmp_path / "long.csv", "-o", tmp_path / "n")[0] == 0
    lost = pd.DataFrame([*long, ("", "b", "5120")], columns=["id", "coder", "code"])
    lost.to_csv(tmp_path / "lost.csv", index=False)
    assert call("data", "agreement", tmp_path / "lost.csv", "-o", tmp_path / "o", "--coder-column", "coder")[0] == 0
    assert pd.read_csv(tmp_path / "o" / "rejects.csv")[["row", "reason"]].to_numpy().tolist() == [
        [9, why],
        [10, "no id"],
    ]
    assert len(pd.read_csv(tmp_path / "n" / "pairs.csv")) == 0
    code, _, err = call("data", "agreement", tmp_path / "long.csv", "-o", tmp_path / "n", "-c", "nothing")
    assert code == 2 and "'nothing'" in err


def test_suspicious(call, tmp_path) -> None:
    pytest.importorskip("napkinxc")
    rows = [(f"cook soup in the kitchen {i}", "5120") for i in range(12)] + [
        (f"drive a van {i}", "8322") for i in range(12)
    ]
    rows[3] = (rows[3][0], "8322")
    rows.append(("no such code", "9999"))
    pd.DataFrame(rows, columns=["text", "code"]).to_csv(tmp_path / "in.csv", index=False)
    code, _, err = call(
        "data", "suspicious", tmp_path / "in.csv", "-o", tmp_path / "s", "--folds", 3, "--set", "features=word"
    )
    assert code == 0 and "1 rows cannot be used" in err, err
    found = pd.read_csv(tmp_path / "s" / "suspicious.csv", dtype={"code": str, "suggested": str})
    assert found[["row", "code", "suggested"]].to_numpy().tolist() == [[3, "8322", "5120"]]
    log = json.loads((tmp_path / "s" / "log.json").read_text())
    assert log["rows"] == log["scored"] == 24 and log["rejected"] == {"unknown code: '9999' is not in the tree": 1}
    [reject] = pd.read_csv(tmp_path / "s" / "rejects.csv", dtype=str).to_dict("records")
    assert reject["row"] == "26" and "9999" in reject["reason"]
    code, _, err = call("data", "suspicious", tmp_path / "in.csv", "-o", tmp_path / "s", "--set", "nothing=1")
    assert code == 2 and "--set: got 'nothing', allowed are " in err
