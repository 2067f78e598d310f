"""Encoder and category vectors fitted together, by the trainer of the neural classifier: resume, EMA, DDP, limits."""

from pathlib import Path
from typing import Any

from hjc.nn.fitting import FitResult
from hjc.nn.heads import VectorModule
from hjc.nn.network import Network
from hjc.nn.seed import seed_everything
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.nn.text_encoder import TorchTextEncoder
from hjc.nn.training import TextRows, fit_network
from hjc.taxonomy import Taxonomy


def fit_end_to_end(
    encoder: TorchTextEncoder | Any,
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
    seed_everything(trainer.seed)
    plain = NeuralSettings(
        pooling=encoder.pooling,
        max_length=encoder.max_length,
        prefix=encoder.prefix,
        hierarchy="bottomup",
        head_norm=False,
        dropout=0.0,
    )
    network = Network(encoder.model, taxonomy, plain)
    network.head = head
    result = fit_network(network, encoder.tokenizer, taxonomy, plain, train, valid, trainer, run_dir, fingerprint)
    encoder.model.to(encoder.device).eval()
    head.eval()
    return result
