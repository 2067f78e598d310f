"""A model is trained again with what coders decided: in a process of its own, of low priority, beside the service."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hjc.classifiers.load import PROVENANCE, training_record
from hjc.data.settings import SourceSettings
from hjc.files import write_text
from hjc.serve.store.database import Store
from hjc.serve.store.results import table
from hjc.training.config import stored_config
from hjc.training.workflow import run_training

#: what lies beside the new model: the rows it was given, and what the training said
ROWS, LOG = "desk.jsonl", "desk.log"
#: lines of the log that a failed job tells
TOLD = 5


def train_again(
    store: Store, directory: Path, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Train a model like the one in ``directory`` with its training data and what was decided since, beside it.

    Audited ads are not trained on. The model that is served stays the served one: see ``hjc serve --promote``.

    Returns:
        directory of the new model, rows: how many decisions it was given, seconds.

    Raises:
        ValueError: nothing was decided, the model does not say how it was trained, or the training failed (the last
            lines of its log are in the message).
    """
    started = time.monotonic()
    if not isinstance(training_record(directory).get("config"), dict):
        raise ValueError(f"{directory} has no {PROVENANCE} that says how to train it again")
    with store.read() as connection:
        rows = table(connection, "training")
    if not rows:
        raise ValueError("there is no decision to learn from yet (audited ads are kept apart)")
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    target = directory.resolve().with_name(f"{directory.resolve().name.partition('-desk-')[0]}-desk-{moment}")
    target.mkdir(parents=True)
    kept = [{name: row[name] for name in ("text", "code", "language", "weight")} for row in rows]
    write_text(target / ROWS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    progress(0.05)
    command = [sys.executable, "-m", "hjc.serve.retraining", str(directory), str(target)]
    with (target / LOG).open("wb") as log:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT).returncode
    if code:
        last = (target / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-TOLD:]
        raise ValueError(f"the training in {target} failed: {' '.join(last)}")
    return {"directory": str(target), "rows": len(rows), "seconds": round(time.monotonic() - started, 1)}


def train_like(directory: Path, target: Path) -> None:
    """Run the training of ``directory`` into ``target``, with the rows that lie there."""
    config = stored_config(training_record(directory)["config"])
    added = SourceSettings(
        path=str(target / ROWS), role="train", format="jsonl", text_columns=["text"], code_column="code",
        language_column="language", weight_column="weight", source_column="", id_column="", group_column="",
        split_column="", default_source="desk",
    )  # fmt: skip
    earlier = [source for source in config.data.sources if Path(source.path).name != ROWS]
    config.data.sources = [*earlier, added]
    config.run_dir = str(target)
    run_training(config)


if __name__ == "__main__":
    os.nice(10)
    try:
        train_like(Path(sys.argv[1]), Path(sys.argv[2]))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
