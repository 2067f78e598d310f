"""``hjc data from-taxonomy tax/ -o train.csv``: training texts from an imported taxonomy."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Languages, Overwrite, Seed, TextColumn, listed


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
    as_: Annotated[
        str,
        typer.Option("--as", help="texts | ads: composed of titles, duties, common sentences; for training only."),
    ] = "texts",
    per_code: Annotated[int, typer.Option(help="With --as ads: ads of a code and language.")] = 3,
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="With --as ads: uncoded ads, whose common sentences are used; repeatable."),
    ] = None,
    text_column: TextColumn = ["text"],  # noqa: B006  # typer's way
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write text, code, language, source, weight; hard negatives, rejects and counts beside it.

    With --as ads the rows are composed ads: text, title, body, code, language, source (composed_ad), weight. They are
    to be trained on; hjc train refuses them as validation or test rows.
    """
    from pathlib import Path

    from hjc.corpus.composed_ads import AdSettings, common_sentences, compose_ads
    from hjc.corpus.from_taxonomy import CONTEXT, TaxonomyTexts, read_imported, texts_from_taxonomy
    from hjc.errors import check_choice
    from hjc.tables import check_output, format_of

    check_choice("--as", as_, ("texts", "ads"))
    format_of(output, writing=True)
    if Path(output).parent.is_dir():  # else it is made
        check_output(output, "-", overwrite=overwrite)
    settings = TaxonomyTexts(
        sources=list(listed(sources)), languages=list(listed(languages)), shared=shared, generic=generic,
        min_importance=min_importance, min_chars=min_chars, context={} if no_context else dict(CONTEXT),
        leaves_only=leaves_only, max_per_source=max_per_source, max_per_code=max_per_code, seed=seed,
    )  # fmt: skip
    how = AdSettings(per_code=per_code, seed=seed)
    made = texts_from_taxonomy(*read_imported(folder), settings)
    if as_ == "ads":
        from hjc.tables import read_table, write_frame

        uncoded = [read_table(path) for path in like or ()]
        given = [" ".join(row) for frame in uncoded for row in frame[text_column].itertuples(index=False)]
        common = common_sentences(given)
        ads = compose_ads(made.texts, how, common)
        write_frame(ads, output, format_of(output, writing=True))
        said = f"; {len(common):,} common sentences of {len(given):,} uncoded ads" if like else ""
        session.note(f"{len(ads):,} composed ads of {ads['code'].nunique():,} codes{said} -> {output}")
        return
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
