"""--prior on simulated tilts: real texts drawn with other shares of codes; log-loss and shares before and after.

python experiments/other_shares/run.py [--only "kzis ads"]
"""

import argparse
import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
from common import write_lines  # noqa: E402
from side_variables.run import load  # noqa: E402

from hjc.apply.priors import default_level, training_prior  # noqa: E402
from hjc.classifiers.linear import LinearClassifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.classifiers.reweighted import ReweightedClassifier  # noqa: E402
from hjc.evaluation.validation import describe_validation  # noqa: E402
from hjc.metrics import level_metrics, score_rows  # noqa: E402
from hjc.statistics import em_prior_shift  # noqa: E402
from hjc.statistics.priors import leaf_log_ratio, level_sums  # noqa: E402

#: how far shares are moved: concentration of a Dirichlet distribution around those of the test rows
TILTS = {"none": 0.0, "moderate": 30.0, "strong": 5.0}
DRAWS, ROWS = 10, 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=("vacancies", "kzis ads"), action="append", help="a part of the data")
    for name in parser.parse_args().only or ("vacancies", "kzis ads"):
        _, data = load(name, "title", near=False)
        train, valid, test = data["train"], data["valid"], data["test"]
        tree = train.taxonomy
        model = LinearClassifier(tree, LinearSettings(features="word", max_features=20_000)).fit(train)
        held = describe_validation(model, valid)
        kept = held.scores
        calibrator = held.calibrator
        log_proba = calibrator.transform(model.leaf_log_proba(test.texts))
        counts = np.bincount(train.gold, minlength=len(tree)).astype(float)
        old = training_prior(model, counts)
        level = default_level(model)
        columns = tree.level_column[test.gold, level - 1]
        k = len(tree.level_nodes(level))
        own = np.bincount(columns, minlength=k) / len(test)
        rng = np.random.default_rng(1)
        found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
        for tilt, strength in TILTS.items():
            for _ in range(DRAWS):
                share = own if not strength else rng.dirichlet(strength * own + 1e-9)
                weight = (share / np.maximum(own, 1e-12))[columns]
                rows = rng.choice(len(test), ROWS, p=weight / weight.sum())
                true = np.bincount(columns[rows], minlength=k) / ROWS
                x = log_proba[rows]
                prior = kept.prior(level, True)
                em = em_prior_shift(tree, level, x, prior / prior.sum(), prior_rows=kept.prior_rows(level, True))
                estimated = em.share[tree.level_nodes(level)]
                new = (ROWS * estimated + prior / prior.sum()) / (ROWS + 1)
                leaf_even = np.full(tree.num_leaves, 1 / tree.num_leaves)
                ways = {
                    "training": None,
                    "uniform": leaf_log_ratio(tree, tree.depth, leaf_even, level_sums(tree, tree.depth, old)),
                    "file: the true shares": leaf_log_ratio(tree, level, true + 1e-4, prior / prior.sum()),
                    "file: true, old from counts": leaf_log_ratio(
                        tree, level, true + 1e-4, level_sums(tree, level, old)
                    ),
                    "em": leaf_log_ratio(tree, level, new, prior / prior.sum()),
                }
                frame = em.to_frame()
                frame = frame[frame["level"] == level]
                for way, ratio in ways.items():
                    y = x if ratio is None else ReweightedClassifier(model, ratio).transform(x)
                    scores = score_rows(tree, y, test.gold[rows])
                    deep, there = level_metrics(scores, tree, tree.depth), level_metrics(scores, tree, level)
                    summed = np.exp(tree.aggregate(y, level)).mean(axis=0)
                    inside = np.nan
                    if way == "em":
                        summed = estimated
                        truth = np.array(
                            [true[list(tree.level_nodes(level)).index(tree.index_of[c])] for c in frame["code"]]
                        )
                        big = truth > 0.02
                        inside = float(((frame["low"] <= truth) & (truth <= frame["high"]))[big].mean())
                    error = float(np.abs(summed - true).sum() / 2)
                    found.setdefault((tilt, way), []).append(
                        (deep["log_loss"], deep["recall@1"], there["log_loss"], error, inside)
                    )
        lines = []
        base = {tilt: np.array(found[tilt, "training"]) for tilt in TILTS}
        for (tilt, way), values in found.items():
            table = np.array(values)
            gain = table[:, 0] - base[tilt][:, 0]
            half = 1.96 * gain.std(ddof=1) / np.sqrt(DRAWS)
            lines.append({
                "data": name, "tilt": tilt, "prior": way, "level": level, "log_loss": float(table[:, 0].mean()),
                "difference": float(gain.mean()), "difference_low": float(gain.mean() - half),
                "difference_high": float(gain.mean() + half), "recall@1": float(table[:, 1].mean()),
                "log_loss_level": float(table[:, 2].mean()), "shares_wrong": float(table[:, 3].mean()),
                "covered": float(np.nanmean(table[:, 4])) if way == "em" else float("nan"),
            })  # fmt: skip
            print(lines[-1], flush=True)
        write_lines("other_shares", lines, ("data",))


if __name__ == "__main__":
    main()
