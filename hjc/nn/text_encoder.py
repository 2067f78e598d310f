"""Texts to unit vectors with a Hugging Face encoder (what the embedding family compares), and a cross-encoder: text and
label read together, one score a pair. No head, no tree. P pairs, T tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjc.arrays import Float32, IntArray
from hjc.nn.batching import collate, text_batches
from hjc.nn.devices import autocast, device_of, in_bfloat16
from hjc.nn.packed import last_states
from hjc.nn.settings import NeuralSettings
from hjc.nn.stored import load_weights, pool, read_encoder, save_encoder, save_weights
from hjc.nn.tokens import INFERENCE_ROWS, INFERENCE_TOKENS, Distinct, Reading, TokenCorpus, inference_batches, tokenize
from hjc.progress import rows_progress

WEIGHTS, PAIR_WEIGHTS = "encoder.safetensors", "cross_encoder.safetensors"


class TorchTextEncoder:
    """A Hugging Face encoder with pooling; vectors have length 1.

    Args:
        model: as :func:`hjc.nn.encoder.load_encoder` gives it.
        tokenizer: right-padding fast tokenizer.
        precision: ``32`` or ``bf16`` (autocast) when encoding.
        capitals: lower | keep, see :func:`hjc.nn.tokens.lower_capitals`.
    """

    has_network = True

    def __init__(
        self, model: Any, tokenizer: Any, *, pooling: str, prefix: str, max_length: int, precision: str = "32",
        capitals: str = "keep",
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.capitals = model, tokenizer, capitals
        self.pooling, self.prefix, self.max_length, self.precision = pooling, prefix, max_length, precision
        self.device = device_of("auto")
        self.model.to(self.device).eval()

    @classmethod
    def pretrained(
        cls, settings: Any, corpus: Sequence[str] = (), labels: Sequence[str] = (), *, seed: int = 1
    ) -> "TorchTextEncoder":
        """The pre-trained encoder that an :class:`~hjc.classifiers.embedding.settings.EmbeddingSettings` names.

        Args:
            corpus, labels: texts whose tokenisation a pruned vocabulary keeps (and on which ``tiny`` is made).

        Raises:
            EncoderNotFoundError, ValueError: see :func:`hjc.nn.encoder.load_encoder`.
        """
        from hjc.nn.encoder import load_encoder  # transformers: what is stored does without

        shared = {f.name for f in fields(NeuralSettings)} & {f.name for f in fields(settings)} - {
            "name",
            "hierarchy",
            "freeze_encoder",
        }
        neural = NeuralSettings(**{name: getattr(settings, name) for name in shared})
        model, tokenizer = load_encoder(neural, corpus, labels, seed=seed)
        return cls._with(model, tokenizer, settings)

    @classmethod
    def _with(cls, model: Any, tokenizer: Any, settings: Any) -> "TorchTextEncoder":
        return cls(
            model,
            tokenizer,
            pooling=settings.pooling,
            prefix=settings.prefix,
            max_length=settings.max_length,
            precision=settings.precision,
            capitals=settings.capitals,
        )

    @property
    def reading(self) -> Reading:
        """How texts become tokens."""
        return Reading(self.max_length, self.prefix, capitals=self.capitals)

    @property
    def dim(self) -> int:
        """Width H of the vectors."""
        return int(self.model.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) tokens -> (B, H) float32 unit vectors, with gradients where they are on."""
        hidden = last_states(self.model, input_ids, attention_mask)
        return F.normalize(pool(hidden, attention_mask, self.pooling).float(), dim=-1)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], description: str = "encoding", *, progress: bool = True) -> Float32:
        """(n, H) float32 unit vectors in the order of ``texts``. An empty text has the vector of its special tokens."""
        self.model.eval()
        distinct = Distinct(texts)
        out = np.empty((len(distinct.texts), self.dim), dtype=np.float32)
        with rows_progress(description, len(distinct.texts), enabled=progress) as bar:
            # where the model is: during a fit that is the trainer's device
            device = self.model.device
            for rows, batch in text_batches(self.tokenizer, distinct.texts, self.reading, device):
                with autocast(device, self.precision == "bf16"):
                    out[rows] = self.forward(**batch).cpu().numpy()
                bar.advance(len(rows))
        return out[distinct.number]

    def compute_on(self, device: str, precision: str | None) -> None:
        """Move the model, and choose how it computes; see :func:`hjc.nn.devices.in_bfloat16` (None: as it is)."""
        self.device = device_of(device)
        self.model.to(self.device)
        if precision is not None:
            self.precision = "bf16" if in_bfloat16(precision) else "32"

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer; what :meth:`load` needs, without network."""
        save_weights(self.model, folder / WEIGHTS)
        save_encoder(self.model, self.tokenizer, folder)

    @classmethod
    def load(cls, folder: Path, settings: Any) -> "TorchTextEncoder":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: the weights do not fit the configuration.
        """
        model, tokenizer = read_encoder(folder, settings.max_length)
        load_weights(model, folder / WEIGHTS)
        return cls._with(model, tokenizer, settings)


