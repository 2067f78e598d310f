"""What a network's pooling weighs each token by, in NumPy: the pooled vector of a text is then one sum.

The same vectors as :meth:`hjc.nn.network.Network.pooled` (tested). S sequences (windows of B texts), T tokens.
"""

from collections.abc import Mapping

import numpy as np

from hjc.arrays import Float32, IntArray


def weights_of(batch: Mapping[str, IntArray], pooling: str, title_share: float = 0.0) -> tuple[Float32, Float32]:
    """Of a batch of :func:`hjc.nn.tokens.padded`: weights of tokens (S, T), and which sequences are of a text (B, S).

    With pooling ``max``, which is no sum, the weights are 0 and the sequences of a text have their shares of its
    tokens.
    """
    mask = batch["attention_mask"].astype(np.float64)
    sequences, width = mask.shape
    owner = batch.get("owner", np.arange(sequences))
    of_text = np.zeros((int(owner[-1]) + 1, sequences))
    of_text[owner, np.arange(sequences)] = 1
    lengths = mask.sum(axis=1)
    share = lengths / (of_text @ lengths)[owner]  # of its text's tokens
    if pooling == "max":
        return np.zeros(mask.shape, np.float32), (of_text * share).astype(np.float32)
    weights = np.zeros(mask.shape)
    if pooling == "mean":
        weights = mask * (share / lengths)[:, None]
    else:  # cls, last
        weights[np.arange(sequences), 0 if pooling == "cls" else lengths.astype(np.int64) - 1] = share
    if title_share:
        title = mask * (np.arange(width) < batch["title"][:, None])
        # a window without a token of the title counts as one of no tokens
        own = title / np.maximum(of_text @ title.sum(axis=1), 1)[owner, None]
        weights = (1 - title_share) * weights + title_share * own
    return weights.astype(np.float32), of_text.astype(np.float32)
