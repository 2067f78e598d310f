"""Texts to unit vectors with a Hugging Face encoder: what the embedding family compares. No head, no tree."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from hjc.arrays import Float32
from hjc.nn.batching import collate, inference_batches, tokenize
from hjc.nn.encoder import (
    encoder_from_config,
    load_encoder,
    load_tokenizer,
    pool,
    save_encoder_config,
    save_tokenizer,
)
from hjc.nn.settings import NeuralSettings
from hjc.progress import rows_progress

WEIGHTS = "encoder.safetensors"
INFERENCE_TOKENS, INFERENCE_ROWS = 8192, 512
#: rows tokenised and sorted by length together
WINDOW = 8192


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
        neural = NeuralSettings(
            encoder=settings.encoder,
            revision=settings.revision,
            pooling=settings.pooling,
            prefix=settings.prefix,
            max_length=settings.max_length,
            num_layers=settings.num_layers,
            prune_vocabulary=settings.prune_vocabulary,
            tiny_hidden=settings.tiny_hidden,
            tiny_layers=settings.tiny_layers,
            tiny_vocabulary=settings.tiny_vocabulary,
        )
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
            for start in range(0, len(texts), WINDOW):
                corpus = tokenize(self.tokenizer, texts[start : start + WINDOW], self.max_length, self.prefix)
                for rows in inference_batches(corpus.lengths, INFERENCE_TOKENS, INFERENCE_ROWS):
                    batch = {
                        k: v.to(self.device) for k, v in collate(corpus, rows, self.tokenizer.pad_token_id).items()
                    }
                    with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
                        out[start + rows] = self.forward(**batch).cpu().numpy()
                    bar.advance(len(rows))
        return out

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer; what :meth:`load` needs, without network."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        save_encoder_config(self.model, folder)
        save_tokenizer(self.tokenizer, folder)

    @classmethod
    def load(cls, folder: Path, settings: Any) -> "TorchTextEncoder":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: the weights do not fit the configuration.
        """
        model = encoder_from_config(folder)
        try:
            model.load_state_dict(load_file(folder / WEIGHTS))
        except RuntimeError as error:
            raise ValueError(f"{folder / WEIGHTS}: does not fit encoder_config.json ({error})") from error
        return cls._with(model, load_tokenizer(folder), settings)
