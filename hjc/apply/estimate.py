"""``hjc estimate``: shares per code and domain from a table of any size, the model read once, batch by batch.

The rows' level probabilities are summed as they come (:class:`hjc.statistics.CodeTotals`); only the EM correction for
prior shift needs them again and spools them, at the level wanted, to a temporary file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from hjc.apply.loop import Columns, Part, Summary, read_parts, weights_of
from hjc.apply.spelling import Spelling
from hjc.apply.spool import Spool
from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.evaluation.validation_scores import ValidationScores
from hjc.evaluation.watch import Watch
from hjc.statistics import (
    Audit,
    CodeTotals,
    Confusion,
    ShareEstimate,
    correct_counts,
    difference_estimate,
    em_prior_shift,
    make_audit,
)
from hjc.tables import Reader
from hjc.taxonomy import Taxonomy

#: methods that correct with the stored outcomes of the validation rows, and those that need an audit
FROM_CONFUSION, FROM_AUDIT = ("misclassification", "calibration"), ("difference", "ppi")
FROM_VALIDATION = (*FROM_CONFUSION, "prior_shift")
METHODS = ("classify_and_count", "summed", *FROM_VALIDATION, *FROM_AUDIT)
#: flag of shares of rows that do not look like those of the validation
OTHER = "other texts"
#: the flag of shares where hardly a validation row stands behind the probabilities
UNPROVEN = "few validation rows"


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
        taxonomy, level, method, by, target: as of :func:`gather`.
        totals: sums per domain; empty for the EM correction.
        spool: level log-probabilities of every row, where the method or pairing needs them again.
        confusion, audit, audit_domain (of each audited row), prior (K,) with the rows behind it: what the method needs.
        replicates, seed: of the bootstrap of methods that correct.
        watch: the rows beside those of the model's training and validation; None where codes were counted.
    """

    taxonomy: Taxonomy
    level: int
    method: str
    by: Sequence[str]
    totals: CodeTotals
    spool: Spool | None = None
    target: str = "population"
    confusion: Confusion | None = None
    audit: Audit | None = None
    audit_domain: Sequence[tuple[str, ...]] = ()
    prior: tuple[Float64, float] | None = None
    replicates: int = 0
    seed: int = 0
    watch: Watch | None = None

    @property
    def domains(self) -> list[tuple[str, ...]]:
        """The values of the --by columns that occur, in the order of their first row; [()] without such columns."""
        names: Any = dict.fromkeys(self.spool.domain) if self.spool is not None else self.totals.domains
        return list(names)

    def estimate(self, domain: tuple[str, ...]) -> ShareEstimate | None:
        """The shares of one domain; None where the audit has fewer than 2 rows of it."""
        again: Any = {"replicates": self.replicates, "seed": self.seed}
        if self.method == "prior_shift":
            assert self.spool is not None and self.prior is not None
            tree, rows = self.spool.tree, self.spool.rows_of(domain)
            return em_prior_shift(
                tree, tree.depth, self.spool.batches(rows), self.prior[0], self.spool.weights[rows],
                prior_rows=self.prior[1],
            )  # fmt: skip
        if self.method in FROM_AUDIT:
            assert self.audit is not None
            audit = self.audit.take([d == domain for d in self.audit_domain]) if self.by else self.audit
            if self.by and len(audit) < 2:
                return None
            return difference_estimate(
                self.totals, audit, domain, target=self.target, tuned=self.method == "ppi", **again
            )  # fmt: skip
        if self.method == "summed":
            return self.totals.summed_probabilities(domain, self.target)
        counted = self.totals.classify_and_count(domain)
        if self.confusion is None:
            return counted
        return correct_counts(counted, self.confusion, kind=self.method, **again)


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
    own = bootstrap if method in ("classify_and_count", "summed") else 0
    totals = CodeTotals(tree if columns.code else taxonomy, level, replicates=own, hard=method != "summed", seed=seed)
    spool = Spool(tree) if method == "prior_shift" or unit else None
    spelling, watch = Spelling(taxonomy), None if columns.code else Watch(classifier)
    for part in read_parts(reader, replace(columns, more=[unit] if unit else ()), summary):
        batches: Iterable[tuple[IntArray, FloatArray]] = ((at, x) for at, x, _ in part.batches(classifier))
        if columns.code:
            batches = [one_hot(taxonomy, level, part, spelling.mend(part.cells[columns.code]))]
        for at, log_proba in batches:
            if watch is not None:
                watch.see(at, part.texts, part.languages, log_proba)
            domain = [part.domain[i] for i in at.tolist()]
            if method != "prior_shift":
                totals.update(log_proba, part.weight[at], domain)
            if spool is not None:
                values = log_proba if columns.code else taxonomy.aggregate(log_proba, level)
                named = None if unit is None else [part.cells[unit][i] or "" for i in at.tolist()]
                spool.add(values, part.weight[at], domain, named)
    spelling.check(reader.label, taxonomy.name)
    summary.codes = spelling.account()
    if not (totals.rows or (spool and spool.domain)):
        raise ValueError(f"{reader.label}: no row can be used: {summary.left_out()}")
    found = Gathered(
        taxonomy, level, method, columns.by, totals, spool, target, audit=audit, audit_domain=audit_domain or (),
        replicates=bootstrap, seed=seed, watch=watch,
    )  # fmt: skip
    if validation is not None and method in FROM_CONFUSION:
        found.confusion = validation.confusion(level, calibrated)
    elif validation is not None and method == "prior_shift":
        found.prior = validation.prior(level, calibrated), validation.prior_rows(level, calibrated)
    return found


