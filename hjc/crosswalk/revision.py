"""From the old edition of a code list to the new one, through the office's correspondence table.

What happens to each old code is decided once, for the code (:func:`plan_revision`), and then applied to any number of
rows (:meth:`Revision.apply`). A code that was split never silently becomes one of its successors: its rows get the
lowest common ancestor of all successors as gold label (an inner node counts as "some leaf under it" in training), or,
when asked for, one weighted row for each successor.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from hjc.arrays import Float64, IntArray
from hjc.crosswalk.correspondence import NOWHERE, Correspondence, Weights
from hjc.crosswalk.parts import known_shares
from hjc.errors import TaxonomyError, check_choice, check_range, name_some
from hjc.taxonomy.tree import Taxonomy

#: what became of an old code; see :class:`CodeRevision`
Kind = Literal["unchanged", "renamed", "merged", "split", "dropped", "unmapped", "new"]
KINDS: tuple[Kind, ...] = ("unchanged", "renamed", "merged", "split", "dropped", "unmapped", "new")
Split = Literal["ancestor", "weights"]


@dataclass(frozen=True)
class CodeRevision:
    """What became of one old code.

    Attributes:
        kind: ``unchanged`` (one successor with the same code, which has no other predecessor), ``renamed`` (the same
            with another code), ``merged`` (one successor, which has other predecessors), ``split`` (several
            successors, whatever else they came from), ``dropped`` (the table names no successor, or none that is in
            the new tree), ``unmapped`` (the table does not have the code), ``new`` (a code that only the new edition
            has, kept because ``keep_new`` asks for it).
        targets: successors in the new tree with their shares (sum to one unless some links lead out of the tree).
        gold: new code of a row, "" where there is none: the successor, or the lowest common ancestor of a split.
        reason: why there is no gold code, "" where there is one.
        lost: share that ``gold`` does not cover: links that lead out of the new tree, and of an inner code the leaves
            that went elsewhere (with ``inner_share`` below 1).
        inner: the old code is an inner node of the old tree and was judged by the leaves under it.
    """

    code: str
    kind: Kind
    targets: Mapping[str, float]
    gold: str
    reason: str = ""
    lost: float = 0.0
    inner: bool = False


@dataclass(frozen=True)
class RevisedRows:
    """Rows of a training set after a revision. M rows from B.

    Attributes:
        row: (M,) position of each row in the input; a row that was split into weighted ones comes several times in
            succession, no row is missing.
        code: M new codes; "" where a row has none.
        weight: (M,) weight of each row. Those that come from one input row sum to its weight, unless links lead out of
            the new tree (then the rest is the reported loss).
        kind: M kinds of :class:`CodeRevision`; "" for a row without an old code.
        reason: M reasons why there is no new code.
    """

    row: IntArray
    code: tuple[str, ...]
    weight: Float64
    kind: tuple[str, ...]
    reason: tuple[str, ...]


@dataclass(frozen=True)
class Revision:
    """The plan for every old code of the table (and of the old tree, when it was given). See :func:`plan_revision`."""

    codes: Mapping[str, CodeRevision]
    target: Taxonomy
    split: Split
    source_titles: Mapping[str, str] = field(default_factory=dict)
    target_titles: Mapping[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    new_only: frozenset[str] = frozenset()
    keep_new: bool = False

    def of(self, code: str) -> CodeRevision:
        """What became of a code; one that neither the table nor the old tree has is ``unmapped``."""
        known = self.codes.get(code)
        if known is not None:
            return known
        if code in self.new_only:
            if self.keep_new:
                return CodeRevision(code, "new", {code: 1.0}, code)
            return CodeRevision(code, "unmapped", {}, "", "a code that only the new edition has")
        though = ", though the new edition has it" if code in self.target.index_of else ""
        return CodeRevision(code, "unmapped", {}, "", f"not in the correspondence table{though}")

    @cached_property
    def counts(self) -> dict[str, int]:
        """kind -> number of old codes, inner nodes not counted."""
        found = Counter(c.kind for c in self.codes.values() if not c.inner)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    @cached_property
    def reused(self) -> tuple[str, ...]:
        """Old codes that exist in the new edition, where they mean something else: no link leads from one to itself.

        Rows that were left with their old code would silently be wrong here.
        """
        return tuple(
            c.code
            for c in self.codes.values()
            if not c.inner and c.kind != "unmapped" and c.code in self.target.index_of and c.code not in c.targets
        )

    @cached_property
    def retitled(self) -> tuple[str, ...]:
        """Unchanged codes with another title in the new edition (white space and case aside), as far as known."""

        def plain(text: str) -> str:
            return " ".join(text.casefold().split())

        both = self.source_titles.keys() & self.target_titles.keys()
        return tuple(
            c.code
            for c in self.codes.values()
            if c.kind == "unchanged"
            and c.code in both
            and plain(self.source_titles[c.code]) != plain(self.target_titles[c.code])
        )

    def apply(self, codes: Iterable[str], weights: Sequence[float] | None = None) -> RevisedRows:
        """New codes and weights for B old codes ("" for a row without one).

        Raises:
            ValueError: another number of weights than codes.
        """
        given = list(codes)
        own = np.ones(len(given)) if weights is None else np.asarray(weights, dtype=np.float64)
        if own.shape != (len(given),):
            raise ValueError(f"weights: got shape {own.shape}, expected ({len(given)},)")
        lines: list[tuple[int, str, float, str, str]] = []
        for i, code in enumerate(given):
            if not code:
                lines.append((i, "", 1.0, "", "no code"))
                continue
            found = self.of(code)
            parts = found.targets if self._several(found) else {found.gold: 1.0}
            lines += [(i, new, share, found.kind, "" if new else found.reason) for new, share in parts.items()]
        rows, new, shares, kinds, reasons = zip(*lines, strict=True) if lines else ((), (), (), (), ())
        at = np.array(rows, dtype=np.int64)
        return RevisedRows(at, new, own[at] * np.array(shares, dtype=np.float64), kinds, reasons)

    def _several(self, found: CodeRevision) -> bool:
        """Whether a row of the code becomes one for each successor."""
        return self.split == "weights" and found.kind == "split" and bool(found.targets)

    def report(self, rows: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
        """One record for each old code that is not simply unchanged, or that has rows.

        Args:
            rows: old code -> rows of the training set; codes that only the data have are listed too.

        Returns:
            Records with ``old_code, old_title, kind, new_code, new_title, level, successors, lost, reason, rows``:
            ``level`` is that of the new code, ``successors`` is ``code (share)`` for each.
        """
        seen = rows or {}
        listed = [c for c in self.codes.values() if seen.get(c.code) or (c.kind != "unchanged" and not c.inner)]
        listed += [self.of(code) for code in seen if code and code not in self.codes]
        out = []
        for c in listed:
            node = self.target.index_of.get(c.gold, -1)
            out.append(
                {
                    "old_code": c.code,
                    "old_title": self.source_titles.get(c.code, ""),
                    "kind": c.kind,
                    "new_code": c.gold,
                    "new_title": "" if node < 0 else self.target_titles.get(c.gold) or self.target.title(node),
                    "level": "" if node < 0 else int(self.target.level[node]),
                    "successors": "; ".join(f"{code} ({share:.4g})" for code, share in c.targets.items()),
                    "lost": c.lost,
                    "reason": c.reason,
                    "rows": seen.get(c.code, 0),
                }
            )
        return out

    def count_rows(self, rows: Mapping[str, int]) -> dict[str, int]:
        """kind -> rows of a training set whose old codes have ``rows`` each; rows without a code are left out."""
        by_kind = Counter[str]()
        for code, count in rows.items():
            by_kind[self.of(code).kind if code else ""] += count
        return {kind: by_kind[kind] for kind in KINDS if by_kind[kind]}

    def summary(self, rows: Mapping[str, int] | None = None) -> str:
        """Counts of codes, and of rows when they are given, by what became of them."""
        blank: Counter[str] = Counter()
        deeper: Counter[int] = Counter()
        missing = 0.0
        for code, count in (rows or {}).items():
            if not code:
                blank["no code"] += count
                continue
            c = self.of(code)
            if several := self._several(c):
                missing += count * (1.0 - sum(c.targets.values()))
            if not c.gold and not several:
                blank[c.reason] += count
            elif c.kind == "split" and not several:
                deeper[int(self.target.level[self.target.index_of[c.gold]])] += count
        lines = ["codes: " + (", ".join(f"{kind} {n:,}" for kind, n in self.counts.items()) or "none")]
        if rows is not None:
            lines.append("rows: " + (", ".join(f"{k} {n:,}" for k, n in self.count_rows(rows).items()) or "none"))
        if deeper:
            lines.append(
                "rows of split codes by the level of their common ancestor: "
                + ", ".join(f"{level}: {n:,}" for level, n in sorted(deeper.items()))
            )
        if blank:
            lines.append("rows without a new code: " + "; ".join(f"{n:,} {why}" for why, n in blank.most_common()))
        if missing > 1e-9:
            lines.append(f"weight of split rows that went to codes outside the new tree: {missing:,.6g} rows")
        if self.reused:
            lines.append(
                f"{len(self.reused):,} old codes mean something else in the new edition and were moved: "
                f"{name_some(self.reused)}"
            )
        if self.retitled:
            lines.append(f"{len(self.retitled):,} unchanged codes have another title: {name_some(self.retitled)}")
        if self.added:
            lines.append(f"{len(self.added):,} codes are new and have no predecessor: {name_some(self.added)}")
        return "\n".join([*lines, *self.notes])


def plan_revision(
    table: Correspondence,
    target: Taxonomy,
    source: Taxonomy | None = None,
    *,
    split: Split = "ancestor",
    weights: Weights = "uniform",
    target_counts: Mapping[str, float] | None = None,
    min_level: int = 1,
    inner_share: float = 1.0,
    keep_new: bool = False,
) -> Revision:
    """What becomes of each code of an old edition.

    Args:
        table: old code -> new code pairs (several lines for a split code).
        target: the new tree.
        source: the old tree. With it, inner old codes (rows coded to 4 digits) are judged by all the leaves under
            them, and old leaves that the table does not have are listed as unmapped.
        split: ``ancestor`` gives the rows of a split code the lowest common ancestor of its successors; ``weights``
            gives a row for each successor, weighted by its share.
        weights, target_counts: how the successors share the weight (see ``link_shares``); used by ``weights`` only.
        inner_share: an inner old code (only with ``source``) becomes the deepest new node, not below its own level,
            that has at least this share of the leaves that were under it. 1 is the lowest common ancestor of them
            all; with 0.9 a group that lost one leaf in twenty to another keeps its place, and the report has the loss.
        keep_new: rows that are coded to the new edition already keep their code where the old one certainly had none
            such: the table lists it as new, or ``source`` is given and does not have it.
        min_level: a common ancestor above this level is no gold code: such rows are left without one, with a reason.

    Raises:
        TaxonomyError: no pair leads to a code of the new tree. ValueError: an option that is not allowed.
    """
    check_choice("split", split, get_args(Split))
    target.check_level(min_level)
    check_range("inner_share", inner_share, 0.5 < inner_share <= 1, "numbers above 0.5, up to 1")
    if not any(t in target.index_of for t in table.target):
        raise TaxonomyError(
            f"{table.name}: none of its new codes is in {target.name!r}; the table has {name_some(table.target, 3)}, "
            f"the tree has {name_some(target.leaf_codes, 3)}. Is the table the other way round (reverse)?"
        )
    plan = _Plan(table, target, known_shares(table, target, weights, target_counts), min_level)
    codes = {code: plan.of_pairs(code) for code in plan.reach}
    if source is not None:
        for node in (*source.leaves.tolist(), *np.flatnonzero(~source.is_leaf).tolist()):
            code = source.codes[node]
            if code not in codes and source.is_leaf[node]:
                codes[code] = CodeRevision(code, "unmapped", {}, "", "not in the correspondence table")
            elif code not in codes:
                codes[code] = plan.of_leaves(source, node, codes, inner_share)
    notes = list(table.notes)
    if unknown := sorted({t for t in table.target if t and t not in target.index_of}):
        notes.append(f"{len(unknown):,} new codes of the table are not in {target.name!r}: {name_some(unknown)}")
    return Revision(
        codes=codes,
        target=target,
        split=split,
        source_titles=table.source_titles,
        target_titles=table.target_titles,
        added=tuple(t for t in table.added if t not in plan.sources_of),
        notes=tuple(notes),
        new_only=frozenset(c for c in target.codes if c not in codes and (c in table.added or source is not None)),
        keep_new=keep_new,
    )


class _Plan:
    """What a table says of its codes, on the new tree."""

    def __init__(
        self, table: Correspondence, target: Taxonomy, shares: Mapping[str, Mapping[str, float]], min_level: int
    ) -> None:
        self.target, self.shares, self.min_level = target, shares, min_level
        #: A successor whose share is zero by the weights is still a successor: it counts for the common ancestor.
        self.reach = {code: [t for t in row if t in target.index_of] for code, row in table.links.items()}
        self.sources_of = Counter(t for targets in self.reach.values() for t in targets)

    def of_pairs(self, code: str) -> CodeRevision:
        """A code of the table."""
        targets, lost = self.reach[code], self.shares[code].get(NOWHERE, 0.0)
        if not targets:
            return CodeRevision(code, "dropped", {}, "", "the table names no code of the new tree for it", lost=1.0)
        if len(targets) == 1 and lost < 1e-12:
            (only,) = targets
            kind: Kind = "merged" if self.sources_of[only] > 1 else "unchanged" if only == code else "renamed"
            return CodeRevision(code, kind, {only: 1.0}, only)
        nodes = self.target.encode(targets)
        level = int(self.target.lca_level(nodes, nodes[:1]).min())
        gold, reason = "", self._too_high(level)
        if lost > 1e-12:  # a successor that is not in the tree: nobody knows which ancestor it would have
            reason = "a part of it went to codes that are not in the new tree"
        elif not reason:
            gold = self.target.codes[int(self.target.node_path[nodes[0], level - 1])]
        shares = {t: self.shares[code][t] for t in targets if t in self.shares[code]}
        return CodeRevision(code, "split", shares, gold, reason, lost=lost)

    def of_leaves(
        self, source: Taxonomy, node: int, codes: Mapping[str, CodeRevision], inner_share: float
    ) -> CodeRevision:
        """An old inner code by what became of the leaves under it, all of which are in ``codes``."""
        target, code, own_level = self.target, source.codes[node], source.level[node]
        leaves = source.leaf_codes[slice(*source.leaf_slice[node])]
        targets = list(dict.fromkeys(t for leaf in leaves for t in self.reach.get(leaf, ())))
        if not targets:
            return CodeRevision(code, "unmapped", {}, "", "no code under it has a successor", inner=True)
        shares: dict[str, float] = {}
        for leaf in leaves:
            for t, share in codes[leaf].targets.items():
                shares[t] = shares.get(t, 0.0) + share / len(leaves)
        # The deepest new node, not below the old one's level, that has at least the asked share of what lay under the
        # old one; with all of it asked for, this is the lowest common ancestor.
        settled = np.zeros(len(target))
        settled[target.encode(shares)] = list(shares.values())
        under = target.with_descendants(settled)
        enough = (under >= inner_share * under[target.parents < 0].sum() - 1e-9) & (target.level <= own_level)
        for t in targets if inner_share >= 1 else ():  # a successor with a share of zero counts for the ancestor, too
            enough &= np.isin(np.arange(len(target)), target.node_path[target.index_of[t]])
        if not enough.any():
            reason = "the successors of the codes under it have no common ancestor"
            return CodeRevision(code, "split", shares, "", reason, lost=max(0.0, 1 - sum(shares.values())), inner=True)
        best = int(np.flatnonzero(enough)[np.lexsort((-under[enough], -target.level[enough]))[0]])
        gold, reason = target.codes[best], self._too_high(int(target.level[best]))
        lost = max(0.0, 1.0 - float(under[best]))
        kind: Kind = "split"
        if not reason and (target.level[best] == own_level or target.is_leaf[best]):
            kind = "unchanged" if gold == code else "renamed"
        return CodeRevision(code, kind, shares, "" if reason else gold, reason, lost=lost, inner=True)

    def _too_high(self, level: int) -> str:
        """Why an ancestor at this level is no gold code; "" where it is one."""
        if level == 0:
            return "its successors have no common ancestor"
        above = f"the common ancestor of its successors is at level {level}, above level {self.min_level}"
        return above if level < self.min_level else ""
