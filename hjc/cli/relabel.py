"""``hjc relabel``: the same embedding model on another edition of the tree, without training."""

from typing import Annotated

import typer

from hjc.cli.aliases import Digits, RunDir, TaxonomyArgument, taxonomy_of


def relabel(
    run_dir: RunDir,
    taxonomy: TaxonomyArgument,
    output: Annotated[str, typer.Option("-o", "--output", help="New model directory.")],
    digits: Digits = None,
) -> None:
    """Put the labels of another tree (new or revised codes) into an embedding model: known by their texts alone.

    Nothing is trained, and probabilities are not calibrated for the new tree: score it with hjc evaluate.
    """
    from hjc.training.relabel import relabel_model

    typer.echo("\n".join(relabel_model(run_dir, taxonomy_of(taxonomy, digits), output)))
