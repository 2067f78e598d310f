"""Encoder and category vectors fitted together, by the trainer of the neural classifier: resume, EMA, DDP, limits."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hjc.arrays import Float32, IntArray
from hjc.nn.batching import tokenize
from hjc.nn.network import Network
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.nn.text_encoder import TorchTextEncoder
from hjc.nn.training import Batchable, FitResult, fit_network
from hjc.nn.vector_training import VectorModule
from hjc.taxonomy import Taxonomy

#: texts, gold nodes (n,), weights (n,)
TextRows = tuple[Sequence[str], IntArray, Float32]


def fit_end_to_end(
    encoder: TorchTextEncoder,
    head: VectorModule,
    taxonomy: Taxonomy,
    train: TextRows,
    valid: TextRows | None,
    trainer: TrainerSettings,
    run_dir: Path | None,
    fingerprint: str,
) -> FitResult:
    """Fit ``encoder`` and ``head`` in place; see :func:`hjc.nn.training.fit_network`.

    The head takes the place of a classification head: it gets the pooled vectors without normalisation or dropout (that
    of the encoder itself is at work), and normalises them itself.
    """
    if trainer.threads:
        torch.set_num_threads(trainer.threads)
    torch.manual_seed(trainer.seed)
    np.random.seed(trainer.seed % 2**32)
    plain = NeuralSettings(pooling=encoder.pooling, hierarchy="bottomup", head_norm=False, dropout=0.0)
    network = Network(encoder.model, taxonomy, plain)
    network.head = head  # type: ignore[assignment]

    def batchable(rows: TextRows) -> Batchable:
        texts, gold, weight = rows
        return Batchable(tokenize(encoder.tokenizer, texts, encoder.max_length, encoder.prefix), gold, weight)

    with tempfile.TemporaryDirectory() as scratch:
        result = fit_network(
            network,
            taxonomy,
            batchable(train),
            None if valid is None else batchable(valid),
            encoder.tokenizer.pad_token_id,
            trainer,
            run_dir if run_dir is not None else Path(scratch),
            fingerprint,
        )
    encoder.model.to(encoder.device).eval()
    head.eval()
    return result
