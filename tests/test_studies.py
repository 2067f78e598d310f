"""What all studies share: lines of results that stay, and those that are made anew."""

import csv
import math
from pathlib import Path

import pytest

from experiments import common


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_lines_of_what_was_not_run_again_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments" / "study").mkdir(parents=True)
    monkeypatch.setattr(common, "ROOT", tmp_path)
    first = [{"set": "ads", "size": 500, "right": 1 / 3, "slice": ""}, {"set": "ads", "size": 2000, "right": 0.5}]
    path = common.write_lines("study", first, ("set", "size"), digits=".4g")
    assert [line["right"] for line in lines_of(path)] == ["0.3333", "0.5"]
    again = [{"set": "ads", "size": 2000, "right": math.nan, "loss": 1.23456}]
    again.append({"set": "onet", "size": 500, "right": 1.0})
    assert common.write_lines("study", again, ("set", "size"), digits=".4g") == path
    found = [(line["set"], line["size"], line["right"], line["loss"]) for line in lines_of(path)]
    assert found == [("ads", "500", "0.3333", ""), ("ads", "2000", "", "1.235"), ("onet", "500", "1", "")]
    common.write_lines("study", again[1:])  # without keys nothing is kept
    assert [line["right"] for line in lines_of(path)] == ["1.00000"]
