"""Rows with several acceptable codes: cells, sets, scores, losses and files, each against a loop over sets."""

import io
import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.apply.decisions import DecisionPlan
from hjc.apply.predict import CodeColumns
from hjc.calibration import fit_calibrator
from hjc.classifiers.combine import Combination, Rows, losses
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data import DataSettings, JobData, read_job_data, summarise
from hjc.data.codecells import CodeCells
from hjc.data.codesets import CodeSets, likeliest
from hjc.data.splits import Splits
from hjc.evaluation import evaluate_model
from hjc.metrics import LevelProba, RowScores, level_metrics, log_loss_baseline, prior_log_proba, score_rows
from hjc.report.scores import StoredScores
from hjc.taxonomy import Taxonomy, from_edges, from_prefix_codes
from tests.strategies import random_log_proba, taxonomies


def tree() -> Taxonomy:
    return from_prefix_codes(["111", "112", "121", "122", "123", "211", "221", "222", "223"], [1, 2, 3])


@st.composite
def scored(draw: st.DrawFn) -> tuple[Taxonomy, np.ndarray, list[list[int]]]:
    """A ragged tree, log-probabilities, and one to four codes a row, inner ones included."""
    taxonomy = draw(taxonomies(plain_codes=True))
    rows, seed = draw(st.integers(1, 12)), draw(st.integers(0, 2**16))
    log_proba = random_log_proba(taxonomy.num_leaves, rows, seed)
    if draw(st.booleans()):  # ties
        z = np.round(log_proba)
        log_proba = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, rows)
    return taxonomy, log_proba, [list(dict.fromkeys(rng.integers(0, len(taxonomy), n).tolist())) for n in sizes]


# ---------------------------------------------------------------------- sets


def test_sets_are_taken_mapped_spread_and_joined():
    sets = CodeSets.of_lists([[3, 1], [], [2], [4, 4, 5]])
    assert sets.size.tolist() == [2, 0, 1, 2] and sets.first.tolist() == [3, -1, 2, 4]
    assert sets[[3, 0]].padded().tolist() == [[4, 5], [3, 1]]
    assert sets[sets.several].first.tolist() == [3, 4]
    assert CodeSets.concat([sets[[0]], sets[[2]]]).padded().tolist() == [[3, 1], [2, -1]]
    assert sets.mapped(np.array([0, 1, 1, 1, 2, 2])).padded().tolist() == [[1], [-1], [1], [2]]
    assert sets.share.tolist() == [0.5, 0.5, 1, 0.5, 0.5]
    for bad in ({"indptr": [0, 3], "nodes": [1]}, {"indptr": [0, 2], "nodes": [1, 1]}):
        with pytest.raises(ValueError, match="codes"):
            CodeSets(**bad)
    with pytest.raises(ValueError, match="above 0"):
        CodeSets([0, 1], [1], [0.0])


def test_rows_keep_their_codes_through_everything_that_is_done_to_data():
    t = tree()
    data = JobData.from_lists(t, ["a", "b", "c"], [["111", "221"], None, "12"], weights=[2, 1, 1])
    assert data.code_lists == (("111", "221"), (), ("12",)) and data.codes == ("111", "", "12")
    assert data.take([2, 0]).code_lists == (("12",), ("111", "221"))
    assert data.take([2]).sets is None, "no row has several: the plain form"
    assert data.truncate(1).code_lists == (("1", "2"), (), ("1",))
    assert JobData.concat([data.take([2]), data]).code_lists[1] == ("111", "221")
    spread = data.spread()
    assert spread.codes == ("111", "221", "", "12") and spread.weight.tolist() == [1, 1, 1, 1]
    assert data.hash != JobData.from_lists(t, ["a", "b", "c"], ["111", None, "12"]).hash
    with pytest.raises(ValueError, match="first code"):
        JobData(t, ("a",), np.array([3]), sets=CodeSets.of_lists([[4, 3]]))


# ---------------------------------------------------------------------- reading


CELLS = "text,code,other\na,111,112|221=0.5\nb,211,\nc,111,999|112\nd,111,112=x\ne,111|112,\nf,,112\n"


def read(**settings: str) -> tuple[JobData, pd.DataFrame]:
    return read_job_data(io.BytesIO(CELLS.encode()), tree(), DataSettings(train=["-"], **settings))


def test_other_codes_are_read_and_what_is_wrong_with_them_is_said():
    data, rejects = read(other_codes_column="other")
    assert data.code_lists == (("111", "112", "221"), ("211",), ("111", "112"))
    assert data.sets.weights[:3].tolist() == [1, 1, 0.5]
    reasons = dict(zip(rejects["row"], rejects["reason"], strict=True))
    assert "weight, after =" in reasons[5] and "unknown code" in reasons[6] and reasons[7] == "no code"
    data, _ = read(other_codes_column="other", code_separator="|")
    assert data.code_lists[-1] == ("111", "112")


