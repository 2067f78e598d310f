"""What every rule of hjc.decision does on labelled rows: share coded, share right, depth, coverage and size of sets.

Thresholds and sets come from the validation rows that the model keeps; the rows evaluated are others. Gathered in the
same pass as the metrics: per row the greedy path and the sizes of sets, everything else is in the row scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.decision import greedy_path
from hjc.evaluation.validation_scores import ValidationScores
from hjc.metrics import RowScores
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


@dataclass(frozen=True)
class _Sets:
    """Thresholds of the conformal sets of one level: of all rows, and by number of the row's group."""

    pooled: float
    own: Float64

    def of(self, group: Any) -> Any:
        return self.pooled if group is None else self.own[group][:, None]


class RuleRows:
    """Row by row what rules need beside :class:`hjc.metrics.RowScores`; filled batch by batch with :meth:`update`.

    Args:
        gold: (n,) gold nodes; ``languages`` of the rows, "" where unknown.
        validation: what the model keeps of its validation rows; None: only the rules that need none.
        calibrated: which of its variants the probabilities are.
    """

    def __init__(
        self, taxonomy: Taxonomy, gold: IntArray, languages: Sequence[str], validation: ValidationScores | None,
        calibrated: bool,
    ) -> None:  # fmt: skip
        self.taxonomy, self.gold, self.validation, self.calibrated = taxonomy, gold, validation, calibrated
        n, depth = len(gold), taxonomy.depth
        self.path = np.zeros((n, depth), dtype=np.int32)
        self.path_p = np.zeros((n, depth))
        self.language_names, self._language = np.unique(np.array(languages, dtype=np.str_), return_inverse=True)
        self.bys: list[str | None] = []
        if validation is not None:
            spoken = len(set(validation.language)) > 1 and len(self.language_names) > 1
            self.bys = [None, *(["language"] if spoken else []), "group"]
        self._rules = {(by, a, d): self._sets(by, a, d) for by in self.bys for a in ALPHAS for d in self._levels()}
        small = max(len(taxonomy.level_nodes(d)) for d in range(1, depth + 1)) < 2**15
        self.sizes = {key: np.zeros(n, dtype=np.int16 if small else np.int32) for key in self._rules}
        self.covered = {key: np.zeros(n, dtype=bool) for key in self._rules}

    def _levels(self) -> list[int]:
        """Levels at which validation rows have codes."""
        v = self.validation
        if v is None:
            return []
        known = ~np.isnan(v.variant(self.calibrated).lac)
        return [d + 1 for d in range(self.taxonomy.depth) if known[:, d].any()]

    def _by_number(self, quantiles: dict[str, float], by: str | None) -> Float64:
        """Thresholds by number of a group: languages as numbered here, major groups by node."""
        names = self.taxonomy.codes if by == "group" else self.language_names.tolist()
        return np.array([quantiles.get(f"={name}", quantiles[""]) for name in names])

    def _sets(self, by: str | None, alpha: float, level: int) -> _Sets:
        assert self.validation is not None
        found = self.validation.conformal_sets(level, alpha, calibrated=self.calibrated, by=by).quantiles
        return _Sets(found[""], self._by_number(found, by))

    def update(self, rows: IntArray, log_proba: FloatArray) -> None:
        """Add a batch (B, L) at positions ``rows`` (B,)."""
        nodes, self.path_p[rows] = greedy_path(self.taxonomy, log_proba)
        self.path[rows] = nodes
        groups: dict[str | None, Any]
        groups = {None: None, "language": self._language[rows], "group": nodes[:, 0]}
        at = np.arange(len(rows))
        for level in sorted({d for _, _, d in self._rules}):
            score = 1 - np.exp(self.taxonomy.aggregate(log_proba, level).astype(np.float64))
            top = score.argmin(axis=1)
            own = self.taxonomy.level_column[self.gold[rows], level - 1]
            for by in self.bys:
                for alpha in ALPHAS:
                    key = (by, alpha, level)
                    inside = score <= self._rules[key].of(groups[by])
                    inside[at, top] = True  # no set is empty
                    self.sizes[key][rows] = inside.sum(axis=1)
                    self.covered[key][rows] = inside[at, np.maximum(own, 0)] & (own >= 0)

    # ------------------------------------------------------------------ the table

    def table(self, scores: RowScores) -> pd.DataFrame:
        """A line a rule, parameter, level and slice (:data:`COLUMNS`).

        ``coded``: share of rows that get a code. ``right``: share of those whose code is the true one or holds it; of
        conformal rules the share of all rows that are covered. With its 95 % Wilson interval. Rows whose gold code lies
        above the stated code are left out (``rows`` are those that count); ``mean_level`` of the stated codes.
        """
        lines = [*self._paths(scores), *self._back_off(scores)]
        if self.validation is not None:
            lines += [*self._targets(scores), *self._conformal(scores)]
        return pd.DataFrame(lines, columns=list(COLUMNS))

    def _paths(self, scores: RowScores) -> list[dict[str, Any]]:
        tree = self.taxonomy
        leaf = tree.node_path[scores.top[:, -1]]
        ways: dict[str, Any]
        ways = {"most probable code of the level": scores.top, "path of the most probable leaf": leaf,
                "greedy path": self.path}  # fmt: skip
        gold = tree.node_path[np.maximum(scores.gold, 0)]
        out = []
        for name, nodes in ways.items():
            for d in range(tree.depth):
                use = scores.valid[:, d]
                out.append(_line(name, use, np.ones(len(use), bool), nodes[:, d] == gold[:, d], level=d + 1))
        agree = (leaf == scores.top).all(axis=1)
        out.append(_line("codes of the levels agree", np.ones(len(agree), bool), np.ones(len(agree), bool), agree))
        return out

    def _stated(self, rule: str, parameter: float, node: IntArray, holds: bool = False, **more: Any) -> dict[str, Any]:
        """A rule of one node a row, -1 for none. ``holds``: no code holds everything, so such rows are right."""
        tree, gold = self.taxonomy, self.gold
        level = tree.level[np.maximum(node, 0)]
        hit = tree.node_path[gold, level - 1] == node
        use = (node < 0) | (level <= tree.level[gold]) | tree.is_leaf[gold]
        coded = node >= 0
        keep = more.pop("keep", np.ones(len(node), bool))
        line = _line(
            rule, use & keep, coded, (hit & coded) | ~coded if holds else hit, parameter, all_rows=holds, **more
        )
        line["mean_level"] = float(level[coded & keep].mean()) if (coded & keep).any() else math.nan
        return line

    def _deepest(self, scores: RowScores, need: Any) -> IntArray:
        passes = scores.confidence >= need
        deepest = passes.shape[1] - 1 - passes[:, ::-1].argmax(axis=1)
        return np.where(passes.any(axis=1), scores.top[np.arange(len(passes)), deepest], -1)

    def _back_off(self, scores: RowScores) -> list[dict[str, Any]]:
        return [self._stated("back-off", p, self._deepest(scores, p)) for p in BACK_OFF]

    def _targets(self, scores: RowScores) -> list[dict[str, Any]]:
        assert self.validation is not None
        out = []
        for target in TARGETS:
            for by in (False, True):
                fits = [
                    self.validation.thresholds(target, rule=rule, calibrated=self.calibrated, by_group=by).thresholds
                    for rule in ("back_off", "level")
                ]
                one, levels = (fit.lookup(self.taxonomy, scores.top[:, 0].astype(np.int64)) for fit in fits)
                name = f"target accuracy{_BY['group' if by else None]}"
                out.append(self._stated(name, target, self._deepest(scores, one)))
                for d in range(self.taxonomy.depth):
                    coded = scores.confidence[:, d] >= levels[:, d]
                    right = scores.rank[:, d] == 1
                    out.append(_line(f"automatic at the level{_BY['group' if by else None]}", scores.valid[:, d], coded,
                                     right, target, level=d + 1))  # fmt: skip
        return out

    def _conformal(self, scores: RowScores) -> list[dict[str, Any]]:
        assert self.validation is not None
        out = []
        n = len(self.gold)
        slices = [
            (str(name), self._language == i)
            for i, name in enumerate(self.language_names)
            if (self._language == i).sum() >= LEAST_ROWS and len(self.language_names) > 1
        ]
        for by in self.bys:
            for alpha in ALPHAS:
                found = self.validation.conformal_node(alpha, calibrated=self.calibrated, by=by).quantiles
                need: Any = found[""]
                if by is not None:
                    group = self._language if by == "language" else self.path[:, 0]
                    need = self._by_number(found, by)[group][:, None]
                passes = self.path_p > need
                deepest = passes.shape[1] - 1 - passes[:, ::-1].argmax(axis=1)
                node = np.where(passes.any(axis=1), self.path[np.arange(n), deepest], -1).astype(np.int64)
                out.append(self._stated(f"conformal code{_BY[by]}", alpha, node, holds=True))
                if alpha == SLICED:
                    out += [
                        self._stated(f"conformal code{_BY[by]}", alpha, node, holds=True, slice=name, keep=keep)
                        for name, keep in slices
                    ]
                levels = sorted({d for b, a, d in self.sizes if (b, a) == (by, alpha)})
                for d in levels:
                    at_level = [("", np.ones(n, bool)), *(slices if alpha == SLICED and d == levels[-1] else [])]
                    out += [self._set_line(scores, by, alpha, d, name, keep) for name, keep in at_level]
        return out

    def _set_line(
        self, scores: RowScores, by: str | None, alpha: float, level: int, name: str, keep: BoolArray
    ) -> dict[str, Any]:
        key = (by, alpha, level)
        use = scores.valid[:, level - 1] & keep
        line = _line(
            f"conformal set{_BY[by]}", use, np.ones(len(use), bool), self.covered[key], alpha, level=level, slice=name
        )
        size = self.sizes[key][use]
        line["set_size"] = float(size.mean()) if len(size) else math.nan
        line["set_size_median"] = float(np.median(size.astype(np.float64))) if len(size) else math.nan
        return line


def _line(
    rule: str, use: BoolArray, coded: BoolArray, right: BoolArray, parameter: float = math.nan, *,
    level: int | None = None, slice: str = "", all_rows: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """``use``: rows that count. ``all_rows``: right is a share of all of them, not of the coded ones."""
    n = int(use.sum())
    base = use if all_rows else use & coded
    hits, of = int((right & base).sum()), int(base.sum())
    low, high = wilson(hits, of)
    return {
        "rule": rule, "parameter": parameter, "level": level, "slice": slice, "rows": n,
        "coded": int((use & coded).sum()) / n if n else math.nan, "right": hits / of if of else math.nan,
        "right_low": low, "right_high": high,
    }  # fmt: skip
