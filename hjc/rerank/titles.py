"""Titles of ads without what is no occupation, and what they say of seniority and sector; rules, no model."""

import re
from collections import Counter
from functools import lru_cache

from hjc.corpus.prepare.phrases import fold, words_of
from hjc.rerank.vocabulary import INDUSTRIES, SENIORITIES, words

#: what stands in brackets after a title for "any gender", as letters between strokes; "d/f/m", "k/m", "h/f", "m/v/x"
_LETTERS = r"(?:[mfwdkhvxčžniaμθγαжмч]|div|gn|all|inter|muž|žena|mann|frau|homme|femme|kobieta|mężczyzna|férfi|nő)"
_STROKES = rf"{_LETTERS}(?:\s*[/|*,\\-]\s*{_LETTERS}){{1,3}}"
_GENDER = re.compile(
    rf"[(\[]\s*(?:{_STROKES}|all genders?|alle geschlechter|any gender|gn|divers)\s*\*?\s*[)\]]"
    rf"|(?<![\w/]){_STROKES}(?![\w/])",
    re.IGNORECASE,
)
#: letters of a marker without brackets, but those for a third gender ("A/V" and "I/O" are none)
_PAIRS = frozenset(
    frozenset(pair.split("/"))
    for pair in (
        "m/f", "m/w", "m/v", "m/k", "h/f", "m/ž", "m/h", "ж/ч", "м/ж", "muž/žena", "mann/frau", "homme/femme",
        "kobieta/mężczyzna", "férfi/nő",
    )
)  # fmt: skip
_THIRD = frozenset(("d", "x", "n", "i", "div", "inter", "all"))
#: endings of the other gender: "Erzieher/in", "Lehrer*innen", "Szatniarz/-ka", "Employé(e)", "Enfermero/a"
_ENDING = re.compile(
    r"(?<=[^\W\d_]{3})(?:\s?[/*:·•_]-?|[/·.]-|\(-?|\s?/\s?-)"
    r"(?:innen|in|frau|ka|czyni|a|o|e|as|os|es|ne|ère|ere|euse|trice|rice|sse|ra|tora|ice|ková|ová|kyně|yně|ica|nica|kinja)\)?(?!\w)",
    re.IGNORECASE,
)
_CURRENCY = r"(?:€|\$|£|zł|kč|eur(?:o|os|ów)?|pln|usd|gbp|chf|czk|huf|ft|sek|nok|dkk|kr|ron|lei|lv|bgn|uah|грн|лв|руб)"
_NUMBER = r"\d[\d.,' \xa0]*(?:k\b|tys\.?)?"
_PER = (
    r"(?:\s*(?:/|per|pro|za|par|al|por|na|p\.?)\s*(?:h|hour|hr|godz\w*|std\w*|stunde|heure|hora|ora|uur|hod\w*|month|mies\w*|"
    r"monat|mois|mes|mese|maand|year|rok|jahr|annum|an|anno|jaar|week|day|dzień|tag|jour))?"
)
_FROM = r"(?:\b(?:from|up to|od|do|ab|bis|de|à|até|fino a|vanaf|tot)\s+)?"
_SALARY = re.compile(
    rf"{_FROM}(?:{_CURRENCY}\s?{_NUMBER}(?:\s?[-–]\s?(?:{_CURRENCY}\s?)?{_NUMBER})?"
    rf"|{_NUMBER}(?:\s?(?:[-–]|do|to|bis|à|a)\s?{_NUMBER})?\s?{_CURRENCY}(?!\w)){_PER}"
    r"(?:\s*(?:brutto|netto|gross|net|bruto|neto|lordi|brut))?",
    re.IGNORECASE,
)
_PERCENT = re.compile(
    r"\b\d{1,3}(?:\s?[-–]\s?\d{1,3})?\s?%|\b\d{1,2}(?:[.,]\d)?\s?(?:h|hrs?|hours|std|stunden|godz|uur|ore|horas|heures)(?:\s?/\s?\w+)?\b",
    re.I,
)
_REFERENCE = re.compile(
    r"(?:\b(?:ref(?:erence)?|nr ref|job id|id|kennziffer|kz|oferta nr|nr)\b\.?\s*(?:no|nr)?\.?\s*[:#]?\s*|#)"
    r"(?=[\w/-]*\d)[\w/-]{2,}",
    re.I,
)
_POSTCODE = re.compile(r"\b(?:[A-Z]{1,2}-)?\d{2}-\d{3}\b|\b(?:D-|A-|F-)?\d{5}\b")
_PIECES = re.compile(r"(\s+[-–—|•·>]+\s+|\s*[|•·;!]\s*|\s+//?\s+|,\s+|\s*[()\[\]]\s*|\s+[–—]|[–—]\s+|:\s+)")
#: before a place
_IN = re.compile(r"in|w|we|à|a|en|te|v|ve|im|at|from|near|bei|em|aus|do|для|в|у")
_EDGE = " -–—|,;:/•·*!?_=~\"'“”„<>"
_DECORATION = re.compile(r"[★☆✔✅❗‼❤♥►▶●■◆✨🔥⭐*_~=!]+|\.{3,}|(?<!\w)#")


