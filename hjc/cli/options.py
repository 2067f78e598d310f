"""How the texts of a model are made, and for a while the names of session."""

from typing import TYPE_CHECKING

from hjc.cli.session import INTERRUPTED, all_or_nothing, note, one_message, stopping_early

if TYPE_CHECKING:
    from hjc.data.recipe import TextRecipe

__all__ = ["INTERRUPTED", "all_or_nothing", "note", "one_message", "recipe_of", "stopping_early", "trained_column"]


def recipe_of(run_dir: str, given: list[str] | None) -> "TextRecipe":
    """How the texts of a model are made: of the columns given, else of those of its training.

    Raises:
        FileNotFoundError, ModelDirError: there is no model. ValueError: neither columns are known.
    """
    from hjc.classifiers.record import stored_recipe

    recipe = stored_recipe(run_dir)
    if not given and not recipe.columns:
        raise ValueError("which column has the text? Give --text-column NAME (more than once for several columns)")
    return recipe.of_columns(given) if given else recipe


def trained_column(run_dir: str, key: str) -> str:
    """What ``data.KEY`` named in the training; "" where that is not known, or the model is of the bundled sample."""
    from hjc.classifiers.record import training_data_settings

    trained = training_data_settings(run_dir)
    return "" if trained.get("sample") else str(trained.get(key) or "")
