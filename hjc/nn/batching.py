"""Texts to token ids once, then batches of similar length.

A corpus is tokenised one time into a flat array; batches are drawn from windows of rows sorted by token length, so
that little is padded. The order of batches depends on seed and epoch alone: the same on one process or on several,
where each process takes its share of every batch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hjc.arrays import IntArray
from hjc.data.side import SideVocabulary
from hjc.nn.tokens import Reading, TokenCorpus, array_batches, padded

#: batches whose rows are sorted together when bucketing
WINDOW = 50


def collate(corpus: TokenCorpus, rows: Sequence[int] | IntArray, pad_id: int) -> dict[str, Tensor]:
    """:func:`hjc.nn.tokens.padded` as tensors."""
    return {key: torch.from_numpy(value) for key, value in padded(corpus, rows, pad_id).items()}


def text_batches(
    tokenizer: Any,
    texts: Sequence[str],
    reading: Reading,
    device: torch.device,
    side: SideVocabulary | None = None,
) -> Iterator[tuple[IntArray, dict[str, Tensor]]]:
    """:func:`hjc.nn.tokens.array_batches` as tensors on a device."""
    for rows, batch in array_batches(tokenizer, texts, reading, side):
        yield rows, {key: torch.from_numpy(value).to(device) for key, value in batch.items()}


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
