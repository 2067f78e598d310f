"""The sampling and splitting rules of the paper on files of any size; ``hjc data sample`` and ``hjc data split``."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from hjc.corpus.copying import Done, passes
from hjc.corpus.sampling import (
    CHARACTER_BINS,
    count_characters,
    design_weights,
    hold_out,
    length_bins,
    split_by_source_and_code,
    strata_of,
    stratified_sample,
)
from hjc.data.splitting import TRAIN
from hjc.errors import check_choice
from hjc.taxonomy.spelling import whole_number

RULES = ("code-length", "languages")


def sample_file(
    source: str,
    output: str,
    rule: str,
    fraction: float,
    *,
    code_column: str = "code",
    text_column: str = "text",
    source_column: str = "source",
    language_column: str = "language",
    by_language: bool = False,
    bounds: Sequence[int] = CHARACTER_BINS,
    halves: str = "even",
    seed: int = 1,
    **reading: Any,
) -> Done:
    """Write a stratified sample with ``design_weight``: max(1, round(fraction x N_h)) rows of each stratum.

    Args:
        rule: code-length (strata are code x length of the text) or languages (source x code).
        by_language: strata by language, too. bounds: upper bounds of the length bins, in characters.
        reading: of :func:`hjc.corpus.copying.passes`.

    Raises:
        ValueError: unknown rule, an absent column, and as ``passes``.
    """
    check_choice("--rule", rule, RULES)
    with passes(source, output, **reading) as both:
        if rule == "code-length":
            codes, texts = both.columns([code_column, text_column])
            codes, blank, notes = _plain_codes(codes)
            stratum = strata_of(codes, length_bins(count_characters(texts), bounds))
            del texts
        else:
            columns = both.columns([source_column, code_column, language_column])
            columns[1], blank, notes = _plain_codes(columns[1])
            stratum = strata_of(*(columns if by_language else columns[:2]))
        drawn = stratified_sample(stratum, fraction, halves=halves, seed=seed)
        weights = design_weights(stratum, drawn)
        written = both.copy({"design_weight": ("number", weights.tolist())}, drawn.tolist())
    strata = int(stratum.max(initial=-1)) + 1
    if blank:
        notes.append(f"{blank:,} rows have no code; they are strata of their own")
    notes += [both.unreadable.message(), f"{written:,} of {len(drawn):,} rows from {strata:,} strata -> {output}"]
    facts = {
        "command": "sample", "rule": rule, "input": source, "rows_in": len(drawn), "rows_out": written,
        "unreadable_lines": both.unreadable.count, "not_drawn": len(drawn) - written, "rows_without_code": blank,
        "strata": strata, "fraction": fraction, "halves": halves, "seed": seed,
        "bounds": list(bounds) if rule == "code-length" else None, "by_language": by_language,
    }  # fmt: skip
    return Done(facts, notes)


def split_file(
    source: str,
    output: str,
    *,
    code_column: str = "code",
    source_column: str = "",
    train_only: Collection[str] = (),
    train_fraction: float = 0.7,
    valid_fraction: float = 0.0,
    column: str = "split",
    halves: str = "even",
    seed: int = 1,
    **reading: Any,
) -> Done:
    """Write the table with a column that says train, valid or test by the paper's rule; "" for rows without a code.

    Args:
        source_column: "": all rows are of one source. train_only: sources that only train.
        valid_fraction: share of the training rows that validate, none of ``train_only``.
        reading: of :func:`hjc.corpus.copying.passes`.

    Raises:
        ValueError: an absent column, and as ``passes``.
    """
    with passes(source, output, **reading) as both:
        columns = both.columns([code_column, *([source_column] if source_column else [])])
        codes, blank, notes = _plain_codes(columns[0])
        coded = [i for i, code in enumerate(codes) if code]
        side = split_by_source_and_code(
            [codes[i] for i in coded], [columns[1][i] if source_column else "" for i in coded],
            train_fraction=train_fraction, train_only=train_only, halves=halves, seed=seed,
        )  # fmt: skip
        names = [""] * len(codes)
        for i, s in zip(coded, side.tolist(), strict=True):
            names[i] = "train" if s == TRAIN else "test"
        kept = set(train_only)
        dealt = np.array([not source_column or source not in kept for source in columns[-1]], dtype=bool)
        for i in np.flatnonzero(hold_out(codes, np.array(names) == "train", dealt, valid_fraction, seed)).tolist():
            names[i] = "valid"
        written = both.copy({column: ("text", names)})
    count = {side: names.count(side) for side in ("train", "valid", "test")}
    if blank:
        notes.append(f"{blank:,} rows have no code; their {column!r} is empty, and training leaves them out")
    valid = f", {count['valid']:,} validate" if valid_fraction else ""
    notes += [both.unreadable.message(), f"{count['train']:,} rows train{valid} and {count['test']:,} test -> {output}"]
    facts = {
        "command": "split", "input": source, "rows_in": len(names), "rows_out": written,
        "unreadable_lines": both.unreadable.count, **count, "rows_without_code": blank,
        "train_fraction": train_fraction, "train_only": sorted(kept), "halves": halves, "seed": seed,
    }  # fmt: skip
    return Done(facts, notes)


def _plain_codes(codes: list[str]) -> tuple[list[str], int, list[str]]:
    """Codes to form strata of, without blanks and the ".0" of numbers, the rows without any, and what to say."""
    plain = {code: whole_number(code.strip()) for code in set(codes)}
    spoiled = sum(plain[code] != code.strip() for code in codes)
    notes = [f"{spoiled:,} codes are written as decimal numbers (1120.0) and count as 1120"] if spoiled else []
    out = [plain[code] for code in codes]
    return out, out.count(""), notes
