"""Changes of a model directory that need more than a line, for tests of how it is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit_config(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Alter config.json and take the checksum of its content away, as a forger would."""
    path = directory / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config.pop("content_sha256", None)
    change(config)
    path.write_text(json.dumps(config), "utf-8")
