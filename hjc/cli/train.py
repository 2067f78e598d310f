"""``hjc train``: the same as train.py, from an installed package."""

import sys
from typing import Annotated

import typer

from hjc.cli.completion import training_settings


def train(
    context: typer.Context,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", autocompletion=training_settings)
    ] = None,
) -> None:
    """Train, save and evaluate: the same as train.py. `hjc train --help` lists the settings, `-m` runs a sweep."""
    from hjc.cli import session
    from hjc.training.config import Config, run
    from hjc.training.workflow import run_training

    def task(config: Config) -> float | None:
        return run_training(config).log_loss

    if session.debug:
        import os

        os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        run(task, [*(settings or ()), *context.args])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(session.INTERRUPTED) from None