def test_other_codes_that_are_not_in_the_tree_are_counted_and_their_rows_stay():
    from hjc.data.reading import read_file

    settings = DataSettings(train=["-"], other_codes_column="other")
    found = read_file(settings.all_sources()[0], settings, tree(), io.BytesIO(CELLS.encode()))
    assert found.counts["other_codes_unknown"] == 1 and found.counts["several_codes"] == 2
    splits = Splits(train=found.data, valid=found.data.take([]), tests={}, counts=dict(found.counts))
    assert "2 rows have several right codes" in summarise(splits).sentences()
    assert any("'999'" in note and "their rows stay" in note for note in found.notes)


def test_a_missing_column_of_other_codes_is_an_error():
    with pytest.raises(ValueError, match="others"):
        read(other_codes_column="others")


def test_cells_with_weights_name_the_main_code_first():
    cells = CodeCells.of(["1=0.6;2=0.4", "3", ";", "4=-1"], separator=";")
    assert cells.main == ["1", "3", "", "4"] and cells.others == [(0, "2", 0.4)]
    assert cells.weight[0] == np.float32(0.6) and cells.bad.tolist() == [False, False, False, True]


# ---------------------------------------------------------------------- scores


def loop_scores(taxonomy: Taxonomy, log_proba: np.ndarray, codes: list[int]) -> list[dict[str, float] | None]:
    """Of one row at each level: the definitions in loops. None where a code is not determined."""
    out: list[dict[str, float] | None] = []
    p_node = {
        n: math.fsum(math.exp(log_proba[i]) for i in range(*taxonomy.leaf_slice[n])) for n in range(len(taxonomy))
    }
    for d in range(taxonomy.depth):
        if any(taxonomy.level_column[c, d] < 0 for c in codes):
            out.append(None)
            continue
        columns = taxonomy.level_nodes(d + 1).tolist()
        inside = {int(taxonomy.level_column[c, d]) for c in codes}
        p = [p_node[n] for n in columns]
        mass = sum(p[k] for k in inside)
        top = max(range(len(p)), key=lambda k: (round(p[k], 12), -k))
        best = min(inside, key=lambda k: (-round(p[k], 12), k))
        rank = 1 + sum((round(q, 12), -k) > (round(p[best], 12), -best) for k, q in enumerate(p))
        square = sum(q**2 for k, q in enumerate(p) if k not in inside) + (1 - mass) ** 2
        shared = max(int(taxonomy.lca_level(columns[k], columns[top])) for k in inside)
        out.append({"log_p": math.log(mass), "rank": rank, "sq": square, "hit": top in inside, "shared": shared})
    return out


@given(scored())
def test_scores_of_sets_equal_loops_over_sets(case):
    taxonomy, log_proba, codes = case
    scores = score_rows(taxonomy, log_proba, CodeSets.of_lists(codes), conformal=True)
    for i, own in enumerate(codes):
        for d, wanted in enumerate(loop_scores(taxonomy, log_proba[i], own)):
            assert scores.valid[i, d] == (wanted is not None)
            if wanted is None:
                assert scores.held[i, d] == -1
                continue
            assert scores.log_p[i, d] == pytest.approx(min(wanted["log_p"], 0.0), abs=1e-9)
            assert scores.sq[i, d] == pytest.approx(wanted["sq"], abs=1e-9)
            assert scores.rank[i, d] == wanted["rank"] and (scores.rank[i, d] == 1) == wanted["hit"]
            top, held = scores.top[i, d], scores.held[i, d]
            assert taxonomy.lca_level(held, top) == wanted["shared"] and (held == top) == wanted["hit"]


@given(scored())
def test_sets_of_one_code_score_as_the_code(case):
    taxonomy, log_proba, codes = case
    gold = np.array([c[0] for c in codes])
    plain, sets = score_rows(taxonomy, log_proba, gold), score_rows(taxonomy, log_proba, CodeSets.of_gold(gold))
    assert plain.held is None and sets.held is not None
    for name, value in plain.arrays():
        np.testing.assert_array_equal(getattr(sets, name), value, name)
    for level in [*range(1, taxonomy.depth + 1), None]:
        a, b = level_metrics(plain, taxonomy, level), level_metrics(sets, taxonomy, level)
        assert a == pytest.approx(b, nan_ok=True)


@given(scored())
def test_conformal_scores_of_sets_are_the_smallest_of_their_codes(case):
    taxonomy, log_proba, codes = case
    sets = score_rows(taxonomy, log_proba, CodeSets.of_lists(codes), conformal=True)
    for i, own in enumerate(codes):
        each = [score_rows(taxonomy, log_proba[[i]], np.array([c]), conformal=True) for c in own]
        assert sets.path[i] == pytest.approx(min(e.path[0] for e in each))
        for d in np.flatnonzero(sets.valid[i]):
            assert sets.aps[i, d] == pytest.approx(min(e.aps[0, d] for e in each))


