"""Samples of a frame of real ads by `hjc data sample`: what they estimate, with their weights and without.

python experiments/samples/run.py
"""

import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from common import data_folder, write_lines  # noqa: E402

from hjc.corpus.sampling import count_characters, count_words, length_bins, strata_of  # noqa: E402
from hjc.corpus.sampling_pps import WORD_BINS, keyword_groups, stratified_pps  # noqa: E402

DRAWS, SIZE = 20, 500
#: pps by characters in strata of words of occupations and of length, as section 4.3.1 of the paper has them
GROUPS = [
    ("sellers", "sprzedawca|kasjer|handlow"), ("drivers", "kierowca|kurier"), ("drivers", "operator"),
    ("specialists", "specjalist|inżynier|programist"), ("technicians", "technik|mechanik"),
]  # fmt: skip


def main() -> None:
    frame = pd.read_csv(data_folder() / "kzis_ads_pl" / "ads.csv.gz", dtype=str, keep_default_na=False)
    texts, major = frame["description"].tolist(), frame["code"].str[0].to_numpy()
    codes, column = np.unique(major, return_inverse=True)
    true = np.bincount(column) / len(frame)
    characters, n = count_characters(texts).astype(float), len(frame)
    words = [str(i) for i in length_bins(count_words(texts), WORD_BINS).tolist()]
    strata = strata_of(keyword_groups(frame["title"].tolist(), GROUPS), words)
    ways = {
        "simple random": (np.ones(n), np.zeros(n, dtype=np.int64)),
        "characters": (np.maximum(characters, 1), np.zeros(n, dtype=np.int64)),
        "characters, strata of keywords and words": (np.maximum(characters, 1), strata),
    }
    lines = []
    for way, (size, stratum) in ways.items():
        found: dict[str, list[np.ndarray]] = {"with": [], "without": []}
        total, lowest = [], 1.0
        for draw in range(DRAWS):
            drawn = stratified_pps(size, stratum, SIZE, seed=1000 * draw)
            weight = drawn.weights
            lowest = min(lowest, float(drawn.probability.min()))
            for name, w in (("with", weight), ("without", drawn.rows.astype(float))):
                found[name].append(np.bincount(column, w, minlength=len(codes)) / w.sum())
            total.append(float((weight * characters).sum() / characters.sum()))
        for name, shares in found.items():
            off = np.array(shares) - true  # (draws, codes)
            error = np.abs(off).sum(axis=1) / 2
            half = 1.96 * error.std(ddof=1) / np.sqrt(DRAWS)
            lines.append({
                "sample": way, "weights": name, "draws": DRAWS, "rows": SIZE, "strata": int(stratum.max()) + 1,
                "shares_wrong": float(error.mean()), "low": float(error.mean() - half),
                "high": float(error.mean() + half), "largest_bias": float(np.abs(off.mean(axis=0)).max()),
                "characters_of_the_frame": float(np.mean(total)), "characters_spread": float(np.std(total, ddof=1)),
                "lowest_probability": lowest,
            })  # fmt: skip
            print(lines[-1], flush=True)
    write_lines("samples", lines)


if __name__ == "__main__":
    main()
