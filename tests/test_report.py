"""Run reports and row scores: the numbers behind the plots, files that come back, pages that cannot be attacked."""

import base64
import csv
import hashlib
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.data.jobdata import JobData
from hjc.evaluation.evaluate import Evaluation, evaluation_of
from hjc.metrics import ECE_BINS, Resamples, level_metrics, log_loss_baseline, score_rows
from hjc.metrics.intervals import wilson
from hjc.report.plots import confusion_matrix, plot_style, png
from hjc.report.run import write_report
from hjc.report.save import run_facts, save_evaluations
from hjc.report.scores import (
    StoredScores,
    file_name,
    read_training_counts,
    row_keys,
    score_files,
    set_of,
    write_training_counts,
)
from hjc.report.tables import (
    LENGTH_BUCKETS,
    TRAINING_BUCKETS,
    Confusion,
    bucketed,
    by_group,
    code_scores,
    confused_pairs,
    confusion,
    gold_counts,
    level_of_codes,
    named,
    recall_curve,
    reliability,
)
from hjc.report.text import figure, interval, printable, quoted
from hjc.taxonomy import Taxonomy, from_edges, from_prefix_codes
from tests.strategies import random_log_proba, taxonomies

HOSTILE = "<script>alert(1)</script>\u202e</td>{{ 7*7 }}\x00\ud800 \"'><img src=http://evil.example/x onerror=1>"
_CODES = ["1", "2", "11", "12", "21", "22", "111", "112", "121", "122", "123", "211", "221", "222", "223"]
TREE = from_edges(
    _CODES,
    [code[:-1] for code in _CODES],
    titles={"en": {"1": HOSTILE, "111": "$\\frac{1}{2}$ cook", "22": "a_b^c & <i>d</i>"}},
    name="nine",
)


def make(
    n: int = 150, tree: Taxonomy = TREE, seed: int = 0, inner: bool = True, hostile: bool = False
) -> tuple[Evaluation, JobData]:
    """An evaluation of random probabilities that lean towards the gold code."""
    rng = np.random.default_rng(seed)
    nodes = np.arange(len(tree)) if inner else tree.leaves
    gold = rng.choice(nodes, size=n)
    log_proba = random_log_proba(tree.num_leaves, n, seed, scale=1.0)
    start = tree.leaf_slice[gold, 0]
    log_proba[np.arange(n), start] += rng.uniform(0, 3, size=n)
    log_proba -= np.log(np.exp(log_proba).sum(axis=1, keepdims=True))
    texts = tuple(HOSTILE if hostile else f"text {i} " + "x" * int(rng.integers(0, 300)) for i in range(n))
    data = JobData(
        taxonomy=tree,
        texts=texts,
        gold=gold,
        language=tuple(
            rng.choice(["pl", "de", "", HOSTILE.replace("\ud800", "") if hostile else "en"], size=n).tolist()
        ),
        source=tuple(rng.choice(["ads", "titles"], size=n).tolist()),
        group=rng.integers(0, n // 2, size=n) if seed % 2 else None,
        id=tuple(f"id{i}" for i in range(n)),
    )
    baseline = log_loss_baseline(tree, gold, gold)
    drawn = Resamples.draw(n, 20, 0, data.group)
    scores = score_rows(tree, log_proba, gold)
    return evaluation_of(scores, data, resamples=drawn, progress=False, baseline=baseline), data


# ---------------------------------------------------------------------- row scores


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_come_back(tmp_path: Path, seed: int) -> None:
    found, data = make(seed=seed)
    path = StoredScores.of("test/a b", found.scores, data, seconds=2.0, about={"model": "x"}).write(tmp_path)
    back = StoredScores.read(path)
    for name in ("gold", "valid", "rank", "log_p", "top", "confidence", "sq"):
        np.testing.assert_array_equal(getattr(back.scores, name), getattr(found.scores, name), err_msg=name)
    assert back.taxonomy == data.taxonomy and back.name == "test/a b" == set_of(path)
    assert back.language == data.language and back.source == data.source and back.id == data.id
    assert back.data_hash == data.hash and back.rows_per_second == len(data) / 2 and back.about == {"model": "x"}
    assert (back.group is None) == (data.group is None)
    for level in (1, 2, 3):
        ours = level_metrics(back.scores, back.taxonomy, level)
        assert ours == pytest.approx(level_metrics(found.scores, TREE, level), nan_ok=True)
    assert b"text 1" not in path.read_bytes()  # scores can be shared, texts stay at home
    odd = JobData.from_lists(TREE, ["a"], ["111"], ids=["\ud800x"])  # a JSON file may hold half a character
    one = StoredScores.of("odd", found.scores.take(np.flatnonzero(data.gold == odd.gold[0])[:1]), odd)
    assert StoredScores.read(one.write(tmp_path)).id == ("?x",)
    part = back.take([5, 3])
    assert part.id == ("id5", "id3") and part.scores.gold.tolist() == data.gold[[5, 3]].tolist()


@pytest.mark.slow
@given(tree=taxonomies(plain_codes=True), seed=st.integers(0, 1000), n=st.integers(0, 5))
def test_scores_come_back_for_any_tree(
    tmp_path_factory: pytest.TempPathFactory, tree: Taxonomy, seed: int, n: int
) -> None:
    gold = np.random.default_rng(seed).integers(0, len(tree), size=n)
    data = JobData(taxonomy=tree, texts=("t",) * n, gold=gold)
    scores = score_rows(tree, random_log_proba(tree.num_leaves, n, seed), gold)
    back = StoredScores.read(StoredScores.of("s", scores, data).write(tmp_path_factory.mktemp("s")))
    for name in ("gold", "valid", "rank", "log_p", "top", "confidence", "sq"):
        np.testing.assert_array_equal(getattr(back.scores, name), getattr(scores, name))
    assert math.isnan(back.rows_per_second)


def test_keys_tell_rows_apart() -> None:
    data = JobData.from_lists(TREE, ["a", "a", "b", "a", "\ud800"], ["111", "111", "111", "112", None])
    keys = row_keys(data).tolist()
    assert keys[0] == keys[1] and len(set(keys)) == 4


def test_bad_score_files(tmp_path: Path) -> None:
    found, data = make()
    with pytest.raises(ValueError, match="not of the same rows"):
        StoredScores.of("t", found.scores, data.take(range(5)))
    bad = tmp_path / "scores_x.parquet"
    bad.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match="cannot be read"):
        StoredScores.read(bad)
    with pytest.raises(ValueError, match="cannot be read"):
        set_of(bad)
    import pandas as pd

    pd.DataFrame({"a": [1]}).to_parquet(bad)
    for read in (StoredScores.read, set_of):
        with pytest.raises(ValueError, match="was not written by"):
            read(bad)