def test_impossible_and_tiny_codes_of_a_set():
    t = tree()
    x = np.full((2, 9), -np.inf)
    x[0, 0], x[1, 0], x[1, 1], x[1, 2] = 0.0, 0.0, -800.0, -900.0
    a, b, c = (t.index_of[code] for code in ("112", "211", "121"))
    scores = score_rows(t, x, CodeSets.of_lists([[a, b], [a, c]]))
    assert scores.log_p[0, 2] == -np.inf and scores.log_p[1, 2] == pytest.approx(-800.0)
    assert scores.rank[1, 2] == 2


def test_any_code_counts_and_macro_recall_stays_with_the_main_one():
    t = tree()
    p = np.full((2, 9), 0.01)
    p[0, t.leaf_slice[t.index_of["221"], 0]] = p[1, t.leaf_slice[t.index_of["112"], 0]] = 0.92
    sets = CodeSets.of_lists([[t.index_of["111"], t.index_of["221"]], [t.index_of["111"]]])
    found = level_metrics(score_rows(t, np.log(p), sets), t, None)
    assert found["recall@1"] == 0.5 and found["macro_recall"] == 0.5
    assert found["hierarchical_f1"] == pytest.approx(5 / 6)  # 3 of 3 levels, then 2 of 3
    single = level_metrics(score_rows(t, np.log(p), sets.first), t, None)
    assert single["recall@1"] == 0.0


def test_of_several_codes_the_likeliest_stands_for_all_where_one_must():
    t = tree()
    levels = LevelProba.of(t, random_log_proba(9, 3, 0))
    sets = CodeSets.of_lists([[t.index_of["111"]], [t.index_of["111"], t.index_of["223"]], []])
    found = likeliest(sets, levels.nodes)
    pair = sets.nodes[1:]
    assert found.tolist() == [t.index_of["111"], pair[levels.nodes()[1, pair].argmax()], -1]
    assert likeliest(np.array([4]), levels.nodes).tolist() == [4]


@given(scored())
def test_the_prior_is_scored_on_sets_as_any_model(case):
    taxonomy, _, codes = case
    sets = CodeSets.of_lists(codes)
    found = log_loss_baseline(taxonomy, sets.first, sets)
    rows = np.broadcast_to(prior_log_proba(taxonomy, sets.first), (len(sets), taxonomy.num_leaves))
    wanted = level_metrics(score_rows(taxonomy, rows.copy(), sets), taxonomy, None)
    assert found["overall/log_loss"] == pytest.approx(wanted["log_loss"])


def test_stored_scores_keep_sets(tmp_path):
    t = tree()
    data = JobData.from_lists(t, ["a", "b"], [["111", "221"], "12"])
    scores = score_rows(t, random_log_proba(9, 2, 1), data.target)
    read = StoredScores.read(StoredScores.of("test", scores, data).write(tmp_path))
    for level in (1, 2, 3, None):
        wanted = level_metrics(scores, t, level)
        assert level_metrics(read.scores, t, level) == pytest.approx(wanted, nan_ok=True)
    assert isinstance(read.scores, RowScores) and read.scores.held.tolist() == scores.held.tolist()


def test_a_calibrator_counts_the_likeliest_code():
    t = tree()
    x = random_log_proba(9, 40, 2)
    rng = np.random.default_rng(0)
    sets = CodeSets.of_lists([rng.permutation(t.leaves)[: 1 + i % 2].tolist() for i in range(40)])
    nodes = t.node_log_proba(x)
    by_hand = [max(sets.padded()[i][: sets.size[i]], key=lambda c, i=i: nodes[i, c]) for i in range(40)]
    a, b = (fit_calibrator(t, x, target).table["log_loss"] for target in (sets, np.array(by_hand)))
    assert a.tolist() == pytest.approx(b.tolist())


# ---------------------------------------------------------------------- learning


WORDS = {"nurse": "111", "cook": "122", "driver": "211", "clerk": "221"}
TEXTS = ["nurse", "nurse ward", "cook", "cook kitchen", "driver", "driver truck", "clerk", "clerk office"] * 4


