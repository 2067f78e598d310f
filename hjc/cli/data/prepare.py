"""``hjc data prepare``: clean, judge and group a table of ads of any size."""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hjc.cli import options


def prepare(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="CSV, TSV, Parquet or JSONL file (.gz too), or -.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="OUT", help="File to write.")],
    text_column: Annotated[
        list[str] | None, typer.Option("-t", "--text-column", help="Column to clean; repeat it for several (text).")
    ] = None,
    code_column: Annotated[str, typer.Option("-c", "--code-column", help="Codes, for conflicts of labels.")] = "",
    languages: Annotated[
        str, typer.Option(help="Languages to choose among, such as pl,en,uk (24 of Europe); none: not identified.")
    ] = "",
    keep_languages: Annotated[str, typer.Option(help="Languages that --drop language keeps (all of them).")] = "",
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Move such rows to OUT.rejected: quality, language, identical; repeatable (none)."),
    ] = None,
    threshold: Annotated[float, typer.Option(help="Score of the quality gate from which a row is flagged.")] = 0.5,
    near_duplicates: Annotated[
        float, typer.Option(help="Jaccard similarity of word shingles that groups texts; 0: identical texts only.")
    ] = 0.8,
    phrases: Annotated[
        str | None, typer.Option(help="Table of further phrases: kind, language, phrase (tabs).")
    ] = None,
    html: Annotated[bool, typer.Option("--html/--no-html", help="Remove mark-up.")] = True,
    unicode: Annotated[bool, typer.Option("--unicode/--no-unicode", help="Repair broken characters.")] = True,
    mask: Annotated[bool, typer.Option("--mask/--no-mask", help="Mask e-mail, telephone and URL.")] = True,
    boilerplate: Annotated[bool, typer.Option("--boilerplate/--no-boilerplate", help="Cut legal clauses.")] = True,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Judge the quality.")] = True,
    prefix: Annotated[str, typer.Option(help="Start of the names of new columns.")] = "prep_",
    format: Annotated[str | None, typer.Option(help="Output: csv, tsv, parquet, jsonl (by the name of OUT).")] = None,
    input_format: Annotated[str | None, typer.Option(help="The same for INPUT (by its name; csv for -).")] = None,
    separator: Annotated[str | None, typer.Option(help="Separator of a CSV input, or tab (found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text input, e.g. cp1250 (utf-8).")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows read at a time.")] = 2048,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each has its own language models.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")] = False,
) -> None:
    """Clean texts, flag what is no ad, identify languages, group duplicates. No row is lost.

    All columns stay; new ones: prep_COLUMN for each text column (cleaned), prep_cleaned (what was found), prep_quality
    (0 good to 1 bad) and prep_reasons, prep_language and prep_language_score, prep_group (train with
    data.group_column=prep_group and splits keep groups together) and prep_duplicate_of (0-based row of the first
    identical text). Besides: OUT.log.json (counts: in = out + rejected), OUT.conflicts.csv (groups with several
    codes), OUT.rejected.* (with --drop) and OUT.unreadable.csv (lines that are no rows).
    """
    with options.one_message():
        from hjc.cli.data.tables import rereadable, write_log
        from hjc.corpus.prepare import PAPER_LANGUAGES, CleaningSettings, PrepareSettings, load_phrases, prepare_table
        from hjc.tables import Rejects, check_output, find_column, format_of, open_input, open_output

        if output == "-":
            raise ValueError("-o: prepare writes several files; give a name")
        kind = format_of(source, input_format, option="--input-format")
        target = format_of(output, format, option="--format")
        chosen = tuple(x.strip() for x in languages.split(",") if x.strip()) if languages else PAPER_LANGUAGES
        settings = PrepareSettings(
            text_columns=tuple(text_column or ["text"]), code_column=code_column,
            cleaning=CleaningSettings(
                html=html, unicode=unicode, mask=mask, boilerplate=boilerplate, phrases=load_phrases(phrases)
            ),
            gate=gate, threshold=threshold, languages=() if languages == "none" else chosen,
            wanted=tuple(x.strip() for x in keep_languages.split(",") if x.strip()), drop=tuple(drop or ()),
            similarity=near_duplicates or None, prefix=prefix,
        )  # fmt: skip
        stem, suffix = _split_suffix(output)
        beside = {name: f"{stem}.{name}{ending}" for name, ending in
                  {"rejected": suffix, "conflicts": ".csv", "unreadable": ".csv"}.items()}  # fmt: skip
        for path in (output, *(beside.values())):
            check_output(path, source, overwrite=overwrite)
        for path in beside.values():
            Path(path).unlink(missing_ok=True)
        unreadable = Rejects(Path(beside["unreadable"]))
        passes = iter([unreadable])
        with options.all_or_nothing(output), rereadable(source) as path:

            def reader() -> Any:
                return open_input(
                    path, kind, rejects=next(passes, None), rows=batch_size, encoding=encoding, separator=separator,
                    table_output=target != "jsonl",
                )  # fmt: skip

            report, conflicts = prepare_table(
                reader, partial(open_output, output, target), partial(open_output, beside["rejected"], target),
                settings,
                find_column=find_column, workers=workers, temporary=Path(output).resolve().parent,
                progress=None if quiet else Progress(),
            )  # fmt: skip
        unreadable.close()
        if code_column:
            conflicts.to_csv(beside["conflicts"], index=False, encoding="utf-8", lineterminator="\n")
        write_log(
            f"{output}.log.json", command="prepare", input=source, output=output, **report.to_dict(),
            settings={
                "text_columns": settings.text_columns, "languages": settings.languages, "wanted": settings.wanted,
                "drop": settings.drop, "threshold": threshold, "near_duplicates": settings.similarity, "html": html,
                "unicode": unicode, "mask": mask, "boilerplate": boilerplate, "gate": gate, "phrases": phrases,
            },
        )  # fmt: skip
        options.note(unreadable.message())
        if not quiet:
            options.note(_summary(report, output))


