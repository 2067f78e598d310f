"""Figures that flatter are said to: rows that were trained on, and texts of another kind than the validation rows."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.classifiers.derived import verify_derived, write_derived
from hjc.data.jobdata import JobData
from hjc.errors import ModelDirError
from hjc.evaluation import evaluate_model
from hjc.evaluation.drift_profile import write_profile
from hjc.evaluation.training_texts import TEXTS_FILE, TrainingTexts
from hjc.evaluation.watch import Watch
from hjc.statistics.drift import Profile
from hjc.taxonomy import from_edges

JOBS = {
    "2": "nurse doctor teacher lawyer architect",
    "5": "cook waiter cashier guard barber",
    "8": "driver welder miner",
}
PLACES = ["north", "south", "east", "west", "harbour", "village", "city", "ward", "night", "shift"]


def titles(start: int, n: int, head: str = "senior") -> list[tuple[str, str]]:
    """(title, code) of rows that are no others'."""
    jobs = [(job, f"{major}{i + 1}") for major, names in JOBS.items() for i, job in enumerate(names.split())]
    made = [(*jobs[k % len(jobs)], k) for k in range(start, start + n)]
    return [(f"{head} {job} {PLACES[k // 7 % 10]} {k}", code) for job, code, k in made]


def write(path: Path, rows: list[tuple[str, str]], body: str = "") -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("title", "body", "code"), *((title, body, code) for title, code in rows)])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("honest")


@pytest.fixture(scope="module")
def train(folder: Path):
    """Train a linear model of titles into a folder: (console output)."""
    from io import StringIO

    from rich.console import Console

    from hjc.training.config import compose
    from hjc.training.workflow import run_training

    write(folder / "train.csv", titles(0, 400))
    write(folder / "valid.csv", titles(1000, 250))
    codes = sorted({code for _, code in titles(0, 13)})
    lines = [f"{c},{'' if len(c) == 1 else c[0]},{c}" for c in sorted({*(c[0] for c in codes), *codes})]
    (folder / "tree.csv").write_text("\n".join(["code,parent,title", *lines]) + "\n")

    def run(name: str, *overrides: str) -> str:
        out = StringIO()
        config = compose(
            ["model=linear", "data=csv", f"data.train=[{folder / 'train.csv'}]", f"data.valid=[{folder / 'valid.csv'}]",
             "data.text_columns=[title]", "data.code_column=code", f"taxonomy.path={folder / 'tree.csv'}",
             "evaluation=quick", "evaluation.report=false", f"run_dir={folder / name}", *overrides]
        )  # fmt: skip
        run_training(config, Console(file=out, width=200))
        return out.getvalue()

    return run


@pytest.fixture(scope="module")
def run(folder: Path, train) -> Path:
    said = train("run")
    assert "were trained on" not in said  # validation rows are new, and nothing is said of them
    return folder / "run"


def evaluated(run: Path, rows: list[tuple[str, str]], **more):
    model = hjc.load(run)
    data = JobData.from_lists(model.taxonomy, [t for t, _ in rows], [c for _, c in rows])
    return evaluate_model(model, data, bootstrap=0, decisions=False, progress=False, **more)


# ---------------------------------------------------------------------- rows that were trained on


def test_rows_that_were_trained_on_are_counted_and_said(run: Path) -> None:
    mixed = [*((f"  {title.upper()} ", code) for title, code in titles(0, 100)), *titles(5000, 100)]
    found = evaluated(run, mixed)
    assert found.trained_on == 100
    assert any("100 of 200 rows (50%) were trained on: the figures flatter" in note for note in found.notes)
    valid = evaluated(run, titles(1000, 250))
    assert valid.trained_on == 0 and "250 of 250 rows (100%) are validation rows" in " ".join(valid.notes)
    new = evaluated(run, titles(5000, 400))
    assert new.trained_on == 0 and not any("warning" in note for note in new.notes)
    assert evaluated(run, titles(0, 100), in_sample=True).notes == ()


def test_training_says_of_which_test_rows_it_speaks(folder: Path, train) -> None:
    table = write(folder / "seen.csv", titles(0, 300))
    said = train("with_test", f"data.test=[{table}]")
    assert "\ntest: warning: 300 of 300 rows (100%) were trained on" in said