def test_file_names_do_not_collide() -> None:
    names = ["test", "test/a", "test_a", "test/a b", "test/a-b", "test/ä", HOSTILE, "x" * 300, "../../etc"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert files[:2] == ["scores_test.parquet", "scores_test_a.parquet"]
    assert all("/" not in f and len(f) < 120 for f in files)


def test_training_counts(tmp_path: Path) -> None:
    assert read_training_counts(tmp_path, TREE) is None
    train = JobData.from_lists(TREE, list("abcde"), ["111", "111", "22", "1", None])
    with write_training_counts(tmp_path, train).open(newline="") as file:
        lines = {line["code"]: int(line["rows"]) for line in csv.DictReader(file)}
    assert {code: n for code, n in lines.items() if n} == {"111": 2, "22": 1, "1": 1} and len(lines) == len(TREE)
    counts = read_training_counts(tmp_path, TREE)
    assert counts is not None
    total = dict(zip(TREE.codes, TREE.with_descendants(counts).tolist(), strict=True))
    assert {code: n for code, n in total.items() if n} == {"1": 3, "11": 2, "111": 2, "2": 1, "22": 1}
    with pytest.raises(ValueError, match="does not fit"):
        read_training_counts(tmp_path, from_prefix_codes(["9"], [1]))


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("level", [1, 2, 3])
def test_curves_and_buckets_agree_with_the_metrics(level: int) -> None:
    found, data = make(400)
    scores, values = found.scores, level_metrics(found.scores, TREE, level)
    curve = recall_curve(scores, level, 20)
    assert [curve[k - 1] for k in (1, 3, 5, 10)] == pytest.approx([values[f"recall@{k}"] for k in (1, 3, 5, 10)])
    lengths = [len(text) for text in data.texts]
    for shares in (
        by_group(scores, TREE, level, bucketed(lengths, LENGTH_BUCKETS)),
        by_group(scores, TREE, level, named(data.language)),
    ):
        assert sum(s.n for s in shares) == values["n"]
        assert sum(s.hits for s in shares) == round(values["recall@1"] * values["n"])
    assert "und" in [s.name for s in by_group(scores, TREE, level, named(data.language))]
    counts = np.arange(len(TREE))
    below = TREE.with_descendants(counts)
    trained = gold_counts(scores, TREE, level, below)
    for i in range(0, 400, 17):
        node = TREE.node_path[data.gold[i], level - 1]
        inside = [c for c in range(len(TREE)) if node >= 0 and TREE.codes[c].startswith(TREE.codes[node])]
        assert trained[i] == (sum(counts[c] for c in inside) if inside else -1)
    assert sum(s.n for s in by_group(scores, TREE, level, bucketed(trained, TRAINING_BUCKETS))) == values["n"]


def test_confusion_counts_every_row() -> None:
    found, data = make(400)
    scores = found.scores
    for limit in (45, 3):
        matrix = confusion(scores, TREE, 3, limit)
        assert matrix.counts.sum() + matrix.hidden[1] == scores.valid[:, 2].sum()
        for i, gold in enumerate(matrix.nodes.tolist()):
            for j, top in enumerate(matrix.nodes.tolist()):
                assert matrix.counts[i, j] == int(((data.gold == gold) & (scores.top[:, 2] == top)).sum())
    assert len(matrix.nodes) == 3 and matrix.counts[:, -1].any() and matrix.hidden[0] == 6


def test_reliability_bins_are_the_ones_of_the_calibration_error() -> None:
    found, _ = make(ECE_BINS * 20, inner=False)
    r = reliability(found.scores, 3)
    assert r.n.tolist() == [20] * ECE_BINS
    ece = float((np.abs(r.accuracy - r.confidence) * r.n).sum() / r.n.sum())
    assert ece == pytest.approx(level_metrics(found.scores, TREE, 3)["ece_plain"], abs=1e-9)


def test_wilson() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)  # Newcombe (1998), method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert all(math.isnan(x) for x in wilson(0, 0))


