"""The head for texts of several codes: its probabilities and metrics by two formulations each, and the commands."""

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import f1_score, label_ranking_average_precision_score, log_loss, precision_score, recall_score

import hjc
from hjc.classifiers.derived import read_derived, write_derived
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.lookup import LookupClassifier
from hjc.classifiers.lookup_settings import LookupSettings
from hjc.classifiers.napkinxc_weights import LinearNodes
from hjc.classifiers.neural import NeuralClassifier
from hjc.classifiers.reweighted import ReweightedClassifier
from hjc.classifiers.several import SeveralHead
from hjc.classifiers.vectors import TF_IDF, TextVectors
from hjc.data import JobData
from hjc.data.codesets import CodeSets
from hjc.errors import ModelDirError
from hjc.evaluation import evaluate_model
from hjc.evaluation.several import check_several, fit_several
from hjc.metrics import LevelProba, Resamples
from hjc.metrics.several import METRICS, BestThreshold, SetScores, determined, present
from hjc.taxonomy import from_prefix_codes
from tests.strategies import random_log_proba, taxonomies

WORDS = {"11": "nurse", "12": "doctor", "21": "driver", "22": "packer", "31": "cook", "32": "waiter"}


def tree():
    return from_prefix_codes([*WORDS, "411"], [1, 2, 3])


