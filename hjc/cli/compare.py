"""``hjc compare``: several runs side by side, with intervals of their differences."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import FolderOrNone, Seed


def compare(
    run_dirs: Annotated[
        list[str], typer.Argument(metavar="RUN_DIR...", help="Run directories, sweeps, or folders of hjc evaluate -o.")
    ],
    output: FolderOrNone = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME", help="Set to compare on; default all common test sets.")
    ] = None,
    reference: Annotated[
        str, typer.Option(metavar="RUN", help="What the others are compared with: first, best, or the name of a run.")
    ] = "first",
    common_rows: Annotated[
        bool, typer.Option("--common-rows", help="Where test rows differ, compare on those that all runs have.")
    ] = False,
    holm: Annotated[
        bool, typer.Option("--holm", help="Mark differences by p-values adjusted for their number (Holm).")
    ] = False,
    bootstrap: Annotated[int, typer.Option(min=1, help="Resamples of the 95 % intervals.")] = 1000,
    seed: Seed = 0,
    min_support: Annotated[int, typer.Option(min=1, help="Languages and sources need so many rows.")] = 30,
) -> None:
    """Compare runs on the same test rows: metrics by level, language, source and training rows; time and size."""
    from rich.console import Console

    from hjc.files import check_folder
    from hjc.report.compare_tables import terminal, write_comparison
    from hjc.report.comparison import compare_runs

    if output is not None:
        check_folder(output)
    found = compare_runs(
        run_dirs, sets=sets or (), reference=reference, common_rows=common_rows, holm=holm, bootstrap=bootstrap,
        seed=seed, min_support=min_support,
    )  # fmt: skip
    console = Console(highlight=False)
    session.tell(sets=list(found.sets), notes=list(found.notes), figures=found.frame.to_dict("records"))
    for name in found.sets if not session.as_json() else ():
        console.print(terminal(found, name))
    session.notes(f"note: {note}" for note in found.notes)
    if output is not None:
        paths = write_comparison(found, output)
        session.note(f"{', '.join(path.name for path in paths)} are in {output}")
