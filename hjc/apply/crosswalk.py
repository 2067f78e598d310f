"""Tables carried to another taxonomy a few thousand rows at a time: coded rows and fresh predictions."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from hjc.apply.loop import Columns, Part, Progress, Summary, numbers_of, write_parts
from hjc.apply.predict import CodeColumns
from hjc.apply.spelling import Spelling
from hjc.arrays import BoolArray, Float64, ObjectArray
from hjc.classifiers.base import Classifier
from hjc.crosswalk.mapping import Crosswalk, Inner
from hjc.data.recipe import OK, TextRecipe
from hjc.tables import Reader, Writer
from hjc.taxonomy import explain_unknown
from hjc.taxonomy.tree import Taxonomy

NO_CODE = "no code"
UNKNOWN = "unknown code "
#: rounding that the probabilities of a row may have above one: k numbers with six digits
_ABOVE_ONE = 1e-3


@dataclass(frozen=True)
class CrosswalkPlan(CodeColumns):
    """What is written for each row: the first ``top_k`` target codes of each level, and what could not be placed.

    Columns with the prefix ``soc_``: those of :class:`CodeColumns`; with ``inner="keep"`` ``soc_level4_above``, the
    probability that stayed at codes above level 4; ``soc_unmapped``, the share whose codes lead nowhere; of coded
    tables ``soc_unlisted``, one minus the probabilities that the input gives (all codes below its top k);
    ``soc_status``. For each level, all codes of the level + above + unmapped + unlisted = 1.

    Args:
        taxonomy: the target tree; that of ``crosswalk``.
    """

    prefix: str = "to_"
    crosswalk: Crosswalk = None  # type: ignore[assignment]  # a field after those with a default
    inner: Inner = "spread"
    unlisted: bool = True

    @cached_property
    def matrices(self) -> dict[int, sparse.csr_array]:
        """level -> (Ns, K + 2) matrix; see :meth:`Crosswalk.level_matrix`."""
        return {level: self.crosswalk.level_matrix(level, inner=self.inner) for level in self.levels}

    @property
    def columns(self) -> dict[str, str]:
        """New column -> ``text`` or ``number``, in order."""
        out: dict[str, str] = {}
        for level in self.levels:
            out |= self.of_level(level)
            if self.inner == "keep":
                out[f"{self.prefix}level{level}_above"] = "number"
        out[f"{self.prefix}unmapped"] = "number"
        if self.unlisted:
            out[f"{self.prefix}unlisted"] = "number"
        return {**out, f"{self.prefix}status": "text"}


@dataclass
class CrosswalkSummary(Summary):
    """Also: mass over all rows with any, and the codes that the source tree does not have."""

    mapped: float = 0.0
    unmapped: float = 0.0
    unlisted: float = 0.0
    unknown: Counter[str] = field(default_factory=Counter)

    def message(self) -> str:
        total = self.mapped + self.unmapped + self.unlisted
        if total == 0:
            return super().message()
        shares = f"mapped {self.mapped / total:.4f}, unmapped {self.unmapped / total:.4f}"
        if self.unlisted:
            shares += f", not in the input {self.unlisted / total:.4f}"
        return f"{super().message()}; mean shares: {shares}"

    def explain(self, source: Taxonomy) -> str:
        """What seems to have happened to the codes that the tree does not have."""
        return explain_unknown(source, self.unknown, source.name, asking="command") if self.unknown else ""


@dataclass(frozen=True)
class SourceMass:
    """Mass of B rows on source nodes (B, Ns), mass of unknown codes (B,), mass that the row does not list (B,)."""

    nodes: Any
    unknown: Float64
    unlisted: Float64
    status: list[str]


def coded_columns(
    columns: Sequence[str], label: str, *, code: Sequence[str] = (), proba: Sequence[str] = (), level: int | None = None
) -> list[tuple[str, str]]:
    """``(code column, probability column or "")`` of an input: as named, else what ``hjc predict`` wrote.

    Without ``level`` the deepest level that ``hjc predict`` wrote is taken.

    Raises:
        ValueError: no such columns, or several code columns without as many probability columns.
    """
    if code:
        if (proba and len(proba) != len(code)) or (len(code) > 1 and not proba):
            raise ValueError(
                f"{len(code)} code columns need {len(code)} probability columns in the same order, got {len(proba)} "
                "(one --proba-column for each --code-column; a single code column may do without)"
            )
        return list(zip(code, proba or [""] * len(code), strict=True))
    found: dict[tuple[str, int], dict[int, str]] = {}
    for name in columns:
        if match := re.fullmatch(r"(.*)level(\d+)_code_(\d+)", name.strip()):
            found.setdefault((match[1], int(match[2])), {})[int(match[3])] = name.strip()
    prefixes = {key[0] for key in found}
    if "hjc_" in prefixes:
        prefixes = {"hjc_"}
    levels = sorted(key[1] for key in found if key[0] in prefixes)
    if not found or len(prefixes) != 1 or (level is not None and level not in levels):
        asked = "" if level is None else f" of level {level}"
        what = f"it has level {', '.join(map(str, levels))}" if levels else "it has none"
        if len(prefixes) > 1:
            what = f"it has those of {', '.join(sorted(prefixes))}"
        raise ValueError(
            f"{label}: no columns{asked} as hjc predict writes them (hjc_level4_code_1), {what}; "
            "give --code-column NAME, and --proba-column NAME where there are probabilities"
        )
    chosen = found[prefixes.pop(), levels[-1] if level is None else level]
    pairs = [(chosen[rank], chosen[rank].replace("_code_", "_proba_")) for rank in sorted(chosen)]
    stripped = {c.strip() for c in columns}
    if len(pairs) > 1 and (absent := [p for _, p in pairs if p not in stripped]):
        raise ValueError(
            f"{label}: {len(pairs)} code columns and no {absent[0]!r}; without probabilities only one code can be "
            f"carried over: --code-column {pairs[0][0]}"
        )
    return [(c, p if p in stripped else "") for c, p in pairs]


def mass_of_codes(
    taxonomy: Taxonomy, codes: Sequence[Sequence[str | None]], proba: Sequence[Sequence[str | None]] | None
) -> SourceMass:
    """Mass on source nodes from K columns of codes and K columns of probabilities (None: a code has all of it).

    Codes may be of any level. A row whose probabilities are no numbers from 0 to 1, or sum to more than one, gets no
    mass and a status that says so; the mass of an unknown code is kept apart.
    """
    code = np.array([[(c or "").strip() for c in column] for column in codes], dtype=object)  # (K, B)
    node = np.array([[taxonomy.index_of.get(c, -1) for c in column] for column in code.tolist()], dtype=np.int64)
    given = np.asarray(code != "", dtype=bool)
    p = np.where(given, 1.0 if proba is None else np.stack([numbers_of(column) for column in proba]), 0.0)
    wrong: BoolArray = ~np.asarray(((p >= 0) & (p <= 1)).all(axis=0))  # also where one is NaN
    above = p.sum(axis=0) > 1 + _ABOVE_ONE
    use = given & ~wrong & ~above
    known, unknown = use & (node >= 0), use & (node < 0)
    status: ObjectArray = np.full(len(wrong), OK, dtype=object)
    for where, why in (
        (above, "the probabilities sum to more than one"),
        (wrong, "a probability is missing or not from 0 to 1"),
        (~given.any(axis=0), NO_CODE),
    ):
        status[where] = why
    for k, i in np.argwhere(unknown).tolist():
        status[i] = f"{UNKNOWN}{code[k, i]!r}"
    mass = sparse.csr_array((p[known], (np.nonzero(known)[1], node[known])), shape=(len(status), len(taxonomy)))
    unlisted = np.where(use.any(axis=0), np.maximum(0.0, 1 - p.sum(axis=0)), 0.0)
    return SourceMass(mass, np.where(unknown, p, 0.0).sum(axis=0), unlisted, status.tolist())


def mass_of_texts(classifier: Classifier, part: Part) -> SourceMass:
    """Mass on source leaves, as a classifier predicts it for the texts; rows without one have none."""
    tree = classifier.taxonomy
    mass = np.zeros((len(part), len(tree)))
    for at, log_proba, _ in part.batches(classifier):
        x = np.asarray(log_proba, dtype=np.float64)
        x -= np.logaddexp.reduce(x, axis=1)[:, None]  # float32 rows sum to one only to seven digits
        mass[np.ix_(at, tree.leaves)] = np.exp(x)
    nothing = np.zeros(len(part))
    return SourceMass(mass, nothing, nothing, list(part.status))


def carry(mass: SourceMass, plan: CrosswalkPlan, summary: CrosswalkSummary) -> dict[str, list[Any]]:
    """The new columns of a chunk: column -> values. See :class:`CrosswalkPlan`."""
    given = np.array([s == OK or s.startswith(UNKNOWN) for s in mass.status], dtype=bool)
    unmapped, mapped, size = mass.unknown, np.zeros(len(given)), len(given)
    out: dict[str, list[Any]] = {}

    def numbers(values: Float64) -> list[Any]:
        return [float(v) if g else None for v, g in zip(values, given, strict=True)]

    for d in plan.levels:
        found = mass.nodes @ plan.matrices[d]
        at = np.asarray(found.todense() if sparse.issparse(found) else found)
        above, unmapped = at[:, -2], at[:, -1] + mass.unknown
        mapped = at[:, :-1].sum(axis=1)
        with np.errstate(divide="ignore"):
            nodes, proba = plan.top(d, np.log(at[:, :-2]))
        out |= plan.cells(d, size, np.arange(size), nodes, proba, proba > 0)
        if plan.inner == "keep":
            out[f"{plan.prefix}level{d}_above"] = numbers(above)
    out[f"{plan.prefix}unmapped"] = numbers(unmapped)
    if plan.unlisted:
        out[f"{plan.prefix}unlisted"] = numbers(mass.unlisted)
    summary.mapped += float(mapped.sum())
    summary.unmapped += float(unmapped.sum())
    summary.unlisted += float(mass.unlisted.sum())
    return {**out, f"{plan.prefix}status": list(mass.status)}


def carry_table(
    reader: Reader,
    writer: Writer,
    plan: CrosswalkPlan,
    pairs: Sequence[tuple[str, str]] = (),
    *,
    spelling: Spelling,
    summary: CrosswalkSummary,
    classifier: Classifier | None = None,
    recipe: TextRecipe | None = None,
    progress: Progress | None = None,
) -> None:
    """Carry every row of ``reader`` over and write it, never holding more than one chunk.

    Args:
        pairs: code and probability columns of a coded table (:func:`coded_columns`).
        classifier, recipe: predicts from the columns of the recipe instead.
        spelling: repairs codes that a spreadsheet has spoiled, and counts them.
    """

    def new(part: Part) -> dict[str, list[Any]]:
        if classifier is not None:
            mass = mass_of_texts(classifier, part)
        else:
            codes = [spelling.mend(part.cells[code]) for code, _ in pairs]
            proba = [part.cells[p] for _, p in pairs] if all(p for _, p in pairs) else None
            mass = mass_of_codes(plan.crosswalk.source, codes, proba)
        for i, status in enumerate(mass.status):
            if status.startswith(UNKNOWN):
                summary.unknown[status.removeprefix(UNKNOWN).strip("'\"")] += 1
                status = UNKNOWN.strip()
            part.status[i] = status
        return carry(mass, plan, summary)

    columns = Columns(recipe, more=[name for pair in pairs for name in pair if name])

    def check() -> None:
        if classifier is None:
            spelling.check(reader.label, plan.crosswalk.source.name, "--from")

    write_parts(reader, writer, columns, new, summary, progress, check)
