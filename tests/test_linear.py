"""LinearClassifier as a user meets it: it learns, its rows are distributions, it is stored whole, it needs no torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

from hjc.classifiers.base import LOG_PROBA_FLOOR
from hjc.classifiers.linear import LinearClassifier, count_rows
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.load import load
from hjc.classifiers.storage import ModelDirError
from hjc.classifiers.unseen import prior
from hjc.data.jobdata import JobData
from hjc.errors import NotFittedError
from hjc.taxonomy import Taxonomy, from_edges
from tests.damage import edit_config

pytest.importorskip("napkinxc.models", reason="napkinXC is not installed")

ROOT = Path(__file__).parent.parent
HIERARCHIES = ["topdown", "bottomup", "plt", "flat_logreg"]
#: ragged: a leaf at the top, a single-child chain, a pair, a leaf without data (X2)
EDGES = {
    "A": "", "B": "", "C": "", "A1": "A", "A2": "A", "A3": "A", "B1": "B", "B11": "B1", "X": "B", "X1": "X", "X2": "X",
}  # fmt: skip
WORDS = {
    "C": "soldat armia wojsko",
    "A1": "kucharz kuchnia restauracja",
    "A2": "kelner sala restauracja",
    "A3": "barman bar restauracja",
    "B11": "kierowca ciężarówka transport",
    "X1": "programista python kod",
}
EDGE_TEXTS = ["", "   \n", "zzz qqq", "<div><p>kucharz</p></div>", "kucharz " * 20_000, "КУХАРКА 料理人", "\ud800"]


@pytest.fixture(scope="module")
def tree() -> Taxonomy:
    return from_edges(list(EDGES), list(EDGES.values()))


@pytest.fixture(scope="module")
def data(tree: Taxonomy) -> JobData:
    rng = np.random.default_rng(0)
    codes = [code for code in WORDS for _ in range(12)]
    texts = [
        " ".join(rng.permutation(WORDS[c].split())) + f"\npraca {rng.choice(['od zaraz', 'stała'])}" for c in codes
    ]
    return JobData.from_lists(tree, texts, codes)


def small(**changes: object) -> LinearSettings:
    return LinearSettings(**{"min_df": 1, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(tree: Taxonomy, data: JobData) -> dict[str, LinearClassifier]:
    return {h: LinearClassifier(tree, small(hierarchy=h)).fit(data) for h in HIERARCHIES}


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_a_separable_toy_is_learnt_at_every_level(fitted, tree, data, hierarchy: str) -> None:  # type: ignore[no-untyped-def]
    log_proba = fitted[hierarchy].predict_log_proba(data.texts)
    for level in range(1, tree.depth + 1):
        top = tree.aggregate(log_proba, level).argmax(axis=1)
        np.testing.assert_array_equal(top, tree.level_column[data.gold, level - 1])


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
@pytest.mark.parametrize("floor", [0.0, 0.02, 0.5])
def test_rows_are_distributions_at_every_level(fitted, tree, data, hierarchy: str, floor: float) -> None:  # type: ignore[no-untyped-def]
    model = fitted[hierarchy]
    before, model.settings.floor = model.settings.floor, floor
    try:
        log_proba = model.predict_log_proba([*EDGE_TEXTS, *data.texts[:20]])
    finally:
        model.settings.floor = before
    assert log_proba.dtype == np.float32 and np.isfinite(log_proba).all()
    assert log_proba.min() >= LOG_PROBA_FLOOR - 1e-4
    for level in range(1, tree.depth + 1):
        np.testing.assert_allclose(logsumexp(tree.aggregate(log_proba, level), axis=1), 0, atol=1e-5)


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_texts_without_known_words_get_the_training_prior(fitted, tree, hierarchy: str) -> None:  # type: ignore[no-untyped-def]
    model = fitted[hierarchy]
    got = model.predict_proba(["", "   \n", "…"], level=1)
    expected = [
        sum(prior(tree, model.row_counts)[n] for n in [node]) for node in tree.level_nodes(1)
    ]  # level 1 has no parents: the conditional prior is the prior
    np.testing.assert_allclose(got, np.tile(expected, (3, 1)), rtol=1e-5)


def test_unseen_leaf_gets_the_declared_floor(fitted, tree) -> None:  # type: ignore[no-untyped-def]
    """Topdown by hand: at each node of the path, (1 - floor) of the model and floor of the prior."""
    model = fitted["topdown"]
    column = tree.leaf_codes.index("X2")
    counts = model.row_counts
    assert counts[tree.index_of["X2"]] == 0
    log_proba = model.predict_log_proba(["programista python"])[0]
    given_x = np.exp(log_proba[column] - logsumexp(log_proba[[tree.leaf_codes.index(c) for c in ("X1", "X2")]]))
    assert given_x == pytest.approx(model.settings.floor * 0.5 / (12 + 1), rel=1e-3)
    # likelier under a likely parent
    assert log_proba[column] > model.predict_log_proba(["kucharz kuchnia"])[0][column]


def test_prior_counts_inner_gold_down_to_its_node(tree: Taxonomy) -> None:
    gold = tree.encode(["A", "A1", "C"])
    counts = count_rows(tree, gold, np.array([2.0, 1.0, 1.0]))
    assert counts[tree.index_of["A"]] == 3 and counts[tree.index_of["A1"]] == 1
    p = prior(tree, counts)
    np.testing.assert_allclose(np.add.reduceat(p, tree.group_slice[:, 0]), 1)


def test_inner_gold_trains_the_levels_above(tree: Taxonomy, data: JobData) -> None:
    extra = JobData.from_lists(tree, ["gastronomia hotel"] * 12, ["A"] * 12)
    both = JobData.concat([data, extra])
    model = LinearClassifier(tree, small()).fit(both)
    assert model.row_counts[tree.level_nodes(1)].sum() == 84
    top = model.predict_proba(["gastronomia hotel"], level=1)[0]
    assert tree.level_codes(1)[int(top.argmax())] == "A" and top.max() > 0.8
    np.testing.assert_allclose(model.predict_proba(["gastronomia hotel"]).sum(), 1, atol=1e-5)
    for changes in ({"inner_gold": "drop"}, {"hierarchy": "bottomup"}):
        with pytest.warns(UserWarning, match=r"12 of 84 training rows are coded to inner nodes \('A'\)"):
            other = LinearClassifier(tree, small(**changes)).fit(both)
        assert other.row_counts[tree.level_nodes(1)].sum() == 72


def test_weights_are_repeated_rows(tree: Taxonomy, data: JobData) -> None:
    weight = np.where(np.arange(len(data)) % 2, 1.5, 0.5)
    weighted = JobData.from_lists(tree, data.texts, data.codes, weights=weight)
    model = LinearClassifier(tree, small()).fit(weighted)
    assert model.row_counts[tree.index_of["C"]] == 6 * 1 + 6 * 3
    with pytest.raises(ValueError, match="integer multiple"):
        LinearClassifier(tree, small()).fit(
            JobData.from_lists(tree, data.texts, data.codes, weights=np.linspace(1, 2.3, len(data)))
        )
    ignored = LinearClassifier(tree, small(weights="ignore")).fit(weighted)
    assert ignored.row_counts[tree.index_of["C"]] == 12
    zero = JobData.from_lists(tree, data.texts, data.codes, weights=np.arange(len(data)) % 2)
    assert LinearClassifier(tree, small()).fit(zero).row_counts[tree.level_nodes(1)].sum() == 36
    any_weight = JobData.from_lists(tree, data.texts, data.codes, weights=np.linspace(1, 2.3, len(data)))
    assert LinearClassifier(tree, small(hierarchy="flat_logreg")).fit(any_weight).is_fitted


@pytest.mark.parametrize("changes", [{}, {"threads": 2}, {"loss": "l2"}, {"hierarchy": "flat_logreg"}])
def test_the_same_seed_gives_the_same_model(tree: Taxonomy, data: JobData, changes: dict[str, object]) -> None:
    one, other = (LinearClassifier(tree, small(**changes)).fit(data).predict_log_proba(data.texts) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_a_fresh_process_gives_identical_probabilities(fitted, data, tmp_path: Path, hierarchy: str) -> None:  # type: ignore[no-untyped-def]
    model = fitted[hierarchy]
    model.save_pretrained(tmp_path / "model")
    texts = [*EDGE_TEXTS[:-1], *data.texts[:10]]
    np.save(tmp_path / "expected.npy", model.predict_log_proba(texts))
    (tmp_path / "texts.txt").write_text("\0".join(texts), encoding="utf-8", newline="")
    code = f"""
