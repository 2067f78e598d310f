"""Extraction by rules: headings of many languages, titles, seniority, sector; bad input."""

import csv
import time
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.corpus.prepare.phrases import fold, words_of
from hjc.rerank import Extraction, RulesExtractor, extract
from hjc.rerank.extraction import MAX_CHARS
from hjc.rerank.titles import clean_title, industry_of, seniority_of
from hjc.rerank.vocabulary import INDUSTRIES, SENIORITIES, Vocabulary, headings, words

#: the example of the ISCO / ESCO document, shortened
LEGAL = """**Location:** Brussels, Belgium

**About Us:**
At EuroLegal Consulting, we are dedicated to shaping the future of legal frameworks.

**Position Overview:**
EuroLegal Consulting is seeking a part-time Legal Policy Officer to join our dynamic team in Brussels.

**Key Responsibilities:**
- Conduct in-depth research and analysis of legal policies.
- Compile comprehensive legal documents and reports.

**Required Skills and Qualifications:**
- A degree in Legal Studies or a related field.

**What We Offer:**
- A collaborative and inclusive work environment.

**How to Apply:**
Interested candidates are invited to send their resume to [email].
"""
#: language -> headings of duties, skills and benefits as ads have them
ADS = {
    "bg": ("Основни задължения", "Изисквания към кандидата", "Предлагаме"),
    "cs": ("Náplň práce", "Požadujeme", "Nabízíme"),
    "da": ("Dine opgaver", "Kvalifikationer", "Vi tilbyder"),
    "de": ("Ihre Aufgaben", "Ihr Profil", "Wir bieten Ihnen"),
    "el": ("Αρμοδιότητες", "Απαραίτητα προσόντα", "Η εταιρεία προσφέρει"),
    "en": ("Your main responsibilities", "What we are looking for", "What we offer"),
    "es": ("Funciones principales", "Requisitos mínimos", "Se ofrece"),
    "et": ("Tööülesanded", "Nõudmised kandidaadile", "Omalt poolt pakume"),
    "fi": ("Työtehtävät", "Edellytämme", "Tarjoamme"),
    "fr": ("Vos missions", "Profil recherché", "Nous offrons"),
    "hr": ("Opis posla", "Traženi uvjeti", "Nudimo"),
    "hu": ("Főbb feladatok", "Elvárások", "Amit kínálunk"),
    "it": ("Mansioni principali", "Requisiti richiesti", "Offriamo"),
    "lt": ("Darbo pobūdis", "Reikalavimai kandidatui", "Mes siūlome"),
    "lv": ("Galvenie pienākumi", "Prasības pretendentiem", "Mēs piedāvājam"),
    "nl": ("Wat ga je doen", "Functie-eisen", "Wij bieden"),
    "pl": ("Zakres obowiązków", "Nasze wymagania", "Oferujemy"),
    "pt": ("Principais funções", "Perfil pretendido", "Oferecemos"),
    "ro": ("Responsabilități", "Cerințe", "Oferim"),
    "sk": ("Náplň práce", "Požiadavky na zamestnanca", "Ponúkame"),
    "sl": ("Opis delovnega mesta", "Od vas pričakujemo", "Nudimo"),
    "sv": ("Arbetsuppgifter", "Kvalifikationer", "Vi erbjuder"),
    "uk": ("Обов'язки", "Вимоги", "Ми пропонуємо"),
    "ru": ("Обязанности", "Требования", "Мы предлагаем"),
}


def test_example_of_the_document() -> None:
    found = extract(LEGAL, "Legal Policy Officer")
    assert found.title == "Legal Policy Officer" and found.industry == "professional" and not found.reason
    assert "analysis of legal policies" in found.duties and found.skills.startswith("A degree in Legal Studies")
    for gone in ("dedicated to shaping", "collaborative", "resume", "Brussels, Belgium"):
        assert gone not in found.text()
    assert len(found.text()) < 0.6 * len(LEGAL)


@pytest.mark.parametrize("form", ["lines", "colons", "flat"])
@pytest.mark.parametrize("language", ADS)
def test_headings_of_24_languages(language: str, form: str) -> None:
    """With line ends, with colons, and with all line ends lost as in many collections of ads."""
    duties, skills, benefits = ADS[language]
    parts = [(duties, "Xaxa bebe."), (skills, "Xixi dodo."), (benefits, "Xuxu fafa.")]
    text = {
        "lines": "\n".join(f"{heading}\n- {body}" for heading, body in parts),
        "colons": "\n".join(f"{heading}: {body}" for heading, body in parts),
        "flat": " ".join(f"{heading}:{body}" for heading, body in parts),
    }[form]
    found = extract(text, "Zizi")
    assert (found.duties, found.skills, found.notes) == ("Xaxa bebe.", "Xixi dodo.", ())


