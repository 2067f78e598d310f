"""Cleaning, the quality gate, languages and duplicates."""

import re
import unicodedata
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ftfy")

from hjc.corpus.prepare import (
    CleaningSettings,
    DuplicateFinder,
    clean,
    duplicates,
    find_groups,
    judge,
    label_conflicts,
    load_phrases,
)
from hjc.corpus.prepare.cleaning import _ODD, mask, repairer
from hjc.corpus.prepare.duplicates import FACTORS, Sketcher, shingle_hashes
from hjc.corpus.prepare.phrases import fold, hits
from hjc.corpus.prepare.pipeline import PrepareSettings, Worker
from hjc.data.markup import squeeze
from hjc.tables.undecoded import Undecoded

AD = (
    "Warehouse worker. We are looking for a reliable person for our warehouse in Lublin. Your duties: receiving goods, "
    "picking orders, checking deliveries, keeping the hall tidy. Requirements: forklift licence, two years of "
    "experience, readiness to work in shifts. We offer a contract of employment, private health care and training."
)


# ---------------------------------------------------------------------------------------------- cleaning


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<div><h1>Cook</h1><p>In a <b>big</b> kitchen</p><ul><li>a</li><li>b&amp;c</li></ul></div>",
         "Cook\nIn a big kitchen\na\nb&c"),
        ("&lt;p&gt;Cook &amp;amp; waiter&lt;/p&gt;", "Cook & waiter"),
        ("<script>var x = 1;</script><nav>Home | Jobs</nav><p>Cook</p><!-- c --><footer>f</footer>", "Cook"),
        ("<table><tr><td>Pay</td><td>5000</td></tr></table>", "Pay 5000"),
        ("<?xml version='1.0' encoding='iso-8859-2'?><p>żółć</p>", "żółć"),
        ("pay < 5000 and > 3000, C++ <3 years", "pay < 5000 and > 3000, C++ <3 years"),
        ("<p>" * 2000 + "deep", "deep"),
        ("<br>", ""),
        ("zaÅ¼Ã³Å‚Ä‡", "zażółć"),
        ("a \t b\u00a0 c \n\n\n d ", "a b c\nd"),
        ("x\x00\ud800y", "x y"),
        ("„Kucharz” — café", "„Kucharz” — café"),
    ],
)  # fmt: skip
def test_clean(text: str, expected: str) -> None:
    assert clean(text).text == expected


@pytest.mark.parametrize(
    "text",
    ["+48 22 123 45 67", "601 234 567", "601-234-567", "tel. 6012345", "(030) 123 4567", "0048 601234567",
     "(555) 123-4567", "telefonu: 22 621 00 00"],
)  # fmt: skip
def test_telephones_are_masked(text: str) -> None:
    assert "[phone]" in mask(f"Call us: {text}. Thanks", load_phrases().phone_words)
    assert "Thanks" in mask(f"Call us: {text}. Thanks", load_phrases().phone_words)


@pytest.mark.parametrize(
    "text",
    ["2022-2023", "01.02.2023", "2023-02-01", "4 000 - 6 000 zł", "100 000 000 zł", "02-954", "251401",
     "KRS 0000123456", "3.5 - 4.5 t", "24/7/365"],
)  # fmt: skip
def test_other_numbers_stay(text: str) -> None:
    assert mask(f"It is {text} now", load_phrases().phone_words) == f"It is {text} now"


def test_addresses_are_masked() -> None:
    done = clean("Mail jan.k@firma.com.pl or see https://firma.pl/a?b=1. Skills: asp.net, Node.js (www.x.pl).")
    assert done.text == "Mail [email] or see [url]. Skills: asp.net, Node.js ([url])."
    assert done.found == {"email": 1, "url": 2}
    assert clean("a@b.pl", CleaningSettings(mask=False)).text == "a@b.pl"


def test_boilerplate() -> None:
    done = clean("Cook wanted. I consent to the processing of my personal data by X. Good pay!\nApply now\nShare")
    assert (done.text, done.found) == ("Cook wanted. Good pay!", {"boilerplate": 3})
    assert clean("Apply now").text == "Apply now"  # nothing else: it stays
    assert clean("We share the kitchen with others.").text == "We share the kitchen with others."


@given(st.text(max_size=300))
def test_cleaning_never_fails_and_settles(text: str) -> None:
    once = clean(text).text
    assert once == squeeze(once)
    assert not any(0xD800 <= ord(c) <= 0xDFFF for c in once)
    judge(once)