def _split_suffix(path: str) -> tuple[str, str]:
    """out.csv.gz -> (out, .csv.gz)."""
    name = Path(path).name
    suffix = "".join(
        Path(name).suffixes[-2:] if Path(name).suffix in (".gz", ".bz2", ".xz") else Path(name).suffixes[-1:]
    )
    return path.removesuffix(suffix) if suffix else path, suffix


def _summary(report: Any, output: str) -> str:
    flagged = ", ".join(f"{name} {count:,}" for name, count in report.flagged.most_common())
    rejected = ", ".join(f"{name} {count:,}" for name, count in report.rejected.most_common())
    languages = ", ".join(f"{name} {count:,}" for name, count in report.languages.most_common(6))
    d = report.duplicates
    lines = [
        f"{report.rows_in:,} rows in, {report.rows_out:,} out, {sum(report.rejected.values()):,} rejected"
        + (f" ({rejected})" if rejected else "")
        + f"; {report.seconds:.1f} s, {report.rate:,.0f} rows/s -> {output}",
        f"flagged {report.flagged_rows:,}" + (f": {flagged}" if flagged else ""),
        f"languages: {languages}" if languages else "",
        f"{d['identical_to_an_earlier']:,} rows repeat an earlier text; {d['rows_in_them']:,} rows in "
        f"{d['groups_of_several']:,} groups of duplicates, {report.conflicts:,} of them with several codes",
    ]
    return "\n".join(line for line in lines if line)


class Progress:
    """Rows and rows/s on standard error: one line that moves on a terminal, else a line every ten seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + 2

    def __call__(self, rows: int, rate: float) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.5 if self._terminal else 10)
        if self._terminal:
            sys.stderr.write(f"\r\x1b[Kpreparing: {rows:,} rows, {rate:,.0f} rows/s")
            sys.stderr.flush()
        else:
            options.note(f"preparing: {rows:,} rows, {rate:,.0f} rows/s")
