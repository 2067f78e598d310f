"""Many tables, or one with several processes: the options of ``hjc predict`` for them, and what becomes of them."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import Reading, Writing

if TYPE_CHECKING:
    from hjc.apply.step import Step


@dataclass(frozen=True, kw_only=True)
class Many:
    """How a folder is coded."""

    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with a model of its own and its share of cores.")
    ] = 1
    engine: Annotated[
        str,
        typer.Option(help="local, or ray: the workers are actors of a Ray cluster (RAY_ADDRESS), or of this machine."),
    ] = "local"
    part_rows: Annotated[
        int, typer.Option(min=1, help="Rows of a part of an input: a kill costs at most one for each process.")
    ] = 16_384
    redo_changed: Annotated[
        bool, typer.Option("--redo-changed", help="Code finished inputs again that have changed since.")
    ] = False
    resume: Annotated[
        bool, typer.Option("--resume", help="A single table in parts, too: a killed command goes on when given again.")
    ] = False

    def wanted(self, source: str) -> bool:
        """Whether the work is to be done in parts: of several tables, by several processes, or to be gone on with."""
        from hjc.apply.folder.inputs import is_many

        return self.workers > 1 or self.engine != "local" or self.resume or is_many(source)

    def code(
        self,
        step: "Step",
        source: str,
        output: str,
        reading: Reading,
        writing: Writing,
        *,
        batch_size: int,
        rejects: str | None,
        quiet: bool,
    ) -> None:
        """Code all inputs and say what was done.

        Raises:
            ValueError: some could not be coded; says why.
        """
        from hjc.apply.folder.code import code_files
        from hjc.progress import RowsLine

        if rejects is not None:
            raise ValueError("--rejects: each output of a folder, or made in parts, has its own, OUTPUT.rejects.csv")
        share = {"done": 0.0, "before": 0.0}
        line = RowsLine("coding", lambda: share["done"] or None, lambda: share["before"])

        def show(rows: int, rate: float, done: float, before: float) -> None:
            share.update(done=done, before=before)
            line(rows, rate)

        with session.all_or_nothing(output):
            outcome = code_files(
                replace(step, training_counts=_counts(step)), source, output, workers=self.workers, engine=self.engine,
                redo_changed=self.redo_changed, overwrite=writing.overwrite, input_format=reading.input_format,
                output_format=writing.format, part_rows=self.part_rows, rows=batch_size, separator=reading.separator,
                encoding=reading.encoding, sheet=reading.sheet, safe_cells=writing.safe_cells, note=session.note,
                show=show,
            )  # fmt: skip
            line.clear()
        session.notes(outcome.notes)
        session.note("" if quiet else f"{outcome.message()} -> {output}")
        if outcome.failed:
            shown = "".join(f"\n  {name}: {reason}" for name, reason in list(outcome.failed.items())[:20])
            more = f"\n  and {len(outcome.failed) - 20:,} more" if len(outcome.failed) > 20 else ""
            raise ValueError(
                f"{len(outcome.failed):,} of {outcome.inputs:,} inputs could not be coded; the same command tries them "
                f"again:{shown}{more}"
            )


def _counts(step: "Step") -> tuple[int, ...] | None:
    """Training rows of each node, where other shares are asked for."""
    from hjc.classifiers.storage import stored_taxonomy
    from hjc.report.scores import read_training_counts

    if step.prior in (None, "training"):
        return None
    counts = read_training_counts(step.run_dir, stored_taxonomy(step.run_dir))
    return None if counts is None else tuple(counts.tolist())
