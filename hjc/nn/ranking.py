"""Fitting a bi-encoder and a cross-encoder with losses that rank label texts, by the trainer of the neural classifier.

Bi-encoder: b rows of a batch, k negatives a row. For a row with vector a, the vector p of its label text and the
candidates C of the batch (positives of all rows, and all negatives) the loss is
-ln [exp(s cos(a, p)) / sum over c in C of exp(s cos(a, c))] (Henderson et al. 2017, section 4.4, with hard negatives).

Cross-encoder: B rows, G labels in a list (the right one first). The loss of a row is -log softmax(scores)[0], the
listwise form of a re-ranker (Cao et al. 2007, ListNet with one relevant item).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjc.arrays import Float32, IntArray
from hjc.nn.batching import collate
from hjc.nn.examples import Examples
from hjc.nn.fitting import FitResult, seed_everything
from hjc.nn.module import OptimisedModule
from hjc.nn.pairs import PairBatches
from hjc.nn.settings import OF_HEADS, Run, TrainerSettings
from hjc.nn.text_encoder import CrossEncoder, PairCorpus, TorchTextEncoder
from hjc.nn.tokens import TokenCorpus, tokenize
from hjc.nn.training import fit_module

#: what stands before the names of the tensors of label texts
TEXT = "text_"


@dataclass(frozen=True)
class RankingBatches(Examples):
    """Whole batches as examples: number i of epoch e is example ``e * len(pairs) + i``."""

    anchors: TokenCorpus
    texts: TokenCorpus
    pairs: PairBatches
    pad_id: int

    def epoch(self, epoch: int, settings: TrainerSettings) -> list[IntArray]:
        return list(np.arange(len(self.pairs))[:, None] + epoch * len(self.pairs))

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """Tokens of b rows, and of their b positives followed by b * k negatives (``text_*``)."""
        pairs = self.pairs.batch(*divmod(int(rows[0]), len(self.pairs)))
        texts = collate(self.texts, np.concatenate([pairs.positive, pairs.negative.ravel()]), self.pad_id)
        return (
            collate(self.anchors, pairs.rows, self.pad_id)
            | {f"{TEXT}{key}": value for key, value in texts.items()}
            | {"weight": torch.ones(len(pairs.rows))}
        )


class OneLook(Examples):
    """The one example of a validation that looks at no batches."""

    lengths = np.ones(1, dtype=np.int64)

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        return {"weight": torch.ones(1)}


class RankingModule(OptimisedModule):
    """Vectors of rows and texts, softmax over the texts of the batch; validation asks ``score``."""

    def __init__(
        self,
        encoder: TorchTextEncoder,
        settings: TrainerSettings,
        total_steps: int,
        scale: float,
        score: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(nn.ModuleDict({"encoder": encoder.model}), settings, total_steps)
        self.vectors, self.scale, self.score = encoder.forward, scale, score

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """(b,) ranking losses."""
        anchors = self.vectors(batch["input_ids"], batch["attention_mask"])
        texts = self.vectors(batch[f"{TEXT}input_ids"], batch[f"{TEXT}attention_mask"])
        with torch.autocast(anchors.device.type, enabled=False):
            scores = self.scale * (anchors @ texts.T)
        return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device), reduction="none")

    def validation_step(self, _batch: dict[str, Tensor], _index: int) -> None:
        assert self.score is not None
        self.log("valid/log_loss", self.score(), prog_bar=True)


def check_settings(settings: TrainerSettings) -> None:
    """Raise ValueError for what this training does not do, rather than doing something else."""
    wrong = [
        f"trainer.{name}={getattr(settings, name)}"
        for name, allowed in (("label_smoothing", 0), ("class_weights", "none"), ("devices", 1), *OF_HEADS)
        if getattr(settings, name) != allowed
    ]
    if wrong:
        raise ValueError(f"a bi-encoder is not trained with {', '.join(wrong)}; leave these settings at their defaults")


def fit_encoder(
    encoder: TorchTextEncoder,
    rows: Sequence[str],
    texts: Sequence[str],
    batches: PairBatches,
    run: Run,
    *,
    scale: float,
    score: Callable[[], float] | None,
) -> FitResult:
    """Fine-tune in place; afterwards the encoder has the best weights by ``score``, or the last ones without it.

    Args:
        rows: n training texts; texts: M label texts and what else ``batches`` numbers.
        scale: factor s of the cosines in the loss.
        score: validation log-loss of the encoder as it is. It is asked before the first step too, so that the
            pre-trained encoder is kept where training makes it worse.

    Raises:
        ValueError: the run directory holds checkpoints of other settings or other data, or a setting is not served.
    """
    settings = run.settings
    check_settings(settings)
    seed_everything(settings.seed)
    anchors, labels = (tokenize(encoder.tokenizer, part, encoder.reading) for part in (rows, texts))
    result = fit_module(
        lambda steps: RankingModule(encoder, settings, steps, scale, score),
        RankingBatches(anchors, labels, batches, encoder.tokenizer.pad_token_id),
        OneLook() if score else None,
        run,
        start=score,
    )
    encoder.model.to(encoder.device).eval()
    share = batches.rows_per_epoch / (len(batches) * settings.batch_size)  # of a full batch that a batch is
    return replace(result, rows_per_second=result.rows_per_second * share)


# ------------------------------------------------------------------ cross-encoder


@dataclass(frozen=True)
class Lists(Examples):
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
    def lengths(self) -> IntArray:  # type: ignore[override]
        """(B,) tokens of the longest pair of each list."""
        size = self.labels.shape[1]
        return self.corpus.lengths(np.repeat(self.row, size), self.labels.ravel()).reshape(-1, size).max(1)

    @property
    def parts(self) -> int:  # type: ignore[override]
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
    run: Run,
) -> FitResult:
    """Fine-tune; the best weights by validation loss are kept (see :func:`hjc.nn.training.fit_module`)."""
    result = fit_module(lambda steps: ListwiseModule(model.network, run.settings, steps), train, valid, run)
    model.network.eval().to(model.device)
    return result
