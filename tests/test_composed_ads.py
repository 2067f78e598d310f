"""Ads composed from a taxonomy: reproducible, marked, and never validation or test rows."""

from pathlib import Path

import pandas as pd
import pytest

from hjc.corpus.composed_ads import AdSettings, common_sentences, compose_ads
from hjc.data import DataSettings, load_job_data
from hjc.data.settings import SourceSettings
from hjc.data.splits import COMPOSED
from hjc.taxonomy import from_edges, write_taxonomy_csv

TREE = from_edges(
    ["1", "2", "11", "21", "22"], ["", "", "1", "2", "2"],
    titles={"en": ["managers", "workers", "chief", "welder", "cook"]},
    descriptions={"en": ["", "", "Leads the firm and its staff.", "Joins metal with an arc. Grinds seams.",
                         "Prepares meals in a kitchen. Seasons the food of guests."]},
)  # fmt: skip
TEXTS = pd.DataFrame(
    [("welder", "21", "en", "title"), ("arc welder", "21", "en", "alternative"), ("cook", "22", "en", "title"),
     ("Joins metal with an arc. Grinds seams.", "21", "en", "description"), ("Cleans the pots", "22", "en", "task"),
     ("szef", "11", "pl", "title")],
    columns=["text", "code", "language", "source"],
)  # fmt: skip


def test_the_same_settings_give_the_same_ads_and_every_row_is_marked() -> None:
    settings = AdSettings(per_code=4, seed=3)
    one, two = (compose_ads(TEXTS, settings, ["We offer free coffee."]) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(compose_ads(TEXTS, AdSettings(per_code=4, seed=4), ["We offer free coffee."]))
    assert len(one) == 8 and set(one["code"]) == {"21", "22"} and one["source"].eq(COMPOSED).all()
    assert (one["text"] == one["title"] + "\n" + one["body"]).all() and one["body"].str.endswith(".").all()


def test_what_a_body_is_made_of() -> None:
    plain = compose_ads(TEXTS, AdSettings(per_code=20, noise=0, other=0, common=0))
    welder = plain[plain["code"] == "21"]
    assert set(welder["title"]) == {"Welder", "Arc welder"}
    assert (
        not welder["body"].str.contains("pots").any()
        and plain[plain["code"] == "22"]["body"].eq("Cleans the pots.").all()
    )
    mixed = compose_ads(TEXTS, AdSettings(per_code=200, noise=1, other=1), ["We offer free coffee."])
    welder = mixed[mixed["code"] == "21"]
    assert welder["body"].str.contains("Cleans the pots").any() and welder["body"].str.contains("free coffee").any()
    assert welder["title"].str.contains("Senior|Junior").all() and welder["title"].str.contains("m/f").all()


def test_codes_without_name_or_work_are_an_error_where_there_are_no_others() -> None:
    with pytest.raises(ValueError, match="composed ads need both"):
        compose_ads(TEXTS[TEXTS["code"] == "11"])


@pytest.mark.parametrize("bad", [{"per_code": 0}, {"duties": 0}, {"noise": 1.5}, {"other": -0.1}, {"common": -1}])
def test_settings_out_of_range(bad) -> None:
    with pytest.raises(ValueError, match=next(iter(bad)).replace("_", "-")):
        AdSettings(**bad)


def test_common_sentences_are_those_of_many_texts() -> None:
    texts = [f"We weld number {i}. Send us your application today." for i in range(10)]
    assert common_sentences(texts) == ["Send us your application today."]
    assert common_sentences([]) == [] and common_sentences(["Once only, this one."]) == []


def test_composed_rows_train_and_are_refused_elsewhere(tmp_path: Path) -> None:
    ads = compose_ads(TEXTS, AdSettings(per_code=30))
    ads.to_csv(tmp_path / "ads.csv", index=False)
    real = pd.DataFrame({"text": [f"welder {i}" for i in range(40)], "code": ["21"] * 40})
    real.to_csv(tmp_path / "real.csv", index=False)
    mixed = pd.concat([ads, real]).fillna("")
    mixed.to_csv(tmp_path / "mixed.csv", index=False)
    splits = load_job_data(DataSettings(files=[str(tmp_path / "mixed.csv")], test_fraction=0.5), TREE)
    assert splits.train.source.count(COMPOSED) == 60 and len(splits.tests["test"]) > 10
    assert not any(COMPOSED in data.source for name, data in splits.named().items() if name != "train")
    only = SourceSettings(path=str(tmp_path / "ads.csv"), role="train")
    splits = load_job_data(DataSettings(train=[str(tmp_path / "real.csv")], sources=[only], valid_fraction=0.3), TREE)
    assert COMPOSED not in splits.valid.source and len(splits.valid)
    for where in ("test", "valid"):
        with pytest.raises(ValueError, match="60 rows of validation or test files are composed ads"):
            load_job_data(
                DataSettings(train=[str(tmp_path / "real.csv")], **{where: [str(tmp_path / "mixed.csv")]}), TREE
            )


def test_the_command(tmp_path: Path, call) -> None:
    write_taxonomy_csv(TREE, tmp_path / "taxonomy.csv")
    uncoded = pd.DataFrame({"body": [f"Number {i}. Send us your application today." for i in range(9)]})
    uncoded.to_csv(tmp_path / "uncoded.csv", index=False)
    out = tmp_path / "ads.csv"
    more = ("--as", "ads", "--per-code", 20, "--like", tmp_path / "uncoded.csv", "-t", "body", "-o", out)
    code, _, err = call("data", "from-taxonomy", tmp_path, *more)
    assert code == 0 and "60 composed ads of 3 codes; 1 common sentences of 9 uncoded ads" in err
    table = pd.read_csv(out, dtype=str)
    assert table["source"].eq(COMPOSED).all() and table["body"].str.contains("Send us your application").any()
    code, _, err = call("data", "from-taxonomy", tmp_path, "--as", "poems", "-o", tmp_path / "x.csv")
    assert code == 2 and "allowed are texts and ads" in err.replace(", ", " and ")