import sys, numpy as np
from pathlib import Path
import hjc
here = Path({str(tmp_path)!r})
model = hjc.load(here / "model")
texts = (here / "texts.txt").open(encoding="utf-8", newline="").read().split("\\0")
assert (model.predict_log_proba(texts) == np.load(here / "expected.npy")).all()
bad = [m for m in ("torch", "transformers", "napkinxc", "hydra", "pytorch_lightning") if m in sys.modules]
assert not bad, bad
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_training_imports_no_torch() -> None:
    code = (
        "import sys; from hjc.classifiers.linear import LinearClassifier as C; from hjc.taxonomy import from_edges;"
        "from hjc.data.jobdata import JobData; from hjc.classifiers.linear_settings import LinearSettings as S;"
        "t = from_edges(['a', 'b'], ['', '']); d = JobData.from_lists(t, ['x y', 'z'], ['a', 'b']);"
        "C(t, S(min_df=1)).fit(d).predict(['x']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.returncode == 0, done.stderr


def test_a_loaded_model_can_be_saved_again(fitted, data, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    fitted["topdown"].save_pretrained(tmp_path / "one")
    load(tmp_path / "one").save_pretrained(tmp_path / "two")
    np.testing.assert_array_equal(
        load(tmp_path / "two").predict_log_proba(data.texts), fitted["topdown"].predict_log_proba(data.texts)
    )


@pytest.mark.parametrize("hierarchy", ["topdown", "flat_logreg"])
def test_a_damaged_directory_is_one_clear_error(fitted, tmp_path: Path, hierarchy: str) -> None:  # type: ignore[no-untyped-def]
    fitted[hierarchy].save_pretrained(tmp_path)
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "config.json"]
    assert len(files) > 5
    for path in files:
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], bytes([whole[0] ^ 1]) + whole[1:], None):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            with pytest.raises(ModelDirError, match=path.name.replace(".", r"\.")):
                LinearClassifier.from_pretrained(tmp_path)
        path.write_bytes(whole)
    assert LinearClassifier.from_pretrained(tmp_path).is_fitted


