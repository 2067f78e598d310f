"""``hjc crosswalk``: codes and probabilities of one taxonomy to another."""

from dataclasses import asdict
from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    BatchSize,
    Calibrated,
    Levels,
    Links,
    LinkWeights,
    Output,
    Prefix,
    Quiet,
    Reading,
    RestoreZeros,
    TextColumns,
    TitleLanguage,
    TopK,
    Writing,
    taxonomy_of,
)


def crosswalk(
    source: Annotated[
        str | None, typer.Argument(metavar="[INPUT]", help="Coded table (.csv ...), model directory, or - .")
    ] = None,
    texts: Annotated[str | None, typer.Argument(metavar="[TEXTS]", help="With a model: the table to code.")] = None,
    *,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="Correspondence table: CSV, TSV (.gz too), .xls, .xlsx.")
    ] = None,
    to: Annotated[str, typer.Option("--to", metavar="TAX", help="Target: isco08, CSV of codes, model directory.")] = "",
    start: Annotated[str, typer.Option("--from", metavar="TAX", help="Source taxonomy (with a model: its own).")] = "",
    via: Annotated[
        list[str] | None, typer.Option(metavar="TAX", help="Taxonomies between several tables, in their order.")
    ] = None,
    output: Output = "-",
    code_column: Annotated[
        list[str] | None, typer.Option("-c", "--code-column", help="Codes (those of hjc predict); repeatable.")
    ] = None,
    proba_column: Annotated[
        list[str] | None, typer.Option("-p", "--proba-column", help="Their probabilities, in the same order.")
    ] = None,
    from_level: Annotated[int | None, typer.Option(help="Level of the columns of hjc predict (the deepest).")] = None,
    text_column: TextColumns = None,
    level: Levels = None,
    top_k: TopK = 3,
    calibrated: Calibrated = False,
    inner: Annotated[
        str, typer.Option(help="Mass at inner target codes: spread over the leaves under them, or keep it there.")
    ] = "spread",
    unmapped: Annotated[
        str, typer.Option(help="Links to codes not in the target tree: keep as unmapped, or renormalise the others.")
    ] = "keep",
    link_weights: LinkWeights,
    links: Links,
    prefix: Prefix = "to_",
    language: TitleLanguage = None,
    matrix: Annotated[str | None, typer.Option(help="Also write the crosswalk itself: source,target,share.")] = None,
    reading: Reading,
    writing: Writing,
    batch_size: BatchSize = 2048,
    restore_zeros: RestoreZeros = False,
    quiet: Quiet = False,
) -> None:
    """Carry codes and their probabilities to another taxonomy; without INPUT, say what the table covers.

    INPUT is a table that hjc predict has coded (or any with a column of codes), or a model directory and TEXTS. New
    columns: to_level4_code_1, to_level4_title_1, to_level4_proba_1 and so on; to_unmapped, the share that the table
    cannot place; to_unlisted, the probability that the input does not list; to_status.
    """
    from json import dumps
    from pathlib import Path

    from hjc.apply.crosswalk import CrosswalkPlan, CrosswalkSummary, carry_table, coded_columns
    from hjc.apply.spelling import Spelling
    from hjc.apply.step import recipe_of
    from hjc.classifiers.load import load
    from hjc.cli.streams import finish, progress_of, streams
    from hjc.crosswalk.readers import read_chain

    model = source if source and source != "-" and Path(source).is_dir() else None
    if not table or not to:
        raise ValueError("give --table TABLE (more than once with --via) and --to TAXONOMY")
    if not start and model is None:
        raise ValueError("which taxonomy are the codes of? Give --from (isco08, a CSV of codes, a model directory)")
    if model is not None and texts is None:
        raise ValueError(f"{model} is a model; give the table with the texts after it")
    if model is None and texts is not None:
        raise ValueError(f"got two inputs, and {source} is not a model directory")
    walk = read_chain(
        table, [taxonomy_of(name) for name in (start or str(model), *(via or ()), to)], unmapped=unmapped,
        restore_zeros=restore_zeros, **asdict(link_weights), **asdict(links),
    )  # fmt: skip
    if matrix is not None:
        walk.to_csv(matrix)
    if source is None:
        told = walk.statistics()
        typer.echo(dumps(asdict(told), ensure_ascii=False) if writing.json else str(told))
        return
    if not quiet:
        session.note(str(walk.statistics()))
    plan = CrosswalkPlan(
        walk.target, tuple(level or ()), top_k, prefix, language, crosswalk=walk,
        inner=inner, unlisted=model is None,  # type: ignore[arg-type]
    )  # fmt: skip
    recipe = None if model is None else recipe_of(model, text_column)
    classifier = None if model is None else load(model)
    if classifier is not None and classifier.taxonomy != walk.source:
        raise ValueError(f"the model codes to {classifier.taxonomy!r}, --from is {walk.source!r}; leave --from out")
    if classifier is not None and calibrated:
        classifier = classifier.calibrated()
    summary, spelling = CrosswalkSummary(), Spelling(walk.source, restore_zeros)
    rows = source if texts is None else texts
    with streams(rows, output, summary, reading, writing, batch_size=batch_size) as (reader, open_writer):
        writer, pairs = open_writer(plan.columns), []
        if classifier is None:
            pairs = coded_columns(
                reader.columns, reader.label, code=code_column or (), proba=proba_column or (), level=from_level
            )
        with progress_of(reader, quiet) as progress:
            carry_table(
                reader, writer, plan, pairs, classifier=classifier, recipe=recipe, spelling=spelling,
                progress=progress, summary=summary,
            )  # fmt: skip
    finish(
        output, "crosswalk", summary, [] if quiet else [spelling.message(), summary.explain(walk.source)],
        quiet=quiet, input=rows, model=model,
        source=walk.source.name, target=walk.target.name, levels=plan.levels, rows_out=summary.rows,
        not_coded=summary.uncoded, mass={k: round(getattr(summary, k), 9) for k in ("mapped", "unmapped", "unlisted")},
        unknown_codes=dict(summary.unknown.most_common()), repaired_codes=spelling.counts,
    )  # fmt: skip
