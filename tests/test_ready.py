"""From the files of an office to a model of titles and ads in one command, and on from there with coded ads."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import hjc
from hjc.corpus.from_taxonomy import TaxonomyTexts
from hjc.data import DataSettings, JobData
from hjc.data.reading import read_file
from hjc.evaluation.watch import unproven
from hjc.taxonomy import from_edges, isco08, write_taxonomy_csv
from hjc.training.before_after import before_and_after
from hjc.training.ready import COLUMNS, ReadySettings, held_out, learn, on_tree, training_table
from hjc.training.ready_card import ready_card
from hjc.training.ready_tables import coded_source, dealt, text_columns_of, what_to_give
from hjc.training.settings import Config
from hjc.training.workflow import RunResult

WORK = {
    "2221": ("registered nurse", "Nurses care for patients on wards. They give medicine and dress wounds."),
    "5120": ("cook", "Cooks prepare meals in kitchens. They boil, fry and season food for guests."),
    "7212": ("welder", "Welders join metal parts with an arc. They grind seams and read drawings."),
    "8332": ("truck driver", "Truck drivers move goods by road. They load pallets and keep a logbook."),
}
WORDS = [f"type {letter} of" for letter in "ABCDEFGHIJKL"]


@pytest.fixture(scope="module")
def esco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle in the layout of the Commission's csv files; two occupations under each group."""
    folder = tmp_path_factory.mktemp("esco")
    rows = []
    for group, (name, text) in WORK.items():
        for i in (1, 2):
            label = name if i == 1 else f"leading {name}"
            alternatives = "\n".join(f"{word} {label}" for word in WORDS)
            uri = f"http://data.europa.eu/esco/occupation/{group}-{i}"
            rows.append(("Occupation", uri, group, label, alternatives, "released", text, f"{group}.{i}"))
    columns = ["conceptType", "conceptUri", "iscoGroup", "preferredLabel", "altLabels", "status", "description", "code"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "occupations_en.csv", index=False)
    return folder


def ads(path: Path, n: int, *, coded: bool = True, start: int = 0) -> Path:
    codes = [list(WORK)[i % 4] for i in range(n)]
    frame = pd.DataFrame(
        {"title": [f"{WORK[c][0].title()} (m/f/d) {start + i}" for i, c in enumerate(codes)],
         "description": [f"Duties: {WORK[c][1]} Number {start + i}." for i, c in enumerate(codes)], "code": codes}
    )  # fmt: skip
    (frame if coded else frame.drop(columns="code")).to_csv(path, index=False)
    return path


def recall(table: pd.DataFrame, name: str) -> float:
    rows = table[(table["set"] == name) & (table["level"] == "4") & (table["metric"] == "recall@1")]
    return float(rows["value"].iloc[0])


@pytest.fixture(scope="module")
def test_ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ads(tmp_path_factory.mktemp("tests") / "test_ads.csv", 40)


