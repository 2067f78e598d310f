"""``hjc data ...``: from files of ads and codes to training tables."""

from collections.abc import Callable

import typer

from hjc.cli import session
from hjc.cli.data.agreement import agreement, suspicious
from hjc.cli.data.from_taxonomy import from_taxonomy
from hjc.cli.data.index import index
from hjc.cli.data.manifest import manifest
from hjc.cli.data.prepare import prepare
from hjc.cli.data.sample import deal, gather, sample, split
from hjc.cli.data.synthesise import synthesise
from hjc.cli.data.translate import translate

data_app = typer.Typer(help="Prepare, sample, split and describe data before training.", no_args_is_help=True)
COMMANDS: dict[str, Callable[..., None]] = {
    "prepare": prepare, "sample": sample, "split": split, "manifest": manifest, "agreement": agreement,
    "suspicious": suspicious, "from-taxonomy": from_taxonomy, "translate": translate,
    "index": index, "deal": deal, "gather": gather, "synthesise": synthesise,
}  # fmt: skip
#: those that print tables
SHOWING = ("agreement", "from-taxonomy", "index", "manifest")
for name, command in COMMANDS.items():
    session.add(data_app, name, command, shows=name in SHOWING)
