"""JobData, the bundled sample and its split."""

import gzip
import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from hjc.data import JobData, Splits, load_sample, sample_ads, sample_titles
from hjc.data.sample import sample_training_ads
from hjc.data.splitting import text_key
from hjc.errors import TaxonomyError
from hjc.tables import read_table
from hjc.taxonomy import from_prefix_codes, isco08

TREE = from_prefix_codes(["011", "012", "021", "110", "111"], [1, 2, 3])


def some_data(n=6):
    codes = ["011", "02", "", "110", "1", "012"]
    return JobData.from_lists(TREE, [f"text {i}" for i in range(n)], (codes * n)[:n], ids=[f"r{i}" for i in range(n)])


def test_columns_that_are_left_out_are_filled():
    data = JobData(taxonomy=TREE, texts=("a", "b"))
    assert data.gold.tolist() == [-1, -1] and data.weight.tolist() == [1, 1] and data.row.tolist() == [0, 1]
    assert data.language == ("", "") and data.group is None and data.codes == ("", "")
    assert len(JobData(taxonomy=TREE, texts=())) == 0


def test_codes_come_back_and_inner_nodes_are_gold():
    data = some_data()
    assert data.codes == ("011", "02", "", "110", "1", "012")
    assert len(data.labelled()) == 5 and data.labelled().id == ("r0", "r1", "r3", "r4", "r5")


def test_truncate_projects_to_ancestors():
    cut = some_data().truncate(2)
    assert cut.codes == ("01", "02", "", "11", "1", "01")
    assert cut.taxonomy.depth == 2


@given(st.lists(st.integers(0, 5), max_size=12))
def test_take_agrees_with_a_loop(indices):
    data = some_data()
    got = data.take(indices)
    assert got.texts == tuple(data.texts[i] for i in indices)
    assert got.codes == tuple(data.codes[i] for i in indices)
    assert got.row.tolist() == indices


def test_take_by_mask_and_wrong_mask():
    assert some_data().take(np.arange(6) > 3).id == ("r4", "r5")
    with pytest.raises(ValueError, match=r"mask of shape \(2,\) for 6 rows"):
        some_data().take(np.array([True, False]))


def test_concat_keeps_groups_apart():
    a = JobData.from_lists(TREE, ["x", "y"], groups=[0, 0])
    b = JobData.from_lists(TREE, ["z", "z", "w"], groups=[0, 7, 0])
    assert JobData.concat([a, JobData.from_lists(TREE, ["q"]), b]).group.tolist() == [0, 0, 1, 2, 3, 2]
    with pytest.raises(ValueError, match="different taxonomies"):
        JobData.concat([a, JobData.from_lists(TREE.truncate(1), ["x"])])
    with pytest.raises(ValueError, match="no parts"):
        JobData.concat([])


def test_hash_depends_on_texts_codes_and_order_only():
    data = some_data()
    assert data.hash == some_data().hash and len(data.hash) == 64
    assert data.hash != data.take([1, 0, 2, 3, 4, 5]).hash
    ab, a = (JobData.from_lists(TREE, texts) for texts in (["a", "bc"], ["ab", "c"]))
    assert ab.hash != a.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold": [0]}, "gold: got"),
        ({"gold": [0, 99]}, "node numbers -1"),
        ({"language": ("pl",)}, "language: got"),
        ({"weight": [1.0, -1.0]}, "weight"),
        ({"weight": [1.0, np.nan]}, "weight"),
        ({"group": [1]}, "group"),
    ],
)
def test_wrong_columns_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        JobData(taxonomy=TREE, texts=("a", "b"), **change)


def test_missing_text_and_unknown_code_are_refused():
    with pytest.raises(TypeError, match="row 1 is NoneType"):
        JobData(taxonomy=TREE, texts=("a", None))
    with pytest.raises(TaxonomyError, match="'999'"):
        JobData.from_lists(TREE, ["a"], ["999"])
    with pytest.raises(ValueError, match="got 2 for 1 texts"):
        JobData.from_lists(TREE, ["a"], ["011", "012"])


# ------------------------------------------------------------------ the bundled sample


@pytest.fixture(scope="module")
def sample() -> Splits:
    return load_sample()


