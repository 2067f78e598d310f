"""Logit adjustment: the log of the training prior as an offset of the scores (Menon et al. 2021; Plaud et al. 2024).

The scores then learn what the text says beyond how frequent a code is. With the offset in prediction the probabilities
are those of the population that was trained on; without it, those of one in which siblings are equally frequent.
"""

import numpy as np
import torch
from torch import Tensor

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.nn.heads import Head
from hjc.taxonomy import Taxonomy


def conditional_log_prior(taxonomy: Taxonomy, gold: IntArray, weight: FloatArray) -> Float64:
    """(N,) ln of (n + 1) / (N + K): weight n at and under a node, N of it and its siblings, K of them.

    So codes without rows keep a prior (Laplace). Siblings sum to one. A row whose code is an inner node counts there
    and above.
    """
    counts = np.zeros(len(taxonomy))
    on_path = taxonomy.node_path[gold]
    # a shallow leaf stands for itself below its level: once is enough
    place = np.arange(on_path.shape[1]) < taxonomy.level[gold][:, None]
    np.add.at(counts, on_path[place], np.broadcast_to(np.asarray(weight)[:, None], on_path.shape)[place])
    total = np.bincount(taxonomy.group, counts + 1)
    found: Float64 = np.log((counts + 1) / total[taxonomy.group])
    return found


def offset_of(head: Head, taxonomy: Taxonomy, conditional: Float64, strength: float) -> Tensor:
    """(num_scores,) offset of a head's scores: of nodes given their parent, or of leaves where it scores those."""
    prior = torch.from_numpy(conditional).float()
    if head.num_scores != len(taxonomy):
        prior = head.sum_paths(prior[None])[0]
    return strength * prior
