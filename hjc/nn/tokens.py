"""Texts to token ids, once, and batches of similar length to be worked on without gradients: in NumPy alone.

What of a text goes where is decided here too: the tokens of its title, and windows of long texts. S sequences (windows
of all texts of a batch), B texts, T tokens.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import IntArray
from hjc.data.side import SideVocabulary
from hjc.nn.memory import keep_memory

#: rows tokenised at a time
CHUNK = 10_000
#: characters per token kept before tokenising: no vocabulary here has longer pieces, so truncation is unaffected
MAX_CHARS_PER_TOKEN = 64
#: padded tokens and rows in one forward pass without gradients
INFERENCE_TOKENS, INFERENCE_ROWS = 8192, 512
#: rows tokenised and sorted by length together when nothing is learnt
INFERENCE_WINDOW = 8192


@dataclass(frozen=True)
class TokenCorpus:
    """Token ids of n rows in one array: row i is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        side: (n, K) tokens of side variables (:meth:`hjc.data.side.SideVocabulary.padded`); None without any.
        titles: (n,) tokens at the start of each row that are of its title; None where nobody asks.
        window: longer rows become windows of so many tokens in a batch (0: never), each between the special tokens
            ``before`` and ``behind``.
    """

    ids: npt.NDArray[np.int32]
    offsets: IntArray
    side: IntArray | None = None
    titles: IntArray | None = None
    window: int = 0
    before: Sequence[int] = ()
    behind: Sequence[int] = ()

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "TokenCorpus":
        """From the token ids of each row."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ids = np.fromiter(itertools.chain.from_iterable(rows), np.int32, int(lengths.sum()))
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]))

    def row(self, i: int) -> list[int]:
        return self.ids[self.offsets[i] : self.offsets[i + 1]].tolist()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        return np.diff(self.offsets)


#: letters from which a word of capitals is no abbreviation, and the share of them that makes a line one of capitals
SHOUTED, MOSTLY = 5, 0.6
_WORD = re.compile(rf"[^\W\d_]{{{SHOUTED},}}")


def lower_capitals(text: str) -> str:
    """Small letters for words of five capitals and more, and for lines of so many letters that are mostly capitals.

    Vocabularies of encoders know a word in capitals as loose letters; job titles are often written so. Every
    character stays in its place: one whose small form is longer is kept.
    """
    if not any(word.isupper() for word in text.split()):
        return text

    def small(part: str) -> str:
        low = part.lower()
        return low if len(low) == len(part) else "".join(c.lower() if len(c.lower()) == 1 else c for c in part)

    def line(part: str) -> str:
        letters = [c.isupper() for c in part if c.isalpha()]
        if len(letters) >= SHOUTED and sum(letters) > MOSTLY * len(letters):
            return small(part)
        return _WORD.sub(lambda found: small(found[0]) if found[0].isupper() else found[0], part)

    return "\n".join(line(part) for part in text.split("\n"))


@dataclass(frozen=True)
class Reading:
    """How texts are read: what of them becomes tokens, and which.

    Attributes:
        max_length: tokens of a text, or of a window of it.
        prefix: stands before every text.
        windows: of ``max_length`` tokens that are kept of a text.
        titles: count the tokens of the titles, see :func:`first_line`.
        capitals: lower | keep, see :func:`lower_capitals`.
    """

    max_length: int
    prefix: str = ""
    windows: int = 1
    titles: bool = False
    capitals: str = "keep"

    @classmethod
    def of(cls, settings: Any) -> "Reading":
        """As the settings of a network say, trained (:class:`hjc.nn.settings.NeuralSettings`) or exported."""
        return cls(
            max_length=settings.max_length,
            prefix=settings.prefix,
            windows=settings.windows,
            titles=settings.title_share > 0,
            capitals=settings.capitals,
        )


def clean(text: str, max_length: int, capitals: str = "keep") -> str:
    """One line, single spaces, at most ``max_length * 64`` characters; capitals: see :func:`lower_capitals`."""
    cut = max_length * MAX_CHARS_PER_TOKEN
    text = text[: 4 * cut]
    return " ".join((lower_capitals(text) if capitals == "lower" else text).split())[:cut]