@pytest.fixture(scope="module")
def model(esco: Path, test_ads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hjc.training.ready import make_ready

    folder = tmp_path_factory.mktemp("ready")
    settings = ReadySettings(tests=(str(test_ads),), valid=0.2)
    make_ready("isco08", [str(esco)], folder / "model", settings)
    return folder / "model"


def test_a_ready_model_codes_titles_and_ads_and_says_where_it_is_from(model: Path) -> None:
    made = hjc.load(model)
    assert made.taxonomy == isco08() and made.recipe.columns == ("title", "body")
    found = made.predict(["Welder - Berlin", "Truck driver\nDuties: move goods by road."], level=4)
    assert found["code"].tolist() == ["7212", "8332"]
    card = (model / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "This service uses the ESCO classification" in card
    assert "No coded ad was trained on" in card and "Ready model for isco08" in card
    assert "texts about jobs to **isco08**" in card
    figures = pd.read_csv(model / "metrics.csv")
    assert {"valid", "test/test_ads"} == set(figures["set"])
    ads_right = figures[
        (figures["set"] == "test/test_ads") & (figures["level"] == "4") & (figures["metric"] == "recall@1")
    ]
    assert ads_right["value"].tolist() == [1.0]


def test_ads_are_read_whole_whatever_their_columns_are_called(model: Path, tmp_path: Path, call) -> None:
    table, out = ads(tmp_path / "ads.csv", 40), tmp_path / "coded.csv"
    code, _, err = call("predict", model, table, "-o", out, "-t", "title", "-t", "description")
    assert code == 0 and "coded by the column" not in err
    assert "warning: validated on texts of" in err and "he model reads both, but its calibration" in err
    coded = pd.read_csv(out, dtype=str)
    assert coded["hjc_outcome"].eq("ad").all() and coded["hjc_level4_code_1"].eq(coded["code"]).all()


def test_rows_that_validate_are_names_that_do_not_train(model: Path) -> None:
    texts, valid = (
        pd.read_csv(model / "ready" / f"{name}.csv.gz", dtype=str).fillna("") for name in ("texts", "valid")
    )
    assert len(valid) > 5 and valid["body"].eq("").all() and not set(valid["title"]) & set(texts["title"])
    assert texts["body"].ne("").any() and set(texts["code"]) >= set(WORK)


def test_learning_goes_on_and_forgets_nothing(model: Path, tmp_path: Path, call) -> None:
    coded, uncoded = ads(tmp_path / "coded.csv", 60), ads(tmp_path / "uncoded.csv", 80, coded=False, start=500)
    code, out, err = call("learn", model, coded, "-o", tmp_path / "new", "--uncoded", uncoded)
    assert code == 0 and "learnt" in err
    assert "only 12 valid" not in out  # the others calibrate too
    record = yaml.safe_load((tmp_path / "new" / "train.yaml").read_text())
    assert record["training"]["unlabelled"] == 80 and record["data"]["valid"]["rows"] == 12
    assert record["training"]["cross_fitted"] == record["calibration"]["cross_fitted"] == 48
    assert record["calibration"]["rows"] == 60
    old, new = (pd.read_csv(folder / "metrics.csv") for folder in (model, tmp_path / "new"))
    assert recall(new, "test/titles") >= recall(old, "valid") - 0.05  # the same names
    more = ads(tmp_path / "more.csv", 40, start=900)
    assert call("learn", tmp_path / "new", more, "-o", tmp_path / "newer")[0] == 0
    record = yaml.safe_load((tmp_path / "newer" / "train.yaml").read_text())
    assert record["data"]["valid"]["rows"] == 20  # of both coded tables
    assert record["taxonomy"]["name"] == "isco08"


def scored(folder: Path) -> tuple[float, float, float]:
    """Share of right codes, log-loss and ECE of the test ads at the deepest level."""
    table = pd.read_csv(folder / "metrics.csv")
    rows = table[(table["set"] == "test/test_ads") & (table["level"] == "4") & (table["slice_kind"].isna())]
    found = rows.drop_duplicates("metric").set_index("metric")["value"]
    return found["recall@1"], found["log_loss"], found["ece"]


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 5, 20])
def test_a_few_coded_ads_make_no_worse_model_and_are_warned_of(
    n: int, model: Path, test_ads: Path, tmp_path: Path, call
) -> None:
    coded = ads(tmp_path / "coded.csv", n, start=700)
    code, out, _ = call("learn", model, coded, "-o", tmp_path / "new", "--test", test_ads)
    assert code == 0
    assert f"warning: only {n} coded ad{'s' if n > 1 else ''}: all train and none is held back" in out
    assert "code about 100" in out and "names that validated the first model: before, " in out
    before, after = scored(model), scored(tmp_path / "new")
    assert after[0] >= before[0] and after[1] <= before[1] + 0.01 and after[2] <= before[2] + 0.02
    # the names validate and calibrate, as they did before
    rows = [
        pd.read_csv(folder / "metrics.csv").query("set == 'valid'")["n"].max() for folder in (model, tmp_path / "new")
    ]
    assert rows[0] == rows[1] > 5
    assert (tmp_path / "new" / "calibration.json").exists() == (model / "calibration.json").exists()


