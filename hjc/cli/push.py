"""``hjc push RUN_DIR org/name``: a model goes to the Hugging Face hub."""

from typing import Annotated

import typer

from hjc.cli.aliases import RunDir
from hjc.cli.session import say, tell


def push(
    run_dir: RunDir,
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Repository of the hub; made where it is not there.")],
    *,
    public: Annotated[bool, typer.Option("--public", help="Everybody may see a new repository.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to write to (main).")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the model, for its card: MIT, CC-BY-4.0 ...")] = None,
    record: Annotated[bool, typer.Option("--record", help="Send train.yaml too: paths, command, versions.")] = False,
    message: Annotated[str, typer.Option("-m", help="Of the commit.")] = "Model of hjc",
) -> None:
    """Put a model on the Hugging Face hub with its card (private, unless --public); hjc.load("org/name") gives it back.

    Sent are the files that loading needs, calibration and metrics. Texts of your data and their hashes stay here.
    """
    from hjc.report.hub import push_to_hub

    address = push_to_hub(
        run_dir, repo, private=not public, revision=revision, message=message, licence=licence, record=record
    )
    tell(repo=repo, address=address)
    say(address)
