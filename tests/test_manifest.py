"""The manifest of a data set against counts made by hand."""

import json
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from hjc.corpus.manifest import coverage, manifest, plot_long_tail
from hjc.data import JobData
from hjc.taxonomy import from_prefix_codes

TREE = from_prefix_codes(
    ["1", "2", "11", "12", "13", "21"], [1, 2], titles={"en": {"1": "one", "11": "a", "12": "b", "21": "c"}}, name="toy"
)


def splits() -> dict[str, JobData]:
    train = JobData.from_lists(
        TREE, ["a b", "a", "a b c", "d"], ["11", "11", "12", "1"], ["pl", "pl", "en", ""],
        sources=["ads", "ads", "dict", "ads"],
    )  # fmt: skip
    test = JobData.from_lists(TREE, ["x", "y"], ["21", None], ["pl", "pl"], sources=["ads", "ads"])
    return {"train": train, "test": test}


def test_tables() -> None:
    found = manifest(splits(), exclude=["dict"])
    by_source = found.by_source.set_index(["split", "source"])
    assert by_source.loc[("train", "ads")].tolist() == [3, 3, 2] and by_source.loc[("test", "ads")].tolist() == [
        2,
        1,
        1,
    ]
    assert by_source.loc[("train", "All")].tolist() == [4, 4, 3] and list(dict.fromkeys(found.by_source["split"])) == [
        "train",
        "test",
    ]
    assert found.by_code.set_index(["split", "source", "code"]).loc[("train", "ads", "11"), "rows"] == 2
    assert found.by_language.set_index(["split", "language"]).loc[("train", "pl")].tolist() == [2, 0.5]
    levels = found.by_level.set_index(["split", "level"])
    assert levels.loc[("train", 1)].tolist() == [2, 1, 0.5, 4] and levels.loc[("train", 2)].tolist() == [4, 2, 0.5, 3]
    words = found.words.set_index(["source", "group"])
    assert words.loc[("ads", "1")].tolist() == [1, 1, 1, pytest.approx(4 / 3), 1.5, 2, 3]
    assert found.long_tail[["code", "rows"]].to_numpy().tolist() == [["11", 2], ["12", 1], ["21", 1], ["13", 0]]
    assert found.absent["code"].tolist() == ["13"] and found.facts["leaves_without_rows"] == 1
    assert found.facts["rows_at_inner_codes"] == 1 and found.facts["splits"]["test"]["labelled"] == 1
    # coverage: of 11, 12, 13 the ads have one, the dictionary another, which is not in All; Cases are all rows, as in
    # the paper's Table 7, where they add up to all 200,875 and not to the 191,675 of its columns
    table = found.coverage.set_index("group")
    assert table.loc["1", ["leaves", "ads", "All", "Cases"]].tolist() == [3, 33.3, 33.3, 4]
    assert table.loc["2", ["leaves", "ads", "All", "Cases"]].tolist() == [1, 100, 100, 1]
    assert table.loc["N", ["leaves", "ads", "All", "Cases"]].tolist() == [4, 4, 4, 5]
    everything = manifest(splits()).coverage.set_index("group")
    assert everything.loc["1", ["dict", "All", "Cases"]].tolist() == [33.3, 66.7, 4]


def test_write_and_plot(tmp_path) -> None:
    found = manifest(splits())
    files = {path.name for path in found.write(tmp_path / "m")}
    assert files == {f"{name}.csv" for name in found.TABLES} | {"long_tail.png", "manifest.json"}
    assert json.loads((tmp_path / "m/manifest.json").read_text())["taxonomy"]["leaves"] == 4
    assert pd.read_csv(tmp_path / "m/long_tail.csv", dtype={"code": str})["code"].tolist()[0] == "11"
    line = plot_long_tail(found.long_tail).axes[0].lines[0]
    assert np.asarray(line.get_xdata()).tolist() == [1, 2, 3] and np.asarray(line.get_ydata()).tolist() == [2, 1, 1]


def test_errors() -> None:
    with pytest.raises(ValueError, match="no data"):
        manifest({})
    with pytest.raises(ValueError, match="exclude"):
        manifest(splits(), exclude=["nobody"])
    other = from_prefix_codes(["1"], [1])
    with pytest.raises(ValueError, match="different taxonomies"):
        manifest({"a": splits()["train"], "b": JobData.from_lists(other, ["x"], ["1"])})
    empty = manifest({"all": JobData.from_lists(TREE, [])})
    assert len(empty.by_source) == 0 and len(empty.absent) == 4
    assert coverage(TREE, np.empty(0, np.int64), np.empty(0, object))["Cases"].tolist() == [0, 0, 0]


@pytest.mark.realdata
def test_on_hand_coded_ads(realdata, tmp_path) -> None:
    """Counts of the Polish ads equal those of the file, and the split obeys the paper's rule."""
    from hjc.corpus.sampling import split_by_source_and_code
    from hjc.data.splitting import TEST, TRAIN
    from hjc.taxonomy import load_taxonomy

    path = realdata / "kzis_ads_pl" / "ads.csv.gz"
    hierarchy = realdata / "kzis" / "kzis_hierarchy_2023.csv"
    if not path.exists() or not hierarchy.exists():
        pytest.skip("no kzis_ads_pl in the real data")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    tree = load_taxonomy(hierarchy)
    known = frame[frame["code"].isin(tree.index_of)]
    assert len(known) > 0.99 * len(frame)
    data = JobData.from_lists(tree, known["title"].tolist(), known["code"].tolist(), sources=known["portal"].tolist())
    side = split_by_source_and_code(data.codes, data.source)
    sizes = known.groupby(["portal", "code"]).size()
    assert (side == TRAIN).sum() == sum(0 if n == 1 else round(Fraction(7, 10) * n) for n in sizes.tolist())
    found = manifest({"train": data.take(side == TRAIN), "test": data.take(side == TEST)})
    assert found.by_code["rows"].sum() == len(known)
    assert found.coverage.iloc[-1]["Cases"] == len(known)


def test_the_command_counts_the_words_of_whole_texts(call, tmp_path) -> None:
    (tmp_path / "tree.csv").write_text("code,parent\n1,\n11,1\n")
    (tmp_path / "ads.csv").write_text(
        f"text,code\n{'job ' * 6000},11\ncook,11\ncook,\n"
    )  # training reads 20,000 characters
    out = tmp_path / "m"
    code, _, err = call("data", "manifest", tmp_path / "ads.csv", "-o", out, "--taxonomy", tmp_path / "tree.csv")
    assert code == 0, err
    assert pd.read_csv(out / "words.csv")["max"].tolist() == [6000] * 4
    (file,) = json.loads((out / "manifest.json").read_text())["files"]
    assert (file["rows_in"], file["rows_used"], file["rejected"]) == (3, 2, {"no code": 1})
