"""hjc label and hjc data synthesise against a server process that speaks the protocol (chat_server.py)."""

import json

import numpy as np
import pandas as pd
import pytest

from hjc.classifiers import CLASSIFIERS
from hjc.data import DataSettings, load_job_data
from hjc.data.settings import SourceSettings
from hjc.evaluation.drift_profile import write_profile
from hjc.rerank.chat_questions import ChatReranker
from hjc.statistics.drift import Profile
from hjc.taxonomy import from_edges
from tests.stub_classifier import StubClassifier
from tests.test_rerank_chat import process, server

pytest.importorskip("httpx")
__all__ = ["process", "server"]  # the fixtures

pytestmark = pytest.mark.slow
CODES = ["1", "11", "12", "2", "21", "22"]
TITLES = ["", "nurses", "cooks in kitchens", "", "welders", "drivers of lorries"]
TREE = from_edges(CODES, ["", "1", "1", "", "2", "2"], titles={"en": TITLES}, name="four")
WORDS = {"11": "nurses", "12": "kitchens", "21": "welders", "22": "lorries"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setitem(CLASSIFIERS, "stub", ("tests.stub_classifier", "StubClassifier"))
    StubClassifier(TREE).save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def write_ads(path, n):
    """Ads; the right code is in a column that nobody is shown. The eighth has no text."""
    codes = np.random.default_rng(3).choice(list(WORDS), n)
    texts = [f"we look for {WORDS[code]}, number {i}" for i, code in enumerate(codes)]
    texts[7] = ""
    frame = pd.DataFrame({"text": texts, "truth": codes})
    frame.to_csv(path, index=False)
    return frame


@pytest.fixture
def ads(tmp_path):
    write_ads(tmp_path / "ads.csv", 12)
    return tmp_path / "ads.csv"


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def options(server, *models):
    return ["--endpoint", f"{server.url}/v1", *(x for m in models for x in ("--model", m)), "-k", 4, "-t", "text"]


def test_two_prompts_that_agree_give_a_silver_label(call, server, run, ads, tmp_path):
    out = tmp_path / "silver.csv"
    code, _, err = call("label", run, ads, "-o", out, *options(server, "good"))
    assert code == 0, err
    assert "11 of 12 texts, 2 judges: about 22 requests" in err and "no prices given" in err
    found = read(out)
    coded = found[found["label_status"] == "agreed"]
    assert len(coded) == 11 and (coded["label_code"] == coded["truth"]).all()
    assert set(coded["label_source"]) == {"silver"} and set(coded["label_weight"]) == {"0.5"}
    assert found.loc[7, "label_status"] == "empty text" and not found.loc[7, "label_code"]
    assert list(found)[:2] == ["text", "truth"] and server.stats()["requests"] == 22
    facts = json.loads((tmp_path / "silver.csv.log.json").read_text("utf-8"))
    assert facts["prompts"] == ["rerank", "rerank_second"] and facts["counts"]["agreed"] == 11
    # again: nothing is asked
    code, _, err = call("label", run, ads, "-o", out, *options(server, "good"), "--overwrite")
    assert code == 0 and server.stats()["requests"] == 22 and read(out).equals(found)


def test_a_run_that_reached_its_limit_goes_on(call, server, run, ads, tmp_path):
    out = tmp_path / "silver.csv"
    code, _, err = call("label", run, ads, "-o", out, *options(server, "good"), "--max-requests", 14)
    assert code == 0 and "budget" in err
    first = read(out)
    assert (first["label_status"] == "budget").sum() >= 4 and server.stats()["requests"] == 14
    code, _, err = call("label", run, ads, "-o", out, *options(server, "good"), "--overwrite")
    assert code == 0 and server.stats()["requests"] == 22
    assert (read(out)["label_status"] == "agreed").sum() == 11


@pytest.mark.parametrize("second", ["decline", "obedient", "malformed"])
def test_without_agreement_there_is_no_label(call, server, run, ads, tmp_path, second):
    out = tmp_path / "silver.csv"
    code, _, err = call("label", run, ads, "-o", out, *options(server, "good", second), "--overwrite")
    assert code == 0, err
    found = read(out)
    agreed = found["label_status"] == "agreed"
    assert (found["label_code"] != "").equals(agreed)
    if second == "obedient":  # number 1 of an order that depends on the text
        assert agreed.sum() < 11 and "disagree" in set(found["label_status"])
        assert (found["label_judge_1"] == found["label_judge_2"])[agreed].all()
    else:
        want = {"decline": "declined", "malformed": "failed"}[second]
        assert ("11 texts got no answer: no usable answer after 2 requests" in err) == (second == "malformed"), err
        assert set(found["label_status"]) == {want, "empty text"}


def test_rows_that_people_coded_are_an_audit(call, server, run, ads, tmp_path):
    frame = write_ads(ads, 40)
    frame["people"] = frame["truth"].where(frame.index <= 35, "")
    frame.loc[:5, "people"] = "11"  # people who are wrong, or silver labels that are
    frame.to_csv(ads, index=False)
    wrong = sum(frame.loc[i, "truth"] != "11" for i in range(6))
    out = tmp_path / "silver.csv"
    code, said, err = call("label", run, ads, "-o", out, *options(server, "good"), "--audit-code-column", "people")
    assert code == 0 and f"of 35 audited rows with a silver label {35 - wrong} are right" in err, err
    assert "agreement of people and silver labels" in said
    found = read(out)
    assert (found["label_code"] != "").sum() == 4 and not found.loc[:35, "label_code"].any()
    assert float(found.loc[39, "label_weight"]) == pytest.approx((35 - wrong) / 35, abs=1e-3)
    facts = json.loads((tmp_path / "silver.csv.log.json").read_text("utf-8"))
    assert facts["audited"] == 35 and facts["audit"][1]["coder_b"] == "silver"


def test_silver_rows_train_and_never_test(call, server, run, ads, tmp_path):
    out = tmp_path / "silver.csv"
    assert call("label", run, ads, "-o", out, *options(server, "good"))[0] == 0
    columns = {"text_columns": ["text"], "code_column": "label_code", "weight_column": "label_weight"}
    data = load_job_data(DataSettings(train=[str(out)], valid_fraction=0.0, **columns), TREE)
    assert len(data.train.labelled()) == 11 and set(data.train.weight[data.train.is_labelled]) == {0.5}
    assert set(data.train.labelled().source) == {"silver"}
    with pytest.raises(ValueError, match="11 rows of validation or test files are silver labels"):
        load_job_data(DataSettings(train=[str(out)], test=[str(out)], **columns), TREE)
    both = [
        SourceSettings(path=str(out), role="split"),
        SourceSettings(path=str(ads), role="split", code_column="truth", weight_column=""),
    ]
    split = load_job_data(DataSettings(sources=both, valid_fraction=0.3, **columns), TREE)
    assert "silver" not in split.valid.source and not split.tests  # copies of silver rows stay with them


@pytest.mark.parametrize("all_text", [False, True])
def test_the_model_reads_what_it_knows_and_the_judges_all(call, run, tmp_path, monkeypatch, all_text):
    from hjc.apply import label

    profile, seen, asked, body = Profile(TREE), [], [], "We are a friendly team, and our company grows. " * 9
    profile.update(None, texts=[f"we look for nurses, number {i}" for i in range(40)])
    write_profile(run, profile, "validation")
    rows = pd.DataFrame({"title": ["nurses", "", "welders"], "body": body})
    rows.to_csv(tmp_path / "ads.csv", index=False)
    found, said = label.candidates_of, ChatReranker.request
    monkeypatch.setattr(
        label, "candidates_of", lambda model, texts, *rest: seen.extend(texts) or found(model, texts, *rest)
    )
    monkeypatch.setattr(ChatReranker, "request", lambda self, text, some: asked.append(text) or said(self, text, some))
    code, _, err = call(
        "label", run, tmp_path / "ads.csv", "-o", tmp_path / "s.csv", "-t", "title", "-t", "body", "--dry-run",
        "--endpoint", "http://127.0.0.1:9/v1", "--model", "a", *["--all-text"] * all_text,
    )  # fmt: skip
    assert (
        code == 0
        and ("coded by the column 'title' alone (where it is empty, in 1, by the rest)" in err) is not all_text
    ), err
    both = [f"nurses\n{body}".strip(), body.strip(), f"welders\n{body}".strip()]
    assert seen == (both if all_text else ["nurses", body.strip(), "welders"]) and asked == both * 2


def test_columns_that_are_there_are_refused_before_anything_is_asked(call, server, run, ads, tmp_path):
    pd.read_csv(ads).assign(label_judge_2="").to_csv(ads, index=False)
    code, _, err = call("label", run, ads, "-o", tmp_path / "s.csv", *options(server, "good"))
    assert code == 2 and "already has 'label_judge_2'; give the new columns another prefix" in err
    assert server.stats()["requests"] == 0 and not list(tmp_path.glob("s.csv*"))
    code, _, err = call("label", run, ads, "-o", tmp_path / "s.csv", *options(server, "good"), "--prefix", "new_")
    assert code == 0 and "new_judge_2" in read(tmp_path / "s.csv")


def test_what_it_takes_is_said_and_nothing_asked(call, server, run, ads, tmp_path):
    code, _, err = call("label", run, ads, "-o", tmp_path / "s.csv", *options(server, "good"), "--dry-run",
                        "--prompt-price", 1000000, "--completion-price", 0, "--currency", "EUR")  # fmt: skip
    assert code == 0 and "EUR" in err and server.stats()["requests"] == 0
    assert not list(tmp_path.glob("s.csv*"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--model", "good"), "--endpoint: which one is asked?"),
        (("--model", "a", "--endpoint", "http://example.org/v1"), "is another machine: texts go there"),
        (("--model", "a", "--endpoint", "ftp://x"), "expected an address such as"),
        (("--model", "a", "--model", "a", "--endpoint", "http://127.0.0.1:9/v1"), "at least two different ones"),
        (("--model", "a", "--prompt", "rerank", "--endpoint", "http://127.0.0.1:9/v1"), "at least two different ones"),
        (("--model", "a", "--prompt", "mine", "--endpoint", "http://127.0.0.1:9/v1"), "allowed are"),
        (("--model", "a", "-k", "1", "--endpoint", "http://127.0.0.1:9/v1"), "integers from 2"),
        (("--model", "a", "--audit-code-column", "gold", "--endpoint", "http://127.0.0.1:9/v1"), "gold"),
        (("--model", "a", "--max-cost", "5", "--endpoint", "http://127.0.0.1:9/v1"), "prompt_price"),
    ],
)
def test_what_cannot_be_labelled_is_said(call, run, ads, tmp_path, given, message):
    code, _, err = call("label", run, ads, "-o", tmp_path / "s.csv", "-t", "text", *given)
    assert code == 2 and message in err, err
    assert not (tmp_path / "s.csv").exists()


def test_an_endpoint_that_is_gone_keeps_the_answers(call, server, run, ads, tmp_path):
    code, _, err = call("label", run, ads, "-o", tmp_path / "s.csv", *options(server, "unauthorized"))
    assert code == 2 and "status 401" in err and not (tmp_path / "s.csv").exists()


# ------------------------------------------------------------------ ads that a model writes


@pytest.fixture
def rows(tmp_path):
    """Training rows of two codes; a test row that the model happens to write."""
    (tmp_path / "tree.csv").write_text(
        "code,parent,title_en\n"
        + "".join(
            f"{c},{TREE.codes[p] if p >= 0 else ''},{t or c}\n"
            for c, p, t in zip(TREE.codes, TREE.parents.tolist(), TREE.titles["en"], strict=True)
        )
    )
    (tmp_path / "train.csv").write_text("text,code\nnurses,11\ncook,12\ncook again,12\n")
    (tmp_path / "test.csv").write_text(
        "title,body,code\nwelders wanted,Come and work with us in the old town from Monday on.,21\n"
    )
    return tmp_path


def test_ads_for_codes_without_rows(call, server, rows):
    out = rows / "new.csv"
    given = ("data", "synthesise", rows / "train.csv", "-o", out, "--model", "write", "--endpoint", f"{server.url}/v1",
             "--test", rows / "test.csv", "-t", "title", "-t", "body", "--taxonomy", rows / "tree.csv",
             "--per-code", 4)  # fmt: skip
    code, _, err = call(*given, "--dry-run")
    assert code == 0 and "2 codes have fewer than 1 rows: about 2 requests" in err and not out.exists()
    code, _, err = call(*given)
    assert code == 0, err
    found = read(out)
    assert set(found["code"]) == {"21", "22"} and set(found["source"]) == {"synthetic_ad"}
    assert found.loc[found["code"] == "21", "title"].tolist() == ["Junior welders"]  # the others are the test row
    assert "near-duplicate of a test row 4" in err and "no title 2" in err  # of the other code, too: the same body
    facts = json.loads((rows / "new.csv.log.json").read_text("utf-8"))
    assert facts["refused"]["near-duplicate of a test row"] == 4 and facts["protected"] == 2
    settings = DataSettings(train=[str(rows / "train.csv"), str(out)], valid_fraction=0.0)
    assert len(load_job_data(settings, TREE).train) == 3 + len(found)
    with pytest.raises(ValueError, match="ads of a language model"):
        load_job_data(DataSettings(train=[str(rows / "train.csv")], test=[str(out)]), TREE)


def test_what_cannot_be_written_is_said(call, server, rows):
    given = ("data", "synthesise", rows / "train.csv", "-o", rows / "new.csv", "--taxonomy", rows / "tree.csv",
             "--test", rows / "test.csv", "-t", "title", "--endpoint", f"{server.url}/v1")  # fmt: skip
    code, _, err = call(*given, "--model", "write", "--code-column", "isco")
    assert code == 2 and "isco" in err
    code, _, err = call(*given, "--model", "malformed")
    assert code == 0 and "2 codes got no ads" in err
    (rows / "train.csv").write_text("text,code\n" + "".join(f"x,{c}\n" for c in TREE.codes))
    code, _, err = call(*given, "--model", "write", "--overwrite")
    assert code == 2 and "has 1 rows or more" in err
