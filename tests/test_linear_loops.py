"""Compiled loops of linear models against NumPy's way: the same numbers, to the last bit."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from hjc.classifiers import compiled, feature_weights, features, text_words
from hjc.classifiers.compiled import SOON, Compiled
from hjc.classifiers.feature_weights import FeatureWeights
from hjc.classifiers.features import TextFeatures
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.sparse_rows import SparseRows
from hjc.classifiers.text_words import Spelling, words_of
from hjc.data.sample import load_sample

pytest.importorskip("numba")

CHARACTERS = "aAbİıßﬁŉΐΆςé\u0301\u0345\u00ad \n\t\u2028+#-_.1²½\ufdfa\U0001f600\U00010400\U000104a0\ud800가"
TEXTS = st.lists(st.text(CHARACTERS, max_size=12), min_size=1, max_size=6)
FIXTURE = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiled]:
    """Compiled loops for every batch."""
    loaded = Compiled()
    assert loaded.load()
    for module in (features, feature_weights):
        monkeypatch.setattr(module, "COMPILED", loaded)
    for module in (compiled, feature_weights):
        monkeypatch.setattr(module, "FEW_TEXTS", 1)
    monkeypatch.setattr(text_words, "_FEW", 0)
    yield loaded


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (features, feature_weights):
        monkeypatch.setattr(module, "COMPILED", Compiled())


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=FIXTURE)
@given(
    texts=TEXTS, spelling=st.sampled_from([Spelling(), Spelling(form="NFC", casefold=False), Spelling(tonos="keep")])
)
@example(texts=["\n \n a+b c#\nb", "", " \n", "a" * 300], spelling=Spelling())
@example(texts=["C++#", "\U0001f600 \U00010400x\nZażółć", "ŉa\u0301"], spelling=Spelling())
def test_words_are_those_of_numpy(loops: Compiled, texts: list[str], spelling: Spelling) -> None:
    words, leads = words_of(texts, spelling)
    found, found_leads = words_of(texts, spelling, loops.loops)
    assert list(found.known) == list(words.known)
    assert found.lists() == words.lists()
    np.testing.assert_array_equal(found_leads, leads)
    assert found.first(leads).lists() == words.first(leads).lists()


@pytest.mark.slow
def test_many_words_and_long_texts(loops: Compiled) -> None:
    rng = np.random.default_rng(1)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 40_000, size)) for size in (0, 3, 30_000, 9, 30_000)]
    words, _ = words_of(texts, Spelling())
    found, _ = words_of(texts, Spelling(), loops.loops)
    assert list(found.known) == list(words.known)
    np.testing.assert_array_equal(found.flat, words.flat)
    np.testing.assert_array_equal(found.ends, words.ends)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"features": "char", "lead_weight": 0}, {"features": "word", "word_ngrams": [1, 3]}, {"stemming": "pl"},
     {"hashing": 128}, {"sublinear_tf": False, "char_ngrams": [4, 9]}, {"max_features": 40}],
)  # fmt: skip
def test_rows_are_those_of_numpy(loops: Compiled, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    fitted = TextFeatures(LinearSettings(**{"min_df": 1, **changes}))  # type: ignore[arg-type]
    texts = ["Kierowca C++ kategorii\nprawo jazdy, kierowca", "nurse", "", "???", "straße 2 ﬁn \U0001f600 x", "a"]
    fitted.fit(texts)
    asked = [*texts, "unbekannt", "kierowca " * 5000, "zupełnie inny tekst o pracy kierowcy\nprawo"]
    found = fitted.rows(asked)
    without(monkeypatch)
    plain = fitted.rows(asked)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name), name)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 20), wide=st.integers(1, 80), number=st.integers(1, 30))
def test_scores_are_those_of_scipy(loops: Compiled, seed: int, rows: int, wide: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    weights = sparse.random(wide, number, 0.5 * rng.random(), "csr", np.float32, rng)
    weights.sort_indices()
    given_rows = SparseRows.of(sparse.random(rows, wide, 0.5, "csr", np.float32, rng))
    one = FeatureWeights(weights.indptr, weights.indices, weights.data, number)
    np.testing.assert_array_equal(one.scores(given_rows), one.plain_scores(given_rows))
    assert loops.loops is not None


@pytest.mark.slow
@pytest.mark.parametrize("hierarchy", ["topdown", "plt"])
def test_a_model_answers_the_same(loops: Compiled, monkeypatch: pytest.MonkeyPatch, hierarchy: str) -> None:
    data = load_sample().train.take(np.arange(400))
    model = LinearClassifier(data.taxonomy, hierarchy=hierarchy).fit(data)
    texts = [*data.texts[:150], "", "nothing of this kind"]
    found = model.predict_log_proba(texts)
    without(monkeypatch)
    np.testing.assert_array_equal(found, model.predict_log_proba(texts))


@pytest.mark.slow
def test_other_sums_leave_the_loops_out(loops: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sparse.csr_matrix(np.eye(3, dtype=np.float32))
    one = FeatureWeights(weights.indptr, weights.indices, weights.data, 3)
    rows = SparseRows.of(sparse.csr_matrix(np.ones((4, 3), np.float32)))

    def other(*arrays: np.ndarray) -> None:
        arrays[-1][:] = 1.0000001

    monkeypatch.setattr(loops.loops, "product", other)
    with pytest.warns(UserWarning, match="give other sums than NumPy and SciPy on this processor"):
        scores = one.scores(rows)
    np.testing.assert_array_equal(scores, np.ones((4, 3)))
    assert loops.after(["x" * SOON] * 200) is None and not loops.load()


def test_loops_wait_until_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Compiled()
    assert state.after(["x" * SOON] * 3) is None  # a service's batch
    part = ["x" * (SOON // 400)] * 200  # half of what is needed
    assert state.after(part) is None
    assert state.after(part) is not None
    state.use(False)
    assert state.after(part * 2) is None
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    state = Compiled()
    assert state.after(part * 2) is None and state.loops is None
    with pytest.raises(ImportError, match=r"pip install 'hjc\[fast\]'"):
        state.use(True)


@pytest.mark.parametrize("hierarchy", ["topdown", "plt", "bottomup"])
def test_numbers_of_a_row_are_those_in_every_batch(hierarchy: str) -> None:
    data = load_sample().train.take(np.arange(120))
    model = LinearClassifier(data.taxonomy, hierarchy=hierarchy).fit(data)
    texts = [*data.texts[:66], ""]
    whole = model.predict_log_proba(texts)
    for size in (1, 2, 65):
        parts = [model.predict_log_proba(texts[i : i + size]) for i in range(0, len(texts), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_numba_that_cannot_be_imported_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hjc.classifiers.loops", None)  # raises ImportError
    monkeypatch.delattr("hjc.classifiers.loops", raising=False)
    state, texts = Compiled(), ["x" * SOON] * 200
    with pytest.warns(UserWarning, match="Numba is installed and cannot be imported"):
        assert state.after(texts) is None
    assert state.after(texts) is None
    with pytest.warns(UserWarning), pytest.raises(ImportError, match="the compiled loops of linear models need Numba"):
        state.use(True)


@pytest.mark.slow
def test_compiled_code_that_is_damaged_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from hjc.classifiers.loops import compiling

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "_LOOPS", [])

    def one_more(x: int) -> int:
        return x + 1

    assert compiling.guarded(compiling.compiled(one_more))(1) == 2
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".nbi", ".nbc"}
    for path in kept:  # as a crash leaves them
        path.write_bytes(path.read_bytes()[:100])
        with pytest.warns(
            UserWarning, match=r"'one_more' failed .* keeps in .* is thrown away, and it is compiled again"
        ):
            assert compiling.guarded(compiling.compiled(one_more))(1) == 2
        assert path.stat().st_size > 100
        assert compiling.guarded(compiling.compiled(one_more))(1) == 2  # without a warning


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["words", "scale", "product"])
def test_loops_that_cannot_be_compiled_are_left_out(
    loops: Compiled, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    from hjc.classifiers.loops import compiling

    data = load_sample().train.take(np.arange(120))
    model = LinearClassifier(data.taxonomy).fit(data)
    texts = data.texts[:20]

    class Full:
        """A loop of Numba where the disk is full."""

        __name__, signatures = failing, ()

        class stats:
            cache_path = "there"

        def __call__(self, *given: object) -> None:
            raise OSError(28, "No space left on device")

        recompile = __call__

    monkeypatch.setattr(compiling, "_LOOPS", [])
    monkeypatch.setattr(loops.loops, failing, compiling.guarded(Full()))
    with pytest.warns(
        UserWarning, match=r"cannot be compiled \(OSError: .*No space left on device\): they are left out"
    ):
        found = model.predict_log_proba(texts)
    assert loops.loops is None and not loops.load()
    np.testing.assert_array_equal(found, model.predict_log_proba(texts))
