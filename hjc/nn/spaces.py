"""Trainable vectors that texts are compared with by cosine: of the leaves (prototypes), or of the nodes of every level.

The space of all levels is after "Hierarchical Job Classification with Similarity Graph Integration"
(arXiv:2507.09949), from two levels to any tree. All triplets of a step are drawn by functions that are given, from a
generator seeded with (seed, step), so that a resumed run draws what an unbroken one would have drawn.

B rows, N nodes, L leaves, D levels, H width, K hard negatives, T triplets.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjc.arrays import Float32, IntArray
from hjc.errors import check_choice
from hjc.nn.heads import VectorModule, build_head
from hjc.taxonomy import Taxonomy

#: (number, generator) -> (T, 3) nodes: anchor, near, far
Draw = Callable[[int, np.random.Generator], IntArray]

#: what a step of the optimiser on the linear map is multiplied by: all H numbers that make up a coordinate change at
#: once, so that the rate of the other parameters would tear the space apart
PROJECTION_STEP = 0.05


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
        self.rules = build_head("bottomup", taxonomy, 0)

    def scores(self, features: Tensor) -> Tensor:
        """(B, H) -> (B, L) s cos."""
        return self.log_scale.exp() * cosines(features, self.prototypes)

    def forward(self, features: Tensor) -> Tensor:
        return self.rules(self.scores(features))

    def loss(self, features: Tensor, gold: Tensor, label_smoothing: float = 0.0) -> Tensor:
        cosine = cosines(features, self.prototypes)
        if self.kind == "softmax":
            return self.rules.loss(self.log_scale.exp() * cosine, gold, label_smoothing)
        calibration = self.rules.loss(self.log_scale.exp() * cosine.detach(), gold, label_smoothing)
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


def triplet_loss(vectors: Tensor, triplets: Tensor, margin: float) -> Tensor:
    """Mean over T triplets of max(0, margin - cos(anchor, near) + cos(anchor, far)).

    Args:
        vectors: (N, H), of any length.
        triplets: (T, 3) rows of ``vectors``: anchor, near, far.
    """
    anchor, near, far = F.normalize(vectors[triplets.T], dim=-1)
    return (margin - (anchor * near).sum(-1) + (anchor * far).sum(-1)).clamp(min=0).mean()


class JointSpace(VectorModule):
    """Node vectors (N, H), scales and, when wanted, a linear map of the jobs W (H, H) that starts as the identity.

    score(node) = s_d cos(W x, node) with a scale for each level d; ``hierarchy`` (pathsum or topdown,
    :mod:`hjc.nn.heads`) makes coherent log-probabilities of the scores. The loss of a row is

        w_c [ -log P(gold) + sum over levels d of -log softmax over the columns of level d (t_d cos)[gold at d] ]
        + w_h hierarchy triplets + w_s similarity triplets

    The first part of w_c is the coherent likelihood, the one that is predicted with; the second classifies at every
    level by that level's own vectors alone, as the document does at its two (a gold inner node counts down to its own
    level). It has scales t_d of its own: a level by itself wants sharper scores than one among the sum of a path. The
    triplet terms belong to the step, not to a row: every row carries them, so that a mean over rows does.

    Args:
        nodes: (N, H) start.
        scale, level_scale: start of every s_d and every t_d.
        weights: w_c, w_h, w_s; a term with weight 0, or without a function to draw from, is not computed.
        draws: for the hierarchy (child, its parent, another parent) and for the similarity (node, similar, dissimilar).
        triplets: drawn of each kind in a step.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        nodes: Float32,
        *,
        hierarchy: str = "pathsum",
        scale: float = 20.0,
        level_scale: float = 20.0,
        weights: tuple[float, float, float] = (1.0, 0.1, 0.1),
        margin: float = 0.2,
        draws: tuple[Draw | None, Draw | None] = (None, None),
        triplets: int = 512,
        projection: bool = True,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.nodes = nn.Parameter(torch.tensor(np.asarray(nodes, dtype=np.float32)))
        self.log_scale = nn.Parameter(torch.full((taxonomy.depth,), math.log(scale)))
        self.log_level_scale = nn.Parameter(torch.full((taxonomy.depth,), math.log(level_scale)))
        width = self.nodes.shape[1]
        self.change = nn.Parameter(torch.zeros(width, width)) if projection else None
        self.rules = build_head(hierarchy, taxonomy, 0)
        self.weights, self.margin, self.draws, self.triplets, self.seed = weights, margin, draws, triplets, seed
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))  # in checkpoints: a resumed run goes on
        columns = [torch.as_tensor(taxonomy.level_nodes(d)) for d in range(1, taxonomy.depth + 1)]
        self.level_sizes = [len(c) for c in columns]
        self.register_buffer("level_nodes", torch.cat(columns), persistent=False)
        self.register_buffer("depth_of", torch.as_tensor(taxonomy.level - 1), persistent=False)
        self.register_buffer("level_column", torch.as_tensor(taxonomy.level_column), persistent=False)

    @property
    def projection(self) -> Tensor | None:
        """W (H, H), or None."""
        if self.change is None:
            return None
        return torch.eye(len(self.change), device=self.change.device) + PROJECTION_STEP * self.change

    def cosines(self, features: Tensor) -> Tensor:
        """(B, H) vectors of texts -> (B, N) cosines."""
        with torch.autocast(features.device.type, enabled=False):
            w = self.projection
            return cosines(features if w is None else features.float() @ w.T, self.nodes)

    def scores(self, cosine: Tensor) -> Tensor:
        """(B, N) cosines -> (B, N) scores, each with the scale of its level."""
        return self.log_scale.exp()[self.depth_of] * cosine

    def forward(self, features: Tensor) -> Tensor:
        return self.rules(self.scores(self.cosines(features)))

    def loss(self, features: Tensor, gold: Tensor, label_smoothing: float = 0.0) -> Tensor:
        cosine = self.cosines(features)
        classify, hierarchy, similarity = self.weights
        coherent = self.rules.loss(self.scores(cosine), gold, label_smoothing)
        losses = classify * (coherent + self.level_losses(cosine, gold, label_smoothing))
        for kind, (weight, draw) in enumerate(zip((hierarchy, similarity), self.draws, strict=True)):
            if weight and draw is not None:
                losses = losses + weight * triplet_loss(self.nodes, self._drawn(kind, draw), self.margin)
        if self.training:
            self.step += 1
        return losses

    def level_losses(self, cosine: Tensor, gold: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """(B, N) cosines and (B,) gold nodes -> (B,) sum over levels of -log softmax over the columns of the level."""
        target = self.level_column[gold]  # (B, D), -1 below a gold inner node
        total = cosine.new_zeros(len(cosine))
        scale = self.log_level_scale.exp()
        for d, nodes in enumerate(self.level_nodes.split(self.level_sizes)):
            found = F.cross_entropy(
                scale[d] * cosine[:, nodes],
                target[:, d],
                ignore_index=-1,
                reduction="none",
                label_smoothing=label_smoothing,
            )
            total = total + found
        return total

    def _drawn(self, kind: int, draw: Draw) -> Tensor:
        rng = np.random.default_rng([self.seed, int(self.step), kind])
        return torch.as_tensor(draw(self.triplets, rng), device=self.nodes.device)
