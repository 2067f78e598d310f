"""What every rule of hjc.decision does on labelled rows: share coded, share right, depth, coverage and size of sets.

Thresholds and sets come from the validation rows that the model keeps; the rows evaluated are others. The rules are
applied batch by batch, in the same pass as the metrics, and only counted: memory does not grow with the rows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.data.codesets import Target, likeliest
from hjc.decision import Decisions, HierarchicalConformal, SplitConformal, Thresholds, back_off
from hjc.decision.conformal import lookup_quantiles
from hjc.evaluation.validation_scores import ValidationScores
from hjc.metrics import LevelProba
from hjc.metrics.intervals import wilson
from hjc.taxonomy import Taxonomy

BACK_OFF = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TARGETS = (0.8, 0.9, 0.95)
ALPHAS = (0.05, 0.1, 0.2)
#: the alpha whose coverage is given language by language, and the rows a language needs
SLICED, LEAST_ROWS = 0.1, 50
COLUMNS = ("rule", "parameter", "level", "slice", "rows", "coded", "right", "right_low", "right_high", "mean_level",
           "set_size", "set_size_median")  # fmt: skip
#: what conformal rules are calibrated by -> how the rule is called
_BY = {None: "", "language": " by language", "group": " by group"}

#: rule, parameter (NaN: none), level (None: any), slice
Key = tuple[str, float, int | None, str]


@dataclass
class _Tally:
    """Counts of one line: rows that count, of these coded; right of those that ``right`` is a share of; sums of the
    levels stated; rows by size of their set."""

    rows: int = 0
    coded: int = 0
    right: int = 0
    of: int = 0
    stated: int = 0
    levels: int = 0
    sizes: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class RuleRows:
    """Counts what the rules do, batch by batch with :meth:`update`.

    Args:
        gold: (n,) gold nodes, or sets of them, of which the most probable one counts.
        languages: of the rows, "" where unknown.
        validation: what the model keeps of its validation rows; None: only the rules that need none.
        calibrated: which of its variants the probabilities are.
    """

    def __init__(
        self, taxonomy: Taxonomy, gold: Target, languages: Sequence[str], validation: ValidationScores | None,
        calibrated: bool,
    ) -> None:  # fmt: skip
        self.taxonomy, self.gold = taxonomy, gold
        spoken, self.language, rows = np.unique(
            np.array(languages, dtype=np.str_), return_inverse=True, return_counts=True
        )
        self.spoken = spoken.tolist()
        self.slices = [i for i, n in enumerate(rows.tolist()) if n >= LEAST_ROWS and len(spoken) > 1]
        self.tallies: dict[Key, _Tally] = {}
        self.targets: list[tuple[str, float, Thresholds, Thresholds]] = []
        self.conformal: list[tuple[str | None, float, HierarchicalConformal, list[tuple[SplitConformal, Float64]]]] = []
        if validation is not None:
            several = len(set(validation.language)) > 1 and len(spoken) > 1
            bys = [None, *(["language"] if several else []), "group"]
            known = validation.variant(calibrated).scores.valid
            levels = [d + 1 for d in range(taxonomy.depth) if known[:, d].any()]
            for target in TARGETS:
                fits = [
                    validation.thresholds(target, rule=rule, calibrated=calibrated, by_group=True).thresholds
                    for rule in ("back_off", "level")
                ]
                pooled = (Thresholds(fit.values) for fit in fits)
                self.targets += [("", target, *pooled), (" by group", target, *fits)]  # type: ignore[list-item]
            for by, alpha in product(bys, ALPHAS):
                sets = [validation.conformal_sets(d, alpha, calibrated=calibrated, by=by) for d in levels]
                node = validation.conformal_node(alpha, calibrated=calibrated, by=by)
                self.conformal.append((by, alpha, node, [(rule, self._needed(rule, by)) for rule in sets]))
        self.update(np.zeros(0, dtype=np.int64), LevelProba(taxonomy, np.zeros((0, taxonomy.num_leaves))))

    def update(self, rows: IntArray, levels: LevelProba) -> None:
        """Add a batch (B, L) at positions ``rows`` (B,)."""
        tree, gold = self.taxonomy, likeliest(self.gold[rows], levels.nodes)
        valid, everything = tree.level_column[gold] >= 0, np.ones(len(rows), dtype=bool)
        wanted, leaf = tree.node_path[gold], tree.node_path[levels.top[:, -1]]
        ways = {"most probable code of the level": levels.top, "path of the most probable leaf": leaf,
                "greedy path": levels.path}  # fmt: skip
        for name, nodes in ways.items():
            for d in range(tree.depth):
                self._count((name, math.nan, d + 1, ""), valid[:, d], everything, nodes[:, d] == wanted[:, d])
        agree = (leaf == levels.top).all(axis=1)
        self._count(("codes of the levels agree", math.nan, None, ""), everything, everything, agree)
        for p in BACK_OFF:
            self._stated(("back-off", p, None, ""), back_off(tree, levels, p), gold)
        for by, target, one, each in self.targets:
            self._stated((f"target accuracy{by}", target, None, ""), back_off(tree, levels, one), gold)
            coded = levels.confidence >= each.lookup(tree, levels.top[:, 0])
            for d in range(tree.depth):
                key = (f"automatic at the level{by}", target, d + 1, "")
                self._count(key, valid[:, d], coded[:, d], levels.top[:, d] == wanted[:, d])
        self._conformal(rows, levels, gold)

    def _conformal(self, rows: IntArray, levels: LevelProba, gold: IntArray) -> None:
        tree, at = self.taxonomy, np.arange(len(rows))
        language, best = self.language[rows], levels.best
        group = {None: np.zeros(len(rows), dtype=np.int64), "language": language, "group": levels.top[:, 0]}
        slices = [("", np.ones(len(rows), dtype=bool)), *((self.spoken[i], language == i) for i in self.slices)]
        for by, alpha, rule, sets in self.conformal:
            decided = rule.decide(levels, need=self._needed(rule, by)[group[by]])
            for name, keep in slices if alpha == SLICED else slices[:1]:
                self._stated((f"conformal code{_BY[by]}", alpha, None, name), decided, gold, keep, covers=True)
            for i, (found, need) in enumerate(sets):
                d = found.level - 1
                own = tree.level_column[gold, d]
                inside = found.inside(levels.at(found.level), need[group[by]])
                inside[at, best[:, d]] = True  # no set is empty
                size, covered = np.count_nonzero(inside, axis=1), inside[at, np.maximum(own, 0)]
                for name, keep in slices if alpha == SLICED and i == len(sets) - 1 else slices[:1]:
                    use = (own >= 0) & keep
                    tally = self._count((f"conformal set{_BY[by]}", alpha, found.level, name), use, use, covered)
                    count = np.bincount(size[use], minlength=inside.shape[1] + 1)
                    tally.sizes = tally.sizes + count if len(tally.sizes) else count

    def _needed(self, rule: SplitConformal | HierarchicalConformal, by: str | None) -> Float64:
        """Thresholds by number of a group: languages as numbered here, level-1 codes by node; one without groups."""
        names = {None: None, "language": self.spoken, "group": self.taxonomy.codes}[by]
        return lookup_quantiles(rule.quantiles, names, 1 if names is None else len(names))

    def _count(self, key: Key, use: BoolArray, coded: BoolArray, right: BoolArray, of_all: bool = False) -> _Tally:
        """``use``: rows that count. ``of_all``: right is a share of all of them, not of the coded ones."""
        tally, base = self.tallies.setdefault(key, _Tally()), use if of_all else use & coded
        tally.rows += int(use.sum())
        tally.coded += int((use & coded).sum())
        tally.right += int((right & base).sum())
        tally.of += int(base.sum())
        return tally

    def _stated(
        self, key: Key, decided: Decisions, gold: IntArray, keep: BoolArray | None = None, covers: bool = False
    ) -> None:
        """A rule of one node a row. ``covers``: no code holds everything, so such rows are right."""
        tree, node = self.taxonomy, decided.node
        level, coded = tree.level[node], node >= 0
        hit = coded & (tree.node_path[gold, level - 1] == node)
        # A code below an inner gold code cannot be judged.
        use = ~coded | (level <= tree.level[gold]) | tree.is_leaf[gold]
        use, stated = (use, coded) if keep is None else (use & keep, coded & keep)
        tally = self._count(key, use, coded, hit | ~coded if covers else hit, of_all=covers)
        tally.stated += int(stated.sum())
        tally.levels += int(level[stated].sum())

    def table(self) -> pd.DataFrame:
        """A line a rule, parameter, level and slice (:data:`COLUMNS`).

        ``coded``: share of rows that get a code. ``right``: share of those whose code is the true one or holds it; of
        conformal rules the share of all rows that are covered. With its 95 % Wilson interval. Rows whose gold code lies
        above the stated code are left out (``rows`` are those that count); ``mean_level`` of the stated codes.
        """
        return pd.DataFrame(list(self._lines()), columns=list(COLUMNS))

    def _lines(self) -> Iterator[dict[str, Any]]:
        for (rule, parameter, level, slice), t in self.tallies.items():
            low, high = wilson(t.right, t.of)
            yield {
                "rule": rule, "parameter": parameter, "level": level, "slice": slice, "rows": t.rows,
                "coded": _share(t.coded, t.rows), "right": _share(t.right, t.of), "right_low": low, "right_high": high,
                "mean_level": _share(t.levels, t.stated),
                "set_size": _share(int(t.sizes @ np.arange(len(t.sizes))), int(t.sizes.sum())),
                "set_size_median": _median(t.sizes),
            }  # fmt: skip


def _share(part: int, of: int) -> float:
    return part / of if of else math.nan


def _median(counts: IntArray) -> float:
    """Median of the values 0, 1, ... that occur this often; NaN where none does."""
    upto = np.cumsum(counts)
    if not len(counts) or not upto[-1]:
        return math.nan
    middle: Float64 = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right").astype(np.float64)
    return float(middle.mean())