@given(st.text(alphabet="aZ zćŁÓéÃÂØÙâ€™Ââ„¢œŒ…”•–¼³Ź°š£ГўВЂВр× \u00a0\u0081ﬁ²Ðα.,\n", max_size=40))
def test_mojibake_is_looked_for_in_pieces(text: str) -> None:
    """Asking ftfy of the surroundings of characters beyond ASCII is asking it of the whole text."""
    import ftfy
    from ftfy.badness import is_bad

    config = ftfy.TextFixerConfig(unescape_html=False, uncurl_quotes=False, fix_character_width=False)
    whole = ftfy.fix_text(text, config) if is_bad(text) or _ODD.search(text) else unicodedata.normalize("NFC", text)
    assert repairer()(text) == whole


@given(st.text(alphabet="a \n\t\r\u00a0\u2028\u2009\x1f\x85", max_size=12))
def test_squeeze_by_hand(text: str) -> None:
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in text.splitlines())
    assert squeeze(text) == "\n".join(line for line in lines if line)


# ---------------------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty_shell"),
        ("12", "empty_shell"),
        ("Brak opisu", "empty_shell"),
        ("Description:\nRequirements:\nWe offer:", "empty_shell"),
        ("Lorem ipsum dolor sit amet, consectetur adipiscing elit", "empty_shell"),
        ("404 Not Found. The page you requested does not exist. Back to home", "error_page"),
        ("Nie znaleziono strony. Wróć do strony głównej.", "error_page"),
        ("Seite nicht gefunden. Die angeforderte Seite existiert nicht.", "error_page"),
        ("Сторінку не знайдено", "error_page"),
        ("You are being redirected. If you are not redirected, click the link.", "redirect_page"),
        ("Please enable JavaScript to view this site.", "redirect_page"),
        ("Vous allez être redirigé vers le site de l'annonceur.", "redirect_page"),
        ("We use cookies to improve your experience. Accept all cookies or open cookie settings.", "cookie_notice"),
        ("Ta strona korzysta z plików cookies. Możesz zmienić ustawienia przeglądarki.", "cookie_notice"),
        ("This job is no longer available. See similar jobs in your area.", "expired"),
        ("Diese Stelle ist nicht mehr verfügbar.", "expired"),
        ("Sign in. Create an account. Forgot your password? Search jobs. Sort by date. Next page", "landing_page"),
        ("Wyniki wyszukiwania: 120. Sortuj według daty. Zaloguj się. Załóż konto.", "landing_page"),
        ("li {color: #333; font-family: Arial} h2 {margin-top: auto} Cook in a kitchen " * 3, "raw_html"),
        ("12.03.2024 --- 4500,00 // 12345 *** 99 88 77 a b", "no_language"),
        ("Warszawa Kraków Łódź " * 30, "repetition"),
    ],
)
def test_what_is_no_ad_is_flagged(text: str, reason: str) -> None:
    verdict = judge(text)
    assert reason in verdict.reasons and verdict.score >= 0.5 and verdict.flagged


@pytest.mark.parametrize(
    "text",
    [
        AD,
        "Cook",
        "Kierowca kat. C+E",
        AD + " This website uses cookies.",
        AD + " We have to sign in suppliers and search results of deliveries.",
        "Web developer. We are looking for somebody who can handle errors such as page not found. Requirements: "
        "JavaScript, HTML, two years of experience.",
        "Node.js developer with C++ & <canvas> knowledge for our product team in Berlin",
    ],
)
def test_ads_pass(text: str) -> None:
    assert judge(text).reasons == ()


