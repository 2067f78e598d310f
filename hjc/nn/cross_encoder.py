"""A cross-encoder: text and label read together, one score a pair; trained on lists with one right label.

B rows, G labels in a list (the right one first), T tokens. The loss of a row is -log softmax(scores)[0], the listwise
form of a re-ranker (Cao et al. 2007, ListNet with one relevant item).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hjc.arrays import Float32, IntArray
from hjc.nn.batching import (
    BatchLoader,
    EpochBatches,
    Rows,
    TokenCorpus,
    inference_batches,
    share,
    tokenize,
)
from hjc.nn.encoder import encoder_from_config, load_tokenizer, pool, save_encoder_config, save_tokenizer
from hjc.nn.module import OptimisedModule
from hjc.nn.settings import TrainerSettings
from hjc.nn.training import FitResult, fit_module, total_steps
from hjc.progress import rows_progress

WEIGHTS = "cross_encoder.safetensors"
INFERENCE_TOKENS, INFERENCE_ROWS = 8192, 256


class PairScorer(nn.Module):
    """Encoder output (P, T, H) -> pooled -> dropout -> (P,) scores."""

    def __init__(self, encoder: Any, pooling: str, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(encoder.config.hidden_size), 1)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(P, T) tokens of pairs -> (P,) float32 scores."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = pool(hidden, attention_mask, self.pooling).float()
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(self.dropout(pooled)).squeeze(-1)


@dataclass(frozen=True)
class PairCorpus:
    """Token ids of n texts and m labels, without special tokens; a pair is ``<s> text </s> label </s>``.

    Attributes:
        first, last, pad: ids of the special tokens.
    """

    texts: TokenCorpus
    labels: TokenCorpus
    first: int
    last: int
    pad: int

    @classmethod
    def make(
        cls, tokenizer: Any, texts: Sequence[str], labels: Sequence[str], max_length: int, label_length: int
    ) -> "PairCorpus":
        """Cut texts to ``max_length`` and labels to ``label_length`` tokens (their special tokens included)."""
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        if first is None or last is None:
            raise ValueError("the tokenizer names no cls_token or sep_token, which pairs of texts need")
        parts = [
            _bare(tokenize(tokenizer, part, length), {int(first), int(last)})
            for part, length in ((texts, max_length), (labels, label_length))
        ]
        return cls(parts[0], parts[1], int(first), int(last), int(tokenizer.pad_token_id))

    def lengths(self, rows: IntArray, labels: IntArray) -> IntArray:
        """Tokens of pairs, special tokens included."""
        return self.texts.lengths[rows] + self.labels.lengths[labels] + 3

    def collate(self, rows: Sequence[int] | IntArray, labels: Sequence[int] | IntArray) -> dict[str, Tensor]:
        """Pairs (row, label) -> ``input_ids`` and ``attention_mask`` (P, T), padded right."""
        pieces = []
        for row, label in zip(rows, labels, strict=True):
            text = self.texts.ids[self.texts.offsets[row] : self.texts.offsets[row + 1]]
            own = self.labels.ids[self.labels.offsets[label] : self.labels.offsets[label + 1]]
            pieces.append(np.concatenate([[self.first], text, [self.last], own, [self.last]]))
        width = max(map(len, pieces))
        ids = np.full((len(pieces), width), self.pad, dtype=np.int64)
        mask = np.zeros((len(pieces), width), dtype=np.int64)
        for i, piece in enumerate(pieces):
            ids[i, : len(piece)] = piece
            mask[i, : len(piece)] = 1
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def _bare(corpus: TokenCorpus, special: set[int]) -> TokenCorpus:
    """Without the special tokens that the tokenizer puts at both ends of a row."""
    starts, ends = corpus.offsets[:-1].copy(), corpus.offsets[1:].copy()
    for i in range(len(corpus)):
        while starts[i] < ends[i] and int(corpus.ids[starts[i]]) in special:
            starts[i] += 1
        while ends[i] > starts[i] and int(corpus.ids[ends[i] - 1]) in special:
            ends[i] -= 1
    parts = [corpus.ids[a:b] for a, b in zip(starts, ends, strict=True)]
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return TokenCorpus(ids, np.r_[0, np.cumsum(ends - starts)].astype(np.int64))


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

    def collate(self, index: Sequence[int]) -> dict[str, Tensor]:
        """Lists -> a batch of B * G pairs. A negative index -1-i is list i at weight zero."""
        chosen = np.asarray(index, dtype=np.int64)
        filler = chosen < 0
        at = np.where(filler, -1 - chosen, chosen)
        labels = self.labels[at]
        batch = self.corpus.collate(np.repeat(self.row[at], labels.shape[1]), labels.ravel())
        batch["weight"] = torch.from_numpy(np.where(filler, np.float32(0), self.weight[at]))
        return batch


class ListwiseModule(OptimisedModule):
    """One step: scores of all pairs of the batch, softmax within each list."""

    def __init__(self, network: PairScorer, settings: TrainerSettings, steps: int) -> None:
        super().__init__(network, settings, steps)
        self.seen: list[tuple[float, float]] = []

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """(B,) -log softmax(scores of the list)[right label]."""
        scores = self.network(batch["input_ids"], batch["attention_mask"]).view(len(batch["weight"]), -1)
        return scores.logsumexp(1) - scores[:, 0]

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        weight = batch["weight"]
        loss = (self.losses(batch) * weight).sum() / weight.sum().clamp(min=1e-12)
        self.log("train/loss", loss.detach(), prog_bar=True, on_step=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        weight = batch["weight"]
        self.seen.append((float((self.losses(batch).float() * weight).sum()), float(weight.sum())))

    def on_validation_epoch_end(self) -> None:
        total, weight = (sum(values) for values in zip(*self.seen, strict=True))
        self.seen = []
        self.log("valid/log_loss", total / max(weight, 1e-12), prog_bar=True)


class ListLoaders(pl.LightningDataModule):
    """Loaders of lists; batches of similar length."""

    def __init__(self, train: Lists, valid: Lists | None, settings: TrainerSettings) -> None:
        super().__init__()
        self.train, self.valid, self.settings = train, valid, settings

    def train_dataloader(self) -> BatchLoader:
        s = self.settings
        place = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochBatches(self.train.lengths, s.batch_size, s.seed, s.bucket, *place)
        # the loader draws a seed when it starts: from a generator of its own, or a resumed run sees other dropout
        return BatchLoader(
            Rows(len(self.train.row)),
            batch_sampler=sampler,
            collate_fn=self.train.collate,
            generator=torch.Generator(),
        )

    def val_dataloader(self) -> Any:
        if self.valid is None:
            return []
        size = self.valid.labels.shape[1]
        batches = inference_batches(self.valid.lengths, INFERENCE_TOKENS // size, max(1, INFERENCE_ROWS // size))
        return torch.utils.data.DataLoader(
            Rows(len(self.valid.row)),
            batch_sampler=[share(rows, 0, 1) for rows in batches],  # type: ignore[arg-type]
            collate_fn=self.valid.collate,
            generator=torch.Generator(),
        )


class CrossEncoder:
    """Scores pairs of text and label; higher is a better fit. Scores of different texts are not on one scale.

    Args:
        network: on any device.
        tokenizer: right-padding fast tokenizer.
        max_length, label_length: tokens of texts and of labels.
        precision: ``32`` or ``bf16`` when scoring.
    """

    def __init__(
        self, network: PairScorer, tokenizer: Any, *, max_length: int, label_length: int, precision: str = "32"
    ) -> None:
        self.network, self.tokenizer = network, tokenizer
        self.max_length, self.label_length, self.precision = max_length, label_length, precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def corpus(self, texts: Sequence[str], labels: Sequence[str]) -> PairCorpus:
        """Both tokenised once."""
        return PairCorpus.make(self.tokenizer, texts, labels, self.max_length, self.label_length)

    def fit(
        self, train: Lists, valid: Lists | None, settings: TrainerSettings, run_dir: Path, fingerprint: str
    ) -> FitResult:
        """Fine-tune; the best weights by validation loss are kept (see :func:`hjc.nn.training.fit_module`)."""
        module = ListwiseModule(self.network, settings, total_steps(len(train.row), settings))
        loaders = ListLoaders(train, valid, settings)
        result = fit_module(module, loaders, len(train.row), valid is not None, settings, run_dir, fingerprint)
        self.network.eval().to(self.device)
        return result

    @torch.inference_mode()
    def score(self, corpus: PairCorpus, rows: IntArray, labels: IntArray, *, progress: bool = True) -> Float32:
        """(P,) scores of the pairs (rows[i], labels[i]); sorted by length inside, so that little is padded."""
        self.network.eval().to(self.device)
        out = np.empty(len(rows), dtype=np.float32)
        with rows_progress("re-ranking pairs", len(rows), enabled=progress) as bar:
            for batch in inference_batches(corpus.lengths(rows, labels), INFERENCE_TOKENS, INFERENCE_ROWS):
                tensors = {k: v.to(self.device) for k, v in corpus.collate(rows[batch], labels[batch]).items()}
                with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
                    out[batch] = self.network(**tensors).float().cpu().numpy()
                bar.advance(len(batch))
        return out

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        save_encoder_config(self.network.encoder, folder)
        save_tokenizer(self.tokenizer, folder)

    @classmethod
    def load(cls, folder: Path, *, pooling: str, max_length: int, label_length: int, precision: str) -> "CrossEncoder":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError, ValueError: a file is missing or does not fit.
        """
        network = PairScorer(encoder_from_config(folder), pooling)
        try:
            network.load_state_dict(load_file(folder / WEIGHTS))
        except RuntimeError as error:
            raise ValueError(f"{folder / WEIGHTS}: does not fit encoder_config.json ({error})") from error
        network.eval()
        return cls(
            network, load_tokenizer(folder), max_length=max_length, label_length=label_length, precision=precision
        )