@pytest.mark.slow
def test_what_coding_has_bought_is_said_and_a_worse_model_is_warned_of(model: Path, tmp_path: Path, call) -> None:
    coded = ads(tmp_path / "coded.csv", 60, start=700)
    code, out, _ = call("learn", model, coded, "-o", tmp_path / "new")
    assert code == 0 and "12 coded ads that were held back: before, " in out and "the new model is worse" not in out
    assert "names that validated the first model: before, " in out and "fewer names are right" not in out
    titles = [f"{job} {number}" for number in range(10) for job in ("Welder", "Cook")]
    new, held = hjc.load(model), JobData.from_lists(isco08(), titles, ["7212", "5120"] * 10)
    assert before_and_after(model, new, held, None)[0].startswith(
        "20 coded ads that were held back: before, 100.0% right"
    )
    assert not before_and_after(model, new, held.take(np.arange(9)), None)
    alike = hjc.load(model)  # hardly another model, and surely so: each row loses a little
    alike.title_weights = 0.9995 * alike.title_weights
    assert len(before_and_after(model, alike, held, held)) == 2
    forgetful = hjc.load(model)
    forgetful.title_weights = np.full_like(forgetful.title_weights, 1e-6)
    lines = before_and_after(model, forgetful, held, held)
    assert "20 names that validated the first model: before, 100.0% right" in lines[2]
    assert f"warning: on these ads the new model is worse: look at their codes, and stay with {model}" in lines


def test_columns_are_found_in_any_case(model: Path, tmp_path: Path, call) -> None:
    table = pd.read_csv(ads(tmp_path / "plain.csv", 5), dtype=str)
    zeros = pd.concat([table, table[:1].assign(title="Officer", code="110")])
    zeros.rename(columns={"title": "Title", "description": "DESCRIPTION", "code": "CODE"}).to_csv(
        tmp_path / "coded.csv", index=False
    )
    code, out, _ = call("learn", model, tmp_path / "coded.csv", "-o", tmp_path / "new")
    assert code == 0 and "5 coded rows; titles in 'Title', bodies in 'DESCRIPTION', codes in 'CODE'" in out
    rejected = pd.read_csv(tmp_path / "new" / "rejects.csv", dtype=str)["reason"]
    assert len(rejected) == 1 and rejected[0].endswith("read codes as text, or give --restore-zeros")
    both = table.assign(Title=table["title"], TITLE=table["title"]).drop(columns="title")
    both.to_csv(tmp_path / "both.csv", index=False)
    code, _, err = call("learn", model, tmp_path / "both.csv", "-o", tmp_path / "newer")
    assert code == 2 and "'Title', 'TITLE' may all be the column 'title': rename all but one" in err
    table.rename(columns={"title": "TITEL"}).to_csv(tmp_path / "none.csv", index=False)
    code, _, err = call("learn", model, tmp_path / "none.csv", "-o", tmp_path / "newer")
    assert code == 2 and "only 'TITEL', 'description', 'code': name it (-t) or" in err
    assert not (tmp_path / "newer").exists()
    for option in ("--test", "--uncoded"):  # whose columns no option names
        code, _, err = call(
            "learn", model, tmp_path / "plain.csv", "-o", tmp_path / "newer", option, tmp_path / "none.csv"
        )
        assert code == 2 and "only 'TITEL', 'description', 'code': rename one" in err
    table.assign(code="").to_csv(tmp_path / "uncoded.csv", index=False)
    code, _, err = call("learn", model, tmp_path / "uncoded.csv", "-o", tmp_path / "newer")
    assert code == 2 and "no code (5)" in err and not (tmp_path / "newer").exists()


