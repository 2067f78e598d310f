"""Side variables in a network: a vector for each of their tokens, added to the vector of the text. B rows, H hidden."""

import torch
from torch import Tensor, nn

from hjc.data.side import SideVocabulary


class SideVectors(nn.Module):
    """(B, K) token numbers, padded with F -> (B, H) their summed vectors.

    The vectors start at zero: a network begins as the one of the text alone, and a missing variable adds nothing. In
    training every variable of every row is left out with probability ``dropout``.
    """

    def __init__(self, vocabulary: SideVocabulary, hidden: int, dropout: float) -> None:
        super().__init__()
        self.vocabulary, self.dropout = vocabulary, dropout
        number = len(vocabulary)
        self.embedding = nn.Embedding(number + 1, hidden, padding_idx=number)
        nn.init.zeros_(self.embedding.weight)
        variable = torch.from_numpy(vocabulary.variable) % (len(vocabulary.columns) + 1)  # hashed: one more
        self.register_buffer("variable", torch.cat([variable, torch.zeros(1, dtype=torch.int64)]), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.embedding(tokens)
        if self.training and self.dropout:
            kept = torch.rand(len(tokens), len(self.vocabulary.columns) + 1, device=tokens.device) >= self.dropout
            found = found * kept.gather(1, self.variable[tokens]).unsqueeze(-1)
        return found.sum(1).float()
