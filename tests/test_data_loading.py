"""From settings to splits: mapping, rejects, filters, given and computed splits, the summary."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from hjc.data import DataSettings, SourceSettings, load_job_data, read_job_data, summarise
from hjc.data.splitting import text_key
from hjc.errors import TaxonomyError
from hjc.taxonomy import from_prefix_codes, isco08, load_taxonomy

TREE = from_prefix_codes(["0110", "0210", "1111", "1112", "2111", "2112"], [1, 2, 3, 4])
CODES = TREE.leaf_codes


def write(path, frame, **options):
    pd.DataFrame(frame).to_csv(path, index=False, **options)
    return str(path)


def many(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "id": [f"a{i}" for i in range(n)],
        "text": [f"{rng.choice(['cook', 'Driver', 'clerk'])} {i % (n // 2)}" for i in range(n)],
        "code": rng.choice(CODES, n).tolist(),
        "lang": rng.choice(["pl", "EN", "de"], n).tolist(),
        "portal": rng.choice(["x", "y"], n).tolist(),
    }


MESSY = """id;title;body;code;lang;w
1;Cook;makes soup;0110;pl;1
2;NaN;;0110;pl;1
3;"Driver
of lorries";nan;0210;pl;2
4;Clerk;;;pl;1
5;Clerk;;nan;pl;1
6;Clerk;;9999;pl;1
7;Clerk;;110;pl;1
8;Boss;;11;PL;1
9;Clerk;;1111;de;1
10;Clerk;;1111;pl;heavy
11;Clerk;;1111;pl;1;x;y
3;Last;x;2112;pl;0.5
"""


def messy(tmp_path, **options):
    (tmp_path / "m.csv").write_text(MESSY, encoding="utf-8")
    columns = {"text_columns": ["title", "body"], "id_column": "id", "language_column": "lang", "weight_column": "w"}
    return DataSettings(train=[str(tmp_path / "m.csv")], text_joiner=" / ", valid_fraction=0, **columns, **options)


def test_every_row_is_used_filtered_or_rejected_with_its_line(tmp_path):
    splits = load_job_data(messy(tmp_path, languages=["pl"]), TREE, rejects_path=tmp_path / "rejects.csv")
    train = splits.train
    assert train.texts == ("Cook / makes soup", "Driver\nof lorries", "Boss", "Last / x")
    assert train.codes == ("0110", "0210", "11", "2112") and train.id == ("1", "3", "8", "3")
    assert train.weight.tolist() == [1, 2, 1, 0.5] and train.language == ("pl",) * 4
    assert train.row.tolist() == [0, 2, 7, 10]
    rejects = splits.rejects
    assert rejects["row"].tolist() == [3, 6, 7, 8, 9, 12, 13]
    assert rejects["id"].tolist() == ["2", "4", "5", "6", "7", "10", ""]
    reasons = rejects["reason"].tolist()
    assert reasons[:3] == ["no text", "no code", "no code"]
    assert reasons[3].startswith("unknown code") and "0110" in reasons[4]
    assert reasons[5] == "weight is not a number from 0" and reasons[6] == "8 cells instead of 6"
    assert splits.counts["filtered"] == 1 and splits.counts["rejected"] == 7 and splits.counts["duplicate_ids"] == 2
    assert splits.counts["read"] == 12 == len(train) + 1 + 7
    assert any("'3'" in note and "more than once" in note for note in splits.notes)
    written = pd.read_csv(tmp_path / "rejects.csv", dtype=str)
    assert written.columns.tolist() == ["file", "row", "id", "reason", "value"] and len(written) == 7


def test_zeros_are_restored_only_on_request(tmp_path):
    splits = load_job_data(messy(tmp_path, restore_zeros=True), TREE)
    assert splits.train.codes[splits.train.id.index("7")] == "0110"
    assert splits.counts["codes_repaired"] == 1
    assert any("110 -> 0110" in note for note in splits.notes)


@pytest.mark.parametrize(
    ("asking", "zeros", "width"),
    [
        ("training", "data.restore_zeros=true", "data.restore_zeros=true with data.code_width=the length of the codes"),
        ("command", "--restore-zeros", ""),
        ("nobody", "", ""),
    ],
)
def test_rejects_say_how_to_ask_for_zeros(tmp_path, asking, zeros, width):
    pd.DataFrame({"text": ["a", "b", "c"], "code": ["110", "11.0", "1111"]}).to_csv(tmp_path / "a.csv", index=False)
    _, rejects = read_job_data(tmp_path / "a.csv", TREE, DataSettings(), asking=asking)
    lost, ambiguous = rejects["reason"]
    assert lost.endswith(f"read codes as text, or {'give ' + zeros}" if zeros else "read codes as text"), lost
    assert ambiguous.endswith(width or "read codes as text"), ambiguous


def test_spreadsheet_codes(tmp_path):
    frame = pd.DataFrame({"text": ["a", "b", "c"], "code": [110.0, 1111.0, np.nan]})
    frame.to_parquet(tmp_path / "a.parquet")
    data, rejects = read_job_data(tmp_path / "a.parquet", TREE, DataSettings(restore_zeros=True, code_width=4))
    assert data.codes == ("0110", "1111") and rejects["reason"].tolist() == ["no code"]


def test_long_texts_are_cut_and_html_is_counted(tmp_path):
    path = write(tmp_path / "a.csv", {"text": ["x" * 200_000, "<p>cook</p>", "ok"], "code": ["0110"] * 3})
    splits = load_job_data(DataSettings(train=[path], valid_fraction=0), TREE)
    assert [len(t) for t in splits.train.texts] == [20_000, 4, 2]
    assert splits.counts["cut"] == 1 and splits.counts["html"] == 1 and not len(splits.rejects)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"text_columns": ["titel"]}, ValueError, r"no column 'titel'.*did you mean 'title'\?"),
        ({"text_columns": []}, ValueError, "text_columns: got none"),
        ({"code_column": ""}, ValueError, "code_column is empty"),
        ({"code_column": "title"}, TaxonomyError, "no row has a code"),
        ({"languages": ["it"]}, ValueError, "no usable row has 'it'"),
        ({"languages": ["pl"], "language_column": ""}, ValueError, "set language_column, or default_language"),
        ({"separator": "|"}, ValueError, "looks unsplit"),
    ],
)
def test_settings_that_do_not_fit_the_file(tmp_path, options, error, message):
    settings = messy(tmp_path)
    for key, value in options.items():
        setattr(settings, key, value)
    with pytest.raises(error, match=message):
        load_job_data(settings, TREE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no file is given"),
        ({"train": ["a.txt"], "train_codes": ["b", "c"]}, "got 2 files for 1"),
        ({"test": ["x/a.csv", "y/a.csv"]}, "would be called 'a'"),
        ({"sources": [SourceSettings()]}, "no path"),
    ],
)
def test_settings_that_do_not_fit_together(options, message):
    with pytest.raises(ValueError, match=message):
        DataSettings(**options).all_sources()


@pytest.mark.parametrize(
    "options",
    [{"test_fraction": 1.0}, {"test_fraction": 0.6, "valid_fraction": 0.4}, {"format": "ods"}, {"singletons": "drop"},
     {"near_duplicates": 2.0}, {"max_chars": -1}],
)  # fmt: skip
def test_values_out_of_range(options):
    with pytest.raises(ValueError, match="allowed"):
        DataSettings(**options)
    with pytest.raises(ValueError, match="role"):
        SourceSettings(role="tarin")


def test_no_row_left_to_train_on(tmp_path):
    path = write(tmp_path / "a.csv", {"text": ["", ""], "code": ["0110", "0210"]})
    with pytest.raises(ValueError, match=r"no row is left to train on; rejected: no text \(2\)"):
        load_job_data(DataSettings(train=[path]), TREE)


def test_computed_split(tmp_path):
    path = write(tmp_path / "a.csv", many())
    settings = DataSettings(files=[path], language_column="lang", source_column="portal", id_column="id",
                            default_source="?", test_fraction=0.3, valid_fraction=0.1)  # fmt: skip
    splits = load_job_data(settings, TREE)
    parts = splits.named()
    assert list(parts) == ["train", "valid", "test"] and sum(map(len, parts.values())) == 300
    assert 60 < len(splits.tests["test"]) < 120 and set(splits.train.language) == {"pl", "en", "de"}
    keys = [{text_key(t) for t in data.texts} for data in parts.values()]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    assert not any(key.startswith("overlap") for key in splits.counts)
    again = load_job_data(settings, TREE)
    assert again.train.hash == splits.train.hash
    settings.seed = 2
    assert load_job_data(settings, TREE).train.hash != splits.train.hash


def test_group_column_and_near_duplicates_stay_on_one_side(tmp_path):
    frame = many()
    frame["firm"] = [f"f{i % 40}" if i % 3 else "" for i in range(300)]
    frame["text"] = [f"{t} {' '.join(f'w{(i % 60) * 7 + k}' for k in range(12))}" for i, t in enumerate(frame["text"])]
    path = write(tmp_path / "a.csv", frame)
    splits = load_job_data(DataSettings(files=[path], group_column="firm", id_column="id"), TREE)
    firm = dict(zip(frame["id"], frame["firm"], strict=True))
    sides = [{firm[i] for i in data.id} - {""} for data in splits.named().values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    near = load_job_data(DataSettings(files=[path], near_duplicates=0.8, id_column="id"), TREE)
    number = {key: i % 60 for i, key in enumerate(frame["id"])}
    sides = [{number[i] for i in data.id} for data in near.named().values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    groups = [set(data.group.tolist()) for data in near.named().values()]
    assert not (groups[0] & groups[1] or groups[0] & groups[2])


def test_dictionary_trains_only_and_takes_equal_texts_with_it(tmp_path):
    path = write(tmp_path / "a.csv", many())
    extra = write(tmp_path / "dict.csv", {"kod": CODES[:3], "nazwa": ["a", "COOK 1", "c"], "opis": ["x", "", "z"]})
    source = SourceSettings(path=extra, text_columns=["nazwa", "opis"], code_column="kod", language_column="",
                            default_language="pl", default_source="dictionary")  # fmt: skip
    settings = DataSettings(files=[path], language_column="lang", sources=[source])
    splits = load_job_data(settings, TREE)
    assert splits.train.source.count("dictionary") == 3
    assert all("dictionary" not in data.source for name, data in splits.named().items() if name != "train")
    for name, data in splits.named().items():
        assert name == "train" or "cook 1" not in {text_key(t) for t in data.texts}
    only = load_job_data(DataSettings(train=[path], language_column="lang", sources=[source]), TREE)
    assert len(only.valid) > 10 and "dictionary" not in only.valid.source


def test_given_files_are_taken_as_they_are_and_overlap_is_told(tmp_path):
    paths = {
        name: write(tmp_path / f"{name}.csv", many(50, i)) for i, name in enumerate(["train", "valid", "t1", "t2"])
    }
    settings = DataSettings(train=[paths["train"]], valid=[paths["valid"]], test=[paths["t1"], paths["t2"]])
    splits = load_job_data(settings, TREE)
    assert {k: len(v) for k, v in splits.named().items()} == {"train": 50, "valid": 50, "test/t1": 50, "test/t2": 50}
    assert splits.counts["overlap_test/t1"] > 0 and any("test/t1:" in note for note in splits.notes)
    settings = DataSettings(test=[paths["t1"]])
    assert [len(x) for x in load_job_data(settings, TREE).named().values()] == [0, 0, 50]


def test_split_column(tmp_path):
    frame = many(60)
    frame["split"] = ["Train"] * 30 + ["dev"] * 10 + ["testing"] * 19 + ["?"]
    path = write(tmp_path / "a.csv", frame)
    splits = load_job_data(DataSettings(files=[path], split_column="split"), TREE)
    assert [len(x) for x in splits.named().values()] == [30, 10, 19]
    assert splits.rejects["reason"].tolist() == ["split is none of train, valid, test"]
    frame["split"] = ["train"] * 40 + ["test"] * 20
    splits = load_job_data(DataSettings(files=[write(path, frame)], split_column="split"), TREE)
    assert len(splits.tests["test"]) == 20 and 0 < len(splits.valid) < 10, "validation is carved from training"


def test_inclusion_probabilities_say_which_rows_validate(tmp_path):
    frame = pd.DataFrame(many(300))
    frame["p"] = ["" if i % 3 == 0 else "0.05" if i % 3 == 1 else "0.5" for i in range(len(frame))]
    frame.loc[[4, 7], "p"] = ["often", "1.5"]
    write(tmp_path / "drawn.csv", frame)
    source = SourceSettings(path=str(tmp_path / "drawn.csv"), role="split", inclusion_column="p")
    settings = DataSettings(sources=[source], test_fraction=0.0, valid_fraction=0.1)
    splits = load_job_data(settings, TREE)
    reason = "inclusion probability is not a number from 0 to 1"
    assert splits.rejects["reason"].tolist() == [reason] * 2 and splits.rejects["value"].tolist() == ["often", "1.5"]
    held = frame["p"].iloc[splits.valid.row].tolist()
    assert "" not in held and held.count("0.05") > 5 * held.count("0.5") and len(held) > 20


def test_saved_datasetdict_brings_its_split(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_pandas(pd.DataFrame(many(40))[["text", "code"]])
    datasets.DatasetDict({"train": one, "validation": one, "test": one}).save_to_disk(str(tmp_path / "d"))
    splits = load_job_data(DataSettings(files=[str(tmp_path / "d")]), TREE)
    assert [len(x) for x in splits.named().values()] == [40, 40, 40]


def test_plain_pair_of_the_reference_tool(tmp_path):
    (tmp_path / "x.txt").write_text("cook\n\ndriver\n")
    (tmp_path / "y.txt").write_text("0110\n0210\n0210\n")
    settings = DataSettings(train=[str(tmp_path / "x.txt")], train_codes=[str(tmp_path / "y.txt")], valid_fraction=0,
                            text_columns=["ignored"], language_column="lang", split_column="s")  # fmt: skip
    splits = load_job_data(settings, TREE)
    assert splits.train.codes == ("0110", "0210") and splits.rejects["row"].tolist() == [2]
    (tmp_path / "y.txt").write_text("0110\n")
    with pytest.raises(ValueError, match=r"has 3 lines and .* has 1"):
        load_job_data(settings, TREE)


def test_limited_training_rows_keep_all_codes(tmp_path):
    path = write(tmp_path / "a.csv", many())
    splits = load_job_data(DataSettings(train=[path], valid_fraction=0, max_train_rows=30), TREE)
    assert len(splits.train) == 30 and set(splits.train.codes) == set(CODES)
    assert splits.counts["not_drawn"] == 270 and (np.diff(splits.train.row) > 0).all()


def test_summary_tables_and_printing(tmp_path):
    frame = many(60)
    frame["code"][:4] = ["0110", "0210", "11", "1"]
    frame["text"][:4] = ["same", "SAME ", "[red]x", "y"]
    splits = load_job_data(DataSettings(train=[write(tmp_path / "a.csv", frame)], valid_fraction=0,
                                        language_column="lang"), TREE)  # fmt: skip
    summary = summarise(splits)
    assert summary.rows.to_dict("records") == [{"split": "train", "rows": 60, "codes": 8, "inner": 2}]
    assert summary.levels["rows"].tolist() == [60, 59, 58, 58]
    assert summary.tail["leaves"].sum() == TREE.num_leaves
    assert summary.conflicts.loc[0, "conflicting"] >= 1
    assert summary.languages["rows"].sum() == 60
    out = io.StringIO()
    summary.print(Console(file=out, width=100))
    assert "Codes seen in training" in out.getvalue() and "read 60" in out.getvalue()
    sample = summarise(load_job_data(DataSettings(sample=True), isco08()))
    assert sample.rows["split"].tolist() == ["train", "valid", "test/titles", "test/ads"]


# ------------------------------------------------------------------ real data


@pytest.mark.slow
@pytest.mark.realdata
def test_titles_in_24_languages(realdata):
    folder = realdata / "isco08_titles_24_languages"
    tree = load_taxonomy(folder / "hierarchy.csv")
    settings = DataSettings(
        train=[str(folder / "train.csv.gz")], valid=[str(folder / "validation.csv.gz")],
        test=[str(folder / "test.csv.gz")], language_column="lang", source_column="source",
    )  # fmt: skip
    splits = load_job_data(settings, tree)
    assert [len(x) for x in splits.named().values()] == [212_908, 4_683, 5_777]
    assert not len(splits.rejects) and len(set(splits.train.language)) == 24
    two = load_job_data(DataSettings(train=settings.test, language_column="lang", languages=["pl", "en"]), tree)
    assert set(two.train.language) == {"pl", "en"} and two.counts["filtered"] == 5_277


@pytest.mark.slow
@pytest.mark.realdata
def test_polish_ads_with_dictionary_and_near_duplicates(realdata):
    tree = load_taxonomy(realdata / "kzis" / "kzis_hierarchy_2023.csv")
    extra = {"source_column": "", "id_column": "", "default_language": "pl"}
    settings = DataSettings(
        files=[str(realdata / "kzis_ads_pl" / "ads.csv.gz")], text_columns=["title", "description"],
        source_column="portal", id_column="ad_id", test_fraction=0.3, valid_fraction=0.05, near_duplicates=0.9,
        sources=[
            SourceSettings(path=str(realdata / "kzis" / "kzis_occupation_descriptions_2024.csv.gz"),
                           text_columns=["name", "synthesis"], default_source="dictionary", **extra),
            SourceSettings(path=str(realdata / "kzis" / "kzis_gus_thesaurus_titles.csv.gz"), text_columns=["title"],
                           default_source="thesaurus", **extra),
        ],
    )  # fmt: skip
    splits = load_job_data(settings, tree)
    test = splits.tests["test"]
    ads = 6_828 - len(splits.rejects)
    assert abs(len(test) - 0.3 * ads) < 0.03 * ads and not len(splits.rejects)
    assert not set(test.group.tolist()) & set(splits.train.group.tolist())
    assert splits.train.source.count("thesaurus") == 6_247


@pytest.mark.slow
@pytest.mark.realdata
def test_federal_vacancies(realdata):
    folder = realdata / "usajobs_opm"
    tree = load_taxonomy(folder / "opm_hierarchy.csv")
    settings = DataSettings(files=[str(folder / "questionnaires.csv.gz")], text_columns=["title", "description"],
                            id_column="doc_id", source_column="agency")  # fmt: skip
    splits = load_job_data(settings, tree)
    assert sum(map(len, splits.named().values())) == 13_217 and set(splits.train.gold) >= set(splits.tests["test"].gold)