def test_of_drawn_ads_an_even_fifth_is_held_back_and_picked_ones_are_warned_of(tmp_path: Path) -> None:
    table = pd.read_csv(ads(tmp_path / "coded.csv", 60), dtype=str)
    table.assign(hjc_inclusion_probability=0.5).to_csv(tmp_path / "drawn.csv", index=False)
    table.assign(hjc_inclusion_probability="").to_csv(tmp_path / "picked.csv", index=False)
    drawn, picked, plain = (
        coded_source(str(tmp_path / f"{name}.csv"), "split") for name in ("drawn", "picked", "coded")
    )
    said: list[str] = []
    deal = dealt([drawn, picked, plain], isco08(), said.append)
    names = ["hjc_inclusion_probability", "hjc_inclusion_probability", ""]
    assert not deal.few and [s.inclusion_column for s in deal.sources] == names and "warning" not in " ".join(said)
    deal = dealt([picked, plain], isco08(), said.append)
    assert not deal.few and not deal.even and [source.inclusion_column for source in deal.sources] == ["", ""]
    assert said[-1].startswith("warning: the coded ads were picked to learn from") and "--strategy random" in said[-1]


def test_only_ads_that_were_drawn_evenly_calibrate_all(tmp_path: Path) -> None:
    table = pd.read_csv(ads(tmp_path / "coded.csv", 60), dtype=str)
    for cells, even in (("0,25", True), (["0,25", "0.5"] * 30, False)):  # a decimal comma is a point
        table.assign(hjc_inclusion_probability=cells).to_csv(tmp_path / "drawn.csv", index=False)
        said: list[str] = []
        deal = dealt([coded_source(str(tmp_path / "drawn.csv"), "split")], isco08(), said.append)
        assert deal.even == even and deal.sources[0].inclusion_column and "warning" not in " ".join(said)
        settings = DataSettings(sources=deal.sources)
        found = read_file(settings.all_sources()[0], settings, isco08())
        assert found.inclusion.tolist() == [0.25, 0.25 if even else 0.5] * 30 and not len(found.rejects)


def test_rows_are_counted_after_their_codes_are_checked(model: Path, tmp_path: Path, call) -> None:
    table = pd.read_csv(ads(tmp_path / "coded.csv", 60), dtype=str)
    table.assign(code="Z99").to_csv(tmp_path / "other.csv", index=False)
    code, _, err = call("learn", model, tmp_path / "other.csv", "-o", tmp_path / "new")
    assert code == 2 and "no row has a code of the taxonomy" in err and not (tmp_path / "new").exists()
    table.loc[:24, "code"] = "Z99"
    table.to_csv(tmp_path / "some.csv", index=False)
    said: list[str] = []
    deal = dealt([coded_source(str(tmp_path / "some.csv"), "split")], isco08(), said.append)
    assert "35 coded rows" in said[0] and deal.few.startswith("only 35 coded ads") and deal.sources[0].role == "train"


@pytest.mark.parametrize("cell", ["0", "-0.5", "1.5", "nan", "many"])
def test_what_is_no_probability_holds_nothing_back(cell: str, tmp_path: Path) -> None:
    table = pd.read_csv(ads(tmp_path / "coded.csv", 60), dtype=str).assign(hjc_inclusion_probability=cell)
    table.to_csv(tmp_path / "none.csv", index=False)
    said: list[str] = []
    deal = dealt([coded_source(str(tmp_path / "none.csv"), "split")], isco08(), said.append)
    assert not deal.few and deal.sources[0].inclusion_column == "" and "picked to learn from" in said[-1]
    assert ("are no numbers from 0 to 1" in " ".join(said)) == (cell not in ("0", "nan"))  # nan is an empty cell
    table.loc[:2, "hjc_inclusion_probability"] = "0.1"
    table.to_csv(tmp_path / "three.csv", index=False)
    deal = dealt([coded_source(str(tmp_path / "three.csv"), "split")], isco08(), said.append)
    assert deal.sources[0].role == "train" and deal.few.startswith(
        "of 60 coded ads only 3 have an inclusion probability above 0"
    )


