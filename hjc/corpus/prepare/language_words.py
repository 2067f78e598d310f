"""A quick look at the language of a text by its most frequent words, for texts that leave no doubt.

Naive Bayes on the words of ``words.tsv.gz`` (word, then language:share, millionths of all words): the 300 most frequent
words of the official ESCO descriptions in 25 languages of Latin or Greek script, written by
``experiments/prepare_rate/language_words.py``. Each different word of a text counts once, words that are not in the
table do not count. A doubtful text gets no answer here; module ``language`` then asks lingua, which knows
more and takes many times as long.
"""

import csv
import gzip
import io
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources

import numpy as np

#: share of a word in a language in whose list it is not
FLOOR = 1e-5
#: nats between the best language and the second from which there is no doubt, and different known words needed
MARGIN = 12.0
WORDS = 6
#: languages of scripts of their own: a text in one of them has none of the words
OTHER_SCRIPTS = frozenset(
    ("ar", "be", "bg", "bn", "fa", "gu", "he", "hi", "hy", "ja", "ka", "kk", "ko", "mk", "mn", "mr", "pa", "ru", "ta",
     "te", "th", "uk", "ur", "zh")
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
_BEYOND_ASCII = re.compile(r"[^\W\d_\x00-\x7f]")


class WordModel:
    """Word shares by language: ``languages`` (k), ``row`` of each word in ``log_share`` (words, k), natural log."""

    def __init__(self, lines: Iterable[str]) -> None:
        shares: dict[str, dict[str, float]] = {}
        for word, *cells in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            shares[word] = {code: int(share) / 1e6 for code, share in (cell.split(":") for cell in cells)}
        self.languages = tuple(sorted({code for of in shares.values() for code in of}))
        self.row = {word: i for i, word in enumerate(shares)}
        self.log_share = np.full((len(shares), len(self.languages)), np.log(FLOOR))
        letters: dict[str, set[str]] = {code: set() for code in self.languages}
        for i, (word, of) in enumerate(shares.items()):
            for code, share in of.items():
                self.log_share[i, self.languages.index(code)] = np.log(max(share, FLOOR))
                letters[code].update(_BEYOND_ASCII.findall(word))
        #: letters beyond ASCII of each language's words
        self.letters = {code: frozenset(found) for code, found in letters.items()}

    def sure(self, text: str) -> tuple[str, float] | None:
        """The language of a text and its probability among those of the table, or None where there is any doubt.

        Doubt is: fewer than WORDS different known words, less than MARGIN nats to the second language, or a letter
        beyond ASCII that is in none of the language's words (another language is mixed in).
        """
        folded = text.casefold()
        rows = [i for word in dict.fromkeys(_WORD.findall(folded)) if (i := self.row.get(word)) is not None]
        if len(rows) < WORDS:
            return None
        score = self.log_share[rows].sum(axis=0)
        best = int(score.argmax())
        top, score[best] = score[best], -np.inf
        if (margin := float(top - score.max())) < MARGIN:
            return None
        code = self.languages[best]
        if not self.letters[code].issuperset(_BEYOND_ASCII.findall(folded)):
            return None
        return code, 1.0 / (1.0 + float(np.exp(-margin)))

    def serves(self, languages: Iterable[str]) -> bool:
        """Whether a choice among these languages can be left to the table where it is sure: it knows all of them but
        those of other scripts."""
        return set(languages) <= {*self.languages, *OTHER_SCRIPTS}


@lru_cache(maxsize=1)
def built_in() -> WordModel:
    """The table that comes with hjc."""
    data = resources.files("hjc.corpus.prepare").joinpath("words.tsv.gz").read_bytes()
    return WordModel(io.StringIO(gzip.decompress(data).decode("utf-8")))
