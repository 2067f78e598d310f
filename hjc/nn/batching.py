"""Texts to token ids once, then batches of similar length.

A corpus is tokenised one time into a flat array; batches are drawn from windows of rows sorted by token length, so
that little is padded. The order of batches depends on seed and epoch alone: the same on one process or on several,
where each process takes its share of every batch.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hjc.arrays import IntArray
from hjc.data.side import SideVocabulary
from hjc.nn.fields import first_line, special_ends, title_lengths, windows_of
from hjc.nn.memory import keep_memory

#: rows tokenised at a time
CHUNK = 10_000
#: batches whose rows are sorted together when bucketing
WINDOW = 50
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


def clean(text: str, max_length: int) -> str:
    """One line, single spaces, at most ``max_length * 64`` characters."""
    cut = max_length * MAX_CHARS_PER_TOKEN
    return " ".join(text[: 4 * cut].split())[:cut]


def tokenize(
    tokenizer: Any,
    texts: Sequence[str],
    max_length: int,
    prefix: str = "",
    side: SideVocabulary | None = None,
    *,
    windows: int = 1,
    titles: bool = False,
) -> TokenCorpus:
    """Token ids with special tokens, cut to ``max_length``. An empty text is its special tokens (and the prefix).

    Args:
        side: of the side variables that are read beside the texts.
        windows: of ``max_length`` tokens that are kept of a text.
        titles: count the tokens of the titles, see :func:`hjc.nn.fields.first_line`.
    """
    before, behind = special_ends(tokenizer) if windows > 1 else ([], [])
    most = max_length + (windows - 1) * (max_length - len(before) - len(behind))
    parts = [TokenCorpus.of([])]
    for start in range(0, len(texts), CHUNK):
        encoded = tokenizer(
            [prefix + clean(t, most) for t in texts[start : start + CHUNK]],
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
    if titles:
        lines = [prefix + clean(title, max_length) if (title := first_line(text)) else "" for text in texts]
        own = title_lengths(tokenizer, lines, np.minimum(lengths, max_length))
        own = np.where([not line for line in lines], lengths, own)
    beside = None if side is None else side.padded(texts)
    return TokenCorpus(ids, offsets, beside, own, max_length if windows > 1 else 0, before, behind)


def collate(corpus: TokenCorpus, rows: Sequence[int] | IntArray, pad_id: int) -> dict[str, Tensor]:
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
    batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
    if corpus.titles is not None:
        batch["title"] = torch.from_numpy(corpus.titles[rows])
    return batch | _side(corpus, rows)


def _side(corpus: TokenCorpus, rows: Sequence[int] | IntArray) -> dict[str, Tensor]:
    return {} if corpus.side is None else {"side": torch.from_numpy(corpus.side[rows])}


def _windows(corpus: TokenCorpus, rows: Sequence[int] | IntArray, pad_id: int) -> dict[str, Tensor]:
    cut = [windows_of(corpus.row(int(row)), corpus.window, corpus.before, corpus.behind) for row in rows]
    number = np.array([len(windows) for windows in cut])
    pieces = TokenCorpus.of(list(itertools.chain.from_iterable(cut)))
    batch = collate(pieces, np.arange(len(pieces)), pad_id)
    batch["owner"] = torch.from_numpy(np.repeat(np.arange(len(cut)), number))
    if corpus.titles is not None:  # of the first windows alone; a text without one is its own title, in all windows
        first = np.cumsum(number) - number
        whole = corpus.titles[rows] == corpus.lengths[rows]
        title = np.where(np.repeat(whole, number), pieces.lengths, 0)
        title[first] = np.where(whole, pieces.lengths[first], corpus.titles[rows])
        batch["title"] = torch.from_numpy(title)
    return batch | _side(corpus, rows)


def training_batches(lengths: IntArray, batch_size: int, seed: int, epoch: int, bucket: bool = True) -> list[IntArray]:
    """All rows once in random batches of one epoch.

    With ``bucket``, rows are shuffled, cut into windows of 50 batches, sorted by length within a window, and the
    batches are shuffled again: near-equal lengths in a batch, random content, no row left out (the last batch may
    be short).
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    if bucket:
        span = batch_size * WINDOW
        windows = [order[i : i + span] for i in range(0, len(order), span)]
        order = np.concatenate([w[np.argsort(lengths[w], kind="stable")] for w in windows])
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def token_batches(lengths: IntArray, tokens: int, seed: int, epoch: int) -> list[IntArray]:
    """All rows once in random batches of about ``tokens`` tokens: many short texts, or a few long ones.

    As :func:`training_batches` with its buckets, but a batch ends where its tokens do. Of every epoch the same number:
    a batch holds the rows whose last token falls into its share of all tokens.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    # a share is at least as long as any row, so none is empty
    number = max(1, int(lengths.sum()) // max(tokens, int(lengths.max())))
    span = max(1, -(-WINDOW * len(order) // number))
    windows = [order[i : i + span] for i in range(0, len(order), span)]
    order = np.concatenate([w[np.argsort(lengths[w], kind="stable")] for w in windows])
    ends = np.cumsum(lengths[order])
    share = np.minimum((ends - 1) * number // int(ends[-1]), number - 1)
    batches = np.split(order, np.searchsorted(share, np.arange(1, number)))
    return [batches[i] for i in random.permutation(number)]


def inference_batches(lengths: IntArray, max_tokens: int, max_rows: int) -> Iterator[IntArray]:
    """Rows from longest to shortest in batches of at most ``max_tokens`` padded tokens and ``max_rows`` rows."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, min(max_rows, max_tokens // max(1, int(lengths[order[start]]))))
        yield order[start : start + size]
        start += size


