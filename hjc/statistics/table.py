"""The table an office publishes: codes by domain, with intervals and flags."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hjc.statistics.audit import Audit, difference_estimate
from hjc.statistics.confusion import Confusion, correct_counts
from hjc.statistics.estimate import ShareEstimate
from hjc.statistics.totals import CodeTotals

METHODS = ("classify_and_count", "summed_probabilities", "misclassification", "calibration", "difference", "ppi")


def estimate(
    totals: CodeTotals,
    method: str,
    domain: Hashable | None = None,
    *,
    confusion: Confusion | None = None,
    audit: Audit | None = None,
    audit_domain: Sequence[Hashable] | None = None,
    target: str = "population",
    replicates: int = 0,
    seed: int = 0,
) -> ShareEstimate:
    """One estimate by name of method (:data:`METHODS`), for a domain or for all rows (None).

    Args:
        confusion: for "misclassification" and "calibration"; one matrix serves all domains.
        audit, audit_domain: for "difference" and "ppi"; the domain of each audited row.
        replicates, seed: bootstrap standard errors of the methods that correct; counts and sums of probabilities are
            replicated while they are summed (:class:`hjc.statistics.PoissonBootstrap`).

    Raises:
        ValueError: unknown method, or what it needs is missing.
    """
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}, allowed are {list(METHODS)}")
    if method == "classify_and_count":
        return totals.classify_and_count(domain)
    if method == "summed_probabilities":
        return totals.summed_probabilities(domain, target)
    if method in ("misclassification", "calibration"):
        if confusion is None:
            raise ValueError(f"method {method!r} needs a confusion matrix of labelled rows")
        return correct_counts(
            totals.classify_and_count(domain), confusion, kind=method, replicates=replicates, seed=seed
        )
    if audit is None:
        raise ValueError(f"method {method!r} needs an audit: labelled rows with their inclusion probabilities")
    if domain is not None:
        if audit_domain is None:
            raise ValueError(f"method {method!r} by domain needs audit_domain, the domain of each audited row")
        audit = audit.take(np.flatnonzero([d == domain for d in audit_domain]))
    return difference_estimate(totals, audit, domain, target=target, tuned=method == "ppi", replicates=replicates,
                               seed=seed)  # fmt: skip


def estimate_table(
    totals: CodeTotals,
    method: str,
    names: Sequence[str] = (),
    *,
    levels: Sequence[int] | None = None,
    confidence: float = 0.95,
    **parts: Any,
) -> pd.DataFrame:
    """Lines of :meth:`ShareEstimate.to_frame` for every domain, with a column for each of ``names``.

    Args:
        names: of the domain columns; domains are then tuples of as many values (or single values for one name).
        parts: ``confusion``, ``audit``, ``audit_domain``, ``target``, ``replicates``, ``seed`` as in :func:`estimate`.

    A domain that cannot be estimated by an audit (fewer than 2 audited rows) is there with NaN and the flag "no audit".
    """
    frames = []
    for domain in totals.domains if names else [None]:
        values: Mapping[str, Any] = {}
        if names:
            parts_of = domain if isinstance(domain, tuple) else (domain,)
            if len(parts_of) != len(names):
                raise ValueError(f"names: got {list(names)} for the domain {domain!r}")
            values = dict(zip(names, parts_of, strict=True))
        too_few = False
        if method in ("difference", "ppi") and names and parts.get("audit_domain") is not None:
            too_few = sum(d == domain for d in parts["audit_domain"]) < 2
        found = totals.classify_and_count(domain) if too_few else estimate(totals, method, domain, **parts)
        frame = found.to_frame(levels, confidence)
        if too_few:
            frame[["share", "se", "low", "high", "count", "count_low", "count_high"]] = np.nan
            frame["flag"], frame["method"] = "no audit", method
        for i, (name, value) in enumerate(values.items()):
            frame.insert(i, name, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