@pytest.mark.slow
def test_what_review_draws_is_learnt_from(model: Path, tmp_path: Path, call) -> None:
    table, drawn = ads(tmp_path / "ads.csv", 100, start=300), tmp_path / "to_code.csv"
    columns = ("-t", "title", "-t", "description", "--answer-column", "answer")
    code, _, err = call("review", model, table, *columns, "-n", 50, "--strategy", "proportional", "-o", drawn)
    assert code == 0, err
    coded = pd.read_csv(drawn, dtype=str)
    assert coded["hjc_inclusion_probability"].astype(float).between(0, 1).all()
    coded["answer"], coded["code"] = coded["code"], "9999"
    coded.to_csv(drawn, index=False)
    code, out, err = call("learn", model, drawn, "-o", tmp_path / "new", "-c", "answer")
    assert code == 0 and "50 coded rows; titles in 'title', bodies in 'description', codes in 'answer'" in out
    record = yaml.safe_load((tmp_path / "new" / "train.yaml").read_text())
    used = [source["inclusion_column"] for source in record["config"]["data"]["sources"]]
    assert used.count("hjc_inclusion_probability") == 1 and record["data"]["valid"]["rows"] == 10


def test_what_cannot_be_learnt_from(model: Path, tmp_path: Path, call) -> None:
    coded = ads(tmp_path / "coded.csv", 8)
    assert "is the model itself" in call("learn", model, coded, "-o", model)[2]
    assert "hjc learn goes on from models of hjc ready" in call("learn", tmp_path, coded, "-o", tmp_path / "x")[2]
    pd.DataFrame({"headline": ["x"]}).to_csv(tmp_path / "bad.csv", index=False)
    code, _, err = call("learn", model, tmp_path / "bad.csv", "-o", tmp_path / "x")
    assert code == 2 and "none of the columns 'title', 'text', 'label', 'name' is there" in err
    for option in ("--uncoded", "--test"):
        code, _, err = call("learn", model, coded, "-o", tmp_path / "x", option, tmp_path / "gone.csv")
        assert code == 2 and "gone.csv" in err and not (tmp_path / "x").exists()
        code, _, err = call("ready", "isco08", "-o", tmp_path / "x", option, tmp_path / "gone.csv")
        assert code == 2 and "gone.csv" in err and not (tmp_path / "x").exists()
    code, _, err = call("ready", "isco08", "-o", tmp_path / "x", "--part", tmp_path / "gone")
    assert code == 2 and "no model directory at" in err and not (tmp_path / "x").exists()
    (there := tmp_path / "there.csv").write_text("here already\n")
    for command in (("learn", model, coded), ("ready", "isco08")):
        code, _, err = call(*command, "-o", there)
        assert code == 2 and f"{there} is a file; -o takes a folder" in err
    code, _, err = call("learn", model, coded, "-o", coded)
    assert code == 2 and f"{coded} is an input of this command" in err and coded.read_text()
    coded.write_text("title,description,code\n")
    code, _, err = call("learn", model, coded, "-o", tmp_path / "x")
    assert code == 2 and "there are no rows to learn from" in err
    assert not (tmp_path / "x").exists()


def test_a_part_of_another_tree_is_known_before_anything_is_made(tmp_path: Path, call) -> None:
    tree = from_edges(["X", "Y", "X1", "X2", "Y1"], [None, None, "X", "X", "Y"])
    texts, codes = ["alpha one", "beta two", "gamma three"] * 4, ["X1", "X2", "Y1"] * 4
    hjc.LinearClassifier(tree, min_df=1).fit(texts, codes=codes).save_pretrained(tmp_path / "other")
    code, _, err = call("ready", "isco08", "-o", tmp_path / "x", "--part", tmp_path / "other")
    assert code == 2 and f"--part {tmp_path / 'other'}: only 0 of 3 codes" in err and "a coarser one" in err
    assert not (tmp_path / "x").exists()


