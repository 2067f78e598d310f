"""From coded rows to statistics: counts and shares per code with intervals, coherent up the tree.

Which when (the simulation study in experiments/statistics_simulation shows it):

- no labels of the new rows, nothing changed: :meth:`CodeTotals.summed_probabilities` after calibration;
- no labels, the shares of codes changed but texts of a code did not: :func:`em_prior_shift`, or
  :func:`correct_counts` with the misclassification matrix of the validation rows;
- an audit (a random sample of the rows, labelled): :func:`difference_estimate`. The only one that needs no assumption;
- :meth:`CodeTotals.classify_and_count` is biased in all cases and is here to be compared with.
"""

from hjc.statistics.audit import Audit, audit_only, difference_estimate, make_audit
from hjc.statistics.changes import Change, change, paired_variance
from hjc.statistics.confusion import Confusion, correct_counts
from hjc.statistics.estimate import ShareEstimate, node_sums, share_interval
from hjc.statistics.prior_shift import em_prior_shift
from hjc.statistics.table import METHODS, estimate, estimate_table
from hjc.statistics.totals import CodeTotals, PoissonBootstrap, bootstrap_summed

__all__ = [
    "METHODS",
    "Audit",
    "Change",
    "CodeTotals",
    "Confusion",
    "PoissonBootstrap",
    "ShareEstimate",
    "audit_only",
    "bootstrap_summed",
    "change",
    "correct_counts",
    "difference_estimate",
    "em_prior_shift",
    "estimate",
    "estimate_table",
    "make_audit",
    "node_sums",
    "paired_variance",
    "share_interval",
]
