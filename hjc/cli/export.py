"""``hjc export``: a trained model for another engine, without torch."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import RunDir


def export(
    run_dir: RunDir,
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="New model directory.")],
    engine: Annotated[str, typer.Option(help="Of a neural model: onnx (onnxruntime, the default) or openvino.")] = "",
    precision: Annotated[str, typer.Option(help="fp32, bf16 (half the bytes) or int8 (a quarter).")] = "fp32",
) -> None:
    """Write a neural model so that it runs without torch, a linear one so that it needs NumPy alone.

    Every command and hjc.load read the new directory.
    """
    from hjc.classifiers.export import export_model

    with session.all_or_nothing(output):
        found = export_model(run_dir, output, engine=engine, precision=precision)
    session.note(
        f"{found.size / 1e6:.1f} MB -> {output}: of {found.texts:,} titles of the tree {found.agreement:.1%} get the "
        f"same first code; probabilities differ by {found.difference:.1g} at most"
    )
