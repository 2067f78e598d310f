"""``hjc data ...``: from files of ads and codes to training tables."""

import typer

from hjc.cli.data.agreement import agreement, suspicious
from hjc.cli.data.from_taxonomy import from_taxonomy
from hjc.cli.data.manifest import manifest
from hjc.cli.data.prepare import prepare
from hjc.cli.data.sample import sample, split

data_app = typer.Typer(help="Prepare, sample, split and describe data before training.", no_args_is_help=True)
data_app.command("prepare")(prepare)
data_app.command("sample")(sample)
data_app.command("split")(split)
data_app.command("manifest")(manifest)
data_app.command("agreement")(agreement)
data_app.command("suspicious")(suspicious)
data_app.command("from-taxonomy")(from_taxonomy)
