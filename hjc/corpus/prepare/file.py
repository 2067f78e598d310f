"""``hjc data prepare`` on a file: what is written beside the output, and the log."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hjc.corpus.copying import Done, passes
from hjc.corpus.prepare.pipeline import PrepareSettings, prepare_table
from hjc.tables import Reader, Writer, check_output, open_output
from hjc.tables.options import COMPRESSED


def prepare_file(
    source: str,
    output: str,
    settings: PrepareSettings,
    *,
    overwrite: bool = False,
    workers: int = 1,
    progress: Callable[[int, float], None] | None = None,
    **reading: Any,
) -> Done:
    """Prepare a table; beside it OUT.rejected, OUT.conflicts.csv and OUT.unreadable.csv, as far as there is something.

    Args:
        workers: see :func:`prepare_table`. reading: of :func:`hjc.corpus.copying.passes`.

    Raises:
        ValueError: no name for the output; a file stands in the way; and as ``prepare_table``.
    """
    if output == "-":
        raise ValueError("-o: prepare writes several files; give a name")
    stem, suffix = _split_suffix(output)
    rejected, conflicts_path = f"{stem}.rejected{suffix}", f"{stem}.conflicts.csv"
    unreadable = f"{stem}.unreadable.csv"
    for path in (rejected, conflicts_path, unreadable):
        check_output(path, source, overwrite=overwrite)
    with passes(source, output, rejects=unreadable, overwrite=overwrite, **reading) as both:
        for path in (rejected, conflicts_path):
            Path(path).unlink(missing_ok=True)

        def writer(path: str) -> Callable[[Reader, Mapping[str, str]], Writer]:
            return partial(open_output, path, both.target, safe_cells=both.safe_cells)

        report, conflicts = prepare_table(
            both.opened, writer(output), writer(rejected),
            settings, workers=workers, temporary=Path(output).resolve().parent, progress=progress,
        )  # fmt: skip
    if settings.code_column:
        conflicts.to_csv(conflicts_path, index=False, encoding="utf-8", lineterminator="\n")
    cleaning = settings.cleaning
    facts = {
        "command": "prepare", "input": source, "output": output, **report.to_dict(),
        "settings": {
            "text_columns": settings.text_columns, "languages": settings.languages, "wanted": settings.wanted,
            "drop": settings.drop, "threshold": settings.threshold, "near_duplicates": settings.similarity,
            "html": cleaning.html, "unicode": cleaning.unicode, "mask": cleaning.mask,
            "boilerplate": cleaning.boilerplate, "gate": settings.gate,
        },
    }  # fmt: skip
    return Done(facts, [both.unreadable.message(), report.message(output)])


def _split_suffix(path: str) -> tuple[str, str]:
    """out.csv.gz -> (out, .csv.gz)."""
    suffixes = Path(path).suffixes
    suffix = "".join(suffixes[-2:] if suffixes and suffixes[-1] in COMPRESSED else suffixes[-1:])
    return path.removesuffix(suffix), suffix
