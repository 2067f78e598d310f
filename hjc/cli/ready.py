"""``hjc ready isco08 --esco FOLDER -o model/`` and ``hjc learn MODEL coded.csv -o new/``."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Languages, RestoreZeros, Seed, listed

Folder = Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Directory of the new model.")]
Uncoded = Annotated[
    list[str] | None, typer.Option(metavar="FILE", help="Ads without codes to learn from (title, body); repeatable.")
]
Tests = Annotated[
    list[str] | None, typer.Option("--test", metavar="FILE", help="Coded rows that are only scored; repeatable.")
]


def ready(
    kind: Annotated[
        str,
        typer.Argument(
            help="isco08 (from ESCO files, or without any from titles of hjc), esco, onet, kzis, soc2018 ..."
        ),
    ],
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="The office's files, folders.")] = None,
    *,
    output: Folder,
    esco: Annotated[
        list[str] | None, typer.Option(metavar="FOLDER", help="ESCO csv bundle; repeat it for several languages.")
    ] = None,
    titles: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Further titles with codes (title, code); repeatable.")
    ] = None,
    languages: Languages = "",
    uncoded: Uncoded = None,
    test: Tests = None,
    most: Annotated[int, typer.Option(help="Names of a code and language that are used at most (0: all).")] = 30,
    composed: Annotated[int, typer.Option(help="Composed ads for each code and language.")] = 0,
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="Also train an encoder on the titles (e5, minilm ...): hours on a CPU.")
    ] = "",
    part: Annotated[
        list[str] | None, typer.Option(metavar="RUN_DIR", help="A fitted model as further evidence; repeatable.")
    ] = None,
    seed: Seed = 1,
) -> None:
    """Make a model of titles and ads from the files of an office, without one coded ad.

    Minutes without an encoder. DIR is a model directory as training writes it, with figures on names that were held
    back and on every --test, a card with the attribution that the office asks for, and ready/ with what the model was
    made from, which hjc learn needs.
    """
    from hjc.taxonomy.readers import READERS
    from hjc.training.ready import ReadySettings, make_ready

    given = [*(paths or ()), *(esco or ())]
    if not given and kind != "isco08" and kind in READERS:
        raise ValueError(
            f"which files? hjc ready {kind} FOLDER -o {output}; only hjc ready isco08 has titles of its own, which "
            "come with hjc"
        )
    settings = ReadySettings(
        languages=listed(languages), titles=tuple(titles or ()), tests=tuple(test or ()), uncoded=tuple(uncoded or ()),
        most=most, composed=composed, parts=tuple(part or ()), seed=seed,
    )  # fmt: skip
    result = make_ready(kind, given, output, settings, encoder)
    session.note(f"When ads are coded: hjc learn {result.directory} coded.csv -o {result.directory}_2")


def learn(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Directory that hjc ready or hjc learn wrote.")],
    coded: Annotated[list[str], typer.Argument(metavar="CODED...", help="Coded ads (title, body, code).")],
    *,
    output: Folder,
    text_column: Annotated[
        list[str] | None,
        typer.Option("-t", "--text-column", help="Column of titles, then that of bodies (found by their names)."),
    ] = None,
    code_column: Annotated[str, typer.Option("-c", "--code-column", help="Column with the code (by its name).")] = "",
    restore_zeros: RestoreZeros = False,
    uncoded: Uncoded = None,
    test: Tests = None,
) -> None:
    """Go on from a ready model with coded ads, into a new directory.

    What the model was made from is trained on again, so nothing is forgotten: the names that validated it are scored
    as the test set titles. A fifth of the coded ads is held back to weigh title and body and to calibrate.
    """
    from hjc.training.ready import learn as go_on

    columns = tuple(text_column or ())
    result = go_on(
        model, coded, output, uncoded=uncoded or (), tests=test or (), text_columns=columns, code=code_column,
        restore_zeros=restore_zeros,
    )  # fmt: skip
    session.note(f"learnt: {result.directory}")
