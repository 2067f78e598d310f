"""``hjc predict``: code a table of any size."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    AllText,
    BatchSize,
    Calibrated,
    Computing,
    Levels,
    Output,
    Prefix,
    Prior,
    Quiet,
    Reading,
    RunDir,
    SourceOrNone,
    TextColumns,
    TitleLanguage,
    TopK,
    TrainedLanguageColumn,
    Writing,
)
from hjc.cli.predict_many import Many

if TYPE_CHECKING:
    from hjc.classifiers.base import Classifier


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is decided about each row beside its codes; see :class:`hjc.apply.decisions.DecisionPlan`."""

    back_off: Annotated[
        float | None, typer.Option(metavar="P", help="Also the deepest code with at least this probability.")
    ] = None
    target_accuracy: Annotated[
        float | None,
        typer.Option(metavar="A", help="Also the deepest code such that this share of coded rows is right."),
    ] = None
    conformal: Annotated[
        float | None,
        typer.Option(metavar="ALPHA", help="Also a code and sets that hold the truth with probability 1 - ALPHA."),
    ] = None
    by_group: Annotated[
        bool, typer.Option("--by-group", help="--target-accuracy: a threshold for each most probable level-1 code.")
    ] = False
    conformal_by: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="The probability holds within each: language or group (level-1 code)."),
    ] = None
    conformal_score: Annotated[str, typer.Option(help="Score of the sets: lac, aps or raps.")] = "lac"
    conformal_codes: Annotated[
        int | None, typer.Option(metavar="K", help="Also at most K codes, of any level, that hold the set.")
    ] = None
    cost: Annotated[
        str | None,
        typer.Option(
            metavar="COST",
            help="Also the code of least expected cost: lca, levels, hf1 (or hf0.5, hf2: best expected hierarchical "
            "F), or a cost table.",
        ),
    ] = None
    hf_set: Annotated[
        float | None,
        typer.Option(metavar="BETA", help="Also the set of codes of best expected hierarchical F; 1 is hF1."),
    ] = None
    path: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Also codes of one path: leaf (to the most probable leaf) or greedy."),
    ] = None
    several: Annotated[
        float | None,
        typer.Option(metavar="P", help="Also all codes of a level with at least this probability each."),
    ] = None
    abstain: Annotated[
        float | None, typer.Option(metavar="P", help="No code at a level where the first has less probability.")
    ] = None


