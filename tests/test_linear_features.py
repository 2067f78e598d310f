"""Text normalisation, tokens and tf-idf rows: language by language, at the edges, and against scikit-learn."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from hjc.classifiers.features import TextFeatures, make_stemmer
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.words import lead, normalise, tokens

TEXTS = [
    "Kierowca kat. B\nPrzewóz towarów, praca w nocy",
    "Βοηθός μάγειρα\nτεχνικός, μηχανικός",
    "Straßenbauer\nSTRASSENBAU und Straßenbau",
    "C++ developer\nC++ and C# developer wanted",
    "Медицинска сестра\nработа в болница",
    "Kierowca autobusu\nprzewóz osób",
]


def plain(**changes: object) -> LinearSettings:
    return LinearSettings(**{"min_df": 1, "lead_weight": 0, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ΤΕΧΝΙΚΌΣ", "τεχνικός"),  # Greek final sigma
        ("ΤΕΧΝΙΚΟΣ ΠΡΟΪΟΝΤΩΝ", "τεχνικός προϊόντων"),  # capitals have no tonos, but the two dots
        ("STRASSE", "Straße"),
        ("GROẞ", "groß"),
        ("Łódź", "ŁÓDŹ"),
        ("café", "cafe\u0301"),  # composed, decomposed
        ("ﬁnance", "finance"),  # ligature
        ("Ｆｉｎａｎｃｅ", "finance"),  # full width
        ("Kran\u00adführer", "Kranführer"),  # soft hyphen
        ("zero\u200bwidth", "zerowidth"),
        ("İŞÇİ", "işçi"),
        ("ISI", "ısı"),
        ("Ģimenes ārsts", "ĢIMENES ĀRSTS"),
        ("Șofer", "S\u0326ofer"),  # Romanian comma below
        ("УЧИТЕЛ", "учител"),
        ("2\u00a0m", "2 m"),  # no-break space
    ],
)
def test_the_same_word_to_a_reader_is_the_same_text(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_accents_make_a_difference() -> None:
    assert normalise("żona") != normalise("zona")
    assert normalise("Ş") != normalise("S")


def test_the_three_ways_with_i() -> None:
    assert normalise("ISI İIiı", dotless_i="fold") == "isi iiii"
    assert normalise("ISI İIiı", dotless_i="turkish") == "ısı iıiı"
    assert normalise("ISI İIiı", dotless_i="keep") == "isi iiiı"
    assert normalise("I\u0307I", dotless_i="turkish") == "iı"  # decomposed İ


def test_the_tonos_can_be_kept_and_other_accents_are() -> None:
    assert normalise("Γιατρός", tonos="keep") == "γιατρόσ" != normalise("ΓΙΑΤΡΟΣ", tonos="keep")
    assert normalise("Γιατρός") == "γιατροσ" and normalise("ΐ") == "ϊ"
    assert normalise("Γιατρός", casefold=False) == "Γιατρός"
    assert normalise("café Γιατρός żona") == "café γιατροσ żona"


def test_nfc_keeps_compatibility_forms_and_case_can_be_kept() -> None:
    assert normalise("m²", form="NFC") == "m²"
    assert normalise("m²") == "m2"
    assert normalise("Straße", casefold=False) == "Straße"


@given(st.text(max_size=40))
@example("ǰ̌ ΐ ﬃ ŉ İ̇")
def test_normalised_text_is_in_normal_form_and_shows_no_case(text: str) -> None:
    out = normalise(text)
    assert out == unicodedata.normalize("NFKC", out)
    assert "ı" not in out and "ς" not in out and "ß" not in out
    assert normalise(text) == normalise(unicodedata.normalize("NFC", text))


def test_tokens_keep_marks_digits_and_programming_languages() -> None:
    assert tokens("c++ c# .net vb6 a_b") == ["c++", "c#", "net", "vb6", "a", "b"]
    assert tokens("q\u0303uechua हिन्दी") == ["q\u0303uechua", "हिन्दी"]  # marks without a composed form
    assert tokens("<p>kucharz&nbsp;</p>") == ["p", "kucharz", "nbsp", "p"]
    assert tokens("… — !!!") == []


@given(st.text(max_size=60))
def test_tokens_lose_no_letter_and_no_digit(text: str) -> None:
    out = normalise(text)
    kept = sum(sum(c.isalnum() for c in token) for token in tokens(out))
    assert kept == sum(c.isalnum() for c in out)


def test_lead_is_the_first_line_with_something_on_it() -> None:
    assert lead("\n  Cook\nfries fish") == "Cook"
    assert lead("one line") == "one line"
    assert lead("") == ""


@pytest.mark.parametrize("kind", ["word", "char"])
@pytest.mark.parametrize("min_df", [1, 2])
def test_equals_scikit_learns_tfidf_vectorizer(kind: str, min_df: int) -> None:
    """Characters are counted as (texts x tokens) @ (tokens x n-grams) here, text by text there."""
    ours = TextFeatures(plain(features=kind, min_df=min_df, word_ngrams=[1, 3], char_ngrams=[2, 4]))
    rows = ours.fit_transform(TEXTS)
    theirs = TfidfVectorizer(
        analyzer="word" if kind == "word" else "char_wb",
        ngram_range=(1, 3) if kind == "word" else (2, 4),
        sublinear_tf=True,
        min_df=min_df,
        lowercase=False,
        preprocessor=lambda t: " ".join(tokens(normalise(t))),
        tokenizer=str.split if kind == "word" else None,
        token_pattern=None if kind == "word" else r"\w+",
    )
    expected = theirs.fit_transform(TEXTS).toarray()
    order = [theirs.vocabulary_[term] for term in ours.blocks[0].vocabulary or []]
    assert sorted(order) == list(range(expected.shape[1]))
    np.testing.assert_allclose(rows.toarray(), expected[:, order], atol=1e-6)
    # kierkier: n-grams of characters that stand in a word twice, in a word that stands there twice
    unseen = ["kierowca STRASSENBAU nieznane", "zzz", "", "kierkierkier kierkierkier", *TEXTS]
    np.testing.assert_allclose(
        ours.transform(unseen).toarray(), theirs.transform(unseen).toarray()[:, order], atol=1e-6
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(alphabet="abc ąß\n", max_size=20), min_size=1, max_size=8), st.sampled_from([0, 64]))
def test_rows_have_length_one_or_are_empty(texts: list[str], hashing: int) -> None:
    features = TextFeatures(LinearSettings(min_df=1, hashing=hashing))
    features.fit_transform(TEXTS)
    rows = features.transform(texts)
    assert rows.dtype == np.float32 and rows.shape == (len(texts), features.num_features)
    length = np.sqrt((rows.toarray() ** 2).sum(axis=1))
    empty = np.diff(rows.indptr) == 0
    np.testing.assert_allclose(length[~empty], 1, atol=1e-5)
    for text, is_empty in zip(texts, empty, strict=True):
        if not tokens(normalise(text)):
            assert is_empty


@pytest.mark.parametrize("changes", [{}, {"hashing": 128}, {"features": "char", "lead_weight": 0}, {"stemming": "pl"}])
def test_saved_and_loaded_features_are_identical(tmp_path: Path, changes: dict[str, object]) -> None:
    choice = LinearSettings(**{"min_df": 1, **changes})  # type: ignore[arg-type]
    fitted = TextFeatures(choice)
    fitted.fit_transform([*TEXTS, "lone \ud800 surrogate"])
    fitted.save(tmp_path)
    again = TextFeatures.load(tmp_path, choice)
    texts = [*TEXTS, "", "unseen", "x" * 50_000, "lone \ud800 surrogate"]
    one, other = fitted.transform(texts), again.transform(texts)
    assert (one != other).nnz == 0
    assert not any(p.suffix in (".pkl", ".pickle", ".joblib") for p in tmp_path.iterdir())


def test_other_settings_than_stored_are_refused(tmp_path: Path) -> None:
    fitted = TextFeatures(LinearSettings(min_df=1))
    fitted.fit_transform(TEXTS)
    fitted.save(tmp_path)
    with pytest.raises(ValueError, match="holds the blocks"):
        TextFeatures.load(tmp_path, LinearSettings(features="word"))


def test_long_texts_are_read_up_to_max_chars() -> None:
    features = TextFeatures(plain(features="word", max_chars=30))
    features.fit_transform(TEXTS)
    long, short = features.transform(["kierowca " * 3 + "\n" * 9 + "developer", "kierowca " * 3]).toarray()
    np.testing.assert_array_equal(long, short)


def test_the_title_has_a_field_of_its_own() -> None:
    features = TextFeatures(LinearSettings(min_df=1, features="word"))
    features.fit_transform(TEXTS)
    title_first, title_last = features.transform(["Kierowca\ndeveloper", "developer\nKierowca"]).toarray()
    assert not np.allclose(title_first, title_last)


def test_max_features_keeps_the_most_frequent() -> None:
    features = TextFeatures(plain(features="word", word_ngrams=[1, 1], max_features=1))
    features.fit_transform(["a b", "b c", "b"])
    assert features.blocks[0].vocabulary == ["b"]


def test_stemming_unites_inflected_words() -> None:
    stem = make_stemmer("de")
    assert stem("arbeiten") == stem("arbeitet") == make_stemmer("german")("arbeiten")
    with pytest.raises(ValueError, match=r"got 'klingon', allowed are .*polish"):
        make_stemmer("klingon")


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"min_df=5 of the 6 training texts"):
        TextFeatures(plain(features="word", min_df=5)).fit_transform(TEXTS)
    with pytest.raises(ValueError, match=r"lower model\.min_df"):
        TextFeatures(plain(features="word")).fit_transform(["", "…"])
    features = TextFeatures(plain())
    features.fit_transform(TEXTS)
    with pytest.raises(TypeError, match=r"texts\[1\]: got NoneType"):
        features.transform(["a", None])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "words"}, "model.features: got 'words', allowed are word, char, both"),
        ({"hierarchy": "flat"}, "allowed are topdown, bottomup, plt, flat_logreg"),
        ({"solver": "L2R_LR", "loss": "l2"}, "L2R_L2LOSS_SVC"),
        ({"word_ngrams": [2, 1]}, "shortest, longest"),
        ({"C": 0}, "above 0"),
        ({"floor": 1.0}, "below 1"),
        ({"hashing": 8, "max_features": 8}, "exclude each other"),
    ],
)
def test_settings_are_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearSettings(**change)  # type: ignore[arg-type]


@given(st.text("aZ09 +#_-.\t\x00é", max_size=30))
def test_tokens_of_ascii_texts_take_a_short_way_to_the_same_words(text: str) -> None:
    # a trailing word of another script forces the general way
    assert [*tokens(text), "é"] == tokens(text + " é")
    assert normalise(text) == normalise(text + " é")[:-2]
