"""``hjc relabel``: the same embedding model on another edition of the tree, without training."""

from typing import Annotated, Any

import typer

from hjc.cli import options


def relabel(
    run_dir: Annotated[str, typer.Argument(help="Model directory of an embedding classifier.")],
    taxonomy: Annotated[str, typer.Argument(help="The other tree: CSV or TSV of codes with titles, or isco08.")],
    output: Annotated[str, typer.Option("-o", "--output", help="New model directory.")],
    digits: Annotated[
        str | None, typer.Option(help="Cumulative code lengths when parents are prefixes, e.g. 1,2,3,4.")
    ] = None,
) -> None:
    """Put the labels of another tree (new or revised codes) into an embedding model: known by their texts alone.

    Nothing is trained, and probabilities are not calibrated for the new tree: score it with hjc evaluate.
    """
    with options.one_message():
        from pathlib import Path

        import yaml

        from hjc.classifiers.load import PROVENANCE, load, training_record
        from hjc.cli.taxonomy import _digits
        from hjc.errors import name_some
        from hjc.report.card import write_card
        from hjc.taxonomy import load_taxonomy

        if Path(output).exists() and any(Path(output).iterdir()):
            raise ValueError(f"{output} is not empty; name a new directory")
        tree = load_taxonomy(taxonomy, digits=_digits(digits))
        model = load(run_dir)
        made = model.for_taxonomy(tree)
        made.save_pretrained(Path(output))
        record = training_record(run_dir)
        values: dict[str, Any] = {"status": "relabelled"}
        values["relabelled_from"] = {"taxonomy": model.taxonomy.name, "hash": model.taxonomy.hash}
        values |= {key: record[key] for key in ("config", "data", "versions", "seed") if key in record}
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        (Path(output) / PROVENANCE).write_text(text, encoding="utf-8")
        write_card(output)
        old, new = set(model.taxonomy.leaf_codes), set(tree.leaf_codes)
        typer.echo(f"{output}: {len(new):,} leaves of {tree.name}, {len(new & old):,} of them with codes as before")
        for name, codes in (("new", new - old), ("gone", old - new)):
            if codes:
                typer.echo(f"{name}: {name_some(sorted(codes))}")
        if model.calibrator is not None:
            typer.echo("the calibration belongs to the old tree and was not taken along")