def text_batches(
    tokenizer: Any,
    texts: Sequence[str],
    max_length: int,
    prefix: str,
    device: torch.device,
    side: SideVocabulary | None = None,
    *,
    windows: int = 1,
    titles: bool = False,
) -> Iterator[tuple[IntArray, dict[str, Tensor]]]:
    """Rows (B,) and their tensors, for a pass over texts without gradients: long rows first within a window.

    While the rows of a window are worked on, the next one is tokenised in a thread of its own.
    """
    keep_memory()
    starts = range(0, len(texts), INFERENCE_WINDOW)
    with ThreadPoolExecutor(1) as ahead:

        def window(start: int) -> Future[TokenCorpus]:
            part = texts[start : start + INFERENCE_WINDOW]
            return ahead.submit(tokenize, tokenizer, part, max_length, prefix, side, windows=windows, titles=titles)

        following = window(0) if starts else None
        for start in starts:
            assert following is not None
            corpus = following.result()
            following = window(start + INFERENCE_WINDOW)
            for rows in inference_batches(corpus.lengths, INFERENCE_TOKENS, INFERENCE_ROWS):
                batch = collate(corpus, rows, tokenizer.pad_token_id)
                yield rows + start, {key: value.to(device) for key, value in batch.items()}


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


class Rows(Dataset[Any]):
    """Numbers, or other names, that stand for themselves: the collate function assembles the batch."""

    def __getitem__(self, row: Any) -> Any:
        return row


class EpochBatches(Sampler[list[int]]):
    """Batch sampler: the ``batches`` of an epoch, also from the middle of one on (after a resume).

    With several processes, each takes every ``world_size``-th row of every batch. A share may be empty when a batch has
    fewer rows than there are processes; it is then filled with the batch's first row at weight zero (see
    ``share``), so that all processes make the same number of steps.
    """

    def __init__(self, batches: Callable[[int], Sequence[IntArray]], rank: int = 0, world_size: int = 1) -> None:
        self.batches, self.rank, self.world_size = batches, rank, world_size
        self.number = len(batches(0))
        self.epoch = 0
        self.start = 0
        self.sampler = self  # where Lightning looks for set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[list[int]]:
        start, self.start = self.start, 0
        for batch in self.batches(self.epoch)[start:]:
            yield share(batch, self.rank, self.world_size)


def share(batch: IntArray, rank: int, world_size: int) -> list[int]:
    """One process's rows of a batch. Row ``-1 - r`` stands for row r at weight zero."""
    mine = batch[rank::world_size].tolist()
    return mine or [-1 - int(batch[0])]


class BatchLoader(DataLoader[Any]):
    """A DataLoader whose place within the epoch is kept in Lightning's checkpoint."""

    yielded: int = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        sampler = self.batch_sampler
        self.yielded = sampler.start if isinstance(sampler, EpochBatches) else 0
        for batch in super().__iter__():
            self.yielded += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"yielded": self.yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        # a finished epoch starts the next one from its beginning
        done = int(state["yielded"])
        if isinstance(self.batch_sampler, EpochBatches):
            self.batch_sampler.start = 0 if done >= len(self) else done
