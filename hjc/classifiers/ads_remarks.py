"""What is remarkable about ads that a linear model codes: titles of several jobs, words that it does not know."""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from hjc.arrays import FloatArray
from hjc.classifiers.body_languages import UNREAD
from hjc.classifiers.linear import LinearClassifier
from hjc.rerank.ads import NOTHING, Ad, jobs_of, possible_jobs

#: log-probability from which a word of a title is a job
SURE = float(np.log(0.3))
#: probability below which a code may be a guess (where codes are few, a multiple of their share): parts of words tell
#: much in languages that put words together
GUESSED, TIMES = 0.2, 3.0
#: of longer texts so many characters are looked at for words; a text of fewer words than this is unknown where all are,
#: a longer one where this share is: languages have small words in common
LOOKED_AT, FEW_WORDS, UNKNOWN_SHARE = 600, 6, 0.8
#: begins a remark
SEVERAL, UNKNOWN, NO_AD = "several jobs", "words that the model does not know", "no ad: "
#: outcome, or beginning of a reason -> what users have to know of such rows
TOLD = (
    (NOTHING, "of no job: the code is but the most usual one, leave such rows out (hjc_outcome is nothing)"),
    (
        UNKNOWN,
        "with words that the model does not know: a company's name, or a language that it has not learnt. Such codes "
        "are guesses from parts of words (hjc_outcome_reason)",
    ),
    (UNREAD, "with a body in a language of which no body was learnt: coded by the title alone"),
    (
        NO_AD,
        "of a page that is no ad (a cookie notice, an expired vacancy, a page to sign in): the text is not read, and "
        "the title only where it is none of these (hjc_outcome_reason)",
    ),
)

Ask = Callable[[Sequence[str]], FloatArray]


def jobs_named(titles: Sequence[str], ask: Ask) -> list[tuple[str, ...]]:
    """Of each title the jobs that it names, () where it names one.

    Parts that may be jobs or words of one ("cook and waiter", "research and development manager") are jobs where the
    model is sure of the code of each, and codes differ. ``ask`` gives (B, L) log-probabilities of titles.
    """
    jobs = [jobs_of(title) for title in titles]
    if at := [i for i, title in enumerate(titles) if possible_jobs(title)]:
        parts = [possible_jobs(titles[i]) for i in at]
        answers = ask(list(chain.from_iterable(parts)))
        ends = np.cumsum([0, *map(len, parts)])
        for i, names, start, end in zip(at, parts, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            each = answers[start:end]
            if each.max(axis=1).min() >= SURE and len(np.unique(each.argmax(axis=1))) > 1:
                jobs[i] = names
    return jobs


class Jobs:
    """The jobs of titles by :func:`jobs_named`: each title is looked at once."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, titles: Sequence[str]) -> list[tuple[str, ...]]:
        """Of each title the jobs that it names, () where it names one."""
        new = [title for title in dict.fromkeys(titles) if title not in self._known]
        self._known.update(zip(new, jobs_named(new, self.ask), strict=True))
        return [self._known[title] for title in titles]


def with_jobs(found: FloatArray, jobs: Sequence[tuple[str, ...]], ask: Ask) -> FloatArray:
    """(B, L) of titles as wholes; of those with several jobs the mean of the probabilities of each and of the whole."""
    each = ask(list(chain.from_iterable(jobs)))
    ends = np.cumsum([0, *map(len, jobs)])
    for i in np.flatnonzero(np.diff(ends)).tolist():
        found[i] = np.log(np.exp(np.vstack([found[i], each[ends[i] : ends[i + 1]]])).mean(axis=0))
    return found


def remarks(ads: Sequence[Ad], log_proba: FloatArray, linear: LinearClassifier, jobs: Jobs) -> list[str]:
    """What was remarkable about each ad, "" where nothing was; ``log_proba`` (B, L): how they are coded; ``jobs``: of
    their titles."""
    unsure = (np.exp(log_proba.max(axis=1)) < max(GUESSED, TIMES / log_proba.shape[1])).tolist()
    named = jobs.of([ad.title for ad in ads])
    said = ([ad.note, _unknown(ad, linear) if guessed else "", f"{SEVERAL}: {'; '.join(names)}" if names else ""]
            for ad, guessed, names in zip(ads, unsure, named, strict=True))  # fmt: skip
    return ["; ".join(filter(None, parts)) for parts in said]


def _unknown(ad: Ad, linear: LinearClassifier) -> str:
    text = f"{ad.title}\n{ad.body}"[:LOOKED_AT].strip() if ad.kind != NOTHING else ""
    share = linear.oov_share(text) if text else 0.0
    if share < (1 if len(text.split()) < FEW_WORDS else UNKNOWN_SHARE):
        return ""
    return f"{UNKNOWN}: {'all' if share == 1 else f'{share:.0%}'} of them"
