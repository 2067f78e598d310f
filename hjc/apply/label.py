"""``hjc label``: silver labels for texts without codes. Candidates come from any model of ours, judges choose."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hjc.arrays import IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.treemath import top_k_columns
from hjc.corpus.agreement import Agreement, agreement
from hjc.data.splits import SILVER
from hjc.errors import check_range
from hjc.metrics.intervals import wilson
from hjc.rerank.backends import Candidate
from hjc.rerank.chat_questions import ChatReranker
from hjc.rerank.judges import AGREED, Silver, judge_texts

#: rows that are asked about at a time: what a killed run has in its cache is not lost
BLOCK = 64
#: audited rows that a weight is taken from
LEAST_AUDIT = 30
#: new columns; then one for each judge
_COLUMNS = ("code", "title", "source", "weight", "status", "confidence")


@dataclass(frozen=True)
class Labels:
    """What a run found.

    Attributes:
        columns: new columns of the table. counts: rows by status. why: of those that got no answer, by what went wrong.
        audit: agreement of the people's codes and the silver ones, where there were such; weight: of a silver row.
    """

    columns: dict[str, list[Any]]
    counts: Counter[str]
    weight: float
    audit: Agreement | None = None
    audited: int = 0
    right: int = 0
    why: Counter[str] = field(default_factory=Counter)

    def sentences(self) -> list[str]:
        """For the user."""
        said = [", ".join(f"{what} {rows:,}" for what, rows in self.counts.most_common())]
        if self.why:
            shown = "; ".join(f"{what} ({rows:,})" for what, rows in self.why.most_common(3))
            more = f"; and {len(self.why) - 3:,} other reasons" if len(self.why) > 3 else ""
            said.append(
                f"warning: {sum(self.why.values()):,} texts got no answer: {shown}{more}; the same command with "
                "--overwrite asks for these again"
            )
        if self.audited:
            low, high = wilson(self.right, self.audited)
            said.append(
                f"of {self.audited:,} audited rows with a silver label {self.right:,} are right "
                f"({100 * self.right / self.audited:.0f} %, {100 * low:.0f} to {100 * high:.0f})"
            )
        return [*said, f"weight of a silver row: {self.weight:.2f}"]


def candidates_of(
    classifier: Classifier, texts: Sequence[str], top_k: int, language: str | None = None
) -> list[list[Candidate]]:
    """The ``top_k`` most probable leaves of each text, with titles, and descriptions where the tree has any."""
    check_range("--top-k", top_k, top_k >= 2, "integers from 2: with one candidate there is nothing to choose")
    tree = classifier.taxonomy
    described = tree.descriptions.get(language or "", next(iter(tree.descriptions.values()), None))
    out: list[list[Candidate]] = [[] for _ in texts]
    for rows, log_proba in classifier.iter_log_proba(texts):
        columns, proba = top_k_columns(log_proba, min(top_k, tree.num_leaves))
        for row, own, p in zip(rows.tolist(), columns.tolist(), proba.tolist(), strict=True):
            nodes = tree.leaves[own].tolist()
            out[row] = [
                Candidate(
                    leaf, tree.codes[node], tree.title(node, language) or tree.codes[node],
                    "" if described is None else described[node], score,
                )
                for leaf, node, score in zip(own, nodes, p, strict=True)
            ]  # fmt: skip
    return out


def new_columns(prefix: str, judges: int) -> list[str]:
    """Names of the columns that :func:`label_rows` makes, in their order."""
    return [prefix + name for name in (*_COLUMNS, *(f"judge_{number}" for number in range(1, judges + 1)))]


def label_rows(
    classifier: Classifier,
    judges: Sequence[ChatReranker],
    texts: Sequence[str],
    status: Sequence[str],
    candidates: Mapping[int, Sequence[Candidate]],
    *,
    people: IntArray | None = None,
    weight: float = 0.5,
    prefix: str = "label_",
    told: Callable[[int], None] | None = None,
) -> Labels:
    """Silver labels of the texts that have candidates.

    New columns: code, title, source (``silver`` where there is a label), weight, status, confidence (the least that a
    judge stated), and what each judge chose.

    Args:
        status: of every text, ``ok`` or why it cannot be coded. candidates: of each that can, by its position.
        people: (n,) nodes that people gave, -1 without: these rows are labelled, too, and compared; they get no silver
            label. From :data:`LEAST_AUDIT` of them on the weight is the share of right ones, not ``weight``.
        told: is called with the number of rows done.

    Raises:
        EndpointError: an endpoint does not work.
    """
    check_range("--weight", weight, 0 < weight <= 1, "above 0 to 1")
    tree, n = classifier.taxonomy, len(texts)
    found: list[Silver | None] = [None] * n
    usable = list(candidates)
    for start in range(0, len(usable), BLOCK):
        block = usable[start : start + BLOCK]
        for i, silver in zip(
            block, judge_texts(judges, [texts[i] for i in block], [candidates[i] for i in block]), strict=True
        ):
            found[i] = silver
        if told is not None:
            told(len(block))
    node = np.array([tree.leaves[s.leaf] if s is not None and s.leaf >= 0 else -1 for s in found], dtype=np.int64)
    known = np.full(n, -1, dtype=np.int64) if people is None else people
    both = np.flatnonzero((known >= 0) & (node >= 0))
    right = int((tree.node_path[node[both], tree.level[known[both]] - 1] == known[both]).sum())
    table = agreement(tree, np.stack([known, node], axis=1)[known >= 0], ["people", "silver"]) if len(both) else None
    if len(both) >= LEAST_AUDIT:
        weight = max(right / len(both), 0.01)
    silver_row = (node >= 0) & (known < 0)
    statuses = [why if s is None else s.status for s, why in zip(found, status, strict=True)]
    columns: list[list[Any]] = [
        [tree.codes[v] if ok else None for v, ok in zip(node.tolist(), silver_row.tolist(), strict=True)],
        [tree.title(v) if ok else None for v, ok in zip(node.tolist(), silver_row.tolist(), strict=True)],
        [SILVER if ok else None for ok in silver_row.tolist()],
        [weight if ok else None for ok in silver_row.tolist()],
        statuses,
        [min(s.confidences) if s is not None and s.status == AGREED else None for s in found],
    ]
    for number in range(len(judges)):
        chosen = [-1 if s is None else s.choices[number] for s in found]
        columns.append([tree.leaf_codes[leaf] if leaf >= 0 else None for leaf in chosen])
    named = dict(zip(new_columns(prefix, len(judges)), columns, strict=True))
    why = Counter(s.why for s in found if s is not None and s.why)
    return Labels(named, Counter(statuses), weight, table, len(both), right, why)