#: what titles write short, where it can mean one thing only: official names spell it out
_SHORT = tuple(
    (re.compile(pattern, re.IGNORECASE), full)
    for pattern, full in (
        (r"(?<=\w )(?-i:ds\.?|d\.s\.|d/s|D/S|DS\.)(?=[\s:]+\w)", "do spraw"),
        (r"\bkat\.\s?(?=\w)", "kategoria "),
        (r"\binż\.", "inżynier"),
        (r"\bmł\.\s?", "młodszy "),
        (r"\bkier\.\s?", "kierownik "),
        (r"\bz-ca\b\.?", "zastępca"),
        (r"\bzast\.\s?", "zastępca "),
        (r"\bmitarb\.\s?", "Mitarbeiter "),
        (r"\bsachbearb\.\s?", "Sachbearbeiter "),
        (r"\basst\b\.?", "assistant"),
    )
)
#: the language that an employer wants beside the job
_SPEAKS = re.compile(
    r"\s(?:z|ze)\s+(?:(?:biegł\w+|dobr\w+)\s+)?(?:(?:znajomością\s+)(?:języka|j\.|jęz\.)|językiem|j\.|jęz\.)\s*\w+"
    r"(?:\s+(?:i|lub|/)\s+\w+(?:im|iego|ego|ym)\b)?"
    r"|\swith\s+(?:fluent\s+)?(?:german|french|english|spanish|italian|dutch|polish|czech|hungarian|portuguese|russian"
    r"|ukrainian|swedish|norwegian|danish|finnish|romanian|turkish|greek)(?:\s+and\s+\w+)?(?:\s+language)?\b",
    re.IGNORECASE,
)


def _is_gender(match: "re.Match[str]") -> str:
    """A blank for a gender marker, anything else as it was."""
    inner = frozenset(re.split(r"[/|*,\\-]", re.sub(r"[\s()\[\]]", "", match[0]).casefold()))
    return " " if match[0][0] in "([" or inner - _THIRD in _PAIRS else match[0]


@lru_cache(maxsize=4096)
def clean_title(title: str) -> str:
    """A title without gender markers, salary, places, working time, shifts, languages that are asked for, reference
    numbers and recruiting words; what official names spell out is spelt out ("ds." is "do spraw").

    "Erzieher/in (m/w/d) - Teilzeit, Berlin" -> "Erzieher". Places are known from a list of large cities and of
    countries; others stay. If nothing is left, the title is given back with its blanks made one.
    """
    whole = " ".join(title.split())
    text = _GENDER.sub(_is_gender, whole)
    text = _SPEAKS.sub(" ", _ENDING.sub("", text))
    for pattern, full in _SHORT:
        text = pattern.sub(full, text)
    if any(c.isdigit() for c in text):
        for pattern in (_SALARY, _PERCENT, _REFERENCE, _POSTCODE):
            text = pattern.sub(" ", text)
    text = _DECORATION.sub(" ", text)
    kept = []
    for i, piece in enumerate(_PIECES.split(text)):
        if i % 2:
            kept.append(piece)
        else:
            kept.append(_without_noise(piece))
    return _join(kept) or whole