def test_headings_without_colons_or_line_ends() -> None:
    found = extract(
        "Twój zakres obowiązków Spawanie konstrukcji Nasze wymagania Spawanie rur To oferujemy Premia", "Spawacz"
    )
    assert (found.duties, found.skills) == ("Spawanie konstrukcji", "Spawanie rur")
    # German nouns have capitals too: no heading within a run of them
    assert "Berufserfahrung" in extract("Gute Deutschkenntnisse Berufserfahrung Flexibilität", "Koch").duties


def test_unknown_headings_fall_back_on_the_whole_text_and_say_so() -> None:
    found = extract("Welder\nWe need a person who welds pipes.\nWe offer good pay.\nApply now by phone.")
    assert found.title == "Welder" and found.duties == "We need a person who welds pipes."
    assert found.notes == ("no_heading",)
    irish = extract("Freagrachtaí: cócaireacht a dhéanamh", "Cócaire")  # a language without headings here
    assert "cócaireacht" in irish.duties and irish.notes == ("no_heading",)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Erzieher/in (m/w/d) - Teilzeit, Berlin", "Erzieher"),
        ("Verkäufer*innen in Hamburg", "Verkäufer"),
        ("Softwareentwickler:in (gn*)", "Softwareentwickler"),
        ("Lagermitarbeiter in Vollzeit (m/w/d) ab sofort in 60311 Frankfurt", "Lagermitarbeiter"),
        ("Koch im Restaurant", "Koch im Restaurant"),
        ("Szukamy: Sprzedawca k/m w Warszawie", "Sprzedawca"),
        ("Kierowca C+E - 8000 zł netto, od zaraz!!!", "Kierowca C+E"),
        ("Praca: Pracownik produkcji (3 zmiany) Wrocław", "Pracownik produkcji"),
        ("Szatniarz/-ka", "Szatniarz"),
        ("Employé(e) de commerce (H/F) CDI - Lyon", "Employé de commerce"),
        ("Enfermero/a - turno de noche - Madrid", "Enfermero"),
        ("Monteur (m/v/x) - 40 uur", "Monteur"),
        ("Ref. 12345 Staff Nurse, Full-time, £30,000 - £35,000 per annum", "Staff Nurse"),
        ("C# / .NET Developer (m/f/d) | Remote | 60k EUR", "C# / .NET Developer"),
        ("Управител магазин - София", "Управител магазин"),
        # what looks like noise and is none
        ("Remote Sensing Specialist", "Remote Sensing Specialist"),
        ("Urgent care nurse", "Urgent care nurse"),
        ("A/V Technician", "A/V Technician"),
        ("I/O Engineer", "I/O Engineer"),
        ("Schloss- und Schlüsselmacher", "Schloss- und Schlüsselmacher"),
        ("support worker (older adults in care)", "support worker (older adults in care)"),
        ("responsabile assegni di ricerca", "responsabile assegni di ricerca"),
        ("Skoputsare m.fl.", "Skoputsare m.fl."),
        ("Praca: Kucharz (weekendy) - Sopot.", "Kucharz (weekendy)"),
        ("Paris", "Paris"),
        ("(m/w/d)", "(m/w/d)"),
    ],
)
def test_titles(title: str, expected: str) -> None:
    assert clean_title(title) == expected
    assert clean_title(expected) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Junior Project Manager", "junior"), ("Management Trainee", "trainee"), ("Filialleiterin", "manager"),
        ("Shift manager", "supervisor"), ("Schichtleiter", "supervisor"), ("Hausmeister", ""), ("Nurses", ""),
        ("Head Chef", "supervisor"),
        ("Kierownik budowy", "manager"), ("Kierowca", ""), ("Starszy specjalista", "senior"), ("Sous chef", ""),
        ("Key Account Manager", ""), ("Stage Manager", ""), ("Senior Director", "manager"), ("Azubi Koch", "trainee"),
        ("Gépkocsivezető", ""), ("Chef d'équipe", "supervisor"), ("Директор", "manager"), ("Nurse", ""),
    ],
)  # fmt: skip
def test_seniority(title: str, expected: str) -> None:
    assert seniority_of(title) == expected


def test_industry() -> None:
    assert industry_of("Nurse") == "health" and industry_of("Spawacz") == ""
    assert industry_of("Assistant", "a hospital with patients and nurses") == "health"
    assert industry_of("Assistant", "works near a hospital") == ""  # one word of a text is no evidence
    assert extract("Branża: gastronomia\nZadania: obsługa gości", "Pracownik").industry == "hospitality"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty text"), (" \n\t", "empty text"), ("<p> </p>", "empty text"),
        ("12345 !!!", "no letters in the text"),
        ("We offer:\n- good pay", "nothing but offers, company or calls to apply"),
    ],
)  # fmt: skip
def test_nothing_to_extract(text: str, reason: str) -> None:
    found = extract(text)
    assert found.empty and found.reason == reason and found.text() == ""