def test_hashes_are_salted_of_eight_bytes_and_hold_no_text(run: Path, folder: Path) -> None:
    known = TrainingTexts.load(run)
    assert known is not None and {k: len(v) for k, v in known.hashes.items()} == {"train": 400, "valid": 250}
    again = TrainingTexts.of([title for title, _ in titles(0, 400)])
    assert again.salt != known.salt and not set(again.hashes["train"]) & set(known.hashes["train"])
    trained, valid = known.seen(["Senior  NURSE north 0", titles(1000, 1)[0][0], "nobody", ""])
    assert trained.tolist() == [True, False, False, False] and valid.tolist() == [False, True, False, False]
    assert verify_derived(run)[TEXTS_FILE] and (run / TEXTS_FILE).stat().st_size < 8 * 650 + 2000


def test_without_hashes_nothing_is_counted_and_the_run_is_the_same(run: Path, folder: Path, train) -> None:
    weights = json.loads((run / "config.json").read_text())["files"]
    assert "is finished" in train("run", "data.keep_hashes=false")
    assert not (run / TEXTS_FILE).exists() and evaluated(run, titles(0, 100)).trained_on == 0
    assert "is finished" in train("run")  # and back again
    assert evaluated(run, titles(0, 100)).trained_on == 100
    assert json.loads((run / "config.json").read_text())["files"] == weights


def test_damaged_hashes_are_an_error(run: Path, tmp_path: Path) -> None:
    whole = (run / TEXTS_FILE).read_bytes()
    try:
        (run / TEXTS_FILE).write_bytes(whole[:-20])
        with pytest.raises(ModelDirError, match=r"training_texts\.npz: truncated or altered"):
            evaluated(run, titles(0, 50))
        for forged in ({"salt": np.zeros(16, np.uint8), "train": np.zeros(3)}, {"salt": np.zeros(2, np.uint8)}):
            write_derived(run, TEXTS_FILE, {"valid": np.zeros(1, np.uint64), **forged})
            with pytest.raises(ModelDirError, match="truncated or altered"):
                TrainingTexts.load(run)
    finally:
        (run / TEXTS_FILE).write_bytes(whole)


def test_evaluate_its_page_and_compare_say_it(run: Path, folder: Path, call) -> None:
    table = write(folder / "again.csv", titles(200, 300))
    for name in ("one", "other"):
        code, out, err = call("evaluate", run, table, "--bootstrap", 0, "-o", folder / name, "--no-examples")
        assert code == 0 and "warning: 200 of 300 rows (67%) were trained on" in out + err
        assert "200 of 300 rows (67%) were trained on" in (folder / name / "report.html").read_text("utf-8")
    code, out, err = call("compare", folder / "one", folder / "other", "--bootstrap", 20)
    assert code == 0 and "test, other: 200 of 300 rows (67%) were trained on" in err


# ---------------------------------------------------------------------- texts of another kind

BODY = " ".join(f"we offer a friendly team and our company grows since {year}" for year in range(1990, 2014))


@pytest.mark.parametrize("n", [30, 60, 400])
def test_predict_says_that_texts_are_of_another_kind_and_not_of_titles(run: Path, folder: Path, call, n: int) -> None:
    table, out = write(folder / "ads.csv", titles(7000, n), BODY), folder / "coded.csv"
    code, _, err = call("predict", run, table, "-t", "title", "-t", "body", "-o", out, "--overwrite", "--all-text")
    assert code == 0 and err.count("warning") == 1
    assert "warning: trained on texts of 4 words (median); these have 268. Codes of such texts are often wrong" in err
    assert "code by the title alone (-t title)" in err
    code, _, err = call("predict", run, table, "-t", "title", "-o", out, "--overwrite")
    assert code == 0 and "warning" not in err


