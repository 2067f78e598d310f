"""Texts to unit vectors with a Hugging Face encoder: what the embedding family compares. No head, no tree."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hjc.arrays import Float32
from hjc.nn.batching import text_batches
from hjc.nn.encoder import (
    encoder_from_config,
    load_encoder,
    load_tokenizer,
    load_weights,
    pool,
    save_encoder,
    save_weights,
)
from hjc.nn.settings import NeuralSettings
from hjc.progress import rows_progress

WEIGHTS = "encoder.safetensors"


class TorchTextEncoder:
    """A Hugging Face encoder with pooling; vectors have length 1.

    Args:
        model: as :func:`hjc.nn.encoder.load_encoder` gives it.
        tokenizer: right-padding fast tokenizer.
        precision: ``32`` or ``bf16`` (autocast) when encoding.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, pooling: str, prefix: str, max_length: int, precision: str = "32"
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.pooling, self.prefix, self.max_length, self.precision = pooling, prefix, max_length, precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
        )

    @property
    def dim(self) -> int:
        """Width H of the vectors."""
        return int(self.model.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) tokens -> (B, H) float32 unit vectors, with gradients where they are on."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return F.normalize(pool(hidden, attention_mask, self.pooling).float(), dim=-1)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], description: str = "encoding", *, progress: bool = True) -> Float32:
        """(n, H) float32 unit vectors in the order of ``texts``. An empty text has the vector of its special tokens."""
        self.model.eval()
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        bf16 = self.precision == "bf16"
        with rows_progress(description, len(texts), enabled=progress) as bar:
            # where the model is: during a fit that is the trainer's device
            device = self.model.device
            for rows, batch in text_batches(self.tokenizer, texts, self.max_length, self.prefix, device):
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                    out[rows] = self.forward(**batch).cpu().numpy()
                bar.advance(len(rows))
        return out

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
        model = encoder_from_config(folder)
        load_weights(model, folder / WEIGHTS)
        return cls._with(model, load_tokenizer(folder), settings)
