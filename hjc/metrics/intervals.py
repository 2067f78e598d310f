"""The interval of a share."""

import math

from scipy.special import ndtri


def wilson(hits: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a binomial share (Wilson 1927, eq. 1); (NaN, NaN) without rows."""
    if n <= 0:
        return math.nan, math.nan
    z = float(ndtri(0.5 + confidence / 2))
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
