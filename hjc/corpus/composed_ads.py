"""Ads composed from what a taxonomy says of its codes, for training where no ad has a code.

A title of the code with the noise that titles of ads have (seniority, place, gender forms, pay), and a body of duties
of the code, now and then a sentence of another code, and sentences that many of the user's own uncoded ads share. Every
row is marked by its source (:data:`hjc.data.splits.COMPOSED`), and reading data never lets such a row validate or test.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hjc.corpus.passages import sentences
from hjc.data.splits import COMPOSED
from hjc.errors import check_range

AD_COLUMNS = ("text", "title", "body", "code", "language", "source", "weight")
#: sources of texts_from_taxonomy that are names, and those that say what the work is
NAMES = ("title", "alternative", "example")
WORK = ("task", "description", "definition")
#: language -> what stands behind a title for any gender, and places; other languages take those of ""
GENDER: Mapping[str, tuple[str, ...]] = {
    "de": ("(m/w/d)", "(w/m/d)", "m/w/d"), "pl": ("(K/M)", "(m/k)", "k/m"), "fr": ("(H/F)", "H/F"),
    "nl": ("(m/v)", "m/v/x"), "es": ("(H/M)",), "it": ("(M/F)", "m/f"), "en": ("(m/f/d)", "(m/f)"), "cs": ("(m/ž)",),
    "hu": ("(férfi/nő)",), "": ("(m/f)",),
}  # fmt: skip
PLACES: Mapping[str, tuple[str, ...]] = {
    "de": ("Berlin", "Hamburg", "Wien", "Leipzig"), "pl": ("Warszawa", "Kraków", "Poznań", "Gdańsk"),
    "fr": ("Paris", "Lyon", "Lille"), "nl": ("Utrecht", "Rotterdam"), "es": ("Madrid", "Sevilla"),
    "it": ("Milano", "Roma"), "en": ("London", "Dublin", "Leeds"), "cs": ("Praha", "Brno"), "sk": ("Bratislava",),
    "hu": ("Budapest",), "sv": ("Stockholm",), "": ("Brussels", "Vienna", "Prague"),
}  # fmt: skip
SENIORITY = ("Senior", "Junior")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class AdSettings:
    """How ads are composed.

    Args:
        per_code: ads of a code and language.
        duties: sentences of the code in a body, at most.
        noise: how often a title has each kind of noise.
        other: how often a body has a sentence of another code.
        common: sentences of a body that are of no code, at most (from ``boilerplate``).

    Raises:
        ValueError: a number out of its range.
    """

    per_code: int = 3
    duties: int = 5
    noise: float = 0.25
    other: float = 0.2
    common: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("per_code", 1), ("duties", 1), ("common", 0)):
            check_range(f"--{name.replace('_', '-')}", value := getattr(self, name), value >= least, f"from {least}")
        for name in ("noise", "other"):
            check_range(f"--{name}", value := getattr(self, name), 0 <= value <= 1, "0 to 1")


def common_sentences(texts: Iterable[str], least: int = 5, share: float = 0.002) -> list[str]:
    """Sentences of 3 words and more that stand in at least ``least`` texts and in this share of them, the most frequent
    first: what employers and portals write under every job."""
    count: Counter[str] = Counter()
    shown: dict[str, str] = {}
    n = 0
    for text in texts:
        n += 1
        found = {" ".join(words): s for s in sentences(text) if len(words := _WORD.findall(s.casefold())) > 2}
        count.update(found.keys())
        for key, sentence in found.items():
            shown.setdefault(key, sentence)
    wanted = max(least, int(np.ceil(share * n)))
    return [shown[key] for key, times in count.most_common() if times >= wanted]


def compose_ads(
    texts: pd.DataFrame, settings: AdSettings | None = None, boilerplate: Sequence[str] = ()
) -> pd.DataFrame:
    """Ads of every code and language that has a name and says what the work is.

    Args:
        texts: columns text, code, language, source, as :func:`hjc.corpus.from_taxonomy.texts_from_taxonomy` gives
            them without context.
        boilerplate: sentences of no code, e.g. :func:`common_sentences` of uncoded ads.

    Returns:
        Columns :data:`AD_COLUMNS`; the same settings and texts give the same ads.

    Raises:
        ValueError: no code has both a name and a text about the work.
    """
    settings = settings or AdSettings()
    rng = np.random.default_rng(settings.seed)
    names: dict[tuple[str, str], list[str]] = {}
    work: dict[tuple[str, str], list[str]] = {}
    for text, code, language, source in texts[["text", "code", "language", "source"]].itertuples(index=False):
        if source in NAMES:
            names.setdefault((language, code), []).append(text)
        elif source in WORK:
            work.setdefault((language, code), []).extend(sentences(text))
    keys = [key for key in names if key in work]
    if not keys:
        raise ValueError("no code has both a title and a description or tasks: composed ads need both")
    of_language: dict[str, list[str]] = {}
    for language, code in keys:
        of_language.setdefault(language, []).append(code)
    rows = []
    for language, code in keys:
        for i in range(settings.per_code):
            own = names[language, code]
            title = _noisy(own[i % len(own)], language, settings.noise, rng)
            duties = work[language, code]
            size = int(rng.integers(1, min(settings.duties, len(duties)) + 1))
            body = [duties[j] for j in rng.choice(len(duties), size, replace=False).tolist()]
            if rng.random() < settings.other:
                other = work[language, str(rng.choice(of_language[language]))]
                body.insert(int(rng.integers(len(body) + 1)), str(rng.choice(other)))
            if boilerplate and settings.common:
                for sentence in rng.choice(len(boilerplate), int(rng.integers(settings.common + 1))).tolist():
                    body.insert(int(rng.choice((0, len(body)))), boilerplate[sentence])
            text = " ".join(s if s[-1:] in ".!?" else f"{s}." for s in body)
            rows.append((f"{title}\n{text}", title, text, code, language, COMPOSED, 1.0))
    return pd.DataFrame(rows, columns=list(AD_COLUMNS))


def _noisy(title: str, language: str, often: float, rng: np.random.Generator) -> str:
    """A title with seniority, gender form, place and pay, each as often."""
    title = title[:1].upper() + title[1:]
    if rng.random() < often:
        title = f"{rng.choice(SENIORITY)} {title}"
    if rng.random() < often:
        title = f"{title} {rng.choice(GENDER.get(language, GENDER['']))}"
    if rng.random() < often:
        place = str(rng.choice(PLACES.get(language, PLACES[""])))
        title = f"{title} ({place})" if rng.random() < 0.5 else f"{title} - {place}"
    if rng.random() < often / 2:
        title = f"{title} {int(rng.integers(18, 60)) * 100} EUR"
    return title
