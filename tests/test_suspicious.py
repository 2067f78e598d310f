"""Confident learning on probabilities given by hand and on planted errors."""

import numpy as np
import pytest

from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.corpus.suspicious import OutOfFold, find_suspicious, make_folds, out_of_fold
from hjc.data import JobData
from hjc.taxonomy import from_prefix_codes

TREE = from_prefix_codes(["1", "2", "11", "12", "21", "22"], [1, 2])


def test_rule_by_hand() -> None:
    """Codes 11 and 12 (columns 0, 1). Thresholds: of 11 the mean of .9 .8 .1 = .6; of 12 the mean of .7 .3 = .5."""
    data = JobData.from_lists(TREE, list("abcde"), ["11", "11", "11", "12", "12"])
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.55, 0.3]])
    order = np.argsort(-proba, axis=1)
    scores = OutOfFold(
        rows=np.arange(5), fold=np.zeros(5, np.int64), column=np.array([0, 0, 0, 1, 1]),
        own=np.array([0.9, 0.8, 0.1, 0.7, 0.3]), top=order, top_proba=np.take_along_axis(proba, order, axis=1),
        untestable=0, too_coarse=0, level=2,
    )  # fmt: skip
    found = find_suspicious(data, scores)
    # c: 12 has .9, above .5. e: 11 has .55, which is more than its own .3, but below 11's threshold of .6
    assert found.rows[["row", "code", "suggested", "shared_level"]].to_numpy().tolist() == [[2, "11", "12", 1]]
    assert found.rows["margin"][0] == pytest.approx(0.8)
    assert found.codes.set_index("code")["mean_probability"].to_dict() == pytest.approx({"11": 0.6, "12": 0.5})
    assert found.pairs.to_numpy().tolist() == [["11", "12", 1]]


def test_folds_keep_groups_and_spread_codes() -> None:
    texts = [f"t{i // 2}" for i in range(80)]  # pairs of identical texts
    codes = ["11"] * 40 + ["21"] * 30 + [None] * 10
    data = JobData.from_lists(TREE, texts, codes)
    fold = make_folds(data, 4)
    assert (fold[70:] == -1).all() and (fold[:70:2] == fold[1:70:2]).all()
    assert (np.bincount(fold[:40]) == 10).all() and np.ptp(np.bincount(fold[40:70])) <= 2
    with pytest.raises(ValueError, match="folds"):
        make_folds(data, 1)
    with pytest.raises(ValueError, match="different labelled texts"):
        make_folds(data.take([0, 1]), 2)


def test_planted_errors_are_found(tmp_path) -> None:
    rng = np.random.default_rng(2)
    leaves = ["11", "12", "21", "22"]
    words = {code: [f"{code}w{i}" for i in range(12)] for code in leaves}
    texts, true = [], []
    for i in range(400):
        code = leaves[i % 4]
        texts.append(" ".join([*rng.choice(words[code], 4), *(f"c{x}" for x in rng.integers(0, 50, 3))]))
        true.append(code)
    given = list(true)
    planted = set(rng.choice(400, 32, replace=False).tolist())
    for i in planted:
        given[i] = leaves[(leaves.index(true[i]) + 1 + int(rng.integers(3))) % 4]
    texts += ["alone", "group only"]
    data = JobData.from_lists(TREE, texts, [*given, "2", None], ids=[f"id{i}" for i in range(402)])
    settings = LinearSettings(features="word", word_ngrams=[1, 1], min_df=1)
    scores = out_of_fold(
        data,
        lambda train: LinearClassifier(TREE, settings).fit(train).iter_log_proba,
        folds=4,
    )
    found = find_suspicious(data, scores)
    listed = set(found.rows["row"].tolist())
    assert len(listed & planted) >= 0.9 * len(planted) and len(listed - planted) <= 0.1 * len(planted)
    top = found.rows.head(20)
    assert all(true[row] == code for row, code in zip(top["row"], top["suggested"], strict=True))
    assert found.counts == {
        "rows": 402, "scored": 400, "suspicious": len(listed), "untestable": 0, "too_coarse": 1, "unlabelled": 1,
    }  # fmt: skip
    assert {path.name for path in found.write(tmp_path)} == {"suspicious.csv", "codes.csv", "pairs.csv"}


def test_codes_of_one_row_are_untestable() -> None:
    texts = [f"cook soup {i}" for i in range(6)] + [f"drive van {i}" for i in range(6)] + ["fly a plane"]
    data = JobData.from_lists(TREE, texts, ["11"] * 6 + ["21"] * 6 + ["22"])
    settings = LinearSettings(min_df=1)
    scores = out_of_fold(data, lambda train: LinearClassifier(TREE, settings).fit(train).iter_log_proba, folds=3)
    assert scores.untestable == 1 and 12 not in scores.rows and len(scores.rows) == 12
    assert find_suspicious(data, scores).counts["suspicious"] == 0


def test_labels_of_another_classification_are_not_judged(call, tmp_path) -> None:
    table = tmp_path / "in.csv"
    lines = [f"title {i},{90000 + i}" for i in range(60)] + [f"nurse {i},2221" for i in range(30)]
    table.write_text("title,code\n" + "\n".join(lines) + "\n")
    for command in (
        ("suspicious", "-t", "title"),
        ("manifest", "-t", "title"),
        ("agreement", "--unit-column", "title"),
    ):
        code, _, err = call("data", command[0], table, "-o", tmp_path / "out", *command[1:])
        assert code == 2 and "60 of 90 rows" in err and "--taxonomy" in err and "look like '0110'" in err
