"""``hjc data agreement`` and ``hjc data suspicious``: how good are the labels?"""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    CodeColumn,
    Confidence,
    CorpusTextColumns,
    Digits,
    Level,
    OutputFolder,
    Reading,
    Seed,
    Source,
    Taxonomy,
    pair,
    taxonomy_of,
)


def agreement(
    source: Source,
    output: OutputFolder,
    *,
    code_column: Annotated[
        list[str] | None,
        typer.Option("-c", "--code-column", help="One: a line a unit and coder; repeated: a column a coder."),
    ] = None,
    unit_column: Annotated[str, typer.Option(help="Column that names the unit (one code column).")] = "id",
    coder_column: Annotated[str, typer.Option(help="Column that names the coder; none: not known by name.")] = "",
    weight_column: Annotated[str, typer.Option(help="Survey weight of the unit.")] = "",
    stratum_column: Annotated[str, typer.Option(help="Stratum of the unit.")] = "",
    code_separator: Annotated[str, typer.Option(help="Between several codes in a cell, e.g. | (one a cell).")] = "",
    taxonomy: Taxonomy = "isco08",
    digits: Digits = None,
    confidence: Confidence = 0.95,
    format: Annotated[str, typer.Option(help="The tables as csv or xlsx.")] = "csv",
    reading: Reading,
) -> None:
    """Agreement at each level with intervals, Cohen's and Fleiss' kappa, Krippendorff's alpha, confusion at level 1."""
    from hjc.corpus.agreement import agreement as measure
    from hjc.corpus.ratings import read_ratings
    from hjc.data.splits import write_rejects

    tree = taxonomy_of(taxonomy, digits)
    if (of_desk := reading.of_desk(source, "ratings")) != reading:
        reading, coder_column = of_desk, coder_column or "coder"
    given = read_ratings(
        source, tree, code_column or ["code"], unit_column=unit_column, coder_column=coder_column,
        weight_column=weight_column, stratum_column=stratum_column, code_separator=code_separator,
        **reading.settings(),
    )  # fmt: skip
    result = measure(
        tree,
        given.nodes,
        given.coders,
        weights=given.weights,
        strata=given.strata,
        confidence=confidence,
        sets=given.sets,
    )
    written = result.write(output, format)
    write_rejects(output, given.rejects)
    columns = {"weight_column": weight_column or None, "stratum_column": stratum_column or None}
    session.show_table(
        "levels",
        f"{len(given.nodes):,} units",
        ("level", "units", "all agree", "pairs agree", "Fleiss", "alpha"),
        result.lines(),
    )
    session.finish(
        output,
        {"command": "agreement", "input": source, **given.facts, **columns, "confidence": confidence},
        [*given.notes, f"{', '.join(path.name for path in written)}, rejects.csv and log.json in {output}"],
    )


def suspicious(
    source: Source,
    output: OutputFolder,
    *,
    text_column: CorpusTextColumns = None,
    code_column: CodeColumn = "code",
    id_column: Annotated[str, typer.Option(help="Column that names the row.")] = "",
    group_column: Annotated[str, typer.Option(help="Groups that stay in one fold, such as prep_group.")] = "",
    taxonomy: Taxonomy = "isco08",
    digits: Digits = None,
    level: Level = None,
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation.")] = 5,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Setting of the linear classifier.")
    ] = None,
    seed: Seed = 1,
    reading: Reading,
) -> None:
    """List labels that a cross-validated linear classifier doubts (confident learning), most doubtful first."""
    from dataclasses import asdict

    import yaml

    from hjc.classifiers.linear import LinearClassifier
    from hjc.classifiers.linear_settings import LinearSettings
    from hjc.corpus.suspicious import find_suspicious, out_of_fold
    from hjc.data.reading import read_labelled
    from hjc.data.splits import write_rejects
    from hjc.errors import check_choice

    given = dict(pair(text, "--set", "features=word") for text in setting or [])
    for name in given:
        check_choice("--set", name, tuple(LinearSettings.__dataclass_fields__))
    settings = LinearSettings(**{name: yaml.safe_load(value) for name, value in given.items()})
    part = read_labelled(
        source, taxonomy_of(taxonomy, digits), text_column or ["text"], code_column, id_column=id_column,
        group_column=group_column, **reading.settings(),
    )  # fmt: skip
    session.notes(part.sentences(source))
    data = part.grouped()
    scores = out_of_fold(
        data, lambda train: LinearClassifier(train.taxonomy, settings).fit(train).iter_log_proba,
        level=level, folds=folds, seed=seed, progress=lambda done, total: session.note(f"fold {done} of {total}"),
    )  # fmt: skip
    result = find_suspicious(data, scores)
    result.write(output)
    write_rejects(output, [part.rejects])
    facts = {"command": "suspicious", "input": source, "level": scores.level, "folds": folds, "seed": seed}
    session.finish(
        output, {**facts, "settings": asdict(settings), **part.account(), **result.counts}, [result.message(output)]
    )
