"""Names of session and streams for ``hjc evaluate``."""

from hjc.cli.session import note, one_message
from hjc.cli.streams import recipe_of, trained_column

__all__ = ["note", "one_message", "recipe_of", "trained_column"]
