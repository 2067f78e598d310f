from hjc.statistics.audit import Audit, difference_estimate, make_audit
from hjc.statistics.changes import Change, change
from hjc.statistics.confusion import Confusion, correct_counts
from hjc.statistics.estimate import ShareEstimate, node_sums
from hjc.statistics.prior_shift import em_prior_shift
from hjc.statistics.totals import CodeTotals

__all__ = [
    "Audit",
    "Change",
    "CodeTotals",
    "Confusion",
    "ShareEstimate",
    "change",
    "correct_counts",
    "difference_estimate",
    "em_prior_shift",
    "make_audit",
    "node_sums",
]
