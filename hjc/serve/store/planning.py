"""Which ads of a batch become tasks, in which order, and who gets them: the decision layer's orders over a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hjc.arrays import Float64, IntArray
from hjc.decision import review_plan
from hjc.errors import check_range

#: audited at random, coded to learn from and to be done, second copy, dealt to all coders
AUDIT, QUEUE, SECOND, COMMON = "audit", "queue", "second", "common"
ORDERS = ("uncertain", "margin", "entropy", "diverse", "random", "file")


@dataclass(frozen=True)
class Planned:
    """A task before it has a number: ``row`` is a position in the batch."""

    row: int
    copy: int
    purpose: str
    position: float
    inclusion_probability: float | None
    score: float | None


def plan_tasks(
    order: IntArray,
    score: Float64,
    *,
    audit: int = 0,
    second: float = 0.0,
    leave_out: Sequence[int] = (),
    seed: int = 0,
) -> list[Planned]:
    """Tasks for the rows of a batch.

    Args:
        order: (n,) all rows, first the one to be coded first. score: (n,) what the order went by, for the record.
        audit: rows drawn at random from all n, whatever their score: an honest sample. They are spread evenly over the
            queue, so that they are coded along with the others.
        second: share of the tasks, drawn at random, that a second coder gets as well.
        leave_out: rows that need no coder (the model is sure) unless they are audited.

    Raises:
        ValueError: more rows to be audited than there are, or a share outside 0 to 1.
    """
    n = len(order)
    check_range("audit", audit, 0 <= audit <= n, f"0 to {n:,}, the rows of the batch")
    check_range("second", second, 0 <= second <= 1, "shares from 0 to 1")
    rng = np.random.default_rng(seed)
    audited = set(review_plan(np.zeros(n), audit, "random", seed=seed).rows.tolist()) if audit else set()
    skipped = {*leave_out} - audited
    queue = [row for row in order.tolist() if row not in audited and row not in skipped]
    every = (len(queue) + 1) / (len(audited) + 1)
    place = {row: float(i) for i, row in enumerate(queue)}
    place |= {row: (i + 1) * every - 0.5 for i, row in enumerate(sorted(audited, key=lambda r: rng.random()))}
    rows = sorted(place, key=lambda row: place[row])
    found = []
    for row in rows:
        pi = audit / n if row in audited else None
        purpose = AUDIT if row in audited else QUEUE
        found.append(Planned(row, 1, purpose, place[row], pi, float(score[row])))
    doubled = np.sort(rng.choice(len(rows), round(second * len(rows)), replace=False)).tolist() if rows else []
    found += [
        Planned(one.row, 2, one.purpose, one.position, one.inclusion_probability, one.score)
        for one in (found[i] for i in doubled)
    ]
    return found


def deal(
    rows: Sequence[int], coders: Sequence[str], *, each: int | None = None, common: int = 0, seed: int = 0
) -> tuple[list[int], dict[str, list[int]]]:
    """The rows that every coder gets, and those of each coder alone.

    Args:
        rows: that may be dealt, in the order of the queue.
        each: rows of a coder, the common ones included; None: all rows are dealt.
        common: drawn at random from the rows, so that agreement on them speaks for all.

    Raises:
        ValueError: no coders, one twice, or fewer rows than are wanted.
    """
    check_range(
        "coders", len(coders), len(coders) >= 1 and len(set(coders)) == len(coders), "different names, 1 or more"
    )
    check_range("common", common, 0 <= common <= len(rows), f"0 to {len(rows):,}, the open ads")
    own = (len(rows) - common) // len(coders) if each is None else each - common
    check_range("each", each, own >= 0, f"numbers from {common}, the common ads")
    if own * len(coders) + common > len(rows):
        raise ValueError(
            f"each: {len(coders)} coders with {each:,} ads, {common:,} of them common, need "
            f"{own * len(coders) + common:,} open ads; there are {len(rows):,}"
        )
    drawn = set(np.random.default_rng(seed).choice(len(rows), common, replace=False).tolist())
    shared, rest = [rows[i] for i in sorted(drawn)], [row for i, row in enumerate(rows) if i not in drawn]
    if each is None:  # the last few go round as well
        return shared, {name: rest[i :: len(coders)] for i, name in enumerate(coders)}
    return shared, {name: rest[i :: len(coders)][:own] for i, name in enumerate(coders)}