#: kinds of words that go only at the end of a piece, at its beginning, or where they are all of it
_WHERE = frozenset(("noise_end", "lead_in", "label"))


def _without_noise(piece: str) -> str:
    """A piece of a title without phrases of working time and recruiting; "" for a place."""
    tokens = piece.split()
    folded = [" ".join(words_of(fold(token))) for token in tokens]
    # a token such as "full-time" is two words: spread out, and remember where each came from
    spread = [(word, i) for i, token in enumerate(folded) for word in token.split()]
    plain = [word for word, _ in spread]
    gone: set[int] = set()
    for begin, end, kind in words("place", "noise", "noise_end", "lead_in", "label").find(plain):
        if kind == "place":
            # whole pieces, and "in Frankfurt" at the end of one; not "Frankfurt School Lecturer"
            if end == len(plain) and (begin == 0 or _IN.fullmatch(plain[begin - 1])):
                gone.update(i for _, i in spread[max(0, begin - 1) : end])
        elif kind in _WHERE:
            first, last = begin == 0, end == len(plain)
            if {"noise_end": last, "lead_in": first, "label": first and last}[kind]:
                gone.update(i for _, i in spread[begin:end])
        else:
            gone.update(i for _, i in spread[begin:end])
    return " ".join(token for i, token in enumerate(tokens) if i not in gone)


def _join(parts: list[str]) -> str:
    """Pieces and separators put together; separators around nothing are left out."""
    out = ""
    for i in range(0, len(parts), 2):
        piece = parts[i].strip(_EDGE)
        if piece.endswith(".") and len(piece.split()[-1]) > 5:
            piece = piece.rstrip(".")  # of a sentence; "m.fl." and "etc." are words
        if not any(map(str.isalpha, piece)) and not (out and piece.isalnum()):
            continue
        between = parts[i - 1].strip() if i else ""
        if not out:
            out = piece
        elif between in ("(", "["):
            out += f" ({piece})"
        elif between in (")", "]", ""):
            out += f" {piece}"
        else:
            out += f", {piece}" if between == "," else f" {between} {piece}"
    return re.sub(r"\s+([,;:])", r"\1", " ".join(out.split()))


@lru_cache(maxsize=4096)
def seniority_of(title: str) -> str:
    """One of :data:`SENIORITIES`, or "" where a title says nothing.

    A trainee manager is a trainee, a shift manager a supervisor: among several, the first of the order wins.
    """
    found = {kind for _, _, kind in words("neutral", *SENIORITIES).find(words_of(fold(title)))}
    return next((kind for kind in SENIORITIES if kind in found), "")


def industry_of(*texts: str) -> str:
    """One of :data:`INDUSTRIES`, or "": the sector whose words are most frequent (each different word once a text).

    Args:
        texts: the first (the title) counts three times.

    Fewer than two counts are no evidence; ties go to the sector with the earliest word.
    """
    counts: Counter[str] = Counter()
    for i, text in enumerate(texts):
        looked = words_of(fold(text[:3000]))
        seen: set[tuple[str, ...]] = set()
        for begin, end, kind in words(*INDUSTRIES).find(looked):
            key = tuple(looked[begin:end])
            if key not in seen:
                seen.add(key)
                counts[kind] += 3 if i == 0 else 1
    best = counts.most_common(1)
    return best[0][0] if best and best[0][1] >= 2 else ""
