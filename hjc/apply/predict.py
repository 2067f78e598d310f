"""``hjc predict``: every row of a table as it was, with the columns that a prediction adds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.apply.loop import Part
from hjc.arrays import BoolArray, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.treemath import top_k_columns
from hjc.errors import check_range, name_some
from hjc.metrics.level_proba import LevelProba
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:  # decisions have columns of codes, too
    from hjc.apply.decisions import DecisionPlan

ABSTAINED = "abstained: no code of the chosen levels is probable enough"


@dataclass(frozen=True)
class CodeColumns:
    """Codes, titles and probabilities of the first ``top_k`` at each level.

    With the prefix ``hjc_``: ``hjc_level4_code_1, hjc_level4_title_1, hjc_level4_proba_1``, then rank 2 and so on, then
    the next level. Each level is ranked for itself by its marginal probability, so the first code of level 4 need not
    lie under the first of level 3. A level with fewer codes than ``top_k`` gets as many ranks as it has codes.

    Raises:
        ValueError: a level, ``top_k`` or title language that the taxonomy does not have.
    """

    taxonomy: Taxonomy
    levels: tuple[int, ...] = ()
    top_k: int = 1
    prefix: str = "hjc_"
    title_language: str | None = None

    def __post_init__(self) -> None:
        tree = self.taxonomy
        levels = dict.fromkeys(tree.check_level(level) for level in self.levels or (tree.depth,))
        object.__setattr__(self, "levels", tuple(levels))
        check_range("--top-k", self.top_k, self.top_k >= 1, "integers from 1")
        if self.title_language is not None and self.title_language not in tree.titles:
            raise ValueError(
                f"--language: the taxonomy {tree.name!r} has no titles in {self.title_language!r}; "
                f"it has {', '.join(map(repr, tree.titles)) or 'none at all'}"
            )

    def ranks(self, level: int) -> int:
        """How many ranks a level gets."""
        return min(self.top_k, len(self.taxonomy.level_nodes(level)))

    def of_level(self, level: int) -> dict[str, str]:
        """Column -> ``text`` or ``number`` of a level, in order."""
        kinds = {"code": "text", "title": "text", "proba": "number"}
        return {
            f"{self.prefix}level{level}_{what}_{rank}": kind
            for rank in range(1, self.ranks(level) + 1)
            for what, kind in kinds.items()
        }

    def top(self, level: int, log_proba: FloatArray) -> tuple[IntArray, FloatArray]:
        """Nodes and probabilities (b, ranks) of the first codes, from (b, K) log-probabilities of a level."""
        columns, proba = top_k_columns(log_proba, self.ranks(level))
        return self.taxonomy.level_nodes(level)[columns], proba

    def cells(
        self, level: int, size: int, at: IntArray, nodes: IntArray, proba: FloatArray, shown: BoolArray
    ) -> dict[str, list[Any]]:
        """The columns of a level: the codes (m, ranks) of the rows ``at`` (m,) of ``size`` where they are ``shown``
        (m, ranks), None elsewhere."""
        codes, titles = (np.empty(len(self.taxonomy), dtype=object) for _ in range(2))
        for node in np.unique(nodes).tolist():
            codes[node], titles[node] = self.taxonomy.codes[node], self.taxonomy.title(node, self.title_language)
        out: dict[str, list[Any]] = {}
        for name, values in zip(self.of_level(level), self._by_rank(codes[nodes], titles[nodes], proba), strict=True):
            rank, column = len(out) // 3, np.full(size, None, dtype=object)
            column[at[shown[:, rank]]] = values[shown[:, rank]]
            out[name] = column.tolist()
        return out

    @staticmethod
    def _by_rank(*tables: Any) -> list[Any]:
        return [table[:, rank] for rank in range(tables[0].shape[1]) for table in tables]


def check_free(new: Sequence[str], columns: Sequence[str], also: str = "") -> None:
    """Raise ValueError when the input already has a column of that name (it was coded before, say).

    ``also``: a further option that names new columns.
    """
    present = {*columns, *(c.strip() for c in columns)}
    if taken := [c for c in new if c in present]:
        more = f", and see {also}" if also else ""
        raise ValueError(
            f"the input already has {name_some(taken)}; give the new columns another prefix, e.g. --prefix new_{more}"
        )


@dataclass(frozen=True)
class Plan(CodeColumns):
    """What is written for each row: codes (:class:`CodeColumns`), further decisions, and last ``hjc_status``.

    Args:
        decisions: about each row, with columns of their own before the status.
        outcomes: columns outcome and outcome_reason, of classifiers that have them.
    """

    decisions: "DecisionPlan | None" = None
    outcomes: bool = False

    @property
    def columns(self) -> dict[str, str]:
        """New column -> ``text`` or ``number``, in order."""
        out: dict[str, str] = {}
        for level in self.levels:
            out |= self.of_level(level)
        if self.decisions is not None:
            out |= self.decisions.columns
        if self.outcomes:
            out |= {f"{self.prefix}outcome": "text", f"{self.prefix}outcome_reason": "text"}
        return {**out, f"{self.prefix}status": "text"}


def code_rows(classifier: Classifier, plan: Plan, part: Part) -> dict[str, list[Any]]:
    """The new columns of some rows: column -> values in their order.

    A text that cannot be coded gets None in every column but the status, which says why.
    """
    tree, rules, size = plan.taxonomy, plan.decisions, len(part)
    nodes = {d: np.zeros((size, plan.ranks(d)), dtype=np.int64) for d in plan.levels}
    proba = {d: np.zeros((size, plan.ranks(d))) for d in plan.levels}
    decided = {} if rules is None else {name: np.full(size, None, dtype=object) for name in rules.columns}
    outcomes: list[tuple[str | None, str | None]] = [(None, None)] * size
    languages = part.languages
    for at, log_proba, found in part.batches(classifier):
        for i, outcome in zip(at.tolist(), found, strict=True):
            outcomes[i] = outcome
        for d in plan.levels:
            nodes[d][at], proba[d][at] = plan.top(d, tree.aggregate(log_proba, d))
        if rules is not None:
            spoken = None if languages is None else [languages[i] for i in at.tolist()]
            levels, several = LevelProba.of(tree, log_proba), None
            if rules.several and classifier.several is not None:
                vectors = classifier.text_vectors([part.texts[i] for i in at.tolist()])
                several = classifier.several.proba(vectors, levels.nodes())
            for name, values in rules.decide(levels, spoken, several).items():
                decided[name][at] = values
    good = part.good
    least = 0.0 if rules is None or rules.abstain is None else rules.abstain
    out: dict[str, list[Any]] = {}
    stated = np.zeros(len(good), dtype=bool)
    for d in plan.levels:
        shown = np.repeat(proba[d][good, :1] >= least, plan.ranks(d), axis=1)
        out |= plan.cells(d, size, good, nodes[d][good], proba[d][good], shown)
        stated |= shown[:, 0]
    for i in good[~stated].tolist():
        part.status[i] = ABSTAINED
    out |= {name: values.tolist() for name, values in decided.items()}
    if plan.outcomes:
        out[f"{plan.prefix}outcome"] = [outcome for outcome, _ in outcomes]
        out[f"{plan.prefix}outcome_reason"] = [reason for _, reason in outcomes]
    return {**out, f"{plan.prefix}status": part.status}