def test_estimate_flags_other_texts_and_names_the_cures(run: Path, folder: Path, call) -> None:
    out, table = folder / "shares.csv", write(folder / "ads.csv", titles(7000, 300), BODY)
    code, _, err = call(
        "estimate", table, "--run", run, "-t", "title", "-t", "body", "--all-text", "-o", out, "--overwrite",
        "--figure", folder / "shares.html",
    )  # fmt: skip
    assert code == 0 and "warning: trained on texts of 4 words" in err and "validation rows: re-audit" in err
    for told in (err, (folder / "shares.html").read_text("utf-8")):
        assert "re-audit" in told and "--audit FILE" in told and "--method prior_shift" in told
    assert pd.read_csv(out, keep_default_na=False)["flag"].str.contains("other texts").all()
    code, _, err = call("estimate", table, "--run", run, "-t", "title", "-o", out, "--overwrite")
    assert code == 0 and "warning" not in err and "validation rows: proceed" in err and "not in doubt" in err
    assert not pd.read_csv(out, keep_default_na=False)["flag"].str.contains("other").any()
    audit = write(folder / "audit.csv", titles(7000, 300)[::4], BODY)  # it corrects for them
    more = ("--audit", audit, "-t", "title", "-t", "body", "-o", out, "--overwrite")
    code, _, err = call("estimate", table, "--run", run, *more)
    assert code == 0 and "warning" not in err
    assert not pd.read_csv(out, keep_default_na=False)["flag"].str.contains("other").any()


def test_evaluate_and_review_give_the_verdict(run: Path, folder: Path, call) -> None:
    table = write(folder / "ads.csv", titles(7000, 300), BODY)
    for command in (
        ("evaluate", run, table, "--bootstrap", 0),
        ("review", run, table, "-n", 20, "--answer-column", "clerk"),
    ):
        code, out, err = call(*command, "-t", "title", "-t", "body", "--all-text")
        assert code == 0 and "trained on texts of 4 words" in out + err and "validation rows: re-audit" in out + err
        code, out, err = call(*command, "-t", "title")
        assert code == 0 and "warning" not in out + err and "validation rows: proceed" in out + err


def words_without_rate(printed: str) -> list[str]:
    return re.sub(r"[\d,]+\s+rows/s", "", printed).split()


@pytest.mark.parametrize("order", [("title", "body"), ("body", "title")])
def test_more_columns_than_a_model_knows_are_coded_by_the_one_that_it_knows(
    run: Path, folder: Path, call, order: tuple[str, str]
) -> None:
    rows = titles(7000, 60)
    table, out = write(folder / "wide.csv", rows, BODY), folder / "wide_coded.csv"
    asked = [x for name in order for x in ("-t", name)]
    code, _, err = call("predict", run, table, *asked, "-o", out, "--overwrite")
    assert code == 0 and "warning" not in err and "coded by the column 'title' alone: the model was trained on" in err
    wide = pd.read_csv(out, dtype=str)
    assert call("predict", run, table, "-t", "title", "-o", out, "--overwrite")[0] == 0
    pd.testing.assert_frame_equal(wide, pd.read_csv(out, dtype=str))
    for command in (("evaluate", run, table, "--bootstrap", 0), ("review", run, table, "-n", 20, "--blind",
                    "--answer-column", "clerk"), ("estimate", table, "--run", run)):  # fmt: skip
        code, stdout, err = call(*command, *asked)
        assert code == 0 and "coded by the column 'title' alone" in err
        plain = call(*command, "-t", "title")[1]
        assert words_without_rate(plain) == words_without_rate(stdout)


def test_a_row_without_a_title_is_coded_by_the_rest_and_counted(run: Path, folder: Path, call) -> None:
    rows = [("", "21"), *titles(7000, 40)]
    table, out = write(folder / "gap.csv", rows, BODY), folder / "gap_coded.csv"
    code, _, err = call("predict", run, table, "-t", "title", "-t", "body", "-o", out, "--overwrite")
    assert code == 0 and "'title' alone (where it is empty, in 1, by the rest)" in err
    assert pd.read_csv(out, dtype=str)["hjc_status"].eq("ok").all()
    code, out_, _ = call("evaluate", run, table, "-t", "title", "-t", "body", "--bootstrap", 0)
    assert code == 0 and "41 rows" in out_


def test_columns_that_together_are_short_are_all_used(run: Path, folder: Path, call) -> None:
    table = write(folder / "short.csv", titles(7000, 40), "harbour")
    code, _, err = call("predict", run, table, "-t", "title", "-t", "body", "-o", folder / "s.csv", "--overwrite")
    assert code == 0 and "alone" not in err
    long = write(folder / "long.csv", [(BODY, "21")] * 40, BODY)  # neither column is of the kind that it knows
    code, _, err = call("predict", run, long, "-t", "title", "-t", "body", "-o", folder / "s.csv", "--overwrite")
    assert code == 0 and "coded by" not in err and "warning: trained on texts of 4 words" in err