def test_codes_that_lost_their_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model" / "ready").mkdir(parents=True)
    write_taxonomy_csv(isco08(), tmp_path / "model" / "ready" / "tree.csv")
    for name in ("texts.csv.gz", "valid.csv.gz"):
        pd.DataFrame({name: ["2221"] for name in COLUMNS}).to_csv(tmp_path / "model" / "ready" / name, index=False)
    given: list[Config] = []

    def trained(config: Config, console: object, given_tree: object) -> RunResult:
        given.append(config)
        return RunResult(Path(config.run_dir), "finished", None, {})

    monkeypatch.setattr("hjc.training.ready.run_training", trained)
    coded = ads(tmp_path / "coded.csv", 8)
    learn(tmp_path / "model", [str(coded)], tmp_path / "plain")
    learn(tmp_path / "model", [str(coded)], tmp_path / "new", restore_zeros=True)
    (tmp_path / "new" / "train.yaml").write_text(yaml.safe_dump({"config": {"data": {"restore_zeros": True}}}))
    learn(tmp_path / "new", [str(coded)], tmp_path / "newer")
    assert [config.data.restore_zeros for config in given] == [False, True, True]


def test_commands_without_files_and_unknown_kinds(tmp_path: Path, call) -> None:
    assert "which files? hjc ready onet FOLDER" in call("ready", "onet", "-o", tmp_path / "m")[2]
    assert "kind: got 'isco8', allowed are isco08, " in call("ready", "isco8", "-o", tmp_path / "m")[2]
    assert "kind: got 'isco99', allowed are isco08, " in call("ready", "isco99", tmp_path, "-o", tmp_path / "m")[2]


def test_a_text_of_two_groups_goes_and_of_two_occupations_of_one_group_stays() -> None:
    deep = from_edges(["1", "2", "11", "12", "21", "111"], ["", "", "1", "1", "2", "11"])
    tree = from_edges(["1", "2"], ["", ""])
    texts = pd.DataFrame(
        [("a", "11", "en", "title"), ("a", "12", "en", "alternative"), ("b", "111", "en", "title"),
         ("c", "11", "en", "title"), ("C", "21", "en", "title"), ("c", "21", "pl", "title"),
         ("work", "11", "en", "task"), ("work", "21", "en", "task")],
        columns=["text", "code", "language", "source"],
    )  # fmt: skip
    found = on_tree(texts, deep, tree)
    assert sorted(zip(found["text"], found["code"], found["language"], strict=True)) == [
        ("a", "1", "en"), ("a", "1", "en"), ("b", "1", "en"), ("c", "2", "pl"), ("work", "1", "en"),
        ("work", "2", "en"),
    ]  # fmt: skip


def test_the_table_caps_names_and_puts_work_under_a_name() -> None:
    rows = [(f"name {i}", "1", "en", "alternative") for i in range(9)] + [("head", "1", "en", "title")]
    rows += [
        ("first task", "1", "en", "task"),
        ("second task", "1", "en", "task"),
        ("no name", "2", "en", "description"),
    ]
    texts = pd.DataFrame(rows, columns=["text", "code", "language", "source"])
    found = training_table(texts, ReadySettings(most=4))
    assert (found["body"] == "").sum() == 4 and "head" in set(found["title"])
    work = found[found["body"] != ""]
    assert work[["title", "body"]].to_numpy().tolist() == [["head", "first task. second task"]]
    pd.testing.assert_frame_equal(found, training_table(texts, ReadySettings(most=4)))
    assert not held_out(found, ReadySettings(valid=0.0)).any()
    assert TaxonomyTexts().shared == "drop"


