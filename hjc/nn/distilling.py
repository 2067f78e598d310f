"""Students of a slower model: fitted to its probabilities, on texts without codes (Hinton, Vinyals & Dean 2015).

The loss of a text is the cross-entropy -sum p ln q over the leaves that the teacher finds most probable, p being scaled
to sum to 1 over them. n texts, k leaves of each, H width, L leaves.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjc.arrays import Float32, IntArray
from hjc.nn.batching import collate, training_batches
from hjc.nn.devices import autocast, in_bfloat16
from hjc.nn.light import LightEncoder
from hjc.nn.network import Network, inputs_of
from hjc.nn.tokens import TokenCorpus
from hjc.nn.units import UnitTexts

#: of the static student: start of the vectors; learning rate of these and of the head
SPREAD, RATE = 0.1, 1e-2
#: texts of a batch, smaller where texts are few
BATCH, SMALLEST, BATCHES = 256, 16, 200
#: of the encoder and of its head
LAYER_RATES = (1e-4, 1e-3)
LAYER_BATCH = 64
#: no step is smaller than this share of the first one
LEAST = 0.02
#: called after each pass with its number and mean loss
Told = Callable[[int, float], None]


@dataclass(frozen=True)
class SoftTargets:
    """Of n texts the k most probable leaves (n, k), and their probabilities (n, k), which sum to 1."""

    leaves: npt.NDArray[np.int32]
    proba: Float32

    @classmethod
    def of(cls, log_proba: Float32, k: int) -> "SoftTargets":
        """Of (n, L) log-probabilities."""
        k = min(k, log_proba.shape[1])
        leaves = np.argpartition(-log_proba, k - 1, axis=1)[:, :k]
        proba = np.exp(np.take_along_axis(log_proba, leaves, axis=1).astype(np.float64))
        return cls(leaves.astype(np.int32), (proba / proba.sum(axis=1, keepdims=True)).astype(np.float32))

    def tensors(self, rows: IntArray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.leaves[rows].astype(np.int64)), torch.from_numpy(self.proba[rows])


def soft_loss(log_proba: Tensor, leaves: Tensor, proba: Tensor) -> Tensor:
    """(B, L) log-probabilities of the student -> the mean cross-entropy."""
    return -(proba * log_proba.gather(1, leaves)).sum(1).mean()


# ------------------------------------------------------------------ static


class StaticNetwork(nn.Module):
    """Vectors of buckets, and a linear head."""

    def __init__(self, buckets: int, width: int, leaves: int, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.table = nn.EmbeddingBag(
            buckets, width, mode="sum", sparse=True, _weight=SPREAD * torch.randn(buckets, width, generator=random)
        )
        self.head = nn.Linear(width, leaves)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, grams: Tensor, starts: Tensor, scale: Tensor, unit: Tensor, weights: Tensor, owner: Tensor, rows: int
    ) -> Tensor:
        """The tensors of :meth:`hjc.nn.units.UnitTexts.batch` of so many rows -> (rows, L) log-probabilities."""
        vectors = self.table(grams, starts, per_sample_weights=scale)
        texts = vectors.new_zeros(rows, vectors.shape[1])
        texts = texts.index_add(0, owner, vectors[unit] * weights[:, None])
        return F.log_softmax(self.head(texts), -1)


def fit_static(
    units: UnitTexts, targets: SoftTargets, *, buckets: int, width: int, leaves: int, epochs: int, seed: int, told: Told
) -> tuple[Float32, Float32, Float32]:
    """Vectors (buckets, H), weights (L, H) and bias (L,) of a static model after ``epochs`` passes."""
    network = StaticNetwork(buckets, width, leaves, seed)
    sparse = torch.optim.SparseAdam(network.table.parameters(), lr=RATE)
    dense = torch.optim.AdamW(network.head.parameters(), lr=RATE, weight_decay=0.01)
    lengths = np.diff(units.starts)
    for epoch, step, rows in _steps(lengths, BATCH, epochs, seed, told):
        _set_rates((sparse, dense), (RATE, RATE), step)
        batch = [torch.from_numpy(array) for array in units.batch(rows)]
        loss = soft_loss(network(*batch, rows=len(rows)), *targets.tensors(rows))
        for optimizer in (sparse, dense):
            optimizer.zero_grad()
        loss.backward()
        for optimizer in (sparse, dense):
            optimizer.step()
        epoch.append(float(loss.detach()))
    found = (network.table.weight, network.head.weight, network.head.bias)
    vectors, weights, bias = (value.detach().numpy() for value in found)
    return vectors, weights, bias


def _steps(
    lengths: IntArray, size: int, epochs: int, seed: int, told: Told
) -> Iterator[tuple[list[float], float, IntArray]]:
    """Batches of all passes, of ``size`` texts, fewer where there are few: where to put the loss, the share of the
    rate, the rows."""
    size = int(np.clip(len(lengths) // BATCHES, SMALLEST, size))
    number = epochs * -(-len(lengths) // size)
    step = 0
    for epoch in range(epochs):
        losses: list[float] = []
        for rows in training_batches(lengths, size, seed, epoch):
            yield losses, max(1 - step / number, LEAST), rows
            step += 1
        told(epoch + 1, float(np.mean(losses)))


def _set_rates(optimizers: Sequence[Any], rates: Sequence[float], share: float) -> None:
    for optimizer, rate in zip(optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * share


# ------------------------------------------------------------------ first layers


def first_layers(network: Network, layers: int) -> Network:
    """A copy of a network with the first layers of its encoder.

    Raises:
        ValueError: it has not so many, or is of another family than BERT's.
    """
    encoder: Any = network.encoder
    if not isinstance(encoder, LightEncoder):
        raise ValueError(
            f"--layers: {type(encoder).__name__} has layers that hjc cannot take apart: leave the option out"
        )
    whole = encoder.config.num_hidden_layers
    if not 1 <= layers < whole:
        raise ValueError(f"--layers: got {layers}, allowed are integers from 1 to {whole - 1}")
    found = copy.deepcopy(network)
    inner: Any = found.encoder
    stack = inner.encoder.layer
    del stack[layers:]
    inner.config.num_hidden_layers = layers
    return found


def fit_layers(network: Network, corpus: TokenCorpus, pad: int, targets: SoftTargets, *, epochs: int, seed: int,
               told: Told) -> None:  # fmt: skip
    """Train a network on the teacher's probabilities, on the CPU or the GPU where it lies."""
    device = next(network.parameters()).device
    body = [p for name, p in network.named_parameters() if name.startswith("encoder.") and p.requires_grad]
    rest = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    optimizers = [torch.optim.AdamW(part, lr=rate) for part, rate in zip((body, rest), LAYER_RATES, strict=True)]
    torch.manual_seed(seed)
    network.train()
    for epoch, step, rows in _steps(corpus.lengths, LAYER_BATCH, epochs, seed, told):
        _set_rates(optimizers, LAYER_RATES, step)
        batch = {name: value.to(device) for name, value in collate(corpus, rows, pad).items()}
        with autocast(device, in_bfloat16("auto")):
            log_proba = network(**inputs_of(batch))
        loss = soft_loss(log_proba.float(), *(value.to(device) for value in targets.tensors(rows)))
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*body, *rest], 1.0)
        for optimizer in optimizers:
            optimizer.step()
        epoch.append(float(loss.detach()))
    network.eval()
