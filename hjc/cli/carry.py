"""``hjc crosswalk`` and ``hjc taxonomy revise``: codes of one taxonomy, or of an old edition, to another."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hjc.cli import options

if TYPE_CHECKING:
    from hjc.crosswalk.correspondence import Correspondence
    from hjc.taxonomy import Taxonomy

_TABLE = typer.Option("--table", help="Correspondence table: CSV, TSV (.gz too), .xls, .xlsx.")
_SOURCE_COLUMN = typer.Option(help="Its column of source codes, or #1; known tables are recognised by their header.")
_TARGET_COLUMN = typer.Option(help="Its column of target codes, or #2.")
_WEIGHT_COLUMN = typer.Option(help="Its column of weights.")
_RELATION_COLUMN = typer.Option(help="Its column of relations.")
_RELATION = typer.Option("--relation", help="Keep only pairs of this relation, e.g. exactMatch; repeatable.")
_REVERSE = typer.Option("--reverse", help="Read the table from its target to its source.")
_WEIGHTS = typer.Option(
    "--weights", help="Of one-to-many links: uniform, proportional (to --counts), given, shares (given, sum up to 1)."
)
_COUNTS = typer.Option(help="CSV with code,count of target codes: for --weights proportional and inner target codes.")
_IDS = typer.Option(help="CSV with uri,esco_code (an ESCO occupations file): the table names ESCO codes by their URI.")
_OUTPUT = typer.Option("-o", "--output", metavar="OUT", help="File to write, or - .")
_FORMAT = typer.Option(help="Output: csv, tsv, parquet, jsonl (by the name of OUT).")
_INPUT_FORMAT = typer.Option(help="The same for INPUT (by its name; csv for -).")
_SEPARATOR = typer.Option(help="Separator of a CSV input, or tab (found out).")
_ENCODING = typer.Option(help="Encoding of a text input, e.g. cp1250 (utf-8).")
_BATCH = typer.Option(min=1, help="Rows in memory at a time.")
_ZEROS = typer.Option("--restore-zeros", help="Put lost leading zeros back where one code is meant (110 is 0110).")
_OVERWRITE = typer.Option("--overwrite", help="Replace an existing OUT.")
_QUIET = typer.Option("-q", "--quiet", help="No progress and no summary.")


def crosswalk(
    source: Annotated[
        str | None, typer.Argument(metavar="[INPUT]", help="Coded table (.csv ...), model directory, or - .")
    ] = None,
    texts: Annotated[str | None, typer.Argument(metavar="[TEXTS]", help="With a model: the table to code.")] = None,
    table: Annotated[list[str] | None, _TABLE] = None,
    to: Annotated[str, typer.Option("--to", metavar="TAX", help="Target: isco08, CSV of codes, model directory.")] = "",
    start: Annotated[str, typer.Option("--from", metavar="TAX", help="Source taxonomy (with a model: its own).")] = "",
    via: Annotated[
        list[str] | None, typer.Option(metavar="TAX", help="Taxonomies between several tables, in their order.")
    ] = None,
    output: Annotated[str, _OUTPUT] = "-",
    code_column: Annotated[
        list[str] | None, typer.Option("-c", "--code-column", help="Codes (those of hjc predict); repeatable.")
    ] = None,
    proba_column: Annotated[
        list[str] | None, typer.Option("-p", "--proba-column", help="Their probabilities, in the same order.")
    ] = None,
    from_level: Annotated[int | None, typer.Option(help="Level of the columns of hjc predict (the deepest).")] = None,
    text_column: Annotated[list[str] | None, typer.Option("-t", "--text-column", help="Text, with a model.")] = None,
    level: Annotated[list[int] | None, typer.Option("-l", "--level", help="Target level; repeatable.")] = None,
    top_k: Annotated[int, typer.Option("-k", "--top-k", help="Codes for each row and level.")] = 3,
    calibrated: Annotated[bool, typer.Option("--calibrated", help="With a model: use its calibration.")] = False,
    inner: Annotated[
        str, typer.Option(help="Mass at inner target codes: spread over the leaves under them, or keep it there.")
    ] = "spread",
    unmapped: Annotated[
        str, typer.Option(help="Links to codes not in the target tree: keep as unmapped, or renormalise the others.")
    ] = "keep",
    weights: Annotated[str, _WEIGHTS] = "uniform",
    counts: Annotated[str | None, _COUNTS] = None,
    source_column: Annotated[str, _SOURCE_COLUMN] = "",
    target_column: Annotated[str, _TARGET_COLUMN] = "",
    weight_column: Annotated[str, _WEIGHT_COLUMN] = "",
    relation_column: Annotated[str, _RELATION_COLUMN] = "",
    relation: Annotated[list[str] | None, _RELATION] = None,
    reverse: Annotated[bool, _REVERSE] = False,
    ids: Annotated[str | None, _IDS] = None,
    prefix: Annotated[str, typer.Option(help="Start of the names of new columns.")] = "to_",
    language: Annotated[str | None, typer.Option(help="Language of the titles in the output, e.g. pl.")] = None,
    matrix: Annotated[str | None, typer.Option(help="Also write the crosswalk itself: source,target,share.")] = None,
    format: Annotated[str | None, _FORMAT] = None,
    input_format: Annotated[str | None, _INPUT_FORMAT] = None,
    separator: Annotated[str | None, _SEPARATOR] = None,
    encoding: Annotated[str | None, _ENCODING] = None,
    batch_size: Annotated[int, _BATCH] = 2048,
    restore_zeros: Annotated[bool, _ZEROS] = False,
    overwrite: Annotated[bool, _OVERWRITE] = False,
    quiet: Annotated[bool, _QUIET] = False,
) -> None:
    """Carry codes and their probabilities to another taxonomy; without INPUT, say what the table covers.

    INPUT is a table that hjc predict has coded (or any with a column of codes), or a model directory and TEXTS. New
    columns: to_level4_code_1, to_level4_title_1, to_level4_proba_1 and so on; to_unmapped, the share that the table
    cannot place; to_unlisted, the probability that the input does not list; to_status.
    """
    with options.one_message():
        from pathlib import Path

        from hjc.cli.taxonomy import _load
        from hjc.crosswalk.correspondence import mend_table
        from hjc.crosswalk.mapping import build_crosswalk
        from hjc.crosswalk.readers import read_counts

        if not table or not to:
            raise ValueError("give --table TABLE (more than once with --via) and --to TAXONOMY")
        model = source if source and source != "-" and Path(source).is_dir() else None
        if not start and model is None:
            raise ValueError("which taxonomy are the codes of? Give --from (isco08, a CSV of codes, a model directory)")
        if model is not None and texts is None:
            raise ValueError(f"{model} is a model; give the table with the texts after it")
        if model is None and texts is not None:
            raise ValueError(f"got two inputs, and {source} is not a model directory")
        names = [start or str(model), *(via or []), to]
        if len(names) != len(table) + 1:
            raise ValueError(f"{len(table)} tables need {len(table) - 1} taxonomies between them, got {len(via or [])}")
        if counts and len(table) > 1:
            raise ValueError("--counts belongs to one table; write each crosswalk with --matrix and chain those")
        trees = [_load(name, None) for name in names]
        walk = None
        for i, path in enumerate(table):
            links = _read(path, source_column, target_column, weight_column, relation_column, relation, reverse, ids)
            # A table that `--matrix` wrote holds shares; its header says so.
            how = "shares" if weights == "uniform" and not reverse and _is_matrix(path) else weights
            links = mend_table(links, trees[i], trees[i + 1], restore_zeros=restore_zeros)
            part = build_crosswalk(
                links, trees[i], trees[i + 1], weights=how, unmapped=unmapped,  # type: ignore[arg-type]
                target_counts=None if counts is None else read_counts(counts),
            )  # fmt: skip
            walk = part if walk is None else walk.then(part)
        if walk is None:
            raise ValueError("no table")
        if matrix is not None:
            walk.to_csv(matrix)
        if source is None:
            typer.echo(str(walk.statistics()))
            return
        if not quiet:
            options.note(str(walk.statistics()))
        _carry(
            walk, model, texts if model is not None else source, output, code_column, proba_column, from_level,
            text_column, tuple(level or ()), top_k, inner, prefix, language, format, input_format, separator, encoding,
            batch_size, overwrite, quiet, calibrated, restore_zeros,
        )  # fmt: skip


def revise(
    source: Annotated[str, typer.Argument(metavar="DATA", help="Training table coded to the old edition, or -.")],
    table: Annotated[str, _TABLE],
    to: Annotated[str, typer.Option("--to", metavar="TAX", help="New edition: CSV of codes, isco08, model directory.")],
    start: Annotated[
        str | None, typer.Option("--from", metavar="TAX", help="Old edition; needed for rows coded to inner codes.")
    ] = None,
    output: Annotated[str, _OUTPUT] = "-",
    code_column: Annotated[str, typer.Option("-c", "--code-column", help="Column of old codes.")] = "code",
    row_weight_column: Annotated[str, typer.Option(help="Column of row weights, which are multiplied.")] = "",
    split: Annotated[
        str,
        typer.Option(help="Split codes: ancestor (an inner node as gold code) or weights (a row for each successor)."),
    ] = "ancestor",
    min_level: Annotated[int, typer.Option(help="A common ancestor above this level is no gold code.")] = 1,
    inner_share: Annotated[
        float, typer.Option(help="Share of the leaves of an inner old code that its new code must have (all).")
    ] = 1.0,
    keep_new: Annotated[
        bool, typer.Option("--keep-new", help="Rows coded to what only the new edition has keep their code.")
    ] = False,
    weights: Annotated[str, _WEIGHTS] = "uniform",
    counts: Annotated[str | None, _COUNTS] = None,
    source_column: Annotated[str, _SOURCE_COLUMN] = "",
    target_column: Annotated[str, _TARGET_COLUMN] = "",
    weight_column: Annotated[str, _WEIGHT_COLUMN] = "",
    relation_column: Annotated[str, _RELATION_COLUMN] = "",
    relation: Annotated[list[str] | None, _RELATION] = None,
    reverse: Annotated[bool, _REVERSE] = False,
    ids: Annotated[str | None, _IDS] = None,
    prefix: Annotated[str, typer.Option(help="Start of the names of new columns.")] = "new_",
    report: Annotated[str | None, typer.Option(help="CSV of what moved (OUT.report.csv).")] = None,
    format: Annotated[str | None, _FORMAT] = None,
    input_format: Annotated[str | None, _INPUT_FORMAT] = None,
    separator: Annotated[str | None, _SEPARATOR] = None,
    encoding: Annotated[str | None, _ENCODING] = None,
    batch_size: Annotated[int, _BATCH] = 8192,
    restore_zeros: Annotated[bool, _ZEROS] = False,
    overwrite: Annotated[bool, _OVERWRITE] = False,
    quiet: Annotated[bool, _QUIET] = False,
) -> None:
    """Bring a training table from the old edition of a taxonomy to the new one.

    New columns: new_code (empty where there is none), new_weight, new_kind (unchanged, renamed, merged, split, dropped,
    unmapped; new with --keep-new), new_status. Train with code_column=new_code and, with --split weights,
    weight_column=new_weight.
    """
    with options.one_message():
        import csv
        from pathlib import Path

        from hjc.apply.revision import REVISION_COLUMNS, RevisionSummary, revise_table
        from hjc.apply.spelling import Spelling
        from hjc.cli.streams import streams, write_log
        from hjc.cli.taxonomy import _load
        from hjc.crosswalk.correspondence import mend_table
        from hjc.crosswalk.readers import read_counts
        from hjc.crosswalk.revision import plan_revision

        old, new = None if start is None else _load(start, None), _load(to, None)
        links = _read(table, source_column, target_column, weight_column, relation_column, relation, reverse, ids)
        plan = plan_revision(
            mend_table(links, old, new, restore_zeros=restore_zeros), new, old,
            split=split, weights=weights, min_level=min_level, inner_share=inner_share,  # type: ignore[arg-type]
            target_counts=None if counts is None else read_counts(counts), keep_new=keep_new,
        )  # fmt: skip
        spelling = Spelling(frozenset(plan.codes), restore_zeros)
        if report is None and output != "-":
            report = f"{output}.report.csv"
        columns = {f"{prefix}{name}": kind for name, kind in REVISION_COLUMNS.items()}
        summary = RevisionSummary()
        with streams(
            source, output, summary, format=format, input_format=input_format, separator=separator, encoding=encoding,
            batch_size=batch_size, overwrite=overwrite,
        ) as (reader, open_writer):  # fmt: skip
            rows = revise_table(
                reader, open_writer(columns), plan, code_column, weight_column=row_weight_column, prefix=prefix,
                spelling=spelling, summary=summary,
            )  # fmt: skip
        write_log(
            output, "revise", summary, input=source, table=table, rows_out=summary.written, split=split,
            kinds_of_codes=plan.counts, rows_by_kind=plan.count_rows(rows), without_new_code=summary.uncoded,
            repaired_codes=spelling.counts,
        )  # fmt: skip
        if report is not None:
            records = plan.report(rows)
            with Path(report).open("w", encoding="utf-8", newline="") as stream:
                names = [
                    "old_code", "old_title", "kind", "new_code", "new_title", "level", "successors", "lost", "reason",
                    "rows",
                ]  # fmt: skip
                out = csv.DictWriter(stream, names, lineterminator="\n")
                out.writeheader()
                out.writerows(records)
        if not quiet:
            options.note(spelling.message())
            options.note(plan.summary(rows))
            options.note(f"{summary.rows:,} rows in{'' if output == '-' else f' -> {output}'}")
            if report is not None:
                options.note(f"what moved, code by code: {report}")


def _read(
    path: str, source: str, target: str, weight: str, relation: str, relations: list[str] | None, reverse: bool,
    ids: str | None,
) -> "Correspondence":  # fmt: skip
    from hjc.crosswalk.readers import read_correspondence, read_identifiers

    links = read_correspondence(
        path, source=source, target=target, weight=weight, relation=relation, relations=relations or ()
    )
    if ids is not None:
        names = read_identifiers(ids)
        links = links.relabel(source=names, target=names)
    return links.reverse() if reverse else links


def _is_matrix(path: str) -> bool:
    from pathlib import Path

    if Path(path).suffix != ".csv":
        return False
    with Path(path).open(encoding="utf-8-sig", errors="replace") as stream:
        return stream.readline().strip() == "source,target,share"


def _carry(
    walk: Any, model: str | None, source: str | None, output: str, code: list[str] | None, proba: list[str] | None,
    from_level: int | None, text: list[str] | None, levels: tuple[int, ...], top_k: int, inner: str, prefix: str,
    language: str | None, format: str | None, input_format: str | None, separator: str | None, encoding: str | None,
    batch_size: int, overwrite: bool, quiet: bool, calibrated: bool, restore_zeros: bool,
) -> None:  # fmt: skip
    from hjc.apply.crosswalk import CrosswalkPlan, CrosswalkSummary, carry_table, coded_columns
    from hjc.apply.spelling import Spelling, for_commands
    from hjc.cli.streams import note_summary, progress_of, streams, write_log
    from hjc.taxonomy import explain_unknown

    plan = CrosswalkPlan(
        walk.target, levels, top_k, prefix, language, crosswalk=walk, inner=inner, unlisted=model is None  # type: ignore[arg-type]
    )  # fmt: skip
    classifier, recipe = None, None
    if model is not None:
        from hjc.classifiers import stored_classifier
        from hjc.classifiers.load import load

        stored_classifier(model)
        recipe = options.recipe_of(model, text)
        classifier = load(model)
        if calibrated:
            classifier = classifier.calibrated()
        _same_tree(classifier.taxonomy, walk.source)
    summary, spelling = CrosswalkSummary(), Spelling(walk.source, restore_zeros)
    with streams(
        source or "-", output, summary, format=format, input_format=input_format, separator=separator,
        encoding=encoding, batch_size=batch_size, overwrite=overwrite,
    ) as (reader, open_writer):  # fmt: skip
        writer = open_writer(plan.columns)
        pairs = []
        if classifier is None:
            pairs = coded_columns(
                reader.columns, reader.label, code=code or (), proba=proba or (), level=from_level
            )  # fmt: skip
        with progress_of(reader, quiet) as progress:
            carry_table(
                reader, writer, plan, pairs, classifier=classifier, recipe=recipe, spelling=spelling,
                progress=progress, summary=summary,
            )  # fmt: skip
    write_log(
        output, "crosswalk", summary, input=source or "-", model=model, source=walk.source.name,
        target=walk.target.name, levels=plan.levels, rows_out=summary.rows, not_coded=summary.uncoded,
        mass={k: round(getattr(summary, k), 9) for k in ("mapped", "unmapped", "unlisted")},
        unknown_codes=dict(summary.unknown.most_common()), repaired_codes=spelling.counts,
    )  # fmt: skip
    if not quiet:
        options.note(spelling.message())
        if summary.unknown:
            options.note(for_commands(explain_unknown(walk.source, summary.unknown, walk.source.name)))
        note_summary(summary, output)


def _same_tree(model: "Taxonomy", source: "Taxonomy") -> None:
    if model != source:
        raise ValueError(f"the model codes to {model!r}, --from is {source!r}; leave --from out")
