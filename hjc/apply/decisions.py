"""Decisions about a row beside its codes: back-off, wanted accuracy, conformal sets, abstention, as output columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hjc.apply.predict import CodeColumns
from hjc.arrays import FloatArray
from hjc.decision import (
    HierarchicalConformal,
    SplitConformal,
    bayes_decision,
    check_exchangeability,
    cover_nodes,
    read_cost_table,
)
from hjc.decision.cost import COSTS
from hjc.decision.hierarchical_f import hf_sets
from hjc.decision.rules import REASONS, Decisions, Reason, Thresholds, back_off
from hjc.errors import check_choice, check_range, name_some
from hjc.evaluation.validation_scores import ValidationScores
from hjc.metrics.level_proba import LevelProba
from hjc.taxonomy import Taxonomy

#: columns of a rule that gives one node: name -> kind
_NODE = {"code": "text", "level": "text", "title": "text", "proba": "number", "reason": "text"}
#: the rules that give one node, in the names of their columns, and the options that ask for them
_ASKED_BY = {"backoff": "--back-off", "bayes": "--cost", "target": "--target-accuracy", "conformal": "--conformal"}
#: confidences of new rows that are kept to compare them with the validation rows
_COMPARED = 20_000
#: a difference in distribution that coverage hardly feels; with thousands of rows smaller ones are significant too
_LEAST = 0.05
PATHS = ("leaf", "greedy")
YES, NO = "yes", "no"


@dataclass
class DecisionPlan:
    """Which decisions are made, by the options of ``hjc predict``, and their columns (``{p}`` is the plan's prefix):

    - path: at each chosen level ``{p}level4_path``, the code there of one path ("leaf": to the most probable leaf;
      "greedy": the most probable child again and again); ``{p}coherent`` (yes, no): whether the most probable codes of
      all levels lie on one path.
    - back_off: ``{p}backoff_code, _level, _title, _proba, _reason``: the deepest code with at least this probability.
    - cost: the same as ``{p}bayes_...``: the code with the least expected cost, which is in ``{p}bayes_cost``.
    - target_accuracy: the same as ``{p}target_...``: the deepest code above the threshold at which, over all rows that
      get a code, at least this share is right; and ``{p}level4_automatic`` (yes, no) at each chosen level: whether its
      first code is above that level's own threshold.
    - conformal: ``{p}conformal_...``: one node that holds the true code with probability 1 - alpha; at each chosen
      level ``{p}level4_set`` (codes with blanks between, most probable first) and ``{p}level4_set_size``; with
      ``conformal_codes``, ``{p}conformal_codes``: so many codes of any level that hold the deepest chosen level's set.
    - several: at each chosen level ``{p}level4_several``: all codes with at least this probability each (blanks
      between, most probable first), and ``{p}level4_several_proba``, the sum of these: how many of them are right on
      average. Probabilities are those of the model's head for several codes where it has one.
    - hf_set: ``{p}hf_codes``: the set of codes with the largest expected hierarchical F of this beta (the lowest codes
      of it, blanks between, most probable first; their ancestors belong to it), and that F in ``{p}hf_expected``.
    - abstain: no columns; a level's codes are left empty where the first is less probable, and the status of a row
      that has no code at any chosen level says so.

    Thresholds and sets are fitted here from the validation outcomes.

    Raises:
        ValueError: a number outside its range, a word that is not allowed, an option without the one it refines, or
            validation outcomes are needed and None.
        FileNotFoundError: ``cost`` is neither a word nor a file.
    """

    codes: CodeColumns
    validation: ValidationScores | None = None
    _: KW_ONLY
    calibrated: bool = False
    back_off: float | None = None
    target_accuracy: float | None = None
    by_group: bool = False
    conformal: float | None = None
    conformal_by: str | None = None
    conformal_score: str = "lac"
    conformal_codes: int | None = None
    cost: str | None = None
    path: str | None = None
    abstain: float | None = None
    several: float | None = None
    hf_set: float | None = None

    def __post_init__(self) -> None:
        self._check()
        #: said before any row: what the validation rows cannot promise
        self.notes: list[str] = []
        #: (m, D) confidences of the first rows that were decided on, and their languages where they are known
        self.seen: list[FloatArray] = []
        self.seen_languages: list[str] = []
        self.counts = Counter[str]()
        #: groups without a threshold of their own -> rows
        self.pooled = Counter[str]()
        given = self.cost is None or self.cost in COSTS
        self.costs = self.cost if given else read_cost_table(str(self.cost), self.codes.taxonomy)
        self.target_rule: Thresholds | None = None
        self.level_rule: Thresholds | None = None
        self.node_rule: HierarchicalConformal | None = None
        self.set_rules: Mapping[int, SplitConformal] = {}
        if self.validation is not None and self.target_accuracy is not None:
            self._fit_thresholds(self.validation, self.target_accuracy)
        if self.validation is not None and self.conformal is not None:
            self._fit_conformal(self.validation, self.conformal)

    def _check(self) -> None:
        for name in ("back_off", "abstain", "several"):
            value, option = getattr(self, name), f"--{name.replace('_', '-')}"
            check_range(option, value, value is None or 0 < value <= 1, "probabilities above 0, up to 1")
        for name, value in (("--target-accuracy", self.target_accuracy), ("--conformal", self.conformal)):
            if value is not None:
                check_range(name, value, 0 < value < 1, "numbers between 0 and 1 (0.95 for 95 %)")
                if self.validation is None:
                    raise ValueError(f"{name} needs the validation outcomes of the model")
        for name, given, base, needed in (
            ("--by-group", self.by_group, self.target_accuracy, "--target-accuracy"),
            ("--conformal-by", self.conformal_by is not None, self.conformal, "--conformal"),
            ("--conformal-score", self.conformal_score != "lac", self.conformal, "--conformal"),
            ("--conformal-codes", self.conformal_codes is not None, self.conformal, "--conformal"),
        ):
            if given and base is None:
                raise ValueError(f"{name} refines {needed}: give that as well")
        check_choice("--conformal-score", self.conformal_score, ("lac", "aps", "raps"))
        check_choice("--path", self.path or PATHS[0], PATHS)
        check_range("--hf-set", self.hf_set, self.hf_set is None or 0 < self.hf_set < 100, "numbers above 0 (1 is F1)")
        most = self.conformal_codes
        check_range("--conformal-codes", most, most is None or most >= 1, "integers from 1")
        if self.cost is not None and self.cost not in COSTS and not Path(self.cost).is_file():
            raise FileNotFoundError(
                f"--cost: got {self.cost!r}, allowed are {', '.join(COSTS)} or the CSV file of a cost table"
            )

    def _fit_thresholds(self, validation: ValidationScores, target: float) -> None:
        one, each = (
            validation.thresholds(target, rule=rule, calibrated=self.calibrated, by_group=self.by_group)
            for rule in ("back_off", "level")
        )
        self.target_rule, self.level_rule = one.thresholds, each.thresholds
        never = one.table.loc[one.table["threshold"].isna(), "group"].tolist()
        groups = [group for group in never if group]
        at = each.table.loc[each.table["threshold"].isna() & each.table["level"].isin(self.codes.levels), "level"]
        start = f"--target-accuracy {target:g}: {len(validation):,} validation rows do not show it at any threshold"
        if self.by_group and groups:
            code = f"whose most probable level-1 code is {name_some(groups)}"
            self.notes.append(f"{start} for rows {code}: they get no code")
        if not self.by_group and len(never) == len(one.table):
            self.notes.append(f"{start}: no row gets a target code. Give a lower target or more validation rows")
        if not self.by_group and len(at):
            self.notes.append(f"{start} of level {', '.join(map(str, at))}: nothing is automatic there")

    def _fit_conformal(self, validation: ValidationScores, alpha: float) -> None:
        how: dict[str, Any] = {"calibrated": self.calibrated, "by": self.conformal_by}
        self.node_rule = validation.conformal_node(alpha, **how)
        self.set_rules = {
            level: validation.conformal_sets(level, alpha, score=self.conformal_score, **how)
            for level in self.codes.levels
        }
        if np.isinf(self.node_rule.quantiles[""]):
            self.notes.append(
                f"--conformal {alpha:g}: {len(validation):,} validation rows are too few to promise "
                f"{1 - alpha:.4g}; no row gets a conformal code, and sets hold all codes"
            )

    @property
    def columns(self) -> dict[str, str]:
        """New column -> ``text`` or ``number``, in order."""
        p, levels = self.codes.prefix, self.codes.levels
        out: dict[str, str] = {}
        if self.path is not None:
            out = {**{f"{p}level{level}_path": "text" for level in levels}, f"{p}coherent": "text"}
        given_rules = (self.back_off, self.costs, self.target_rule, self.node_rule)
        for rule, given in zip(_ASKED_BY, given_rules, strict=True):
            if given is not None:
                out |= {f"{p}{rule}_{part}": kind for part, kind in _NODE.items()}
            if given is not None and rule == "bayes":
                out[f"{p}bayes_cost"] = "number"
        if self.conformal_codes is not None:
            out[f"{p}conformal_codes"] = "text"
        if self.hf_set is not None:
            out |= {f"{p}hf_codes": "text", f"{p}hf_expected": "number"}
        for level in levels:
            if self.level_rule is not None:
                out[f"{p}level{level}_automatic"] = "text"
            if self.several is not None:
                out |= {f"{p}level{level}_several": "text", f"{p}level{level}_several_proba": "number"}
            if level in self.set_rules:
                out |= {f"{p}level{level}_set": "text", f"{p}level{level}_set_size": "number"}
        return out

    def decide(
        self,
        log_proba: FloatArray | LevelProba,
        languages: Sequence[str] | None = None,
        several: FloatArray | None = None,
    ) -> dict[str, Any]:
        """The columns of a batch (B, L) of rows in these languages. ``several``: (B, N) probabilities of a head for
        several codes, where there is one."""
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
        for d in levels if self.several is not None else ():
            out |= self._several(all_levels.at(d) if several is None else several[:, tree.level_nodes(d)], d)
        if self.back_off is not None:
            out |= self._node("backoff", back_off(tree, all_levels, self.back_off))
        if self.costs is not None:
            chosen = bayes_decision(tree, all_levels, self.costs)
            out |= {**self._node("bayes", chosen.decisions), f"{p}bayes_cost": chosen.expected_cost}
        if self.hf_set is not None:
            one_set = hf_sets(tree, all_levels, self.hf_set)
            out |= {f"{p}hf_codes": _named(tree, one_set.lowest(tree)), f"{p}hf_expected": one_set.expected}
        if self.target_rule is not None:
            out |= self._node("target", back_off(tree, all_levels, self.target_rule))
        if self.level_rule is not None:
            passes = all_levels.confidence >= self.level_rule.lookup(tree, best[:, 0])
            for d in levels:
                out[f"{p}level{d}_automatic"] = np.where(passes[:, d - 1], YES, NO)
                self.counts[f"automatic at level {d}"] += int(passes[:, d - 1].sum())
        if self.node_rule is not None:
            groups = list(languages or [""] * len(best)) if self.conformal_by == "language" else None
            if self.conformal_by == "group":
                groups = [tree.codes[i] for i in best[:, 0].tolist()]
            out |= self._conformal(self.node_rule, all_levels, groups)
        return out

    def _conformal(
        self, rule: HierarchicalConformal, all_levels: LevelProba, groups: list[str] | None
    ) -> dict[str, Any]:
        tree, p = self.codes.taxonomy, self.codes.prefix
        self.pooled.update(g for g in groups or () if f"={g}" not in rule.quantiles)
        out = self._node("conformal", rule.decide(all_levels, groups))
        for level, level_rule in self.set_rules.items():
            sets = level_rule.sets(all_levels, groups)
            out[f"{p}level{level}_set"] = _named(tree, sets)
            out[f"{p}level{level}_set_size"] = np.asarray(sets.sizes, dtype=np.float64)
            if self.conformal_codes is not None and level == max(self.set_rules):
                covered = cover_nodes(tree, sets, all_levels, self.conformal_codes)
                out[f"{p}conformal_codes"] = _named(tree, covered)
        return out

    def _several(self, proba: FloatArray, level: int) -> dict[str, Any]:
        """From the probabilities (B, K) of the codes of a level."""
        codes = np.array([self.codes.taxonomy.codes[i] for i in self.codes.taxonomy.level_nodes(level)], dtype=object)
        named, mass = [], np.zeros(len(proba))
        for i, row in enumerate(proba):
            here = np.flatnonzero(row >= self.several)
            here = here[np.argsort(-row[here], kind="stable")]
            named.append(" ".join(codes[here]) or None)
            mass[i] = row[here].sum()
            self.counts[f"several codes at level {level}"] += len(here) > 1
        start = f"{self.codes.prefix}level{level}_several"
        return {start: named, f"{start}_proba": mass}

    def _node(self, rule: str, found: Decisions) -> dict[str, Any]:
        """The columns of a rule that gives one node; None where it gives none."""
        tree, nodes = self.codes.taxonomy, found.node.tolist()
        coded = int((found.node >= 0).sum())
        self.counts[f"{_ASKED_BY[rule]}: coded"] += coded
        self.counts[f"{_ASKED_BY[rule]}: not coded"] += len(nodes) - coded
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

    def warning(self) -> str:
        """Sentences where the decided rows do not look like the validation rows that rules were fitted on, else ""."""
        if not self.seen or (validation := self.validation) is None:
            return ""
        new = np.concatenate(self.seen)
        known = len(self.seen_languages) == len(new) and any(self.seen_languages) and any(validation.language)
        found = check_exchangeability(
            validation.outcomes(self.calibrated).confidence, new, least=_LEAST,
            reference_groups=np.array(validation.language) if known else None,
            new_groups=np.array(self.seen_languages) if known else None,
        )  # fmt: skip
        said = [f"warning: {found.message}"] if found.doubtful else []
        if self.pooled:
            rows = ", ".join(f"{name or 'unknown'} ({n:,} rows)" for name, n in self.pooled.most_common(8))
            rows += f" and {len(self.pooled) - 8} more" if len(self.pooled) > 8 else ""
            said.append(
                f"warning: --conformal-by {self.conformal_by}: too few validation rows, or none, of {rows}; they got "
                "the threshold of all rows, which promises nothing about them"
            )
        return "\n".join(said)


def _named(tree: Taxonomy, sets: Any) -> list[str]:
    """The codes of each row's set, with blanks between."""
    return [" ".join(tree.codes[i] for i in sets[row].tolist()) for row in range(len(sets))]