def test_the_card_names_the_files_of_ads_without_codes(model: Path, tmp_path: Path) -> None:
    made = tmp_path / "model"
    shutil.copytree(model, made)
    ready_card(made, "isco08", "esco", titles=[], uncoded=["ads/pool.csv"])
    assert "No coded ad was trained on; ads without codes were (pool.csv)." in (made / "README.md").read_text()


@pytest.mark.parametrize("bad", [{"most": -1}, {"composed": -1}, {"valid": 1.0}])
def test_settings_out_of_range(bad) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        ReadySettings(**bad)


@pytest.mark.slow
def test_without_files_the_titles_that_come_with_hjc_make_a_model_and_coded_ads_have_any_columns(
    tmp_path: Path, call
) -> None:
    code, _, err = call("ready", "isco08", "-o", tmp_path / "model", "--languages", "en")
    assert code == 0 and "hjc learn" in err
    figures = pd.read_csv(tmp_path / "model" / "metrics.csv")
    assert {"valid", "test/sample_titles", "test/sample_ads"} == set(figures["set"])
    assert recall(figures, "test/sample_ads") > 0.4
    card = (tmp_path / "model" / "README.md").read_text()
    assert "written for hjc" in card and "license: mit" in card and "figures on real ads are lower" in card
    kept = pd.read_csv(tmp_path / "model" / "ready" / "texts.csv.gz", dtype=str).fillna("")
    tested = pd.read_csv(tmp_path / "model" / "ready" / "sample_titles.csv.gz", dtype=str)
    assert set(kept["language"]) == {"en"} and not set(kept["title"]) & set(tested["title"])
    table = pd.read_csv(ads(tmp_path / "plain.csv", 40), dtype=str)
    renamed = {"title": "Stanowisko", "description": "Opis", "code": "Kod ISCO"}
    table.rename(columns=renamed).to_csv(tmp_path / "coded.csv", index=False, sep=";", encoding="utf-8-sig")
    wanted = ("learn", tmp_path / "model", tmp_path / "coded.csv", "-o")
    code, _, err = call(*wanted, tmp_path / "no")
    assert code == 2 and "Stanowisko" in err and "name it (-t) or rename one" in err
    code, _, err = call(*wanted, tmp_path / "new", "-t", "Stanowisko", "-t", "Opis", "-c", "Kod ISCO")
    assert code == 0 and "learnt" in err
    record = yaml.safe_load((tmp_path / "new" / "train.yaml").read_text())
    assert record["data"]["valid"]["rows"] == 8


def test_only_isco_has_titles_of_its_own(tmp_path: Path, call) -> None:
    code, _, err = call("ready", "kzis", "-o", tmp_path / "model")
    assert code == 2 and "hjc ready kzis FOLDER" in err
    code, _, err = call("ready", "isco08", "-o", tmp_path / "model", "--languages", "xx")
    assert code == 2 and "no titles in xx" in err


def test_hardly_any_ads_held_back_are_counted() -> None:
    assert unproven(0).startswith("no validation row stands behind this model")
    assert unproven(1).startswith("only 1 validation row stands behind") and unproven(29).startswith("only 29 ")
    assert unproven(30) == ""


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ("code,title,text", ["title", "text"]),
        ("code,text", ["text"]),
        ("text,title,body,code", ["title", "body"]),
        ("Title,Text,code", ["Title", "Text"]),
    ],
)
def test_a_text_beside_a_title_is_the_body(tmp_path: Path, columns: str, found: list[str]) -> None:
    (tmp_path / "ads.csv").write_text(columns + "\n" + ",".join("abcd"[: columns.count(",") + 1]) + "\n")
    assert text_columns_of([str(tmp_path / "ads.csv")]) == found
    assert coded_source(str(tmp_path / "ads.csv")).text_columns == found


def test_where_no_ad_could_be_held_back_the_reason_is_said() -> None:
    assert what_to_give(3, 150) == "Give more of them, about 150"
    assert "Texts that the model was made from only train" in what_to_give(0, 150)