def ads(n: int, seed: int = 0) -> pd.DataFrame:
    """Titles of one job or of two; "medic" is one job, nurse or doctor, of which nobody can be sure."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(n):
        codes = rng.choice(list(WORDS), 1 + int(rng.random() < 0.4), replace=False).tolist()
        doubt = codes in (["11"], ["12"]) or rng.random() < 0.2
        codes = [str(rng.choice(["11", "12"]))] if doubt else codes
        words = "medic" if doubt else " and ".join(WORDS[c] for c in codes)
        lines.append((f"{words} {i}", "|".join(codes)))
    return pd.DataFrame(lines, columns=["title", "code"])


def rows(n: int, seed: int = 0) -> JobData:
    frame = ads(n, seed)
    return JobData.from_lists(tree(), frame["title"].tolist(), [c.split("|") for c in frame["code"]])


# ---------------------------------------------------------------------- probabilities


@settings(max_examples=25)
@given(taxonomies(plain_codes=True), st.integers(0, 2**16))
def test_probabilities_are_those_of_the_definition_and_coherent(taxonomy, seed):
    rng = np.random.default_rng(seed)
    n, features = len(taxonomy), 5
    nodes = LinearNodes(
        sparse.csr_matrix(rng.normal(size=(n, features)).astype(np.float32)),
        rng.normal(-1, 3, n).astype(np.float32), np.full(n, 2), hinge=False,
    )  # fmt: skip
    x = rng.normal(size=(2, features)).astype(np.float32)
    vectors = TextVectors(TF_IDF, x)
    found = np.exp(SeveralHead(taxonomy, nodes, TF_IDF, 1, 1).log_proba(vectors))
    own = LevelProba.of(taxonomy, random_log_proba(taxonomy.num_leaves, 2, seed)).nodes()
    mixed = SeveralHead(taxonomy, nodes, TF_IDF, 1, 1, share=0.3).proba(vectors, own)
    assert np.allclose(mixed, 0.3 * found + 0.7 * own)

    yes = 1 / (1 + np.exp(-(x @ nodes.weights.toarray().T + nodes.bias).astype(float)))

    def has(row: int, node: int) -> float:
        parent = taxonomy.parents[node]
        own = yes[row, node] / min(1.0, yes[row, taxonomy.parents == parent].sum())
        return own if parent < 0 else own * has(row, parent)

    assert np.allclose(found, [[has(row, node) for node in range(n)] for row in range(2)], rtol=1e-4)
    for proba in (found, mixed):
        for node in range(n):
            children = np.flatnonzero(taxonomy.parents == node)
            if len(children):
                assert (proba[:, children] <= proba[:, [node]] * (1 + 1e-9)).all()
                assert (proba[:, children].sum(axis=1) >= proba[:, node] * (1 - 1e-9)).all()
        assert (proba[:, taxonomy.parents < 0].sum(axis=1) >= 1 - 1e-9).all()


# ---------------------------------------------------------------------- metrics


def measured(seed: int, n: int = 60, k: int = 7):
    rng = np.random.default_rng(seed)
    true = rng.random((n, k)) < 0.25
    true[np.arange(n), rng.integers(0, k - 1, n)] = True
    true[:, -1] = False  # a code that nobody has
    proba = np.round(np.clip(0.5 * true + rng.normal(0.2, 0.25, (n, k)), 0.01, 0.99), 2)  # with ties
    proba[:, -1] = 0.01
    return proba, true


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_metrics_are_those_of_scikit_learn(seed):
    proba, true = measured(seed)
    scores = SetScores(proba.shape[1], 0.4)
    for part in np.array_split(np.arange(len(true)), 4):
        scores.update(proba[part], true[part])
    found, said = scores.values(), proba >= 0.4
    assert list(found) == list(METRICS)
    some = (said | true).any(axis=0)
    expected = {
        "micro_f1": f1_score(true, said, average="micro"),
        "micro_precision": precision_score(true, said, average="micro"),
        "micro_recall": recall_score(true, said, average="micro"),
        "macro_f1": f1_score(true[:, some], said[:, some], average="macro"),
        "exact": (said == true).all(axis=1).mean(),
        "lrap": label_ranking_average_precision_score(true, proba),
        "log_loss": sum(log_loss(true[:, k], proba[:, k], labels=[False, True]) for k in range(true.shape[1])),
        "several_precision": precision_score(true.sum(axis=1) > 1, said.sum(axis=1) > 1),
        "several_recall": recall_score(true.sum(axis=1) > 1, said.sum(axis=1) > 1),
        "codes": said.sum(axis=1).mean(),
    }
    assert found == pytest.approx(expected, rel=1e-9)
    drawn = Resamples.draw(len(true), 20, seed=seed)
    by_row = SetScores(proba.shape[1], 0.4, len(true))
    by_row.update(proba, true, drawn.unit)
    replicates = by_row.replicates(drawn.counts.astype(float))
    again = np.repeat(np.arange(len(true)), drawn.counts[:, 3])
    whole = SetScores(proba.shape[1], 0.4)
    whole.update(proba[again], true[again])
    for name, values in replicates.items():
        assert values[3] == pytest.approx(whole.values()[name]), name


def test_best_threshold_is_the_best_of_all():
    proba, true = measured(5)
    best = BestThreshold()
    best.update(proba[:30], true[:30])
    best.update(proba[30:], true[30:])
    f1 = {t: f1_score(true, proba >= t, average="micro") for t in np.unique(proba)}
    assert f1[best.value()] == pytest.approx(max(f1.values()))
    assert BestThreshold().value() == 1.0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_threshold_of_a_mixture_is_that_of_the_mixed_probabilities(share):
    (first, true), (other, _) = measured(6), measured(7)
    mixed, both = BestThreshold(), BestThreshold()
    mixed.update(share * first + (1 - share) * other, true)
    both.update(first, true, other)
    assert both.value(share) == mixed.value()


def test_validation_rows_are_read_once_and_choose_the_share_of_least_loss(tmp_path):
    class Once(LinearClassifier):
        passes = 0

        def iter_log_proba(self, texts, *args, **options):
            type(self).passes += 1
            return super().iter_log_proba(texts, *args, **options)

    model, valid = Once(tree(), min_df=1, features="word").fit(rows(100)), rows(60, seed=1)
    model.save_pretrained(tmp_path / "model")
    Once.passes = 0
    fit_several(model, tmp_path / "model", rows(100), valid)
    assert Once.passes == 1
    head, t = model.several, model.taxonomy
    ours = np.exp(head.log_proba(model.text_vectors(list(valid.texts))))
    own, has = LevelProba.of(t, model.leaf_log_proba(valid.texts)).nodes(), present(t, valid.sets)
    loss = {s: log_loss(has.ravel(), (s * ours + (1 - s) * own).ravel()) for s in np.linspace(0, 1, 11)}
    assert head.share == min(loss, key=loss.get)
    for way, proba in (("head", head.proba(model.text_vectors(list(valid.texts)), own)), ("probabilities", own)):
        f1 = [2 * (has & (proba >= p)).sum() / (has.sum() + (proba >= p).sum()) for p in np.unique(proba)]
        got = f1_score(has, proba >= head.thresholds[way][-1], average="micro")
        assert got == pytest.approx(max(f1))


def test_what_rows_have_and_where_that_is_known():
    t = tree()
    sets = CodeSets.of_lists([[t.index_of["11"], t.index_of["12"]], [t.index_of["41"], t.index_of["21"]]])
    has = present(t, sets)
    assert [sorted(t.codes[i] for i in np.flatnonzero(row)) for row in has] == [
        ["1", "11", "12"],
        ["2", "21", "4", "41"],
    ]
    assert determined(t, sets, 2).tolist() == [True, True] and determined(t, sets, 3).tolist() == [True, False]


# ---------------------------------------------------------------------- a model with a head


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head") / "model"
    model = LinearClassifier(tree(), min_df=1, features="word").fit(rows(300))
    model.save_pretrained(folder)
    sentence = fit_several(model, folder, rows(300), rows(120, seed=1))
    assert "several with the best F1 on validation rows: 0." in sentence and "300 training rows" in sentence
    return folder


def test_the_head_tells_two_jobs_from_doubt_and_is_there_after_loading(model):
    loaded = hjc.load(model)
    head = loaded.several
    assert head is not None and head.rows == 300 and set(head.thresholds) == {"head", "probabilities"}
    proba = np.exp(head.log_proba(loaded.text_vectors(["nurse and driver", "medic", "cook"])))
    at = [loaded.taxonomy.index_of[c] for c in ("11", "21", "31")]
    assert (proba[0, at[:2]] > 0.7).all() and proba[0, at[2]] < 0.1 and 0.3 < proba[1, at[0]] < 0.7
    found = evaluate_model(loaded, rows(200, seed=3), bootstrap=50, progress=False)
    table = found.decided.several.set_index(["way", "level", "metric"])
    loss = [table.loc[(way, "3", "log_loss"), "value"] for way in ("head", "probabilities")]
    assert loss[0] < loss[1] - 0.2 and table.loc[("head", "3", "several_recall"), "value"] > 0.95
    assert ("head", "all", "several_recall") not in table.index, "every row has several nodes"
    f1 = table.loc[("head", "all", "micro_f1")]
    assert f1["low"] <= f1["value"] <= f1["high"] and f1["n"] == 200
    assert fit_several(loaded, model, rows(10), rows(10)).startswith("head for several codes (several.npz): 300")


def test_a_head_without_validation_rows_says_from_a_half_on(tmp_path):
    model = LinearClassifier(tree(), min_df=1, features="word").fit(rows(60))
    model.save_pretrained(tmp_path / "model")
    assert "validation" not in fit_several(model, tmp_path / "model", rows(60), rows(60).take([]))
    table = evaluate_model(model, rows(20), bootstrap=0, progress=False).decided.several
    assert (table["threshold"] == 0.5).all()
    assert ReweightedClassifier(model, np.zeros(model.taxonomy.num_leaves)).several is None


def test_rows_that_cannot_be_learnt_from_and_models_without_vectors_are_refused(tmp_path):
    one = JobData.from_lists(tree(), ["a", "b"], ["11", "12"])
    with pytest.raises(ValueError, match="of 2 rows 2 can be used, and none has more than one"):
        check_several(LinearClassifier(tree()), one)
    inner = JobData.from_lists(tree(), ["a", "b"], [["11", "2"], "12"])
    with pytest.raises(ValueError, match="of 2 rows 1 can be used"):
        SeveralHead.fit(tree(), TextVectors(TF_IDF, np.eye(2, dtype=np.float32)), inner.sets)
    lookup = LookupClassifier(tree(), LookupSettings())
    with pytest.raises(ValueError, match=r"a lookup model cannot have a head for several codes .*linear, neural"):
        check_several(lookup, rows(20))


def test_a_damaged_head_and_one_of_another_model_are_named(model, tmp_path):
    shutil.copytree(model, tmp_path / "copy")
    broken = tmp_path / "copy" / "several.npz"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(ModelDirError, match=r"several\.npz: truncated or altered"):
        hjc.load(tmp_path / "copy")
    other = LinearClassifier(tree(), min_df=1, features="word", C=3).fit(rows(50))
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "several.npz").write_bytes((model / "several.npz").read_bytes())
    with pytest.raises(ModelDirError, match="made for another model"):
        hjc.load(tmp_path / "other")
    other.save_pretrained(tmp_path / "copy")
    assert not broken.exists(), "a new model in the directory: the head of the old one is gone"


def test_arrays_of_a_stranger_are_damage(model, tmp_path):
    shutil.copytree(model, tmp_path / "copy")
    good = read_derived(model, "several.npz")

    def refused(**changed) -> None:
        write_derived(tmp_path / "copy", "several.npz", good | changed)  # whose checksums are right
        with pytest.raises(ModelDirError, match=r"several\.npz: "):
            hjc.load(tmp_path / "copy")

    write_derived(tmp_path / "copy", "several.npz", good)
    assert hjc.load(tmp_path / "copy").several is not None
    codes, features = len(good["bias"]), int(good["features"])
    refused(features=features + 1)
    refused(features=np.array([features]))
    refused(space="vectors of the encoder")
    refused(data=np.full(len(good["data"]), 1e300))  # infinite as float32
    refused(data=good["data"][:-1])
    refused(indices=np.full_like(good["indices"], features))
    refused(bias=good["bias"] + 1j)
    refused(bias=np.full(codes, np.nan))
    refused(bias=good["bias"][:-1])
    refused(threshold_head=np.full(4, np.nan))
    refused(threshold_head=np.array(["0.5"] * 4))
    refused(threshold_head=np.full(3, 0.5))
    refused(rows=[-300, -3])
    refused(rows=[3, 300])
    refused(rows=[300])
    refused(share=1.5)
    refused(threshold_head=np.full(4, 7.0))
    refused(indices=good["indices"] + 0.4)
    refused(data=np.full(len(good["data"]), -3e38))  # sums of which are infinite


KINDS = {
    "NaN": np.nan, "infinite": np.inf, "large": 3e38, "negative": -3e38, "too large": 2**62, "complex": 1j, "text": "x",
    "numbers as text": "0.5", "bytes": b"x", "yes": True, "a date": np.datetime64("2020-01-01"),
    "fields": np.zeros((), dtype=[("a", "i4")]),
}  # fmt: skip


@pytest.mark.parametrize("name", ["data", "indices", "indptr", "bias", "features", "space", "rows", "share",
                                  "threshold_head", "threshold_probabilities"])  # fmt: skip
def test_every_damage_of_every_array_is_a_message_or_leaves_probabilities(model, tmp_path, name):
    """Checksums are right in all of them: a forger can make these."""
    shutil.copy(model / "config.json", tmp_path)
    loaded, good = hjc.load(model), read_derived(model, "several.npz")
    shape, file = good[name].shape, tmp_path / "several.npz"
    changed = {kind: np.full(shape, value) for kind, value in KINDS.items()}
    changed |= {"no rows": np.zeros(0), "one value": np.array(0.5), "rows of rows": np.stack([good[name]] * 2)}
    refused = 0
    for kind, array in changed.items():
        write_derived(tmp_path, "several.npz", {**good, name: array})
        try:
            head = SeveralHead.load(tmp_path, loaded.taxonomy, loaded.text_vectors)
        except ModelDirError as error:
            refused += str(error).startswith(f"{file}: ")
        else:
            proba = np.exp(head.log_proba(loaded.text_vectors(["nurse and driver", ""])))
            assert np.isfinite(proba).all() and proba.max() <= 1 + 1e-9, kind
    assert refused >= 10
    missing = {key: array for key, array in good.items() if key != name}
    write_derived(tmp_path, "several.npz", missing)
    if not name.startswith("threshold"):  # a model without validation rows has none
        with pytest.raises(ModelDirError, match=name):
            SeveralHead.load(tmp_path, loaded.taxonomy, loaded.text_vectors)
    np.savez(file, **{**good, name: np.array([{}, 2], dtype=object)})
    with pytest.raises(ModelDirError, match="truncated or altered"):
        SeveralHead.load(tmp_path, loaded.taxonomy, loaded.text_vectors)


@pytest.mark.slow
def test_from_a_table_to_ads_of_two_jobs(tmp_path, call):
    ads(400).to_csv(tmp_path / "ads.csv", index=False)
    pd.DataFrame({"title": ["nurse and driver", "cook", "waiter"]}).to_csv(tmp_path / "new.csv", index=False)
    t = tree()
    parents = [t.codes[p] if p >= 0 else "" for p in t.parents.tolist()]
    pd.DataFrame({"code": t.codes, "parent": parents}).to_csv(tmp_path / "codes.csv", index=False)
    train = (
        "train", f"data.files=[{tmp_path}/ads.csv]", "data=csv", "data.text_columns=[title]", "model=linear",
        "taxonomy=csv", f"taxonomy.path={tmp_path}/codes.csv", "evaluation=quick", "evaluation.several=true",
        f"run_dir={tmp_path}/run",
    )  # fmt: skip
    code, _, err = call(*train)
    assert code and "Give data.other_codes_column or data.code_separator" in err
    code, out, err = call(*train, "data.code_separator='|'", "trainer.resume=false")
    assert not code and "head for several codes (several.npz)" in out, err
    more = ("data.code_separator='|'", "evaluation.report=true", "evaluation.bootstrap=20")
    assert not call(*train, *more)[0], "a finished run is evaluated again"
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "All codes of a text" in page and "Ways to decide on codes" in page
    written = pd.read_csv(tmp_path / "run" / "several.csv")
    assert set(written["set"]) == {"valid", "test"} and set(written["way"]) == {"head", "probabilities"}
    code, out, _ = call("evaluate", tmp_path / "run", tmp_path / "ads.csv", "--bootstrap", "0")
    assert not code and "all codes of a text" in out and "LRAP" in out
    code, _, err = call("predict", tmp_path / "run", tmp_path / "new.csv", "--several", "0.5", "-o", tmp_path / "o.csv")
    assert not code and "by the model's head for texts of several codes" in err
    coded = pd.read_csv(tmp_path / "o.csv", dtype={"hjc_level3_several": str})
    assert {*coded["hjc_level3_several"][0].split()} == {"11", "21"}
    assert coded["hjc_level3_several"].tolist()[1:] == ["31", "32"] and coded["hjc_level3_several_proba"][0] > 1.3
    again = ("predict", tmp_path / "run", tmp_path / "new.csv", "--several", "0.5", "--prior", "uniform")
    assert "the head for several codes knows the shares of its training only" in call(*again)[2]


@pytest.mark.slow
def test_an_encoder_has_a_head_too(tmp_path):
    model = NeuralClassifier(
        tree(), encoder="tiny", tiny_hidden=32, tiny_layers=1, tiny_vocabulary=300, max_length=8, epochs=8,
        batch_size=32, learning_rate=2e-3, head_learning_rate=1e-2, precision="32", threads=1, loggers=[],
    ).fit(rows(400), rows(100, seed=1))  # fmt: skip
    model.save_pretrained(tmp_path / "model")
    fit_several(model, tmp_path / "model", rows(400), rows(100, seed=1))
    loaded = hjc.load(tmp_path / "model")
    table = evaluate_model(loaded, rows(150, seed=3), bootstrap=0, progress=False).decided.several
    loss = table[table["metric"] == "log_loss"].set_index(["way", "level"])["value"]
    assert loss["head", "3"] < loss["probabilities", "3"]
