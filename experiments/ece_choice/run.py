"""Which estimator of the expected calibration error is called ``ece``: bias and error where the truth is known.

    python experiments/ece_choice/run.py

Confidences are drawn from Beta distributions that have the mean and the variance of those of the linear and the neural
model on the bundled titles (level 1 and level 4). The probability of being right is the confidence moved in the logit,
by a shift (all codes over- or under-confident) or by a factor (a wrong temperature), so that the true error
E|P(right | confidence) - confidence| is 0, .02, .05 or .10. Writes results.csv; README.md explains it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression

from hjc.arrays import Float64

#: Beta parameters of the top code's probability
CONFIDENCES = {
    "linear, level 1": (2.06, 0.84),
    "linear, level 4": (1.08, 3.27),
    "neural, level 1": (2.14, 0.46),
    "neural, level 4": (1.24, 0.57),
}
TRUE = (0.0, 0.02, 0.05, 0.10)
ROWS = (300, 3000)
REPEATS = 400


def binned(member: Float64, c: Float64, y: Float64, correction: Callable[[Float64, Float64], Float64] | None) -> float:
    """sum of share |accuracy - confidence|, less what ``correction`` says of (gap, squared noise) of the bins."""
    _, bin_of = np.unique(member, return_inverse=True)
    size = np.bincount(bin_of)
    accuracy, confidence = np.bincount(bin_of, y) / size, np.bincount(bin_of, c) / size
    gap = np.abs(accuracy - confidence)
    if correction is not None:
        gap = gap - correction(gap, accuracy * (1 - accuracy) / np.maximum(size - 1, 1))
    return max(float(size @ gap) / len(c), 0.0)


def excess_at(centre: Float64, noise: Float64) -> Float64:
    """Mean of |N(centre, noise)| minus centre: what noise alone adds to a gap."""
    s = np.sqrt(noise)
    z = np.divide(centre, s, out=np.full_like(centre, np.inf), where=s > 0)
    return np.asarray(2 * (s * norm.pdf(z) - centre * norm.cdf(-z)))


def observed(gap: Float64, noise: Float64) -> Float64:
    return excess_at(gap, noise)


def unbiased(gap: Float64, noise: Float64) -> Float64:
    return excess_at(np.sqrt(np.maximum(gap**2 - noise, 0.0)), noise)


def width(c: Float64, bins: int) -> Float64:
    return np.asarray(np.minimum(np.floor(c * bins), bins - 1))


def mass(c: Float64, bins: int) -> Float64:
    return np.asarray(np.argsort(np.argsort(c, kind="stable"), kind="stable") * bins // len(c), dtype=np.float64)


def sweep(c: Float64, y: Float64) -> float:
    """The most bins of equal mass whose accuracies still rise (Roelofs, Cain, Shlens & Mozer 2022)."""
    best = 1
    for bins in range(2, len(c) + 1):
        member = mass(c, bins).astype(np.int64)
        accuracy = np.bincount(member, y) / np.bincount(member)
        if (np.diff(accuracy) < 0).any():
            break
        best = bins
    return binned(mass(c, best), c, y, None)


def isotonic(c: Float64, y: Float64) -> float:
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(c, y)
    return float(np.abs(fitted - c).mean())


def kernel(c: Float64, y: Float64, bandwidth: float = 0.05) -> float:
    """Accuracy smoothed by a Gaussian kernel on a grid of 201 points, reflected at 0 and 1."""
    at = np.linspace(0, 1, 201)
    cell = np.minimum((c * 200 + 0.5).astype(np.int64), 200)
    weights = sum(norm.pdf((at[:, None] - mirrored) / bandwidth) for mirrored in (at, -at, 2 - at))
    size, hits, total = (np.bincount(cell, v, minlength=201) for v in (np.ones_like(c), y, c))
    return float(size @ np.abs((weights @ hits - weights @ total) / np.maximum(weights @ size, 1e-12)) / len(c))


ESTIMATORS: dict[str, Callable[[Float64, Float64], float]] = {
    "equal width, 15": lambda c, y: binned(width(c, 15), c, y, None),
    "equal mass, 15": lambda c, y: binned(mass(c, 15), c, y, None),
    "equal mass, 15, debiased at the observed gap": lambda c, y: binned(mass(c, 15), c, y, observed),
    "equal width, 15, debiased at the unbiased gap": lambda c, y: binned(width(c, 15), c, y, unbiased),
    **{
        f"equal mass, {bins}, debiased at the unbiased gap": lambda c, y, b=bins: binned(mass(c, b), c, y, unbiased)  # type: ignore[misc]
        for bins in (10, 15, 30)
    },
    "monotonic sweep of equal mass": sweep,
    "isotonic": isotonic,
    "kernel, bandwidth .05": kernel,
}


def moved(kind: str, true: float, a: float, b: float) -> Callable[[Float64], Float64]:
    """c -> P(right | c) whose mean distance from c is ``true`` for c of Beta(a, b), over-confident."""
    c = np.random.default_rng(0).beta(a, b, 200_000).clip(1e-6, 1 - 1e-6)

    def at(size: float, x: Float64) -> Float64:
        return np.asarray(expit(logit(x) - size) if kind == "shift" else expit(logit(x) * np.exp(-size)))

    size = brentq(lambda s: np.abs(at(s, c) - c).mean() - true, 0.0, 4.0) if true else 0.0
    return lambda x: at(float(size), x)


def main() -> None:
    lines = []
    for name, (a, b) in CONFIDENCES.items():
        for true in TRUE:
            for kind in ("shift", "factor") if true else ("none",):
                right = moved(kind, true, a, b)
                for n in ROWS:
                    rng = np.random.default_rng([n, round(true * 1000)])
                    found: dict[str, list[float]] = {e: [] for e in ESTIMATORS}
                    for _ in range(REPEATS):
                        c = rng.beta(a, b, n).clip(1e-6, 1 - 1e-6)
                        y = (rng.random(n) < right(c)).astype(np.float64)
                        for estimator, function in ESTIMATORS.items():
                            found[estimator].append(function(c, y))
                    for estimator, values in found.items():
                        error = np.array(values) - true
                        lines.append(
                            {
                                "estimator": estimator, "confidences": name, "kind": kind, "true": true, "rows": n,
                                "bias": round(float(error.mean()), 5),
                                "rmse": round(float(np.sqrt((error**2).mean())), 5),
                            }
                        )  # fmt: skip
    table = pd.DataFrame(lines)
    table.to_csv(Path(__file__).parent / "results.csv", index=False)
    squared = table.assign(mse=table["rmse"] ** 2).groupby(["estimator", "rows", "true"], sort=False)
    shown = squared[["bias", "mse"]].mean().assign(rmse=lambda t: np.sqrt(t["mse"]))
    text = shown.apply(lambda r: f"{r['bias']:+.3f} / {r['rmse']:.3f}", axis=1).unstack(["rows", "true"])
    print(text.to_string())


if __name__ == "__main__":
    main()
