"""Languages in which a model of ads has learnt bodies: a body in another one is not read.

Words of a language that no body had in training are unknown, and parts of them look like those of any work. The title
may well be known, as names of codes come in more languages than texts of the work do.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from hjc.corpus.prepare.language_words import built_in
from hjc.rerank.ads import AD, Ad, read_ad

#: bodies of a language in training from which it counts as learnt
LEAST = 5
#: characters of a body that are looked at
WINDOW = 250
#: begins the remark on an ad whose body is not read
UNREAD = "body not read"
#: scripts that are written together
_CJK = ("HIRAGANA", "KATAKANA", "BOPOMOFO")
#: languages that the table of words has under another code
_SAME = {"nb": "no", "nn": "no"}


def language_of(body: str) -> str:
    """ISO 639-1 code where frequent words leave no doubt, the script ("cyrillic") where that is not Latin, else ""."""
    window = unicodedata.normalize("NFKC", body[:WINDOW])  # letters of mathematics, full width: Latin ones in disguise
    scripts = Counter(unicodedata.name(c, "?").partition(" ")[0] for c in window if c.isalpha())
    for script in _CJK:
        scripts["CJK"] += scripts.pop(script, 0)
    if (most := scripts.most_common(1)[0])[1] and most[0] != "LATIN":
        return most[0].casefold()
    found = built_in().sure(window)
    return found[0] if found else ""


def learnt_languages(bodies: Iterable[str], named: Iterable[str] = ()) -> tuple[str, ...]:
    """Languages of at least :data:`LEAST` of these bodies, sorted; () where none is sure.

    named: what the table says of their languages, as far as it does: short bodies leave doubt.
    """
    count = Counter(map(language_of, bodies))
    sure = {name for name, n in count.items() if name and n >= LEAST}
    codes = (name.strip().casefold().replace("_", "-").partition("-")[0] for name in named)
    said = Counter(_SAME.get(code, code) for code in codes)
    told = {name for name, n in said.items() if name and n >= LEAST}
    return tuple(sorted(sure | told)) if sure else ()


def read_known(text: str, learnt: Sequence[str]) -> Ad:
    """The ad of a text; without its body where it has a title and the body is surely in none of these languages,
    neither at its beginning nor at its end. (): all bodies are read."""
    ad = read_ad(text)
    if not learnt or ad.kind != AD or not (own := language_of(ad.body)) or own in learnt:
        return ad
    if language_of(ad.body[-WINDOW:]) in learnt:
        return ad
    return Ad(ad.title, note="; ".join(filter(None, (ad.note, f"{UNREAD}: in {own}, of which no body was learnt"))))
