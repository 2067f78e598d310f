"""``hjc desk``: who may code, tables of what was coded, texts removed."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Output, Overwrite

desk_app = typer.Typer(help="The coder's desk (hjc serve): users, tables of decisions, removal of texts.",
                       no_args_is_help=True)  # fmt: skip
StoreOption = Annotated[str, typer.Option(help="Store of the desk: a file (SQLite) or postgresql://...")]
Name = Annotated[str, typer.Argument(help="Name of the user.")]


def user(
    name: Name,
    *,
    role: Annotated[str, typer.Option(help="coder, supervisor or admin.")] = "coder",
    renew: Annotated[bool, typer.Option("--renew", help="A new token; the old one ends.")] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Let the user in no more; decisions stay.")] = False,
    store: StoreOption = "desk.db",
) -> None:
    """Make a user, and print their token: it is told this once, and only its hash is kept."""
    from hjc.serve.run import check_installed

    check_installed()
    from hjc.serve.store import people
    from hjc.serve.store.database import Store

    opened = Store(store)
    with opened.write() as connection:
        if disable:
            people.disable(connection, name)
        elif renew:
            typer.echo(people.renew_token(connection, name))
        else:
            typer.echo(people.add_user(connection, name, role)[1])
        what = "disable" if disable else "new token" if renew else "new user"
        people.note_event(connection, None, what, name=name)
    session.note(f"{name}: {what}" + ("" if disable else "; the token above is not shown again"))


def erase(
    names: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Ids of rows in their file, or #NUMBER of the desk."),
    ],
    *,
    store: StoreOption = "desk.db",
) -> None:
    """Remove texts, columns, ids and comments of ads; codes and the trail of decisions stay."""
    from hjc.serve.run import check_installed

    check_installed()
    from hjc.serve.store.database import Store
    from hjc.serve.store.erasing import erase_named

    session.note(f"{erase_named(Store(store), names):,} texts were removed from {store}")


def export(
    table: Annotated[str, typer.Argument(help="final, ratings, training or audit.")] = "final",
    *,
    output: Output = "-",
    batch: Annotated[int | None, typer.Option(help="Number of a batch (all).")] = None,
    overwrite: Overwrite = False,
    store: StoreOption = "desk.db",
) -> None:
    """Write what was decided: a line an ad, a line for each ad and coder, rows to train on, or the audited ads."""
    from hjc.serve.run import check_installed

    check_installed()
    import pandas as pd

    from hjc.serve.store.database import Store
    from hjc.serve.store.results import table as rows_of
    from hjc.tables import check_output, format_of, write_frame

    kind = format_of(output, None, writing=True)
    check_output(output, overwrite=overwrite)
    opened = Store(store)
    with opened.read() as connection:
        rows = rows_of(connection, table, batch)
    write_frame(pd.DataFrame(rows), output, kind)
    session.note(f"{len(rows):,} rows of {table}{'' if output == '-' else f' -> {output}'}")


for _name, _command in (("user", user), ("erase", erase), ("export", export)):
    session.add(desk_app, _name, _command)