def test_languages_that_the_validation_rows_did_not_have(run: Path) -> None:
    model = hjc.load(run)
    model.directory = run
    watch = Watch(model, scores=False)
    assert watch.kind() == ""  # the rows of this model's validation have no language
    reference = watch.profile.__class__(model.taxonomy)
    reference.update(None, texts=["a senior nurse"] * 200, languages=["en"] * 150 + ["pl"] * 50)
    write_profile(run, reference, "training")
    watch = Watch(model, scores=False)
    watch.see(np.arange(40), ["eine gute Krankenschwester"] * 40, ["de"] * 30 + ["en"] * 10)
    assert "75% of the rows are in languages that the validation rows did not have ('de')" in watch.kind()
    watch = Watch(model, scores=False)
    watch.see(np.arange(40), ["senior nurse north"] * 40, ["en"] * 30 + [""] * 10)
    assert watch.kind() == ""


def test_a_language_that_the_model_has_not_learnt_is_known_by_its_words(run: Path) -> None:
    model = hjc.load(run)
    model.directory = run
    reference = Watch(model, scores=False).profile.__class__(model.taxonomy, oov=model.oov_share)
    reference.update(None, texts=["senior nurse"] * 95 + ["Krankenschwester"] * 5)
    write_profile(run, reference, "validation")
    for foreign, said in ((40, True), (10, False)):
        watched = Watch(model, scores=False)
        texts = ["erfahrene Krankenschwester"] * foreign + ["senior nurse"] * (50 - foreign)
        watched.see(np.arange(50), texts, None)
        known = "of 80% of the rows the model knows hardly a word (of its validation rows 5%)" in watched.kind()
        assert known == said and bool(watched.kind()) == said


def test_rows_that_come_in_turns_are_sampled_evenly(run: Path) -> None:
    """Every fifth row of a large batch may be of one language."""
    model = hjc.load(run)
    reference, languages = Profile(model.taxonomy), ["en", "pl", "de", "fr", "it"] * 600
    texts = [f"senior nurse {i}" for i in range(3000)]
    reference.update(None, texts=texts, languages=languages)
    profile = (run / "drift_profile.json").read_bytes()
    try:
        write_profile(run, reference, "validation")
        watch = Watch(model, scores=False)
        watch.see(np.arange(3000), texts, languages)
        assert watch.profile.rows == 500 and min(watch.profile.languages.values()) > 60
    finally:
        (run / "drift_profile.json").write_bytes(profile)


def test_sizes_without_words_are_of_characters() -> None:
    """Profiles of an older hjc have no words, and some languages no blanks."""
    tree = from_edges(["1"], [""])
    short, long = Profile(tree), Profile(tree)
    short.update(None, texts=["a" * 20] * 50)
    long.update(None, texts=["a" * 900] * 50)
    assert 16 <= short.median_characters <= 32 and 512 <= long.median_characters <= 1024
    assert short.median_words == 1 and np.isnan(Profile(tree).median_characters)
    state = {k: v for k, v in short.to_dict().items() if k != "sizes"}
    back = Profile.from_dict(tree, state)
    assert np.isnan(back.median_words) and back.median_characters == short.median_characters
    assert Profile.from_dict(tree, json.loads(json.dumps(short.to_dict()))).median_words == 1


def test_shares_that_hardly_a_validation_row_stands_behind_are_flagged(folder: Path, train, call) -> None:
    few = write(folder / "few.csv", titles(2000, 7))
    ads, out = write(folder / "many.csv", titles(3000, 260)), folder / "shares_few.csv"
    train("few", f"data.valid=[{few}]")
    code, _, err = call("estimate", ads, "--run", folder / "few", "-t", "title", "-o", out, "--level", "1")
    assert code == 0 and "only 7 validation rows stand behind this model" in err and "--strategy random" in err
    assert all("few validation rows" in flag for flag in pd.read_csv(out)["flag"])
    assert "3 of 3 estimates at level 1 are flagged:" in err and "few validation rows 3" in err
    train("many")
    code, _, err = call(
        "estimate", ads, "--run", folder / "many", "-t", "title", "-o", out, "--level", "1", "--overwrite"
    )
    assert code == 0 and "validation rows stand" not in err
    assert not pd.read_csv(out, keep_default_na=False)["flag"].str.contains("few validation rows").any()
