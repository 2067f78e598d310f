"""Heads: from a vector per row to log-probabilities of the leaves of a taxonomy.

Three ways of chaining the same tree, with one interface. H hidden, B rows, N nodes, L leaves, D levels,
G sibling groups, S the size of the largest group.

* ``topdown``: a score per node; P(leaf) is the product, over its path, of the softmax among siblings
  (hierarchical softmax; Morin & Bengio 2005; Beręsewicz et al., eq. 7). The loss is the sum over the gold path.
* ``bottomup``: a score per leaf, one softmax over leaves; inner nodes are sums (Beręsewicz et al., eq. 5).
* ``pathsum``: a score per node, one softmax over leaves whose logit is the sum of the scores on its path, so
  that a rare leaf borrows from its ancestors (the conditional random field form of a hierarchical softmax;
  Deng et al. 2014 use the same parameter sharing).

A gold code may be an inner node: its probability is the sum of its leaves. No Python loop runs over nodes, groups
or rows; the only loop is over the D levels.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjc.arrays import IntArray
from hjc.data.codesets import CodeSets, Target, first_of
from hjc.nn.settings import HEADS
from hjc.taxonomy import Taxonomy


class VectorModule(nn.Module):
    """From vectors to leaf log-probabilities, and the loss by which that is learnt."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, H) vectors -> (B, L) float32 natural-log leaf probabilities."""
        raise NotImplementedError

    def loss(self, features: Tensor, gold: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """(B, H) vectors and (B,) gold node numbers -> (B,) losses, before any weighting."""
        raise NotImplementedError

    def loss_of_sets(self, features: Tensor, log_weights: Tensor) -> Tensor:
        """(B,) losses of rows with several codes: -ln sum_leaves w P(leaf), their marginal likelihood.

        Args:
            features: (B, H). log_weights: (B, L), see :meth:`hjc.data.codesets.CodeSets.leaf_log_weights`. Labels are
                not smoothed here: several codes are less sure already.
        """
        return -(self(features) + log_weights).logsumexp(-1)

    def losses(self, features: Tensor, target: Mapping[str, Tensor], label_smoothing: float = 0.0) -> Tensor:
        """(B,) losses of rows whose codes ``target`` holds, see :func:`target_tensors`."""
        found = self.loss(features, target["gold"], label_smoothing)
        if "several" not in target:
            return found
        rows = target["several"]
        return found.index_copy(0, rows, self.loss_of_sets(features[rows], target["log_weights"]).to(found.dtype))


def target_tensors(target: Target, rows: IntArray, taxonomy: Taxonomy) -> dict[str, Tensor]:
    """The codes of some rows: ``gold`` (B,), and where rows have several, ``several`` (M,) their places in the batch
    and ``log_weights`` (M, L)."""
    part = target[rows]
    out = {"gold": torch.from_numpy(first_of(part))}
    if isinstance(part, CodeSets) and len(many := np.flatnonzero(part.several)):
        out["several"] = torch.from_numpy(many)
        out["log_weights"] = torch.from_numpy(part[many].leaf_log_weights(taxonomy))
    return out


class Head(VectorModule):
    """Base: a linear map to scores, one softmax over leaves, and the tree as integer buffers. The loss is -log P(gold)
    in nats; an inner gold node is the sum of its slice of leaves.

    The buffers are rebuilt from the taxonomy, never stored in a checkpoint: the tree has one home. With ``hidden`` 0
    there is no map: what is given are the scores.
    """

    def __init__(self, taxonomy: Taxonomy, hidden: int, num_scores: int) -> None:
        super().__init__()
        self.num_scores = num_scores
        self.offset: Tensor | None = None
        #: whether the offset counts in prediction too, not in the loss alone
        self.offset_in_prediction = True
        self.linear: nn.Module = nn.Identity()
        if hidden:
            self.linear = nn.Linear(hidden, num_scores)
            nn.init.normal_(self.linear.weight, std=0.02)
            nn.init.zeros_(self.linear.bias)
        self._constants(leaf_slice=taxonomy.leaf_slice, parents=taxonomy.parents, leaves=taxonomy.leaves)
        # breadth-first order: the nodes of a level are one slice
        edges = [int((taxonomy.level <= d).sum()) for d in range(taxonomy.depth + 1)]
        self.level_slices = list(itertools.pairwise(edges))

    def _constants(self, **arrays: npt.NDArray[Any]) -> None:
        for name, value in arrays.items():
            self.register_buffer(name, torch.tensor(np.array(value)), persistent=False)

    def add_offset(self, *, in_prediction: bool) -> None:
        """An offset of the scores, 0 until it is set; it is stored with the weights. See :mod:`hjc.nn.priors`."""
        del self.offset  # an attribute cannot become a buffer
        self.register_buffer("offset", torch.zeros(self.num_scores))
        self.offset_in_prediction = in_prediction

    def scores(self, features: Tensor) -> Tensor:
        """(B, H) -> (B, num_scores) in float32, also under autocast: log-probabilities need the digits."""
        with torch.autocast(features.device.type, enabled=False):
            found: Tensor = self.linear(features.float())
            return found if self.offset is None else found + self.offset

    def forward(self, features: Tensor) -> Tensor:
        scores = self.scores(features)
        return self.leaf_log_proba(scores if self.offset_in_prediction else scores - self.offset)

    def loss(self, features: Tensor, gold: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return self.negative_log_likelihood(self.scores(features), gold, label_smoothing)

    def loss_of_sets(self, features: Tensor, log_weights: Tensor) -> Tensor:
        return -(self.leaf_log_proba(self.scores(features)) + log_weights).logsumexp(-1)

    def sum_paths(self, values: Tensor) -> Tensor:
        """(B, N) values -> (B, L) sums over the path of each leaf."""
        levels = []
        start_above, above = 0, None
        for start, stop in self.level_slices:
            here = values[:, start:stop]
            if above is not None:
                here = here + above[:, self.parents[start:stop] - start_above]
            levels.append(here)
            start_above, above = start, here
        return torch.cat(levels, dim=1)[:, self.leaves]

    def logits(self, scores: Tensor) -> Tensor:
        """(B, num_scores) -> (B, L) logits of the leaves, of which one softmax is taken."""
        return scores

    def leaf_log_proba(self, scores: Tensor) -> Tensor:
        return F.log_softmax(self.logits(scores), dim=-1)

    def negative_log_likelihood(self, scores: Tensor, gold: Tensor, label_smoothing: float = 0.0) -> Tensor:
        logits, span = self.logits(scores), self.leaf_slice[gold]
        normaliser = logits.logsumexp(-1)
        target = logits.gather(1, span[:, :1]).squeeze(1)
        inner = span[:, 1] - span[:, 0] > 1
        if bool(inner.any()):
            column = torch.arange(logits.shape[1], device=logits.device)
            within = (column >= span[inner, :1]) & (column < span[inner, 1:])
            target = target.clone()
            target[inner] = logits[inner].masked_fill(~within, -torch.inf).logsumexp(-1)
        if label_smoothing:
            target = (1 - label_smoothing) * target + label_smoothing * logits.mean(-1)
        return normaliser - target


class TopDownHead(Head):
    """Chained softmax among siblings.

    The loss touches only the sibling groups on the gold path, gathered as (B, D, S): its cost does not grow with the
    number of groups. Probabilities of all leaves use segment sums over all groups at once.
    """

    def __init__(self, taxonomy: Taxonomy, hidden: int) -> None:
        super().__init__(taxonomy, hidden, len(taxonomy))
        group, spans = taxonomy.group, taxonomy.group_slice
        widths = spans[:, 1] - spans[:, 0]
        place = np.arange(widths.max())
        members = np.minimum(spans[:, :1] + place, len(taxonomy) - 1)  # (G, S), clamped where outside
        self.num_groups = len(spans)
        self._constants(group=group, members=members, outside=place >= widths[:, None], widths=widths)
        self._constants(node_path=taxonomy.node_path, level=taxonomy.level)

    def conditional_log_proba(self, scores: Tensor) -> Tensor:
        """(B, N) scores -> (B, N) log P(node | parent): log-softmax within every sibling group at once."""
        group = self.group.expand(scores.shape[0], -1)
        zeros = scores.new_zeros(scores.shape[0], self.num_groups)
        # each group's own maximum is taken out (detached: it cancels), so no group underflows
        top = torch.full_like(zeros, -torch.inf).scatter_reduce(1, group, scores.detach(), "amax")
        shifted = scores - top.gather(1, group)
        log_sum = zeros.scatter_add(1, group, shifted.exp()).log()
        return shifted - log_sum.gather(1, group)

    def leaf_log_proba(self, scores: Tensor) -> Tensor:
        return self.sum_paths(self.conditional_log_proba(scores))

    def negative_log_likelihood(self, scores: Tensor, gold: Tensor, label_smoothing: float = 0.0) -> Tensor:
        path = self.node_path[gold]  # (B, D)
        # Levels below the gold node do not count; a shallow leaf repeats itself there and must count once.
        counts = torch.arange(path.shape[1], device=gold.device) < self.level[gold][:, None]
        path = path.clamp(min=0)
        group = self.group[path]
        b, d = path.shape
        siblings = scores.gather(1, self.members[group].view(b, -1)).view(b, d, -1)
        siblings = siblings.masked_fill(self.outside[group], -torch.inf)
        normaliser = siblings.logsumexp(-1)
        target = scores.gather(1, path)
        if label_smoothing:
            mean = siblings.masked_fill(self.outside[group], 0.0).sum(-1) / self.widths[group]
            target = (1 - label_smoothing) * target + label_smoothing * mean
        return ((normaliser - target) * counts).sum(1)


class BottomUpHead(Head):
    """One softmax over the leaves."""

    def __init__(self, taxonomy: Taxonomy, hidden: int) -> None:
        super().__init__(taxonomy, hidden, taxonomy.num_leaves)


class PathSumHead(Head):
    """One softmax over leaves; the logit of a leaf is the sum of the scores of the nodes on its path."""

    def __init__(self, taxonomy: Taxonomy, hidden: int) -> None:
        super().__init__(taxonomy, hidden, len(taxonomy))

    def logits(self, scores: Tensor) -> Tensor:
        return self.sum_paths(scores)


def build_head(hierarchy: str, taxonomy: Taxonomy, hidden: int) -> Head:
    """The head of that name (:data:`hjc.nn.settings.HEADS`).

    Raises:
        ValueError: there is none. TypeError: a plugin's is no subclass of :class:`Head`.
    """
    cls = HEADS[hierarchy]
    if not (isinstance(cls, type) and issubclass(cls, Head)):
        raise TypeError(f"the head {hierarchy!r} must be a subclass of hjc.nn.heads.Head, got {cls!r}")
    found: Head = cls(taxonomy, hidden)  # type: ignore[call-arg]  # its heads know how many scores they have
    return found
