"""What training goes over: labelled examples, the batches of an epoch, and the tensors of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hjc.arrays import Float32, IntArray
from hjc.data.codesets import Target
from hjc.nn.batching import collate, token_batches, training_batches
from hjc.nn.heads import target_tensors
from hjc.nn.mixing import Mixture
from hjc.nn.settings import TrainerSettings
from hjc.nn.tokens import TokenCorpus
from hjc.taxonomy import Taxonomy


class Examples:
    """Labelled examples as the trainer needs them."""

    #: sequences that one example is made of
    parts: int = 1
    #: (n,) tokens of each
    lengths: IntArray

    def epoch(self, epoch: int, settings: TrainerSettings) -> list[IntArray]:
        """The examples of each training batch of an epoch; of every epoch the same number."""
        return _batches(self.lengths, epoch, settings)

    def mean_weight(self, batches: int) -> float | None:
        """What the weights of a batch sum up to on the average of ``batches``; None where rows have no weights."""
        return None

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """The tensors of some, ``weight`` (B,) among them."""
        raise NotImplementedError


def _batches(lengths: IntArray, epoch: int, settings: TrainerSettings) -> list[IntArray]:
    if settings.batch_tokens:
        return token_batches(lengths, settings.batch_tokens, settings.seed, epoch)
    return training_batches(lengths, settings.batch_size, settings.seed, epoch, settings.bucket)


@dataclass(frozen=True)
class Batchable(Examples):
    """Texts with their codes: tokens, gold nodes (n,) or sets of them, weights (n,); ``mixture`` of their sources."""

    corpus: TokenCorpus
    gold: Target
    weight: Float32
    pad_id: int
    taxonomy: Taxonomy
    mixture: Mixture | None = field(default=None, kw_only=True)

    @property
    def lengths(self) -> IntArray:  # type: ignore[override]
        return self.corpus.lengths

    def epoch(self, epoch: int, settings: TrainerSettings) -> list[IntArray]:
        """See :class:`Examples`."""
        if self.mixture is None:
            return super().epoch(epoch, settings)
        if settings.batch_tokens:
            raise ValueError("trainer.batch_tokens: with trainer.source_share batches are of rows; set it to 0")
        rows = self.mixture.rows(epoch)
        return [rows[batch] for batch in _batches(self.lengths[rows], epoch, settings)]

    def mean_weight(self, batches: int) -> float | None:
        return float(self.weight.sum()) / batches

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """See :class:`Examples`; the codes beside the tokens, see :func:`target_tensors`."""
        batch = collate(self.corpus, rows, self.pad_id)
        target = target_tensors(self.gold, rows, self.taxonomy)
        return batch | target | {"weight": torch.from_numpy(self.weight[rows])}


@dataclass(frozen=True)
class Noisy(Batchable):
    """Texts that are changed in every epoch: example e * n + i is row i as it is written in epoch e.

    ``corpus`` is of the texts as they are: it says how long a row is about, so that epochs have equally many batches.

    Attributes:
        written: epoch -> tokens of all rows.
    """

    written: Callable[[int], TokenCorpus]

    def epoch(self, epoch: int, settings: TrainerSettings) -> list[IntArray]:
        """See :class:`Examples`."""
        return [rows + epoch * len(self.corpus) for rows in super().epoch(epoch, settings)]

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """See :class:`Batchable`; the rows of a batch are of one epoch."""
        epoch, own = int(rows[0]) // len(self.corpus), rows % len(self.corpus)
        return super().batch(own) | collate(self.written(epoch), own, self.pad_id)


def assembler(examples: Examples) -> Callable[[Sequence[int]], dict[str, Tensor]]:
    """Numbers -> a batch, with them as ``row``. -1-r is example r at weight zero, a filler of one process's share."""

    def assemble(numbers: Sequence[int]) -> dict[str, Tensor]:
        row = torch.tensor(numbers)
        batch = examples.batch(torch.where(row < 0, -1 - row, row).numpy())
        return batch | {"row": row, "weight": batch["weight"].masked_fill(row < 0, 0)}

    return assemble