def test_sample_sizes_and_split(sample):
    titles = sample_titles()
    assert titles.columns.tolist() == ["code", "language", "title", "split"]
    assert (len(titles), len(sample_ads())) == (10_457, 872)
    cells = titles.groupby(["code", "language"])["split"]
    assert (cells.apply(lambda s: (s == "test").sum()) == 1).all()
    assert set(cells.size()) == {3, 4}
    per_code = titles.groupby("code")["split"].apply(lambda s: (s == "valid").sum())
    assert per_code.between(1, 2).all()
    assert len(sample.train) + len(sample.valid) + len(sample.tests["titles"]) == len(titles)
    assert len(sample.tests["ads"]) == 872 and set(sample.train.source) == {"titles"}
    assert sample.train.taxonomy == isco08()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def fixed_split(titles: pd.DataFrame) -> list[str]:
    """The rule behind the column ``split`` of the titles: n of train, valid, test.

    In each cell of a code and a language the title with the smallest SHA-256 of "code|language|title" tests; a
    title that stands in several languages is passed over, so no text is on both sides. Then, over all languages
    of a code, the training titles in the order of their SHA-256 go to validation, one for each ten.
    """
    keys = titles["title"].str.casefold()
    common = keys.isin(set(keys[keys.duplicated()])).to_numpy()
    digests = [digest("|".join(row)) for row in titles[["code", "language", "title"]].itertuples(index=False)]
    frame = pd.DataFrame(
        {
            "code": titles["code"].to_numpy(),
            "language": titles["language"].to_numpy(),
            "common": common,
            "digest": digests,
        }
    )
    ordered = frame.sort_values(["common", "digest"])
    split = np.full(len(titles), "train", dtype=object)
    split[ordered.groupby(["code", "language"], sort=False).head(1).index.to_numpy()] = "test"
    rest = ordered[(split[ordered.index.to_numpy()] == "train") & ~ordered["common"]]
    # 18 training titles a code: every code gives one, and by its digest four of five give a second
    wanted = rest.groupby("code").size() / 10
    for code, rows in rest.groupby("code", sort=True):
        chance = int(digest(str(code))[:8], 16) / 2**32
        split[rows.index.to_numpy()[: int(wanted[code] + chance)]] = "valid"
    return [str(x) for x in split]


def test_sample_follows_its_rule_and_no_title_straddles():
    titles = sample_titles()
    assert fixed_split(titles.drop(columns="split")) == titles["split"].tolist()
    shuffled = titles.sample(frac=1, random_state=3).reset_index(drop=True)
    assert fixed_split(shuffled) == shuffled["split"].tolist()
    sides = titles.assign(key=titles["title"].map(text_key)).groupby("key")["split"].nunique()
    assert (sides == 1).all()


def test_training_ads_have_every_group_in_both_languages_and_none_is_like_a_test_ad(sample):
    with_ads = load_sample(training_ads=True)
    assert (len(with_ads.train) - len(sample.train), len(with_ads.valid) - len(sample.valid)) == (785, 87)
    assert with_ads.tests["ads"].texts == sample.tests["ads"].texts
    ads, examples = sample_training_ads(), read_table(Path(__file__).parent.parent / "examples" / "ads.csv")
    assert len(ads) == len(set(zip(ads["code"], ads["language"], strict=True))) == 872
    assert set(ads["code"]) == set(isco08().leaf_codes)
    new = (ads["title"] + "\n" + ads["text"]).tolist()
    old = [*sample.tests["ads"].texts, *(examples["title"] + "\n" + examples["description"])]
    for words in ({}, {"analyzer": "char_wb", "ngram_range": (3, 5)}):
        fitted = TfidfVectorizer(**words).fit(new + old)
        assert (fitted.transform(new) @ fitted.transform(old).T).max() < 0.6


def test_sample_files_are_reproducible_gzip():
    for name in ("titles.csv.gz", "ads.csv.gz", "training_ads.csv.gz"):
        raw = (resources.files("hjc.data") / "sample" / name).read_bytes()
        assert raw[3] == 0 and raw[4:8] == bytes(4), "no file name and no time within the gzip header"
        assert gzip.decompress(raw).startswith(b"code,language,title")


def test_sample_by_language(sample):
    polish = load_sample(languages=["pl"])
    assert set(polish.train.language) == {"pl"} and len(polish.tests["ads"]) == 436
    german = load_sample(languages=["de"])
    assert list(german.tests) == ["titles"]
    assert german.counts["read"] - german.counts["filtered"] == 1_743
    with pytest.raises(ValueError, match=r"no 'it', it has de, en, es, fr, pl, uk"):
        load_sample(languages=["it"])


def test_sample_does_not_fit_a_foreign_tree():
    with pytest.raises(TaxonomyError):
        load_sample(TREE)
