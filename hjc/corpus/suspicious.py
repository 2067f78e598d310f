"""Labels that are probably wrong, by confident learning, as a list for people to review.

Northcutt, Jiang & Chuang (2021), Confident Learning, JAIR 70, section 3: every row gets probabilities from a classifier
that was not trained on it (cross-validation). The threshold t_j of code j is the mean probability of j over the rows
labelled j. A row labelled i is suspicious when some other code j reaches its own threshold there, and the most probable
of the codes that reach theirs is not i. Codes differ in how sure a classifier can be of them; their own thresholds
take that into account. n rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.corpus.copying import write_tables
from hjc.data.jobdata import JobData
from hjc.data.splitting import identical_groups, sampling_order

Score = Callable[[Sequence[str]], Iterable[tuple[IntArray, FloatArray]]]
#: of each row the probabilities of so many codes are kept; a code below them cannot become the suggestion
TOP = 20
_SHOWN = 300


@dataclass(frozen=True)
class OutOfFold:
    """Cross-validated probabilities at one level.

    Attributes:
        rows: (r,) rows of the data that were scored: their code reaches the level and occurs in the training folds.
        fold: (n,) fold of each row, -1 where it has no code.
        column: (r,) column of the row's own code at the level. own: (r,) its probability.
        top: (r, k) the most probable columns, top_proba: (r, k) theirs, largest first.
        untestable: rows whose code stands in no other fold, so that nothing can be said about them.
        too_coarse: rows whose code ends above the level.
        level: the level.
    """

    rows: IntArray
    fold: IntArray
    column: IntArray
    own: Float64
    top: IntArray
    top_proba: Float64
    untestable: int
    too_coarse: int
    level: int


@dataclass(frozen=True)
class Suspicious:
    """The review list and what it says about codes.

    Attributes:
        rows: one line a suspicious row, worst first: row (in its file), id, code, title, suggested, suggested_title,
            p_code, p_suggested, margin (p_suggested - p_code), shared_level (of the lowest common ancestor: 0 means
            that not even the coarsest group is the same), text (its beginning).
        codes: code, rows, suspicious, share, mean_probability (the code's threshold).
        pairs: code, suggested, rows: which codes are taken for which.
        counts: rows, scored, suspicious, untestable, too_coarse, unlabelled.
    """

    rows: pd.DataFrame
    codes: pd.DataFrame
    pairs: pd.DataFrame
    counts: dict[str, int]

    def write(self, directory: Path | str) -> list[Path]:
        """Write ``suspicious.csv``, ``codes.csv`` and ``pairs.csv``."""
        return write_tables(directory, {"suspicious": self.rows, "codes": self.codes, "pairs": self.pairs})

    def message(self, directory: Path | str) -> str:
        """One sentence for the terminal."""
        c, path = self.counts, Path(directory) / "suspicious.csv"
        return (
            f"{c['suspicious']:,} of {c['scored']:,} labels are suspicious; {c['untestable']:,} rows have a code "
            f"that no other fold has, {c['too_coarse']:,} a code above the level -> {path}"
        )


def make_folds(data: JobData, folds: int = 5, seed: int = 1) -> IntArray:
    """(n,) fold 0..folds-1 of each labelled row, -1 of others: codes spread evenly over folds, groups kept together.

    The groups are those of the data, or of identical texts where it has none: with a copy of a row in training a
    classifier repeats its label, right or wrong.

    Raises:
        ValueError: fewer than two folds, or fewer groups than folds.
    """
    if folds < 2:
        raise ValueError(f"folds: got {folds}, allowed are integers from 2")
    labelled = np.flatnonzero(data.gold >= 0)
    group = identical_groups(data.texts) if data.group is None else data.group
    number, first = np.unique(group[labelled], return_index=True)
    if len(number) < folds:
        raise ValueError(f"folds: got {folds} for {len(number)} different labelled texts")
    leader = labelled[first]
    source = np.unique(np.array(data.source, dtype=object)[leader].astype(str), return_inverse=True)[1]
    order = sampling_order(data.taxonomy, data.gold[leader], source, np.random.default_rng(seed))
    of_group = np.empty(len(leader), dtype=np.int64)
    of_group[order] = np.arange(len(leader)) % folds
    out = np.full(len(data), -1, dtype=np.int64)
    out[labelled] = of_group[np.searchsorted(number, group[labelled])]
    return out


def out_of_fold(
    data: JobData,
    fit: Callable[[JobData], Score],
    *,
    level: int | None = None,
    folds: int = 5,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> OutOfFold:
    """Probabilities of every labelled row from a classifier that was fitted without its fold.

    Args:
        fit: fits a new classifier on rows and gives its ``iter_log_proba``: from texts to batches of (row numbers, leaf
            log-probabilities of these rows); called once a fold.
        level: of the codes to be looked at; default the deepest.
        progress: called with the folds done and all folds.
    """
    tree = data.taxonomy
    level = tree.depth if level is None else tree.check_level(level)
    fold = make_folds(data, folds, seed)
    column = np.where(data.gold >= 0, tree.level_column[data.gold, level - 1], -1)
    k = min(TOP, len(tree.level_nodes(level)))
    own = np.full(len(data), np.nan)
    top, top_proba = np.zeros((len(data), k), np.int64), np.zeros((len(data), k))
    known = np.zeros(len(data), dtype=bool)
    for f in range(folds):
        inside, outside = np.flatnonzero((fold == f) & (column >= 0)), np.flatnonzero((fold >= 0) & (fold != f))
        learnt = np.isin(column[inside], column[outside])
        known[inside[learnt]] = True
        for rows, log_proba in fit(data.take(outside))([data.texts[i] for i in inside.tolist()]):
            proba = np.exp(tree.aggregate(log_proba, level).astype(np.float64))
            at = inside[rows]
            own[at] = proba[np.arange(len(at)), column[at]]
            best = np.argsort(-proba, axis=1, kind="stable")[:, :k]
            top[at], top_proba[at] = best, np.take_along_axis(proba, best, axis=1)
        if progress is not None:
            progress(f + 1, folds)
    scored = np.flatnonzero(known)
    return OutOfFold(
        rows=scored, fold=fold, column=column[scored], own=own[scored], top=top[scored], top_proba=top_proba[scored],
        untestable=int(((column >= 0) & ~known).sum()), too_coarse=int(((data.gold >= 0) & (column < 0)).sum()),
        level=level,
    )  # fmt: skip


def find_suspicious(data: JobData, scores: OutOfFold) -> Suspicious:
    """The rows whose label confident learning doubts, sorted by margin."""
    tree, nodes = data.taxonomy, data.taxonomy.level_nodes(scores.level)
    r, codes = len(scores.rows), len(nodes)
    count = np.bincount(scores.column, minlength=codes)
    with np.errstate(invalid="ignore"):
        threshold = np.where(count > 0, np.bincount(scores.column, scores.own, codes) / count, np.inf)
    reach = scores.top_proba >= threshold[scores.top] - 1e-12
    choice = np.argmax(reach, axis=1)  # the first is the most probable
    suggested = np.where(reach.any(axis=1), scores.top[np.arange(r), choice], scores.column)
    doubt = np.flatnonzero(suggested != scores.column)
    p_suggested = scores.top_proba[doubt, choice[doubt]]
    margin = p_suggested - scores.own[doubt]
    order = np.lexsort((scores.rows[doubt], -margin))
    doubt, p_suggested, margin = doubt[order], p_suggested[order], margin[order]
    row = scores.rows[doubt]
    now, instead = nodes[scores.column[doubt]], nodes[suggested[doubt]]
    frame = pd.DataFrame(
        {
            "row": data.row[row],
            "id": [data.id[i] for i in row],
            "code": [tree.codes[i] for i in now],
            "title": [tree.title(int(i)) for i in now],
            "suggested": [tree.codes[i] for i in instead],
            "suggested_title": [tree.title(int(i)) for i in instead],
            "p_code": scores.own[doubt],
            "p_suggested": p_suggested,
            "margin": margin,
            "shared_level": tree.lca_level(now, instead),
            "text": [data.texts[i][:_SHOWN] for i in row],
        }
    )
    wrong = np.bincount(scores.column[doubt], minlength=codes)
    seen = np.flatnonzero(count)
    by_code = pd.DataFrame(
        {
            "code": [tree.codes[nodes[c]] for c in seen],
            "title": [tree.title(int(nodes[c])) for c in seen],
            "rows": count[seen],
            "suspicious": wrong[seen],
            "share": wrong[seen] / count[seen],
            "mean_probability": threshold[seen],
        }
    ).sort_values(["suspicious", "code"], ascending=[False, True], ignore_index=True)
    pairs = frame.groupby(["code", "suggested"]).size().rename("rows").reset_index()
    return Suspicious(
        rows=frame,
        codes=by_code,
        pairs=pairs.sort_values(["rows", "code", "suggested"], ascending=[False, True, True], ignore_index=True),
        counts={
            "rows": len(data),
            "scored": r,
            "suspicious": len(doubt),
            "untestable": scores.untestable,
            "too_coarse": scores.too_coarse,
            "unlabelled": int((data.gold < 0).sum()),
        },
    )
