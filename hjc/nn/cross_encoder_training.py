"""Fitting a cross-encoder on lists with one right label, by the trainer of the neural classifier.

B rows, G labels in a list (the right one first). The loss of a row is -log softmax(scores)[0], the listwise form of a
re-ranker (Cao et al. 2007, ListNet with one relevant item).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hjc.arrays import Float32, IntArray
from hjc.nn.cross_encoder import CrossEncoder, PairCorpus
from hjc.nn.fitting import FitResult
from hjc.nn.module import OptimisedModule
from hjc.nn.settings import TrainerSettings
from hjc.nn.training import fit_module


@dataclass(frozen=True)
class Lists:
    """Training lists over a pair corpus: for each of B rows the text and G labels, the right one first."""

    corpus: PairCorpus
    row: IntArray  # (B,)
    labels: IntArray  # (B, G)
    weight: Float32  # (B,)

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.shape[1] < 2 or len(self.labels) != len(self.row):
            raise ValueError(
                f"labels: got shape {self.labels.shape} for {len(self.row)} rows, expected (rows, 2 or more)"
            )

    @property
    def lengths(self) -> IntArray:
        """(B,) tokens of the longest pair of each list."""
        size = self.labels.shape[1]
        return self.corpus.lengths(np.repeat(self.row, size), self.labels.ravel()).reshape(-1, size).max(1)

    @property
    def parts(self) -> int:
        return self.labels.shape[1]

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """The tensors of B * G pairs, and the weights (B,)."""
        labels = self.labels[rows]
        pairs = self.corpus.collate(np.repeat(self.row[rows], self.parts), labels.ravel())
        return pairs | {"weight": torch.from_numpy(self.weight[rows])}


class ListwiseModule(OptimisedModule):
    """Scores of all pairs of the batch, softmax within each list."""

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """(B,) -log softmax(scores of the list)[right label]."""
        scores = self.network(batch["input_ids"], batch["attention_mask"]).view(len(batch["weight"]), -1)
        return scores.logsumexp(1) - scores[:, 0]

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        weight = batch["weight"]
        self.validated.append((float((self.losses(batch).float() * weight).sum()), float(weight.sum())))

    def on_validation_epoch_end(self) -> None:
        total, weight = (sum(values) for values in zip(*self.take_validated(), strict=True))
        self.log("valid/log_loss", total / max(weight, 1e-12), prog_bar=True)


def fit_cross_encoder(
    model: CrossEncoder,
    train: Lists,
    valid: Lists | None,
    settings: TrainerSettings,
    run_dir: Path | None,
    fingerprint: str,
) -> FitResult:
    """Fine-tune; the best weights by validation loss are kept (see :func:`hjc.nn.training.fit_module`)."""
    result = fit_module(
        lambda steps: ListwiseModule(model.network, settings, steps), train, valid, settings, run_dir, fingerprint
    )
    model.network.eval().to(model.device)
    return result
