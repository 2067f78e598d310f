"""Bias, RMSE and interval coverage of every estimator of shares, where the truth is known. See README.md."""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from simulation import World, random_taxonomy, random_world

from hjc.calibration import fit_calibrator
from hjc.statistics import (
    Audit,
    CodeTotals,
    Confusion,
    ShareEstimate,
    change,
    correct_counts,
    difference_estimate,
    em_prior_shift,
    make_audit,
    node_sums,
)
from hjc.statistics.audit import stratified_variance
from hjc.taxonomy import Taxonomy

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
    p = np.exp(table[kind])
    prior = p.mean(axis=0)
    # a mean of probabilities is as precise as a count of more labels: ValidationScores.prior_rows
    prior_rows = len(p) * (prior * (1 - prior)).sum() / p.var(axis=0).sum()
    out = {}
    for shift, target in {"before": source, **targets}.items():
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
            em_prior_shift(taxonomy, level, table[kind], prior, prior_rows=prior_rows, tolerance=1e-6, most=300),
            audit_only(audit, counted.total, counted.rows),
            difference_estimate(totals, audit, tuned=False),
            difference_estimate(totals, audit),
        ]
    return out


def audit_only(audit: Audit, total: float, rows: int) -> ShareEstimate:
    """The weighted mean of the audited rows by themselves: what the classifier must improve on."""
    y = node_sums(audit.tree, audit.true)
    share = audit.weight @ y / audit.weight.sum()
    effective = audit.weight.sum() ** 2 / (audit.weight @ audit.weight)
    variance = stratified_variance(audit, y, share)
    return ShareEstimate(audit.tree, share, variance, total, rows, effective, "audit_only")


def named(estimate: ShareEstimate, method: str) -> ShareEstimate:
    return ShareEstimate(**{**vars(estimate), "method": method})


def study(repetitions: int, sizes: argparse.Namespace, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A line per classifier, shift, estimator and level: of shares, and of their change since the old period."""
    lines: list[dict[str, object]] = []
    moves: list[dict[str, object]] = []
    for classifier in ("overconfident", "leaning"):
        targets = worlds(classifier, seed)
        tree = targets["none"].taxonomy
        truth = {shift: node_sums(tree, world.leaf_share) for shift, world in targets.items()}
        found: dict[tuple[str, str], list[tuple[np.ndarray, ...]]] = {}
        moved: dict[tuple[str, str], list[tuple[np.ndarray, ...]]] = {}
        for r in range(repetitions):
            made = estimates(targets["none"], targets, np.random.default_rng([seed, r]), sizes)
            before = made.pop("before")
            for shift, several in made.items():
                for one, old in zip(several, before, strict=True):
                    method = one.method.removesuffix("_inverse").removesuffix("_em").removesuffix("_matrix")
                    low, high = one.interval()
                    held = (low <= truth[shift]) & (truth[shift] <= high)
                    found.setdefault((shift, method), []).append((one.share - truth[shift], held, high - low))
                    step = change(one, old)
                    apart = np.hypot(one.se, old.se)  # as if the two had no labelled rows in common
                    true = truth[shift] - truth["none"]
                    low, high = step.interval()
                    held = (low <= true) & (true <= high)
                    naive = np.abs(step.change - true) <= 1.959964 * apart
                    moved.setdefault((shift, method), []).append((step.change - true, held, high - low, naive))
        lines += [{"classifier": classifier, **line} for line in _lines(tree, found)]
        for line, naive in zip(_lines(tree, moved), _naive(tree, moved), strict=True):
            moves.append({"classifier": classifier, **line, "coverage_if_independent": naive})
    return pd.DataFrame(lines), pd.DataFrame(moves)


def _lines(tree: Taxonomy, found: dict[tuple[str, str], list[tuple[np.ndarray, ...]]]) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for (shift, method), parts in found.items():
        error, inside, width = (np.array([part[i] for part in parts]) for i in range(3))
        for level in range(1, tree.depth + 1):
            at = tree.level_nodes(level)
            bias = np.abs(error[:, at].mean(axis=0))
            share = inside[:, at].mean(axis=1)
            out.append(
                {
                    "shift": shift,
                    "method": method,
                    "level": level,
                    "codes": len(at),
                    "mean_abs_bias": bias.mean(),
                    "max_abs_bias": bias.max(),
                    "rmse": np.sqrt((error[:, at] ** 2).mean()),
                    "coverage_95": share.mean(),
                    "monte_carlo_error": share.std(ddof=1) / np.sqrt(len(share)) if len(share) > 1 else np.nan,
                    "coverage_worst_code": inside[:, at].mean(axis=0).min(),
                    "mean_width": width[:, at].mean(),
                }
            )
    return out


def _naive(tree: Taxonomy, moved: dict[tuple[str, str], list[tuple[np.ndarray, ...]]]) -> list[float]:
    return [
        float(np.array([part[3] for part in parts])[:, tree.level_nodes(level)].mean())
        for parts in moved.values()
        for level in range(1, tree.depth + 1)
    ]


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
    for table, path in zip(
        study(args.repetitions, args, args.seed), (args.out, args.out.with_name("changes.csv")), strict=True
    ):
        table.to_csv(path, index=False, float_format="%.5f", lineterminator="\n")
        print(table[table.level == 3].round(4).to_string(index=False))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
