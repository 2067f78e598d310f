"""``hjc estimate``: shares per code and domain from a table of any size, the model read once, batch by batch.

The rows' level probabilities are summed as they come (:class:`hjc.statistics.CodeTotals`); only the EM correction for
prior shift needs them again and spools them, at the level wanted, to a temporary file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hjc.apply.loop import Columns, Part, Summary, read_parts, weights_of
from hjc.apply.spelling import Spelling
from hjc.apply.spool import Draws, Spool
from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.evaluation.validation_scores import ValidationScores
from hjc.statistics import Audit, CodeTotals, PoissonBootstrap, em_prior_shift, estimate, estimate_table, make_audit
from hjc.statistics.estimate import ShareEstimate
from hjc.tables import Reader
from hjc.taxonomy import Taxonomy

#: name on the command line -> name in hjc.statistics
METHODS = {
    "classify_and_count": "classify_and_count",
    "summed": "summed_probabilities",
    "misclassification": "misclassification",
    "calibration": "calibration",
    "prior_shift": "em_prior_shift",
    "difference": "difference",
    "ppi": "ppi",
}
#: methods that correct with the stored outcomes of the validation rows, and those that need an audit
FROM_VALIDATION = ("misclassification", "calibration", "prior_shift")
FROM_AUDIT = ("difference", "ppi")


def one_hot(taxonomy: Taxonomy, level: int, part: Part, codes: Sequence[str]) -> tuple[IntArray, FloatArray]:
    """Rows that have ``codes`` already: positions of the usable ones, and their 0/1 log-probabilities on the tree that
    is cut at the level. The status of a row whose code is missing, unknown or above the level says so.
    """
    column = np.full(len(codes), -1, dtype=np.int64)
    for i, code in enumerate(codes):
        node = taxonomy.index_of.get(code, -1)
        if node >= 0:
            column[i] = taxonomy.level_column[node, level - 1]
        if column[i] < 0:
            part.status[i] = "no code" if not code else "unknown code" if node < 0 else "code above the level"
    use = np.flatnonzero(column >= 0)
    log_proba = np.full((len(use), len(taxonomy.level_nodes(level))), -np.inf, dtype=np.float32)
    log_proba[np.arange(len(use)), column[use]] = 0.0
    return use, log_proba


def read_audit(
    classifier: Classifier,
    level: int,
    reader: Reader,
    columns: Columns,
    code_column: str,
    *,
    inclusion_column: str | None = None,
    stratum_column: str | None = None,
) -> tuple[Audit, list[tuple[str, ...]]]:
    """The labelled rows of a random sample of the input, with the domain of each.

    Raises:
        ValueError: a column does not exist; a row has no usable text, no code or an unknown one (leaving rows of an
            audit out would bias the estimate).
    """
    more = [c for c in (code_column, inclusion_column, stratum_column) if c]
    summary = Summary()
    parts = list(read_parts(reader, replace(columns, more=more), summary))
    if summary.uncoded:
        raise ValueError(
            f"{reader.label}: {summary.left_out()}. Leaving audited rows out would bias the estimate: give them a "
            "text, or leave such rows out of the input as well"
        )
    cells = {name: [c or "" for part in parts for c in part.cells[name]] for name in more}
    tree, spelling = classifier.taxonomy, Spelling(classifier.taxonomy)
    codes = spelling.mend(cells[code_column])
    if bad := [c for c in codes if c not in tree.index_of]:
        why = spelling.reasons.get(bad[0], f"{bad[0]!r}")
        raise ValueError(f"{reader.label}: {len(bad)} of {len(codes)} audited rows have no code of the taxonomy: {why}")
    inclusion = weights_of(cells[inclusion_column], reader.label, inclusion_column) if inclusion_column else None
    log_proba = np.empty((len(codes), tree.num_leaves), dtype=np.float32)
    for part in parts:
        for at, batch, _ in part.batches(classifier):
            log_proba[part.start + at] = batch
    audit = make_audit(
        tree, level, log_proba, tree.encode(codes),
        inclusion_probability=inclusion, weights=np.concatenate([part.weight for part in parts]),
        strata=cells[stratum_column] if stratum_column else None,
    )  # fmt: skip
    return audit, [d for part in parts for d in part.domain]


@dataclass
class Gathered:
    """The rows of an input, summed or spooled, and what an estimate needs beside them.

    Attributes:
        taxonomy, level, method: as of :func:`gather`.
        totals: sums per domain; empty for the EM correction.
        spool: level log-probabilities of every row, where the method or pairing needs them again.
        parts: confusion, audit, audit_domain or target, as :func:`hjc.statistics.estimate` takes them.
        draws: a bootstrap of counts or sums for each domain, where it was asked for.
    """

    taxonomy: Taxonomy
    level: int
    method: str
    by: Sequence[str]
    totals: CodeTotals
    spool: Spool | None
    parts: dict[str, Any]
    validation: ValidationScores | None = None
    calibrated: bool = False
    draws: dict[tuple[str, ...], PoissonBootstrap] = field(default_factory=dict)

    @cached_property
    def _prior(self) -> Float64:
        assert self.validation is not None
        return self.validation.prior(self.level, self.calibrated)

    @property
    def domains(self) -> list[tuple[str, ...]]:
        """The values of the --by columns that occur, in the order of their first row; [()] without such columns."""
        names: Any = dict.fromkeys(self.spool.domain) if self.spool is not None else self.totals.domains
        return list(names)

    def estimate(self, domain: tuple[str, ...]) -> ShareEstimate | None:
        """The shares of one domain; None where the audit has fewer than 2 rows of it."""
        if self.method == "prior_shift":
            assert self.spool is not None and self.validation is not None
            rows = self.spool.rows_of(domain)
            return em_prior_shift(
                self.spool.tree, self.spool.tree.depth, self.spool.batches(rows), self._prior, self.spool.weights[rows],
                prior_rows=self.validation.prior_rows(self.level, self.calibrated),
            )  # fmt: skip
        audited = self.parts.get("audit_domain")
        if audited is not None and sum(d == domain for d in audited) < 2:
            return None
        found = estimate(self.totals, METHODS[self.method], domain if self.by else None, **self.parts)
        return replace(found, replicates=self.draws[domain].shares()) if domain in self.draws else found


def gather(
    classifier: Classifier,
    reader: Reader,
    columns: Columns,
    *,
    level: int,
    method: str = "summed",
    validation: ValidationScores | None = None,
    calibrated: bool = False,
    audit: Audit | None = None,
    audit_domain: Sequence[tuple[str, ...]] | None = None,
    target: str = "population",
    unit: str | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    summary: Summary | None = None,
) -> Gathered:
    """Go through an input once.

    Args:
        method: one of :data:`METHODS`.
        validation: for :data:`FROM_VALIDATION`; ``calibrated`` says by which probabilities the rows are coded.
        audit, audit_domain: for :data:`FROM_AUDIT` (:func:`read_audit`).
        unit: column with the unit of a row, where the same units may be in several domains: rows are then spooled.
        bootstrap: replicates for the standard errors instead of analytic ones, drawn with ``seed``; 0 for none.

    Raises:
        ValueError: an unknown method, what it needs is missing, or no row is left.
    """
    if method not in METHODS:
        raise ValueError(f"--method: got {method!r}, allowed are {', '.join(METHODS)}")
    if method in FROM_VALIDATION and validation is None:
        raise ValueError(f"--method {method} corrects with the model's validation rows, and there are none")
    if method in FROM_AUDIT and audit is None:
        raise ValueError(f"--method {method} needs --audit: a random sample of the rows, coded by clerks")
    if columns.code and method != "classify_and_count":
        raise ValueError(
            f"--code-column: codes without probabilities can only be counted; --method {method} needs texts"
        )
    if bootstrap and (method == "prior_shift" or target == "batch" or bootstrap < 20):
        raise ValueError(
            f"--bootstrap: got {bootstrap} with --method {method} and --target {target}; it takes 20 replicates or "
            "more, goes with every method but prior_shift, and with --target population"
        )
    taxonomy, summary = classifier.taxonomy, summary if summary is not None else Summary()
    level = taxonomy.check_level(level)
    tree = taxonomy.truncate(level)
    totals = CodeTotals(tree if columns.code else taxonomy, level)
    spool = Spool(tree) if method == "prior_shift" or unit else None
    own = bootstrap if method in ("classify_and_count", "summed") else 0
    spelling = Spelling(taxonomy)
    draws = Draws(totals.taxonomy, level, own, seed, method == "classify_and_count")
    for part in read_parts(reader, replace(columns, more=[unit] if unit else ()), summary):
        batches: Iterable[tuple[IntArray, FloatArray]] = ((at, x) for at, x, _ in part.batches(classifier))
        if columns.code:
            batches = [one_hot(taxonomy, level, part, spelling.mend(part.cells[columns.code]))]
        for at, log_proba in batches:
            domain = [part.domain[i] for i in at.tolist()]
            if method != "prior_shift":
                totals.update(log_proba, part.weight[at], domain)
                draws.update(log_proba, part.weight[at], domain)
            if spool is not None:
                values = log_proba if columns.code else taxonomy.aggregate(log_proba, level)
                named = None if unit is None else [part.cells[unit][i] or "" for i in at.tolist()]
                spool.add(values, part.weight[at], domain, named)
    spelling.check(reader.label, taxonomy.name)
    summary.codes = spelling.account()
    if not (totals.rows or (spool and spool.domain)):
        raise ValueError(f"{reader.label}: no row can be used: {summary.left_out()}")
    needs: dict[str, Any] = {} if method == "prior_shift" or own else {"replicates": bootstrap, "seed": seed}
    if method in ("misclassification", "calibration"):
        assert validation is not None
        needs["confusion"] = validation.confusion(level, calibrated)
    elif method in FROM_AUDIT:
        needs |= {"audit": audit, "audit_domain": audit_domain if columns.by else None, "target": target}
    elif method == "summed":
        needs["target"] = target
    return Gathered(taxonomy, level, method, columns.by, totals, spool, needs, validation, calibrated, draws.by_domain)


def shares_table(found: Gathered, confidence: float = 0.95) -> pd.DataFrame:
    """Lines of :meth:`ShareEstimate.to_frame` for every domain, with the columns of the domain first."""
    if found.method != "prior_shift" and not found.draws:
        return estimate_table(
            found.totals, METHODS[found.method], list(found.by), confidence=confidence, **found.parts
        )  # fmt: skip
    frames = []
    for domain in found.domains:
        made = found.estimate(domain)
        assert made is not None
        frame = made.to_frame(None, confidence)
        for i, (name, value) in enumerate(zip(found.by, domain, strict=True)):
            frame.insert(i, name, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
