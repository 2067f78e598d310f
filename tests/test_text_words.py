"""Words of many texts by arrays of characters, against those of one text after the other."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hjc.classifiers import text_words
from hjc.classifiers.text_words import Spelling, words_of
from hjc.classifiers.words import lead, tokens

SPELLINGS = [
    Spelling(),
    Spelling(casefold=False),
    Spelling(form="NFC"),
    Spelling(dotless_i="turkish"),
    Spelling(dotless_i="keep", tonos="keep"),
]
#: what is spelled with its neighbours, becomes several characters or none, or ends a word
ODD = "ab+#\n _\u0301\u0307İIıßςΆΐ…½ﬁ\u00ad\u200bŉ\u0345ͺ´\U0001f600\U00010400\U0001d7d8\ud800\u1100\u1161"


def check(texts: list[str], spelling: Spelling) -> None:
    words, leads = words_of(texts, spelling)
    expected = [tokens(spelling(text)) for text in texts]
    assert words.lists() == expected
    assert len(set(words.known)) == len(words.known)
    first = [tokens(spelling(lead(text))) for text in texts]
    assert words.first(leads).lists() == first
    assert [words[:n] for words, n in zip(expected, leads.tolist(), strict=True)] == first


@pytest.mark.parametrize("together", [1 << 16, 10])  # texts that are laid out in memory together
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=30) | st.text(ODD, max_size=20), max_size=6), which=st.sampled_from(SPELLINGS))
@example(texts=["\u200b\nfoo", "´\nbar", " \n \u0301a\n", "", "c++a+b c\u0301#\u0301x"], which=SPELLINGS[0])
def test_words_are_those_of_one_text_after_the_other(together: int, texts: list[str], which: Spelling) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_words, "_FEW", 0)
        patch.setattr(text_words, "_TOGETHER", together)
        check(texts, which)


def beside_others(points: Iterable[int]) -> list[str]:
    """Lines of many characters, each of which stands at the begin, in the middle and at the end of a word."""
    shown = [f"a{chr(point)}b {chr(point)}x\n{chr(point)}" for point in points]
    return ["; ".join(shown[i : i + 64]) for i in range(0, len(shown), 64)]


def test_every_character_of_european_scripts() -> None:
    check(beside_others([*range(0x600), *range(0x1E00, 0x2300)]), SPELLINGS[0])


@pytest.mark.slow
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_character_that_is_spelled_alone(spelling: Spelling) -> None:
    check([text for low, high in text_words.ALONE for text in beside_others(range(low, high))], spelling)


@pytest.mark.slow
def test_every_character_of_unicode() -> None:
    check(beside_others(range(0x32000)), SPELLINGS[0])


def test_few_short_texts_are_read_without_tables() -> None:
    check(["Kierowca kat. B\nPrzewóz towarów", "", "Straßenbauer C++"], SPELLINGS[0])