@pytest.mark.parametrize("hierarchy", ["topdown", "bottomup", "plt", "flat_logreg"])
def test_linear_models_learn_that_either_code_may_be_meant(hierarchy):
    t = tree()
    codes = [
        ["111", "112"] if "nurse" in x else "122" if "cook" in x else "211" if "driver" in x else "221" for x in TEXTS
    ]
    model = LinearClassifier(t, LinearSettings(hierarchy=hierarchy, min_df=1, unseen="floor", floor=0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(JobData.from_lists(t, TEXTS, codes))
    p = dict(zip([t.codes[i] for i in t.leaves], model.predict_proba(["nurse"])[0], strict=True))
    assert p["111"] == pytest.approx(p["112"], rel=0.05) and p["111"] + p["112"] > 0.6
    assert model.row_counts[t.index_of["112"]] == 8
    found = evaluate_model(model, JobData.from_lists(t, ["nurse"], [["112", "111"]]), bootstrap=0, decisions=False)
    assert found.metrics["level_3/recall@1"] == 1.0
    assert found.metrics["level_3/log_loss"] == pytest.approx(-math.log(p["111"] + p["112"]), abs=1e-6)


def test_flat_logistic_regression_shares_a_row_among_its_codes():
    t = from_edges(["a", "b", "c"], ["", "", ""])
    texts = ["one", "one", "two", "three"] * 5
    codes = [["a", "b"], "a", "b", "c"] * 5
    settings = LinearSettings(hierarchy="flat_logreg", min_df=1)
    data = JobData.from_lists(t, texts, codes)
    by_hand = data.spread()
    a, b = (LinearClassifier(t, settings).fit(x).predict_log_proba(texts[:4]) for x in (data, by_hand))
    # n-grams are counted in texts, not in codes: the same words here, other weights of words
    assert np.abs(np.exp(a) - np.exp(b)).max() < 0.03


def test_a_hybrid_weighs_its_parts_by_any_of_the_codes():
    t = tree()
    parts = [random_log_proba(9, 6, seed).astype(np.float32) for seed in (0, 1)]
    sets = CodeSets.of_lists([t.leaves[:2].tolist(), [int(t.leaves[3])], [0], t.leaves[4:7].tolist(), [1], [1, 0]])
    even = Combination("mixture", np.zeros((2, 1)), np.zeros(1), np.zeros(9, np.int64))
    rows = Rows.make(t, parts, sets)
    wanted = score_rows(t, even.log_proba(rows.parts), sets)
    own = wanted.own_level(t)
    by_level = [-wanted.log_p[i, own[i] - 1] for i in range(6)]
    assert losses(even, rows).tolist() == pytest.approx(by_level, abs=1e-6)
    assert losses(even, rows.take(np.array([3]))).tolist() == pytest.approx(by_level[3:4], abs=1e-6)


def test_predictions_of_several_codes():
    t = tree()
    plan = DecisionPlan(CodeColumns(t, (3, 1)), several=0.3)
    p = np.full((2, 9), 0.01)
    p[0, 0], p[0, 5], p[1, 2] = 0.32, 0.61, 0.92
    found = plan.decide(np.log(p))
    assert list(plan.columns) == [f"hjc_level{d}_several{x}" for d in (3, 1) for x in ("", "_proba")]
    assert found["hjc_level3_several"] == ["211 111", "121"] and found["hjc_level1_several"] == ["2 1", "1"]
    assert found["hjc_level3_several_proba"].tolist() == pytest.approx([0.93, 0.92])
    with pytest.raises(ValueError, match="--several: got 0"):
        DecisionPlan(CodeColumns(t), several=0.0)


def test_training_and_evaluation_of_a_file_with_other_codes(tmp_path, call):
    t = tree()
    codes = [WORDS[x.split()[0]] for x in TEXTS]
    others = ["112" if "nurse" in x else "" for x in TEXTS]
    pd.DataFrame({"text": TEXTS, "code": codes, "other": others}).to_csv(tmp_path / "rows.csv", index=False)
    pd.DataFrame({"code": t.codes}).to_csv(tmp_path / "tree.csv", index=False)
    model = LinearClassifier(t, LinearSettings(hierarchy="flat_logreg", min_df=1))
    data, _ = read_job_data(tmp_path / "rows.csv", t, DataSettings(train=["-"], other_codes_column="other"))
    model.fit(data).save_pretrained(tmp_path / "run")
    arguments = ["evaluate", tmp_path / "run", tmp_path / "rows.csv", "-t", "text", "--bootstrap", 0, "--no-report"]
    code, _, err = call(*arguments, "-o", tmp_path / "any", "--other-codes-column", "other")
    assert code == 0, err
    code, _, err = call(*arguments, "-o", tmp_path / "main")
    assert code == 0, err
    recall = [json.loads((tmp_path / x / "metrics.json").read_text())["test/level_3/recall@1"] for x in ("any", "main")]
    assert recall[0] == 1.0 and recall[1] <= 1.0
    assert "8 rows have several" in call(*arguments, "--other-codes-column", "other")[2]
    frame = pd.read_csv(tmp_path / "rows.csv", dtype=str, keep_default_na=False)
    frame.loc[0, "other"], frame.loc[1, "other"] = "999", "|"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    err = call(*arguments, "--other-codes-column", "other")[2]
    assert "1 other codes are not in" in err and "are left out, their rows stay: '999'" in err