def tokenize(tokenizer: Any, texts: Sequence[str], reading: Reading, side: SideVocabulary | None = None) -> TokenCorpus:
    """Token ids with special tokens, cut to length. An empty text is its special tokens (and the prefix).

    Args:
        side: of the side variables that are read beside the texts.
    """
    max_length, prefix, capitals = reading.max_length, reading.prefix, reading.capitals
    before, behind = special_ends(tokenizer) if reading.windows > 1 else ([], [])
    most = max_length + (reading.windows - 1) * (max_length - len(before) - len(behind))
    parts = [TokenCorpus.of([])]
    for start in range(0, len(texts), CHUNK):
        encoded = tokenizer(
            [prefix + clean(t, most, capitals) for t in texts[start : start + CHUNK]],
            truncation=True,
            max_length=most,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        parts.append(TokenCorpus.of(encoded["input_ids"]))
    lengths = np.concatenate([part.lengths for part in parts])
    ids, offsets = np.concatenate([part.ids for part in parts]), np.concatenate([[0], np.cumsum(lengths)])
    own = None
    if reading.titles:
        first = (first_line(text) for text in texts)
        lines = [prefix + clean(title, max_length, capitals) if title else "" for title in first]
        own = title_lengths(tokenizer, lines, np.minimum(lengths, max_length))
        own = np.where([not line for line in lines], lengths, own)
    beside = None if side is None else side.padded(texts)
    return TokenCorpus(ids, offsets, beside, own, max_length if reading.windows > 1 else 0, before, behind)


def first_line(text: str) -> str:
    """The first line that is not blank, "" where no other follows: the title, as the recipe assembles texts."""
    title, _, rest = text.strip().partition("\n")
    return title if rest.strip() else ""


def special_ends(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and behind every text."""
    ids = tokenizer("a")["input_ids"]
    special = set(tokenizer.all_special_ids)
    inner = [i for i, token in enumerate(ids) if token not in special]
    if not inner:
        raise ValueError("the tokenizer has no piece for the letter a")
    return ids[: inner[0]], ids[inner[-1] + 1 :]


def title_lengths(tokenizer: Any, titles: Sequence[str], lengths: IntArray) -> IntArray:
    """(n,) tokens at the start of each text that are of its title, special tokens and prefix before it included.

    Args:
        titles: n titles with their prefix; "" where a text has none of its own: all its tokens count.
        lengths: (n,) tokens of the texts, as they are cut.
    """
    _, behind = special_ends(tokenizer)
    out = lengths.copy()
    if rows := [i for i, title in enumerate(titles) if title]:
        found = tokenizer([titles[i] for i in rows], return_attention_mask=False, return_token_type_ids=False)
        own = np.array([len(ids) - len(behind) for ids in found["input_ids"]])
        out[rows] = np.minimum(own, lengths[rows])
    return out


def windows_of(row: Sequence[int], size: int, before: Sequence[int], behind: Sequence[int]) -> list[list[int]]:
    """The tokens of one text as windows of at most ``size``, each between the special tokens of the whole."""
    if len(row) <= size:
        return [list(row)]
    inner = row[len(before) : len(row) - len(behind)]
    step = size - len(before) - len(behind)
    return [[*before, *inner[i : i + step], *behind] for i in range(0, len(inner), step)]


def padded(corpus: TokenCorpus, rows: Sequence[int] | IntArray, pad_id: int) -> dict[str, IntArray]:
    """Rows of a corpus, padded right to the longest: ``input_ids`` and ``attention_mask`` (B, T), int64.

    And ``side`` (B, K) where it has side variables, ``title`` (B,), the tokens of each title, where it knows them.
    Where a row is longer than a window of the corpus, the S windows of all rows come instead, with the row of each:
    ``owner`` (S,).
    """
    starts, lengths = corpus.offsets[rows], corpus.lengths[rows]
    if corpus.window and int(lengths.max()) > corpus.window:
        return _windows(corpus, rows, pad_id)
    width = int(lengths.max())
    position = np.arange(width)
    mask = position < lengths[:, None]
    where = np.minimum(starts[:, None] + position, len(corpus.ids) - 1)
    ids = np.where(mask, corpus.ids[where], pad_id).astype(np.int64)
    batch: dict[str, IntArray] = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
    if corpus.titles is not None:
        batch["title"] = corpus.titles[rows]
    return batch | _side(corpus, rows)


def _side(corpus: TokenCorpus, rows: Sequence[int] | IntArray) -> dict[str, IntArray]:
    return {} if corpus.side is None else {"side": corpus.side[rows]}


def _windows(corpus: TokenCorpus, rows: Sequence[int] | IntArray, pad_id: int) -> dict[str, IntArray]:
    cut = [windows_of(corpus.row(int(row)), corpus.window, corpus.before, corpus.behind) for row in rows]
    number = np.array([len(windows) for windows in cut])
    pieces = TokenCorpus.of(list(itertools.chain.from_iterable(cut)))
    batch = padded(pieces, np.arange(len(pieces)), pad_id)
    batch["owner"] = np.repeat(np.arange(len(cut)), number)
    if corpus.titles is not None:  # of the first windows alone; a text without one is its own title, in all windows
        first = np.cumsum(number) - number
        whole = corpus.titles[rows] == corpus.lengths[rows]
        title = np.where(np.repeat(whole, number), pieces.lengths, 0)
        title[first] = np.where(whole, pieces.lengths[first], corpus.titles[rows])
        batch["title"] = title
    return batch | _side(corpus, rows)


def inference_batches(lengths: IntArray, max_tokens: int, max_rows: int) -> Iterator[IntArray]:
    """Rows from longest to shortest in batches of at most ``max_tokens`` padded tokens and ``max_rows`` rows."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, min(max_rows, max_tokens // max(1, int(lengths[order[start]]))))
        yield order[start : start + size]
        start += size


def array_batches(
    tokenizer: Any, texts: Sequence[str], reading: Reading, side: SideVocabulary | None = None
) -> Iterator[tuple[IntArray, dict[str, IntArray]]]:
    """Rows (B,) and their arrays (:func:`padded`), for a pass without gradients: long rows first within a window.

    While the rows of a window are worked on, the next one is tokenised in a thread of its own.
    """
    keep_memory()
    starts = range(0, len(texts), INFERENCE_WINDOW)
    with ThreadPoolExecutor(1) as ahead:

        def window(start: int) -> Future[TokenCorpus]:
            return ahead.submit(tokenize, tokenizer, texts[start : start + INFERENCE_WINDOW], reading, side)

        following = window(0) if starts else None
        for start in starts:
            assert following is not None
            corpus = following.result()
            following = window(start + INFERENCE_WINDOW)
            for rows in inference_batches(corpus.lengths, INFERENCE_TOKENS, INFERENCE_ROWS):
                yield rows + start, padded(corpus, rows, tokenizer.pad_token_id)


class Distinct:
    """Texts of which each is worked on once, however often it occurs.

    Attributes:
        texts: every text once, in the order of its first row.
        number: (n,) which of them a row has.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        known: dict[str, int] = {}
        self.number: IntArray = np.fromiter((known.setdefault(t, len(known)) for t in texts), np.int64, len(texts))
        self.texts = list(known)
        self.order = np.argsort(self.number, kind="stable")
        self.bounds = np.searchsorted(self.number[self.order], np.arange(len(known) + 1))

    def spread(self, which: IntArray, values: npt.NDArray[Any]) -> Iterator[tuple[IntArray, npt.NDArray[Any]]]:
        """Values (b, ...) of some of the texts -> rows and theirs, not more at a time than a batch has."""
        counts = self.bounds[which + 1] - self.bounds[which]
        if len(counts) == counts.sum():
            yield self.order[self.bounds[which]], values
            return
        rows = np.concatenate([self.order[self.bounds[i] : self.bounds[i + 1]] for i in which])
        place = np.repeat(np.arange(len(which)), counts)
        for start in range(0, len(rows), INFERENCE_ROWS):
            part = slice(start, start + INFERENCE_ROWS)
            yield rows[part], values[place[part]]