def test_one_leaf_and_one_class_are_enough(data: JobData) -> None:
    single = from_edges(["a", "a1"], ["", "a"])
    for hierarchy in HIERARCHIES:
        model = LinearClassifier(single, small(hierarchy=hierarchy)).fit(JobData.from_lists(single, ["x y"], ["a1"]))
        np.testing.assert_allclose(model.predict_proba(["x", ""]), 1)
    two = from_edges(["a", "b"], ["", ""])
    for hierarchy in HIERARCHIES:
        model = LinearClassifier(two, small(hierarchy=hierarchy)).fit(JobData.from_lists(two, ["x y", "z"], ["a", "a"]))
        assert model.predict_proba(["x"])[0, 0] > 0.9


def test_errors_name_the_cause(tree: Taxonomy, data: JobData) -> None:
    model = LinearClassifier(tree, small())
    with pytest.raises(NotFittedError, match="has not been fitted"):
        model.predict(["x"])
    with pytest.raises(ValueError, match="have no code"):
        model.fit(JobData.from_lists(tree, ["x"], [None]))
    with pytest.raises(ValueError, match="train: got no rows"):
        model.fit(data.take([]))
    other = from_edges(["a"], [""])
    with pytest.raises(ValueError, match="its codes belong to"):
        model.fit(JobData.from_lists(other, ["x"], ["a"]))
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="inner node as gold"):
        LinearClassifier(tree, small(hierarchy="plt")).fit(JobData.from_lists(tree, ["x"], ["A"]))


def test_flat_logreg_learns_where_classes_and_features_are_many() -> None:
    """The mean gradient at the start is below 1e-3 here: with that as tolerance nothing is learnt."""
    codes = [f"c{i:03d}" for i in range(150)]
    tree = from_edges(codes, [None] * len(codes))
    texts = [" ".join(f"{code}w{j}" for j in range(20)) for code in codes] * 2
    data = JobData.from_lists(tree, texts, codes * 2)
    model = LinearClassifier(tree, small(hierarchy="flat_logreg", features="word", lead_weight=0)).fit(data)
    assert (model.predict_log_proba(texts[:150]).argmax(axis=1) == np.arange(150)).all()
    assert model.predict_proba(texts[:150]).max(axis=1).min() > 0.3


def test_flat_logreg_refuses_what_would_not_fit_in_memory() -> None:
    codes = [f"c{i:03d}" for i in range(150)]
    tree = from_edges(codes, [None] * len(codes))
    settings = small(hierarchy="flat_logreg", features="word", lead_weight=0, hashing=2**18)
    with pytest.raises(ValueError, match=r"150 codes x 262,144 features .* about 10 GB .* model.hierarchy=topdown"):
        LinearClassifier(tree, settings).fit(JobData.from_lists(tree, codes, codes))


def test_a_model_from_before_score_scale_predicts_as_it_did(tree: Taxonomy, data: JobData, tmp_path: Path) -> None:
    model = LinearClassifier(tree, LinearSettings(min_df=1, score_scale=1.0, tonos="keep")).fit(data)
    model.save_pretrained(tmp_path)
    edit_config(tmp_path, lambda config: [config["parameters"].pop(name) for name in ("score_scale", "tonos")])
    again = LinearClassifier.from_pretrained(tmp_path)
    assert again.settings.tonos == "keep"
    np.testing.assert_array_equal(again.predict_log_proba(data.texts), model.predict_log_proba(data.texts))
