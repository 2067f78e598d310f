"""One place that seeds."""

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed torch and NumPy's global generator (libraries draw from it); Python's random is not used."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
