"""Decisions about a row beside its codes: back-off, wanted accuracy, conformal sets, abstention, as output columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.decision.rules import REASONS, Decisions, Reason, Thresholds, argmax_levels, back_off
from hjc.taxonomy import Taxonomy
from hjc.taxonomy.tree import FloatArray, IntArray

if TYPE_CHECKING:
    from hjc.decision import HierarchicalConformal, SplitConformal
    from hjc.validation import ValidationScores

#: columns of a rule that gives one node: name -> kind
_NODE = {"code": "text", "level": "text", "title": "text", "proba": "number", "reason": "text"}
#: confidences of new rows that are kept to compare them with the validation rows
_COMPARED = 20_000
YES, NO = "yes", "no"


@dataclass
class DecisionPlan:
    """Which decisions are made, and their columns (``{p}`` is the plan's prefix):

    - back_off: ``{p}backoff_code, _level, _title, _proba, _reason``: the deepest code with at least this probability.
    - target: the same as ``{p}target_...``: the deepest code above the threshold at which, over all rows that get a
      code, at least this share is right; and ``{p}level4_automatic`` (yes, no) at each chosen level: whether its first
      code is above that level's own threshold.
    - conformal: ``{p}conformal_...``: one node that holds the true code with probability 1 - alpha; at each chosen
      level ``{p}level4_set`` (codes with blanks between, most probable first) and ``{p}level4_set_size``.
    - abstain: no columns; a level's codes are left empty where the first is less probable, and the status of a row
      that has no code at any chosen level is
    """

    taxonomy: Taxonomy
    levels: tuple[int, ...]
    prefix: str = "hjc_"
    title_language: str | None = None
    back_off: float | None = None
    abstain: float | None = None
    target_rule: Thresholds | None = None
    level_rule: Thresholds | None = None
    node_rule: "HierarchicalConformal | None" = None
    set_rules: "Mapping[int, SplitConformal]" = field(default_factory=dict)
    #: (m, D) confidences of the first rows that were decided on
    seen: list[FloatArray] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("back_off", "abstain"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"--{name.replace('_', '-')}: got {value}, allowed are probabilities above 0, up to 1")

    def __bool__(self) -> bool:
        return bool(self.columns) or self.abstain is not None

    @property
    def _node_rules(self) -> list[str]:
        asked = (("backoff", self.back_off), ("target", self.target_rule), ("conformal", self.node_rule))
        return [name for name, rule in asked if rule is not None]

    @property
    def columns(self) -> dict[str, str]:
        """New column -> ``text`` or ``number``, in order."""
        out = {f"{self.prefix}{rule}_{part}": kind for rule in self._node_rules for part, kind in _NODE.items()}
        for level in self.levels:
            if self.level_rule is not None:
                out[f"{self.prefix}level{level}_automatic"] = "text"
            if level in self.set_rules:
                out |= {f"{self.prefix}level{level}_set": "text", f"{self.prefix}level{level}_set_size": "number"}
        return out

    def empty(self, rows: int) -> dict[str, Any]:
        """Columns for so many rows, all None: what a row without a usable text gets."""
        return {name: np.full(rows, None, dtype=object) for name in self.columns}

    def decide(self, log_proba: FloatArray, at: IntArray, out: Mapping[str, Any]) -> None:
        """Decide a batch (B, L) and write into ``out`` at positions ``at`` (B,)."""
        tree = self.taxonomy
        best = argmax_levels(tree, log_proba)
        if sum(map(len, self.seen)) < _COMPARED:
            self.seen.append(best.probability)
        if self.back_off is not None:
            self._put("backoff", back_off(tree, log_proba, self.back_off), at, out)
        if self.target_rule is not None:
            self._put("target", back_off(tree, log_proba, self.target_rule), at, out)
        if self.node_rule is not None:
            self._put("conformal", self.node_rule.decide(log_proba), at, out)
        if self.level_rule is not None:
            passes = best.probability >= self.level_rule.lookup(tree, best.node[:, 0])
            for level in self.levels:
                out[f"{self.prefix}level{level}_automatic"][at] = np.where(passes[:, level - 1], YES, NO)
                self._count(f"automatic at level {level}", int(passes[:, level - 1].sum()))
        for level, rule in self.set_rules.items():
            sets = rule.sets(log_proba)
            names = [" ".join(tree.codes[i] for i in sets[row].tolist()) for row in range(len(sets))]
            out[f"{self.prefix}level{level}_set"][at] = names
            out[f"{self.prefix}level{level}_set_size"][at] = [float(size) for size in sets.sizes]

    def _put(self, rule: str, found: Decisions, at: IntArray, out: Mapping[str, Any]) -> None:
        tree, start = self.taxonomy, f"{self.prefix}{rule}_"
        nodes = found.node.tolist()
        out[f"{start}code"][at] = [tree.codes[i] if i >= 0 else None for i in nodes]
        out[f"{start}level"][at] = [str(tree.level[i]) if i >= 0 else None for i in nodes]
        out[f"{start}title"][at] = [tree.title(i, self.title_language) if i >= 0 else None for i in nodes]
        out[f"{start}proba"][at] = [
            p if i >= 0 else None for i, p in zip(nodes, found.probability.tolist(), strict=True)
        ]
        out[f"{start}reason"][at] = [REASONS[Reason(r)] for r in found.reason.tolist()]
        self._count(f"{rule}: coded", int((found.node >= 0).sum()))
        self._count(f"{rule}: not coded", int((found.node < 0).sum()))

    def _count(self, what: str, rows: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + rows

    def message(self) -> str:
        """What was decided, for the terminal; empty before any row."""
        return "; ".join(f"{what} {rows:,}" for what, rows in self.counts.items())

    def warning(self, validation: "ValidationScores", calibrated: bool) -> str:
        """A sentence where the decided rows do not look like the validation rows that rules were fitted on, else ""."""
        if not self.seen:
            return ""
        from hjc.decision import check_exchangeability

        new = np.concatenate(self.seen)
        found = check_exchangeability(validation.variant(calibrated).confidence, new)
        return f"warning: {found.message}" if found.doubtful else ""


def plan_decisions(
    taxonomy: Taxonomy,
    levels: tuple[int, ...],
    validation: "ValidationScores | None" = None,
    *,
    calibrated: bool = False,
    back_off: float | None = None,
    target_accuracy: float | None = None,
    conformal: float | None = None,
    abstain: float | None = None,
    prefix: str = "hjc_",
    title_language: str | None = None,
) -> DecisionPlan:
    """The plan for the options of ``hjc predict``; thresholds and sets are fitted here from the validation outcomes.

    Raises:
        ValueError: a number outside its range, or validation outcomes are needed and None.
    """
    for name, value in (("--target-accuracy", target_accuracy), ("--conformal", conformal)):
        if value is not None and not 0 < value < 1:
            raise ValueError(f"{name}: got {value}, allowed are numbers between 0 and 1 (0.95 for 95 %)")
        if value is not None and validation is None:
            raise ValueError(f"{name} needs the validation outcomes of the model")
    plan = DecisionPlan(taxonomy, levels, prefix, title_language, back_off=back_off, abstain=abstain)
    if validation is not None and target_accuracy is not None:
        plan.target_rule = validation.thresholds(target_accuracy, rule="back_off", calibrated=calibrated).thresholds
        plan.level_rule = validation.thresholds(target_accuracy, rule="level", calibrated=calibrated).thresholds
    if validation is not None and conformal is not None:
        plan.node_rule = validation.conformal_node(conformal, calibrated=calibrated)
        plan.set_rules = {d: validation.conformal_sets(d, conformal, calibrated=calibrated) for d in levels}
    return plan
