"""Two classifications at once: one encoder, a head for each tree, the losses of a row added.

Rows may have a code of either tree or of both; a row without a code of a tree adds nothing to that head. (Multi-task
learning with hard parameter sharing, Caruana 1997.)
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hjc.arrays import Float32, IntArray
from hjc.data.codesets import CodeSets, Target, first_of
from hjc.metrics import RowScores, score_rows
from hjc.nn.batching import collate
from hjc.nn.examples import Examples
from hjc.nn.fitting import FitResult
from hjc.nn.heads import target_tensors
from hjc.nn.module import OptimisedModule, metrics_of
from hjc.nn.network import Network, inputs_of
from hjc.nn.settings import NeuralSettings, Run, TrainerSettings
from hjc.nn.tokens import Reading, TokenCorpus, tokenize
from hjc.nn.training import TextRows, fit_module
from hjc.taxonomy import Taxonomy

#: what stands before the names of the second tree's tensors in a batch, and before its metrics
SECOND = "second_"


class TwoHeads(nn.Module):
    """The network of the first tree, and the head of the second on the same features."""

    def __init__(self, first: Network, second: Network) -> None:
        super().__init__()
        self.first, self.second_head = first, second.head

    @property
    def encoder(self) -> nn.Module:
        """What trains at the encoder's rate."""
        return self.first.encoder


def share_features(first: Network, second: Network) -> None:
    """Everything of ``second`` but its head becomes that of ``first``."""
    second.encoder, second.norm, second.dropout = first.encoder, first.norm, first.dropout
    second.side, second.vocabulary = first.side, first.vocabulary


@dataclass(frozen=True)
class TwoCodes(Examples):
    """Texts with the codes of two trees. ``weights``: (n, 2), 0 where a row has no code of a tree."""

    corpus: TokenCorpus
    targets: tuple[Target, Target]
    weights: Float32
    pad_id: int
    trees: tuple[Taxonomy, Taxonomy]

    @property
    def lengths(self) -> IntArray:  # type: ignore[override]
        return self.corpus.lengths

    def mean_weight(self, batches: int) -> float | None:
        return float(self.weights.max(axis=1).sum()) / batches

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """See :class:`Examples`; ``weights`` (B, 2), and the second tree's codes under names of their own."""
        first, second = (target_tensors(t, rows, tree) for t, tree in zip(self.targets, self.trees, strict=True))
        weights = torch.from_numpy(self.weights[rows])
        both = first | {SECOND + name: value for name, value in second.items()}
        return collate(self.corpus, rows, self.pad_id) | both | {"weights": weights, "weight": weights.amax(1)}


def joined(first: TextRows, second: TextRows) -> tuple[list[str], tuple[Target, Target], Float32]:
    """Rows of both trees as rows of texts: the k-th row of a text in one is the k-th of it in the other.

    Losses are added, so it does not matter which of the rows of one text are taken together.

    Returns:
        n texts, the codes of both trees (any where there are none), weights (n, 2), 0 where there are none.
    """
    place: dict[tuple[str, int], int] = {}
    texts: list[str] = []
    at: list[list[int]] = []
    for side, (some, *_) in enumerate((first, second)):
        times: Counter[str] = Counter()
        for i, text in enumerate(some):
            key = (text, times[text])  # texts with other side variables beside them are others
            times[text] += 1
            if key not in place:
                place[key] = len(texts)
                texts.append(text)
                at.append([-1, -1])
            at[place[key]][side] = i
    rows = np.array(at, dtype=np.int64).reshape(-1, 2)
    weights = np.zeros(rows.shape, dtype=np.float32)
    targets = []
    for side, (_, target, weight) in enumerate((first, second)):
        there = rows[:, side] >= 0
        weights[there, side] = np.asarray(weight, dtype=np.float32)[rows[there, side]]
        safe = np.maximum(rows[:, side], 0)
        missing = CodeSets.of_gold(np.zeros(len(rows), np.int64)) if isinstance(target, CodeSets) else rows[:, 0] * 0
        targets.append(target[safe] if len(first_of(target)) else missing)
    return texts, (targets[0], targets[1]), weights


class TwoHeadsModule(OptimisedModule):
    """The loss of a row is its weighted loss by the first tree plus ``share`` times that by the second."""

    def __init__(
        self, network: TwoHeads, trees: tuple[Taxonomy, Taxonomy], share: float, settings: TrainerSettings,
        total_steps: int, valid: TwoCodes | None,
    ) -> None:  # fmt: skip
        super().__init__(network, settings, total_steps)
        self.trees, self.share, self.valid = trees, share, valid

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        smoothing, first = self.settings.label_smoothing, self.network.first
        features = first.features(**inputs_of(batch))
        own = first.head.losses(features, batch, smoothing)
        other = self.network.second_head.losses(features, _second(batch), smoothing)
        weights = batch["weights"]
        total = weights[:, 0] * own + self.share * weights[:, 1] * other
        return total / weights.amax(1).clamp(min=1e-12)

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        assert self.valid is not None
        features = self.network.first.features(**inputs_of(batch))
        row = batch["row"].cpu().numpy()
        found: list[tuple[IntArray, RowScores | None]] = []
        heads = (self.network.first.head, self.network.second_head)
        for side, (head, tree) in enumerate(zip(heads, self.trees, strict=True)):
            keep = (row >= 0) & (self.valid.weights[np.maximum(row, 0), side] > 0)
            log_proba = head(features).float().cpu().numpy()[keep]
            scores = score_rows(tree, log_proba, self.valid.targets[side][row[keep]]) if keep.any() else None
            found.append((row[keep], scores))
        self.validated.append(found)

    def on_validation_epoch_end(self) -> None:
        parts, total = self.take_validated(), 0.0
        for side, tree in enumerate(self.trees):
            some = [found[side] for found in parts if found[side][1] is not None]
            if not some:
                continue  # no validation row has a code of this tree
            metrics = metrics_of(some, tree)
            log_loss = metrics.pop("valid/log_loss")
            total += log_loss * (self.share if side else 1.0)
            before = f"valid/{SECOND if side else 'first_'}"
            named = {k.replace("valid/", before): v for k, v in metrics.items() if np.isfinite(v)}
            self.log_dict(named | {f"{before}log_loss": log_loss})
        self.log("valid/log_loss", total, prog_bar=True, sync_dist=False)


def _second(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(SECOND): value for name, value in batch.items() if name.startswith(SECOND)}


def fit_two_heads(
    first: Network,
    second: Network,
    tokenizer: Any,
    model: NeuralSettings,
    trees: tuple[Taxonomy, Taxonomy],
    train: tuple[TextRows, TextRows],
    valid: tuple[TextRows, TextRows] | None,
    share: float,
    run: Run,
) -> FitResult:
    """Fit both in place (``second`` shares the features of ``first``, see :func:`share_features`); the weights kept are
    the best by the sum of both validation log-losses, the second ``share`` times.

    Raises:
        ValueError: settings of a training that goes over one tree's rows only. See also :func:`fit_module`.
    """

    def examples(rows: tuple[TextRows, TextRows]) -> TwoCodes:
        texts, targets, weights = joined(*rows)
        corpus = tokenize(tokenizer, texts, Reading.of(model), first.vocabulary)
        return TwoCodes(corpus, targets, weights, tokenizer.pad_token_id, trees)

    held, network = None if valid is None else examples(valid), TwoHeads(first, second)
    return fit_module(
        lambda steps: TwoHeadsModule(network, trees, share, run.settings, steps, held), examples(train), held, run
    )