def test_pairs_and_codes() -> None:
    found, data = make(500)
    scores = found.scores
    pairs = confused_pairs(scores, TREE, 3, limit=100)
    wrong = scores.valid[:, 2] & (scores.rank[:, 2] > 1)
    assert sum(p.n for p in pairs) == wrong.sum()
    assert [p.n for p in pairs] == sorted((p.n for p in pairs), reverse=True)
    first = pairs[0]
    mine = np.flatnonzero((data.gold == first.gold) & (scores.top[:, 2] == first.predicted))
    assert first.n == len(mine) and first.support == (data.gold == first.gold).sum()
    assert first.rows[0] == mine[scores.confidence[mine, 2].argmax()]
    texts = ["Plumber" if i % 2 else " plumber" for i in range(len(data))]
    texts[first.rows[1]] = "Fitter"
    said = confused_pairs(scores, TREE, 3, limit=100, texts=texts)
    assert said[0].rows == first.rows and all(len(p.rows) == 1 for p in said[1:])  # no text is quoted twice
    codes = code_scores(scores, TREE, 3)
    support = dict(zip(codes["node"], codes["n"], strict=True))
    assert all(n == (data.gold == node).sum() >= 5 for node, n in support.items())
    assert codes["recall_1"].is_monotonic_increasing
    for c in codes.itertuples():  # the code that most of the wrong rows have, the first of several
        taken = np.bincount(scores.top[(data.gold == c.node) & wrong, 2], minlength=len(TREE))
        assert c.taken_for == (taken.argmax() if taken.any() else -1)
    macro = code_scores(scores, TREE, 3, min_support=1)["recall_1"].mean()
    assert macro == pytest.approx(level_metrics(scores, TREE, 3)["macro_recall"])
    assert level_of_codes(scores, TREE) == 3 and level_of_codes(scores.take(range(3)), TREE) is None


def test_figures_of_odd_numbers() -> None:
    assert figure(math.nan) == "–" and figure(math.inf) == "∞" and figure(0.123, 1, True) == "12.3"
    assert interval(math.nan, 1.0) == "" and interval(0.1, math.inf, 1) == "[0.1, ∞]"
    assert quoted(" a\n\n b\x00c ") == "a b c" and quoted(" \n") == "(empty text)" and len(quoted("ab " * 99)) <= 160
    assert "\u202e" not in printable(HOSTILE) and "\ud800" not in printable(HOSTILE)


# ---------------------------------------------------------------------- the page


