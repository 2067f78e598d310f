"""``hjc data translate``: texts of a table translated by local models."""

import re
from typing import Annotated

import typer

from hjc.cli.aliases import OutputFile, Quiet, Reading, Source, TextColumn, Writing, pair


def translate(
    source: Source,
    *,
    output: OutputFile,
    to: Annotated[list[str], typer.Option("--to", help="Target language, e.g. en; repeatable.")],
    text_column: TextColumn,
    start: Annotated[str, typer.Option("--from", help="Language of all rows, e.g. pl.")] = "",
    language_column: Annotated[str, typer.Option(help="Column with the language of each row.")] = "",
    argos: Annotated[list[str] | None, typer.Option(help="Folder of Argos packages; repeatable.")] = None,
    hf: Annotated[
        list[str] | None, typer.Option(help="Folder of a seq2seq model, or pl-en=FOLDER for one pair; repeatable.")
    ] = None,
    language_code: Annotated[
        list[str] | None, typer.Option(help="What a seq2seq model calls a language: pl=pol_Latn; repeatable.")
    ] = None,
    model_prefix: Annotated[
        str, typer.Option(help="Before every text, for T5: 'translate {source} to {target}: '.")
    ] = "",
    beam_size: Annotated[int, typer.Option(min=1, help="Beams of the search.")] = 4,
    max_tokens: Annotated[int, typer.Option(min=8, help="Longest segment; longer texts are cut at sentences.")] = 200,
    batch_size: Annotated[int, typer.Option(min=1, help="Segments translated at a time.")] = 32,
    rows: Annotated[int, typer.Option(min=1, help="Rows in memory at a time.")] = 1024,
    device: Annotated[str | None, typer.Option(help="For seq2seq models: cpu, cuda (cuda if there is one).")] = None,
    cache: Annotated[str | None, typer.Option(help="File of what was translated (OUT.translations.sqlite).")] = None,
    reading: Reading,
    writing: Writing,
    quiet: Quiet = False,
) -> None:
    """Translate columns of a table: title_en beside title, and title_en_status.

    Nothing is downloaded: the models are folders on this machine. A run that was stopped goes on where it was when it
    is started again, and the same text is never translated twice.
    """
    from hjc.apply.translation import TranslationPlan, TranslationSummary, base_language, translate_table
    from hjc.cli.streams import finish, progress_of, streams
    from hjc.corpus.argos import ArgosTranslator
    from hjc.corpus.cache import AnswerCache
    from hjc.corpus.translate import Translator

    targets = tuple(dict.fromkeys(base_language(language) for language in to))
    plan = TranslationPlan(tuple(text_column), targets, start, language_column)
    codes = dict(pair(text, "--language-code", "pl=pol_Latn") for text in language_code or [])
    if not argos and not hf:
        raise ValueError("no model: give --argos FOLDER or --hf FOLDER (docs/translation.md says where to get one)")
    if output == "-" and cache is None:
        raise ValueError("give --cache FILE, or a file for -o")
    summary = TranslationSummary()
    with (
        streams(source, output, summary, reading, writing, batch_size=rows) as (reader, open_writer),
        AnswerCache(cache or f"{output}.translations.sqlite") as store,
    ):
        writer = open_writer(plan.new_columns)
        plan.read.find(reader)  # before models are loaded, which may take minutes
        translators: list[Translator] = [
            ArgosTranslator(folder, beam_size=beam_size, max_tokens=max_tokens) for folder in argos or []
        ]
        for text in hf or []:
            from hjc.nn.seq2seq import Seq2SeqTranslator

            languages, folder = _model(text)
            translators.append(
                Seq2SeqTranslator(
                    folder, pair=languages, codes=codes, prefix=model_prefix, beam_size=beam_size,
                    max_tokens=max_tokens, device=device,
                )
            )  # fmt: skip
        with progress_of(reader, quiet, "translating") as progress:
            translate_table(
                reader, writer, plan, translators, store, batch_size=batch_size, progress=progress, summary=summary
            )
    finish(
        output, "translate", summary, quiet=quiet, input=source, rows_out=summary.rows, columns=text_column, to=targets,
        texts_by_status=dict(summary.texts.most_common()), segments_translated=summary.segments,
    )  # fmt: skip


def _model(text: str) -> tuple[tuple[str, str] | None, str]:
    """``pl-en=FOLDER`` or ``FOLDER``."""
    match = re.fullmatch(r"([a-z]{2,3})-([a-z]{2,3})=(.+)", text)
    return (None, text) if match is None else ((match[1], match[2]), match[3])
