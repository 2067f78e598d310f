"""What a run says at its end, and how much of it is printed."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.data.jobdata import JobData
from hjc.evaluation import Evaluation, evaluate_model
from hjc.evaluation.words import automatic_sentence, level_name, plain_sentences, right_of_100, told_level
from hjc.progress import rows_progress, silence, silent
from hjc.taxonomy import from_edges, from_prefix_codes, isco08
from hjc.training.config import run
from hjc.training.workflow import run_training
from tests.stub_classifier import StubClassifier

TREE = from_prefix_codes(["11", "12", "21", "22"], [1, 2])


def evaluated(right: int, rows: int = 100, name: str = "test") -> Evaluation:
    """``right`` of the rows have the model's own first code as gold, the others its last."""
    stub = StubClassifier(TREE)
    texts = tuple(f"text {i}" for i in range(rows))
    order = np.argsort(-stub.leaf_log_proba(texts), axis=1, kind="stable")
    gold = TREE.leaves[np.where(np.arange(rows) < right, order[:, 0], order[:, -1])]
    return evaluate_model(stub, JobData(TREE, texts, gold), name=name, bootstrap=0, progress=False)


def test_sentences_count_what_is_right() -> None:
    found = evaluated(57)
    rank = found.scores.rank[:, 1]
    assert right_of_100(found, 2)[0] == round(100 * (rank == 1).mean()) == 57
    (line,) = plain_sentences({"valid": evaluated(10, name="valid"), "test": found})
    coarse = round(100 * found.metrics["level_1/recall@1"])
    assert line.startswith("Of 100 new texts like the 100 test texts, 57 get the right 2-digit code (47 to 67)")
    assert f"and {coarse} the right 1-digit code." in line


def test_sentences_without_test_rows_and_with_many_sets() -> None:
    first, second = plain_sentences({"valid": evaluated(50, name="valid")})
    assert "100 validation texts" in first and "expect a little less" in second
    many = plain_sentences({f"test/{name}": evaluated(50) for name in "abc"})
    assert len(many) == 3 and "'test/a'" in many[0] and many[2] == "1 more test set is in the report."


def test_automatic_coding_is_told_with_its_level() -> None:
    """None at two digits: then at the deepest level where some can; none at all: why."""
    found = evaluated(57)
    assert automatic_sentence(found) == ""  # no rule was learnt

    def with_rules(coded: dict[int, float]) -> str:
        lines = [{"rule": "automatic at the level", "parameter": 0.9, "slice": "", "level": level, "coded": share,
                  "right": 0.95} for level, share in coded.items()]  # fmt: skip
        decided = SimpleNamespace(rules=pd.DataFrame(lines))
        return automatic_sentence(replace(found, decided=decided))  # type: ignore[arg-type]

    said = with_rules({1: 0.8, 2: 0.4})
    assert said == "40 of 100 can get a 2-digit code automatically at 90 % accuracy (95 % of those were right here)."
    said = with_rules({1: 0.8, 2: 0.0})
    assert said.startswith("None of them can get a 2-digit code automatically; 80 of 100 can get a 1-digit code")
    said = with_rules({1: 0.0, 2: 0.0})
    assert said.startswith("None of them can get a 2-digit code automatically, nor a broader one: the validation rows")


def test_codes_that_stop_above_the_deepest_level() -> None:
    """Experts coded these to one digit: nothing can be said about two."""
    stub, texts = StubClassifier(TREE), tuple(f"text {i}" for i in range(30))
    gold = np.full(30, TREE.index_of["1"])
    found = evaluate_model(stub, JobData(TREE, texts, gold), bootstrap=0, progress=False)
    assert told_level(found) == 1
    (line,) = plain_sentences({"test": found})
    assert "get the right 1-digit code" in line and "2-digit" not in line
    mixed = evaluate_model(stub, JobData(TREE, texts, np.r_[gold[:20], TREE.leaves[np.zeros(10, int)]]), bootstrap=0)
    assert told_level(mixed) == 1