def predict(
    run_dir: RunDir,
    source: SourceOrNone = None,
    *,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Code this text and show its codes as a tree; repeatable.")
    ] = None,
    output: Output = "-",
    text_column: TextColumns = None,
    all_text: AllText = False,
    level: Levels = None,
    top_k: TopK = 1,
    language: TitleLanguage = None,
    prefix: Prefix = "hjc_",
    reading: Reading,
    computing: Computing,
    writing: Writing,
    calibrated: Calibrated = False,
    prior: Prior = None,
    rules: Rules,
    many: Many,
    language_column: TrainedLanguageColumn = None,
    batch_size: BatchSize = 4096,
    rejects: Annotated[
        str | None, typer.Option(help="CSV for unreadable lines (OUT.rejects.csv; nowhere for standard output).")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Code every row of a table: all its columns in their order, then the codes. Or one text: --text "nurse".

    INPUT may be a folder or a pattern in quotes ("ads/year=*/*.parquet"); -o is then a folder, with an output for each
    input under its name. A killed command goes on where it was when it is given again. --workers N codes with N
    processes.

    Without INPUT and --text, in a terminal, texts are asked for one after the other.

    New columns, for level 4: hjc_level4_code_1, hjc_level4_title_1, hjc_level4_proba_1, then rank 2 and so on; last
    hjc_status, which is "ok" or says why a row has no codes. Probabilities are those of the level as a whole. Lines
    that are no rows (too many cells, broken JSON) are counted and written to the rejects.

    --back-off, --cost, --target-accuracy and --conformal add columns before the status: hjc_backoff_code,
    hjc_bayes_code, hjc_target_code, hjc_conformal_code (each with _level, _title, _proba, _reason), hjc_bayes_cost,
    hjc_level4_automatic, hjc_level4_set and hjc_level4_set_size; --several adds hjc_level4_several; --hf-set adds
    hjc_hf_codes and hjc_hf_expected. --target-accuracy
    and --conformal need a model that was trained with validation rows. The first codes of the levels are each level's
    own and may disagree; --path adds hjc_level4_path, codes of one path, and hjc_coherent. A retrieval model adds
    hjc_outcome (unanimous, reranked, retrieved, declined) and hjc_outcome_reason; one with an index of titles too.
    """
    if text or source is None:
        beside = [name for name, given in (("INPUT", source), ("rules like --back-off", rules != Rules())) if given]
        if text and beside:
            raise ValueError(f"--text shows the codes of one text; {beside[0]} belongs to tables")
        one_text(computing, run_dir, text or (), level, top_k, language, calibrated, writing.json)
        return
    from hjc.apply.step import Step

    step = Step(
        run_dir=run_dir, text_columns=tuple(text_column or ()), all_text=all_text,
        language_column=language_column or "", levels=tuple(level or ()), top_k=top_k, title_language=language,
        prefix=prefix, calibrated=calibrated, rules={} if rules == Rules() else asdict(rules), prior=prior,
        device=computing.device, precision=computing.precision,
    )  # fmt: skip
    if many.wanted(source):
        many.code(step, source, output, reading, writing, batch_size=batch_size, rejects=rejects, quiet=quiet)
        return
    from hjc.apply.loop import Columns, Summary, write_parts
    from hjc.apply.priors import in_table
    from hjc.cli.streams import note_summary, progress_of, spoken, streams, with_prior

    # What can go wrong cheaply goes wrong first; the model is loaded last.
    check_is_file(run_dir, source)
    recipe, summary = step.recipe(), Summary()
    with streams(source, output, summary, reading, writing, batch_size=batch_size, rejects=rejects, what="written") as (
        reader,
        open_writer,
    ):
        found = spoken(Columns(recipe), run_dir, reader, language_column or "")
        found.find(reader)

        def weigh(model: "Classifier", columns: Columns) -> "Classifier":
            columns = replace(columns, language=found.language)
            shares = in_table(model, source, reading.of(source), columns, batch_size, calibrated)
            return with_prior(model, prior, run_dir, calibrated, shares)

        coder = step.over(computing.model(run_dir), None if prior is None else weigh)
        columns = coder.columns_in(reader.columns)
        session.notes(coder.first_notes())
        writer = open_writer(coder.plan.columns)
        with progress_of(reader, quiet) as progress:
            write_parts(reader, writer, columns, coder, summary, progress)
        session.notes(coder.notes(counts=not quiet))
    note_summary(output, summary, quiet)


def check_is_file(run_dir: str, source: str) -> None:
    """Say how a text is coded where somebody gives one in the place of a table.

    Raises:
        FileNotFoundError: there is no such file, and its name is not one of a table.
    """
    from pathlib import Path

    from hjc.tables.options import SUFFIXES, inner_suffix

    if source != "-" and not Path(source).exists() and inner_suffix(source) not in SUFFIXES:
        raise FileNotFoundError(
            f"there is no file {source!r}; to code it as a text: hjc predict {run_dir} --text {source!r}"
        )


def one_text(
    computing: Computing,
    run_dir: str,
    texts: Sequence[str],
    levels: list[int] | None,
    top_k: int,
    language: str | None,
    calibrated: bool,
    as_json: bool,
) -> None:
    """Show the codes of texts as trees; without texts ask for them, where there is a terminal to ask.

    Raises:
        ValueError: no text and no terminal, a text without words, several levels.
    """
    import shutil
    import sys
    from json import dumps

    from hjc.apply.one_text import code_text, plain_values, tree_lines

    if levels and len(levels) > 1:
        raise ValueError("--level: a tree has all levels down to one; give the deepest")
    asked = not texts
    if asked and not (sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None):
        raise ValueError(
            "give INPUT, a table (- is standard input), or --text TEXT; texts are asked for only in a terminal"
        )

    classifier = computing.model(run_dir)
    if calibrated:
        classifier = classifier.calibrated()
    level, k = levels[0] if levels else None, top_k if top_k > 1 else 3
    encoding = (sys.stdout.encoding or "ascii").lower()

    def show(text: str) -> None:
        found = code_text(classifier, text, top_k=k, level=level, language=language)
        if as_json:
            typer.echo(dumps(plain_values(found), ensure_ascii=False))
        else:
            lines = tree_lines(found, shutil.get_terminal_size().columns, plain=not encoding.startswith("utf"))
            typer.echo("\n".join(lines).encode(encoding, "replace").decode(encoding))

    for number, text in enumerate(texts):
        if number and not as_json:
            typer.echo("")
        if len(texts) > 1 and not as_json:
            typer.echo(text)
        show(text)
    if asked:
        session.note(f"{classifier!r}\nWrite a text and press Enter; an empty line or Ctrl-D ends.")
        while text := _ask():
            try:
                show(text)
            except ValueError as error:
                session.note(f"error: {error}")


def _ask() -> str:
    try:
        return input("text> ").strip()
    except EOFError:
        typer.echo("")
        return ""
    except KeyboardInterrupt:
        raise typer.Exit(session.INTERRUPTED) from None
