"""Decisions about a row beside its codes: back-off, wanted accuracy, conformal sets, abstention, as output columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.apply.codes import CodeColumns
from hjc.arrays import FloatArray
from hjc.decision.rules import REASONS, Decisions, Reason, Thresholds, back_off
from hjc.errors import name_some
from hjc.metrics.level_proba import LevelProba
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from hjc.decision import CostTable, HierarchicalConformal, SplitConformal
    from hjc.evaluation.validation_scores import ValidationScores

#: columns of a rule that gives one node: name -> kind
_NODE = {"code": "text", "level": "text", "title": "text", "proba": "number", "reason": "text"}
#: confidences of new rows that are kept to compare them with the validation rows
_COMPARED = 20_000
#: a difference in distribution that coverage hardly feels; with thousands of rows smaller ones are significant too
_LEAST = 0.05
PATHS = ("leaf", "greedy")
COSTS = ("lca", "levels")
YES, NO = "yes", "no"


@dataclass
class DecisionPlan:
    """Which decisions are made, and their columns (``{p}`` is the plan's prefix):

    - path: at each chosen level ``{p}level4_path``, the code there of one path ("leaf": to the most probable leaf;
      "greedy": the most probable child again and again); ``{p}coherent`` (yes, no): whether the most probable codes of
      all levels lie on one path.
    - back_off: ``{p}backoff_code, _level, _title, _proba, _reason``: the deepest code with at least this probability.
    - cost: the same as ``{p}bayes_...``: the code with the least expected cost, which is in ``{p}bayes_cost``.
    - target: the same as ``{p}target_...``: the deepest code above the threshold at which, over all rows that get a
      code, at least this share is right; and ``{p}level4_automatic`` (yes, no) at each chosen level: whether its first
      code is above that level's own threshold.
    - conformal: ``{p}conformal_...``: one node that holds the true code with probability 1 - alpha; at each chosen
      level ``{p}level4_set`` (codes with blanks between, most probable first) and ``{p}level4_set_size``; with
      ``most``, ``{p}conformal_codes``: so many codes of any level that hold the deepest chosen level's set.
    - abstain: no columns; a level's codes are left empty where the first is less probable, and the status of a row
      that has no code at any chosen level is
    """

    codes: CodeColumns
    back_off: float | None = None
    abstain: float | None = None
    path: str | None = None
    cost: "str | CostTable | None" = None
    target_rule: Thresholds | None = None
    level_rule: Thresholds | None = None
    node_rule: "HierarchicalConformal | None" = None
    set_rules: "Mapping[int, SplitConformal]" = field(default_factory=dict)
    #: what conformal rules go by: None, "language" or "group"
    by: str | None = None
    most: int | None = None
    #: said before any row: what the validation rows cannot promise
    notes: list[str] = field(default_factory=list)
    #: (m, D) confidences of the first rows that were decided on, and their languages where they are known
    seen: list[FloatArray] = field(default_factory=list)
    seen_languages: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    #: groups without a threshold of their own -> rows
    pooled: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name in ("back_off", "abstain"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"--{name.replace('_', '-')}: got {value}, allowed are probabilities above 0, up to 1")
        if self.path is not None and self.path not in PATHS:
            raise ValueError(f"--path: got {self.path!r}, allowed are {', '.join(PATHS)}")
        if self.most is not None and self.most < 1:
            raise ValueError(f"--conformal-codes: got {self.most}, allowed are integers from 1")

    @property
    def columns(self) -> dict[str, str]:
        """New column -> ``text`` or ``number``, in order."""
        p, levels = self.codes.prefix, self.codes.levels
        out: dict[str, str] = {}
        if self.path is not None:
            out = {**{f"{p}level{level}_path": "text" for level in levels}, f"{p}coherent": "text"}
        rules = {"backoff": self.back_off, "bayes": self.cost, "target": self.target_rule, "conformal": self.node_rule}
        for rule, given in rules.items():
            if given is not None:
                out |= {f"{p}{rule}_{part}": kind for part, kind in _NODE.items()}
            if given is not None and rule == "bayes":
                out[f"{p}bayes_cost"] = "number"
        if self.node_rule is not None and self.most is not None:
            out[f"{p}conformal_codes"] = "text"
        for level in levels:
            if self.level_rule is not None:
                out[f"{p}level{level}_automatic"] = "text"
            if level in self.set_rules:
                out |= {f"{p}level{level}_set": "text", f"{p}level{level}_set_size": "number"}
        return out

    def decide(self, log_proba: FloatArray, languages: Sequence[str] | None = None) -> dict[str, Any]:
        """The columns of a batch (B, L) of rows in these languages."""
        tree, p, levels = self.codes.taxonomy, self.codes.prefix, self.codes.levels
        all_levels = LevelProba.of(tree, log_proba)
        best = all_levels.top
        if sum(map(len, self.seen)) < _COMPARED:
            self.seen.append(all_levels.confidence)
            self.seen_languages += languages or []
        out: dict[str, Any] = {}
        if self.path is not None:
            leaf_path = tree.node_path[best[:, -1]]
            nodes = leaf_path if self.path == "leaf" else all_levels.path
            out = {f"{p}level{d}_path": [tree.codes[i] for i in nodes[:, d - 1].tolist()] for d in levels}
            coherent = (leaf_path == best).all(axis=1)
            out[f"{p}coherent"] = np.where(coherent, YES, NO)
            self.counts["codes of the levels disagree"] += int((~coherent).sum())
        if self.back_off is not None:
            out |= self._node("backoff", back_off(tree, all_levels, self.back_off))
        if self.cost is not None:
            from hjc.decision import bayes_decision

            chosen = bayes_decision(tree, all_levels, self.cost)
            out |= {**self._node("bayes", chosen.decisions), f"{p}bayes_cost": chosen.expected_cost}
        if self.target_rule is not None:
            out |= self._node("target", back_off(tree, all_levels, self.target_rule))
        if self.level_rule is not None:
            passes = all_levels.confidence >= self.level_rule.lookup(tree, best[:, 0])
            for d in levels:
                out[f"{p}level{d}_automatic"] = np.where(passes[:, d - 1], YES, NO)
                self.counts[f"automatic at level {d}"] += int(passes[:, d - 1].sum())
        if self.node_rule is not None:
            groups = list(languages or [""] * len(best)) if self.by == "language" else None
            if self.by == "group":
                groups = [tree.codes[i] for i in best[:, 0].tolist()]
            out |= self._conformal(self.node_rule, all_levels, groups)
        return out

    def _conformal(
        self, rule: "HierarchicalConformal", all_levels: LevelProba, groups: list[str] | None
    ) -> dict[str, Any]:
        tree, p = self.codes.taxonomy, self.codes.prefix
        self.pooled.update(g for g in groups or () if f"={g}" not in rule.quantiles)
        out = self._node("conformal", rule.decide(all_levels, groups))
        for level, level_rule in self.set_rules.items():
            sets = level_rule.sets(all_levels, groups)
            out[f"{p}level{level}_set"] = _named(tree, sets)
            out[f"{p}level{level}_set_size"] = np.asarray(sets.sizes, dtype=np.float64)
            if self.most is not None and level == max(self.set_rules):
                from hjc.decision import cover_nodes

                out[f"{p}conformal_codes"] = _named(tree, cover_nodes(tree, sets, all_levels, self.most))
        return out

    def _node(self, rule: str, found: Decisions) -> dict[str, Any]:
        """The columns of a rule that gives one node; None where it gives none."""
        tree, nodes = self.codes.taxonomy, found.node.tolist()
        coded = int((found.node >= 0).sum())
        self.counts[f"{rule}: coded"] += coded
        self.counts[f"{rule}: not coded"] += len(nodes) - coded
        values: dict[str, Any] = {
            "code": [tree.codes[i] if i >= 0 else None for i in nodes],
            "level": [str(tree.level[i]) if i >= 0 else None for i in nodes],
            "title": [tree.title(i, self.codes.title_language) if i >= 0 else None for i in nodes],
            "proba": [q if i >= 0 else None for i, q in zip(nodes, found.probability.tolist(), strict=True)],
            "reason": [REASONS[Reason(r)] for r in found.reason.tolist()],
        }
        return {f"{self.codes.prefix}{rule}_{part}": column for part, column in values.items()}

    def message(self) -> str:
        """What was decided, for the terminal; empty before any row."""
        return "; ".join(f"{what} {rows:,}" for what, rows in self.counts.items())

    def warning(self, validation: "ValidationScores", calibrated: bool) -> str:
        """Sentences where the decided rows do not look like the validation rows that rules were fitted on, else ""."""
        if not self.seen:
            return ""
        from hjc.decision import check_exchangeability

        new = np.concatenate(self.seen)
        known = len(self.seen_languages) == len(new) and any(self.seen_languages) and any(validation.language)
        found = check_exchangeability(
            validation.outcomes(calibrated).confidence, new, least=_LEAST,
            reference_groups=np.array(validation.language) if known else None,
            new_groups=np.array(self.seen_languages) if known else None,
        )  # fmt: skip
        said = [f"warning: {found.message}"] if found.doubtful else []
        if self.pooled:
            rows = ", ".join(f"{name or 'unknown'} ({n:,} rows)" for name, n in self.pooled.most_common(8))
            rows += f" and {len(self.pooled) - 8} more" if len(self.pooled) > 8 else ""
            said.append(
                f"warning: --conformal-by {self.by}: too few validation rows, or none, of {rows}; they got the "
                "threshold of all rows, which promises nothing about them"
            )
        return "\n".join(said)


def _named(tree: Taxonomy, sets: Any) -> list[str]:
    """The codes of each row's set, with blanks between."""
    return [" ".join(tree.codes[i] for i in sets[row].tolist()) for row in range(len(sets))]


def plan_decisions(
    codes: CodeColumns,
    validation: "ValidationScores | None" = None,
    *,
    calibrated: bool = False,
    back_off: float | None = None,
    target_accuracy: float | None = None,
    by_group: bool = False,
    conformal: float | None = None,
    conformal_by: str | None = None,
    conformal_score: str = "lac",
    conformal_codes: int | None = None,
    cost: str | None = None,
    path: str | None = None,
    abstain: float | None = None,
) -> DecisionPlan:
    """The plan for the options of ``hjc predict``; thresholds and sets are fitted here from the validation outcomes.

    Raises:
        ValueError: a number outside its range, a word that is not allowed, an option without the one it refines, or
            validation outcomes are needed and None.
        FileNotFoundError: ``cost`` is neither a word nor a file.
    """
    for name, value in (("--target-accuracy", target_accuracy), ("--conformal", conformal)):
        if value is not None and not 0 < value < 1:
            raise ValueError(f"{name}: got {value}, allowed are numbers between 0 and 1 (0.95 for 95 %)")
        if value is not None and validation is None:
            raise ValueError(f"{name} needs the validation outcomes of the model")
    refines = {
        "--by-group": (by_group, target_accuracy, "--target-accuracy"),
        "--conformal-by": (conformal_by is not None, conformal, "--conformal"),
        "--conformal-score": (conformal_score != "lac", conformal, "--conformal"),
        "--conformal-codes": (conformal_codes is not None, conformal, "--conformal"),
    }
    for name, (given, base, needed) in refines.items():
        if given and base is None:
            raise ValueError(f"{name} refines {needed}: give that as well")
    if conformal_score not in ("lac", "aps", "raps"):
        raise ValueError(f"--conformal-score: got {conformal_score!r}, allowed are lac, aps, raps")
    taxonomy, levels = codes.taxonomy, codes.levels
    plan = DecisionPlan(
        codes, back_off, abstain, path, _cost(cost, taxonomy), by=conformal_by, most=conformal_codes
    )  # fmt: skip
    if validation is not None and target_accuracy is not None:
        fits = [
            validation.thresholds(target_accuracy, rule=rule, calibrated=calibrated, by_group=by_group)
            for rule in ("back_off", "level")
        ]
        plan.target_rule, plan.level_rule = fits[0].thresholds, fits[1].thresholds
        plan.notes += _unreachable(target_accuracy, fits[0].table, fits[1].table, levels, by_group, len(validation))
    if validation is not None and conformal is not None:
        plan.node_rule = validation.conformal_node(conformal, calibrated=calibrated, by=conformal_by)
        plan.set_rules = {
            d: validation.conformal_sets(d, conformal, calibrated=calibrated, score=conformal_score, by=conformal_by)
            for d in levels
        }
        if np.isinf(plan.node_rule.quantiles[""]):
            plan.notes.append(
                f"--conformal {conformal:g}: {len(validation):,} validation rows are too few to promise "
                f"{1 - conformal:.4g}; no row gets a conformal code, and sets hold all codes"
            )
    return plan


def _cost(cost: str | None, taxonomy: Taxonomy) -> "str | CostTable | None":
    if cost is None or cost in COSTS:
        return cost
    from pathlib import Path

    from hjc.decision import read_cost_table

    if not Path(cost).is_file():
        raise FileNotFoundError(f"--cost: got {cost!r}, allowed are {', '.join(COSTS)} or the CSV file of a cost table")
    return read_cost_table(cost, taxonomy)


def _unreachable(target: float, one: Any, levels: Any, chosen: tuple[int, ...], by_group: bool, rows: int) -> list[str]:
    """Where validation rows show the target at no threshold. ``one``, ``levels``: tables of the two threshold fits."""
    never = one.loc[one["threshold"].isna(), "group"].tolist()
    groups = [group for group in never if group]
    at = levels.loc[levels["threshold"].isna() & levels["level"].isin(chosen), "level"].tolist()
    said = [
        (by_group and groups, f" for rows whose most probable level-1 code is {name_some(groups)}: they get no code"),
        (not by_group and len(never) == len(one), ": no row gets a target code. Give a lower target or more "
         "validation rows"),
        (not by_group and at, f" of level {', '.join(map(str, at))}: nothing is automatic there"),
    ]  # fmt: skip
    start = f"--target-accuracy {target:g}: {rows:,} validation rows do not show it at any threshold"
    return [f"{start}{end}" for true, end in said if true]