def test_names_of_levels() -> None:
    assert [level_name(isco08(), d) for d in (1, 2, 3, 4)] == [
        "major group", "sub-major group", "minor group", "4-digit code",
    ]  # fmt: skip
    assert level_name(from_edges(["a", "b1", "c22"], [None, "a", "a"]), 2) == "code of level 2"


ADS = pd.DataFrame([(f"{word} {i}", code) for i in range(30) for word, code in
                    (("nurse", "11"), ("doctor", "12"), ("driver", "21"), ("pilot", "22"))],
                   columns=["title", "code"])  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, list[str]]:
    ADS.to_csv(tmp_path / "ads.csv", index=False)
    overrides = ["model=linear", "model.min_df=1", "data=csv", f"data.files=[{tmp_path / 'ads.csv'}]", "taxonomy=csv",
                 f"taxonomy.path={tmp_path / 'tree.csv'}", "data.text_columns=[title]", "evaluation.bootstrap=0",
                 f"run_dir={tmp_path / 'run'}"]  # fmt: skip
    (tmp_path / "tree.csv").write_text("code,parent\n1,\n2,\n11,1\n12,1\n21,2\n22,2\n", "utf-8")
    return tmp_path / "run", overrides


@pytest.mark.slow
def test_how_much_is_printed(trained: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    directory, overrides = trained

    def printed(*options: str) -> str:
        run(lambda config: run_training(config).log_loss, [*overrides, *options])
        return capsys.readouterr().out

    plain = printed()
    assert len(plain.splitlines()) <= 12 and "│" not in plain
    assert "Next: hjc predict" in plain.splitlines()[-1] and "--text-column title" in plain.splitlines()[-1]
    assert "right 2-digit code" in plain and "automatically" in plain
    assert "R@1" in printed("--verbose") and printed("--quiet") == "" == printed("-q")
    found = json.loads(printed("--json"))
    assert found["status"] == "finished" and found["metrics"] == {
        key: value for key, value in json.loads((directory / "metrics.json").read_text("utf-8")).items()
    }
    assert found["summary"][0] in plain
    page = (directory / "report.html").read_text("utf-8")
    assert "Codes seen in training" in page and "right 2-digit code" in page and "no row a code" in page
    assert page.count("<details") > 15 and page.count('<details class="section" id="s1" open>') == 1
    with pytest.raises(SystemExit):
        run(lambda config: None, [*overrides, "output=all"])
    assert "output: got 'all', allowed are plain, tables, json, none" in capsys.readouterr().err


def test_silence_is_for_every_bar() -> None:
    import io

    from rich.console import Console

    told = {}
    for wanted in (True, False):
        console = Console(file=io.StringIO(), force_terminal=False, width=200)
        with silence(wanted), rows_progress("evaluating test", 100, console=console, delay=0.0) as bar:
            bar.next = 0.0
            bar.advance(20)
        told[wanted] = console.file.getvalue()  # type: ignore[attr-defined]
    assert told[True] == "" and not silent()
    assert told[False].startswith("evaluating test: 20 of 100 rows, ") and told[False].rstrip().endswith(" left")


def test_train_from_python_says_as_much_as_it_is_asked_for(
    trained: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"text": "title", "model": "linear", "taxonomy": TREE, "min_df": 1, "run_dir": trained[0],
             "evaluation": {"bootstrap": 0, "report": False}}  # fmt: skip
    hjc.train(ADS, quiet=True, **given)
    assert capsys.readouterr().out == ""
    hjc.train(ADS, **given)
    assert "Of 100 new texts" in capsys.readouterr().out


def test_where_many_codes_have_no_row_the_titles_of_hjc_are_named() -> None:
    from hjc.data import JobData, Splits, summarise
    from hjc.taxonomy import isco08

    leaves = isco08().leaf_codes
    for codes, named in ((leaves[:200], True), (leaves[:400], False), (leaves[:20], False)):
        rows = JobData.from_lists(isco08(), [f"text {i}" for i in range(len(codes))], list(codes))
        said = " ".join(summarise(Splits(train=rows, valid=rows.take([]), tests={}, counts={})).sentences())
        assert ("54% of the codes have no training row" in said and "hjc ready isco08" in said) is named
