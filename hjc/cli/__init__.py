"""``hjc``: train, predict, evaluate, look at models and taxonomies. ``hjc --help`` starts without pandas or torch."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.adapt import adapt
from hjc.cli.compare import compare
from hjc.cli.crosswalk import crosswalk
from hjc.cli.data import data_app
from hjc.cli.desk import desk_app
from hjc.cli.distill import distill
from hjc.cli.drift import drift
from hjc.cli.estimate import estimate
from hjc.cli.evaluate import evaluate
from hjc.cli.explain import explain
from hjc.cli.export import export
from hjc.cli.info import info
from hjc.cli.label import label
from hjc.cli.predict import predict
from hjc.cli.push import push
from hjc.cli.ready import learn, ready
from hjc.cli.relabel import relabel
from hjc.cli.review import review
from hjc.cli.serve import serve
from hjc.cli.taxonomy import taxonomy_app
from hjc.cli.train import train

app = typer.Typer(
    help="Hierarchical job classification: code job ads to a tree of occupations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        import hjc

        typer.echo(f"hjc {hjc.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the stack trace of every error.")] = False,
) -> None:
    session.debug = debug


# Hydra has its own --help for the settings, and takes whatever follows as overrides.
app.command(
    "train",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)(train)
COMMANDS: dict[str, Callable[..., None]] = {
    "predict": predict, "evaluate": evaluate, "compare": compare, "estimate": estimate, "review": review,
    "drift": drift, "explain": explain, "info": info, "relabel": relabel, "adapt": adapt, "crosswalk": crosswalk,
    "serve": serve, "export": export, "distill": distill, "ready": ready, "learn": learn, "push": push,
    "label": label,
}  # fmt: skip
#: those that print tables; info and explain have a --json of their own, those that write a table --format jsonl
SHOWING = ("evaluate", "compare", "drift", "push", "label")
for name, command in COMMANDS.items():
    session.add(app, name, command, shows=name in SHOWING)
app.add_typer(taxonomy_app, name="taxonomy")
app.add_typer(data_app, name="data")
app.add_typer(desk_app, name="desk")


def main() -> None:
    """Entry point of the ``hjc`` command."""
    session.fill_closed_streams()
    arguments = sys.argv[1:]
    if arguments[:1] != ["train"] and "--debug" in arguments:  # allowed anywhere, not only before the command
        arguments.remove("--debug")
        arguments.insert(0, "--debug")
    if os.environ.get("LOCAL_RANK") and arguments[:1] != ["train"]:
        # Lightning starts the further processes of a distributed `hjc train` from the arguments that Hydra was given.
        arguments.insert(0, "train")
    app(arguments, prog_name="hjc")


if __name__ == "__main__":
    main()
