"""Do conformal sets cover and thresholds hold what they promise? Exactly, where the truth is known. See README.md.

python experiments/statistics_simulation/guarantees.py        # 2 minutes of one core; writes guarantees.csv
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from run import worlds

from hjc.decision import back_off, fit_conformal, fit_hierarchical_conformal, fit_thresholds
from hjc.decision.conformal import TIE, conformal_quantile, group_quantiles, level_scores, lookup_quantiles
from hjc.decision.rules import deepest
from hjc.metrics import score_batches
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.rows import path_scores

ALPHAS = (0.05, 0.1, 0.2)
TARGETS = (0.7, 0.8)


def inside(tree, sets, level):
    """(M, K) which columns of the level each kind's set holds."""
    out = np.zeros((len(sets), len(tree.level_nodes(level))), dtype=bool)
    out[np.repeat(np.arange(len(sets)), sets.sizes), tree.level_column[sets.nodes, level - 1]] = True
    return out


def node_holds(tree, node):
    """(M, L) which leaves the node of each kind holds; no node (-1) holds all."""
    out = np.ones((len(node), tree.num_leaves), dtype=bool)
    some = node >= 0
    column = np.arange(tree.num_leaves)
    start, stop = tree.leaf_slice[node[some]].T
    out[some] = (start[:, None] <= column) & (column < stop[:, None])
    return out


class Exact:
    """Coverage over the whole distribution of a world, not over a test sample."""

    def __init__(self, world, level, group):
        tree = world.taxonomy
        self.joint = {d: self._at(world, tree, d) for d in (level, tree.depth)}
        self.group = group

    @staticmethod
    def _at(world, tree, level):
        start = tree.leaf_slice[tree.level_nodes(level), 0]
        return np.add.reduceat(world.joint, start, axis=0).T  # (M, K)

    def coverage(self, held, level):
        """(over all rows, the least over groups)."""
        joint = self.joint[level]
        hit, mass = (joint * held).sum(axis=1), joint.sum(axis=1)
        size = np.bincount(self.group, mass)
        by_group = np.bincount(self.group, hit)[size > 0] / size[size > 0]
        return float(hit.sum() / mass.sum()), by_group


def randomised(p, valid, gold, alpha, rng):
    """(M, K) adaptive sets where a code counts by a uniform share of its own (Romano, Sesia & Candes 2020)."""

    def score(kinds, uniform):
        return level_scores(p[kinds], "aps") - (1 - uniform)[:, None] * p[kinds]

    drawn = np.random.default_rng(int(rng.integers(1 << 30))).random(len(valid))
    quantile = conformal_quantile(score(valid, drawn)[np.arange(len(valid)), gold], alpha)
    return score(np.arange(len(p)), rng.random(len(p))) <= quantile + 1e-12


def one_draw(tree, table, valid, gold, level, names, exact, collect, rng):
    """All rules fitted on one sample of rows, scored under every shift."""
    groups = [names[k] for k in valid]
    outcomes, levels = score_batches(tree, table[valid], gold, conformal=True), LevelProba.of(tree, table)
    leaf_path = tree.path[levels.best[:, -1]]
    leaf_path_proba = np.take_along_axis(levels.nodes(), leaf_path, axis=1)
    leaf_path_scores = path_scores(tree, leaf_path[valid], leaf_path_proba[valid], gold)
    for alpha in ALPHAS:
        rules = {
            f"{score}{' by group' if by else ''}": fit_conformal(
                tree, level, outcomes, alpha, score=score, groups=groups if by else None
            )
            for score in ("lac", "aps", "raps")
            for by in (False, True)
        }
        sets = {
            name: inside(tree, rule.sets(levels, names if "by group" in name else None), level)
            for name, rule in rules.items()
        }
        sets["aps, randomised"] = randomised(levels.at(level), valid, tree.level_column[gold, level - 1], alpha, rng)
        for name, held in sets.items():
            for shift, world in exact.items():
                share, by_group = world.coverage(held, level)
                size = float(world.joint[level].sum(axis=1) @ held.sum(axis=1))
                collect(shift, f"set, {name}", alpha, 1 - alpha, share, by_group, size)
        for path in ("greedy", "leaf"):
            for by in (False, True):
                if path == "greedy":
                    rule = fit_hierarchical_conformal(tree, outcomes, alpha, groups=groups if by else None)
                    node = rule.decide(levels, names if by else None).node
                else:
                    known = np.ones(len(gold), dtype=bool)
                    quantiles = group_quantiles(leaf_path_scores, known, groups if by else None, alpha)
                    need = lookup_quantiles(quantiles, names if by else None, len(names))[:, None]
                    node = deepest(tree, leaf_path, leaf_path_proba, leaf_path_proba > need * (1 + TIE)).node
                held = node_holds(tree, node)
                for shift, world in exact.items():
                    share, by_group = world.coverage(held, tree.depth)
                    level_of = np.where(node >= 0, tree.level[node], 0)
                    mean = float(world.joint[tree.depth].sum(axis=1) @ level_of)
                    called = f"one code, {path} path{' by group' if by else ''}"
                    collect(shift, called, alpha, 1 - alpha, share, by_group, mean)
    for target in TARGETS:
        found = fit_thresholds(tree, outcomes, target, rule="back_off").thresholds
        node = back_off(tree, table, found).node
        coded = node >= 0
        for shift, world in exact.items():
            joint = world.joint[tree.depth] * coded[:, None]
            share = float((joint * node_holds(tree, node)).sum() / joint.sum()) if coded.any() else np.nan
            collect(shift, "threshold, one for all levels", target, target, share, np.array([share]), joint.sum())


def study(repetitions, rows, seed):
    lines = []
    for classifier in ("overconfident", "leaning"):
        targets = worlds(classifier, seed)
        source = targets["none"]
        tree, table = source.taxonomy, source.table
        level = tree.depth
        top = tree.level_nodes(1)[tree.aggregate(table, 1).argmax(axis=1)]
        names = [tree.codes[n] for n in top]
        exact = {shift: Exact(world, level, top) for shift, world in targets.items()}
        found = {}

        def collect(shift, rule, parameter, promised, *values, into=found):
            into.setdefault((shift, rule, parameter, promised), []).append(values)

        for r in range(repetitions):
            rng = np.random.default_rng([seed, r])
            valid, gold = source.draw(rows, rng)
            one_draw(tree, table, valid, gold, level, names, exact, collect, rng)
        for (shift, rule, parameter, promised), parts in found.items():
            share, by_group, size = (np.array(column) for column in zip(*parts, strict=True))
            known = share[~np.isnan(share)]
            lines.append(
                {
                    "classifier": classifier, "shift": shift, "rule": rule, "parameter": parameter,
                    "promised": promised, "mean": known.mean() if len(known) else np.nan,
                    "monte_carlo_error": known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else np.nan,
                    "least_group": by_group.mean(axis=0).min(), "samples_that_keep_it": (known >= promised).mean()
                    if len(known) else np.nan, "samples": len(known), "size": size.mean(),
                }
            )  # fmt: skip
    return pd.DataFrame(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1000, help="labelled rows of the old period")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("guarantees.csv"))
    args = parser.parse_args()
    start = time.perf_counter()
    table = study(args.repetitions, args.rows, args.seed)
    table.to_csv(args.out, index=False, float_format="%.4f", lineterminator="\n")
    print(table[table["shift"] == "none"].round(4).to_string(index=False))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
