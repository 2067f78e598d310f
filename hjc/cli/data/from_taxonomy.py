"""``hjc data from-taxonomy tax/ -o train.csv``: training texts from an imported taxonomy."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Languages, Overwrite, Seed, listed


def from_taxonomy(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="What `hjc taxonomy import` wrote.")],
    output: Annotated[
        str, typer.Option("-o", "--output", help="Training table: .csv, .tsv, .parquet or .jsonl (.gz too).")
    ],
    sources: Annotated[str, typer.Option(help="Of title, alternative, example, description, task ... (all).")] = "",
    languages: Languages = "",
    shared: Annotated[
        str, typer.Option(help="Texts that several codes have: drop | keep_all (weight 1/k) | most_frequent.")
    ] = "drop",
    generic: Annotated[
        float, typer.Option(help="Skills and knowledge with a normalised entropy above this are left out; 1: none.")
    ] = 0.8,
    min_importance: Annotated[float, typer.Option(help="Rating that a skill or knowledge needs.")] = 3.0,
    min_chars: Annotated[int, typer.Option(help="Tasks and descriptions must be longer.")] = 20,
    no_context: Annotated[
        bool, typer.Option("--no-context", help="Skills, technology, tools without a title.")
    ] = False,
    leaves_only: Annotated[bool, typer.Option("--leaves-only", help="No texts of inner codes.")] = False,
    max_per_source: Annotated[int, typer.Option(help="Cap for a code, language and source (0: none).")] = 0,
    max_per_code: Annotated[int, typer.Option(help="Cap for a code and language (0: none).")] = 0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write text, code, language, source, weight; hard negatives, rejects and counts beside it."""
    from pathlib import Path

    from hjc.corpus.from_taxonomy import CONTEXT, TaxonomyTexts, read_imported, texts_from_taxonomy
    from hjc.tables import check_output, format_of

    format_of(output, writing=True)
    if Path(output).parent.is_dir():  # else it is made
        check_output(output, "-", overwrite=overwrite)
    settings = TaxonomyTexts(
        sources=list(listed(sources)), languages=list(listed(languages)), shared=shared, generic=generic,
        min_importance=min_importance, min_chars=min_chars, context={} if no_context else dict(CONTEXT),
        leaves_only=leaves_only, max_per_source=max_per_source, max_per_code=max_per_code, seed=seed,
    )  # fmt: skip
    made = texts_from_taxonomy(*read_imported(folder), settings)
    written = made.write(output)
    reasons = [c for c in made.counts.columns if c not in ("source", "in", "out")]
    session.tell(texts=len(made.texts), hard_negatives=len(made.negatives), files=list(map(str, written)))
    session.show_table(
        "sources",
        f"{len(made.texts):,} texts",
        ("source", "in", "out", "rejected", "why"),
        (
            (row["source"], row["in"], row["out"], row["in"] - row["out"],
             ", ".join(f"{row[r]:,} {r}" for r in reasons if row[r]))
            for row in made.counts.to_dict("records")
        ),
    )  # fmt: skip
    answered = (made.negatives["target"] != "").sum()
    session.say(f"hard negatives: {len(made.negatives):,}, with the right code {answered:,}")
    if made.contradicted:
        session.say(f"left out, because the files give the text to the same code as well: {made.contradicted:,}")
    session.say(f"-> {', '.join(str(path) for path in written)}")
