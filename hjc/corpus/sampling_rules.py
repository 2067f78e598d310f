"""``hjc data sample --rule pps`` and ``--rule phrases`` on files; the stratified rules are in sampling_files."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hjc.arrays import Float64
from hjc.corpus.copying import Done, Passes, passes
from hjc.corpus.sampling import count_characters, count_words, length_bins, strata_of
from hjc.corpus.sampling_pps import WORD_BINS, Drawn, keyword_groups, sample_by_phrases, stratified_pps
from hjc.data.side import numeric
from hjc.tables import read_rows
from hjc.taxonomy.spelling import whole_number

#: what ``--measure`` and ``--strata`` make of the text itself; any other name is a column
MEASURES = {"characters": count_characters, "words": count_words}
DERIVED = ("words", "keywords", "code")


def read_pairs(path: str, first: str, second: str, option: str) -> list[tuple[str, str]]:
    """The two columns of a small table, blanks around cut off.

    Raises:
        ValueError: a column is absent, a cell is empty, or there is no row.
    """
    table = read_rows(path)
    table.rejects.refuse(table.name)
    columns = (table.column(name).str.strip().tolist() for name in (first, second))
    pairs = list(zip(*columns, strict=True))
    for line, (a, b) in zip(table.line, pairs, strict=True):
        if not a or not b:
            raise ValueError(f"{option}: line {line} of {path} has an empty {first if not a else second}")
    if not pairs:
        raise ValueError(f"{option}: {path} has no rows")
    return pairs


def sample_pps(
    source: str,
    output: str,
    size: int,
    *,
    measure: str = "characters",
    strata: Sequence[str] = (),
    keywords: str | None = None,
    bounds: Sequence[int] = (),
    allocation: str = "measure",
    text_column: str = "text",
    code_column: str = "code",
    seed: int = 1,
    **reading: Any,
) -> Done:
    """Write a systematic sample with probability proportional to a measure, within strata.

    New columns: ``stratum``, ``inclusion_probability``, ``design_weight`` (its inverse).

    Args:
        measure: characters or words of the text, or a column of numbers.
        strata: words (groups of :data:`~hjc.corpus.sampling_pps.WORD_BINS`, or of ``bounds``), keywords (of the file
            ``keywords``, columns group and pattern), code, or columns; crossed.
        reading: of :func:`hjc.corpus.copying.passes`.

    Raises:
        ValueError: an absent column, a measure that is no number, a size that the strata do not allow.
    """
    if "keywords" in strata and keywords is None:
        raise ValueError("--strata keywords: give the groups as a table: --keywords FILE with columns group,pattern")
    if keywords is not None and "keywords" not in strata:
        raise ValueError("--keywords has a meaning with --strata keywords only; give that as well")
    groups = [] if keywords is None else read_pairs(keywords, "group", "pattern", "--keywords")
    edges = list(bounds) or list(WORD_BINS)
    with passes(source, output, **reading) as both:
        own = measure not in MEASURES
        needed = {name for name in strata if name not in DERIVED} | ({measure} if own else set())
        needed |= {code_column} if "code" in strata else set()
        needed |= {text_column} if not own or {"words", "keywords"} & set(strata) else set()
        names = sorted(needed)
        column = dict(zip(names, both.columns(names), strict=True)) if names else {}
        texts = column.get(text_column, [])
        sizes = _numbers(column[measure], measure) if own else MEASURES[measure](texts).astype(float)
        made: list[list[str]] = []
        for name in strata:
            if name == "words":
                ranges = [f"{low}+" if high is None else f"{low}-{high}" for low, high in _ranges(edges)]
                made.append([ranges[i] for i in length_bins(count_words(texts), edges).tolist()])
            elif name == "keywords":
                made.append(keyword_groups(texts, groups))
            else:
                made.append([whole_number(v.strip()) for v in column[code_column if name == "code" else name]])
        n = len(sizes)
        stratum = strata_of(*made) if made else np.zeros(n, dtype=np.int64)
        drawn = stratified_pps(sizes, stratum, size, allocation=allocation, seed=seed)
        label = [" | ".join(values) for values in zip(*made, strict=True)] if made else [""] * n
        written = _copy(both, drawn, "stratum", label)
    empty, count = int((sizes == 0).sum()), int(stratum.max(initial=-1)) + 1
    notes = [f"{empty:,} rows have a {measure} of 0 and cannot be drawn"] * bool(empty)
    certain = int((drawn.probability >= 1).sum())
    notes += [f"{certain:,} rows are taken with certainty"] * bool(certain)
    notes += [both.unreadable.message(), f"{written:,} of {n:,} rows from {count:,} strata -> {output}"]
    facts = {
        "command": "sample", "rule": "pps", "input": source, "rows_in": n, "rows_out": written, "size": size,
        "unreadable_lines": both.unreadable.count, "measure": measure, "strata_by": list(strata), "strata": count,
        "allocation": allocation, "without_size": empty, "certain": certain, "seed": seed,
        "bounds": edges if "words" in strata else None, "keywords": groups or None,
    }  # fmt: skip
    return Done(facts, notes)


def _ranges(edges: Sequence[int]) -> list[tuple[int, int | None]]:
    return list(zip([0, *(b + 1 for b in edges)], [*edges, None], strict=True))


def _numbers(values: Sequence[str], name: str) -> Float64:
    """(n,) the cells of a measure."""
    out = np.array([numeric(value) for value in values])
    if len(bad := np.flatnonzero(~(out >= 0))):
        more = f" and {len(bad) - 1:,} more rows have none either" if len(bad) > 1 else ""
        raise ValueError(
            f"--measure {name}: row {bad[0] + 1} has {values[bad[0]]!r}{more}, expected a number from 0; a row of 0 "
            "cannot be drawn"
        )
    return out


def sample_phrases(
    source: str,
    output: str,
    phrases: str,
    *,
    text_columns: Sequence[str] = ("text",),
    unique: bool = True,
    seed: int = 1,
    **reading: Any,
) -> Done:
    """Write a sample by search phrases (Table 16 of the paper): of the texts that hold each a simple random sample.

    New columns: ``phrase`` (those that drew the row, `` | `` between), ``inclusion_probability``, ``design_weight``.

    Args:
        phrases: a table with the columns phrase (a regular expression) and n. text_columns: searched together.
        unique: of rows with equal text the first counts.
    """
    wanted: list[tuple[str, int]] = []
    for phrase, n in read_pairs(phrases, "phrase", "n", "--phrases"):
        if not whole_number(n).isdigit():
            raise ValueError(f"--phrases: {phrase!r} has n {n!r}, expected a whole number from 1")
        wanted.append((phrase, int(whole_number(n))))
    with passes(source, output, **reading) as both:
        texts = ["\n".join(parts) for parts in zip(*both.columns(list(text_columns)), strict=True)]
        found = sample_by_phrases(texts, wanted, unique=unique, seed=seed)
        written = _copy(both, found.drawn, "phrase", [" | ".join(wanted[i][0] for i in by) for by in found.phrase])
    table = [
        {"phrase": phrase, "wanted": n, "drawn": taken, "population": population}
        for (phrase, n), taken, population in zip(wanted, found.taken.tolist(), found.found.tolist(), strict=True)
    ]
    short = [line["phrase"] for line in table if line["population"] < line["wanted"]]
    notes = [f"{line['phrase']}: {line['drawn']:,} of {line['population']:,}" for line in table]
    notes += [f"{len(short)} phrases occur in fewer texts than were asked for: all of these are taken"] * bool(short)
    notes += [both.unreadable.message(), f"{written:,} of {len(texts):,} rows -> {output}"]
    facts = {
        "command": "sample", "rule": "phrases", "input": source, "rows_in": len(texts), "rows_out": written,
        "unreadable_lines": both.unreadable.count, "unique": unique, "seed": seed, "phrases": table,
    }  # fmt: skip
    return Done(facts, notes)


def _copy(both: Passes, drawn: Drawn, name: str, why: list[str]) -> int:
    """Write the rows drawn: with what drew each in a column of this name, and the probabilities."""
    new: dict[str, tuple[str, Sequence[Any]]] = {
        name: ("text", why),
        "inclusion_probability": ("number", drawn.probability.tolist()),
        "design_weight": ("number", drawn.weights.tolist()),
    }
    return both.copy(new, drawn.rows.tolist())
