"""The ``hjc data`` commands: files in, files out, logs that add up."""

import json
import sys

import pandas as pd
import pytest

from hjc.cli import main


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hjc", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


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
