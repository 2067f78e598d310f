"""``hjc predict``: every row of a table as it was, with the columns that a prediction adds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.apply.codes import CodeColumns, check_free
from hjc.apply.loop import Columns, Part, Progress, Summary, write_parts
from hjc.tables import Reader, Writer

if TYPE_CHECKING:  # the classifier is an argument; importing its module would import pandas
    from hjc.apply.decisions import DecisionPlan
    from hjc.classifiers.base import Classifier

ABSTAINED = "abstained: no code of the chosen levels is probable enough"


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

    def check_free(self, columns: Sequence[str]) -> None:
        """Raise ValueError when the input already has a column of that name (it was coded before, say)."""
        check_free(list(self.columns), columns)


def code_table(
    classifier: "Classifier",
    reader: Reader,
    writer: Writer,
    plan: Plan,
    columns: Columns,
    *,
    progress: Progress | None = None,
    summary: Summary | None = None,
) -> Summary:
    """Code every row of ``reader`` and write it to ``writer``, never holding more than one chunk.

    Args:
        columns: the recipe's, and the language's for decisions that depend on it.
        progress, summary: see :func:`hjc.apply.loop.read_parts`.

    Raises:
        ValueError: a column does not exist, or a probability is no number.
    """
    summary = summary if summary is not None else Summary()
    write_parts(reader, writer, columns, partial(code_rows, classifier, plan), summary, progress)
    return summary


def code_rows(classifier: "Classifier", plan: Plan, part: Part) -> dict[str, list[Any]]:
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
            for name, values in rules.decide(log_proba, spoken).items():
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