class Page(HTMLParser):
    """Tags and attributes of a page, to see what a browser would do with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href") or k.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data.strip()

    def table(self, head: str) -> list[list[str]]:
        """The rows of the only table that has a column of this name."""
        (found,) = [table for table in self.tables if head in table[0]]
        return found[1:]


def check_script(raw: str, page: Page) -> None:
    """One script, the one whose hash the page's own policy names; it asks for nothing outside."""
    (script,) = re.findall("<script>(.*?)</script>", raw, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.tags.count("script") == 1 and f"script-src 'sha256-{digest}'" in raw
    assert "default-src 'none'" in raw and not re.search("https?:|fetch|import|eval|innerHTML", script)


@pytest.mark.slow
def test_report(tmp_path: Path) -> None:
    found, data = make(300, hostile=True)
    (tmp_path / "train.yaml").write_text(f"status: finished\ncommand: {'<script>x</script>'!r}\n", "utf-8")
    (tmp_path / "rejects.csv").write_text("file,row,id,reason,value\n/home/me/a.csv,2,,<b>bad</b>,x\n", "utf-8")
    (tmp_path / "logs").mkdir()
    log = "epoch,step,train/loss,valid/log_loss,valid/level_1/recall@1\n0,9,3.1,,\n0,19,2.5,,\n0,20,,2.7,0.4\n"
    (tmp_path / "logs" / "metrics.csv").write_text(log, "utf-8")
    write_training_counts(tmp_path, data)
    path = save_evaluations(tmp_path, {"valid": found, "test": found})
    assert path == tmp_path / "report.html"
    raw = path.read_text("utf-8")
    page = Page(raw)
    assert raw.count("<img ") == page.tags.count("img") == page.text.count("Recall@1 by") + 6
    check_script(raw, page)
    assert all(a.startswith(("data:image/png;base64,", "#s")) for a in page.addresses)
    assert "<script>alert(1)</script>" in page.text and "{{ 7*7 }}" in page.text  # shown, not run
    for word in (
        "Learning curves",
        "Confusion at level 2",
        "Reliability",
        "Calibration and automatic coding",
        "Most confused pairs",
        "without text",
        "<b>bad</b>",
    ):
        assert word in page.text, word
    assert "/home/me" not in raw  # paths of the author are nobody's business
    names = {p.name for p in (tmp_path / "plots").iterdir()}
    assert names == {"learning_curves.png"} | {
        f"test_{x}.png"
        for x in ("recall_at_k", "confusion_1", "confusion_2", "reliability", "risk_coverage", "by_training_rows",
                  "by_language", "by_source", "by_length")
    }  # fmt: skip
    assert {p.name for p in score_files(tmp_path)} == {"scores_valid.parquet", "scores_test.parquet"}


@pytest.mark.slow
def test_report_without_examples_and_evaluations_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = make(60)
    assert save_evaluations(tmp_path, {"a": found}, report=False) is None
    assert not (tmp_path / "report.html").exists()
    path = save_evaluations(tmp_path, {"b": found}, examples=False, keep=True)
    assert path is not None and "text 1" not in path.read_text("utf-8") and "examples=false" in path.read_text("utf-8")
    assert len(score_files(tmp_path)) == 2
    (tmp_path / "config.json").write_text('{"classifier": "x", "files": {"m": {"size": 5}}}')
    monkeypatch.setattr("hjc.report.run.write_report", lambda folder, sets, record, *, file, **_: folder / file)
    again = save_evaluations(tmp_path, {"b": found}, keep=True)
    assert again == tmp_path / "report_b.html" and path.exists()
    assert run_facts(tmp_path) == {"size_bytes": 5, "model": "x"}
    assert save_evaluations(tmp_path, {}) is None and not score_files(tmp_path)


@pytest.mark.slow
def test_report_of_odd_trees(tmp_path: Path) -> None:
    """One code; one row; everything right; a flat tree of many codes; an infinite loss."""
    one = from_edges(["a"], [""], name="one")
    data = JobData.from_lists(one, [""], ["a"])
    found = evaluation_of(score_rows(one, np.zeros((1, 1)), data.gold), data, progress=False)
    page = Page(write_report(tmp_path, {"test": found}, {}).read_text("utf-8"))
    assert "No mistakes" in page.text and "No code has 5 rows" in page.text
    flat = from_edges([f"occupation-{i:03d}" for i in range(80)], [""] * 80, name="flat")
    found, data = make(200, tree=flat)
    page = Page(write_report(tmp_path, {"test": found}, {}).read_text("utf-8"))
    assert "are shown; left out:" in page.text
    with np.errstate(divide="ignore"):
        impossible = np.log(np.eye(9)[[0, 0]])
    data = JobData.from_lists(TREE, ["x", "y"], ["111", "112"])
    found = evaluation_of(score_rows(TREE, impossible, data.gold), data, progress=False)
    page = Page(write_report(tmp_path, {"test": found}, {}).read_text("utf-8"))
    assert "∞" in page.text and "held the gold code impossible in" in page.text


def test_the_scale_beside_a_small_matrix_is_whole() -> None:
    """Two codes: the label of the colour scale is not cut, and a mistake in twenty rows is not the colour of none."""
    tree = from_edges(["a", "b"], ["", ""], name="pair")
    matrix = Confusion(1, tree.level_nodes(1), np.array([[95, 5, 0], [0, 100, 0]]), (0, 0))
    with plot_style():
        drawn = confusion_matrix(matrix, tree)
        assert drawn is not None
        png(drawn)
    label = drawn.axes[1].yaxis.label.get_window_extent()
    assert label.y0 >= 0 and label.y1 <= drawn.bbox.height
    image = drawn.axes[0].images[0]
    none, few = (np.array(image.cmap(image.norm(share))[:3]) for share in (0.0, 0.05))
    assert none.min() > 0.95 and np.abs(none - few).max() > 0.15
