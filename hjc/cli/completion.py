"""What the shell completes beyond options: run directories, and the settings of ``hjc train``.

``hjc --install-completion`` sets it up for bash, zsh, fish and PowerShell. Nothing of hjc's library is imported here: a
completion must come at once.
"""

import os
from collections.abc import Iterator
from pathlib import Path

#: groups of the configuration that a name chooses an option of
GROUPS = ("model", "hierarchy", "encoder", "taxonomy", "data", "trainer", "logger", "evaluation", "experiment")
#: settings that are given most often
SETTINGS = ("run_dir", "seed", "output", "data.files", "data.train", "data.valid", "data.test", "data.text_columns",
            "data.code_column", "data.language_column", "taxonomy.path", "taxonomy.digits", "trainer.epochs",
            "trainer.batch_size", "trainer.learning_rate", "trainer.max_minutes", "model.max_length")  # fmt: skip
_CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def run_directories(incomplete: str) -> Iterator[str]:
    """Model directories that begin with what is written, and folders on the way to one; those in outputs/ first."""
    written = Path(incomplete)
    folder = written if incomplete.endswith(("/", os.sep)) else written.parent
    places = [folder] if incomplete else [Path("outputs"), Path()]
    for place in places:
        try:
            found = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:
            continue
        for path in found:
            if not str(path).startswith(incomplete.rstrip("/") if incomplete.endswith("/") else incomplete):
                continue
            if (path / "config.json").is_file():
                yield str(path)
            elif incomplete and any((below / "config.json").is_file() for below in path.iterdir() if below.is_dir()):
                yield f"{path}/"


def training_settings(incomplete: str) -> Iterator[str]:
    """``mod`` -> ``model=``; ``model=e`` -> ``model=e5`` ...; in bash, which parts words at =, the option alone."""
    key, equals, value = incomplete.partition("=")
    before = ""
    if not equals:
        words = os.environ.get("COMP_WORDS", "").split()
        if len(words) > 2 and words[-1] == "=":  # model=<TAB>
            key, equals, value, before = words[-2], "=", "", ""
        elif len(words) > 3 and words[-2] == "=":  # model=e<TAB>
            key, equals, value, before = words[-3], "=", words[-1], ""
    else:
        before = f"{key}="
    if equals:
        if key in GROUPS:
            yield from (f"{before}{name}" for name in options(key) if name.startswith(value))
        return
    names = [f"{name}=" for name in (*GROUPS, *SETTINGS)] + ["--verbose", "--quiet", "--json", "--help", "--multirun"]
    yield from (name for name in names if name.startswith(key))


def options(group: str) -> list[str]:
    """The names that a group has a file for."""
    return sorted(path.stem for path in (_CONFIGS / group).glob("*.yaml"))
