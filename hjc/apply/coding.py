"""Codes for the rows of a chunk: which texts can be coded, and the columns that a prediction adds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.data.recipe import OK, TextRecipe
from hjc.errors import name_some
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:  # the classifier is an argument; importing its module would import pandas
    from hjc.apply.decisions import DecisionPlan
    from hjc.classifiers.base import Classifier

ABSTAINED = "abstained: no code of the chosen levels is probable enough"


@dataclass(frozen=True)
class Plan:
    """What is written for each row: codes, titles and probabilities of the first ``top_k`` at each level.

    Columns, with the prefix ``hjc_``: ``hjc_level4_code_1, hjc_level4_title_1, hjc_level4_proba_1``, then rank 2 and
    so on, then the next level, and last ``hjc_status``. Each level is ranked for itself by its marginal probability
    P(code | text), so the first code of level 4 need not lie under the first of level 3. A level with fewer codes
    than ``top_k`` gets as many ranks as it has codes.

    Raises:
        ValueError: a level, ``top_k`` or title language that the taxonomy does not have.
    """

    taxonomy: Taxonomy
    levels: tuple[int, ...] = ()
    top_k: int = 1
    prefix: str = "hjc_"
    title_language: str | None = None
    #: how the texts are made, of which columns
    recipe: TextRecipe = field(default_factory=TextRecipe)
    #: further decisions about each row, with columns of their own before the status
    decisions: "DecisionPlan | None" = None
    #: columns outcome and outcome_reason, of classifiers that have them
    outcomes: bool = False

    def __post_init__(self) -> None:
        levels = self.levels or (self.taxonomy.depth,)
        object.__setattr__(self, "levels", tuple(dict.fromkeys(self.taxonomy.check_level(d) for d in levels)))
        if self.top_k < 1:
            raise ValueError(f"--top-k: got {self.top_k}, allowed are integers from 1")
        language = self.title_language
        if language is not None and language not in self.taxonomy.titles:
            raise ValueError(
                f"--language: the taxonomy {self.taxonomy.name!r} has no titles in {language!r}; "
                f"it has {', '.join(map(repr, self.taxonomy.titles)) or 'none at all'}"
            )

    def ranks(self, level: int) -> int:
        """How many ranks a level gets."""
        return min(self.top_k, len(self.taxonomy.level_nodes(level)))

    @property
    def columns(self) -> dict[str, str]:
        """New column -> ``text`` or ``number``, in order."""
        out = {}
        for level in self.levels:
            for rank in range(1, self.ranks(level) + 1):
                for kind in ("code", "title", "proba"):
                    out[f"{self.prefix}level{level}_{kind}_{rank}"] = "number" if kind == "proba" else "text"
        more = {} if self.decisions is None else self.decisions.columns
        if self.outcomes:
            more = {**more, f"{self.prefix}outcome": "text", f"{self.prefix}outcome_reason": "text"}
        return {**out, **more, f"{self.prefix}status": "text"}

    def check_free(self, columns: Sequence[str]) -> None:
        """Raise ValueError when the input already has a column of that name (it was coded before, say)."""
        if taken := [c for c in self.columns if c in set(columns)]:
            raise ValueError(
                f"the input already has {name_some(taken)}; give the new columns another prefix, e.g. --prefix new_"
            )


def code_texts(
    classifier: "Classifier",
    cells: Sequence[Sequence[str | None]],
    plan: Plan,
    advance: Callable[[int], None] | None = None,
    languages: Sequence[str] | None = None,
) -> dict[str, list[Any]]:
    """The new columns of a chunk: column -> values in the order of its rows.

    ``cells`` are those of each column of the recipe. A text that cannot be coded gets None in every column but the
    status, which says why. ``advance`` is called with the number of rows of every batch that the classifier has done;
    ``languages`` of the rows are for decisions that depend on them.
    """
    from hjc.classifiers.base import top_k_columns

    taxonomy = plan.taxonomy
    texts, status = plan.recipe.read(cells)
    good = np.array([i for i, s in enumerate(status) if s == OK], dtype=np.int64)
    wanted = [texts[i] for i in good]
    nodes = {d: np.empty((len(good), plan.ranks(d)), dtype=np.int64) for d in plan.levels}
    proba = {d: np.empty((len(good), plan.ranks(d)), dtype=np.float64) for d in plan.levels}
    rules = plan.decisions
    decided = {} if rules is None else rules.empty(len(texts))
    outcomes: list[tuple[str | None, str | None]] = [(None, None)] * len(texts)
    if wanted:
        for rows, log_proba, found in classifier.iter_outcomes(wanted):
            for i, outcome in zip(good[rows].tolist(), found, strict=True):
                outcomes[i] = outcome
            for d in plan.levels:
                columns, proba[d][rows] = top_k_columns(taxonomy.aggregate(log_proba, d), plan.ranks(d))
                nodes[d][rows] = taxonomy.level_nodes(d)[columns]
            if rules is not None:
                at = good[rows]
                spoken = None if languages is None else [languages[i] for i in at.tolist()]
                rules.decide(log_proba, at, decided, spoken)
            if advance is not None:
                advance(len(rows))
    codes = np.array(taxonomy.codes, dtype=object)
    titles = np.empty(len(taxonomy), dtype=object)
    for node in np.unique(np.concatenate([n.ravel() for n in nodes.values()])).tolist():
        titles[node] = taxonomy.title(node, plan.title_language)
    least = 0.0 if rules is None or rules.abstain is None else rules.abstain
    stated = {d: proba[d][:, 0] >= least for d in plan.levels}
    for i in good[~np.any([stated[d] for d in plan.levels], axis=0)].tolist():
        status[i] = ABSTAINED
    out: dict[str, list[Any]] = {}
    for d in plan.levels:
        for rank in range(plan.ranks(d)):
            for kind, values in (
                ("code", codes[nodes[d][:, rank]]),
                ("title", titles[nodes[d][:, rank]]),
                ("proba", proba[d][:, rank]),
            ):
                column = np.full(len(texts), None, dtype=object)
                column[good[stated[d]]] = values[stated[d]]
                out[f"{plan.prefix}level{d}_{kind}_{rank + 1}"] = column.tolist()
    out |= {name: values.tolist() for name, values in decided.items()}
    if plan.outcomes:
        out[f"{plan.prefix}outcome"] = [outcome for outcome, _ in outcomes]
        out[f"{plan.prefix}outcome_reason"] = [reason for _, reason in outcomes]
    out[f"{plan.prefix}status"] = status
    return out
