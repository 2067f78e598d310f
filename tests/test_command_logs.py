"""Every command on a table leaves a log of its counts, and an interruption leaves a message and no half table."""

import json
import os
import signal

import pandas as pd
import pytest

from hjc.taxonomy import write_taxonomy_csv

from .test_crosswalk import A, B
from .tiny_translators import marian


@pytest.fixture
def files(tmp_path):
    write_taxonomy_csv(A, tmp_path / "A.csv")
    write_taxonomy_csv(B, tmp_path / "B.csv")
    (tmp_path / "key.csv").write_text("source,target\n11,xa\n12,ya\n12,yb\n21,xb\n", encoding="utf-8")
    (tmp_path / "data.csv").write_text("code,text\n11,a\n12,b\n12.0,b\n99,c\n,d\n21,e,f\n", encoding="utf-8")
    return tmp_path


def log_of(path):
    return json.loads((path.parent / f"{path.name}.log.json").read_text(encoding="utf-8"))


def test_crosswalk(call, files):
    out = files / "c.parquet"
    code, _, err = call(
        "crosswalk", files / "data.csv", "-c", "code", "--table", files / "key.csv", "--from", files / "A.csv",
        "--to", files / "B.csv", "-o", out,
    )  # fmt: skip
    log = log_of(out)
    assert code == 0, err
    assert log["rows_in"] == log["rows_out"] == len(pd.read_parquet(out)) == 5 and log["unreadable_lines"] == 1
    assert log["not_coded"] == {"unknown code": 1, "no code": 1} and log["unknown_codes"] == {"99": 1}
    assert log["repaired_codes"] == {"12.0 -> 12": 1}
    assert log["mass"] == {"mapped": 3, "unmapped": 1, "unlisted": 0}  # of the rows with a code


def test_revise(call, files):
    out = files / "r.csv"
    code, _, err = call(
        "taxonomy", "revise", files / "data.csv", "--table", files / "key.csv", "--to", files / "B.csv", "-o", out,
        "--split", "weights",
    )  # fmt: skip
    log = log_of(out)
    assert code == 0, err
    assert log["rows_in"] == 5 and log["rows_out"] == len(pd.read_csv(out)) == 7 and log["unreadable_lines"] == 1
    assert log["rows_by_kind"] == {"renamed": 1, "split": 2, "unmapped": 1}
    assert log["without_new_code"] == {"not in the correspondence table": 1, "no code": 1}
    assert sum(log["rows_by_kind"].values()) + log["without_new_code"]["no code"] == log["rows_in"]


@pytest.mark.slow
def test_translate(call, tmp_path):
    model, out = marian(tmp_path / "opus-mt-pl-en", steps=1), tmp_path / "t.csv"
    (tmp_path / "ads.csv").write_text("title,lang\nkucharz,pl\n,pl\ncook,en\nkucharz,\n", encoding="utf-8")
    code, _, err = call(
        "data", "translate", tmp_path / "ads.csv", "-o", out, "-t", "title", "--language-column", "lang", "--to", "en",
        "--hf", model,
    )  # fmt: skip
    log = log_of(out)
    assert code == 0, err
    assert log["rows_in"] == log["rows_out"] == sum(log["texts_by_status"].values()) == 4
    assert log["texts_by_status"]["same language"] == log["texts_by_status"]["no language"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["prepare", "sample", "split"])
def test_interrupted(call, tmp_path, monkeypatch, command, number):
    import hjc.tables.base as module

    (tmp_path / "ads.csv").write_text("text,code\ncook,1\ncook,2\n", encoding="utf-8")
    chunks = module.Reader.chunks

    def interrupted(self):
        yield from chunks(self)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(module.Reader, "chunks", interrupted)
    # a test runner started in the background hands down an ignored SIGINT
    inherited, before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.getsignal(signal.SIGTERM)
    further = {"prepare": ["--languages", "none"], "sample": ["--rule", "code-length", "--fraction", "1"], "split": []}
    try:
        code, _, err = call("data", command, tmp_path / "ads.csv", "-o", tmp_path / "out.csv", *further[command])
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert code == 130 and "interrupted: " in err and "give the command again" in err
    assert not (tmp_path / "out.csv").exists() and not (tmp_path / "out.csv.log.json").exists()
    assert signal.getsignal(signal.SIGTERM) == before