def test_markup_and_length() -> None:
    found = extract("<p><b>Nurse</b></p><p>Duties:</p><ul><li>care &amp; more</li></ul><script>var x=1</script>")
    assert (found.title, found.duties) == ("Nurse", "care & more") and "html" in found.notes
    for text in (
        "care " * 20_000,
        "x" * 100_000,
        "<li>care " * 20_000,
        "a:" * 50_000,
        "Duties " * 15_000,
        ":" * 100_000,
    ):
        began = time.process_time()
        long = extract("Duties: weld\n" + text, "Welder")
        assert time.process_time() - began < 5 and len(long.text()) <= MAX_CHARS + 10 and "cut" in long.notes


@pytest.mark.parametrize("bad", [None, 3, b"text"])
def test_no_text(bad: object) -> None:
    with pytest.raises(TypeError, match="expected str"):
        extract(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one for each of 2 texts"):
        RulesExtractor().extract(["a", "b"], ["c"])


@given(st.text(max_size=400), st.text(max_size=60))
def test_any_text(text: str, title: str) -> None:
    found = extract(text, title)
    assert found == extract(text, title)
    assert bool(found.reason) == found.empty
    assert found.seniority in ("", *SENIORITIES) and found.industry in ("", *INDUSTRIES)


@given(st.lists(st.sampled_from([h for ad in ADS.values() for h in ad] + ["Xaxa", "bebe.", ":", "\n", "- ", "Nurse"])))
def test_nothing_is_invented(parts: list[str]) -> None:
    """Every word of the extraction stands in the text."""
    text = " ".join(parts)
    assert set(words_of(fold(extract(text).text()))) <= set(words_of(fold(text)))


def test_closed_sets_are_kept() -> None:
    with pytest.raises(ValueError, match="seniority: got 'boss', allowed are '' and trainee"):
        Extraction(seniority="boss")


def test_text_has_a_line_for_each_part() -> None:
    assert Extraction(title="Cook", duties="prepares meals").text() == "Cook\nprepares meals"


# ---------------------------------------------------------------------------------------------- word lists


def test_vocabulary_finds_the_same_as_a_scan() -> None:
    """Dictionary look-ups against a plain search of every phrase at every position."""
    table = [("a", "red car"), ("b", "red"), ("c", "bus*"), ("d", "*way"), ("a", "a red car park")]

    def scan(looked: list[str]) -> list[tuple[int, int, str]]:
        out, i = [], 0
        while i < len(looked):
            fits = [(n, kind) for kind, p in table if "*" not in p
                    for n in [len(p.split())] if looked[i : i + n] == p.split()]  # fmt: skip
            fits = fits or [(1, k) for k, p in table if p[-1] == "*" and looked[i].startswith(p[:-1])]
            fits = fits or [
                (1, k) for k, p in table if p[0] == "*" and looked[i].endswith(p[1:]) and looked[i] != p[1:]
            ]
            if fits:
                n, kind = max(fits, key=lambda fit: fit[0])
                out.append((i, i + n, kind))
                i += n
            else:
                i += 1
        return out

    vocabulary = Vocabulary(table)
    for text in ("a red car park", "red car red", "busway way highway", "the a red car", "", "buses are red"):
        assert list(vocabulary.find(text.split())) == scan(text.split())


@pytest.mark.parametrize("name", ["headings.tsv", "words.tsv"])
def test_word_lists_have_no_capitals_and_no_doubles(name: str) -> None:
    text = resources.files("hjc.rerank").joinpath(name).read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows[0] == ["kind", "language", "phrase"] and all(len(row) == 3 for row in rows)
    assert all(row[2] == " ".join(row[2].lower().split()) for row in rows)
    assert len(set(map(tuple, rows))) == len(rows)


@pytest.mark.slow
def test_every_language_has_headings() -> None:
    text = resources.files("hjc.rerank").joinpath("headings.tsv").read_text(encoding="utf-8")
    kinds: dict[str, set[str]] = {}
    for kind, language, _ in csv.reader(text.splitlines()[1:], delimiter="\t", quoting=csv.QUOTE_NONE):
        kinds.setdefault(language, set()).add(kind)
    assert set(kinds) == set(ADS)
    for language, found in kinds.items():
        assert found >= {"duties", "skills", "benefits", "company", "apply", "title", "other"}, language
    assert headings().longest < 12 and list(words("place").find(["warszawie"])) == [(0, 1, "place")]
