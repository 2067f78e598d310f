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

from hjc.apply.rows import Columns, Counted, Draws, Rows, Spool, read_rows, weight_of
from hjc.apply.spelling import Spelling
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


def one_hot(taxonomy: Taxonomy, level: int, codes: Sequence[str | None], counted: Counted) -> tuple[Taxonomy, Any, Any]:
    """Rows that are coded already: (tree cut at the level, positions of usable rows, log of 0/1 probabilities).

    Rows whose code is missing, unknown or above the level are counted as left out.
    """
    tree = taxonomy.truncate(level)
    node = np.array([taxonomy.index_of.get((c or "").strip(), -1) for c in codes], dtype=np.int64)
    column = np.where(node >= 0, taxonomy.level_column[node, level - 1], -1)
    for i in np.flatnonzero(column < 0).tolist():
        reason = (
            "no code" if not (codes[i] or "").strip() else "unknown code" if node[i] < 0 else "code above the level"
        )
        counted.leave_out(reason)
    use = np.flatnonzero(column >= 0)
    log_proba = np.full((len(use), tree.num_leaves), -np.inf, dtype=np.float32)
    log_proba[np.arange(len(use)), column[use]] = 0.0
    return tree, use, log_proba


def read_audit(
    classifier: Classifier,
    level: int,
    reader: Reader,
    columns: Columns,
    code_column: str,
    counted: Counted,
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
    parts: list[Rows] = list(read_rows(reader, columns, counted, more))
    texts = [t for p in parts for t in p.texts]
    if counted.left_out:
        raise ValueError(
            f"{reader.label}: {counted.message()}. Leaving audited rows out would bias the estimate: give them a text, "
            "or leave such rows out of the input as well"
        )
    codes = [c for p in parts for c in p.more[code_column]]
    tree, spelling = classifier.taxonomy, Spelling(classifier.taxonomy)
    mended = spelling.mend(codes)
    if bad := [c for c in mended if c not in tree.index_of]:
        why = spelling.reasons.get(bad[0], f"{bad[0]!r}")
        raise ValueError(f"{reader.label}: {len(bad)} of {len(codes)} audited rows have no code of the taxonomy: {why}")
    gold = tree.encode(mended)
    inclusion = None
    if inclusion_column:
        values = [v for p in parts for v in p.more[inclusion_column]]
        inclusion = np.array([weight_of(v, reader.label, inclusion_column) for v in values])
    strata = [v or "" for p in parts for v in p.more[stratum_column]] if stratum_column else None
    audit = make_audit(
        tree, level, classifier.leaf_log_proba(texts), gold,
        inclusion_probability=inclusion, weights=np.concatenate([p.weight for p in parts]), strata=strata,
    )  # fmt: skip
    return audit, [d for p in parts for d in p.domain]


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
    counted: Counted | None = None,
    progress: Any = None,
) -> Gathered:
    """Go through an input once.

    Args:
        method: one of :data:`METHODS`.
        validation: for :data:`FROM_VALIDATION`; ``calibrated`` says by which probabilities the rows are coded.
        audit, audit_domain: for :data:`FROM_AUDIT` (:func:`read_audit`).
        unit: column with the unit of a row, where the same units may be in several domains: rows are then spooled.
        bootstrap: replicates for the standard errors instead of analytic ones, drawn with ``seed``; 0 for none.
        progress: called with the rows of each chunk.

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
    taxonomy, counted = classifier.taxonomy, counted if counted is not None else Counted()
    level = taxonomy.check_level(level)
    tree = taxonomy.truncate(level)
    totals = CodeTotals(tree if columns.code else taxonomy, level)
    spool = Spool(tree) if method == "prior_shift" or unit else None
    own = bootstrap if method in ("classify_and_count", "summed") else 0
    spelling = Spelling(taxonomy)
    draws = Draws(totals.taxonomy, level, own, seed, method == "classify_and_count")
    more = [c for c in (columns.code, unit) if c]
    for chunk in read_rows(reader, columns, counted, more):
        units = chunk.more[unit] if unit else None
        parts: Iterable[tuple[IntArray, FloatArray]] = ()
        if columns.code:
            _, use, log_proba = one_hot(taxonomy, level, spelling.mend(chunk.more[columns.code]), counted)
            parts = [(use, log_proba)]
        elif chunk.texts:
            parts = classifier.iter_log_proba(chunk.texts)
        for at, log_proba in parts:
            domain = [chunk.domain[i] for i in at.tolist()]
            if method != "prior_shift":
                totals.update(log_proba, chunk.weight[at], domain)
                draws.update(log_proba, chunk.weight[at], domain)
            if spool is not None:
                values = log_proba if columns.code else taxonomy.aggregate(log_proba, level)
                named = None if units is None else [units[i] or "" for i in at.tolist()]
                spool.add(values, chunk.weight[at], domain, named)
        if progress is not None:
            progress(counted.rows)
    spelling.check(reader.label, taxonomy.name)
    counted.codes = spelling.account()
    if not (totals.rows or (spool and spool.domain)):
        raise ValueError(f"{reader.label}: no row can be used: {counted.message()}")
    needs: dict[str, Any] = {} if method == "prior_shift" or own else {"replicates": bootstrap, "seed": seed}
    if method in ("misclassification", "calibration"):
        assert validation is not None
        needs["confusion"] = validation.confusion(level, calibrated)
    elif method in FROM_AUDIT:
        needs |= {"audit": audit, "audit_domain": audit_domain if columns.by else None, "target": target}
    elif method == "summed":
        needs["target"] = target
    return Gathered(taxonomy, level, method, columns.by, totals, spool, needs, validation, calibrated, draws.by_domain)


def estimate_shares(
    classifier: Classifier, reader: Reader, columns: Columns, *, level: int, confidence: float = 0.95, **options: Any
) -> pd.DataFrame:
    """Shares and counts of every code down to ``level``, for each domain, with standard errors, intervals and flags.

    A level's shares add up to one and a parent is the sum of its children, in every domain. ``options`` and errors are
    those of :func:`gather`.
    """
    return shares_table(gather(classifier, reader, columns, level=level, **options), confidence)


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
