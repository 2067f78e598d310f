"""Trainable prototypes: a vector a leaf, compared by cosine. B rows, L leaves, H width, K hard negatives."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjc.arrays import Float32
from hjc.errors import check_choice
from hjc.nn.heads import Head, VectorModule, build_head
from hjc.taxonomy import Taxonomy


def tree_rules(hierarchy: str, taxonomy: Taxonomy) -> Head:
    """A head without its linear map: what the hierarchy makes of scores, and the loss of them."""
    head = build_head(hierarchy, taxonomy, 1)
    del head.linear
    return head


def cosines(features: Tensor, vectors: Tensor) -> Tensor:
    """(B, H) and (M, H) -> (B, M) cosines in float32, also under autocast."""
    with torch.autocast(features.device.type, enabled=False):
        return F.normalize(features.float(), dim=-1) @ F.normalize(vectors.float(), dim=-1).T


class PrototypeSpace(VectorModule):
    """Prototypes (L, H) and a scale s; log P(leaf) = log softmax(s cos).

    ``softmax``: the loss is -log P(gold).

    ``contrastive``: with cosine distance D = 1 - cos, 1/2 D(gold)^2 + mean over the K nearest wrong prototypes of
    1/2 max(0, margin - D)^2 (Hadsell, Chopra & LeCun 2006, eq. 4, as the O*NET category-embedding document uses it).
    The nearest wrong prototypes are looked up anew for every batch. The scale does not enter that loss: it learns from
    -log P(gold) with the cosines held fixed, so that probabilities can be validated on the way.

    A gold inner node: its nearest leaf is drawn near, leaves under it are never wrong.

    Args:
        prototypes: (L, H) start.
        scale: start of s, above 0.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        prototypes: Float32,
        *,
        loss: str = "softmax",
        margin: float = 0.5,
        negatives: int = 10,
        scale: float = 20.0,
    ) -> None:
        super().__init__()
        check_choice("model.loss", loss, ("contrastive", "softmax"))
        self.kind, self.margin, self.negatives = loss, margin, negatives
        self.prototypes = nn.Parameter(torch.tensor(np.asarray(prototypes, dtype=np.float32)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.rules = tree_rules("bottomup", taxonomy)

    def scores(self, features: Tensor) -> Tensor:
        """(B, H) -> (B, L) s cos."""
        return self.log_scale.exp() * cosines(features, self.prototypes)

    def forward(self, features: Tensor) -> Tensor:
        return self.rules.leaf_log_proba(self.scores(features))

    def loss(self, features: Tensor, gold: Tensor, label_smoothing: float = 0.0) -> Tensor:
        cosine = cosines(features, self.prototypes)
        if self.kind == "softmax":
            return self.rules.negative_log_likelihood(self.log_scale.exp() * cosine, gold, label_smoothing)
        calibration = self.rules.negative_log_likelihood(self.log_scale.exp() * cosine.detach(), gold, label_smoothing)
        # the value reported is that of the contrastive loss; the calibration lends its gradient alone
        return self.contrastive(cosine, gold) + calibration - calibration.detach()

    def contrastive(self, cosine: Tensor, gold: Tensor) -> Tensor:
        """(B, L) cosines and (B,) gold nodes -> (B,) contrastive losses."""
        span = self.rules.leaf_slice[gold]  # type: ignore[index]
        column = torch.arange(cosine.shape[1], device=cosine.device)
        right = (column >= span[:, :1]) & (column < span[:, 1:])
        pull = 0.5 * (1 - cosine.masked_fill(~right, -torch.inf).amax(1)).square()
        k = min(self.negatives, cosine.shape[1])
        # where fewer than K leaves are wrong, -inf is drawn, and lies beyond any margin
        hard, index = cosine.masked_fill(right, -torch.inf).topk(k, dim=1)
        wrong = ~right.gather(1, index)
        push = 0.5 * (self.margin - (1 - hard.where(wrong, torch.zeros_like(hard)))).clamp(min=0).square()
        return pull + (push * wrong).sum(1) / wrong.sum(1).clamp(min=1)