def judge(found: Gathered, table: pd.DataFrame) -> list[str]:
    """What is to be said of the rows behind a table of shares or changes; its ``flag`` says :data:`UNPROVEN` and
    :data:`OTHER` too.

    Not where an audit corrects the shares: it is a sample of these very rows.
    """
    watch = found.watch
    if watch is None or found.method in FROM_AUDIT:
        return []
    report, said, flags = watch.report(), watch.notes(), list[str]()
    if unproven := watch.unproven():
        flags.append(UNPROVEN)
        said.append(
            f"warning: {unproven}. Shares and intervals are its opinion. Have a random sample coded (hjc review "
            "--strategy random, then --audit FILE), or train with more coded rows"
        )
    if watch.is_other(report):
        flags.append(OTHER)
    if flags:
        table["flag"] = [", ".join(filter(None, (flag, *flags))) for flag in table["flag"]]
    if watch.is_other(report) or (report is not None and report.verdict != "proceed"):
        prior = "" if found.method == "prior_shift" else ", or --method prior_shift where only the shares have moved"
        said.append(
            "these rows are not like those of the model's validation, and shares and intervals may not hold: correct "
            f"them by an audit (hjc review, then --audit FILE){prior}"
        )
    return said


def shares_table(found: Gathered, confidence: float = 0.95) -> pd.DataFrame:
    """Lines of :meth:`ShareEstimate.to_frame` for every domain, with the columns of the domain first.

    A domain that cannot be estimated by an audit (fewer than 2 audited rows) is there with NaN and the flag "no audit".
    """
    frames = {}
    for domain in found.domains:
        made = found.estimate(domain)
        frames[domain] = (made or found.totals.classify_and_count(domain)).to_frame(confidence)
        if made is None:
            frames[domain].loc[:, "share":"count_high"] = np.nan
            frames[domain][["flag", "method"]] = "no audit", found.method
    return by_domain(found.by, frames)


def by_domain(names: Sequence[str], frames: Mapping[tuple[str, ...], pd.DataFrame]) -> pd.DataFrame:
    """The lines of all domains, their values in columns ``names`` before the others."""
    for domain, frame in frames.items():
        for i, (name, value) in enumerate(zip(names, domain, strict=True)):
            frame.insert(i, name, value)
    return pd.concat(list(frames.values()), ignore_index=True)
