"""Does the accuracy of a language go with its share of the training rows, or of the encoder's tokens? 24 languages.

python experiments/language_shares/run.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from common import ROOT, data_folder, write_lines
from scipy import stats

from hjc.evaluation.languages import correlations, read_language_shares

#: study -> runs whose figures by language are in its results.csv
RUNS = {
    "titles_24_languages": ("plt_char", "topdown_words"),
    "titles_24_neural": ("bottomup_steady", "hybrid_steady"),
}
SETS, LEVELS, DRAWS = ("test", "valid"), ("1", "2", "3", "4"), 9999
COEFFICIENTS = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}


def interval(x: np.ndarray, y: np.ndarray, name: str) -> tuple[float, float]:
    """BCa bootstrap interval over the n languages."""

    def of_both(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        if name == "spearman":  # Pearson's of ranks: scipy's own takes no axis
            a, b = stats.rankdata(a, axis=axis), stats.rankdata(b, axis=axis)
        return stats.pearsonr(a, b, axis=axis).statistic

    found = stats.bootstrap((x, y), of_both, paired=True, n_resamples=DRAWS, vectorized=True, rng=1)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def main() -> None:
    folder = data_folder() / "isco08_titles_24_languages"
    train, test = (
        pd.read_csv(folder / f"{name}.csv.gz", dtype=str, keep_default_na=False) for name in ("train", "test")
    )
    rows = train.groupby("lang").size()
    shares = {
        "training rows": (rows / rows.sum()).to_dict(),
        **read_language_shares(str(Path(__file__).with_name("tokens.csv"))),
    }
    national = test.groupby("lang")["source"].agg(lambda s: s.str.startswith("national").all())
    groups = {"all": list(rows.index), "national titles": national[national].index.tolist()}
    lines = []
    for study, runs in RUNS.items():
        figures = pd.read_csv(ROOT / "experiments" / study / "results.csv", dtype={"level": str})
        for run in runs:
            for part in SETS:
                by = figures[(figures["run"] == run) & (figures["set"] == part) & (figures["slice_kind"] == "language")]
                for level in LEVELS:
                    accuracy = by[by["level"] == level].set_index("slice")["recall@1"]
                    for share, of in shares.items():
                        for group, languages in groups.items():
                            if accuracy.empty or (part == "valid" and group != "all"):
                                continue
                            both = [k for k in languages if k in of]
                            x, y = accuracy[both].to_numpy(float), np.array([of[k] for k in both])
                            fisher = dict(zip(COEFFICIENTS, np.reshape(correlations(x, y), (2, 3)), strict=True))
                            for name in COEFFICIENTS:
                                value, (low, high) = float(COEFFICIENTS[name](x, y).statistic), interval(x, y, name)
                                assert abs(value - fisher[name][0]) < 1e-9, "two formulations of one coefficient"
                                lines.append({
                                    "run": run, "set": part, "languages": group, "n": len(both), "level": level,
                                    "share": share, "coefficient": name, "value": value, "low": low, "high": high,
                                    "fisher_low": float(fisher[name][1]), "fisher_high": float(fisher[name][2]),
                                })  # fmt: skip
    write_lines("language_shares", lines)


if __name__ == "__main__":
    main()
