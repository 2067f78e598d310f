"""``hjc info``: what a model directory holds."""

from hjc.cli.aliases import Json, RunDir


def info(run_dir: RunDir, as_json: Json = False) -> None:
    """Classifier, settings, taxonomy, sizes, metrics and provenance of a model. Verifies the checksums of its files.

    Those of the files made after the model (calibration.json, training_texts.npz ...) too, where they have one.
    """
    from json import dumps

    from rich.console import Console

    from hjc.report.facts import model_facts, show_facts

    values = model_facts(run_dir)
    if as_json:
        print(dumps(values, indent=1, ensure_ascii=False, default=str))
    else:
        show_facts(values, Console(highlight=False))