def test_phrases(tmp_path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("kind\tlanguage\tphrase\nerror\tpl\tUps,  coś poszło nie tak\n", encoding="utf-8")
    more = load_phrases(path)
    assert judge("Ups, coś poszło nie tak!").reasons == ()
    assert judge("Ups, coś poszło nie tak!", phrases=more).reasons == ("error_page",)
    assert set(more.find(fold("Ups, coś poszło nie tak. Wymagania"))) == {"error", "job"}
    path.write_text("kind\tlanguage\tphrase\nnonsense\tpl\tx\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: kind 'nonsense'"):
        load_phrases(path)
    assert hits("a cat.", ["cat"]) and not hits("concatenate", ["cat"]) and hits("concat cat", ["cat"])


@given(st.lists(st.sampled_from(["accept", "cookies", "page", "not", "found", "x", "uses"]), max_size=12))
def test_index_finds_what_a_search_finds(words: list[str]) -> None:
    text, phrases = " ".join(words), load_phrases()
    expected = {k: [p for p in v if hits(text, [p])] for k, v in phrases.by_kind.items()}
    found = phrases.find(text)
    assert {k: set(v) for k, v in found.items()} == {k: set(v) for k, v in expected.items() if v}


# ---------------------------------------------------------------------------------------------- duplicates


def jaccard(a: str, b: str) -> float:
    x, y = (set(shingle_hashes([fold(t)])[0].tolist()) for t in (a, b))
    return len(x & y) / len(x | y)


def test_groups_of_duplicates() -> None:
    pytest.importorskip("datasketch")
    near = AD.replace("Lublin", "Radom")
    texts = [AD, "Cook", near, "COOK ", AD.upper(), "", "", "Nurse in a hospital", "!!"]
    assert jaccard(AD, near) > 0.85
    found = find_groups(texts)
    assert found.group.tolist() == [0, 1, 0, 1, 0, 2, 2, 3, 4]
    assert found.first.tolist() == [0, 1, 2, 1, 0, 5, 5, 7, 8]
    assert found.counts() == {"rows": 9, "identical_to_an_earlier": 3, "groups_of_several": 3, "rows_in_them": 7}
    assert find_groups(texts, method="identical").group.tolist() == [0, 1, 2, 1, 0, 3, 3, 4, 5]
    assert find_groups([AD, near, "Cook"], method="exact").group.tolist() == [0, 0, 1]
    conflicts = label_conflicts(found, ["1", "2", "3", "2", "1", "5", "6", "", ""])
    assert conflicts[["kind", "rows_of_group", "codes_of_group", "code", "rows", "first_row"]].to_numpy().tolist() == [
        ["near", 3, 2, "1", 2, 0],
        ["near", 3, 2, "3", 1, 2],
        ["identical", 2, 2, "5", 1, 5],
        ["identical", 2, 2, "6", 1, 6],
    ]
    assert len(label_conflicts(found, [""] * 9)) == 0
    with pytest.raises(ValueError, match="threshold"):
        DuplicateFinder(1.5)
    with pytest.raises(ValueError, match="method"):
        find_groups([], method="magic")
    assert find_groups([]).counts()["rows"] == 0


def test_shingles_of_many_texts_are_those_of_each() -> None:
    texts = ["a b c d", "", "Cook", "!!", "cook, nurse", "a b - c", "x" * 60, "„b” c d e"]
    keys = [fold(text) for text in texts]
    hashes, size = shingle_hashes(keys)
    assert size.tolist() == [2, 0, 1, 0, 1, 1, 1, 2]

    def by_hand(key: str) -> list[int]:
        words = [zlib.crc32(w.strip("„”,").encode()) for w in key.split() if any(c.isalnum() for c in w)]
        words += [0] * (3 - len(words) if words else 0)
        return [sum(f * w for f, w in zip(FACTORS, words[i : i + 3], strict=True)) % 2**32
                for i in range(max(0, len(words) - 2))]  # fmt: skip

    assert hashes.tolist() == [h for key in keys for h in by_hand(key)]
    assert hashes[0] == hashes[4]  # punctuation does not count
    for some in ([], ["", "!"]):
        assert len(shingle_hashes(some)[0]) == 0 and shingle_hashes(some)[1].tolist() == [0] * len(some)


@given(sizes=st.lists(st.integers(0, 9), max_size=8), rows=st.integers(1, 7), columns=st.integers(0, 3))
def test_blocks_hold_the_rows_in_order(sizes, rows, columns) -> None:
    parts = [np.full((n, columns), i, np.uint32) + np.arange(n, dtype=np.uint32)[:, None] for i, n in enumerate(sizes)]
    blocks, before = duplicates._Blocks(columns), duplicates.BLOCK_ROWS
    duplicates.BLOCK_ROWS = rows
    try:
        for part in parts:
            blocks.append(part)
        whole = blocks.whole()
        blocks.append(whole[:1])
        again = blocks.whole()
    finally:
        duplicates.BLOCK_ROWS = before
    expected = np.concatenate([np.empty((0, columns), np.uint32), *parts])
    assert np.array_equal(whole, expected) and np.array_equal(again, np.concatenate([expected, expected[:1]]))


def test_signatures_are_those_of_datasketch() -> None:
    datasketch = pytest.importorskip("datasketch")
    texts = [AD, "", "Cook", "a b c d", AD[100:]]
    sketch = Sketcher(32, seed=5)(texts)
    assert sketch.worded.tolist() == [True, False, True, True, True]
    for text, signature in zip(texts, sketch.signatures, strict=True):
        one = datasketch.MinHash(32, seed=5, hashfunc=lambda value: value)
        one.update_batch(shingle_hashes([fold(text)])[0].tolist())
        assert signature.tolist() == one.hashvalues.tolist()


def test_groups_against_all_pairs() -> None:
    """Near-duplicates made by changing words: pairs well above the threshold are together, others apart."""
    pytest.importorskip("datasketch")
    rng = np.random.default_rng(3)
    words = [f"w{i}" for i in range(500)]
    texts = []
    for _ in range(40):
        base = rng.choice(words, 80).tolist()
        for changes in (0, 1, 2, 40):
            copy = list(base)
            for at in rng.choice(80, changes, replace=False):
                copy[at] = "other" + str(rng.integers(10**6))
            texts.append(" ".join(copy))
    finder = DuplicateFinder()
    for start in range(0, len(texts), 33):  # in chunks
        finder.add(texts[start : start + 33])
    group = finder.groups().group
    sets = [set(zip(words, words[1:], words[2:], strict=False)) for words in map(str.split, texts)]
    together = apart = 0
    for i in range(len(texts)):
        for j in range(i):
            similarity = len(sets[i] & sets[j]) / len(sets[i] | sets[j])
            together += similarity >= 0.9 and group[i] == group[j]
            apart += similarity >= 0.9 and group[i] != group[j]
            assert similarity > 0.5 or group[i] != group[j]
    assert together >= 40 and apart <= 0.05 * together


# ---------------------------------------------------------------------------------------------- language


@pytest.mark.slow
def test_language() -> None:
    pytest.importorskip("lingua")
    from hjc.corpus.prepare import LanguageIdentifier

    identifier = LanguageIdentifier(["pl", "EN", "de"])
    for text, code in [("Poszukujemy kucharza do restauracji w Krakowie", "pl"), (AD, "en"),
                       ("Wir suchen eine Fachkraft für Lagerlogistik", "de"), ("123 !!", ""), ("", "")]:  # fmt: skip
        assert identifier.identify(text)[0] == code
    assert identifier.identify(AD)[1] > 0.9
    with pytest.raises(ValueError, match="at least two"):
        LanguageIdentifier(["pl"])
    with pytest.raises(ValueError, match="'xx'"):
        LanguageIdentifier(["pl", "xx"])


def test_frequent_words_decide_only_without_doubt() -> None:
    from hjc.corpus.prepare.language_words import FLOOR, MARGIN, WordModel, built_in

    model = built_in()
    assert len(model.languages) == 25 and "uk" not in model.languages
    assert model.sure(AD) is not None and model.sure(AD)[0] == "en" and model.sure(AD)[1] > 0.9999
    polish = "Poszukujemy osób do pracy w magazynie oraz na produkcji, które są dostępne od zaraz i nie boją się pracy"
    assert model.sure(polish)[0] == "pl"
    assert model.sure(AD + " Wymagania: obsługa wózków.") is None  # another alphabet
    assert model.sure("Warehouse worker") is None and model.sure("") is None
    assert model.serves(["pl", "en", "uk", "zh"]) and not model.serves(["pl", "tr"])
    # by hand: six words of a, of which one is known to b as well
    lines = [*(f"w{chr(97 + i)}\ta:1000" for i in range(5)), "shared\ta:1000\tb:1000"]
    small = WordModel(lines)
    text = "Wa, wb; wc wd we shared shared unknown"
    margin = 5 * np.log(1000 / 1e6 / FLOOR)
    assert margin > MARGIN and small.sure(text) == ("a", pytest.approx(1 / (1 + np.exp(-margin))))
    assert small.sure(text.replace("we", "")) is None  # five words
    assert small.sure(text + " ż") is None


def test_words_change_no_answer() -> None:
    pytest.importorskip("lingua")
    from hjc.corpus.prepare import LanguageIdentifier

    quick, slow = LanguageIdentifier(["pl", "en", "de"]), LanguageIdentifier(["pl", "en", "de"], quick=False)
    assert quick.identify(AD)[0] == slow.identify(AD)[0] == "en"
    assert LanguageIdentifier(["pl", "tr"])._words is None  # Turkish is not in the table


def test_bytes_that_are_no_text_count_as_empty() -> None:
    new, _ = Worker(PrepareSettings(text_columns=("t",), languages=()))([["cook", Undecoded("/9g="), None]])
    assert new["prep_t"] == ["cook", "", ""] and new["prep_cleaned"] == ["", "not_utf8", ""]
