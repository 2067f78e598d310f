"""Bias, RMSE and interval coverage of every estimator of shares, where the truth is known. See README.md."""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from hjc.calibration import fit_calibrator
from hjc.statistics import (
    CodeTotals,
    Confusion,
    ShareEstimate,
    audit_only,
    correct_counts,
    difference_estimate,
    em_prior_shift,
    make_audit,
    node_sums,
)
from hjc.statistics.simulation import World, random_taxonomy, random_world

TRAIN_SHARES = 2.0  # Dirichlet parameter of the shares in training


def worlds(classifier: str, seed: int) -> dict[str, World]:
    """The training world and its two shifted versions."""
    taxonomy = random_taxonomy(5, depth=3, children=(2, 3), top=4, ragged=0.2)
    distortion = {"overconfident": {"temperature": 1.7}, "leaning": {"temperature": 1.3, "bias": 0.7}}[classifier]
    world = random_world(taxonomy, seed, kinds=3000, sharpness=0.08, concentration=TRAIN_SHARES, **distortion)
    rng = np.random.default_rng(seed + 1)
    # Prior shift: shares of codes change by a factor e^{N(0, 0.7)}. Covariate shift: frequencies of texts change by a
    # factor that depends on the text alone, and texts of some codes become commoner with it.
    prior = world.prior * np.exp(0.7 * rng.normal(size=len(world.prior)))
    lean = world.posterior @ rng.normal(size=len(world.prior))
    kinds = np.exp(0.7 * lean + 0.7 * rng.normal(size=len(lean)))
    return {"none": world, "prior": world.with_prior(prior), "covariate": world.with_kinds(kinds)}


def estimates(
    source: World, targets: dict[str, World], rng: np.random.Generator, sizes: argparse.Namespace
) -> dict[str, list[ShareEstimate]]:
    """For each shift all estimators, on one draw of validation rows, coded rows and audited rows."""
    taxonomy, level = source.taxonomy, source.taxonomy.depth
    kind, gold = source.draw(sizes.validation, rng)
    valid = source.table[kind]
    half = sizes.validation // 2  # calibration and confusion matrix on different rows
    calibrator = fit_calibrator(taxonomy, valid[:half], gold[:half]).calibrator
    table = calibrator.transform(source.table)  # what each kind of text gets
    confusion = Confusion(taxonomy, level)
    confusion.update(table[kind[half:]], gold[half:])
    prior = np.exp(table[kind]).mean(axis=0)
    out = {}
    for shift, target in targets.items():
        kind, gold = target.draw(sizes.rows, rng)
        raw, totals = CodeTotals(taxonomy), CodeTotals(taxonomy)
        raw.update(source.table[kind])
        totals.update(table[kind])
        picked = rng.choice(sizes.rows, sizes.audit, replace=False)
        audit = make_audit(taxonomy, level, table[kind[picked]], gold[picked])
        counted = totals.classify_and_count()
        out[shift] = [
            counted,
            named(raw.summed_probabilities(), "summed_probabilities_uncalibrated"),
            totals.summed_probabilities(),
            named(correct_counts(counted, confusion), "confusion_misclassification"),
            named(correct_counts(counted, confusion, kind="calibration"), "confusion_calibration"),
            em_prior_shift(taxonomy, level, table[kind], prior, prior_rows=sizes.validation, tolerance=1e-6, most=300),
            audit_only(audit, counted.total, counted.rows),
            difference_estimate(totals, audit, tuned=False),
            difference_estimate(totals, audit),
        ]
    return out


def named(estimate: ShareEstimate, method: str) -> ShareEstimate:
    return ShareEstimate(**{**vars(estimate), "method": method})


def study(repetitions: int, sizes: argparse.Namespace, seed: int) -> pd.DataFrame:
    lines = []
    for classifier in ("overconfident", "leaning"):
        targets = worlds(classifier, seed)
        tree = targets["none"].taxonomy
        truth = {shift: node_sums(tree, world.leaf_share) for shift, world in targets.items()}
        found: dict[tuple[str, str], list[tuple[np.ndarray, ...]]] = {}
        for r in range(repetitions):
            made = estimates(targets["none"], targets, np.random.default_rng([seed, r]), sizes)
            for shift, several in made.items():
                for one in several:
                    low, high = one.interval()
                    held = (low <= truth[shift]) & (truth[shift] <= high)
                    found.setdefault((shift, one.method), []).append((one.share - truth[shift], held, high - low))
        for (shift, method), parts in found.items():
            error, inside, width = (np.array(column) for column in zip(*parts, strict=True))
            for level in range(1, tree.depth + 1):
                at = tree.level_nodes(level)
                bias = np.abs(error[:, at].mean(axis=0))
                lines.append(
                    {
                        "classifier": classifier,
                        "shift": shift,
                        "method": method,
                        "level": level,
                        "codes": len(at),
                        "mean_abs_bias": bias.mean(),
                        "max_abs_bias": bias.max(),
                        "rmse": np.sqrt((error[:, at] ** 2).mean()),
                        "coverage_95": inside[:, at].mean(),
                        "coverage_worst_code": inside[:, at].mean(axis=0).min(),
                        "mean_width": width[:, at].mean(),
                    }
                )
    return pd.DataFrame(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--rows", type=int, default=10_000, help="coded rows of the new period")
    parser.add_argument("--validation", type=int, default=4000, help="labelled rows of the old period")
    parser.add_argument("--audit", type=int, default=500, help="rows of the new period that clerks coded")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.csv")
    args = parser.parse_args()
    start = time.perf_counter()
    table = study(args.repetitions, args, args.seed)
    table.to_csv(args.out, index=False, float_format="%.5f", lineterminator="\n")
    print(table[table.level == 2].round(4).to_string(index=False))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