# ------------------------------------------------------------------ pairs


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
        hidden = last_states(self.encoder, input_ids, attention_mask)
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

    def lengths(self, rows: IntArray, labels: IntArray) -> IntArray:
        """Tokens of pairs, special tokens included."""
        return self.texts.lengths[rows] + self.labels.lengths[labels] + 3

    def collate(self, rows: Sequence[int] | IntArray, labels: Sequence[int] | IntArray) -> dict[str, Tensor]:
        """Pairs (row, label) -> ``input_ids`` and ``attention_mask`` (P, T), padded right."""
        pairs = [
            [self.first, *self.texts.row(row), self.last, *self.labels.row(label), self.last]
            for row, label in zip(rows, labels, strict=True)
        ]
        return collate(TokenCorpus.of(pairs), np.arange(len(pairs)), self.pad)


def _bare(corpus: TokenCorpus, special: set[int]) -> TokenCorpus:
    """Without the special tokens that the tokenizer puts at both ends of a row."""
    rows = []
    for row in map(corpus.row, range(len(corpus))):
        inner = [i for i, token in enumerate(row) if token not in special]
        rows.append(row[inner[0] : inner[-1] + 1] if inner else [])
    return TokenCorpus.of(rows)


class CrossEncoder:
    """Scores pairs of text and label; higher is a better fit. Scores of different texts are not on one scale.

    Args:
        network: on any device.
        tokenizer: right-padding fast tokenizer.
        max_length: tokens of a text, and of a label.
        precision: ``32`` or ``bf16`` when scoring.
    """

    def __init__(self, network: PairScorer, tokenizer: Any, *, max_length: int, precision: str = "32") -> None:
        self.network, self.tokenizer = network, tokenizer
        self.max_length, self.precision = max_length, precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def corpus(self, texts: Sequence[str], labels: Sequence[str]) -> PairCorpus:
        """Both tokenised once, cut to their lengths (special tokens included)."""
        t = self.tokenizer
        first = t.cls_token_id if t.cls_token_id is not None else t.bos_token_id
        last = t.sep_token_id if t.sep_token_id is not None else t.eos_token_id
        if first is None or last is None:
            raise ValueError("the tokenizer names no cls_token or sep_token, which pairs of texts need")
        own, theirs = (_bare(tokenize(t, part, Reading(self.max_length)), {first, last}) for part in (texts, labels))
        return PairCorpus(own, theirs, first, last, t.pad_token_id)

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
        save_weights(self.network, folder / PAIR_WEIGHTS)
        save_encoder(self.network.encoder, self.tokenizer, folder)

    @classmethod
    def load(cls, folder: Path, *, pooling: str, max_length: int, precision: str) -> "CrossEncoder":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError, ValueError: a file is missing or does not fit.
        """
        encoder, tokenizer = read_encoder(folder, max_length)
        network = PairScorer(encoder, pooling)
        load_weights(network, folder / PAIR_WEIGHTS)
        network.eval()
        return cls(network, tokenizer, max_length=max_length, precision=precision)
