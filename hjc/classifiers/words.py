"""One spelling for texts of 24 languages, and their words. Plain Python: no n-gram is counted here."""

import re
import unicodedata
from functools import cache
from typing import Literal

#: characters that are drawn as nothing: soft hyphen, zero-width blanks and joiners, direction marks, BOM, selectors
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
                        "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]")  # fmt: skip
_DOT_ABOVE = "\u0307"
_TONOS = "\u0301"
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]")


@cache
def _greek_without_tonos() -> dict[int, str]:
    """Greek letters with a tonos (the acute) -> without; other marks, as the two dots of ϊ, stay."""
    out = {}
    for point in (*range(0x370, 0x400), *range(0x1F00, 0x2000)):
        parts = unicodedata.normalize("NFD", chr(point))
        if len(parts) > 1 and _TONOS in parts:
            out[point] = unicodedata.normalize("NFC", parts.replace(_TONOS, ""))
    return out


def normalise(
    text: str, *, form: str = "NFKC", casefold: bool = True, dotless_i: str = "fold", tonos: str = "fold"
) -> str:
    """One spelling for what a reader takes for the same text.

    * NFKC (default) composes letter and accent and unites compatibility forms; NFC only composes. Both keep accents.
    * Full case folding (Unicode chapter 3.13): ß -> ss, final ς -> σ, ﬁ -> fi. Folding may leave what the normal form
      would still change, so it stands between two normalisations.
    * dotless_i, only with casefold: "fold" makes I, i, İ and ı one letter: right for a corpus of mixed languages, where
      the language of a line in capitals is not known; "turkish" follows Turkish and Azeri (I -> ı, İ -> i); "keep"
      leaves ı, and İ gives i.
    * tonos, only with casefold: "fold" takes the tonos off Greek letters, because Greek capitals are written without:
      ΔΑΣΚΑΛΟΣ is δάσκαλος. "keep" makes them two words.
    * Invisible characters (soft hyphen, zero-width blanks, BOM, direction marks) are removed.
    """
    if text.isascii() and dotless_i != "turkish":  # the short way to the same result
        return text.lower() if casefold else text
    normal: Literal["NFC", "NFKC"] = "NFC" if form == "NFC" else "NFKC"
    text = unicodedata.normalize(normal, _INVISIBLE.sub("", text))
    if not casefold:
        return text
    if dotless_i == "turkish":
        text = text.replace("I" + _DOT_ABOVE, "i").replace("İ", "i").replace("I", "ı")
    folded = text.casefold().replace("i" + _DOT_ABOVE, "i")  # İ folds to i and a dot above
    if dotless_i == "fold":
        folded = folded.replace("ı", "i")
    folded = unicodedata.normalize(normal, folded)
    if tonos == "fold" and _GREEK.search(folded):
        folded = folded.translate(_greek_without_tonos())
    return folded


@cache
def token_pattern() -> re.Pattern[str]:
    """A letter or digit, then letters, digits and combining marks (``\\w`` has no marks), then + or # as in C++, C#."""
    starts, marks = [], ""
    inside = False
    for point in range(0x300, 0x1E950):  # all combining marks of Unicode lie in this range, but for selectors
        is_mark = unicodedata.category(chr(point)) in ("Mn", "Mc")
        if is_mark and not inside:
            starts.append(point)
        elif inside and not is_mark:
            marks += f"{chr(starts[-1])}-{chr(point - 1)}"
        inside = is_mark
    return re.compile(rf"[^\W_]+(?:[{marks}]+[^\W_]*)*[+#]{{0,2}}")


def tokens(text: str) -> list[str]:
    """The words of a normalised text, in order."""
    return token_pattern().findall(text)


def lead(text: str) -> str:
    """The first line that is not blank: the title, as the data layer assembles texts."""
    return text.lstrip().partition("\n")[0]
