"""A correspondence table as an office publishes it: pairs of codes, and the shares that one-to-many links get.

Nothing here knows a tree. :mod:`hjc.crosswalk.mapping` turns a table into a matrix between two trees,
:mod:`hjc.crosswalk.revision` into new codes for a training set; both take their shares from :func:`link_shares`.
"""

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from hjc.errors import TaxonomyError, check_choice, name_some
from hjc.taxonomy.spelling import Asking, one_of_each_kind, repair_codes

#: how the links of one source code share its mass; see :func:`link_shares`
Weights = Literal["uniform", "proportional", "given", "shares"]
#: stands for "no target code" among the targets of a source code
NOWHERE = ""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Correspondence:
    """Pairs ``source[i] -> target[i]`` between two code lists, in the order of the table.

    Attributes:
        source: source codes; never "".
        target: target codes; "" where the table names a source code and no target for it.
        weight: a non-negative weight for each pair, or None where the table has none.
        added: target codes that the table lists without a source code (new in the target).
        source_titles, target_titles: code -> title, as far as the table has them.
        name: what the table is called in messages.
        notes: what the reader did that the user should know (rows left out, say), a sentence each.

    Raises:
        TaxonomyError: columns of different lengths, an empty source code, a negative or non-finite weight.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weight: tuple[float, ...] | None = None
    added: tuple[str, ...] = ()
    source_titles: Mapping[str, str] = field(default_factory=dict)
    target_titles: Mapping[str, str] = field(default_factory=dict)
    name: str = "crosswalk"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target):
            raise TaxonomyError(f"{self.name}: {len(self.source)} source codes for {len(self.target)} target codes")
        if "" in self.source:
            raise TaxonomyError(f"{self.name}: pair {self.source.index('') + 1} has no source code")
        if self.weight is not None:
            if len(self.weight) != len(self.source):
                raise TaxonomyError(f"{self.name}: {len(self.weight)} weights for {len(self.source)} pairs")
            wrong = [
                f"{s} -> {t}: {w}"
                for s, t, w in zip(self.source, self.target, self.weight, strict=True)
                if not (np.isfinite(w) and w >= 0)
            ]
            if wrong:
                raise TaxonomyError(f"{self.name}: weights must be finite and not negative, got {name_some(wrong)}")

    @classmethod
    def from_pairs(
        cls, pairs: Sequence[tuple[str, str]], weight: Sequence[float] | None = None, *, name: str = "crosswalk"
    ) -> "Correspondence":
        """A table from ``(source code, target code)`` pairs."""
        return cls(
            source=tuple(s for s, _ in pairs),
            target=tuple(t for _, t in pairs),
            weight=None if weight is None else tuple(float(w) for w in weight),
            name=name,
        )

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def links(self) -> Mapping[str, Mapping[str, float]]:
        """source code -> {target code: weight}, each pair once; weights of repeated pairs add up (without: 1)."""
        out: dict[str, dict[str, float]] = {}
        weights = self.weight or (1.0,) * len(self)
        for s, t, w in zip(self.source, self.target, weights, strict=True):
            row = out.setdefault(s, {})
            row[t] = w if t not in row or self.weight is None else row[t] + w
        if self.weight is None:
            for row in out.values():
                if len(row) > 1:  # an empty cell beside real targets says nothing
                    row.pop(NOWHERE, None)
        return out

    @property
    def repeated(self) -> int:
        """Pairs that stand more than once (counted beyond the first)."""
        return len(self) - len(set(zip(self.source, self.target, strict=True)))

    def reverse(self) -> "Correspondence":
        """The table read from target to source. Weights stay with their pairs and are shared out anew.

        Source codes without a target become codes that only the other side has, and the other way round.
        """
        kept = [i for i, t in enumerate(self.target) if t]
        return Correspondence(
            source=(*(self.target[i] for i in kept), *self.added),
            target=(*(self.source[i] for i in kept), *(NOWHERE for _ in self.added)),
            weight=None if self.weight is None else (*(self.weight[i] for i in kept), *(0.0 for _ in self.added)),
            added=tuple(dict.fromkeys(s for s, t in zip(self.source, self.target, strict=True) if not t)),
            source_titles=self.target_titles,
            target_titles=self.source_titles,
            name=f"{self.name} reversed",
            notes=self.notes,
        )

    def relabel(
        self, *, source: Mapping[str, str] | None = None, target: Mapping[str, str] | None = None
    ) -> "Correspondence":
        """The same table with other names for its codes (ESCO URIs -> ESCO codes, say).

        A name that the mapping does not have stays as it is, so that it is later listed as not in the tree.
        """
        old, new = source or {}, target or {}
        return replace(
            self,
            source=tuple(old.get(c, c) for c in self.source),
            target=tuple(new.get(c, c) for c in self.target),
            added=tuple(new.get(c, c) for c in self.added),
            source_titles={old.get(c, c): title for c, title in self.source_titles.items()},
            target_titles={new.get(c, c): title for c, title in self.target_titles.items()},
        )


def mend_table(
    table: Correspondence,
    source: Collection[str] | None,
    target: Collection[str],
    *,
    restore_zeros: bool = False,
    asking: Asking = "python",
) -> Correspondence:
    """The table with its codes as the trees spell them; notes say what was mended and what may be wrong.

    ``source`` may be unknown (None). Lost leading zeros are put back where ``restore_zeros`` asks for it; ``asking``:
    see :func:`hjc.taxonomy.spelling.repair_codes`.
    """
    names: dict[str, dict[str, str]] = {}
    notes = list(table.notes)
    for side, known, codes in (("source", source, table.source), ("target", target, (*table.target, *table.added))):
        if known is not None:
            given = list(dict.fromkeys(filter(None, codes)))
            mended, report = repair_codes(known, given, restore_zeros, asking=asking)
            names[side] = {old: new for old, new in zip(given, mended, strict=True) if old != new}
            if report.changed:
                changed = name_some(f"{old} -> {new}" for old, new in report.changed.items())
                notes.append(f"{len(report.changed):,} {side} codes of the table were repaired: {changed}")
            notes += [f"{side} codes of the table: {hint}" for hint in one_of_each_kind(report.reasons)]
    return replace(table.relabel(**names), notes=tuple(notes))


def link_shares(
    table: Correspondence,
    weights: Weights = "uniform",
    *,
    count_of: Callable[[str], float] | None = None,
    known: Container[str] | None = None,
) -> dict[str, dict[str, float]]:
    """source code -> {target code: share}; the shares of a source code sum to one, what goes nowhere is under "".

    * ``uniform``: k links get 1/k each.
    * ``proportional``: in proportion to ``count_of(target)``; uniform where all counts of a source code are zero.
    * ``given``: in proportion to the weights of the table; a source code whose weights are all zero goes nowhere.
    * ``shares``: the weights of the table are the shares; what is missing to one goes nowhere.

    A link to a code that is not in ``known`` keeps the share it has by ``uniform``, ``given`` or ``shares``, and that
    share goes nowhere instead of to its neighbours; with ``proportional``, where nobody counted an unknown code, it
    has its uniform share and the known ones divide the rest.

    Raises:
        ValueError: an unknown way to weigh; ``given`` or ``shares`` without weights in the table; ``proportional``
            without counts, or with a negative one; ``shares`` that sum to more than one.
    """
    check_choice("weights", weights, get_args(Weights))
    if weights in ("given", "shares") and table.weight is None:
        raise ValueError(
            f"weights={weights!r}: {table.name} has no weights; name its weight column, or use 'uniform' or "
            "'proportional' with counts"
        )
    if weights == "proportional" and count_of is None:
        raise ValueError("weights='proportional' needs counts of the target codes (counts, or --counts FILE)")
    out: dict[str, dict[str, float]] = {}
    for code, row in table.links.items():
        targets = list(row)
        if weights == "uniform":
            shares = np.full(len(targets), 1 / len(targets))
        elif weights == "proportional":
            shares = _proportional(targets, count_of, known)  # type: ignore[arg-type]
        else:
            shares = np.array(list(row.values()), dtype=np.float64)
            total = shares.sum()
            if weights == "given":
                shares = shares / total if total > 0 else shares
            elif total > 1 + _TOLERANCE:
                raise ValueError(
                    f"{table.name}: the shares of {code!r} sum to {total:.6g}, allowed is at most 1; "
                    "use weights='given' to have weights divided by their sum"
                )
            elif total > 1 - 1e-9:
                shares = shares / total
        placed: dict[str, float] = {}
        for target, share in zip(targets, shares.tolist(), strict=True):
            place = target if known is None or target in known else NOWHERE
            placed[place] = placed.get(place, 0.0) + share
        mapped = sum(share for target, share in placed.items() if target != NOWHERE)
        placed.pop(NOWHERE, None)
        if (rest := 1.0 - mapped) > 1e-12:
            placed[NOWHERE] = rest
        out[code] = {target: share for target, share in placed.items() if share > 0}
    return out


def _proportional(
    targets: Sequence[str], count_of: Callable[[str], float], known: Container[str] | None
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Shares of links by counts; links to unknown codes keep 1/k."""
    is_known = np.array([t != NOWHERE and (known is None or t in known) for t in targets])
    counts = np.array([float(count_of(t)) if k else 0.0 for t, k in zip(targets, is_known, strict=True)])
    if (counts < 0).any() or not np.isfinite(counts).all():
        wrong = [f"{t}: {c}" for t, c in zip(targets, counts, strict=True) if not (np.isfinite(c) and c >= 0)]
        raise ValueError(f"counts must be finite and not negative, got {name_some(wrong)}")
    shares = np.full(len(targets), 1 / len(targets))
    if counts.sum() > 0:
        shares[is_known] = is_known.mean() * counts[is_known] / counts.sum()
    return shares
