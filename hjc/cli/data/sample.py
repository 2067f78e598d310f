"""``hjc data sample`` and ``hjc data split``: the sampling and splitting rules of the paper on files."""

from typing import Annotated

import typer

from hjc.cli import options

_SOURCE = typer.Argument(metavar="INPUT", help="CSV, TSV, Parquet or JSONL file (.gz too), or -.")
_OUTPUT = typer.Option("-o", "--output", metavar="OUT", help="File to write.")
_CODE = typer.Option("-c", "--code-column", help="Column with the code.")
_HALVES = typer.Option(help="Sizes of k and a half: even (to the even neighbour, as R) or up.")


def sample(
    source: Annotated[str, _SOURCE],
    output: Annotated[str, _OUTPUT],
    rule: Annotated[str, typer.Option(help="code-length (code x length of the text) or languages (source x code).")],
    fraction: Annotated[float, typer.Option(help="Share of each stratum; the paper: 0.2; languages 0.1 and 0.15.")],
    code_column: Annotated[str, _CODE] = "code",
    text_column: Annotated[str, typer.Option("-t", "--text-column", help="Text whose length counts.")] = "text",
    source_column: Annotated[str, typer.Option(help="Column with the source (languages).")] = "source",
    language_column: Annotated[str, typer.Option(help="Column with the language (languages).")] = "language",
    by_language: Annotated[bool, typer.Option("--by-language", help="Strata by language, too.")] = False,
    bounds: Annotated[str, typer.Option(help="Upper bounds of the length bins, in characters.")] = "",
    halves: Annotated[str, _HALVES] = "even",
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
) -> None:
    """Draw a stratified sample: max(1, round(fraction x N_h)) rows of each stratum; design_weight is N_h / n_h."""
    with options.one_message():
        from hjc.cli.data.tables import copy_rows, read_columns, twice, write_log
        from hjc.corpus.sampling import (
            CHARACTER_BINS,
            count_characters,
            design_weights,
            length_bins,
            strata_of,
            stratified_sample,
        )
        from hjc.tables import check_output, format_of

        if rule not in ("code-length", "languages"):
            raise ValueError(f"--rule: got {rule!r}, allowed are code-length, languages")
        edges = [int(x) for x in bounds.split(",")] if bounds else list(CHARACTER_BINS)
        kind, target = format_of(source, None, option="INPUT"), format_of(output, None, option="OUT")
        check_output(output, source, overwrite=overwrite)
        with options.all_or_nothing(output), twice(source, kind, target, output) as (reader, unreadable):
            if rule == "code-length":
                codes, texts = read_columns(reader, [code_column, text_column])
                codes, blank = _plain_codes(codes)
                stratum = strata_of(codes, length_bins(count_characters(texts), edges))
                del texts
            else:
                columns = read_columns(reader, [source_column, code_column, language_column])
                columns[1], blank = _plain_codes(columns[1])
                stratum = strata_of(*(columns if by_language else columns[:2]))
            drawn = stratified_sample(stratum, fraction, halves=halves, seed=seed)
            weights = design_weights(stratum, drawn)
            written = copy_rows(reader, output, target, {"design_weight": ("number", weights.tolist())}, drawn.tolist())
        write_log(
            f"{output}.log.json", command="sample", rule=rule, input=source, rows_in=len(drawn), rows_out=written,
            unreadable_lines=unreadable.count,
            not_drawn=len(drawn) - written, rows_without_code=blank,
            strata=int(stratum.max(initial=-1)) + 1, fraction=fraction, halves=halves,
            seed=seed, bounds=edges if rule == "code-length" else None, by_language=by_language,
        )  # fmt: skip
        if blank:
            options.note(f"{blank:,} rows have no code; they are strata of their own")
        options.note(f"{written:,} of {len(drawn):,} rows from {stratum.max(initial=-1) + 1:,} strata -> {output}")


def split(
    source: Annotated[str, _SOURCE],
    output: Annotated[str, _OUTPUT],
    code_column: Annotated[str, _CODE] = "code",
    source_column: Annotated[str, typer.Option(help="Column with the source; none: all rows are of one.")] = "",
    train_only: Annotated[list[str] | None, typer.Option(help="Source that only trains; repeatable.")] = None,
    train_fraction: Annotated[float, typer.Option(help="Training share of each source x code.")] = 0.7,
    valid_fraction: Annotated[
        float, typer.Option(help="Share of the training rows that validate, none of --train-only (0: training carves).")
    ] = 0.0,
    column: Annotated[str, typer.Option(help="Name of the new column.")] = "split",
    halves: Annotated[str, _HALVES] = "even",
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
) -> None:
    """Add a column that says train or test by the paper's rule: 70/30 in source x code, single rows test."""
    with options.one_message():
        import numpy as np

        from hjc.cli.data.tables import copy_rows, read_columns, twice, write_log
        from hjc.corpus.sampling import hold_out, split_by_source_and_code
        from hjc.data.splitting import TRAIN
        from hjc.tables import check_output, format_of

        kind, target = format_of(source, None, option="INPUT"), format_of(output, None, option="OUT")
        check_output(output, source, overwrite=overwrite)
        with options.all_or_nothing(output), twice(source, kind, target, output) as (reader, unreadable):
            columns = read_columns(reader, [code_column, *([source_column] if source_column else [])])
            codes, blank = _plain_codes(columns[0])
            coded = [i for i, code in enumerate(codes) if code]
            side = split_by_source_and_code(
                [codes[i] for i in coded], [columns[1][i] if source_column else "" for i in coded],
                train_fraction=train_fraction, train_only=train_only or (), halves=halves, seed=seed,
            )  # fmt: skip
            names = [""] * len(codes)
            for i, s in zip(coded, side.tolist(), strict=True):
                names[i] = "train" if s == TRAIN else "test"
            kept = set(train_only or ())
            dealt = np.array([not source_column or source not in kept for source in columns[-1]], dtype=bool)
            for i in np.flatnonzero(hold_out(codes, np.array(names) == "train", dealt, valid_fraction, seed)).tolist():
                names[i] = "valid"
            written = copy_rows(reader, output, target, {column: ("text", names)})
        trained = names.count("train")
        write_log(
            f"{output}.log.json", command="split", input=source, rows_in=len(names), rows_out=written, train=trained,
            unreadable_lines=unreadable.count,
            valid=names.count("valid"), test=names.count("test"), rows_without_code=blank,
            train_fraction=train_fraction, train_only=sorted(train_only or ()), halves=halves,
            seed=seed,
        )  # fmt: skip
        if blank:
            options.note(f"{blank:,} rows have no code; their {column!r} is empty, and training leaves them out")
        valid = f", {names.count('valid'):,} validate" if valid_fraction else ""
        options.note(f"{trained:,} rows train{valid} and {names.count('test'):,} test -> {output}")


def _plain_codes(codes: list[str]) -> tuple[list[str], int]:
    """Codes to form strata of, without blanks and the ".0" of numbers, and the number of rows without any."""
    from hjc.taxonomy.spelling import whole_number

    plain = {code: whole_number(code.strip()) for code in set(codes)}
    if spoiled := sum(plain[code] != code.strip() for code in codes):
        options.note(f"{spoiled:,} codes are written as decimal numbers (1120.0) and count as 1120")
    out = [plain[code] for code in codes]
    return out, out.count("")
