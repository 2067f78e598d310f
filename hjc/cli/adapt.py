"""``hjc adapt ENCODER``: an encoder learns titles of a code list, or ads without codes, before it codes job texts."""

from typing import TYPE_CHECKING, Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Digits, Languages, Quiet, Seed, listed, taxonomy_of

if TYPE_CHECKING:
    from hjc.classifiers.embedding.adapt import Adapted
    from hjc.classifiers.embedding.adapt_ads import AdaptedToAds
    from hjc.nn.settings import TrainerSettings


def adapt(
    encoder: Annotated[str, typer.Argument(help="Hub name, Hugging Face folder, or a run of hjc with an encoder.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Hugging Face folder to write.")],
    titles: Annotated[
        str,
        typer.Option(help="Code list with titles: isco08, a CSV or TSV (title_en, title_pl ...), a model directory."),
    ] = "",
    ads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="In place of --titles: ads without codes (title, body); ENCODER is a model of titles. Repeatable.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Table of further texts of codes, such as texts.csv.gz of `hjc taxonomy import`; repeatable."
        ),
    ] = None,
    code_column: Annotated[str, typer.Option("-c", "--code-column", help="Column of codes in --labels.")] = "code",
    text_column: Annotated[str, typer.Option("-t", "--text-column", help="Column of texts in --labels.")] = "text",
    language_column: Annotated[
        str, typer.Option(help="Column of languages in --labels, for --languages.")
    ] = "language",
    languages: Languages = "",
    digits: Digits = None,
    minutes: Annotated[
        float,
        typer.Option(min=0, help="Train for so many minutes: as many batches as fit, over which the rate falls to 0."),
    ] = 0.0,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the titles, at most.")] = 1,
    batch_size: Annotated[int, typer.Option(min=2, help="Codes in a batch: more are harder to tell apart.")] = 64,
    hard_negatives: Annotated[int, typer.Option(min=0, help="Titles of siblings against each title.")] = 1,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of AdamW; falls linearly to 0 (1e-4; with --ads 3e-5).")
    ] = None,
    max_length: Annotated[int, typer.Option(min=4, help="Tokens of a title that are read.")] = 32,
    pooling: Annotated[str, typer.Option(help="mean, cls or max: as it will be used.")] = "mean",
    prefix: Annotated[
        str | None, typer.Option(help='Before every text, as it will be used ("query: " for the E5 family, else none).')
    ] = None,
    seed: Seed = 1,
    quiet: Quiet = False,
) -> None:
    """Contrastive training on titles: two titles of one code lie near, those of siblings apart. Then model.encoder=DIR.

    With --ads: the title of an ad lies near its own body and apart from other bodies. DIR is a model as ENCODER is, for
    hjc ready --part DIR. Stopped by a kill, the same command goes on from DIR.training.
    """
    from pathlib import Path

    if bool(titles) == bool(ads):
        raise ValueError("give either --titles (a code list) or --ads (ads without codes)")
    of_titles = {
        "--labels": labels, "--languages": languages, "--digits": digits, "--hard-negatives": hard_negatives != 1,
        "--max-length": max_length != 32, "--pooling": pooling != "mean", "--prefix": prefix is not None,
    }  # fmt: skip
    if ads and (unused := [name for name, given in of_titles.items() if given]):
        raise ValueError(f"{', '.join(unused)}: only with --titles; with --ads the encoder reads as in {encoder}")
    if Path(output).exists():
        raise FileExistsError(f"{output} exists; give another name, or remove it")

    from hjc.nn.settings import NeuralSettings, TrainerSettings

    rate, looks = (3e-5, 2) if ads else (1e-4, 4)
    trainer = TrainerSettings(
        epochs=epochs, batch_size=batch_size, learning_rate=rate if learning_rate is None else learning_rate,
        max_minutes=minutes, seed=seed, loggers=[], validate_per_epoch=looks, patience=0,
    )  # fmt: skip
    if ads:
        adapt_ads(encoder, ads, output, trainer, quiet)
        return

    from hjc.classifiers.embedding.adapt import LEAST_TITLES, adapt_encoder, titles_of
    from hjc.classifiers.embedding.labels import read_texts
    from hjc.nn.hub import resolve_folder

    resolve_folder(encoder)  # where it is nowhere, that is known before anything is read
    tree, wanted = taxonomy_of(titles, digits), listed(languages)
    further: list[tuple[str, str]] = []
    for file in labels or ():
        _, table = read_texts("--labels", file, (code_column, text_column), ())
        if wanted and language_column in table.columns:
            table = table[table[language_column].isin(wanted)]
        pair = table[[code_column, text_column]].dropna().astype(str)
        further += pair.itertuples(index=False, name=None)
    texts = titles_of(tree, further, wanted)
    e5 = "e5" in Path(encoder).name.lower().split("-")
    settings = NeuralSettings(
        encoder=encoder, pooling=pooling, prefix=("query: " if e5 else "") if prefix is None else prefix,
        max_length=max_length,
    )  # fmt: skip
    if not quiet:
        session.note(f"{len(texts.texts):,} titles of {tree.name}; pooling {pooling}, prefix {settings.prefix!r}")
    found = adapt_encoder(
        tree, texts, settings, trainer, Path(output), hard_negatives=hard_negatives, tell=session.note
    )
    if quiet:
        return
    if found.held_out:
        session.note(f"of {found.held_out:,} titles held out the right code is the nearest: {_change(found)}")
    else:
        session.note(
            f"no title was held out, as too few codes have {LEAST_TITLES} titles or more: nothing shows what it learnt"
        )
    session.note(f"-> {output}: python train.py model=e5 model.encoder={output} model.prefix={settings.prefix!r} ...")


def adapt_ads(model: str, files: list[str], output: str, trainer: "TrainerSettings", quiet: bool) -> None:
    """A model of titles learns from ads without codes."""
    from pathlib import Path

    from hjc.classifiers import read_classifier
    from hjc.classifiers.embedding.adapt_ads import adapt_to_ads
    from hjc.data.recipe import TextRecipe
    from hjc.tables import read_table
    from hjc.training.ready_tables import text_columns_of

    recipe = TextRecipe(tuple(text_columns_of(files, "--ads")))
    texts = [text for file in files for text in recipe.texts(read_table(file))]
    found = adapt_to_ads(read_classifier(model), texts, trainer, Path(output), model, session.note)
    if quiet:
        return
    session.note(
        f"{found.ads:,} ads of {found.titles:,} titles; of {found.held_out:,} titles held out the own body is the "
        f"nearest: {_change(found)}"
    )
    session.note(f"-> {output}: hjc ready KIND FILES --part {output} ...")


def _change(found: "Adapted | AdaptedToAds") -> str:
    before, after = found.before, found.after
    return (
        f"{before['recall@1']:.1%} before, {after['recall@1']:.1%} after (log-loss {before['log_loss']:.2f}, "
        f"{after['log_loss']:.2f})"
    )
